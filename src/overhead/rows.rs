//! The rows of a level's table: the same in every form for people.

use super::console::{nothing, time};
use super::report::{Comparison, Delta, Level, Seen, Times};
use crate::report::format::{ms, number, percent};

/// One comparison in words.
pub(super) struct Row {
    pub name: &'static str,
    pub direct: String,
    pub via: String,
    pub added: String,
    pub interval: String,
    pub seen: Option<Seen>,
}

pub(super) fn rows(level: &Level) -> Vec<Row> {
    let times = [
        ("ttft p50 ms", level.ttft_ms.p50),
        ("ttft p95 ms", level.ttft_ms.p95),
        ("ttft p99 ms", level.ttft_ms.p99),
        ("mean gap p50 ms", level.mean_gap_ms.p50),
        ("mean gap p95 ms", level.mean_gap_ms.p95),
        ("longest gap p95 ms", level.longest_gap_ms.p95),
        ("e2e p50 ms", level.e2e_ms.p50),
        ("e2e p95 ms", level.e2e_ms.p95),
        ("e2e p99 ms", level.e2e_ms.p99),
    ];
    let mut rows: Vec<Row> = times
        .into_iter()
        .map(|(name, at)| of_times(name, at))
        .collect();
    rows.push(of_numbers("requests/s", &level.requests_per_s, number));
    rows.push(of_numbers("failures %", &level.failures, |share| {
        percent(share).trim_end_matches(" %").to_owned()
    }));
    rows
}

fn of_times(name: &'static str, times: Option<Times>) -> Row {
    let shown = |pick: fn(&Times) -> crate::report::InclusiveMs| {
        times.as_ref().map_or_else(nothing, |t| time(pick(t)))
    };
    row(
        name,
        [shown(|t| t.direct), shown(|t| t.via)],
        times.and_then(|t| t.delta),
        ms,
    )
}

fn of_numbers(name: &'static str, numbers: &Comparison, shown: fn(f64) -> String) -> Row {
    let each = [numbers.direct, numbers.via].map(|n| n.map_or_else(nothing, shown));
    row(name, each, numbers.delta, shown)
}

fn row(
    name: &'static str,
    [direct, via]: [String; 2],
    delta: Option<Delta>,
    shown: fn(f64) -> String,
) -> Row {
    let interval = delta.and_then(|d| Some((d.low?, d.high?)));
    Row {
        name,
        direct,
        via,
        added: delta.map_or_else(nothing, |d| signed(d.estimate, shown)),
        interval: interval.map_or_else(nothing, |(low, high)| {
            format!("{} to {}", signed(low, shown), signed(high, shown))
        }),
        seen: delta.and_then(|d| d.seen),
    }
}

/// A number with its sign; zero has none.
fn signed(value: f64, shown: fn(f64) -> String) -> String {
    let size = value.abs();
    let text = match size {
        // A hundredth of a millisecond is too coarse for what a good gateway adds.
        _ if 0.0 < size && size < 0.1 => format!("{size:.3}"),
        _ => shown(size),
    };
    match () {
        () if value == 0.0 => text,
        () if value < 0.0 => format!("-{text}"),
        () => format!("+{text}"),
    }
}
