//! What to send: (spec, seed, session, turn) -> [`Prompt`].
//!
//! Every draw of a session comes from the seed and the session's number, so both endpoints are
//! sent the same prompt but for its nonce. Sizes are estimates by the rule of `tokens`; what was
//! really read and written stands in the usage, and reports show one against the other.

mod results;
mod tools;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rand::RngExt as _;
use rand_distr::{Distribution as _, LogNormal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::prompt::{CacheTtl, Call, Message, Prefix, Prompt, ToolChoice};
use crate::record::Class;
use crate::{seed, tokens};

use results::Asked;
pub use results::{ResultRule, Says, Template, TemplateError};
pub use tools::{
    Kind, TASK as TOOLS_TASK, Tools, builtin as builtin_tools, catalog as tool_catalog,
};

/// Common English words of two to six letters: about a token each in today's tokenizers.
static WORDS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("words.txt").split_ascii_whitespace().collect());

/// What a prompt may cost besides its words: the nonce.
const NONCE_DIGITS: usize = 32;

/// A size in tokens, drawn for each session.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Size {
    /// Always this many.
    Fixed(u64),
    /// Any number between two, both included, equally likely.
    Uniform {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// Log-normal, cut at `max`.
    Lognormal {
        /// The median.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
        /// The largest; a draw beyond it becomes it.
        max: u64,
    },
}

impl Size {
    /// Why this is no size, if it is none.
    pub fn fault(&self) -> Option<String> {
        match *self {
            Self::Fixed(0) => Some("must be at least 1 token".to_owned()),
            Self::Uniform { min, max } if min == 0 || min > max => Some(format!(
                "needs 1 <= min <= max, not min = {min}, max = {max}"
            )),
            Self::Lognormal { median, sigma, max }
                if !(median.is_finite() && sigma.is_finite() && median >= 1.0 && sigma >= 0.0)
                    || max == 0 =>
            {
                Some(format!(
                    "needs median >= 1, sigma >= 0 and max >= 1, not median = {median}, sigma = {sigma}, max = {max}"
                ))
            }
            _ => None,
        }
    }

    /// The largest size that can be drawn.
    pub const fn max(&self) -> u64 {
        match *self {
            Self::Fixed(n) => n,
            Self::Uniform { max, .. } | Self::Lognormal { max, .. } => max,
        }
    }

    /// The mean of the draws, by their formula (log-normal: before the cut at `max`).
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and cut at max"
    )]
    pub fn mean(&self) -> u64 {
        match *self {
            Self::Fixed(n) => n,
            Self::Uniform { min, max } => u64::midpoint(min, max),
            Self::Lognormal { median, sigma, max } => {
                ((median * (sigma * sigma / 2.0).exp()).round() as u64).min(max)
            }
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 1..=max"
    )]
    fn draw(&self, rng: &mut impl rand::Rng) -> u64 {
        match *self {
            Self::Fixed(n) => n,
            Self::Uniform { min, max } => rng.random_range(min..=max),
            Self::Lognormal { median, sigma, max } => {
                let drawn = LogNormal::new(median.ln(), sigma)
                    .expect("sigma is finite and not negative: Size::fault")
                    .sample(rng);
                (drawn.round().max(1.0) as u64).clamp(1, max)
            }
        }
    }
}

/// Whether requests may share a cache entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// Each prompt begins with a nonce of its own, so that no prompt cache and no gateway cache
    /// falsifies a latency or a bill.
    #[default]
    Unique,
    /// Prompts carry no nonce and may be served from a cache; the `traceparent` header still
    /// names each request.
    Shared,
}

/// The prefix of `tokens` common words that all prompts of a run share, drawn from the seed.
pub fn shared_prefix(seed: u64, tokens: u64, ttl: CacheTtl) -> Prefix {
    let text = words(tokens, &mut seed::rng(seed, "cached_prefix", 0));
    Prefix {
        text: text.into(),
        ttl,
    }
}

/// A prompt of the user's own, from a JSONL file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The system prompt.
    pub system: Option<String>,
    /// The user's text.
    pub user: String,
    /// The output limit in tokens; the workload's draw if absent.
    pub max_output_tokens: Option<u64>,
}

/// When a request is hung up on, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// Once this many token-bearing events of its stream have arrived.
    AfterEvents(u64),
    /// This long after it was sent.
    After(Duration),
}

/// Where the text of a prompt comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Made of common words, near this many input tokens.
    Generated(Size),
    /// Taken in turn from a list that is not empty.
    Given(Vec<Given>),
}

/// What the sessions of a run ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The models and their weights; not empty, weights above zero.
    pub models: Vec<(String, f64)>,
    /// Where the text comes from.
    pub source: Source,
    /// The output limit of each request.
    pub output_tokens: Size,
    /// What sessions with tools offer, and how their calls are answered.
    pub tools: Tools,
    /// Share of the sessions that ask for a stream.
    pub stream_share: f64,
    /// Whether prompts are unique.
    pub cache: Cache,
    /// What stands in front of every prompt, beside its own size, for prompt caches to keep.
    pub prefix: Option<Prefix>,
    /// Whether prompt caches are asked to keep each conversation for its next turn.
    pub cache_conversation: Option<CacheTtl>,
    /// Sampling temperature; left out if `None`.
    pub temperature: Option<f64>,
    /// Share of the sessions that are hung up on, and when; `None` for none.
    pub hang_up: Option<(f64, HangUp)>,
}

/// One turn that is to be sent, but for where.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// What to send.
    pub prompt: Prompt,
    /// The kind of work.
    pub class: Class,
    /// Estimated input tokens.
    pub planned_input: u64,
    /// When it is hung up on, if it is.
    pub hang_up: Option<HangUp>,
    /// Turns of its session, at most; at least 1.
    pub turns_max: u32,
}

/// An answer that a session goes on from.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// Its visible text.
    pub text: &'a str,
    /// The tools that it called, in order; not empty.
    pub calls: &'a [Call],
}

/// A later turn of a session, whose prompt is the one before and what was said since.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Next {
    /// Estimated input tokens.
    pub planned_input: u64,
    /// When it is hung up on, if it is.
    pub hang_up: Option<HangUp>,
    /// How long the tools take that it has the results of: they run side by side.
    pub wait: Duration,
}

/// The words that close a chat prompt: without them, a model answers in a sentence, whatever its
/// output limit.
const CHAT_TASK: &str = "Go on with this text in the same way and do not stop early.";

impl Spec {
    /// The turn that `session` of the part of the run called `stream` sends, named `trace_id`.
    pub fn turn(&self, seed: u64, stream: &str, session: u64, trace_id: &str) -> Turn {
        assert_eq!(trace_id.len(), NONCE_DIGITS, "nonces are of equal length");
        let draw = |what: &str| seed::rng(seed, &format!("{stream}.{what}"), session);
        let happens = |what: &str, share: f64| draw(what).random::<f64>() < share;

        let kind = happens("tools", self.tools.share).then(|| self.tools.draw(&mut draw("kind")));
        let nonce = match self.cache {
            Cache::Unique => Some(trace_id),
            Cache::Shared => None,
        };
        let output_limit = self.output_tokens.draw(&mut draw("output"));
        let (system, user, max_output_tokens) = match &self.source {
            Source::Generated(size) => {
                let wanted = size.draw(&mut draw("input"));
                let task = kind.map_or(CHAT_TASK, |kind| &kind.task);
                let fixed = nonce.map_or(0, tokens::estimate)
                    + tokens::PER_MESSAGE
                    + kind.map_or_else(|| tokens::estimate(CHAT_TASK), Kind::tokens);
                let text = words(wanted.saturating_sub(fixed), &mut draw("text"));
                (
                    None,
                    [nonce.unwrap_or_default(), &text, task]
                        .join(" ")
                        .trim()
                        .to_owned(),
                    output_limit,
                )
            }
            Source::Given(list) => {
                let at =
                    usize::try_from(session % list.len() as u64).expect("below a list's length");
                let given = &list[at];
                // The nonce stands at the very beginning, so that a prefix cache misses at once, or
                // else right behind what it is to serve.
                let in_system = nonce.filter(|_| self.prefix.is_none());
                let (system, user) = match (&given.system, nonce) {
                    (Some(system), Some(nonce)) if in_system.is_none() => {
                        (Some(system.clone()), format!("{nonce} {}", given.user))
                    }
                    (Some(system), Some(nonce)) => {
                        (Some(format!("{nonce} {system}")), given.user.clone())
                    }
                    (None, Some(nonce)) => (None, format!("{nonce} {}", given.user)),
                    (system, None) => (system.clone(), given.user.clone()),
                };
                (
                    system,
                    user,
                    given.max_output_tokens.unwrap_or(output_limit),
                )
            }
        };
        let prompt = Prompt {
            prefix: self.prefix.clone(),
            cache_conversation: self.cache_conversation,
            model: self.model(&mut draw("model")),
            system,
            messages: vec![Message::User(user)],
            tools: kind.map_or_else(Arc::default, |kind| kind.offered.clone()),
            tool_choice: kind.map_or(ToolChoice::Auto, |kind| kind.choice.clone()),
            parallel_tool_calls: kind.and_then(|kind| kind.parallel),
            max_output_tokens: Some(max_output_tokens),
            temperature: self.temperature,
            stream: happens("stream", self.stream_share),
        };
        Turn {
            planned_input: estimate_input(&prompt),
            prompt,
            class: kind.map_or(Class::Chat, |_| Class::Tools),
            hang_up: self.hang_up(seed, &format!("{stream}.hang_up"), session),
            turns_max: kind.map_or(1, |kind| self.tools.turns_of(kind)),
        }
    }

    /// Turn number `turn`, from 1, of `session` in the part of the run called `stream`, named `trace_id`: `prompt`, which
    /// is that of the turn before, gets its answer, and the results of the calls.
    ///
    /// The nonce stands at the very end, in the last result: what was sent before stays the begin of the prompt, which
    /// caches look for.
    pub fn next(
        &self,
        (seed, stream, session, turn): (u64, &str, u64, u32),
        trace_id: &str,
        prompt: &mut Prompt,
        answered: Answered<'_>,
    ) -> Next {
        assert!(turn > 0, "the first turn has none before it");
        let asked = Asked {
            seed,
            stream,
            session,
            turn: turn - 1,
        };
        let mut calls = answered.calls.to_vec();
        let mut wait = Duration::ZERO;
        let mut results = Vec::with_capacity(calls.len());
        for (index, call) in calls.iter_mut().enumerate() {
            if call.id.is_empty() {
                call.id = made_up_id(trace_id, index);
            }
            let (result, took) =
                results::answer(&self.tools.results, &prompt.tools, call, index, asked);
            wait = wait.max(took);
            results.push(result);
        }
        if let (Cache::Unique, Some(last)) = (self.cache, results.last_mut()) {
            last.content = format!("{}\n[request {trace_id}]", last.content);
        }
        let answer = Message::Assistant {
            text: answered.text.to_owned(),
            calls,
        };
        prompt
            .messages
            .extend([answer, Message::ToolResults(results)]);
        // A model that must call a tool in each turn never ends.
        prompt.tool_choice = ToolChoice::Auto;
        Next {
            planned_input: estimate_input(prompt),
            hang_up: self.hang_up(seed, &format!("{stream}.hang_up.{turn}"), session),
            wait,
        }
    }

    fn hang_up(&self, seed: u64, stream: &str, session: u64) -> Option<HangUp> {
        let (share, when) = self.hang_up?;
        let drawn = seed::rng(seed, stream, session).random::<f64>();
        (drawn < share).then_some(when)
    }

    /// The most turns that a session can have.
    pub fn turns_max(&self) -> u32 {
        if self.tools.share > 0.0 {
            let turns = self
                .tools
                .kinds
                .iter()
                .map(|kind| self.tools.turns_of(kind));
            turns.max().unwrap_or(1)
        } else {
            1
        }
    }

    /// The longest that the tools of one turn are to be expected to take.
    pub fn delay_max(&self) -> Duration {
        let delays = self.tools.results.iter().map(|rule| rule.delay.longest());
        delays.max().unwrap_or(Duration::ZERO)
    }

    /// The largest input that the first turn of a session can have, in estimated tokens.
    pub fn input_max(&self) -> u64 {
        // The nonce, the task, the template and the tools are sent however small the wanted size.
        let kinds = self.tools.kinds.iter();
        let kinds = kinds.filter(|_| self.tools.share > 0.0);
        let prefix = self.prefix_tokens();
        let around = (NONCE_DIGITS as u64).div_ceil(6) + 2 * tokens::PER_MESSAGE;
        let offered = kinds.clone().map(|kind| kind.offered.tokens());
        let around_given = around + offered.max().unwrap_or(0);
        let least = kinds.map(Kind::tokens).max().unwrap_or(0);
        let least = around + least.max(tokens::estimate(CHAT_TASK));
        match &self.source {
            Source::Generated(size) => prefix + size.max().max(least),
            Source::Given(list) => {
                let text = |g: &Given| {
                    tokens::estimate(&g.user) + g.system.as_deref().map_or(0, tokens::estimate)
                };
                prefix + around_given + list.iter().map(text).max().unwrap_or(0)
            }
        }
    }

    /// The mean input of the first turn of a session, in estimated tokens.
    pub fn input_mean(&self) -> u64 {
        match &self.source {
            Source::Generated(size) => self.prefix_tokens() + size.mean(),
            Source::Given(_) => self.input_max(),
        }
    }

    /// The estimated tokens of the shared prefix, which every turn has beside its own.
    pub fn prefix_tokens(&self) -> u64 {
        self.prefix.as_ref().map_or(0, prefix_tokens)
    }

    /// The mean output limit of a turn.
    pub fn output_mean(&self) -> u64 {
        self.output_tokens.mean()
    }

    /// The largest output limit that a turn can have.
    pub fn output_max(&self) -> u64 {
        let given = match &self.source {
            Source::Generated(_) => None,
            Source::Given(list) => list.iter().filter_map(|g| g.max_output_tokens).max(),
        };
        self.output_tokens.max().max(given.unwrap_or(0))
    }

    fn model(&self, rng: &mut impl rand::Rng) -> String {
        let total: f64 = self.models.iter().map(|(_, weight)| weight).sum();
        let mut at = rng.random::<f64>() * total;
        for (model, weight) in &self.models {
            at -= weight;
            if at < 0.0 {
                return model.clone();
            }
        }
        self.models
            .last()
            .expect("a spec has at least one model")
            .0
            .clone()
    }
}

/// The estimated input tokens of a prompt.
pub fn estimate_input(prompt: &Prompt) -> u64 {
    let message = |message: &Message| {
        tokens::PER_MESSAGE
            + match message {
                Message::User(text) => tokens::estimate(text),
                Message::Assistant { text, calls } => {
                    tokens::estimate(text)
                        + calls
                            .iter()
                            .map(|c| json_tokens(c.name.len() + c.arguments.len()))
                            .sum::<u64>()
                }
                Message::ToolResults(results) => {
                    results.iter().map(|r| tokens::estimate(&r.content)).sum()
                }
            }
    };
    prompt.prefix.as_ref().map_or(0, prefix_tokens)
        + prompt
            .system
            .as_deref()
            .map_or(0, |text| tokens::PER_MESSAGE + tokens::estimate(text))
        + prompt.messages.iter().map(message).sum::<u64>()
        + prompt.tools.tokens()
}

/// The estimated tokens of so many bytes of JSON.
const fn json_tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(tokens::JSON_BYTES_PER_TOKEN)
}

/// An id for a call that came without one, in the form that all providers take: `[A-Za-z0-9]{9}`.
fn made_up_id(trace_id: &str, index: usize) -> String {
    let mut id = seed::sha256_hex(format!("{trace_id}.{index}").as_bytes());
    id.truncate(9);
    id
}

fn prefix_tokens(prefix: &Prefix) -> u64 {
    tokens::PER_MESSAGE + tokens::estimate(&prefix.text)
}

/// `count` common words.
fn words(count: u64, rng: &mut impl rand::Rng) -> String {
    let list = WORDS.as_slice();
    // Words of at most six letters, and a space.
    let mut text = String::with_capacity(usize::try_from(count).map_or(0, |count| count * 7));
    for n in 0..count {
        if n > 0 {
            text.push(' ');
        }
        text.push_str(list[rng.random_range(0..list.len())]);
    }
    text
}

#[cfg(test)]
mod tests;
