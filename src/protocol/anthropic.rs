//! Reading `POST /v1/messages`: events and whole bodies.
//!
//! The state machine of the content blocks: indexes count from 0, one block is open at a time,
//! and each delta fits its block. What departs from it is counted, and text and reasoning are
//! read all the same; arguments are not, where no call is open to take them.

use std::borrow::Cow;

use super::decode::{
    Arguments, MAX_CALLS, MAX_EVENT_BYTES, Progress, Sink, parse, report_failure, report_finish,
    say,
};
use super::failure::Failure;
use super::lenient::{Count, Json, Lenient, Present, object};
use super::usage;
use crate::endpoint::Endpoint;
use crate::event::{Event, Oddity};

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
        "partial_json" => partial_json: Json<'a>,
        "stop_reason" => stop_reason: Cow<'a, str>,
    }
}

/// What is remembered of one response.
#[derive(Debug, Default)]
pub(super) struct State {
    started: bool,
    /// Blocks that are open: one, if the writer keeps to the protocol.
    open: Vec<Block>,
    /// The index that the next block must have.
    next_block: u64,
    /// Calls that were announced.
    calls: u32,
    /// Bytes that `open` holds.
    held: usize,
    pub arguments: Arguments,
}

#[derive(Debug)]
struct Block {
    index: Option<u64>,
    kind: Kind,
    /// The call that a `tool_use` block is.
    call: Option<u32>,
    /// The input that the block's start already had; dropped when a delta comes.
    input: String,
}

impl Block {
    fn held(&self) -> usize {
        size_of::<Self>() + self.input.len()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Tool,
    Other,
}

impl Kind {
    /// The kind of a block type; `None` for types that are not known here.
    fn of(block_type: &str) -> Option<Self> {
        Some(match block_type {
            "text" => Self::Text,
            "thinking" => Self::Thinking,
            // Calls that the server itself makes come with arguments too, but nobody waits for
            // them: no call is announced.
            "tool_use" | "server_tool_use" | "mcp_tool_use" => Self::Tool,
            "redacted_thinking" | "container_upload" | "compaction" => Self::Other,
            other if other.ends_with("_tool_result") => Self::Other,
            _ => return None,
        })
    }
}

impl State {
    /// The keys of an event's data that are read.
    pub const KEYS: &[&str] = Data::KEYS;

    /// Bytes that are remembered of the open blocks.
    pub fn held(&self) -> usize {
        self.held
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
            sink(Event::Oddity(Oddity::AfterTerminator));
            usage::report(fields.usage.as_ref(), Endpoint::Anthropic, sink);
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
            report_failure(&Failure::in_event(data), Endpoint::Anthropic, sink);
            return false;
        }
        let in_message = kind.starts_with("message_") || kind.starts_with("content_block_");
        if in_message && self.started == (kind == "message_start") {
            sink(Event::Oddity(Oddity::OutOfBlock));
            self.started = true;
        }
        match kind {
            "message_start" => match fields.message {
                Some(message) => {
                    self.started = true;
                    open(&message, sink);
                    usage::report(message.usage.as_ref(), Endpoint::Anthropic, sink);
                }
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
            "content_block_stop" => match self.find(fields.index) {
                Some(at) => self.close(at, sink),
                None => sink(Event::Oddity(Oddity::OutOfBlock)),
            },
            "message_delta" => {
                usage::report(fields.usage.as_ref(), Endpoint::Anthropic, sink);
                report_finish(fields.delta.as_ref().map_or("", |d| &d.stop_reason), sink);
            }
            "message_stop" => {
                usage::report(fields.usage.as_ref(), Endpoint::Anthropic, sink);
                self.stop(sink);
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
        open(&body, sink);
        for block in body.content.iter().flatten() {
            self.whole(block, sink);
        }
        usage::report(body.usage.as_ref(), Endpoint::Anthropic, sink);
        if let Some(failure) = &failure {
            report_failure(failure, Endpoint::Anthropic, sink);
        }
        report_finish(&body.stop_reason, sink);
        failure.is_none()
    }

    fn start(&mut self, index: Count, content: &Content<'_>, sink: &mut Sink<'_>) {
        let index = number(index);
        let kind = Kind::of(&content.kind);
        if kind.is_none() {
            sink(Event::Oddity(Oddity::UnknownEvent));
        }
        if !self.open.is_empty() || index != Some(self.next_block) {
            sink(Event::Oddity(Oddity::OutOfBlock));
        }
        self.next_block = index.unwrap_or(self.next_block).saturating_add(1);
        let mut block = Block {
            index,
            kind: kind.unwrap_or(Kind::Other),
            call: None,
            input: String::new(),
        };
        match &*content.kind {
            "text" => say(Event::Text, &content.text, sink),
            "thinking" => say(Event::Reasoning, &content.thinking, sink),
            "tool_use" => {
                block.call = Some(self.announce(content, sink));
                // `{}` is the protocol's own placeholder for what the deltas will bring.
                if !is_empty_object(&content.input.0) {
                    (*content.input.0).clone_into(&mut block.input);
                }
            }
            _ => {}
        }
        if self.open.len() == MAX_CALLS || self.held + block.held() > MAX_EVENT_BYTES {
            self.open.clear();
            self.held = 0;
            sink(Event::Malformed(
                "more open blocks than a response may have",
            ));
            return;
        }
        self.held += block.held();
        self.open.push(block);
    }

    fn announce(&mut self, content: &Content<'_>, sink: &mut Sink<'_>) -> u32 {
        let index = self.calls;
        self.calls += 1;
        sink(Event::Call {
            index,
            id: &content.id,
            name: &content.name,
        });
        index
    }

    fn delta(&mut self, index: Count, delta: &Delta<'_>, sink: &mut Sink<'_>) {
        let block = self.find(index).map(|at| &mut self.open[at]);
        let fits = match &*delta.kind {
            "text_delta" | "citations_delta" => Some(Kind::Text),
            "thinking_delta" | "signature_delta" => Some(Kind::Thinking),
            "input_json_delta" => Some(Kind::Tool),
            _ => None,
        };
        match fits {
            None => sink(Event::Oddity(Oddity::UnknownEvent)),
            Some(kind) if block.as_ref().is_none_or(|b| b.kind != kind) => {
                sink(Event::Oddity(Oddity::OutOfBlock));
            }
            Some(_) => {}
        }
        match &*delta.kind {
            "text_delta" => say(Event::Text, &delta.text, sink),
            "thinking_delta" => say(Event::Reasoning, &delta.thinking, sink),
            "input_json_delta" if !delta.partial_json.0.is_empty() => {
                if let Some(block) = block
                    && let Some(index) = block.call
                {
                    self.held -= block.input.len();
                    block.input = String::new();
                    self.arguments.say(index, &delta.partial_json.0, sink);
                }
            }
            _ => {}
        }
    }

    /// The open block of this index.
    fn find(&self, index: Count) -> Option<usize> {
        let index = number(index);
        self.open.iter().rposition(|block| block.index == index)
    }

    fn close(&mut self, at: usize, sink: &mut Sink<'_>) {
        let block = self.open.remove(at);
        self.held -= block.held();
        if let Some(index) = block.call {
            self.arguments.say(index, &block.input, sink);
            sink(Event::CallEnd { index });
        }
    }

    /// The message ended; blocks that are still open end with it.
    fn stop(&mut self, sink: &mut Sink<'_>) {
        if !self.open.is_empty() {
            sink(Event::Oddity(Oddity::OutOfBlock));
        }
        while !self.open.is_empty() {
            self.close(0, sink);
        }
    }

    fn whole(&mut self, content: &Content<'_>, sink: &mut Sink<'_>) {
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

fn open(message: &Message<'_>, sink: &mut Sink<'_>) {
    let id = (!message.id.is_empty()).then_some(&*message.id);
    let model = (!message.model.is_empty()).then_some(&*message.model);
    if id.is_some() || model.is_some() {
        sink(Event::Opened { id, model });
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
