//! Reading `POST /v1/chat/completions`: chunks and whole bodies.
//!
//! Only choice 0 is read. What must be remembered between chunks is which call an argument
//! fragment belongs to: by `index`, and where a writer leaves it out (Mistral), by id or position.

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
        "content" => content: Content<'a>,
        "reasoning_content" => reasoning_content: Cow<'a, str>,
        "reasoning" => reasoning: Cow<'a, str>,
        "refusal" => refusal: Cow<'a, str>,
        "tool_calls" => tool_calls: Vec<ToolCall<'a>>,
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

/// What is remembered of one response.
#[derive(Debug, Default)]
pub(super) struct State {
    named_id: bool,
    named_model: bool,
    /// The service tier that was last named: every chunk may repeat it.
    tier: String,
    calls: Vec<Call>,
    /// Calls that were announced.
    announced: u32,
    /// Bytes that `calls` hold.
    held: usize,
    pub arguments: Arguments,
}

#[derive(Debug)]
struct Call {
    key: Option<Key>,
    id: String,
    /// Its index in events, once its name came.
    index: Option<u32>,
}

/// How fragments name their call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// `tool_calls[].index`.
    Index(u64),
    /// The older `function_call`, of which there is one.
    Function,
}

impl State {
    /// The keys of a chunk that are read.
    pub const KEYS: &[&str] = Completion::KEYS;

    /// Bytes that are remembered of the response's calls.
    pub fn held(&self) -> usize {
        self.held
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
                sink(Event::Oddity(Oddity::AfterTerminator));
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
            sink(Event::Oddity(Oddity::AfterTerminator));
            usage::report(chunk.usage.as_ref(), Endpoint::OpenAi, sink);
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
        self.answer(&body, failure, true, sink);
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
        usage::report(completion.usage.as_ref(), Endpoint::OpenAi, sink);
        if let Some(failure) = failure {
            report_failure(&failure, Endpoint::OpenAi, sink);
        }
        report_finish(finish, sink);
    }

    /// Every chunk names the response; the first name counts. Some first chunks have empty ones.
    fn open(&mut self, completion: &Completion<'_>, sink: &mut Sink<'_>) {
        let id = (!self.named_id && !completion.id.is_empty()).then_some(&*completion.id);
        let model =
            (!self.named_model && !completion.model.is_empty()).then_some(&*completion.model);
        self.named_id |= id.is_some();
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
        for call in &message.tool_calls {
            self.tool_call(call, whole, sink);
        }
        if let Some(function) = &message.function_call {
            let at = self.find(Some(Key::Function));
            self.fragment(at, Some(Key::Function), "", function, sink);
            self.end_whole(whole, sink);
        }
    }

    fn tool_call(&mut self, call: &ToolCall<'_>, whole: bool, sink: &mut Sink<'_>) {
        if whole {
            // A whole body lists whole calls; their place is their index.
            self.fragment(None, None, &call.id, &call.function, sink);
            self.end_whole(whole, sink);
            return;
        }
        let (at, key) = if let Count::Number(index) = call.index {
            let key = Some(Key::Index(index));
            (self.find(key), key)
        } else {
            sink(Event::Oddity(Oddity::CallWithoutIndex));
            let same_id = self
                .calls
                .iter()
                .rposition(|known| !call.id.is_empty() && known.id == call.id);
            if same_id.is_some() || (call.id.is_empty() && call.function.name.is_empty()) {
                (same_id.or(self.calls.len().checked_sub(1)), None)
            } else {
                let key = Some(Key::Index(self.calls.len() as u64));
                (None, key.filter(|_| self.find(key).is_none()))
            }
        };
        self.fragment(at, key, &call.id, &call.function, sink);
    }

    fn find(&self, key: Option<Key>) -> Option<usize> {
        self.calls.iter().rposition(|call| call.key == key)
    }

    /// Adds a fragment to the call `at`, or to a new one.
    fn fragment(
        &mut self,
        at: Option<usize>,
        key: Option<Key>,
        id: &str,
        function: &Function<'_>,
        sink: &mut Sink<'_>,
    ) {
        let is_new = at.is_none();
        let at = at.unwrap_or_else(|| {
            self.calls.push(Call {
                key,
                id: String::new(),
                index: None,
            });
            self.calls.len() - 1
        });
        let held = id.len() + if is_new { size_of::<Call>() } else { 0 };
        if self.calls.len() > MAX_CALLS || self.held + held > MAX_EVENT_BYTES {
            self.calls.clear();
            self.held = 0;
            sink(Event::Malformed("more tool calls than a response may have"));
            return;
        }
        let call = &mut self.calls[at];
        // An id after the name is one in pieces: the call was announced without it.
        let late = call.index.is_some() && !(id.is_empty() && function.name.is_empty());
        if late || !(id.is_empty() || call.id.is_empty()) {
            sink(Event::Oddity(Oddity::CallIdentityRepeated));
        }
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
            self.held += held;
        }
        if call.index.is_none() && !function.name.is_empty() {
            call.index = Some(self.announced);
            sink(Event::Call {
                index: self.announced,
                id: &call.id,
                name: &function.name,
            });
            self.announced += 1;
        }
        if !function.arguments.0.is_empty() {
            match call.index {
                Some(index) => self.arguments.say(index, &function.arguments.0, sink),
                None => sink(Event::Oddity(Oddity::OutOfBlock)),
            }
        }
    }

    /// A whole body closes the call that it just gave, if that had a name.
    fn end_whole(&mut self, whole: bool, sink: &mut Sink<'_>) {
        if let Some(index) = self.calls.last().and_then(|call| call.index)
            && whole
        {
            sink(Event::CallEnd { index });
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
