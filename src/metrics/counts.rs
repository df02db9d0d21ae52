//! What is counted: requests and attempts, tokens.

use std::collections::BTreeMap;

use crate::record::{Outcome, OutcomeGroup, Record};

/// Requests and attempts of the measured phase, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests whose last attempt is known; they add up of those by outcome group.
    pub planned: u64,
    /// Of them, those that succeeded.
    pub ok: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were not sent.
    pub dropped: u64,
    /// Those that the harness cut.
    pub cut: u64,
    /// Those that were hung up on purpose.
    pub cancelled: u64,
    /// Requests whose first attempt is known.
    pub begun: u64,
    /// Of them, those whose first attempt was sent.
    pub sent: u64,
    /// Attempts that were sent.
    pub attempts: u64,
    /// Attempts that were never sent.
    pub unsent: u64,
    outcomes: BTreeMap<Outcome, u64>,
}

impl Counts {
    pub(super) fn add(&mut self, record: &Record) {
        let sent = record.sent.is_some();
        self.begun += u64::from(record.attempt == 0);
        self.sent += u64::from(record.attempt == 0 && sent);
        self.attempts += u64::from(sent);
        self.unsent += u64::from(!sent);
        *self.outcomes.entry(record.outcome).or_default() += 1;
        if record.last {
            self.planned += 1;
            *self.group_mut(record.outcome.group()) += 1;
        }
    }

    fn group_mut(&mut self, group: OutcomeGroup) -> &mut u64 {
        match group {
            OutcomeGroup::Ok => &mut self.ok,
            OutcomeGroup::Failed => &mut self.failed,
            OutcomeGroup::Dropped => &mut self.dropped,
            OutcomeGroup::Cut => &mut self.cut,
            OutcomeGroup::Cancelled => &mut self.cancelled,
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            planned,
            ok,
            failed,
            dropped,
            cut,
            cancelled,
            begun,
            sent,
            attempts,
            unsent,
            outcomes,
        } = other;
        self.planned += planned;
        self.ok += ok;
        self.failed += failed;
        self.dropped += dropped;
        self.cut += cut;
        self.cancelled += cancelled;
        self.begun += begun;
        self.sent += sent;
        self.attempts += attempts;
        self.unsent += unsent;
        for (outcome, n) in outcomes {
            *self.outcomes.entry(*outcome).or_default() += n;
        }
    }

    /// Attempts of this outcome, those that were retried included.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    /// The sum that does not hold, in words.
    pub(super) fn broken_sum(&self) -> Option<String> {
        let parts = self.ok + self.failed + self.dropped + self.cut + self.cancelled;
        if self.planned != parts {
            return Some(format!(
                "{} planned, but {} ok + {} failed + {} dropped + {} cut + {} cancelled",
                self.planned, self.ok, self.failed, self.dropped, self.cut, self.cancelled
            ));
        }
        let rows: u64 = self.outcomes.values().sum();
        (rows != self.attempts + self.unsent).then(|| {
            format!(
                "{rows} outcomes, but {} attempts sent and {} not sent",
                self.attempts, self.unsent
            )
        })
    }
}

/// Sums of token counts in one meaning for both endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTotals {
    /// All input tokens, cached ones included.
    pub input: Option<u64>,
    /// Input tokens read from a cache.
    pub cache_read: Option<u64>,
    /// Input tokens written to a cache.
    pub cache_write: Option<u64>,
    /// All output tokens.
    pub output: Option<u64>,
    /// Output tokens that are reasoning.
    pub reasoning: Option<u64>,
}

impl UsageTotals {
    /// Adds what an attempt reported, failed and retried ones included: they may be billed.
    pub(super) fn add(&mut self, record: &Record) {
        let usage = &record.final_usage();
        self.merge(&Self {
            input: usage.total_input(record.endpoint),
            cache_read: usage.cache_read,
            cache_write: usage.cache_write,
            output: usage.output,
            reasoning: usage.reasoning,
        });
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (total, count) in [
            (&mut self.input, other.input),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_write, other.cache_write),
            (&mut self.output, other.output),
            (&mut self.reasoning, other.reasoning),
        ] {
            if let Some(count) = count {
                // Counts come from outside and may be nonsense.
                *total = Some(total.unwrap_or(0).saturating_add(count));
            }
        }
    }
}
