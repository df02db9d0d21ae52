//! What is answered and when, but not its shape.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Exchange;
use super::ask::{Ask, Choice};
use super::cache::Cached;
use super::calls::{Call, CallForm, Calls};
use crate::billing::Bill;
use crate::config::{Dialect, Surface};
use crate::draw::Pace;
use crate::journal::{Endpoint, Usage};
use crate::script::{Content, Frames};

/// What is answered, in either API.
pub(super) struct Reply {
    pub(super) request_id: String,
    pub(super) response_id: String,
    pub(super) created: u64,
    /// The first characters of the nonce, which every token repeats.
    pub(super) mark: String,
    pub(super) reasoning_tokens: u64,
    /// All of them, those after the calls included.
    pub(super) text_tokens: u64,
    /// Those after the calls.
    pub(super) text_tokens_after: u64,
    pub(super) calls: Vec<Call>,
    /// What the answer says that it used, which is not the truth where a mistake is planted.
    pub(super) usage: Usage,
    /// What is recorded of its cost.
    pub(super) bill: Bill,
    pub(super) finish: Finish,
    pub(super) opening: Duration,
    /// How long the request waited for a slot; all times count from its receipt.
    pub(super) queue: Duration,
    pub(super) steps: Vec<(Duration, Step)>,
    /// Whether tokens of text and reasoning end in characters of more than one byte.
    unicode: bool,
    pub(super) call_form: CallForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
    Tools,
}

/// One token event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Reasoning(String),
    Text(String),
    /// Mistral's chunk with the last thinking and the first text.
    Transition(String, String),
    Announce(usize),
    Arguments(usize, String),
    /// Mistral's chunk with all calls.
    WholeCalls,
}

/// Decides what is answered and when, but not its shape.
pub(super) fn compose(ask: &Ask, cached: Cached, exchange: &Exchange<'_>) -> Reply {
    let Exchange {
        received,
        behaviour,
        ..
    } = exchange;
    let arrival = received.arrival;
    let mark: String = exchange.nonce.chars().take(8).collect();
    let limit = ask.limit.filter(|_| behaviour.output.obey_limit);
    let most = behaviour.output.max_tokens;
    let planned = limit.unwrap_or(behaviour.output.tokens).min(most);
    let reasoning_tokens = share_of(planned, behaviour.output.reasoning_share);
    let room = limit.unwrap_or(most).min(most) - reasoning_tokens;
    let mut calls = Calls::make(ask, &mark, exchange);
    let mut text_tokens = behaviour.tools.text_tokens.min(room);
    calls.limit(room - text_tokens);
    let Calls {
        list: calls,
        mut is_cut,
    } = calls;
    let call_tokens: u64 = calls.iter().map(Call::tokens).sum();
    let mut text_tokens_after = 0;
    if calls.is_empty() {
        text_tokens = planned - reasoning_tokens;
    } else if !is_cut {
        let wanted = behaviour.tools.text_tokens_after;
        text_tokens_after = wanted.min(room.saturating_sub(text_tokens + call_tokens));
        is_cut = text_tokens_after < wanted;
        text_tokens += text_tokens_after;
    }
    let usage = Usage {
        input: ask
            .input_tokens
            .saturating_sub(cached.read + cached.written),
        cache_read: cached.read,
        cache_write: cached.written,
        cache_write_1h: cached.written_1h,
        output: reasoning_tokens + text_tokens + call_tokens,
        reasoning: reasoning_tokens,
    };
    let finish =
        if calls.is_empty() && ask.limit == Some(usage.output) || !calls.is_empty() && is_cut {
            Finish::Length
        } else if calls.is_empty() || exchange.stops_after_calls(ask) {
            Finish::Stop
        } else {
            Finish::Tools
        };
    let mut pace = Pace::new(
        &behaviour.timing,
        &exchange.draws,
        ask.input_tokens.saturating_sub(cached.read),
    );
    let mut reply = Reply {
        request_id: super::identity::request_id(arrival.seq),
        response_id: exchange.response_id(),
        created: exchange.created(),
        mark,
        reasoning_tokens,
        text_tokens,
        text_tokens_after,
        calls,
        usage,
        bill: Bill::default(),
        finish,
        opening: pace.opening(),
        queue: Duration::ZERO,
        steps: Vec::new(),
        unicode: behaviour.output.unicode,
        call_form: exchange.call_form(),
    };
    reply.steps = reply
        .plan(exchange.shape(), behaviour.output.tokens_per_event)
        .into_iter()
        .map(|step| (pace.next_event(), step))
        .collect();
    let timing = &behaviour.timing;
    let queue = exchange
        .state
        .wait(exchange.profile, timing.slots, arrival.at, reply.end());
    reply.delay(queue);
    reply.bill = exchange.bill(ask, &reply);
    reply.usage = reply.bill.wire_usage();
    reply
}

/// In what order an API has the events of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One piece after the other.
    Plain,
    /// The same, but the pieces of parallel calls alternate.
    Interleaved,
    /// Mistral's: thinking that turns into text in one event, and whole calls.
    Mistral,
}

impl Exchange<'_> {
    fn shape(&self) -> Shape {
        match (self.endpoint, self.behaviour.dialect) {
            (Endpoint::OpenAi, Dialect::Mistral) => Shape::Mistral,
            (Endpoint::OpenAi, _) if self.behaviour.tools.interleave => Shape::Interleaved,
            (Endpoint::OpenAi | Endpoint::Anthropic, _) => Shape::Plain,
        }
    }

    /// `OpenAI` says `stop` after a call that the request names.
    fn stops_after_calls(&self, ask: &Ask) -> bool {
        self.endpoint == Endpoint::OpenAi
            && self.behaviour.dialect == Dialect::OpenAi
            && matches!(ask.choice, Choice::Named(_))
    }
}

/// The share of a count, rounded half up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the share is within 0 and 1 and the count below a million"
)]
fn share_of(count: u64, share: f64) -> u64 {
    ((count as f64 * share + 0.5) as u64).min(count)
}

/// Characters of two, three and four bytes.
const UNICODE: &str = "é漢🦀";

/// Bytes of arguments that count as one token, and so the size of a fragment of one-token events.
const FRAGMENT_BYTES_PER_TOKEN: u64 = 4;

impl Reply {
    /// The token events in order.
    fn plan(&self, shape: Shape, tokens_per_event: u64) -> Vec<Step> {
        let mut steps: Vec<Step> = self
            .runs(self.reasoning_tokens, tokens_per_event, "r")
            .map(Step::Reasoning)
            .collect();
        let mut texts = self.runs(self.text_before(), tokens_per_event, "");
        if shape == Shape::Mistral
            && let Some(first) = texts.next()
        {
            let step = match steps.pop() {
                Some(Step::Reasoning(last)) => Step::Transition(last, first),
                _ => Step::Text(first),
            };
            steps.push(step);
        }
        steps.extend(texts.map(Step::Text));
        let mut calls: Vec<_> = (0..self.calls.len())
            .map(|index| self.call_steps(index, tokens_per_event))
            .collect();
        match shape {
            Shape::Plain => steps.extend(calls.into_iter().flatten()),
            Shape::Interleaved => {
                let longest = calls.iter().map(ExactSizeIterator::len).max();
                for _ in 0..longest.unwrap_or_default() {
                    steps.extend(calls.iter_mut().filter_map(Iterator::next));
                }
            }
            Shape::Mistral if calls.is_empty() => {}
            Shape::Mistral => steps.push(Step::WholeCalls),
        }
        let after = self.runs_of(self.text_before()..self.text_tokens, tokens_per_event, "");
        steps.extend(after.map(Step::Text));
        steps
    }

    /// Tokens of text before the calls.
    pub(super) fn text_before(&self) -> u64 {
        self.text_tokens - self.text_tokens_after
    }

    /// A call's name, then the pieces of its arguments.
    fn call_steps(&self, index: usize, tokens_per_event: u64) -> std::vec::IntoIter<Step> {
        let bytes = FRAGMENT_BYTES_PER_TOKEN.saturating_mul(tokens_per_event);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let pieces = fragments(&self.calls[index].arguments, bytes).into_iter();
        let pieces = pieces.map(|piece| Step::Arguments(index, piece));
        let steps: Vec<_> = std::iter::once(Step::Announce(index))
            .chain(pieces)
            .collect();
        steps.into_iter()
    }

    /// Tokens 0 to `count`, some to an event; token `i` is `"{mark}.{prefix}{i} "`, with [`UNICODE`] before its space if
    /// that is wanted.
    fn runs(
        &self,
        count: u64,
        tokens_per_event: u64,
        prefix: &'static str,
    ) -> impl Iterator<Item = String> {
        self.runs_of(0..count, tokens_per_event, prefix)
    }

    /// The same of some tokens in the middle.
    fn runs_of(
        &self,
        tokens: std::ops::Range<u64>,
        tokens_per_event: u64,
        prefix: &'static str,
    ) -> impl Iterator<Item = String> {
        let end = tokens.end;
        let starts = tokens.step_by(usize::try_from(tokens_per_event).unwrap_or(usize::MAX));
        starts.map(move |start| {
            self.run(
                start..end.min(start.saturating_add(tokens_per_event)),
                prefix,
            )
        })
    }

    fn run(&self, range: std::ops::Range<u64>, prefix: &str) -> String {
        let end = if self.unicode { UNICODE } else { "" };
        range.fold(String::new(), |mut text, i| {
            write!(text, "{}.{prefix}{i}{end} ", self.mark).expect("a string takes any text");
            text
        })
    }

    /// All of it, as one string of a chat completion.
    pub(super) fn text(&self) -> String {
        self.run(0..self.text_tokens, "")
    }

    /// What stands before the calls, and after them.
    pub(super) fn texts(&self) -> [String; 2] {
        let before = self.text_before();
        [0..before, before..self.text_tokens].map(|tokens| self.run(tokens, ""))
    }

    pub(super) fn reasoning(&self) -> String {
        self.run(0..self.reasoning_tokens, "r")
    }

    /// Digests of the visible text and of the reasoning that the token events carry. They are the same for a whole
    /// body, and cost nothing while frames are due.
    pub(super) fn digests(&self) -> (Option<String>, Option<String>) {
        let (mut text, mut reasoning) = (Sha256::new(), Sha256::new());
        for (_, step) in &self.steps {
            match step {
                Step::Reasoning(piece) => reasoning.update(piece),
                Step::Text(piece) => text.update(piece),
                Step::Transition(last, first) => {
                    reasoning.update(last);
                    text.update(first);
                }
                Step::Announce(_) | Step::Arguments(..) | Step::WholeCalls => {}
            }
        }
        (
            (self.text_tokens > 0).then(|| first_digits(text)),
            (self.reasoning_tokens > 0).then(|| first_digits(reasoning)),
        )
    }

    /// Has everything leave later.
    fn delay(&mut self, by: Duration) {
        self.queue += by;
        self.opening += by;
        for (at, _) in &mut self.steps {
            *at += by;
        }
    }

    /// When the last token event leaves, and with it what closes the answer.
    pub(super) fn end(&self) -> Duration {
        self.steps.last().map_or(self.opening, |(at, _)| *at)
    }

    /// What the frame with the usage is for the journal.
    pub(super) fn usage_content(&self) -> Content {
        let is_elsewhere = |surface: &Surface| match surface {
            Surface::Header => true,
            Surface::AfterTerminator => self.bill.stream,
            _ => false,
        };
        if self.bill.surfaces.keys().all(is_elsewhere) {
            Content::NOTHING
        } else {
            Content::COST
        }
    }

    /// A whole body, answered when a stream would have ended.
    pub(super) fn whole(&self, body: &str) -> Frames {
        let mut frames = Frames::new();
        frames.push(self.end(), self.usage_content(), body.as_bytes());
        frames
    }
}

/// The first 16 hexadecimal digits of a digest.
fn first_digits(hash: Sha256) -> String {
    let digest: [u8; 32] = hash.finalize().into();
    let first = digest.first_chunk().expect("8 of 32 bytes");
    format!("{:016x}", u64::from_be_bytes(*first))
}

/// Cuts arguments into at least two pieces, as far as there are bytes, of about `size` bytes.
fn fragments(arguments: &str, size: usize) -> Vec<String> {
    if arguments.is_empty() {
        return Vec::new();
    }
    let size = size.min(arguments.len().div_ceil(2)).max(1);
    let mut pieces = vec![String::new()];
    for character in arguments.chars() {
        if pieces.last().is_some_and(|piece| piece.len() >= size) {
            pieces.push(String::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(character);
        }
    }
    pieces
}

pub(super) fn finish_name(endpoint: Endpoint, finish: Finish) -> &'static str {
    match (endpoint, finish) {
        (Endpoint::OpenAi, Finish::Stop) => "stop",
        (Endpoint::OpenAi, Finish::Length) => "length",
        (Endpoint::OpenAi, Finish::Tools) => "tool_calls",
        (Endpoint::Anthropic, Finish::Stop) => "end_turn",
        (Endpoint::Anthropic, Finish::Length) => "max_tokens",
        (Endpoint::Anthropic, Finish::Tools) => "tool_use",
    }
}

/// A text as a JSON string, with its quotes.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        // Every token passes here, and none has anything to escape.
        return ["\"", text, "\""].concat();
    }
    Value::from(text).to_string()
}
