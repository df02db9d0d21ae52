//! How much a recorded cost can show: what one unit of its last decimal is in tokens.

use std::ops::RangeInclusive;

use crate::endpoint::Endpoint;
use crate::money::{Money, RoundMode};
use crate::usage::Usage;

use super::super::predict::predict;
use super::super::prices::Tariff;
use super::quotient::quotient;

/// More tokens than this are not looked for.
const TOKENS_MAX: u64 = 1 << 40;

/// What one unit of the last recorded decimal comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Decimal places that are recorded.
    pub places: u32,
    /// One unit of the last of them.
    pub unit: Money,
    /// Whole input tokens that cost no more than a unit; `None` where they are free or have no price.
    pub input_tokens: Option<u64>,
    /// Whole output tokens that cost no more than a unit; `None` where they are free or have no price.
    pub output_tokens: Option<u64>,
}

/// What costs show that are recorded to `places` decimals, at the prices of `tariff` for a short
/// prompt; `None` for more places than an amount has.
pub fn resolution(tariff: &Tariff<'_>, places: u32) -> Option<Resolution> {
    let unit = Money::new(1, places)?;
    let rates = tariff.base().rates;
    let fit = |rate: Option<Money>| quotient(unit, rate?, TOKENS_MAX);
    Some(Resolution {
        places,
        unit,
        input_tokens: fit(rates.input),
        output_tokens: fit(rates.output),
    })
}

/// The numbers of output tokens that, after `input` tokens of input, cost `amount` once rounded to
/// `places` decimals. `None` if no number does, or if all do.
pub fn output_range(
    tariff: &Tariff<'_>,
    input: u64,
    amount: Money,
    places: u32,
    mode: RoundMode,
) -> Option<RangeInclusive<u64>> {
    let cost = |output: u64| {
        let usage = Usage {
            input: Some(input),
            output: Some(output),
            ..Usage::default()
        };
        let priced = predict(tariff, &usage, Endpoint::OpenAi).ok()?;
        Some(priced.total.round(places, mode))
    };
    // The smallest number of tokens whose cost is such; a cost beyond every amount is.
    let first = |is: &dyn Fn(Money) -> bool| {
        let (mut low, mut high) = (0, TOKENS_MAX);
        while low < high {
            let middle = u64::midpoint(low, high);
            if cost(middle).is_none_or(is) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    };
    let from = first(&|cost| cost >= amount);
    let beyond = first(&|cost| cost > amount);
    (from < beyond && beyond < TOKENS_MAX).then(|| from..=beyond - 1)
}

/// The range in words: `recorded to 4 decimals, $0.0013 fits 500 to 566 output tokens`.
pub fn output_range_words(shown: &str, places: u32, range: &RangeInclusive<u64>) -> String {
    let (from, to) = (range.start(), range.end());
    let tokens = if from == to {
        format!("{from} output tokens only")
    } else {
        format!("{from} to {to} output tokens")
    };
    format!("recorded to {places} decimals, {shown} fits {tokens}")
}

#[cfg(test)]
mod tests {
    use super::super::super::prices::PriceTable;
    use super::super::super::testing::money;
    use super::*;

    fn table() -> PriceTable {
        PriceTable::builtin("builtin:keeprouter").expect("built in")
    }

    fn small(table: &PriceTable) -> Tariff<'_> {
        let date = "2026-08-01".parse().expect("a date");
        let tariff = table.tariff("magistral-small-latest", None, date);
        tariff.expect("priced")
    }

    #[test]
    fn four_decimals_hide_sixty_six_tokens() {
        let table = table();
        let tariff = small(&table);
        let found = resolution(&tariff, 4).expect("places");
        assert_eq!(found.unit, money("0.0001"));
        assert_eq!(found.input_tokens, Some(200));
        assert_eq!(found.output_tokens, Some(66));
        assert_eq!(
            resolution(&tariff, 7).expect("places").output_tokens,
            Some(0)
        );
        assert_eq!(resolution(&tariff, 29), None);
    }

    #[test]
    fn an_amount_fits_a_range_of_output_tokens() {
        let table = table();
        let tariff = small(&table);
        let range =
            |amount, places, mode| output_range(&tariff, 1_000, money(amount), places, mode);
        let found = range("0.0013", 4, RoundMode::HalfUp).expect("fits");
        assert_eq!(found, 500..=566);
        assert_eq!(
            output_range_words("$0.0013", 4, &found),
            "recorded to 4 decimals, $0.0013 fits 500 to 566 output tokens"
        );
        assert_eq!(range("0.00125", 7, RoundMode::HalfUp), Some(500..=500));
        assert_eq!(range("0.0012501", 7, RoundMode::HalfUp), None);
        assert_eq!(
            range("0.0001", 4, RoundMode::HalfUp),
            None,
            "less than the input"
        );
        assert_eq!(range("0.0012", 4, RoundMode::Down), Some(467..=533));
    }
}
