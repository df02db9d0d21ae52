//! What to send: (spec, seed, session, turn) -> [`Prompt`].
//!
//! Every draw of a session comes from the seed and the session's number, so both endpoints are
//! sent the same prompt but for its nonce. Sizes are estimates by the rule of `tokens`; what was
//! really read and written stands in the usage, and reports show one against the other.

mod tools;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rand::RngExt as _;
use rand_distr::{Distribution as _, LogNormal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::prompt::{CacheTtl, Message, Prefix, Prompt, Tool, ToolChoice, Toolbox};
use crate::record::Class;
use crate::{seed, tokens};

pub use tools::builtin as builtin_tools;

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
    /// Share of the sessions that offer tools.
    pub tools_share: f64,
    /// Share of the sessions that ask for a stream.
    pub stream_share: f64,
    /// The tools that are offered.
    pub tools: Arc<Toolbox>,
    /// Which tool the model must call.
    pub tool_choice: ToolChoice,
    /// Whether prompts are unique.
    pub cache: Cache,
    /// What stands in front of every prompt, beside its own size, for prompt caches to keep.
    pub prefix: Option<Prefix>,
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
}

/// The words that close a chat prompt: without them, a model answers in a sentence, whatever its
/// output limit.
const CHAT_TASK: &str = "Go on with this text in the same way and do not stop early.";

/// The words that close a tools prompt: two calls of one turn.
const TOOLS_TASK: &str = "Use the tools: get the weather in Lyon and in Oslo, both at once.";

impl Spec {
    /// The turn that `session` of the part of the run called `stream` sends, named `trace_id`.
    pub fn turn(&self, seed: u64, stream: &str, session: u64, trace_id: &str) -> Turn {
        assert_eq!(trace_id.len(), NONCE_DIGITS, "nonces are of equal length");
        let draw = |what: &str| seed::rng(seed, &format!("{stream}.{what}"), session);
        let happens = |what: &str, share: f64| draw(what).random::<f64>() < share;

        let with_tools = happens("tools", self.tools_share);
        let tools = if with_tools {
            self.tools.clone()
        } else {
            Arc::default()
        };
        let nonce = match self.cache {
            Cache::Unique => Some(trace_id),
            Cache::Shared => None,
        };
        let output_limit = self.output_tokens.draw(&mut draw("output"));
        let (system, user, max_output_tokens) = match &self.source {
            Source::Generated(size) => {
                let wanted = size.draw(&mut draw("input"));
                let task = if with_tools { TOOLS_TASK } else { CHAT_TASK };
                let fixed = nonce.map_or(0, tokens::estimate)
                    + tokens::estimate(task)
                    + tokens::PER_MESSAGE
                    + tools.tools().iter().map(tool_tokens).sum::<u64>();
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
            cache_conversation: None,
            model: self.model(&mut draw("model")),
            system,
            messages: vec![Message::User(user)],
            tools,
            tool_choice: self.tool_choice.clone(),
            parallel_tool_calls: None,
            max_output_tokens: Some(max_output_tokens),
            temperature: self.temperature,
            stream: happens("stream", self.stream_share),
        };
        let class = if with_tools {
            Class::Tools
        } else {
            Class::Chat
        };
        Turn {
            planned_input: estimate_input(&prompt),
            prompt,
            class,
            hang_up: self
                .hang_up
                .filter(|(share, _)| happens("hang_up", *share))
                .map(|(_, when)| when),
        }
    }

    /// The largest input that a turn can have, in estimated tokens.
    pub fn input_max(&self) -> u64 {
        // The nonce, the task, the template and the tools are sent however small the wanted size.
        let tools = if self.tools_share > 0.0 {
            self.tools.tools().iter().map(tool_tokens).sum()
        } else {
            0
        };
        let prefix = self.prefix_tokens();
        let around = (NONCE_DIGITS as u64).div_ceil(6) + 2 * tokens::PER_MESSAGE + tools;
        let task = tokens::estimate(CHAT_TASK).max(tokens::estimate(TOOLS_TASK));
        match &self.source {
            Source::Generated(size) => prefix + size.max().max(around + task),
            Source::Given(list) => {
                let text = |g: &Given| {
                    tokens::estimate(&g.user) + g.system.as_deref().map_or(0, tokens::estimate)
                };
                prefix + around + list.iter().map(text).max().unwrap_or(0)
            }
        }
    }

    /// The mean input of a turn, in estimated tokens.
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
                            .map(|c| tokens::estimate(&c.arguments))
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
        + prompt.tools.tools().iter().map(tool_tokens).sum::<u64>()
}

fn prefix_tokens(prefix: &Prefix) -> u64 {
    tokens::PER_MESSAGE + tokens::estimate(&prefix.text)
}

/// The estimated tokens of a tool's definition: its compact JSON.
fn tool_tokens(tool: &Tool) -> u64 {
    let json = serde_json::json!({
        "name": tool.name, "description": tool.description, "schema": tool.schema,
    });
    (json.to_string().len() as u64).div_ceil(tokens::JSON_BYTES_PER_TOKEN)
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
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";
    const OTHER_ID: &str = "fedcba9876543210fedcba9876543210";

    fn spec() -> Spec {
        Spec {
            models: vec![("m".to_owned(), 1.0)],
            source: Source::Generated(Size::Uniform { min: 100, max: 300 }),
            output_tokens: Size::Lognormal {
                median: 60.0,
                sigma: 0.5,
                max: 200,
            },
            tools_share: 0.0,
            stream_share: 1.0,
            tools: Arc::new(builtin_tools()),
            tool_choice: ToolChoice::Auto,
            cache: Cache::Unique,
            prefix: None,
            temperature: None,
            hang_up: None,
        }
    }

    fn user(turn: &Turn) -> &str {
        match &turn.prompt.messages[0] {
            Message::User(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_same_session_differs_only_in_its_nonce() {
        let (a, b) = (
            spec().turn(1, "measured", 5, ID),
            spec().turn(1, "measured", 5, OTHER_ID),
        );
        assert!(user(&a).starts_with(ID) && user(&b).starts_with(OTHER_ID));
        assert_eq!(user(&a).replace(ID, ""), user(&b).replace(OTHER_ID, ""));
        assert_eq!(a.planned_input, b.planned_input);
        assert_ne!(user(&a), user(&spec().turn(1, "measured", 6, ID)));
        assert_ne!(user(&a), user(&spec().turn(2, "measured", 5, ID)));
        assert_ne!(user(&a), user(&spec().turn(1, "warmup", 5, ID)));
    }

    #[test]
    fn generated_prompts_have_the_wanted_size_exactly() {
        for tools_share in [0.0, 1.0] {
            let spec = Spec {
                source: Source::Generated(Size::Fixed(700)),
                tools_share,
                ..spec()
            };
            for session in 0..20 {
                assert_eq!(spec.turn(1, "measured", session, ID).planned_input, 700);
            }
            assert_eq!(spec.input_max(), 700);
        }
    }

    #[test]
    fn a_shared_prefix_is_in_front_of_everything_and_the_nonce_behind_it() {
        let prefix = |seed| shared_prefix(seed, 1500, CacheTtl::Hour);
        assert_eq!(prefix(1), prefix(1));
        assert_ne!(prefix(1), prefix(2));
        let spec = Spec {
            source: Source::Generated(Size::Fixed(700)),
            prefix: Some(prefix(1)),
            ..spec()
        };
        let around = 1500 + tokens::PER_MESSAGE;
        for session in 0..3 {
            let turn = spec.turn(1, "measured", session, ID);
            assert_eq!(turn.prompt.prefix, spec.prefix);
            assert!(user(&turn).starts_with(ID));
            assert_eq!(turn.planned_input, around + 700);
        }
        assert_eq!(
            (spec.input_max(), spec.input_mean()),
            (around + 700, around + 700)
        );

        let given = Given {
            system: Some("Be brief.".into()),
            user: "Hello".into(),
            max_output_tokens: None,
        };
        let spec = Spec {
            source: Source::Given(vec![given]),
            ..spec
        };
        let turn = spec.turn(1, "measured", 0, ID);
        assert_eq!(turn.prompt.system.as_deref(), Some("Be brief."));
        assert_eq!(user(&turn), format!("{ID} Hello"));
        assert!(turn.planned_input <= spec.input_max());
    }

    #[test]
    fn what_must_be_sent_bounds_the_size_from_below() {
        let spec = Spec {
            source: Source::Generated(Size::Fixed(1)),
            tools_share: 1.0,
            ..spec()
        };
        let turn = spec.turn(1, "measured", 0, ID);
        assert!(turn.planned_input > 1 && turn.planned_input <= spec.input_max());
    }

    #[test]
    fn draws_stay_in_range_and_shares_hold() {
        let spec = Spec {
            tools_share: 0.25,
            stream_share: 0.5,
            ..spec()
        };
        let turns: Vec<_> = (0..2000).map(|k| spec.turn(3, "measured", k, ID)).collect();
        assert!(
            turns
                .iter()
                .all(|t| (1..=200).contains(&t.prompt.max_output_tokens.expect("set")))
        );
        let share =
            |is: &dyn Fn(&Turn) -> bool| turns.iter().filter(|t| is(t)).count() as f64 / 2000.0;
        assert!((share(&|t| t.class == Class::Tools) - 0.25).abs() < 0.05);
        assert!((share(&|t| t.prompt.stream) - 0.5).abs() < 0.06);
        assert!(
            turns
                .iter()
                .all(|t| (t.class == Class::Tools) != t.prompt.tools.is_empty())
        );
    }

    #[test]
    fn models_are_drawn_by_weight() {
        let spec = Spec {
            models: vec![("a".into(), 3.0), ("b".into(), 1.0)],
            ..spec()
        };
        let a = (0..2000)
            .filter(|&k| spec.turn(3, "measured", k, ID).prompt.model == "a")
            .count();
        assert!((a as f64 / 2000.0 - 0.75).abs() < 0.05, "{a}");
    }

    #[test]
    fn given_prompts_keep_their_text_and_a_shared_cache_has_no_nonce() {
        let given = Given {
            system: Some("Be brief.".into()),
            user: "Hello".into(),
            max_output_tokens: Some(9),
        };
        let spec = Spec {
            source: Source::Given(vec![given]),
            ..spec()
        };
        let turn = spec.turn(1, "measured", 3, ID);
        assert_eq!(
            turn.prompt.system.as_deref(),
            Some(format!("{ID} Be brief.").as_str())
        );
        assert_eq!(
            (user(&turn), turn.prompt.max_output_tokens),
            ("Hello", Some(9))
        );

        let shared = Spec {
            cache: Cache::Shared,
            ..spec
        };
        assert_eq!(
            shared.turn(1, "measured", 3, ID).prompt.system.as_deref(),
            Some("Be brief.")
        );
    }
}
