//! One side of a pair: what is kept of a request until its counterpart comes.

use crate::billing::reconcile::{Judged, Status};
use crate::endpoint::Endpoint;
use crate::event::FinishReason;
use crate::money::Money;
use crate::record::{Outcome, Record};
use crate::truth::Truth;

/// A request, as far as it is compared.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub endpoint: Endpoint,
    pub trace_id: Box<str>,
    pub outcome: Outcome,
    /// Whether its text, if any, is known token by token.
    pub is_known: bool,
    pub has_text: bool,
    pub has_reasoning: bool,
    pub text: Tokens,
    pub reasoning: Tokens,
    pub calls: u32,
    pub call_names: Option<Box<str>>,
    pub call_arguments: Option<Box<str>>,
    pub finish: Option<FinishReason>,
    pub input: Option<u64>,
    pub cache_read: Option<u64>,
    /// What the upstream's cache served and took, by its journal.
    pub cached: Option<[Option<u64>; 2]>,
    pub output: Option<u64>,
    pub predicted: Option<Money>,
    pub recorded: Option<Money>,
    pub status: Status,
    /// Time to first token and to the end, in ns.
    pub times: [Option<u64>; 2],
}

/// What became of the tokens of an answer, by their marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Own tokens that arrived, each once.
    pub own: u64,
    /// Missing: in the middle, at a block's begin, or at the end where the journal knows it.
    pub lost: u64,
    /// Came again.
    pub repeated: u64,
    /// Came out of order.
    pub reordered: u64,
    /// Of another answer.
    pub foreign: u64,
}

impl Tokens {
    fn of(record: &Record, name: &str, written: Option<u64>) -> Self {
        let mark = |of: &str| record.marks.get(&format!("{name}{of}"));
        let tail = written.map_or(0, |all| all.saturating_sub(mark("_next")));
        Self {
            own: mark(""),
            lost: mark("_lost") + mark("_head_lost") + tail,
            repeated: mark("_repeated"),
            reordered: mark("_reordered"),
            foreign: mark("_foreign"),
        }
    }

    /// Whether everything arrived once, in order, and nothing else.
    pub const fn is_whole(&self) -> bool {
        self.lost + self.repeated + self.reordered + self.foreign == 0
    }

    /// Adds the text and the reasoning of a side.
    pub(super) fn add(&mut self, side: &Side) {
        for part in [&side.text, &side.reasoning] {
            self.own += part.own;
            self.lost += part.lost;
            self.repeated += part.repeated;
            self.reordered += part.reordered;
            self.foreign += part.foreign;
        }
    }
}

impl Side {
    pub fn of(record: &Record, truths: Option<&[Truth]>, judged: &Judged) -> Self {
        let written = truths.and_then(|truths| written(record, truths));
        let usage = record.final_usage();
        let (has_text, has_reasoning) = (
            record.text_sha256.is_some(),
            record.reasoning_sha256.is_some(),
        );
        // Text that is there and has no marks is of a live model.
        let is_known = if has_text || has_reasoning {
            !record.marks.is_empty()
        } else {
            written.is_some() || (truths.is_some_and(|t| !t.is_empty()) && !is_ok(record))
        };
        let since = |at: Option<crate::time::Offset>| Some(at?.nanos_since(record.sent?));
        Self {
            endpoint: record.endpoint,
            trace_id: record.trace_id.as_str().into(),
            outcome: record.outcome,
            is_known,
            has_text,
            has_reasoning,
            text: Tokens::of(record, "text", written.and_then(|t| t.text_tokens)),
            reasoning: Tokens::of(
                record,
                "reasoning",
                written.and_then(|t| t.reasoning_tokens),
            ),
            calls: record.counts.calls,
            call_names: record.call_names_sha256.as_deref().map(Into::into),
            call_arguments: record.call_arguments_sha256.as_deref().map(Into::into),
            finish: finish(record),
            input: usage.total_input(record.endpoint),
            cache_read: usage.cache_read,
            cached: written.map(|truth| [truth.cache_read, truth.cache_write]),
            output: usage.output,
            predicted: judged.predicted,
            recorded: judged.recorded.as_ref().map(|recorded| recorded.amount),
            status: judged.status,
            times: [since(record.first_token), since(record.terminator)],
        }
    }

    pub fn is_ok(&self) -> bool {
        self.outcome == Outcome::Ok
    }
}

fn is_ok(record: &Record) -> bool {
    record.outcome == Outcome::Ok
}

/// The one entry of a complete answer that the journal knows the tokens of.
fn written<'a>(record: &Record, truths: &'a [Truth]) -> Option<&'a Truth> {
    if !is_ok(record) {
        return None;
    }
    let mut whole = truths
        .iter()
        .filter(|t| t.completed && (200..400).contains(&t.status));
    let only = whole.next().filter(|_| whole.next().is_none())?;
    only.text_tokens.is_some().then_some(only)
}

/// The stop reason in the terms of both protocols. A stop sequence is a stop at one of them, and so is
/// the end of a call that was asked for by name.
fn finish(record: &Record) -> Option<FinishReason> {
    let is_named = record.tool_choice.as_deref() == Some("named");
    record
        .finish
        .as_deref()
        .map(|raw| match FinishReason::of(raw) {
            FinishReason::StopSequence => FinishReason::Stop,
            FinishReason::ToolCalls if is_named => FinishReason::Stop,
            reason => reason,
        })
}
