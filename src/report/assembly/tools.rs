//! Tool calls and the sessions that go on with their results, as a report shows them.

use std::collections::BTreeMap;

use super::AgainstTruth;
use super::latency::latency;
use crate::metrics::{CallTimes, Distribution, EndpointSummary, Loops};
use crate::record::SessionEnd;
use crate::report::{ArgumentRate, CallsAtLoad, Loops as LoopsReport, ToolCalls, Turns};

pub(super) fn tool_calls(summary: &EndpointSummary, against: Option<&AgainstTruth>) -> ToolCalls {
    let calls = summary.tool_calls;
    let fitting = calls.fitting();
    ToolCalls {
        returned: calls.returned,
        valid_json: calls.valid_json,
        invalid_json: calls.returned.saturating_sub(calls.valid_json),
        schema_valid: fitting,
        schema_invalid: fitting.map(|fitting| calls.returned.saturating_sub(fitting)),
        missing: against.map(|a| a.missing_calls),
        extra: against.map(|a| a.extra_calls),
        unknown_name: calls.unknown_name,
        argument_bytes_per_s: rate(&summary.call_times.argument_bytes_per_s),
        by_in_flight: by_in_flight(&summary.call_times),
    }
}

fn rate(rates: &Distribution) -> Option<ArgumentRate> {
    Some(ArgumentRate {
        count: rates.count(),
        mean: rates.mean()?.round(),
        min: rates.min()?,
        max: rates.max()?,
        p50: rates.quantile(0.5)?,
        p5: rates.quantile(0.05)?,
    })
}

fn by_in_flight(times: &CallTimes) -> Vec<CallsAtLoad> {
    let row = |(from, at): (&u32, &crate::metrics::CallsAtLoad)| CallsAtLoad {
        in_flight_min: *from,
        in_flight_max: from.saturating_mul(2) - 1,
        calls: at.calls,
        valid_json: at.valid_json,
        schema_valid: (at.schema_checked == at.calls).then_some(at.schema_valid),
        time_to_tool_call_ms: latency(&at.time_to_tool_call),
    };
    times.by_in_flight.iter().map(row).collect()
}

pub(super) fn loops(loops: &Loops) -> Option<LoopsReport> {
    if loops.all() == 0 {
        return None;
    }
    let ended: BTreeMap<String, u64> = SessionEnd::ALL
        .into_iter()
        .map(|end| (end.name().to_owned(), loops.ended(end)))
        .filter(|(_, n)| *n > 0)
        .collect();
    let turns = || {
        Some(Turns {
            mean: loops.turns.mean()?,
            p50: loops.turns.quantile(0.5)?,
            max: loops.turns.max()?,
        })
    };
    Some(LoopsReport {
        sessions: loops.all(),
        ended,
        completed: loops.completed(),
        turns: turns(),
        time_ms: latency(&loops.time),
    })
}
