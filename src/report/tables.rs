//! The tables of a bill, as texts: the console and Markdown forms draw them.

use super::format::{NOTHING, amount, bias, count, money, ms, percent};
use super::{CostGroup, Mode, OffByLoad, Report};
use crate::money::Money;
use crate::record::Class;

/// Rows of a table by group at most; `report.json` has all.
const GROUPS_MAX: usize = 12;

/// Rows by time at most; where there are more intervals, several share one.
const TIMES_MAX: usize = 8;

/// Below so many intervals there is no table by time.
const TIMES_MIN: usize = 4;

/// A table whose first column is words, and all others numbers.
pub(super) struct Table {
    pub title: &'static str,
    pub heads: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    /// Rows that are left out.
    pub more: usize,
}

/// What the bill is made of.
pub(super) fn parts(report: &Report) -> impl Iterator<Item = Table> + use<> {
    [groups(report), surfaces(report)].into_iter().flatten()
}

/// Where it is off.
pub(super) fn discrepancies(report: &Report) -> impl Iterator<Item = Table> + use<> {
    [load(report), worst(report)].into_iter().flatten()
}

/// Models, modes and classes side by side, those furthest off first; `None` where each endpoint has
/// one.
fn groups(report: &Report) -> Option<Table> {
    if report.endpoints.values().all(|e| e.cost.groups.len() < 2) {
        return None;
    }
    let one_class = {
        let mut classes = report.endpoints.values().flat_map(|e| &e.cost.groups);
        let first = classes.next()?.class;
        classes.all(|group| group.class == first)
    };
    let mut all: Vec<(Money, Vec<String>)> = Vec::new();
    for (endpoint, e) in &report.endpoints {
        for group in &e.cost.groups {
            let off = group.delta_abs.as_ref().and_then(|d| d.parse().ok());
            let class = match group.class {
                _ if one_class => "",
                Class::Chat => ", chat",
                Class::Tools => ", tools",
            };
            let name = format!("{endpoint} {}, {}{class}", group.model, mode(group.mode));
            all.push((off.unwrap_or_default(), group_row(name, group)));
        }
    }
    let more = all.len().saturating_sub(GROUPS_MAX);
    if more > 0 {
        all.sort_by_key(|(off, _)| std::cmp::Reverse(*off));
    }
    Some(Table {
        title: "cost by group",
        heads: vec!["attempts", "off", "covered", "predicted", "delta", "bias"],
        rows: all
            .into_iter()
            .map(|(_, row)| row)
            .take(GROUPS_MAX)
            .collect(),
        more,
    })
}

/// How an answer is asked for, in a word.
pub(super) const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Stream => "streamed",
        Mode::Whole => "whole",
    }
}

fn group_row(name: String, group: &CostGroup) -> Vec<String> {
    let known = |text: &Option<String>| text.as_ref().map_or_else(nothing, |t| money(t));
    let mismatched = group.statuses.get("mismatched").copied().unwrap_or(0);
    vec![
        name,
        count(group.attempts),
        count(mismatched),
        group.coverage.map_or_else(nothing, percent),
        known(&group.predicted),
        known(&group.delta),
        group.bias_pct.map_or_else(nothing, bias),
    ]
}

/// Where costs are recorded; `None` where each endpoint has one place.
fn surfaces(report: &Report) -> Option<Table> {
    if report.endpoints.values().all(|e| e.cost.surfaces.len() < 2) {
        return None;
    }
    let mut rows = Vec::new();
    for (endpoint, e) in &report.endpoints {
        for on in &e.cost.surfaces {
            rows.push(vec![
                format!("{endpoint} {}", on.surface),
                count(on.attempts),
                amount(&on.recorded, &e.cost.currency),
                on.places.map_or_else(nothing, |places| places.to_string()),
            ]);
        }
    }
    Some(Table {
        title: "cost by surface",
        heads: vec!["attempts", "recorded", "decimals"],
        rows,
        more: 0,
    })
}

/// Tool calls by the requests in flight; `None` where each endpoint has one range.
pub(super) fn calls_by_load(report: &Report) -> Option<Table> {
    let by_load = |e: &super::EndpointReport| e.tool_calls.by_in_flight.clone();
    if report.endpoints.values().all(|e| by_load(e).len() < 2) {
        return None;
    }
    let mut rows = Vec::new();
    for (endpoint, e) in &report.endpoints {
        for at in by_load(e) {
            let (min, max) = (u64::from(at.in_flight_min), u64::from(at.in_flight_max));
            let range = if min == max {
                count(min)
            } else {
                format!("{} to {}", count(min), count(max))
            };
            let time = at.time_to_tool_call_ms;
            rows.push(vec![
                format!("{endpoint} at {range} in flight"),
                count(at.calls),
                count(at.valid_json),
                at.schema_valid.map_or_else(nothing, count),
                time.map_or_else(nothing, |t| ms(t.p50)),
                time.map_or_else(nothing, |t| ms(t.p95)),
            ]);
        }
    }
    Some(Table {
        title: "tool calls by load",
        heads: vec![
            "calls",
            "valid JSON",
            "by schema",
            "complete p50, ms",
            "p95",
        ],
        rows,
        more: 0,
    })
}

/// Discrepancies by load, of the endpoints that have any.
fn load(report: &Report) -> Option<Table> {
    let any = |off: &OffByLoad| off.wrong + off.missing + off.double.unwrap_or(0) > 0;
    let mut rows = Vec::new();
    for (endpoint, e) in &report.endpoints {
        let Some(load) = &e.cost.load else { continue };
        let by_load = &load.by_in_flight;
        if by_load.len() > 1 && by_load.iter().any(|row| any(&row.off)) {
            for row in by_load {
                let (min, max) = (row.in_flight_min, row.in_flight_max);
                let range = if min == max {
                    count(min)
                } else {
                    format!("{} to {}", count(min), count(max))
                };
                rows.push(load_row(
                    format!("{endpoint} at {range} in flight"),
                    &row.off,
                ));
            }
        }
        let by_time = &load.by_time;
        if by_time.len() >= TIMES_MIN && by_time.iter().any(|row| any(&row.off)) {
            for several in by_time.chunks(by_time.len().div_ceil(TIMES_MAX)) {
                let (first, last) = (&several[0], &several[several.len() - 1]);
                let end = last.from_s + last.length_s;
                let name = format!(
                    "{endpoint} from {} to {} s",
                    count(first.from_s),
                    count(end)
                );
                let off = several.iter().map(|row| &row.off);
                rows.push(load_row(name, &off.fold(none(), both)));
            }
        }
    }
    (!rows.is_empty()).then_some(Table {
        title: "discrepancies by load",
        heads: vec!["attempts", "wrong", "missing", "double", "delta"],
        rows,
        more: 0,
    })
}

/// The attempts whose recorded cost is furthest off.
fn worst(report: &Report) -> Option<Table> {
    let costs = || report.endpoints.values().map(|e| &e.cost);
    let known = costs().any(|cost| cost.worst.iter().any(|w| !w.causes.is_empty()));
    let mut rows = Vec::new();
    for cost in costs() {
        for worst in &cost.worst {
            let retry = match worst.attempt {
                0 => String::new(),
                n => format!(", retry {n}"),
            };
            let mut row = vec![
                format!("{}{retry} {}", worst.trace_id, worst.model),
                money(&worst.predicted),
                money(&worst.recorded),
                money(&worst.delta),
            ];
            if known {
                let names: Vec<&str> = worst.causes.iter().map(|code| code.name()).collect();
                row.push(names.join(" "));
            }
            rows.push(row);
        }
    }
    let mut heads = vec!["predicted", "recorded", "delta"];
    heads.extend(known.then_some("cause"));
    (!rows.is_empty()).then_some(Table {
        title: "furthest off",
        heads,
        rows,
        more: 0,
    })
}

fn load_row(name: String, off: &OffByLoad) -> Vec<String> {
    vec![
        name,
        count(off.attempts),
        count(off.wrong),
        count(off.missing),
        off.double.map_or_else(nothing, count),
        off.delta.as_ref().map_or_else(nothing, |d| money(d)),
    ]
}

const fn none() -> OffByLoad {
    OffByLoad {
        attempts: 0,
        wrong: 0,
        missing: 0,
        double: None,
        delta: None,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a fold hands its sum over")]
fn both(a: OffByLoad, b: &OffByLoad) -> OffByLoad {
    let delta = |off: &OffByLoad| off.delta.as_ref().and_then(|d| d.parse::<Money>().ok());
    let delta = match (delta(&a), delta(b)) {
        (Some(x), Some(y)) => x.checked_add(y).ok(),
        (x, y) => x.or(y),
    };
    OffByLoad {
        attempts: a.attempts + b.attempts,
        wrong: a.wrong + b.wrong,
        missing: a.missing + b.missing,
        double: match (a.double, b.double) {
            (Some(x), Some(y)) => Some(x + y),
            (x, y) => x.or(y),
        },
        delta: delta.map(|d| d.to_string()),
    }
}

fn nothing() -> String {
    NOTHING.to_owned()
}
