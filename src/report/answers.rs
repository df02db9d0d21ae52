//! What was checked of answers, and how the endpoints compare, in words that the console and Markdown
//! forms share.

use super::format::{count, ms, number};
use super::{Conformance, Latency, Loops, Parity, Report, Share, Shift, Smoothness};
use crate::conformance::Code;

/// Something that was found: its code, a sentence that says how often, and where to look.
pub(super) struct Item {
    pub code: String,
    pub message: String,
    pub examples: Option<String>,
}

/// What was checked, in a line; `None` where no answer came.
pub(super) fn checked(report: &Report) -> Option<String> {
    let each = report
        .endpoints
        .iter()
        .filter(|(_, e)| e.conformance.checked > 0);
    let parts: Vec<String> = each
        .map(|(endpoint, e)| {
            let Conformance {
                checked,
                checked_by_marks,
                checked_by_journal,
                unread,
                ..
            } = &e.conformance;
            let mut how = Vec::new();
            if *checked_by_marks > 0 {
                how.push(format!(
                    "{} token by token",
                    some(*checked_by_marks, *checked)
                ));
            }
            if *checked_by_journal > 0 {
                how.push(format!(
                    "{} against the journal",
                    some(*checked_by_journal, *checked)
                ));
            }
            if *unread > 0 {
                how.push(format!("without the calls of {}", count(*unread)));
            }
            let how = if how.is_empty() {
                String::new()
            } else {
                format!(" ({})", how.join(", "))
            };
            format!("{} answers of {endpoint}{how}", count(*checked))
        })
        .collect();
    if parts.is_empty() {
        return None;
    }
    let found: usize = (report.endpoints.values())
        .map(|e| e.conformance.findings.len())
        .sum();
    let found = match found {
        0 => "no departure".to_owned(),
        1 => "1 kind of departure".to_owned(),
        n => format!("{n} kinds of departures"),
    };
    Some(format!("checked {}: {found}", parts.join(" and ")))
}

/// A part of a number, in short where it is all.
fn some(part: u64, of: u64) -> String {
    if part == of {
        "all".to_owned()
    } else {
        count(part)
    }
}

/// The departures, those of one endpoint after those of the other.
pub(super) fn departures(report: &Report) -> Vec<Item> {
    let of_endpoint = report.endpoints.values();
    of_endpoint
        .flat_map(|e| {
            e.conformance.findings.iter().map(|finding| {
                let examples: Vec<String> = (finding.examples.iter())
                    .map(|e| e.file.clone().unwrap_or_else(|| e.trace_id.clone()))
                    .collect();
                Item {
                    code: finding.code.to_string(),
                    message: finding.message.clone(),
                    examples: listed(&examples),
                }
            })
        })
        .collect()
}

/// Oddities that are no departure: what real servers do.
pub(super) fn notes(report: &Report) -> Vec<String> {
    let each = report.endpoints.iter().flat_map(|(endpoint, e)| {
        (e.requests.oddities.iter()).map(move |(name, n)| (endpoint, e, name, n))
    });
    each.filter(|(_, e, name, _)| {
        let code = Code::of_oddity(name);
        let is_found = |code| e.conformance.findings.iter().any(|f| f.code == code);
        !code.is_some_and(is_found)
    })
    .map(|(endpoint, _, name, n)| format!("{} x {endpoint}: {name}", count(*n)))
    .collect()
}

/// How the endpoints compare, in a line.
pub(super) fn parity(parity: &Parity) -> String {
    let Parity {
        pairs,
        exact,
        left_out,
        unpaired,
        uncompared,
        findings,
        ..
    } = parity;
    let mut text = match findings.len() {
        _ if *pairs == 0 => "no pairs".to_owned(),
        0 => format!("no difference in {} pairs", count(*pairs)),
        1 => format!("1 kind of difference in {} pairs", count(*pairs)),
        n => format!("{n} kinds of differences in {} pairs", count(*pairs)),
    };
    if *pairs > 0 {
        let how = match *exact {
            0 => ", by structure and price".to_owned(),
            exact if exact == *pairs => ", compared exactly".to_owned(),
            exact => format!(", {} compared exactly", count(exact)),
        };
        text.push_str(&how);
    }
    for (n, what) in [
        (*left_out, "cut, dropped or cancelled by the harness"),
        (*unpaired, "requests without a counterpart"),
        (*uncompared, "requests not compared, too many waited"),
    ] {
        if n > 0 {
            text = format!("{text}; {} {what}", count(n));
        }
    }
    text
}

/// By how much one endpoint is slower.
pub(super) fn shifts(parity: &Parity) -> Option<String> {
    let signed = |value: f64| format!("{}{}", if value < 0.0 { "-" } else { "+" }, ms(value.abs()));
    let words = |(name, shift): (&String, &Option<Shift>)| {
        let shift = (*shift)?;
        let range = match (shift.low, shift.high) {
            (Some(low), Some(high)) => format!("{} to {}", signed(low), signed(high)),
            _ => "too few for an interval".to_owned(),
        };
        Some(format!("{name} {} ms ({range})", signed(shift.median)))
    };
    let mut parts: Vec<String> = parity.latency_ms.iter().filter_map(words).collect();
    // The first token first.
    parts.reverse();
    (!parts.is_empty()).then(|| {
        format!(
            "anthropic against openai in the same pair, at the median: {}",
            parts.join(", ")
        )
    })
}

/// The differences between the endpoints.
pub(super) fn differences(parity: &Parity) -> Vec<Item> {
    let item = |finding: &crate::parity::Difference| {
        let examples: Vec<String> = (finding.examples.iter())
            .map(|pair| format!("{} and {}", pair.openai, pair.anthropic))
            .collect();
        Item {
            code: finding.code.to_string(),
            message: finding.message.clone(),
            examples: listed(&examples),
        }
    };
    parity.findings.iter().map(item).collect()
}

fn listed(examples: &[String]) -> Option<String> {
    (!examples.is_empty()).then(|| format!("e.g. {}", examples.join(", ")))
}

/// How sessions ended.
pub(super) fn ended(loops: &Loops) -> String {
    let parts = loops.ended.iter();
    let parts: Vec<String> = parts
        .map(|(way, n)| format!("{} {}", count(*n), way.replace('_', " ")))
        .collect();
    parts.join(", ")
}

/// Turns of completed sessions.
pub(super) fn turns(loops: &Loops) -> Option<String> {
    let turns = loops.turns?;
    Some(format!(
        "{} on average, {} at most",
        number(turns.mean),
        turns.max
    ))
}

/// A latency in short.
pub(super) fn p50_p95(latency: Option<&Latency>) -> Option<String> {
    latency.map(|l| format!("p50 {}, p95 {}", ms(l.p50), ms(l.p95)))
}

/// Streams that did not come as they were written.
pub(super) fn lumps(smoothness: &Smoothness) -> String {
    let Smoothness {
        judged,
        fake,
        buffered,
        ..
    } = smoothness;
    let at_once = format!("{} at once", count(*fake));
    let lumps = buffered.map_or_else(String::new, |n| format!(", {} in lumps", count(n)));
    format!("{at_once}{lumps}, of {}", count(*judged))
}

/// A ratio over streams.
pub(super) fn ratio(share: Option<Share>) -> Option<String> {
    share.map(|s| {
        format!(
            "p50 {}, p5 {}, p95 {}",
            number(s.p50),
            number(s.p5),
            number(s.p95)
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn pairs_are_told_with_what_they_are_not() {
        let shift = Shift {
            count: 80,
            median: -1.5,
            low: Some(-2.0),
            high: Some(0.25),
        };
        let mut held = Parity {
            mode: "exact".to_owned(),
            basis: String::new(),
            pairs: 1_200,
            exact: 1_200,
            left_out: 0,
            unpaired: 3,
            uncompared: 0,
            findings: Vec::new(),
            latency_ms: BTreeMap::from([
                ("e2e".to_owned(), None),
                ("ttft".to_owned(), Some(shift)),
            ]),
            tokens: None,
        };
        assert_eq!(
            parity(&held),
            "no difference in 1,200 pairs, compared exactly; 3 requests without a counterpart"
        );
        assert_eq!(
            shifts(&held).as_deref(),
            Some(
                "anthropic against openai in the same pair, at the median: ttft -1.50 ms (-2.00 to +0.25)"
            )
        );
        (held.pairs, held.exact, held.unpaired) = (4, 0, 0);
        assert_eq!(
            parity(&held),
            "no difference in 4 pairs, by structure and price"
        );
        held.pairs = 0;
        assert_eq!(parity(&held), "no pairs");
    }

    #[test]
    fn streams_that_came_at_once_are_counted_of_those_that_could() {
        let mut came = Smoothness {
            streams: 20,
            judged: 10,
            fake: 2,
            buffered: None,
            span_ratio: None,
            events_per_batch: None,
            events_per_write: None,
        };
        assert_eq!(lumps(&came), "2 at once, of 10");
        came.buffered = Some(1);
        assert_eq!(lumps(&came), "2 at once, 1 in lumps, of 10");
        assert_eq!(ratio(None), None);
    }
}
