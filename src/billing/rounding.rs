//! What a declared rounding adds up to: how far a total may be off because of it.
//!
//! Rounded to a multiple of u, an amount is off by at most u/2, so n of them by at most n x u/2. Amounts
//! of varied sizes are off as much either way, evenly spread: their sum has the standard deviation
//! u x sqrt(n/12), and stays within four of it. Amounts of one size are all off the same way, and their
//! sum goes to the bound. Rounding up or down is off by up to u, by u/2 on average, always one way.

use std::collections::BTreeMap;

use crate::money::{Money, MoneyError, RoundMode};

use super::prices::Rounding;

/// Digits that a standard deviation has beyond the unit that is rounded to.
const MORE_PLACES: u32 = 3;

/// What rounding explains of a sum of differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundingTotal {
    /// Attempts with both costs, and a price that declares a rounding.
    pub attempts: u64,
    /// Sum of recorded minus predicted of these.
    pub delta: Money,
    /// No rounding adds up to more than this, either way.
    pub bound: Money,
    /// Amounts of varied sizes add up to no more than this, either way; `None` where it cannot be
    /// computed.
    pub expected: Option<Money>,
}

/// How a sum of differences stands to what rounding explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explained {
    /// As far off as varied sizes are.
    Expected,
    /// Further, but no further than rounding can be: sizes that are rounded the same way.
    Possible,
    /// Further than rounding can be.
    No,
}

impl RoundingTotal {
    /// Whether rounding explains the sum.
    pub fn explained(&self) -> Explained {
        let off = self.delta.abs();
        if off > self.bound {
            Explained::No
        } else if self.expected.is_some_and(|expected| off <= expected) {
            Explained::Expected
        } else {
            Explained::Possible
        }
    }
}

/// Amounts that were rounded, counted by their rule. Bounded: there are 29 scales.
#[derive(Clone, Debug, Default)]
pub(super) struct Rounded {
    attempts: u64,
    delta: Money,
    /// Rounded to the nearest, by decimal places.
    nearest: BTreeMap<u32, u64>,
    /// Rounded up or down.
    directed: BTreeMap<u32, u64>,
}

impl Rounded {
    /// Takes up an attempt of which `amounts` amounts are rounded by `rounding`, and that is off by
    /// `delta`.
    pub fn take(
        &mut self,
        rounding: Rounding,
        amounts: u64,
        delta: Money,
    ) -> Result<(), MoneyError> {
        let counts = match rounding.mode {
            RoundMode::HalfUp | RoundMode::HalfEven => &mut self.nearest,
            RoundMode::Up | RoundMode::Down => &mut self.directed,
        };
        *counts.entry(rounding.scale).or_default() += amounts;
        self.attempts += 1;
        self.delta = self.delta.checked_add(delta)?;
        Ok(())
    }

    /// What it adds up to; `None` without any, or beyond what an amount can be.
    pub fn total(&self) -> Option<RoundingTotal> {
        if self.attempts == 0 {
            return None;
        }
        let (nearest, directed) = (halves(&self.nearest)?, halves(&self.directed)?);
        let bound = directed.checked_mul(2).ok()?;
        // On average the directed ones are off by half of a unit, and spread around that.
        let expected = four_sigma([&self.nearest, &self.directed])
            .and_then(|spread| spread.checked_add(directed).ok());
        Some(RoundingTotal {
            attempts: self.attempts,
            delta: self.delta,
            bound: bound.checked_add(nearest).ok()?,
            expected,
        })
    }
}

/// Half a unit for each.
fn halves(counts: &BTreeMap<u32, u64>) -> Option<Money> {
    let mut sum = Money::ZERO;
    for (scale, n) in counts {
        // 5 x 10^-(scale + 1); what is rounded at 28 places is exact.
        let Some(half) = Money::new(5, scale + 1) else {
            continue;
        };
        sum = sum.checked_add(half.checked_mul(*n).ok()?).ok()?;
    }
    Some(sum)
}

/// 4 x sqrt(sum of u^2/12), rounded up: in units of the finest u, with [`MORE_PLACES`] digits more.
fn four_sigma(counts: [&BTreeMap<u32, u64>; 2]) -> Option<Money> {
    let all = || counts.into_iter().flatten();
    let finest = all().map(|(scale, _)| *scale).max()?;
    let mut squares = 0_u128;
    for (scale, n) in all() {
        let unit = 10_u128.checked_pow(finest - scale)?;
        let square = unit.checked_mul(unit)?.checked_mul(u128::from(*n))?;
        squares = squares.checked_add(square)?;
    }
    // 16/12 of the squares.
    let scaled = squares.checked_mul(4 * 10_u128.pow(2 * MORE_PLACES))?;
    let square = scaled.div_ceil(3);
    let root = square.isqrt();
    let up = root + u128::from(root * root < square);
    Money::new(i128::try_from(up).ok()?, finest + MORE_PLACES)
}

#[cfg(test)]
mod tests {
    use super::super::prices::Stage;
    use super::super::testing::money;
    use super::*;

    fn rounded(rules: &[(u32, RoundMode, u64, &str)]) -> RoundingTotal {
        let mut rounded = Rounded::default();
        for (scale, mode, n, delta) in rules {
            for _ in 0..*n {
                let rounding = Rounding {
                    scale: *scale,
                    mode: *mode,
                    stage: Stage::Request,
                };
                rounded.take(rounding, 1, money(delta)).expect("small");
            }
        }
        rounded.total().expect("some")
    }

    #[test]
    fn the_bound_and_the_spread() {
        // (rule, count, delta of each), bound, expected, explained.
        use RoundMode::{Down, HalfEven, HalfUp, Up};
        for (rules, bound, expected, explained) in [
            // 4 x 0.0001 x sqrt(10,000 / 12) = 0.011547...
            (
                &[(4, HalfUp, 10_000, "0.00005")][..],
                "0.5",
                "0.0115471",
                Explained::Possible,
            ),
            (
                &[(4, HalfEven, 10_000, "0.000001")],
                "0.5",
                "0.0115471",
                Explained::Expected,
            ),
            (
                &[(4, HalfUp, 1, "0.00006")],
                "0.00005",
                "0.0001155",
                Explained::No,
            ),
            // Down: half a cent each is what it takes on average.
            (&[(2, Down, 300, "-0.005")], "3", "1.7", Explained::Expected),
            (&[(2, Up, 300, "0.0099")], "3", "1.7", Explained::Possible),
            (&[(2, Up, 300, "0.0101")], "3", "1.7", Explained::No),
            // 4 x sqrt((300 x 0.01^2 + 100 x 0.0001^2) / 12)
            (
                &[(2, HalfUp, 300, "0"), (4, HalfUp, 100, "0")],
                "1.505",
                "0.2000034",
                Explained::Expected,
            ),
        ] {
            let total = rounded(rules);
            assert_eq!(total.bound, money(bound), "{rules:?}");
            assert_eq!(total.expected, Some(money(expected)), "{rules:?}");
            assert_eq!(total.explained(), explained, "{rules:?}");
        }
    }

    #[test]
    fn nothing_rounded_is_nothing_explained() {
        assert_eq!(Rounded::default().total(), None);
    }

    #[test]
    fn what_cannot_be_computed_is_unknown() {
        let total = rounded(&[
            (0, RoundMode::HalfUp, 1, "0"),
            (28, RoundMode::HalfUp, 1, "0"),
        ]);
        assert_eq!(total.expected, None);
        assert_eq!(total.bound, money("0.5"));
    }
}
