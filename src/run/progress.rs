//! The live numbers of a run, for whoever watches it.

use crate::metrics::{Distribution, Metric};
use crate::record::{Outcome, OutcomeGroup, Phase, Record};

/// What has happened so far, over all endpoints.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Requests sent.
    pub sent: u64,
    /// Measured attempts that are over.
    pub ended: u64,
    /// Those that succeeded.
    pub ok: u64,
    /// Those that failed or were dropped.
    pub failed: u64,
    /// Output tokens as reported, of every phase.
    pub output_tokens: u64,
    /// Requests that are over, of every phase.
    pub completed: u64,
    /// Time to first token of the measured successes.
    pub ttft: Distribution,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            sent: 0,
            ended: 0,
            ok: 0,
            failed: 0,
            output_tokens: 0,
            completed: 0,
            ttft: Distribution::of_nanos(),
        }
    }
}

impl Progress {
    pub(super) fn begun(&mut self) {
        self.sent += 1;
    }

    pub(super) fn ended(&mut self, record: &Record) {
        self.completed += 1;
        self.output_tokens += record.final_usage().output.unwrap_or(0);
        if record.phase != Phase::Measured {
            return;
        }
        self.ended += 1;
        match record.outcome.group() {
            OutcomeGroup::Ok => self.ok += 1,
            OutcomeGroup::Failed | OutcomeGroup::Dropped => self.failed += 1,
            OutcomeGroup::Cut | OutcomeGroup::Cancelled => {}
        }
        if let (Outcome::Ok, Some(ns)) = (record.outcome, Metric::Ttft.sample(record)) {
            self.ttft.record(ns);
        }
    }

    /// Adds what another worker has done.
    pub(super) fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.ended += other.ended;
        self.ok += other.ok;
        self.failed += other.failed;
        self.output_tokens += other.output_tokens;
        self.completed += other.completed;
        self.ttft.merge(&other.ttft);
    }
}
