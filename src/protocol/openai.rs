//! Reading `POST /v1/chat/completions`: chunks and whole bodies.
//!
//! Only choice 0 is read. What must be remembered between chunks is which call an argument
//! fragment belongs to (`calls`), and how far the answer is: its role comes first, one reason to
//! stop ends it, and after that there may be usage and nothing more.

use std::borrow::Cow;

use super::calls::{Calls, Key, Piece};
use super::decode::{Arguments, Progress, Sink, parse, report_failure, report_finish, say};
use super::failure::Failure;
use super::lenient::{Count, Json, Lenient, Present, object};
use super::response::{Named, ResponseId};
use super::usage::{self, Reports};
use crate::endpoint::Endpoint;
use crate::event::{Event, FinishReason, Oddity};

/// A longer name of a service tier is none, and is not remembered.
const MAX_TIER_BYTES: usize = 64;

/// Event types of the other protocol, for which gateways take no chunk.
const ANTHROPIC_TYPES: [&str; 7] = [
    "ping",
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
];

object! {
    /// A chunk or a whole body.
    Completion<'a> {
        "id" => id: Cow<'a, str>,
        "object" => object: Cow<'a, str>,
        "type" => kind: Cow<'a, str>,
        "model" => model: Cow<'a, str>,
        "service_tier" => service_tier: Cow<'a, str>,
        "choices" => choices: Option<Vec<Choice<'a>>>,
        "usage" => usage: Option<usage::Counts<'a>>,
        "error" => error: Present,
    }
}

object! {
    /// One of the answers that were asked for.
    Choice<'a> {
        "index" => index: Count,
        "delta" => delta: Message<'a>,
        "message" => message: Message<'a>,
        "finish_reason" => finish_reason: Cow<'a, str>,
        "error" => error: Present,
    }
}

object! {
    /// A message, or the part of one that a chunk adds.
    Message<'a> {
        "role" => role: Cow<'a, str>,
        "content" => content: Content<'a>,
        "reasoning_content" => reasoning_content: Cow<'a, str>,
        "reasoning" => reasoning: Cow<'a, str>,
        "refusal" => refusal: Cow<'a, str>,
        "tool_calls" => tool_calls: List<ToolCall<'a>>,
        "function_call" => function_call: Option<Function<'a>>,
    }
}

object! {
    /// Part of a content list.
    Part<'a> {
        "type" => kind: Cow<'a, str>,
        "text" => text: Cow<'a, str>,
        "refusal" => refusal: Cow<'a, str>,
        "thinking" => thinking: Content<'a>,
    }
}

object! {
    /// A tool call or a fragment of one.
    ToolCall<'a> {
        "index" => index: Count,
        "id" => id: Cow<'a, str>,
        "function" => function: Function<'a>,
    }
}

object! {
    /// What is called, with what.
    Function<'a> {
        "name" => name: Cow<'a, str>,
        "arguments" => arguments: Json<'a>,
    }
}

/// A list, and whether there is one.
#[derive(Debug)]
struct List<T>(Option<Vec<T>>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Lenient<'de>> Lenient<'de> for List<T> {
    fn list<A: serde::de::SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        Vec::list(items).map(|list| Self(Some(list)))
    }
}

/// Content: a text, or a list of parts.
#[derive(Debug, Default)]
enum Content<'a> {
    #[default]
    Nothing,
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

impl<'de> Lenient<'de> for Content<'de> {
    fn text(value: Cow<'de, str>) -> Self {
        Self::Text(value)
    }

    fn list<A: serde::de::SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        Vec::list(items).map(Self::Parts)
    }
}

impl Content<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Text(text) => text.is_empty(),
            Self::Parts(parts) => parts.iter().all(|part| {
                part.text.is_empty() && part.refusal.is_empty() && part.thinking.is_empty()
            }),
        }
    }
}

impl Message<'_> {
    /// Whether there is any content in it.
    fn speaks(&self) -> bool {
        let texts = [&self.reasoning_content, &self.reasoning, &self.refusal];
        !self.content.is_empty()
            || texts.iter().any(|text| !text.is_empty())
            || self.tool_calls.0.as_ref().is_some_and(|c| !c.is_empty())
            || self.function_call.is_some()
    }
}

/// What is remembered of one response.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether the first delta came.
    begun: bool,
    finish: Option<FinishReason>,
    /// Whether the provider reported an error: what is missing after it is no news.
    failed: bool,
    usage: Reports,
    id: ResponseId,
    named_model: bool,
    /// The service tier that was last named: every chunk may repeat it.
    tier: String,
    calls: Calls,
    pub arguments: Arguments,
}

impl State {
    /// The keys of a chunk that are read.
    pub const KEYS: &[&str] = Completion::KEYS;

    /// Bytes that are remembered of the response's calls.
    pub fn held(&self) -> usize {
        self.calls.held()
    }

    /// Token counts were asked for.
    pub fn expect_usage(&mut self) {
        self.usage.due = true;
    }

    /// Reads the data of one event of a stream; whether it is the protocol's end.
    pub fn chunk(
        &mut self,
        event: &str,
        data: &str,
        progress: Progress,
        sink: &mut Sink<'_>,
    ) -> bool {
        if data == "[DONE]" {
            if progress.terminated {
                sink(Event::Oddity(Oddity::TerminatorRepeated));
            } else {
                self.end(sink);
            }
            return !progress.terminated;
        }
        if event == "ping" && !progress.terminated {
            sink(Event::Oddity(Oddity::ForeignEvent));
            return false;
        }
        let mut spare = String::new();
        let Some(chunk) = parse::<Completion<'_>>(data, &mut spare, progress, sink) else {
            return false;
        };
        if progress.terminated {
            let mut choices = chunk.choices.iter().flatten();
            sink(Event::Oddity(
                if choices.any(|choice| choice.delta.speaks()) {
                    Oddity::DeltaAfterStop
                } else {
                    Oddity::AfterTerminator
                },
            ));
            self.count(chunk.usage.as_ref(), sink);
            return false;
        }
        if chunk.choices.is_none() && ANTHROPIC_TYPES.contains(&&*chunk.kind) {
            sink(Event::Oddity(Oddity::ForeignEvent));
            return false;
        }
        let failure =
            failure(&chunk, data).or_else(|| (event == "error").then(|| Failure::in_event(data)));
        if chunk.choices.is_none() && chunk.usage.is_none() && failure.is_none() {
            sink(Event::Oddity(Oddity::UnknownEvent));
        }
        self.answer(&chunk, failure, false, sink);
        false
    }

    /// Reads a whole body; whether it is a complete answer.
    pub fn body(&mut self, data: &str, sink: &mut Sink<'_>) -> bool {
        let mut spare = String::new();
        let Some(body) = parse::<Completion<'_>>(data, &mut spare, Progress::default(), sink)
        else {
            return false;
        };
        let answered = body.choices.as_ref().is_some_and(|list| !list.is_empty());
        let mut failure = failure(&body, data);
        if failure.is_none() && !answered {
            failure = Failure::in_json(data);
        }
        if failure.is_none() && !answered {
            sink(Event::Malformed("a body without choices"));
            return false;
        }
        let complete = failure.is_none();
        self.usage.due = true;
        self.answer(&body, failure, true, sink);
        if complete {
            self.end(sink);
        }
        complete
    }

    fn answer(
        &mut self,
        completion: &Completion<'_>,
        failure: Option<Failure>,
        whole: bool,
        sink: &mut Sink<'_>,
    ) {
        self.open(completion, sink);
        self.failed |= failure.is_some();
        let mut finish = "";
        for (position, choice) in completion.choices.iter().flatten().enumerate() {
            let first = match choice.index {
                Count::Number(index) => index == 0,
                Count::Missing | Count::NotANumber => position == 0,
            };
            if !first {
                sink(Event::Oddity(Oddity::UnknownEvent));
                continue;
            }
            let message = if whole {
                &choice.message
            } else {
                &choice.delta
            };
            self.message(message, whole, sink);
            finish = &choice.finish_reason;
        }
        self.count(completion.usage.as_ref(), sink);
        if let Some(failure) = failure {
            report_failure(&failure, Endpoint::OpenAi, sink);
        }
        if self.finish.is_some() && !finish.is_empty() {
            sink(Event::Oddity(Oddity::FinishRepeated));
        }
        let reason = report_finish(finish, sink);
        self.failed |= reason == Some(FinishReason::Error);
        self.finish = self.finish.or(reason);
    }

    fn count(&mut self, counts: Option<&usage::Counts<'_>>, sink: &mut Sink<'_>) {
        self.usage.take(counts, Endpoint::OpenAi, true, sink);
    }

    /// The answer ended.
    fn end(&mut self, sink: &mut Sink<'_>) {
        if self.failed {
            return;
        }
        if self.finish.is_none() {
            sink(Event::Oddity(Oddity::FinishMissing));
        }
        if self.usage.due && self.usage.lack_output() {
            sink(Event::Oddity(Oddity::UsageMissing));
        }
        // What the output limit cuts off may have come to nothing.
        let may_be_cut = self.finish == Some(FinishReason::Length);
        self.calls.end(may_be_cut, sink);
    }

    /// Every chunk names the response; the first name counts. Some first chunks have empty ones.
    fn open(&mut self, completion: &Completion<'_>, sink: &mut Sink<'_>) {
        let named = self.id.take(&completion.id);
        if named == Named::Otherwise {
            sink(Event::Oddity(Oddity::IdChanged));
        }
        let id = (named == Named::First).then_some(&*completion.id);
        let model =
            (!self.named_model && !completion.model.is_empty()).then_some(&*completion.model);
        self.named_model |= model.is_some();
        if id.is_some() || model.is_some() {
            sink(Event::Opened { id, model });
        }
        let tier = &*completion.service_tier;
        if !tier.is_empty() && tier.len() <= MAX_TIER_BYTES && tier != self.tier {
            tier.clone_into(&mut self.tier);
            sink(Event::ServiceTier(tier));
        }
    }

    fn message(&mut self, message: &Message<'_>, whole: bool, sink: &mut Sink<'_>) {
        if !self.begun && message.role.is_empty() && !self.failed {
            sink(Event::Oddity(Oddity::RoleMissing));
        }
        self.begun = true;
        if self.finish.is_some() && message.speaks() {
            sink(Event::Oddity(Oddity::DeltaAfterStop));
        }
        // Gateways that know both names send the same text under each: one counts.
        let reasoning = match &*message.reasoning_content {
            "" => &message.reasoning,
            text => text,
        };
        say(Event::Reasoning, reasoning, sink);
        match &message.content {
            Content::Nothing => {}
            Content::Text(text) => say(Event::Text, text, sink),
            Content::Parts(parts) => parts.iter().for_each(|part| say_part(part, sink)),
        }
        say(Event::Text, &message.refusal, sink);
        if message.tool_calls.0.as_ref().is_some_and(Vec::is_empty) {
            sink(Event::Oddity(Oddity::EmptyToolCalls));
        }
        for (position, call) in message.tool_calls.0.iter().flatten().enumerate() {
            let index = match call.index {
                Count::Number(index) => Some(index),
                Count::Missing | Count::NotANumber => None,
            };
            let piece = call.function.piece(&call.id);
            let arguments = &mut self.arguments;
            if whole {
                self.calls.whole(position, index, &piece, arguments, sink);
            } else {
                self.calls.fragment(index, &piece, arguments, sink);
            }
        }
        if let Some(function) = &message.function_call {
            let piece = function.piece("");
            let key = Some(Key::Function);
            self.calls.add(key, &piece, &mut self.arguments, sink);
            if whole {
                self.calls.close_last(sink);
            }
        }
    }
}

impl Function<'_> {
    fn piece<'a>(&'a self, id: &'a str) -> Piece<'a> {
        Piece {
            id,
            name: &self.name,
            arguments: &self.arguments.0,
        }
    }
}

/// The error of a chunk or body that says it is one, or whose answer does.
fn failure(completion: &Completion<'_>, data: &str) -> Option<Failure> {
    if completion.error.0 || completion.object == "error" || completion.kind == "error" {
        return Some(Failure::in_event(data));
    }
    let choice = completion.choices.as_ref()?.first()?;
    choice.error.0.then(|| Failure::in_choice(data))?
}

fn say_part(part: &Part<'_>, sink: &mut Sink<'_>) {
    match &*part.kind {
        "text" => say(Event::Text, &part.text, sink),
        "refusal" => say(Event::Text, &part.refusal, sink),
        "thinking" => match &part.thinking {
            Content::Nothing => {}
            Content::Text(text) => say(Event::Reasoning, text, sink),
            Content::Parts(parts) => {
                for part in parts {
                    say(Event::Reasoning, &part.text, sink);
                }
            }
        },
        // Mistral's citations: no tokens of their own.
        "reference" => {}
        _ => sink(Event::Oddity(Oddity::UnknownEvent)),
    }
}
