//! What is measured of a request, each metric by its definition, and limits on it.

use std::time::Duration;

use super::Distribution;
use crate::record::{Class, OutcomeGroup, Record};
use crate::time::Offset;

/// A latency that is reported as a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Time to first token.
    Ttft,
    /// Time to first reasoning token.
    Ttfr,
    /// Time to first visible token.
    Ttfv,
    /// Time to first token, from when the request was due.
    TtftFromDue,
    /// Time to first body byte.
    Ttfb,
    /// Inter-chunk latency: gaps between successive token-bearing events, all of them, those of
    /// streams that failed later included.
    Icl,
    /// Time per output token after the first.
    Tpot,
    /// End to end.
    E2e,
    /// End to end, from when the request was due: attempts that were retried, and the waits
    /// between them, included.
    E2eFromDue,
    /// Time to the first piece of a tool call: its name or its arguments.
    TimeToFirstToolDelta,
    /// Time to a complete tool call; one sample a call.
    TimeToToolCall,
    /// Time until every tool call of the answer is complete.
    TimeToAllToolCalls,
    /// How late the harness sent.
    ScheduleLag,
}

impl Metric {
    /// Every metric, in the order in which reports show them.
    pub const ALL: [Self; 13] = [
        Self::Ttft,
        Self::Ttfr,
        Self::Ttfv,
        Self::TtftFromDue,
        Self::Ttfb,
        Self::Icl,
        Self::Tpot,
        Self::E2e,
        Self::E2eFromDue,
        Self::TimeToFirstToolDelta,
        Self::TimeToToolCall,
        Self::TimeToAllToolCalls,
        Self::ScheduleLag,
    ];

    /// The name in scenario files, gates and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Ttfr => "ttfr",
            Self::Ttfv => "ttfv",
            Self::TtftFromDue => "ttft_from_due",
            Self::Ttfb => "ttfb",
            Self::Icl => "icl",
            Self::Tpot => "tpot",
            Self::E2e => "e2e",
            Self::E2eFromDue => "e2e_from_due",
            Self::TimeToFirstToolDelta => "time_to_first_tool_delta",
            Self::TimeToToolCall => "time_to_tool_call",
            Self::TimeToAllToolCalls => "time_to_all_tool_calls",
            Self::ScheduleLag => "schedule_lag",
        }
    }

    /// The metric of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }

    /// Its value for one attempt, in ns: the definition of every metric that is a request's.
    /// `None` where the attempt has none, and for the metrics that have many samples a request
    /// ([`Metric::Icl`], [`Metric::TimeToToolCall`]).
    pub fn sample(self, record: &Record) -> Option<u64> {
        let since = |at: Option<Offset>, from: Option<Offset>| Some(at?.nanos_since(from?));
        match self {
            Self::Ttft => since(record.first_token, record.sent),
            Self::Ttfr => since(record.first_reasoning, record.sent),
            Self::Ttfv => since(record.first_visible, record.sent),
            Self::TtftFromDue => since(record.first_token, record.due),
            Self::Ttfb => since(record.first_byte, record.sent),
            Self::E2e => since(record.terminator, record.sent),
            Self::E2eFromDue => since(record.terminator, record.due),
            // A retry leaves late on purpose.
            Self::ScheduleLag if record.attempt > 0 => None,
            Self::ScheduleLag => since(record.sent, record.due),
            Self::Tpot => time_per_output_token(record),
            Self::TimeToFirstToolDelta => since(record.first_call, record.sent),
            Self::TimeToAllToolCalls => since(record.all_calls, record.sent),
            Self::Icl | Self::TimeToToolCall => None,
        }
    }

    const fn is_first_token(self) -> bool {
        matches!(self, Self::Ttft | Self::TtftFromDue)
    }

    /// Whether an attempt that failed should have had this metric, and so counts as over any
    /// limit on it.
    fn expected_of(self, record: &Record) -> bool {
        match self {
            Self::Ttft | Self::Tpot | Self::Ttfr | Self::Ttfv => record.streaming,
            Self::TtftFromDue => record.streaming && record.due.is_some(),
            Self::Ttfb | Self::E2e => true,
            Self::E2eFromDue => record.due.is_some(),
            Self::TimeToFirstToolDelta | Self::TimeToToolCall | Self::TimeToAllToolCalls => {
                record.streaming && record.class == Class::Tools
            }
            Self::Icl | Self::ScheduleLag => false,
        }
    }

    /// What this metric would at least have been for a request that was cut before it had it.
    fn at_least(self, record: &Record) -> u64 {
        let from = match self {
            // How slow the tokens after the first would have been, nobody knows.
            Self::Tpot => None,
            Self::TtftFromDue | Self::E2eFromDue => record.due,
            _ => record.sent,
        };
        record
            .ended
            .zip(from)
            .map_or(0, |(ended, from)| ended.nanos_since(from))
    }

    /// Whether a request has one value of it at most, which stands in its row.
    pub(super) const fn is_of_a_request(self) -> bool {
        !matches!(self, Self::Icl | Self::TimeToToolCall)
    }

    /// Puts into `distribution` what a request of this outcome has to say of this metric.
    pub(super) fn put(self, record: &Record, distribution: &mut Distribution) {
        match record.outcome.group() {
            OutcomeGroup::Ok => match self.sample(record) {
                Some(ns) => distribution.record(ns),
                // A stream that was asked for, had something to say, and came as a whole body.
                None if self.is_first_token()
                    && self.expected_of(record)
                    && record.counts.token_events > 0 =>
                {
                    distribution.record_missing();
                }
                None => {}
            },
            // The workload hung up: what it did not wait for says nothing.
            OutcomeGroup::Cancelled => {}
            _ if !self.expected_of(record) => {}
            OutcomeGroup::Failed | OutcomeGroup::Dropped => distribution.record_failure(),
            OutcomeGroup::Cut => match self.sample(record) {
                Some(ns) => distribution.record_cut(ns),
                None => distribution.record_censored(self.at_least(record)),
            },
        }
    }
}

/// `(last token event - first token event) / (n - 1)`, where n is the reported output tokens, less
/// reasoning tokens where reasoning was reported but not streamed. It needs n >= 2 and token
/// events in at least two batches: tokens that came in one batch say nothing about their pace.
fn time_per_output_token(record: &Record) -> Option<u64> {
    let output = record.last_usage.output?;
    let unseen = if record.counts.reasoning_events == 0 {
        record.last_usage.reasoning.unwrap_or(0)
    } else {
        0
    };
    let tokens = output.checked_sub(unseen)?;
    if tokens < 2 || record.counts.token_batches < 2 {
        return None;
    }
    Some(record.last_token?.nanos_since(record.first_token?) / (tokens - 1))
}

/// Upper limits that a request must meet to count as goodput.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits(pub Vec<(Metric, Duration)>);

impl Limits {
    /// Whether a successful request meets every limit. A metric that it does not have (`ttfv` of a
    /// turn of tool calls, `ttft` of a whole body) is not held against it.
    pub(super) fn met_by(&self, record: &Record) -> bool {
        self.0.iter().all(|(metric, limit)| {
            metric
                .sample(record)
                .is_none_or(|ns| Duration::from_nanos(ns) <= *limit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, ok};
    use super::*;

    #[test]
    fn every_latency_by_its_definition() {
        let mut record = ok(1_005, 1_105, 1_505, 1_510);
        record.due = Some(at(1_000));
        let ms = |metric: Metric| metric.sample(&record).map(|ns| ns / 1_000_000);
        assert_eq!(ms(Metric::Ttft), Some(100));
        assert_eq!(ms(Metric::TtftFromDue), Some(105));
        assert_eq!(ms(Metric::Ttfr), None);
        assert_eq!(ms(Metric::Ttfv), Some(100));
        assert_eq!(ms(Metric::E2e), Some(505));
        assert_eq!(ms(Metric::E2eFromDue), Some(510));
        assert_eq!(ms(Metric::TimeToFirstToolDelta), None);
        (record.first_call, record.all_calls) = (Some(at(1_205)), Some(at(1_405)));
        let ms = |metric: Metric| metric.sample(&record).map(|ns| ns / 1_000_000);
        assert_eq!(ms(Metric::TimeToFirstToolDelta), Some(200));
        assert_eq!(ms(Metric::TimeToAllToolCalls), Some(400));
        assert_eq!(ms(Metric::ScheduleLag), Some(5));
        assert_eq!(
            ms(Metric::Tpot),
            Some(20),
            "400 ms over 20 tokens after the first"
        );
    }

    #[test]
    fn tpot_needs_two_batches_and_leaves_out_reasoning_that_was_not_streamed() {
        let mut record = ok(0, 100, 500, 510);
        record.last_usage.reasoning = Some(11);
        assert_eq!(Metric::Tpot.sample(&record), Some(400_000_000 / 9));
        record.counts.reasoning_events = 5;
        assert_eq!(Metric::Tpot.sample(&record), Some(20_000_000));
        record.counts.token_batches = 1;
        assert_eq!(Metric::Tpot.sample(&record), None);
        record.counts.token_batches = 2;
        record.last_usage.output = None;
        assert_eq!(Metric::Tpot.sample(&record), None);
    }
}
