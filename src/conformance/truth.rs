//! An attempt against what the upstream got and wrote.

use super::code::{Code, SeenOn};
use super::pieces::Pieces;
use super::{At, may_call};
use crate::event::FinishReason;
use crate::record::{Class, Outcome, Record};
use crate::truth::Truth;

/// Planted faults that end an answer: who saw it could not take it for a whole one.
const ENDING: [&str; 12] = [
    "status",
    "html_200",
    "error_in_200",
    "refuse",
    "reset_before_headers",
    "reset_after_headers",
    "reset",
    "cut",
    "no_terminator",
    "error_in_stream",
    "stall",
    "foreign_error",
];

/// A silence this much longer than the upstream's is worth saying, in ns.
const SILENCE_MORE_NS: u64 = 500_000_000;

/// What of an answer did not arrive, in marked tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Of the text, where nothing of it arrived.
    pub text_all: u64,
    /// At the end of the text.
    pub text_tail: u64,
    /// Of what the upstream wrote after the calls.
    pub text_after_call: u64,
    /// At the end of the reasoning, or all of it.
    pub reasoning: u64,
}

/// The one entry of a complete answer that the upstream wrote to its end, and knows. A request that
/// was answered more than once has none: nobody knows which answer arrived.
pub(super) fn whole<'a>(record: &Record, entries: &'a [Truth]) -> Option<&'a Truth> {
    if record.outcome != Outcome::Ok {
        return None;
    }
    let mut answered = entries.iter().filter(|truth| is_good(truth));
    let only = answered.next().filter(|_| answered.next().is_none())?;
    let is_known = only.fault.is_none() || only.text_tokens.is_some() || only.has_text();
    (only.finish.is_some() && is_known).then_some(only)
}

/// Whether this entry is of an answer that came to a good end.
fn is_good(truth: &Truth) -> bool {
    let delivered = truth.delivered_output.is_some() && truth.delivered_output == truth.output;
    let ends = truth
        .fault
        .as_deref()
        .is_some_and(|fault| ENDING.contains(&fault));
    (200..400).contains(&truth.status) && !ends && (truth.completed || delivered)
}

/// What the upstream was asked, against what it was to be asked. Attempts of one request share its
/// entries, so the last one answers for all.
pub(super) fn asked(at: &mut At<'_>, record: &Record, entries: &[Truth]) {
    if !record.last || record.class != Class::Tools {
        return;
    }
    let knows = |truth: &&Truth| truth.tools.is_some();
    let Some(first) = entries.iter().find(knows) else {
        return;
    };
    at.seen.saw(SeenOn::Asked);
    // Without its tools, a request that must call none asks the same.
    if !may_call(record) {
        return;
    }
    if entries.iter().any(|truth| truth.tools == Some(0)) {
        at.found(Code::ToolsDropped, 1, None);
        return;
    }
    let entries = || entries.iter().filter(knows);
    // Where nothing is said, the model may choose.
    let choice = |truth: &Truth| {
        truth
            .tool_choice
            .clone()
            .unwrap_or_else(|| "auto".to_owned())
    };
    if let Some(wanted) = &record.tool_choice
        && let Some(other) = entries().map(choice).find(|choice| choice != wanted)
    {
        let detail = format!("`{wanted}` became `{other}`");
        at.found(Code::ChoiceChanged, 1, Some(detail));
    }
    let is_free = |truth: &Truth| truth.parallel_tool_calls != Some(false);
    if record.parallel_tool_calls == Some(false) && entries().any(is_free) {
        let said = first
            .parallel_tool_calls
            .map_or("nothing", |_| "that they may");
        let detail = format!("it was told {said}");
        at.found(Code::ParallelRestrictionDropped, 1, Some(detail));
    }
}

/// A success that the upstream does not know of.
pub(super) fn answered(at: &mut At<'_>, record: &Record, entries: &[Truth]) {
    if record.outcome != Outcome::Ok || entries.is_empty() {
        return;
    }
    at.seen.saw(SeenOn::Answered);
    if !entries.iter().any(is_good) {
        let last = &entries[entries.len() - 1];
        let how = match (&last.fault, last.status) {
            (Some(fault), _) => format!("`{fault}`"),
            (None, status @ 400..) => format!("status {status}"),
            (None, _) => "it broke off".to_owned(),
        };
        let finish = record.finish.as_deref().unwrap_or("none");
        let detail = format!("the upstream's end: {how}; the stop reason that arrived: `{finish}`");
        at.found(Code::ErrorSwallowed, 1, Some(detail));
    }
}

/// A complete answer against the entry that it is of.
pub(super) fn held(at: &mut At<'_>, record: &Record, truth: &Truth) {
    at.seen.saw(SeenOn::Written);
    usage(at, record, truth);
    stop_reason(at, record, truth);
    if let Some(pieces) = Pieces::of(record, truth) {
        at.seen.saw(SeenOn::Timed);
        at.seen.smoothness.add(&pieces);
        // What is lost makes fewer pieces, and no lumps.
        let in_lumps = pieces.is_buffered() == Some(true) && !has_losses(record, truth);
        if pieces.is_fake() || in_lumps {
            at.found(Code::Buffered, 1, Some(pieces.words()));
        } else {
            silence(at, record, truth);
        }
    }
}

/// Whether some of what the upstream wrote did not arrive.
fn has_losses(record: &Record, truth: &Truth) -> bool {
    let lost = [
        "text_lost",
        "text_head_lost",
        "reasoning_lost",
        "reasoning_head_lost",
    ];
    missing(record, truth) != Missing::default()
        || u64::from(record.counts.calls) < truth.tool_calls
        || lost.into_iter().any(|name| record.marks.get(name) > 0)
}

fn usage(at: &mut At<'_>, record: &Record, truth: &Truth) {
    // What stands at the begin of a stream whose end has no usage is a placeholder.
    if super::oddity(record, "usage_missing") > 0 {
        return;
    }
    let usage = record.final_usage();
    let reported = (usage.total_input(record.endpoint), usage.output);
    let counted = (truth.input, truth.output);
    let ((Some(input), Some(output)), (Some(true_input), Some(true_output))) = (reported, counted)
    else {
        return;
    };
    let differs = |reported: Option<u64>, counted: Option<u64>| {
        reported
            .zip(counted)
            .is_some_and(|(reported, counted)| reported != counted)
    };
    let parts_differ =
        differs(usage.cache_read, truth.cache_read) || differs(usage.reasoning, truth.reasoning);
    if (input, output) == (true_input, true_output) && !parts_differ {
        return;
    }
    let read = truth.cache_read.unwrap_or(0);
    let written = truth.cache_write.unwrap_or(0);
    let twice = |again: u64| again > 0 && input == true_input.saturating_add(again);
    let is_twice = twice(read) || twice(written) || twice(read.saturating_add(written));
    let code = if is_twice && output == true_output {
        Code::CacheCountedTwice
    } else {
        Code::UsageWrong
    };
    let parts = if (input, output) == (true_input, true_output) {
        let count = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
        format!(
            ", of it cached {} for {}, reasoning {} for {}",
            count(usage.cache_read),
            count(truth.cache_read),
            count(usage.reasoning),
            count(truth.reasoning)
        )
    } else if read > 0 {
        format!(", {read} of it cached")
    } else {
        String::new()
    };
    let detail = format!(
        "reported {input} in / {output} out, the upstream counted {true_input} / {true_output}{parts}"
    );
    at.found(code, 1, Some(detail));
}

/// Whether calls are missing, or came from nowhere, under the stop reason that the upstream gave.
pub(super) fn calls_went_astray(record: &Record, truth: &Truth) -> bool {
    u64::from(record.counts.calls) != truth.tool_calls
        && record.finish.as_deref().map(FinishReason::of)
            == truth.finish.as_deref().map(FinishReason::of)
}

/// A stop reason that is not the upstream's. What calls say of it, the protocol's check does.
fn stop_reason(at: &mut At<'_>, record: &Record, truth: &Truth) {
    let ended = |raw: &str| match FinishReason::of(raw) {
        FinishReason::Stop | FinishReason::StopSequence | FinishReason::ToolCalls => {
            Some(FinishReason::Stop)
        }
        FinishReason::Other => None,
        reason => Some(reason),
    };
    let (Some(finish), Some(written)) = (record.finish.as_deref(), truth.finish.as_deref()) else {
        return;
    };
    let differs = ended(finish)
        .zip(ended(written))
        .is_some_and(|(a, b)| a != b);
    if differs && super::oddity(record, "stop_reason") == 0 {
        let detail = format!("`{finish}`, the upstream's: `{written}`");
        at.found(Code::StopReasonWrong, 1, Some(detail));
    }
}

/// A silence where the upstream wrote keep-alives. What the gateway takes until the first token is its
/// latency, and not held against it here; nor is a gateway that is slow, where nothing was to be handed
/// on.
fn silence(at: &mut At<'_>, record: &Record, truth: &Truth) {
    if truth.keep_alives.unwrap_or(0) == 0 {
        return;
    }
    let since = |at: Option<crate::time::Offset>| Some(at?.nanos_since(record.sent?));
    let (Some(upstream), Some(first_byte), Some(first_token), Some(first_written)) = (
        truth.silence_ns_max,
        since(record.first_byte),
        since(record.first_token),
        truth.first_token_write_ns,
    ) else {
        return;
    };
    let added = first_token.saturating_sub(first_written);
    let here = record.counts.silence_max_ns.max(first_byte);
    let allowed = upstream
        .saturating_add(added)
        .saturating_add(SILENCE_MORE_NS);
    if here > allowed && here > upstream.saturating_mul(2) {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let detail = format!(
            "{:.2} s without a byte, the upstream's longest silence: {:.2} s",
            seconds(here),
            seconds(upstream)
        );
        at.found(Code::KeepaliveLost, 1, Some(detail));
    }
}

/// Whether nothing arrived of a text or a reasoning with marks, so that nothing has them.
pub(super) fn all_lost(record: &Record, truth: &Truth) -> bool {
    record.marks.is_empty() && missing(record, truth) != Missing::default()
}

/// What of a complete answer did not arrive at all; what is missing in its middle, its marks say.
pub(super) fn missing(record: &Record, truth: &Truth) -> Missing {
    let (marks, counts) = (&record.marks, &record.counts);
    // Text without marks is another matter: nobody knows what it is.
    if marks.is_empty() && counts.visible_events + counts.reasoning_events > 0 {
        return Missing::default();
    }
    let next = marks.get("text_next");
    let tail = truth.text_tokens.unwrap_or(0).saturating_sub(next);
    let text_after_call = if truth.tool_calls > 0 {
        tail.min(truth.text_tokens_after.unwrap_or(0))
    } else {
        0
    };
    let rest = tail - text_after_call;
    let (text_all, text_tail) = if next == 0 { (rest, 0) } else { (0, rest) };
    let reasoning = truth.reasoning_tokens.unwrap_or(0);
    Missing {
        text_all,
        text_tail,
        text_after_call,
        reasoning: reasoning.saturating_sub(marks.get("reasoning_next")),
    }
}
