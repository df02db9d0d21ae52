//! What is answered and when, but not its shape.

use std::fmt::Write as _;
use std::time::Duration;

use rand::{Rng, RngExt};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::ask::{Ask, Choice, Tool};
use super::cache::Cached;
use super::{Exchange, arguments};
use crate::billing::Bill;
use crate::config::{Dialect, Surface};
use crate::draw::Pace;
use crate::journal::{Endpoint, Usage};
use crate::script::{Content, Frames};
use crate::tokens;

/// What is answered, in either API.
pub(super) struct Reply {
    pub(super) request_id: String,
    pub(super) response_id: String,
    pub(super) created: u64,
    /// The first characters of the nonce, which every token repeats.
    pub(super) mark: String,
    pub(super) reasoning_tokens: u64,
    pub(super) text_tokens: u64,
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
}

pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
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
    let mistral = exchange.endpoint == Endpoint::OpenAi && behaviour.dialect == Dialect::Mistral;
    let mark: String = exchange.nonce.chars().take(8).collect();
    let calls = make_calls(ask, mistral, &mark, exchange);
    let planned = ask
        .limit
        .filter(|_| behaviour.output.obey_limit)
        .unwrap_or(behaviour.output.tokens)
        .min(behaviour.output.max_tokens);
    let reasoning_tokens = share_of(planned, behaviour.output.reasoning_share);
    let text_tokens = if calls.is_empty() {
        planned - reasoning_tokens
    } else {
        0
    };
    let call_tokens: u64 = calls
        .iter()
        .map(|call| tokens::of_call(&call.name, &call.arguments))
        .sum();
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
    let finish = if !calls.is_empty() {
        Finish::Tools
    } else if ask.limit == Some(usage.output) {
        Finish::Length
    } else {
        Finish::Stop
    };
    let mut pace = Pace::new(
        &behaviour.timing,
        &exchange.draws,
        ask.input_tokens.saturating_sub(cached.read),
    );
    let mut reply = Reply {
        request_id: super::identity::request_id(arrival.seq),
        response_id: format!(
            "{:016x}{:08x}",
            exchange.draws.stream("id").next_u64(),
            arrival.seq
        ),
        created: arrival.unix_us / 1_000_000,
        mark,
        reasoning_tokens,
        text_tokens,
        calls,
        usage,
        bill: Bill::default(),
        finish,
        opening: pace.opening(),
        queue: Duration::ZERO,
        steps: Vec::new(),
    };
    reply.steps = reply
        .plan(mistral, behaviour.output.tokens_per_event)
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

fn make_calls(ask: &Ask, mistral: bool, mark: &str, exchange: &Exchange<'_>) -> Vec<Call> {
    let config = &exchange.behaviour.tools;
    let tools: Vec<&Tool> = match &ask.choice {
        Choice::None => Vec::new(),
        Choice::Any => ask.tools.iter().collect(),
        Choice::Named(name) => ask
            .tools
            .iter()
            .filter(|tool| tool.name == *name)
            .take(1)
            .collect(),
    };
    if tools.is_empty() || config.calls == 0 {
        return Vec::new();
    }
    let count = if matches!(ask.choice, Choice::Named(_)) || !ask.parallel {
        1
    } else {
        config.calls as usize
    };
    let mut rng = exchange.draws.stream("call ids");
    (0..count)
        .map(|index| {
            let tool = tools[index % tools.len()];
            let id = match exchange.endpoint {
                Endpoint::Anthropic => format!("toolu_{:016x}{index:08x}", rng.next_u64()),
                Endpoint::OpenAi if mistral => nine_characters(&mut rng),
                Endpoint::OpenAi => format!("call_{:016x}{index:08x}", rng.next_u64()),
            };
            Call {
                id,
                name: tool.name.clone(),
                arguments: arguments::for_schema(&tool.schema, &format!("{mark}.c{index}"), index),
            }
        })
        .collect()
}

/// An id as Mistral demands them: `[A-Za-z0-9]{9}`.
fn nine_characters(rng: &mut impl Rng) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..9)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
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

/// Bytes of arguments that count as one token, and so the size of a fragment of one-token events.
const FRAGMENT_BYTES_PER_TOKEN: u64 = 4;

impl Reply {
    /// The token events in order.
    fn plan(&self, mistral: bool, tokens_per_event: u64) -> Vec<Step> {
        let mut steps: Vec<Step> = self
            .runs(self.reasoning_tokens, tokens_per_event, "r")
            .map(Step::Reasoning)
            .collect();
        let mut texts = self.runs(self.text_tokens, tokens_per_event, "");
        if mistral && let Some(first) = texts.next() {
            let step = match steps.pop() {
                Some(Step::Reasoning(last)) => Step::Transition(last, first),
                _ => Step::Text(first),
            };
            steps.push(step);
        }
        steps.extend(texts.map(Step::Text));
        if mistral {
            if !self.calls.is_empty() {
                steps.push(Step::WholeCalls);
            }
            return steps;
        }
        let fragment_bytes =
            usize::try_from(FRAGMENT_BYTES_PER_TOKEN.saturating_mul(tokens_per_event))
                .unwrap_or(usize::MAX);
        for (index, call) in self.calls.iter().enumerate() {
            steps.push(Step::Announce(index));
            let fragments = fragments(&call.arguments, fragment_bytes);
            steps.extend(
                fragments
                    .into_iter()
                    .map(|fragment| Step::Arguments(index, fragment)),
            );
        }
        steps
    }

    /// Tokens 0 to `count`, some to an event; token `i` is `"{mark}.{prefix}{i} "`.
    fn runs(
        &self,
        count: u64,
        tokens_per_event: u64,
        prefix: &'static str,
    ) -> impl Iterator<Item = String> {
        let starts = (0..count).step_by(usize::try_from(tokens_per_event).unwrap_or(usize::MAX));
        starts.map(move |start| {
            self.run(
                start..count.min(start.saturating_add(tokens_per_event)),
                prefix,
            )
        })
    }

    fn run(&self, range: std::ops::Range<u64>, prefix: &str) -> String {
        range.fold(String::new(), |mut text, i| {
            write!(text, "{}.{prefix}{i} ", self.mark).expect("a string takes any text");
            text
        })
    }

    pub(super) fn text(&self) -> String {
        self.run(0..self.text_tokens, "")
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
