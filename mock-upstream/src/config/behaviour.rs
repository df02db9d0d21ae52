//! How requests are answered: the part of a configuration that a profile can change.

use serde::{Deserialize, Serialize};

use super::check::{Problem, at_least_one, at_most, milliseconds, share};
use super::cost::Cost;
use super::fault::Fault;

/// How a request is answered. The configuration has one for all requests, and each profile one of its own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// The shape of `/v1/chat/completions`. `/v1/messages` has only one.
    pub dialect: Dialect,
    /// Whether requests are checked as the emulated API checks them: unknown fields, ids, the order of messages. Without
    /// it the dialect decides, see [`Dialect::is_strict`].
    pub strict: Option<bool>,
    /// When tokens come.
    pub timing: Timing,
    /// How many come, and in what form.
    pub output: Output,
    /// Which tools are called, and how.
    pub tools: Tools,
    /// What a prompt cache remembers.
    pub cache: Cache,
    /// How the bytes of a stream are cut and dressed.
    pub delivery: Delivery,
    /// What tokens cost, and where that is written.
    pub cost: Cost,
    /// What goes wrong, if anything. The first one that fires counts.
    pub faults: Vec<Fault>,
}

/// Whose chat completions are imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// `OpenAI`'s own shapes. Reasoning, which that API does not stream, is in `delta.reasoning_content`.
    #[default]
    OpenAi,
    /// Mistral's: thinking as content lists, whole tool calls in one chunk, usage inside the finish chunk, flat errors.
    Mistral,
    /// vLLM's: `reasoning_content`, `stop_reason`, a usage chunk with what vLLM adds, and lenient checks.
    Vllm,
    /// `OpenRouter`'s: comments while the upstream is silent, `delta.reasoning`, `usage.cost` in every last chunk.
    OpenRouter,
}

impl Dialect {
    /// Whether the API refuses fields that it does not know.
    pub fn is_strict(self) -> bool {
        matches!(self, Self::OpenAi | Self::Mistral)
    }
}

/// When token events come, counted from the moment at which the request has a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// Milliseconds to the first token event. The frame before it (role chunk, `message_start`) and the response's head
    /// leave at half of this.
    pub ttft_ms: Distribution,
    /// Milliseconds between successive token events.
    pub gap_ms: Distribution,
    /// Microseconds that each prompt token beyond the cached ones adds to the time to the first token.
    pub prefill_us_per_token: f64,
    /// Answers at a time; further requests wait in order of receipt. 0 is without limit. A slot is held for as long as
    /// its answer was planned to take, also where the client hangs up before.
    pub slots: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ttft_ms: Distribution::Fixed(40.0),
            gap_ms: Distribution::LogNormal {
                median: 8.0,
                sigma: 0.3,
            },
            prefill_us_per_token: 0.0,
            slots: 0,
        }
    }
}

/// A distribution of times. The unit is the key's that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Distribution {
    /// Always this value.
    Fixed(f64),
    /// Evenly between the two, ends included.
    Uniform {
        /// The smallest value.
        min: f64,
        /// The largest value.
        max: f64,
    },
    /// exp of a normal distribution: right-skewed, as service times are.
    LogNormal {
        /// The value that half of the draws stay below.
        median: f64,
        /// Standard deviation of the logarithm; 0 is fixed.
        sigma: f64,
    },
    /// Gamma: exponential at shape 1, ever more even above.
    Gamma {
        /// The mean value.
        mean: f64,
        /// The shape; the coefficient of variation is 1 / sqrt(shape).
        shape: f64,
    },
}

/// What an answer consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Output {
    /// Output tokens when the request sets no limit. With a limit it is always exactly the limit, see `obey_limit`.
    pub tokens: u64,
    /// Whether a limit in the request decides the number of output tokens. Without that it is always `tokens`.
    pub obey_limit: bool,
    /// No answer has more output tokens than this, whatever the request allows.
    pub max_tokens: u64,
    /// Tokens in one stream event.
    pub tokens_per_event: u64,
    /// The share of output tokens that is reasoning, streamed first; between 0 and 1.
    pub reasoning_share: f64,
    /// Whether each token of text and reasoning ends in characters of two, three and four bytes, before its space.
    pub unicode: bool,
    /// When a stream of chat completions says what it used. Mistral's and `OpenRouter`'s do without being asked.
    pub usage_in_stream: UsageInStream,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            tokens: 64,
            obey_limit: true,
            max_tokens: 4096,
            tokens_per_event: 1,
            reasoning_share: 0.0,
            unicode: false,
            usage_in_stream: UsageInStream::Asked,
        }
    }
}

/// When a stream of chat completions says what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsageInStream {
    /// At the end of every stream.
    Always,
    /// At the end, if the request sets `stream_options.include_usage`, or the API does not wait for that.
    Asked,
    /// In every chunk, cumulative.
    Every,
    /// In no stream, whatever the request says.
    Never,
}

/// Which of the offered tools an answer calls, and in what form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tools {
    /// Calls in an answer when the request offers tools and does not forbid their use; 0 answers with text.
    pub calls: u32,
    /// Turns of one conversation that are answered with calls; after that it is answered with text, also where a call
    /// is required. A conversation has as many turns behind it as it has messages of the model with calls after the last
    /// text of a user.
    pub turns: u32,
    /// Whether the fragments of parallel calls alternate. Mistral's are whole, and Anthropic's one after the other.
    pub interleave: bool,
    /// What becomes of the arguments.
    pub arguments: Arguments,
    /// Tokens of text before the calls, as far as the request's limit leaves them.
    pub text_tokens: u64,
    /// Tokens of text after the calls, as far as the request's limit leaves them: on `/v1/messages` a text block of its
    /// own. An answer without calls has none.
    pub text_tokens_after: u64,
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            calls: 2,
            turns: 1,
            interleave: false,
            arguments: Arguments::Valid,
            text_tokens: 0,
            text_tokens_after: 0,
        }
    }
}

/// The form of a call's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arguments {
    /// JSON that is valid for the tool's schema; `{}` for a tool without parameters.
    Valid,
    /// The same, but an empty text for a tool without parameters.
    Empty,
    /// The last call's arguments break off in the middle, and the answer ends because of its length.
    Truncated,
    /// The last call's arguments are no JSON.
    Invalid,
}

/// A prompt cache by prefix: whoever sends the begin of an earlier prompt again has it read from the cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Whether there is one. `/v1/chat/completions` caches by itself; `/v1/messages` up to blocks that are marked with
    /// `cache_control`.
    pub enabled: bool,
    /// Prefixes of fewer tokens are not cached.
    pub min_tokens: u64,
    /// `/v1/chat/completions` caches multiples of this.
    pub block_tokens: u64,
    /// Seconds for which a prefix is kept after its last use; one that is marked with the TTL `1h` is kept 12 times as
    /// long.
    pub ttl_s: f64,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            enabled: false,
            min_tokens: 1024,
            block_tokens: 128,
            ttl_s: 300.0,
        }
    }
}

/// How the bytes of a stream are dressed and cut. Whole bodies are left as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// What ends a line.
    pub line_ending: LineEnding,
    /// Whether the stream begins with a byte order mark.
    pub bom: bool,
    /// The text of comment lines. Without it, `OPENROUTER PROCESSING` in that dialect and `keep-alive` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Token events between two comment lines; 0 is without.
    pub comment_every: u64,
    /// Milliseconds without a frame after which there is a keep-alive (a comment; on `/v1/messages` an event `ping`), and
    /// again after as long; 0 is never. The first silence begins with the receipt of the request, and the response's head
    /// leaves with its keep-alive. Without this key it is never, but in `OpenRouter`'s dialect streams of chat completions
    /// begin with a comment, and have one every 500 ms of silence before the first token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_after_ms: Option<f64>,
    /// A silence in the middle of a stream.
    pub silence: Option<Silence>,
    /// Events that leave in one write, at the moment of the last one.
    pub events_per_write: u64,
    /// Whether events are cut into several writes, at any byte.
    pub split: Option<Split>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            line_ending: LineEnding::Lf,
            bom: false,
            comment: None,
            comment_every: 0,
            ping_after_ms: None,
            silence: None,
            events_per_write: 1,
            split: None,
        }
    }
}

/// What ends a line of an event stream; the standard allows each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineEnding {
    /// `\n`
    Lf,
    /// `\r\n`
    Crlf,
    /// `\r`
    Cr,
}

/// A silence of an upstream that goes on afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// How long it lasts.
    pub ms: f64,
    /// The token event that it comes before, from 0.
    #[serde(default)]
    pub before_event: u64,
    /// The share of streams with one.
    #[serde(default = "whole")]
    pub share: f64,
}

/// Writes of at most so many bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The most bytes of one write.
    pub bytes_max: u64,
    /// Whether the sizes are drawn, from 1 to `bytes_max`.
    #[serde(default)]
    pub random: bool,
    /// Milliseconds between the pieces of a write; without a gap they leave in one system call, as chunks of their own.
    #[serde(default)]
    pub gap_ms: f64,
}

/// A share that says all.
pub(super) const fn whole() -> f64 {
    1.0
}

/// A script is rendered before it is played; this keeps one under about 300 MB.
const OUTPUT_TOKENS_MAX: u64 = 1_000_000;

/// Well above what any model returns, and a bound on the rendered script.
const TOOL_CALLS_MAX: u64 = 128;

impl Behaviour {
    /// Whether requests are checked as the emulated API checks them.
    pub fn is_strict(&self) -> bool {
        self.strict.unwrap_or(self.dialect.is_strict())
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        self.timing.check()?;
        self.output.check()?;
        at_most("tools.calls", self.tools.calls.into(), TOOL_CALLS_MAX)?;
        at_most(
            "tools.text_tokens",
            self.tools.text_tokens,
            OUTPUT_TOKENS_MAX,
        )?;
        at_most(
            "tools.text_tokens_after",
            self.tools.text_tokens_after,
            OUTPUT_TOKENS_MAX,
        )?;
        self.cache.check()?;
        self.delivery.check()?;
        self.cost.check()?;
        self.faults
            .iter()
            .enumerate()
            .try_for_each(|(index, fault)| fault.check(&format!("faults.{index}")))
    }
}

impl Timing {
    fn check(&self) -> Result<(), Problem> {
        self.ttft_ms.check("timing.ttft_ms")?;
        self.gap_ms.check("timing.gap_ms")?;
        // In microseconds, a second a token is a mistake in the unit.
        if (0.0..=1e6).contains(&self.prefill_us_per_token) {
            return Ok(());
        }
        Err(Problem::new(
            "timing.prefill_us_per_token",
            "expected microseconds from 0 to 1000000 (a second)",
        ))
    }
}

impl Output {
    fn check(&self) -> Result<(), Problem> {
        at_least_one("output.tokens", self.tokens)?;
        at_least_one("output.max_tokens", self.max_tokens)?;
        at_most("output.max_tokens", self.max_tokens, OUTPUT_TOKENS_MAX)?;
        if self.tokens > self.max_tokens {
            let message = format!(
                "{} is above `output.max_tokens`, which is {}",
                self.tokens, self.max_tokens
            );
            return Err(Problem::new("output.tokens", message));
        }
        at_least_one("output.tokens_per_event", self.tokens_per_event)?;
        share("output.reasoning_share", self.reasoning_share)
    }
}

impl Cache {
    fn check(&self) -> Result<(), Problem> {
        at_least_one("cache.block_tokens", self.block_tokens)?;
        if (0.0..=1e6).contains(&self.ttl_s) {
            return Ok(());
        }
        Err(Problem::new(
            "cache.ttl_s",
            "expected seconds from 0 to 1000000",
        ))
    }
}

impl Delivery {
    fn check(&self) -> Result<(), Problem> {
        if let Some(comment) = &self.comment
            && comment.contains(['\r', '\n'])
        {
            return Err(Problem::new("delivery.comment", "must be one line"));
        }
        milliseconds(
            "delivery.ping_after_ms",
            self.ping_after_ms.unwrap_or_default(),
        )?;
        at_least_one("delivery.events_per_write", self.events_per_write)?;
        if let Some(silence) = &self.silence {
            milliseconds("delivery.silence.ms", silence.ms)?;
            share("delivery.silence.share", silence.share)?;
        }
        if let Some(split) = &self.split {
            at_least_one("delivery.split.bytes_max", split.bytes_max)?;
            milliseconds("delivery.split.gap_ms", split.gap_ms)?;
        }
        Ok(())
    }
}

impl Distribution {
    fn check(self, key: &str) -> Result<(), Problem> {
        let is_time = |value: f64| super::check::is_time(value);
        let valid = match self {
            Self::Fixed(value) => is_time(value),
            Self::Uniform { min, max } => is_time(min) && is_time(max) && min <= max,
            Self::LogNormal { median, sigma } => {
                is_time(median) && median > 0.0 && (0.0..=10.0).contains(&sigma)
            }
            Self::Gamma { mean, shape } => {
                is_time(mean) && mean > 0.0 && (0.01..=1e6).contains(&shape)
            }
        };
        if valid {
            return Ok(());
        }
        Err(Problem::new(
            key,
            "expected milliseconds from 0 to 3600000 (an hour), min <= max, median and mean above 0, \
             sigma from 0 to 10, shape from 0.01 to 1000000",
        ))
    }
}
