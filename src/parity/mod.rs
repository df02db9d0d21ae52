//! Whether the two endpoints give the same answers to the same sessions.
//!
//! In: the measured requests of a run on both endpoints, with what the upstream's journal and the
//! bill say of each. Requests of one session and turn are a pair. Out: how many pairs differ in what,
//! and by how much one endpoint is slower than the other in the same pair.
//!
//! Where answers are self-identifying (the offline upstream, also behind a real gateway), texts,
//! arguments and token counts of a pair must be the same, whatever their nonces: the comparison is
//! *exact*. A live model says something else each time, so that of its pairs only the structure can be
//! compared (whether there is text, reasoning, which tools, why it stopped) and the status of the
//! price. Its structure, too, is drawn anew on each side, so that a difference of it is a finding only
//! if it leans to one side: two equal samplers differ as often one way as the other. Of n pairs that
//! differ, the ways must be apart by more than four standard deviations of chance, 4 sqrt(n).

mod difference;
mod latency;
mod side;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use crate::billing::reconcile::Judged;
use crate::endpoint::Endpoint;
use crate::record::{OutcomeGroup, Phase, Record};
use crate::truth::Truth;

pub use difference::{Code, Difference, Pair};
pub use latency::{Paired, Shift};
pub use side::Tokens;

use difference::Differences;
use side::Side;

/// Requests that wait for their counterpart at most; what comes beyond is not compared.
const PENDING_MAX: usize = 200_000;

/// Pairs as a fold over requests.
#[derive(Clone, Debug, Default)]
pub struct Parity {
    pending: HashMap<(u64, u32), Side>,
    differences: Differences,
    shift: Paired,
    tokens: BTreeMap<Endpoint, Tokens>,
    compared: u64,
    exact: u64,
    left_out: u64,
    uncompared: u64,
}

/// How many pairs there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Compared.
    pub compared: u64,
    /// Those of them that were compared token by token.
    pub exact: u64,
    /// Not compared, since the harness itself dropped, cut or cancelled a side.
    pub left_out: u64,
    /// Requests without a counterpart.
    pub unpaired: u64,
    /// Requests that were not compared: too many waited for their counterpart.
    pub uncompared: u64,
}

impl Parity {
    /// No pair yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an attempt, with the journal's entries of its nonce if there is a journal, and what its
    /// bill says. Only last attempts of the measured phase are looked at.
    pub fn add(&mut self, record: &Record, truths: Option<&[Truth]>, judged: &Judged) {
        if record.phase != Phase::Measured || !record.last {
            return;
        }
        let key = (record.session, record.turn);
        let is_other = |side: &Side| side.endpoint != record.endpoint;
        if self.pending.get(&key).is_some_and(is_other) {
            let other = self.pending.remove(&key).expect("it was there");
            let side = Side::of(record, truths, judged);
            if record.endpoint == Endpoint::OpenAi {
                self.pair(key.0, &side, &other);
            } else {
                self.pair(key.0, &other, &side);
            }
        } else if self.pending.len() < PENDING_MAX {
            self.pending.insert(key, Side::of(record, truths, judged));
        } else {
            self.uncompared += 1;
        }
    }

    fn pair(&mut self, session: u64, openai: &Side, anthropic: &Side) {
        let by_harness = |side: &Side| {
            matches!(
                side.outcome.group(),
                OutcomeGroup::Dropped | OutcomeGroup::Cut | OutcomeGroup::Cancelled
            )
        };
        if by_harness(openai) || by_harness(anthropic) {
            self.left_out += 1;
            return;
        }
        self.compared += 1;
        let is_exact = openai.is_known && anthropic.is_known;
        self.exact += u64::from(is_exact);
        self.differences.compare(openai, anthropic, is_exact);
        if is_exact {
            for side in [openai, anthropic] {
                self.tokens.entry(side.endpoint).or_default().add(side);
            }
        }
        if openai.is_ok() && anthropic.is_ok() {
            self.shift.add(session, openai.times, anthropic.times);
        }
    }

    /// How many pairs there were.
    pub fn pairs(&self) -> Pairs {
        Pairs {
            compared: self.compared,
            exact: self.exact,
            left_out: self.left_out,
            unpaired: self.pending.len() as u64,
            uncompared: self.uncompared,
        }
    }

    /// What differs, in how many pairs.
    pub fn differences(&self) -> Vec<Difference> {
        self.differences.list()
    }

    /// What became of the tokens of pairs that were compared exactly, at `endpoint`.
    pub fn tokens(&self, endpoint: Endpoint) -> Option<Tokens> {
        self.tokens.get(&endpoint).copied()
    }

    /// By how much the Anthropic endpoint took longer, in the same pair.
    pub const fn latency(&self) -> &Paired {
        &self.shift
    }
}
