//! Stamped events of one attempt -> its [`Record`].
//!
//! The caller stamps each body frame when it is handed over, then decodes it; every event takes
//! the stamp of the frame that completed it. Nothing here reads a clock or looks at a price.

mod call;
mod marks;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::endpoint::Endpoint;
use crate::event::{Event, FinishReason, Oddity};
use crate::gateway::Said;
use crate::prompt::{Call, ToolChoice, Toolbox};
use crate::record::{CallRecord, Classes, EventStamp, Outcome, Record};
use crate::seed;
use crate::time::Offset;

use call::CallState;
use marks::{Marks, Place};

/// Error texts in the facts are cut to this many characters: they are for people to read.
const ERROR_CHARS_MAX: usize = 200;

/// How the transport's part of an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The body ended as HTTP says it should.
    Complete,
    /// The transport failed, ran into a limit, or was stopped; the outcome says how, the text
    /// what the transport said.
    Broken(Outcome, String),
}

/// A frame of the body, as the transport handed it over.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// When it was handed over.
    pub at: Offset,
    /// Whether the task had to wait for it. Frames that were ready without a wait came in one
    /// batch with the frame before.
    pub waited: bool,
    /// Its length in bytes.
    pub len: usize,
    /// Whether `at` lies in the measured window, which the rates are taken over.
    pub in_window: bool,
}

/// Builds the record of one attempt.
#[derive(Debug)]
pub struct Timeline {
    record: Record,
    /// The offered tools.
    offered: Arc<Toolbox>,
    /// Whether events come one by one; a whole body has no first token.
    streamed: bool,
    frame: Frame,
    batch: u64,
    last_token_batch: u64,
    /// Of the event of the wire that is being read.
    classes: Classes,
    calls: Vec<CallState>,
    text: Option<Sha256>,
    reasoning: Option<Sha256>,
    marks: Marks,
    finish: Option<FinishReason>,
    stream_error: Option<String>,
    malformed: Option<String>,
    /// Each event's stamp, where they are kept.
    trace: Option<Vec<EventStamp>>,
    /// The visible text, where the answer is kept.
    said: Option<String>,
}

/// What is kept of an answer beside its record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// The stamp of every event.
    pub trace: bool,
    /// What a next turn has to repeat.
    pub answer: bool,
}

/// An answer as the next turn of its session repeats it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its visible text.
    pub text: String,
    /// The tools that it called, in order.
    pub calls: Vec<Call>,
}

/// What an attempt comes to.
#[derive(Debug)]
pub struct Finished {
    /// Its row.
    pub record: Record,
    /// A row for each of its tool calls.
    pub calls: Vec<CallRecord>,
    /// The stamp of each of its events, where they are kept.
    pub trace: Option<Vec<EventStamp>>,
    /// The answer itself, where it is kept.
    pub answer: Option<Answer>,
}

impl Timeline {
    /// For an attempt whose identity stands in `record`, which offers these tools.
    pub fn new(record: Record, offered: Arc<Toolbox>, keep: Keep) -> Self {
        Self {
            marks: Marks::new(&record.trace_id),
            record,
            offered,
            streamed: false,
            frame: Frame {
                at: Offset::ZERO,
                waited: true,
                len: 0,
                in_window: false,
            },
            batch: 0,
            last_token_batch: 0,
            classes: Classes::default(),
            trace: keep.trace.then(Vec::new),
            said: keep.answer.then(String::new),
            calls: Vec::new(),
            text: None,
            reasoning: None,
            finish: None,
            stream_error: None,
            malformed: None,
        }
    }

    /// The record as far as it is known.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The transport is about to be asked to send.
    pub fn sent(&mut self, at: Offset, utc: Timestamp, in_flight: u32) {
        self.record.sent = Some(at);
        self.record.session_sent.get_or_insert(at);
        self.record.sent_utc = Some(format!("{utc:.6}"));
        self.record.in_flight = Some(in_flight);
    }

    /// Whether a connect was under way while this attempt waited.
    pub fn connected(&mut self, connected: bool) {
        self.record.connected = connected;
    }

    /// The body ended; events that only its end completes take this stamp.
    pub fn end_of_body(&mut self, at: Offset, in_window: bool) {
        self.frame.at = at;
        self.frame.in_window = in_window;
    }

    /// The response's head arrived. `streamed` says that its body comes as a stream of events.
    pub fn head(&mut self, status: u16, said: &Said, streamed: bool) {
        let bounded = |text: &Option<String>| text.as_deref().map(bounded);
        self.record.status = Some(status);
        self.record.request_id = bounded(&said.request_id);
        self.record.call_id = bounded(&said.call_id);
        self.record.gateway_cache = bounded(&said.cache);
        self.streamed = streamed;
    }

    /// A cost stood in a header.
    pub fn header_cost(&mut self, surface: String, digits: String) {
        self.record.costs.push((surface, digits));
    }

    /// Whether a token-bearing event, or the first byte of a whole body, has arrived.
    pub fn has_begun(&self) -> bool {
        if self.streamed {
            self.record.first_token.is_some()
        } else {
            self.record.first_byte.is_some()
        }
    }

    /// Whether the protocol's own end has been seen.
    pub fn has_ended(&self) -> bool {
        self.record.terminator.is_some()
    }

    /// The answer, where it is kept, has come to its end and nothing is wrong with it.
    pub fn answer(&self) -> Option<Answer> {
        let failed = self.stream_error.is_some()
            || self.malformed.is_some()
            || self.finish == Some(FinishReason::Error);
        let text = self.said.as_ref().filter(|_| self.has_ended() && !failed)?;
        Some(Answer {
            text: text.clone(),
            calls: self.calls.iter().map(CallState::call).collect(),
        })
    }

    /// A body frame was handed over; the events that it completes follow.
    pub fn frame(&mut self, frame: Frame) {
        let counts = &mut self.record.counts;
        if self.record.first_byte.is_none() {
            self.record.first_byte = Some(frame.at);
        } else {
            let silence = frame.at.nanos_since(self.frame.at);
            counts.silence_max_ns = counts.silence_max_ns.max(silence);
        }
        counts.frames += 1;
        counts.bytes += frame.len as u64;
        if frame.waited || self.batch == 0 {
            self.batch += 1;
        }
        self.frame = frame;
    }

    /// An event of the last frame. Returns the gap in ns to the token-bearing event before, where
    /// this ends a token-bearing event of the wire that has one. `surface_at` names the cost
    /// surface at a position of those that the decoder was given.
    pub fn event(
        &mut self,
        event: &Event<'_>,
        surface_at: impl FnOnce(usize) -> String,
    ) -> Option<u64> {
        let record = &mut self.record;
        match *event {
            Event::Opened { id, model } => {
                // The first name counts: later chunks repeat it.
                if record.response_id.is_none() {
                    record.response_id = id.map(bounded);
                }
                if record.served_model.is_none() {
                    record.served_model = model.map(bounded);
                }
            }
            Event::ServiceTier(tier) => record.served_tier = Some(bounded(tier)),
            Event::Reasoning(text) => {
                record.counts.characters += characters(text);
                self.classes.reasoning = true;
                self.marks.push(Place::Reasoning, text);
                self.reasoning.get_or_insert_default().update(text);
            }
            Event::Text(text) => {
                record.counts.characters += characters(text);
                self.classes.visible = true;
                self.marks.push(Place::Text, text);
                if let Some(said) = &mut self.said {
                    said.push_str(text);
                }
                self.text.get_or_insert_default().update(text);
            }
            Event::Call { index, id, name } => {
                self.classes.announced = true;
                self.marks.call();
                record.counts.characters += characters(name);
                let call = call_at(&mut self.calls, index);
                call.id = bounded(id);
                call.name = bounded(name);
                call.announced = Some(self.frame.at);
            }
            Event::Arguments { index, fragment } => {
                self.classes.arguments = true;
                self.marks.call();
                record.counts.characters += characters(fragment);
                call_at(&mut self.calls, index).push(fragment, self.frame.at);
            }
            Event::ArgumentsReplaced { index } => {
                let void = call_at(&mut self.calls, index).clear();
                let characters = &mut record.counts.characters;
                *characters = characters.saturating_sub(void);
            }
            Event::CallEnd { index } => call_at(&mut self.calls, index).close(self.frame.at),
            Event::Usage(usage) => {
                if record.first_usage.is_empty() {
                    record.first_usage = usage;
                }
                record.last_usage.overwrite(&usage);
                record.usage_reports += 1;
                record.summed_usage.add(&usage);
            }
            Event::Finish { reason, raw } => {
                self.finish = Some(reason);
                record.finish = Some(bounded(raw));
                // OpenAI has no end of a call: the finish is it.
                for call in &mut self.calls {
                    call.close(self.frame.at);
                }
            }
            Event::Cost { surface, digits } => {
                let name = surface_at(surface);
                match record.costs.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => digits.clone_into(known),
                    None => record.costs.push((name, digits.to_owned())),
                }
            }
            Event::Error { kind, message } => {
                if !self.has_ended() {
                    self.stream_error
                        .get_or_insert_with(|| describe(kind, message));
                }
            }
            Event::Malformed(what) => {
                if !self.has_ended() {
                    self.malformed.get_or_insert_with(|| bounded(what));
                }
            }
            Event::Oddity(oddity) => self.count_oddity(oddity),
            Event::Terminator => {
                if record.terminator.is_none() {
                    record.terminator = Some(self.frame.at);
                    self.check_stop_reason();
                }
            }
            Event::EndOfChunk => return self.end_of_chunk(),
        }
        None
    }

    /// Holds the stop reason against the content: where there are calls, it must say so. `OpenAI`
    /// says `stop` of a call that the request named.
    fn check_stop_reason(&mut self) {
        let record = &self.record;
        let may_stop = record.endpoint == Endpoint::OpenAi
            && record.tool_choice.as_deref() == Some(ToolChoice::NAMED);
        let has_calls = !self.calls.is_empty();
        let contradicts = match self.finish {
            Some(FinishReason::Stop | FinishReason::StopSequence) => has_calls && !may_stop,
            Some(FinishReason::ToolCalls) => !has_calls,
            _ => false,
        };
        if contradicts && self.stream_error.is_none() {
            self.count_oddity(Oddity::StopReason);
        }
    }

    /// Counts an oddity that the caller noticed.
    pub fn count_oddity(&mut self, oddity: Oddity) {
        let oddities = &mut self.record.oddities;
        match oddities.iter_mut().find(|(name, _)| name == oddity.name()) {
            Some((_, count)) => *count += 1,
            None => oddities.push((oddity.name().to_owned(), 1)),
        }
    }

    fn end_of_chunk(&mut self) -> Option<u64> {
        let classes = std::mem::take(&mut self.classes);
        let at = self.frame.at;
        if let Some(trace) = &mut self.trace {
            trace.push(EventStamp {
                at,
                batch: self.batch,
                classes,
            });
        }
        let record = &mut self.record;
        let counts = &mut record.counts;
        counts.events += 1;
        counts.reasoning_events += u64::from(classes.reasoning);
        counts.visible_events += u64::from(classes.visible);
        counts.call_events += u64::from(classes.announced || classes.arguments);
        if !classes.has_tokens() {
            return None;
        }
        counts.token_events += 1;
        counts.window_token_events += u64::from(self.frame.in_window);
        if self.batch != self.last_token_batch {
            self.last_token_batch = self.batch;
            counts.token_batches += 1;
        }
        if !self.streamed {
            return None;
        }
        let gap = record.last_token.map(|last| at.nanos_since(last));
        if let Some(gap) = gap {
            counts.gap_min_ns = if counts.gap_count == 0 {
                gap
            } else {
                counts.gap_min_ns.min(gap)
            };
            counts.gap_count += 1;
            counts.gap_sum_ns += gap;
            counts.gap_max_ns = counts.gap_max_ns.max(gap);
        }
        let called = classes.announced || classes.arguments;
        let first = |slot: &mut Option<Offset>, is: bool| {
            if is && slot.is_none() {
                *slot = Some(at);
            }
        };
        first(&mut record.first_token, true);
        first(&mut record.first_reasoning, classes.reasoning);
        first(&mut record.first_visible, classes.visible);
        first(&mut record.first_call, called);
        record.last_token = Some(at);
        gap
    }

    /// The attempt is over. `error_body` is the provider's own word on a refusal (kind, message).
    pub fn finish(
        mut self,
        at: Offset,
        ending: Ending,
        error_body: Option<(String, String)>,
    ) -> Finished {
        let (outcome, error) = self.judge(ending, error_body);
        let digest = |hash: Option<Sha256>| hash.map(|hash| seed::hex(&hash.finalize()[..8]));
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut record = self.record;
        record.outcome = outcome;
        record.error = error;
        record.ended = Some(at);
        record.text_sha256 = digest(self.text);
        record.reasoning_sha256 = digest(self.reasoning);
        record.marks = self.marks.finish(record.terminator.is_some());
        record.counts.calls = count(self.calls.len());
        let answer = self.said.map(|text| Answer {
            text,
            calls: self.calls.iter().map(CallState::call).collect(),
        });
        let calls: Vec<CallRecord> = self
            .calls
            .into_iter()
            .zip(0..)
            .map(|(call, index)| call.finish(index, &record, &self.offered, self.streamed))
            .collect();
        record.counts.calls_valid = count(calls.iter().filter(|c| c.valid_json).count());
        let fitting = calls.iter().filter(|c| c.schema_valid == Some(true));
        record.counts.calls_schema_valid = Some(count(fitting.count()));
        if !calls.is_empty() {
            let complete = calls.iter().map(|call| call.complete_ns);
            record.all_calls = complete
                .collect::<Option<Vec<_>>>()
                .into_iter()
                .flatten()
                .max();
            record.call_names_sha256 = digest_of(calls.iter().map(|c| Some(c.name.as_str())));
            let values = calls.iter().map(|c| c.value_sha256.as_deref());
            record.call_arguments_sha256 = digest_of(values);
        }
        Finished {
            record,
            calls,
            trace: self.trace,
            answer,
        }
    }

    fn judge(
        &mut self,
        ending: Ending,
        error_body: Option<(String, String)>,
    ) -> (Outcome, Option<String>) {
        let status = self.record.status;
        if let Some(status) = status.filter(|s| !(200..300).contains(s)) {
            // What was cut while its error body was still coming was refused all the same.
            let outcome = if status == 429 {
                Outcome::RateLimited
            } else {
                Outcome::HttpError
            };
            let (kind, message) = error_body.unwrap_or_default();
            return (outcome, Some(describe(&kind, &message)));
        }
        if let Some(error) = self.stream_error.take() {
            return (Outcome::StreamError, Some(error));
        }
        if let Some(error) = self.malformed.take() {
            return (Outcome::Malformed, Some(error));
        }
        if self.finish == Some(FinishReason::Error) {
            return (
                Outcome::StreamError,
                Some("the stop reason says error".to_owned()),
            );
        }
        if self.has_ended() {
            // A success terminator after nothing at all is no answer.
            return if self.finish.is_none() && self.record.counts.token_events == 0 {
                (
                    Outcome::Malformed,
                    Some("ended with neither content nor a stop reason".to_owned()),
                )
            } else {
                (Outcome::Ok, None)
            };
        }
        match ending {
            Ending::Complete => (
                Outcome::Truncated,
                Some("closed without the terminator".to_owned()),
            ),
            Ending::Broken(outcome, text) => {
                (outcome, Some(bounded(&text)).filter(|t| !t.is_empty()))
            }
        }
    }
}

/// The digest of texts in their order; `None` if one is missing.
fn digest_of<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> Option<String> {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text?);
        hash.update([0]);
    }
    Some(seed::hex(&hash.finalize()[..8]))
}

fn describe(kind: &str, message: &str) -> String {
    match (kind, message) {
        ("", message) => bounded(message),
        (kind, "") => bounded(kind),
        (kind, message) => bounded(&format!("{kind}: {message}")),
    }
}

/// One line, of bounded length.
fn bounded(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(ERROR_CHARS_MAX)
        .collect::<String>()
        .trim()
        .to_owned()
}

fn characters(text: &str) -> u64 {
    text.chars().count() as u64
}

fn call_at(calls: &mut Vec<CallState>, index: u32) -> &mut CallState {
    let at = index as usize;
    if at >= calls.len() {
        calls.resize_with(at + 1, CallState::default);
    }
    &mut calls[at]
}
