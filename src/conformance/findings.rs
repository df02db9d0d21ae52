//! Findings in the making, and as they are reported.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::code::{Code, SeenOn};
use super::pieces::Smoothness;
use crate::endpoint::Endpoint;
use crate::record::{CallRecord, Record};

/// Examples that stand beside a finding.
const EXAMPLES_MAX: usize = 3;

/// Of so many streams, one at least must be buffered for a finding.
const BUFFERED_SHARE: u64 = 10;

/// A departure at one endpoint, over all attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What departs.
    pub code: Code,
    /// How often: events, tokens or calls, over all attempts.
    pub count: u64,
    /// In how many attempts.
    pub attempts: u64,
    /// How many attempts could show it.
    pub of: u64,
    /// In a sentence.
    pub message: String,
    /// A few of the attempts; those whose bytes are in the run folder first.
    pub examples: Vec<Example>,
}

/// An attempt with a departure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Example {
    /// The request.
    pub trace_id: String,
    /// Which attempt of it, from 0.
    pub attempt: u32,
    /// The file in the run folder with what was sent and what came back; `null` if it was not kept.
    pub file: Option<String>,
}

/// An attempt, in the order in which examples are chosen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// `false` goes first.
    has_no_file: bool,
    session: u64,
    turn: u32,
    attempt: u32,
    trace_id: String,
    file: Option<String>,
    pub endpoint: Endpoint,
}

impl Key {
    pub fn of(record: &Record, file: Option<String>) -> Self {
        Self {
            has_no_file: file.is_none(),
            session: record.session,
            turn: record.turn,
            attempt: record.attempt,
            trace_id: record.trace_id.clone(),
            file,
            endpoint: record.endpoint,
        }
    }

    /// A call does not say of which session it is.
    pub fn of_call(call: &CallRecord, file: Option<String>) -> Self {
        Self {
            has_no_file: file.is_none(),
            session: u64::MAX,
            turn: call.turn,
            attempt: call.attempt,
            trace_id: call.trace_id.clone(),
            file,
            endpoint: call.endpoint,
        }
    }

    fn is_same_attempt(&self, other: &Self) -> bool {
        (self.attempt, &self.trace_id) == (other.attempt, &other.trace_id)
    }
}

/// The findings at one endpoint in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    of: BTreeMap<SeenOn, u64>,
    tallies: BTreeMap<Code, Tally>,
    pub smoothness: Smoothness,
    /// Attempts with calls that there was no room for.
    pub left_out: u64,
    /// Attempts whose calls went by unjudged, since they may be of those.
    pub skipped: u64,
}

#[derive(Clone, Debug, Default)]
struct Tally {
    count: u64,
    attempts: u64,
    /// The attempt of the last call: those of one attempt come together.
    last: Option<Key>,
    /// The words of the first attempt.
    detail: Option<(Key, String)>,
    examples: Vec<Key>,
}

impl Findings {
    /// Counts an attempt that could show what is seen on such.
    pub fn saw(&mut self, on: SeenOn) {
        *self.of.entry(on).or_default() += 1;
    }

    pub fn of(&self, on: SeenOn) -> u64 {
        self.of.get(&on).copied().unwrap_or(0)
    }

    /// Takes up a departure, seen `count` times on the attempt `key`.
    pub fn found(&mut self, code: Code, key: &Key, count: u64, detail: Option<String>) {
        let tally = self.tallies.entry(code).or_default();
        tally.count = tally.count.saturating_add(count);
        tally.attempts += 1;
        if let Some(words) = detail
            && tally.detail.as_ref().is_none_or(|(known, _)| key < known)
        {
            tally.detail = Some((key.clone(), words));
        }
        let at = tally.examples.partition_point(|known| known < key);
        if at < EXAMPLES_MAX {
            tally.examples.insert(at, key.clone());
            tally.examples.truncate(EXAMPLES_MAX);
        }
    }

    /// The same of a call, whose attempt may have shown it already.
    pub fn found_of_call(&mut self, code: Code, key: &Key, count: u64, detail: Option<String>) {
        let tally = self.tallies.entry(code).or_default();
        let is_same = tally
            .last
            .as_ref()
            .is_some_and(|last| last.is_same_attempt(key));
        if is_same {
            self.more(code, count);
        } else {
            tally.last = Some(key.clone());
            self.found(code, key, count, detail);
        }
    }

    /// More of what the attempt has shown already.
    pub fn more(&mut self, code: Code, count: u64) {
        let tally = self.tallies.entry(code).or_default();
        tally.count = tally.count.saturating_add(count);
    }

    /// How much was found, of any kind.
    pub fn found_so_far(&self) -> u64 {
        self.tallies.values().map(|tally| tally.attempts).sum()
    }

    /// As they are reported, the gravest first.
    pub fn list(&self, endpoint: Endpoint) -> Vec<Finding> {
        let finding = |(code, tally): (&Code, &Tally)| Finding {
            code: *code,
            count: tally.count,
            attempts: tally.attempts,
            of: self.of(code.seen_on()),
            message: self.message(*code, tally, endpoint),
            examples: tally.examples.iter().map(Example::from).collect(),
        };
        let tallies = self.tallies.iter();
        tallies.filter(|t| self.counts(t)).map(finding).collect()
    }

    /// Whether it is more than chance: a busy machine, too, holds up a stream now and then, and hands
    /// over in one what came apart. How many it were stands under smoothness.
    fn counts(&self, (code, tally): &(&Code, &Tally)) -> bool {
        **code != Code::Buffered
            || tally.attempts.saturating_mul(BUFFERED_SHARE) >= self.of(code.seen_on())
    }

    fn message(&self, code: Code, tally: &Tally, endpoint: Endpoint) -> String {
        let on = code.seen_on();
        let (attempts, of) = (tally.attempts, self.of(on));
        let times = if tally.count == attempts {
            String::new()
        } else {
            format!(", {} in all", tally.count)
        };
        let first = match &tally.detail {
            Some((_, words)) if attempts == 1 => format!(": {words}"),
            Some((_, words)) => format!("; the first: {words}"),
            None => String::new(),
        };
        format!(
            "in {attempts} of {of} {} on the {endpoint} endpoint, {}{times}{first}",
            on.noun(),
            code.words()
        )
    }
}

impl From<&Key> for Example {
    fn from(key: &Key) -> Self {
        Self {
            trace_id: key.trace_id.clone(),
            attempt: key.attempt,
            file: key.file.clone(),
        }
    }
}
