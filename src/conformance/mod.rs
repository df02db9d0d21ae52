//! Whether answers keep their protocol and hold what the upstream wrote, and what is wrong where
//! they do not.
//!
//! In: measured attempts with what the upstream's journal says of them, and their tool calls; an
//! attempt goes in before its calls. Out: named findings per endpoint, each counted over every
//! attempt (nothing is sampled), with a sentence that can be sent to whoever runs the gateway.
//!
//! The decoders see what departs from a protocol (oddities), the timeline what the marks in a
//! self-identifying answer say, and both are facts by the time they come here. What remains is to
//! name them, to hold the rest against the journal, and to name one fault once: a call that is no
//! JSON because two were merged is `CALLS_MERGED`, and nothing else. Of an attempt that failed or was
//! cut only counts what was seen before its end. Money is another module's.

mod code;
mod findings;
mod pieces;
mod truth;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use crate::endpoint::Endpoint;
use crate::event::FinishReason;
use crate::record::{CallRecord, Class, Outcome, Phase, Record};
use crate::truth::Truth;

pub use code::{Code, FAULTS, SeenOn};
pub use findings::{Example, Finding};
pub use pieces::{Pieces, Smoothness};

use findings::{Findings, Key};

/// Attempts whose calls mean something else by what is known of the attempt, kept until their calls
/// come. Beyond so many, the attempt alone is judged.
const OPEN_MAX: usize = 100_000;

/// Answers that were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Answers: bodies with status 2xx that began.
    pub answers: u64,
    /// Those of them whose text or reasoning is numbered token by token.
    pub marked: u64,
    /// Complete ones that were held against what the upstream wrote.
    pub written: u64,
}

/// The checks as a fold.
#[derive(Clone, Debug)]
pub struct Checker {
    endpoints: BTreeMap<Endpoint, Findings>,
    captured: HashMap<(u128, u32), String>,
    open: HashMap<(u128, u32), Open>,
    open_max: usize,
    /// The attempt of the last call: those of one attempt come together.
    last: Option<(u128, u32)>,
}

impl Default for Checker {
    fn default() -> Self {
        Self::with_room_for(OPEN_MAX)
    }
}

/// What of an attempt decides how its calls are read.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent of each other")]
struct Open {
    key: Key,
    /// Calls that the upstream made and that did not arrive.
    missing: u64,
    /// What the journal and the answer have, in words.
    detail: Option<String>,
    /// One of its calls is several.
    merged: bool,
    /// The answer ended at a limit, which may have cut a call off.
    is_limited: bool,
    /// Data of another answer was found in its text.
    foreign: bool,
    /// There were more or fewer calls than the upstream made, so that they have other positions.
    shifted: bool,
}

impl Open {
    /// What its calls have shown of those that are missing.
    fn judge(&self, seen: &mut Findings) {
        let code = if self.merged {
            Code::CallsMerged
        } else {
            Code::CallsLost
        };
        if self.missing > 0 {
            seen.found(code, &self.key, self.missing, self.detail.clone());
        }
    }
}

impl Checker {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing seen yet, and this many attempts kept for their calls at most.
    fn with_room_for(open_max: usize) -> Self {
        Self {
            endpoints: BTreeMap::new(),
            captured: HashMap::new(),
            open: HashMap::new(),
            open_max,
            last: None,
        }
    }

    /// Says that the run folder has the bytes of an attempt in `file`. It goes before the records.
    pub fn captured(&mut self, trace_id: &str, attempt: u32, file: &str) {
        let id = (number(trace_id), attempt);
        self.captured.entry(id).or_insert_with(|| file.to_owned());
    }

    /// Takes an attempt, and the journal's entries of its nonce if there is a journal. Only sent
    /// attempts of the measured phase are looked at.
    pub fn add(&mut self, record: &Record, truths: Option<&[Truth]>) {
        if record.phase != Phase::Measured || record.sent.is_none() {
            return;
        }
        let id = (number(&record.trace_id), record.attempt);
        let key = Key::of(record, self.captured.get(&id).cloned());
        let seen = self.endpoints.entry(record.endpoint).or_default();
        let mut at = At { seen, key: &key };
        at.later_turn(record);
        if let Some(entries) = truths {
            truth::asked(&mut at, record, entries);
        }
        if record.status.is_none() {
            return;
        }
        at.errors(record);
        if !is_answer(record) {
            return;
        }
        at.seen.saw(SeenOn::Answers);
        if record.streaming {
            at.seen.saw(SeenOn::Streams);
        }
        if record.counts.calls > 0 {
            at.seen.saw(SeenOn::Calls);
            if record.outcome == Outcome::Ok && !is_limit(record) {
                at.seen.saw(SeenOn::WholeCalls);
            }
        }
        let written = truths.and_then(|entries| truth::whole(record, entries));
        at.oddities(record, written);
        let is_marked = !record.marks.is_empty();
        if is_marked || written.is_some_and(|truth| truth::all_lost(record, truth)) {
            at.seen.saw(SeenOn::Marked);
        }
        at.marks(record, written);
        let mut open = Open {
            key: key.clone(),
            missing: 0,
            detail: None,
            merged: false,
            is_limited: is_limit(record),
            foreign: foreign(record) > 0,
            shifted: false,
        };
        if let Some(entries) = truths {
            truth::answered(&mut at, record, entries);
        }
        if let Some(truth) = written {
            truth::held(&mut at, record, truth);
            let (calls, made) = (u64::from(record.counts.calls), truth.tool_calls);
            let words = || Some(format!("{calls} arrived, the upstream made {made}"));
            if calls > made {
                at.found(Code::CallsExtra, calls - made, words());
                open.shifted = true;
            } else if calls < made {
                open.missing = made - calls;
                open.detail = words();
                open.shifted = true;
            }
        }
        self.keep(id, record, open);
    }

    /// Keeps what its calls will be read by.
    fn keep(&mut self, id: (u128, u32), record: &Record, open: Open) {
        let calls = record.counts.calls > 0;
        let sound = record
            .counts
            .calls_schema_valid
            .unwrap_or(record.counts.calls);
        let sound = sound.min(record.counts.calls_valid);
        let is_cut_off = open.is_limited && sound < record.counts.calls;
        let matters = open.shifted || calls && (is_cut_off || open.foreign);
        if !matters {
            return;
        }
        let is_full = self.open.len() >= self.open_max;
        let seen = self.endpoints.entry(record.endpoint).or_default();
        if is_full && calls {
            // Its calls would be read for what they are not.
            seen.left_out += 1;
        }
        if open.missing > 0 && (is_full || !calls) {
            seen.found(Code::CallsLost, &open.key, open.missing, open.detail);
        } else if !is_full {
            self.open.insert(id, open);
        }
    }

    /// Takes a tool call. Calls of one attempt go in together.
    pub fn add_call(&mut self, call: &CallRecord) {
        if call.phase != Phase::Measured || call.sent_ns.is_none() {
            return;
        }
        let id = (number(&call.trace_id), call.attempt);
        let is_first = self.last != Some(id);
        if is_first && let Some(before) = self.last.replace(id) {
            self.close(before);
        }
        let Some(seen) = self.endpoints.get_mut(&call.endpoint) else {
            return;
        };
        let open = self.open.get_mut(&id);
        if open.is_none() && seen.left_out > 0 {
            // It may be of an attempt that there was no room for.
            seen.skipped += u64::from(is_first);
            return;
        }
        let key = open.as_ref().map_or_else(
            || Key::of_call(call, self.captured.get(&id).cloned()),
            |open| open.key.clone(),
        );
        let marks = &call.marks;
        let (own, other) = (marks.get("own"), marks.get("other_call"));
        let foreign = marks.get("foreign");
        let (is_limited, is_shifted, was_foreign) =
            open.as_ref().map_or((false, false, false), |o| {
                (o.is_limited, o.shifted, o.foreign)
            });
        if foreign > 0 {
            if was_foreign {
                seen.more(Code::ForeignData, foreign);
            } else {
                seen.found_of_call(Code::ForeignData, &key, foreign, None);
            }
        }
        if !call.offered {
            let detail = Some(format!("`{}`", call.name));
            seen.found_of_call(Code::NameWrong, &key, 1, detail);
        }
        if let Some(open) = open
            && open.missing > 0
            && ((own > 0 && other > 0) || (!call.valid_json && !is_limited))
        {
            open.merged = true;
            return;
        }
        // Where a call is missing, the others have other positions, and nothing is misplaced.
        let misplaced = other > 0 && !(is_shifted && own == 0);
        if misplaced {
            seen.found_of_call(Code::ArgumentsMisplaced, &key, other, None);
        }
        if misplaced || foreign > 0 || call.outcome != Outcome::Ok {
            return;
        }
        // A limit cuts arguments off; in a whole body what is left of them is an object all the same.
        if is_limited {
            return;
        }
        if !call.valid_json {
            let detail = Some(format!("call {} of `{}`", call.index, call.name));
            seen.found_of_call(Code::JsonInvalid, &key, 1, detail);
        } else if call.offered && call.schema_valid == Some(false) {
            let detail = Some(format!("call {} of `{}`", call.index, call.name));
            seen.found_of_call(Code::SchemaInvalid, &key, 1, detail);
        }
    }

    /// Makes room: the calls of an attempt are over.
    fn close(&mut self, id: (u128, u32)) {
        if let Some(open) = self.open.remove(&id) {
            let seen = self.endpoints.entry(open.key.endpoint).or_default();
            open.judge(seen);
        }
    }

    /// What was looked at, at `endpoint`.
    pub fn checked(&self, endpoint: Endpoint) -> Checked {
        let Some(seen) = self.endpoints.get(&endpoint) else {
            return Checked::default();
        };
        Checked {
            answers: seen.of(SeenOn::Answers),
            marked: seen.of(SeenOn::Marked),
            written: seen.of(SeenOn::Written),
        }
    }

    /// Attempts whose tool calls could not be judged: more than are kept needed a second look.
    pub fn unread(&self, endpoint: Endpoint) -> u64 {
        let seen = self.endpoints.get(&endpoint);
        // Those that were left out are skipped, too, if their calls were there.
        seen.map_or(0, |seen| seen.skipped.max(seen.left_out))
    }

    /// How the streams of `endpoint` travelled; `None` if none of them is in the journal.
    pub fn smoothness(&self, endpoint: Endpoint) -> Option<&Smoothness> {
        let seen = self.endpoints.get(&endpoint)?;
        Some(&seen.smoothness).filter(|smoothness| smoothness.streams > 0)
    }

    /// What was found at `endpoint`, the gravest first.
    pub fn findings(&self, endpoint: Endpoint) -> Vec<Finding> {
        let Some(seen) = self.endpoints.get(&endpoint) else {
            return Vec::new();
        };
        let mut seen = seen.clone();
        let open = self.open.values();
        for open in open.filter(|open| open.key.endpoint == endpoint) {
            open.judge(&mut seen);
        }
        seen.list(endpoint)
    }
}

/// Where findings about one attempt go.
struct At<'a> {
    seen: &'a mut Findings,
    key: &'a Key,
}

impl At<'_> {
    fn found(&mut self, code: Code, count: u64, detail: Option<String>) {
        self.seen.found(code, self.key, count, detail);
    }

    /// A refusal of what the turn before returned.
    fn later_turn(&mut self, record: &Record) {
        if record.turn == 0 {
            return;
        }
        self.seen.saw(SeenOn::LaterTurns);
        // Not the key's, the rate's or the time's fault.
        let about_the_request = |status: &u16| {
            (400..500).contains(status) && !matches!(status, 401..=403 | 408 | 413 | 429)
        };
        let text = record.error.as_deref().unwrap_or("without a word");
        let status = record.status.filter(about_the_request);
        if let Some(status) = status.filter(|_| !is_about_content(text)) {
            let detail = format!("turn {}: {status} {text}", record.turn);
            self.found(Code::TurnRejected, 1, Some(detail));
        }
    }

    /// An error that has not the shape of the endpoint's errors. Only what came with a good status is
    /// looked at: bodies of other statuses are not.
    fn errors(&mut self, record: &Record) {
        let flat = oddity(record, "flat_error");
        if flat > 0 || record.outcome == Outcome::StreamError {
            self.seen.saw(SeenOn::Errors);
        }
        if flat > 0 {
            self.found(Code::FlatError, flat, record.error.clone());
        }
    }

    /// Departures from the protocol.
    fn oddities(&mut self, record: &Record, written: Option<&Truth>) {
        for (name, count) in &record.oddities {
            let Some(code) = Code::of_oddity(name) else {
                continue;
            };
            let is_one = match code {
                // Of errors of every status: see above.
                Code::FlatError => false,
                // Some servers put an empty list into each whole body.
                Code::EmptyToolCalls => record.streaming,
                // Costs of a stream come there on purpose.
                Code::AfterTerminator => {
                    let mut places = record.costs.iter().map(|(place, _)| place);
                    !places.any(|place| place.starts_with("stream:"))
                }
                // A reason that the upstream gave is right: it is the calls that went astray.
                Code::StopReasonWrong => {
                    !written.is_some_and(|truth| truth::calls_went_astray(record, truth))
                }
                _ => true,
            };
            if is_one {
                let finish = (code == Code::StopReasonWrong).then(|| record.finish.clone());
                let detail = finish
                    .flatten()
                    .map(|finish| format!("`{finish}` with {} tool calls", record.counts.calls));
                self.found(code, *count, detail);
            }
        }
    }

    /// What the marks in text and reasoning say by themselves, and with what the upstream wrote.
    fn marks(&mut self, record: &Record, written: Option<&Truth>) {
        let marks = &record.marks;
        let foreign = foreign(record);
        if foreign > 0 {
            self.found(Code::ForeignData, foreign, None);
        }
        let before = self.seen.found_so_far();
        for (code, name) in [
            (Code::TextLost, "text_lost"),
            (Code::TextHeadLost, "text_head_lost"),
            (Code::TextRepeated, "text_repeated"),
            (Code::TextReordered, "text_reordered"),
            (Code::ReasoningInText, "reasoning_in_text"),
            (Code::TextInReasoning, "text_in_reasoning"),
            (Code::CallInText, "call_in_text"),
            (Code::ReasoningRepeated, "reasoning_repeated"),
            (Code::ReasoningReordered, "reasoning_reordered"),
        ] {
            let count = marks.get(name);
            if count > 0 {
                self.found(code, count, None);
            }
        }
        let missing = written
            .map(|truth| truth::missing(record, truth))
            .unwrap_or_default();
        let lost = marks.get("reasoning_lost") + marks.get("reasoning_head_lost");
        for (code, count) in [
            (Code::TextLost, missing.text_all),
            (Code::TextAfterCallLost, missing.text_after_call),
            (Code::TextTailLost, missing.text_tail),
            (Code::ReasoningLost, lost + missing.reasoning),
        ] {
            if count > 0 {
                self.found(code, count, None);
            }
        }
        // Half a token is what is left of one that was damaged.
        let is_damaged = foreign > 0 || self.seen.found_so_far() > before;
        if record.outcome == Outcome::Ok && !is_damaged {
            for (code, name) in [
                (Code::TextUnmarked, "text_unmarked"),
                (Code::ReasoningUnmarked, "reasoning_unmarked"),
            ] {
                let count = marks.get(name);
                if count > 0 {
                    self.found(code, count, None);
                }
            }
        }
    }
}

/// Whether there is an answer to look at: a body of status 2xx began.
fn is_answer(record: &Record) -> bool {
    let is_good = record.status.is_some_and(|s| (200..300).contains(&s));
    is_good && (record.counts.bytes > 0 || record.first_byte.is_some())
}

/// How often this oddity was seen.
fn oddity(record: &Record, name: &str) -> u64 {
    let named = record.oddities.iter().filter(|(known, _)| known == name);
    named.map(|(_, count)| *count).sum()
}

/// Tokens of other answers in text and reasoning.
fn foreign(record: &Record) -> u64 {
    record.marks.get("text_foreign") + record.marks.get("reasoning_foreign")
}

/// Whether a refusal speaks of what a conversation says, or of how long it is, and not of its form.
fn is_about_content(error: &str) -> bool {
    const WORDS: [&str; 10] = [
        "context length",
        "context_length",
        "context window",
        "maximum context",
        "content filter",
        "content_filter",
        "content policy",
        "content_policy",
        "content management policy",
        "safety",
    ];
    let error = error.to_lowercase();
    // An id, too, can be too long: that is its form.
    let is_too_long = error.contains("too long") && !error.contains("tool_");
    is_too_long || WORDS.iter().any(|words| error.contains(words))
}

/// Whether a limit ended the answer.
fn is_limit(record: &Record) -> bool {
    let reason = record.finish.as_deref().map(FinishReason::of);
    reason == Some(FinishReason::Length)
}

/// Whether the request offers tools that may be called.
fn may_call(record: &Record) -> bool {
    record.class == Class::Tools && record.tool_choice.as_deref() != Some("none")
}

/// The number that a trace id is; of what is none, a digest.
fn number(trace_id: &str) -> u128 {
    u128::from_str_radix(trace_id, 16).unwrap_or_else(|_| {
        let digest = crate::seed::sha256_hex(trace_id.as_bytes());
        u128::from_str_radix(&digest[..32], 16).unwrap_or_default()
    })
}
