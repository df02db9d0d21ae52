//! Tool calls one by one, and sessions that go on with their results.

use std::collections::BTreeMap;

use super::Distribution;
use crate::record::{CallRecord, Record, SessionEnd};

/// The shortest time that gives a rate, in ns. Fragments that came in one write are read within
/// microseconds: their rate would be that of the reader, not of the writer.
const SHORTEST_SPAN_NS: u64 = 1_000_000;

/// Tool calls, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolCalls {
    /// Calls in answers.
    pub returned: u64,
    /// Those whose arguments are one complete JSON object.
    pub valid_json: u64,
    /// Those whose arguments were held against the schema of their tool.
    pub schema_checked: u64,
    /// Those of them that fit it.
    pub schema_valid: u64,
    /// Those whose name the request did not offer.
    pub unknown_name: u64,
}

impl ToolCalls {
    pub(super) fn add(&mut self, record: &Record) {
        let counts = &record.counts;
        self.returned += u64::from(counts.calls);
        self.valid_json += u64::from(counts.calls_valid);
        if let Some(valid) = counts.calls_schema_valid {
            self.schema_checked += u64::from(counts.calls);
            self.schema_valid += u64::from(valid);
        }
    }

    /// Calls whose arguments fit their tool's schema; `None` where not all were held against one, as
    /// in older facts.
    pub fn fitting(&self) -> Option<u64> {
        (self.schema_checked == self.returned).then_some(self.schema_valid)
    }
}

/// Tool calls at one range of requests in flight.
#[derive(Clone, Debug)]
pub struct CallsAtLoad {
    /// Calls whose request was sent with so many in flight.
    pub calls: u64,
    /// Those whose arguments are one complete JSON object.
    pub valid_json: u64,
    /// Those whose arguments were held against a schema.
    pub schema_checked: u64,
    /// Those of them that fit it.
    pub schema_valid: u64,
    /// Times from sending to a complete call.
    pub time_to_tool_call: Distribution,
}

/// Tool calls by what the call records say.
#[derive(Clone, Debug)]
pub struct CallTimes {
    /// Bytes of arguments a second from a call's announcement to its end, of calls that took
    /// 1 ms or more.
    pub argument_bytes_per_s: Distribution,
    /// By requests in flight, in ranges that double: 1, 2 to 3, 4 to 7; by the lower end.
    pub by_in_flight: BTreeMap<u32, CallsAtLoad>,
}

impl CallTimes {
    pub(super) fn new() -> Self {
        Self {
            argument_bytes_per_s: Distribution::of_counts(),
            by_in_flight: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, call: &CallRecord) {
        let took = call
            .complete_ns
            .zip(call.announced_ns)
            .map(|(complete, announced)| complete.nanos_since(announced));
        if let Some(took) = took.filter(|took| *took >= SHORTEST_SPAN_NS) {
            let rate = u128::from(call.argument_bytes) * 1_000_000_000 / u128::from(took);
            let rate = u64::try_from(rate).unwrap_or(u64::MAX);
            self.argument_bytes_per_s.record(rate);
        }
        let Some(log) = call.in_flight.and_then(u32::checked_ilog2) else {
            return;
        };
        let at = self
            .by_in_flight
            .entry(1 << log)
            .or_insert_with(|| CallsAtLoad {
                calls: 0,
                valid_json: 0,
                schema_checked: 0,
                schema_valid: 0,
                time_to_tool_call: Distribution::of_nanos(),
            });
        at.calls += 1;
        at.valid_json += u64::from(call.valid_json);
        at.schema_checked += u64::from(call.schema_valid.is_some());
        at.schema_valid += u64::from(call.schema_valid == Some(true));
        if let Some((complete, sent)) = call.complete_ns.zip(call.sent_ns) {
            at.time_to_tool_call.record(complete.nanos_since(sent));
        }
    }
}

/// Sessions that may have several turns: the model calls tools, gets their results, and goes on.
#[derive(Clone, Debug)]
pub struct Loops {
    ended: BTreeMap<SessionEnd, u64>,
    /// Turns of those that the model ended with an answer.
    pub turns: Distribution,
    /// From the sending of the first turn to the end of the last, of the same.
    pub time: Distribution,
}

impl Loops {
    pub(super) fn new() -> Self {
        Self {
            ended: BTreeMap::new(),
            turns: Distribution::of_counts(),
            time: Distribution::of_nanos(),
        }
    }

    pub(super) fn add(&mut self, record: &Record) {
        let Some(end) = record.session_end else {
            return;
        };
        *self.ended.entry(end).or_default() += 1;
        if end == SessionEnd::Answered {
            self.turns.record(u64::from(record.turn) + 1);
            if let Some((last, first)) = record.terminator.zip(record.session_sent) {
                self.time.record(last.nanos_since(first));
            }
        }
    }

    /// Sessions that ended in this way.
    pub fn ended(&self, end: SessionEnd) -> u64 {
        self.ended.get(&end).copied().unwrap_or(0)
    }

    /// Sessions that ended, in any way.
    pub fn all(&self) -> u64 {
        self.ended.values().sum()
    }

    /// The share of those that the model ended with an answer, of all that were not stopped from
    /// outside; `None` without any.
    pub fn completed(&self) -> Option<f64> {
        let own = self.all() - self.ended(SessionEnd::Stopped);
        (own > 0).then(|| self.ended(SessionEnd::Answered) as f64 / own as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, ok};
    use super::*;
    use crate::endpoint::Endpoint;
    use crate::record::{Outcome, Phase, Tally};
    use crate::time::Offset;

    fn call(in_flight: Option<u32>, announced: u64, complete: u64) -> CallRecord {
        CallRecord {
            trace_id: String::new(),
            attempt: 0,
            phase: Phase::Measured,
            endpoint: Endpoint::OpenAi,
            outcome: Outcome::Ok,
            sent_ns: Some(at(0)),
            turn: 0,
            in_flight,
            index: 0,
            id: String::new(),
            name: String::new(),
            offered: true,
            argument_bytes: 300,
            valid_json: true,
            arguments_sha256: String::new(),
            schema_valid: Some(complete < 400),
            value_sha256: None,
            marks: Tally::default(),
            announced_ns: Some(at(announced)),
            complete_ns: Some(at(complete)),
        }
    }

    #[test]
    fn calls_are_told_apart_by_load_and_have_rates_where_they_took_a_time() {
        let mut times = CallTimes::new();
        for (in_flight, complete) in [(Some(1), 200), (Some(5), 100), (Some(7), 400), (None, 300)] {
            times.add(&call(in_flight, 100, complete));
        }
        let rates = &times.argument_bytes_per_s;
        assert_eq!(
            (rates.count(), rates.max(), rates.min()),
            (3, Some(3_000), Some(1_000))
        );
        let at: Vec<_> = times
            .by_in_flight
            .iter()
            .map(|(from, at)| (*from, at.calls, at.schema_valid, at.time_to_tool_call.max()))
            .collect();
        assert_eq!(
            at,
            [(1, 1, 1, Some(200_000_000)), (4, 2, 1, Some(400_000_000))]
        );
    }

    #[test]
    fn a_call_that_came_in_one_write_has_no_rate() {
        let mut times = CallTimes::new();
        for took in [0, 999_999, 1_000_000] {
            let mut call = call(None, 100, 100);
            call.complete_ns = Some(Offset::from_nanos(100_000_000 + took));
            times.add(&call);
        }
        let rates = &times.argument_bytes_per_s;
        assert_eq!((rates.count(), rates.max()), (1, Some(300_000)));
    }

    #[test]
    fn a_loop_is_completed_by_the_model_alone() {
        let mut loops = Loops::new();
        assert_eq!(loops.completed(), None);
        for (end, turn) in [
            (SessionEnd::Answered, 2),
            (SessionEnd::TurnLimit, 9),
            (SessionEnd::Stopped, 0),
        ] {
            let mut record = ok(1_000, 1_100, 1_200, 1_300);
            (record.session_end, record.turn) = (Some(end), turn);
            record.session_sent = Some(at(300));
            loops.add(&record);
        }
        loops.add(&ok(0, 1, 2, 3));
        assert_eq!((loops.all(), loops.completed()), (3, Some(0.5)));
        assert_eq!(loops.turns.max(), Some(3));
        assert_eq!(loops.time.max(), Some(1_000_000_000));
    }

    #[test]
    fn older_facts_know_no_schemas() {
        let mut calls = ToolCalls::default();
        let mut record = ok(0, 1, 2, 3);
        record.counts.calls = 2;
        assert_eq!(calls.fitting(), Some(0), "of none");
        record.counts.calls_schema_valid = Some(1);
        calls.add(&record);
        assert_eq!(calls.fitting(), Some(1));
        record.counts.calls_schema_valid = None;
        calls.add(&record);
        assert_eq!(calls.fitting(), None);
    }
}
