//! Reading `POST /v1/messages`: events and whole bodies.
//!
//! The state machine of a message: it begins once, its blocks follow each other (`blocks`), and
//! after them come one stop reason and one end. What departs from it is counted, and text and
//! reasoning are read all the same; arguments are not, where no call is open to take them.

use std::borrow::Cow;
use std::mem;

use super::blocks::{Blocks, Given, Kind, Missing};
use super::decode::{Arguments, Progress, Sink, parse, report_failure, report_finish, say};
use super::failure::Failure;
use super::lenient::{Count, Json, Lenient, Present, object};
use super::response::{Named, ResponseId};
use super::usage::{self, Reports};
use crate::endpoint::Endpoint;
use crate::event::{Event, FinishReason, Oddity};
use crate::usage::Usage;

object! {
    /// The data of any event.
    Data<'a> {
        "type" => kind: Cow<'a, str>,
        "message" => message: Option<Message<'a>>,
        "index" => index: Count,
        "content_block" => content_block: Option<Content<'a>>,
        "delta" => delta: Option<Delta<'a>>,
        "usage" => usage: Option<usage::Counts<'a>>,
        "error" => error: Present,
    }
}

object! {
    /// A message: a whole body, or the empty one that `message_start` has.
    Message<'a> {
        "id" => id: Cow<'a, str>,
        "type" => kind: Cow<'a, str>,
        "model" => model: Cow<'a, str>,
        "content" => content: Option<Vec<Content<'a>>>,
        "stop_reason" => stop_reason: Cow<'a, str>,
        "usage" => usage: Option<usage::Counts<'a>>,
        "error" => error: Present,
    }
}

object! {
    /// A content block.
    Content<'a> {
        "type" => kind: Cow<'a, str>,
        "text" => text: Cow<'a, str>,
        "thinking" => thinking: Cow<'a, str>,
        "signature" => signature: Cow<'a, str>,
        "id" => id: Cow<'a, str>,
        "name" => name: Cow<'a, str>,
        "input" => input: Json<'a>,
    }
}

object! {
    /// A delta of a block, or of the message.
    Delta<'a> {
        "type" => kind: Cow<'a, str>,
        "text" => text: Cow<'a, str>,
        "thinking" => thinking: Cow<'a, str>,
        "signature" => signature: Cow<'a, str>,
        "partial_json" => partial_json: Json<'a>,
        "stop_reason" => stop_reason: Cow<'a, str>,
    }
}

/// What is remembered of one response.
#[derive(Debug, Default)]
pub(super) struct State {
    start: Start,
    /// The id that it had.
    id: ResponseId,
    blocks: Blocks,
    /// The stop reason that came first.
    finish: Option<FinishReason>,
    /// Whether the provider reported an error: what is missing after it is no news.
    failed: bool,
    usage: Reports,
    pub arguments: Arguments,
}

/// Whether the message has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Start {
    /// Nothing of it came.
    #[default]
    Due,
    /// Other parts of it came first.
    Missed,
    /// `message_start` came.
    Came,
}

impl State {
    /// The keys of an event's data that are read.
    pub const KEYS: &[&str] = Data::KEYS;

    /// Bytes that are remembered of the open blocks.
    pub fn held(&self) -> usize {
        self.blocks.held()
    }

    /// Reads the data of one event of a stream; whether it is the protocol's end.
    pub fn event(
        &mut self,
        event: &str,
        data: &str,
        progress: Progress,
        sink: &mut Sink<'_>,
    ) -> bool {
        if data == "[DONE]" {
            sink(Event::Oddity(Oddity::DoneOnAnthropic));
            return false;
        }
        let mut spare = String::new();
        let Some(fields) = parse::<Data<'_>>(data, &mut spare, progress, sink) else {
            return false;
        };
        if progress.terminated {
            sink(Event::Oddity(match &*fields.kind {
                "message_stop" => Oddity::TerminatorRepeated,
                kind if kind.starts_with("content_block_") => Oddity::DeltaAfterStop,
                _ => Oddity::AfterTerminator,
            }));
            self.count(fields.usage.as_ref(), true, sink);
            return false;
        }
        if event.is_empty() || event != fields.kind {
            sink(Event::Oddity(Oddity::EventTypeMismatch));
        }
        // The data is what the official SDKs go by, once the line let it pass.
        let kind = if fields.kind.is_empty() {
            event
        } else {
            &*fields.kind
        };
        if kind == "error" || fields.error.0 {
            self.failed = true;
            report_failure(&Failure::in_event(data), Endpoint::Anthropic, sink);
            return false;
        }
        let in_message = kind.starts_with("message_") || kind.starts_with("content_block_");
        if in_message && self.start == Start::Due && kind != "message_start" {
            self.start = Start::Missed;
            sink(Event::Oddity(Oddity::MessageStart));
        }
        match kind {
            "message_start" => match fields.message {
                Some(message) => self.begin(&message, sink),
                None => sink(Event::Malformed("message_start without a message")),
            },
            "content_block_start" => match &fields.content_block {
                Some(block) => self.start(fields.index, block, sink),
                None => sink(Event::Malformed("content_block_start without a block")),
            },
            "content_block_delta" => match &fields.delta {
                Some(delta) => self.delta(fields.index, delta, sink),
                None => sink(Event::Malformed("content_block_delta without a delta")),
            },
            "content_block_stop" => self.stop(fields.index, sink),
            "message_delta" => {
                self.count(fields.usage.as_ref(), true, sink);
                self.finish(fields.delta.as_ref().map_or("", |d| &d.stop_reason), sink);
            }
            "message_stop" => {
                self.count(fields.usage.as_ref(), true, sink);
                self.end(sink);
                return true;
            }
            "ping" => {}
            _ => sink(Event::Oddity(Oddity::UnknownEvent)),
        }
        false
    }

    /// Reads a whole body; whether it is a complete answer.
    pub fn body(&mut self, data: &str, sink: &mut Sink<'_>) -> bool {
        let mut spare = String::new();
        let Some(body) = parse::<Message<'_>>(data, &mut spare, Progress::default(), sink) else {
            return false;
        };
        let is_error = body.error.0 || body.kind == "error" || body.content.is_none();
        let failure = is_error.then(|| Failure::in_json(data)).flatten();
        if failure.is_none() && body.content.is_none() {
            sink(Event::Malformed("a body without content"));
            return false;
        }
        self.open(&body, sink);
        self.failed = failure.is_some();
        for block in body.content.iter().flatten() {
            self.whole(block, sink);
        }
        self.count(body.usage.as_ref(), true, sink);
        if let Some(failure) = &failure {
            report_failure(failure, Endpoint::Anthropic, sink);
        }
        self.finish(&body.stop_reason, sink);
        if failure.is_none() {
            self.end(sink);
        }
        failure.is_none()
    }

    /// `message_start`.
    fn begin(&mut self, message: &Message<'_>, sink: &mut Sink<'_>) {
        if self.start == Start::Came {
            sink(Event::Oddity(Oddity::MessageStart));
        }
        self.start = Start::Came;
        self.open(message, sink);
        let usage = self.count(message.usage.as_ref(), false, sink);
        match usage.total_input(Endpoint::Anthropic) {
            // That the end has no usage is another matter.
            None | Some(0) => sink(Event::Oddity(Oddity::StartUsageZero)),
            Some(_) => {}
        }
    }

    fn open(&mut self, message: &Message<'_>, sink: &mut Sink<'_>) {
        let id = (!message.id.is_empty()).then_some(&*message.id);
        let model = (!message.model.is_empty()).then_some(&*message.model);
        if self.id.take(&message.id) == Named::Otherwise {
            sink(Event::Oddity(Oddity::IdChanged));
        }
        if id.is_some() || model.is_some() {
            sink(Event::Opened { id, model });
        }
    }

    fn count(
        &mut self,
        counts: Option<&usage::Counts<'_>>,
        is_final: bool,
        sink: &mut Sink<'_>,
    ) -> Usage {
        self.usage.take(counts, Endpoint::Anthropic, is_final, sink)
    }

    fn finish(&mut self, raw: &str, sink: &mut Sink<'_>) {
        if self.finish.is_some() && !raw.is_empty() {
            sink(Event::Oddity(Oddity::FinishRepeated));
        }
        let reason = report_finish(raw, sink);
        self.finish = self.finish.or(reason);
        if self.finish.is_some() {
            self.settle(sink);
        }
    }

    /// The stop reason is known, or none will come. What the output limit cuts off may have come to
    /// nothing.
    fn settle(&mut self, sink: &mut Sink<'_>) {
        let may_be_cut = self.finish == Some(FinishReason::Length);
        self.blocks.settle(may_be_cut, sink);
    }

    fn start(&mut self, index: Count, content: &Content<'_>, sink: &mut Sink<'_>) {
        let kind = Kind::of(&content.kind);
        if kind.is_none() {
            sink(Event::Oddity(Oddity::UnknownEvent));
        }
        if self.finish.is_some() {
            sink(Event::Oddity(Oddity::DeltaAfterStop));
        }
        let block = (self.blocks).open(number(index), kind.unwrap_or(Kind::Other), sink);
        let mut given = Given::default();
        match &*content.kind {
            "text" => {
                given.content = !content.text.is_empty();
                say(Event::Text, &content.text, sink);
            }
            "thinking" => {
                given.content = !content.thinking.is_empty();
                given.signature = !content.signature.is_empty();
                say(Event::Reasoning, &content.thinking, sink);
            }
            "tool_use" => {
                let call = self.announce(content, sink);
                given.call = Some(call);
                // `{}` is the protocol's own placeholder for what the deltas will bring.
                if !is_empty_object(&content.input.0) {
                    given.input = !content.input.0.is_empty();
                    self.arguments.say(call, &content.input.0, sink);
                }
            }
            _ => {}
        }
        self.blocks.push(block, given, sink);
    }

    fn announce(&mut self, content: &Content<'_>, sink: &mut Sink<'_>) -> u32 {
        let index = self.blocks.call(&content.id, sink);
        sink(Event::Call {
            index,
            id: &content.id,
            name: &content.name,
        });
        index
    }

    fn delta(&mut self, index: Count, delta: &Delta<'_>, sink: &mut Sink<'_>) {
        let fits = match &*delta.kind {
            "text_delta" | "citations_delta" => Some(Kind::Text),
            "thinking_delta" | "signature_delta" => Some(Kind::Thinking),
            "input_json_delta" => Some(Kind::Tool),
            _ => None,
        };
        let index = number(index);
        match fits {
            None => sink(Event::Oddity(Oddity::UnknownEvent)),
            Some(_) if self.finish.is_some() => sink(Event::Oddity(Oddity::DeltaAfterStop)),
            Some(kind) => {
                if let Some(oddity) = self.blocks.misfit(index, kind) {
                    sink(Event::Oddity(oddity));
                }
            }
        }
        let given = fits.and_then(|kind| self.blocks.given(index, kind));
        match &*delta.kind {
            "text_delta" => {
                if let Some(given) = given {
                    given.content |= !delta.text.is_empty();
                }
                say(Event::Text, &delta.text, sink);
            }
            "thinking_delta" => {
                if let Some(given) = given {
                    given.content |= !delta.thinking.is_empty();
                }
                say(Event::Reasoning, &delta.thinking, sink);
            }
            "signature_delta" => {
                if let Some(given) = given {
                    given.signature |= !delta.signature.is_empty();
                }
            }
            "input_json_delta" if !delta.partial_json.0.is_empty() => {
                if let Some(given) = given
                    && let Some(index) = given.call
                {
                    if mem::take(&mut given.input) {
                        sink(Event::ArgumentsReplaced { index });
                    }
                    self.arguments.say(index, &delta.partial_json.0, sink);
                }
            }
            _ => {}
        }
    }

    /// `content_block_stop`.
    fn stop(&mut self, index: Count, sink: &mut Sink<'_>) {
        if self.finish.is_some() {
            sink(Event::Oddity(Oddity::DeltaAfterStop));
        }
        match self.blocks.close(number(index), sink) {
            Some(given) => {
                if let Some(index) = given.call {
                    sink(Event::CallEnd { index });
                }
                if self.finish.is_some() {
                    self.settle(sink);
                }
            }
            None if self.finish.is_some() => {}
            None => sink(Event::Oddity(Oddity::OutOfBlock)),
        }
    }

    /// The message ended; blocks that are still open end with it.
    fn end(&mut self, sink: &mut Sink<'_>) {
        for call in self.blocks.close_all() {
            if !self.failed {
                sink(Event::Oddity(Oddity::BlockLeftOpen));
            }
            if let Some(index) = call {
                sink(Event::CallEnd { index });
            }
        }
        self.settle(sink);
        if self.failed {
            return;
        }
        if self.finish.is_none() {
            sink(Event::Oddity(Oddity::FinishMissing));
        }
        if self.usage.lack_output() {
            sink(Event::Oddity(Oddity::UsageMissing));
        }
    }

    fn whole(&mut self, content: &Content<'_>, sink: &mut Sink<'_>) {
        let missing = Missing::of(
            Kind::of(&content.kind).unwrap_or(Kind::Other),
            match &*content.kind {
                "text" => !content.text.is_empty(),
                _ => !content.thinking.is_empty(),
            },
            !content.signature.is_empty(),
        );
        self.blocks.lacks(missing, sink);
        match &*content.kind {
            "text" => say(Event::Text, &content.text, sink),
            "thinking" => say(Event::Reasoning, &content.thinking, sink),
            "tool_use" => {
                let index = self.announce(content, sink);
                self.arguments.say(index, &content.input.0, sink);
                sink(Event::CallEnd { index });
            }
            kind if Kind::of(kind).is_none() => sink(Event::Oddity(Oddity::UnknownEvent)),
            _ => {}
        }
    }
}

fn number(count: Count) -> Option<u64> {
    match count {
        Count::Number(n) => Some(n),
        Count::Missing | Count::NotANumber => None,
    }
}

fn is_empty_object(json: &str) -> bool {
    json.strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|inside| inside.trim_ascii().is_empty())
}
