//! The load at which the gateway, not the upstream, is at its end.
//!
//! From one level to the next, an arm's *elasticity* is `ln(T2 / T1) / ln(L2 / L1)`: how much of the
//! growth of concurrency became growth of throughput. 1 is all, 0 is none. An arm saturates where
//! that and the upper bound of its 95 % interval are below 0.5. With the blocks of a level resampled
//! by themselves, what the two levels have in common does not hide their difference.

use super::level::Side;
use super::report::{Elasticity, Found, Growth, Saturation};
use crate::report::format::number;
use crate::stats::bootstrap_groups;

/// An arm saturates below this elasticity.
const ELASTICITY_MIN: f64 = 0.5;

/// What a level came to: users at once, and both arms.
pub type AtLevel<'a> = (u32, &'a [Side; 2]);

/// Looks at the levels, in ascending order.
pub fn saturation(levels: &[AtLevel<'_>], seed: u64) -> Saturation {
    let growth: Vec<Growth> = levels
        .windows(2)
        .map(|pair| {
            let of = |arm: usize| {
                let sides = [&pair[0].1[arm], &pair[1].1[arm]];
                elasticity(sides, [pair[0].0, pair[1].0], seed)
            };
            Growth {
                from: pair[0].0,
                to: pair[1].0,
                direct: of(0),
                via: of(1),
            }
        })
        .collect();
    let (found, at) = judge(&growth);
    let step = at.map(|at| growth[at]);
    let per_s = |arm: usize| {
        let (_, sides) = levels.get(at? + 1)?;
        rate(&sides[arm])
    };
    let mut saturation = Saturation {
        found,
        from: step.map(|step| step.from),
        to: step.map(|step| step.to),
        direct_per_s: per_s(0),
        via_per_s: per_s(1),
        says: String::new(),
        growth,
    };
    saturation.says = says(&saturation, levels);
    saturation
}

/// What the steps come to, and which of them it is.
fn judge(growth: &[Growth]) -> (Found, Option<usize>) {
    for (at, step) in growth.iter().enumerate() {
        match (step.direct.saturates, step.via.saturates) {
            (Some(true), _) => return (Found::Upstream, Some(at)),
            (Some(false), Some(true)) => return (Found::Gateway, Some(at)),
            (Some(false), Some(false)) => {}
            _ => return (Found::NotKnown, None),
        }
    }
    if growth.is_empty() {
        (Found::NotKnown, None)
    } else {
        (Found::NotReached, None)
    }
}

fn rate(side: &Side) -> Option<f64> {
    side.requests_per_s(&vec![1; side.lengths.len()])
}

fn elasticity(sides: [&Side; 2], users: [u32; 2], seed: u64) -> Elasticity {
    let more_users = (f64::from(users[1]) / f64::from(users[0])).ln();
    let statistic = |weights: &[Vec<u32>]| {
        let before = sides[0].requests_per_s(&weights[0])?;
        let after = sides[1].requests_per_s(&weights[1])?;
        Some((after / before).ln() / more_users)
    };
    if let (Some(before), Some(0.0)) = (rate(sides[0]), rate(sides[1]))
        && before > 0.0
    {
        // Nothing succeeds any more.
        return Elasticity {
            saturates: Some(true),
            ..Elasticity::default()
        };
    }
    let groups = sides.map(|side| side.lengths.len());
    let whole = groups.map(|blocks| vec![1; blocks]);
    let interval = bootstrap_groups(&groups, seed, statistic);
    Elasticity {
        estimate: statistic(&whole).filter(|e| e.is_finite()),
        low: interval.map(|i| i.low),
        high: interval.map(|i| i.high),
        saturates: interval.map(|i| i.estimate < ELASTICITY_MIN && i.high < ELASTICITY_MIN),
    }
}

fn says(saturation: &Saturation, levels: &[AtLevel<'_>]) -> String {
    let per_s = |rate: Option<f64>| rate.map_or_else(|| "?".to_owned(), number);
    let between = match (saturation.from, saturation.to) {
        (Some(from), Some(to)) => format!("between {from} and {to} in flight"),
        _ => String::new(),
    };
    match (saturation.found, levels.last()) {
        (Found::Gateway, _) => format!(
            "the gateway saturates {between}, at {} requests/s; directly {}",
            per_s(saturation.via_per_s),
            per_s(saturation.direct_per_s)
        ),
        (Found::Upstream, _) => format!(
            "the upstream, or the machine, saturates {between}, at {} requests/s; through the gateway {}",
            per_s(saturation.direct_per_s),
            per_s(saturation.via_per_s)
        ),
        (Found::NotReached, Some((users, _))) => {
            format!("neither the gateway nor the upstream saturates up to {users} in flight")
        }
        _ if levels.len() < 2 => {
            "at what load the gateway saturates is not known: that takes two levels".to_owned()
        }
        _ => {
            "at what load the gateway saturates is not known: too few blocks, or too few successes"
                .to_owned()
        }
    }
}
