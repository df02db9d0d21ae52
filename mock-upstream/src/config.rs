//! What the upstream is told to be: a TOML file or a [`Config`] value.
//!
//! Every key has a default, so an empty file is a working upstream. Unknown keys and impossible values are errors
//! that name the file, the line, the key and what would have been valid.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

/// Everything that decides how the upstream answers. Equal configurations with equal seeds give equal scripts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[must_use]
pub struct Config {
    /// Every draw (times, faults, ids) comes from this, the request's nonce, and the draw's purpose.
    pub seed: u64,
    /// The shape of `/v1/chat/completions`. `/v1/messages` has only one.
    pub dialect: Dialect,
    /// Answer without wiremock in between: for benches. Stubs are not consulted.
    pub direct: bool,
    /// Requests a wiremock server answers before a fresh one takes over, since it keeps a copy of each; 0 is never.
    pub rotate_after: u64,
    /// Whether the journal has the planned and the written time of each frame: some 15 bytes each.
    pub journal_frames: bool,
    /// If set, requests without this key are answered with 401.
    pub api_key: Option<String>,
    /// If set, requests for other models are answered with 404.
    pub models: Option<Vec<String>>,
    /// When tokens come.
    pub timing: Timing,
    /// How many come, and in what form.
    pub output: Output,
    /// What they cost, and where that is written.
    pub cost: Cost,
    /// What goes wrong, if anything.
    pub fault: Option<Fault>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            dialect: Dialect::OpenAi,
            direct: false,
            rotate_after: 1000,
            journal_frames: false,
            api_key: None,
            models: None,
            timing: Timing::default(),
            output: Output::default(),
            cost: Cost::default(),
            fault: None,
        }
    }
}

/// Whose chat completions are imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// `OpenAI`'s own shapes, with `delta.reasoning_content` for reasoning.
    OpenAi,
    /// Mistral's: thinking as content lists, whole tool calls in one chunk, usage inside the finish chunk.
    Mistral,
}

/// When token events come, counted from the receipt of the request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// Milliseconds from receipt to the first token event. The frame before it (role chunk, `message_start`) and
    /// the response's head leave at half of this.
    pub ttft_ms: Distribution,
    /// Milliseconds between successive token events.
    pub gap_ms: Distribution,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ttft_ms: Distribution::Fixed(40.0),
            gap_ms: Distribution::LogNormal {
                median: 8.0,
                sigma: 0.3,
            },
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
    /// Calls returned when the request offers tools and does not forbid their use; 0 answers with text.
    pub tool_calls: u32,
    /// When a stream of chat completions says what it used. Mistral's always does.
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
            tool_calls: 2,
            usage_in_stream: UsageInStream::Asked,
        }
    }
}

/// When a stream of chat completions ends with a usage chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsageInStream {
    /// In every stream.
    Always,
    /// If the request sets `stream_options.include_usage`.
    Asked,
}

/// What the upstream charges, and where it says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cost {
    /// Where the cost is written; empty records nothing.
    pub surfaces: Vec<Surface>,
    /// The number of tokens that the rates are for.
    pub per_tokens: u64,
    /// Rates by model. Those of a file are added to the default table; a model in neither has no cost.
    #[serde(deserialize_with = "rates_over_defaults")]
    pub rates: BTreeMap<String, Rate>,
}

impl Default for Cost {
    fn default() -> Self {
        Self {
            surfaces: vec![Surface::Usage],
            per_tokens: 1_000_000,
            rates: default_rates(),
        }
    }
}

/// A place where a gateway may write a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Surface {
    /// `usage.cost`, a JSON number, in whole bodies and in the stream's last usage.
    Usage,
    /// The header `x-mock-response-cost`: the amount for whole bodies, 0 for streams, whose headers left before.
    Header,
}

/// Prices of one model for `per_tokens` tokens, as exact decimals in quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Price of input tokens.
    #[serde(with = "decimal_text")]
    pub input: Decimal,
    /// Price of output tokens, reasoning among them.
    #[serde(with = "decimal_text")]
    pub output: Decimal,
}

/// One kind of failure, for a share of the requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// The share of requests it happens to, between 0 and 1.
    #[serde(default = "whole")]
    pub share: f64,
    /// The status of [`FaultKind::Status`].
    #[serde(default = "too_many_requests")]
    pub status: u16,
}

/// The failures that can be planted.
///
/// Those that need a stream to fail in (`no_terminator`, `error_in_stream`) leave whole bodies alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// An error status with the API's own error body, at once.
    Status,
    /// Status 200 with an HTML page.
    #[serde(rename = "html_200")]
    Html200,
    /// A stream without its terminator (`[DONE]`, `message_stop`), ended cleanly.
    NoTerminator,
    /// An error event halfway through the tokens, after which the stream ends cleanly without its terminator.
    ErrorInStream,
    /// Status 200 with the API's error body.
    #[serde(rename = "error_in_200")]
    ErrorIn200,
    /// The connection is closed halfway.
    Cut,
    /// Halfway, an event whose data is neither JSON nor UTF-8; a whole body breaks off and goes on in the same way.
    Garbage,
    /// Halfway, silence until the client hangs up.
    Stall,
}

impl FaultKind {
    /// The name as in the configuration and the journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Html200 => "html_200",
            Self::NoTerminator => "no_terminator",
            Self::ErrorInStream => "error_in_stream",
            Self::ErrorIn200 => "error_in_200",
            Self::Cut => "cut",
            Self::Garbage => "garbage",
            Self::Stall => "stall",
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}{}{}: {message}", at_line(*.line), at_key(.key.as_ref()))]
pub struct ConfigError {
    /// Where the configuration came from, as given to [`Config::from_toml`].
    pub origin: String,
    /// The line, from 1; absent for a value that did not come from a file.
    pub line: Option<usize>,
    /// The dotted key, if the mistake is within one.
    pub key: Option<String>,
    /// What is wrong and what would be valid.
    pub message: String,
}

fn at_line(line: Option<usize>) -> String {
    line.map(|line| format!(":{line}")).unwrap_or_default()
}

fn at_key(key: Option<&String>) -> String {
    key.map(|key| format!(": `{key}`")).unwrap_or_default()
}

impl Config {
    /// Reads and checks a configuration. `origin` names the text in errors: the path of the file.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let document = DeTable::parse(text).map_err(|error| ConfigError {
            origin: origin.to_owned(),
            line: error.span().map(|span| line_of(text, span.start)),
            key: None,
            message: error.message().to_owned(),
        })?;
        let config: Self = toml::from_str(text).map_err(|error| {
            let span = error.span();
            ConfigError {
                origin: origin.to_owned(),
                line: span.as_ref().map(|span| line_of(text, span.start)),
                key: span.and_then(|span| key_at(document.get_ref(), span.start)),
                message: error.message().to_owned(),
            }
        })?;
        config.check().map_err(|problem| ConfigError {
            origin: origin.to_owned(),
            line: offset_of(document.get_ref(), problem.key).map(|offset| line_of(text, offset)),
            key: Some(problem.key.to_owned()),
            message: problem.message,
        })?;
        Ok(config)
    }

    /// Checks a configuration that was made in code; `origin` names it in the error.
    pub fn validate(&self, origin: &str) -> Result<(), ConfigError> {
        self.check().map_err(|problem| ConfigError {
            origin: origin.to_owned(),
            line: None,
            key: Some(problem.key.to_owned()),
            message: problem.message,
        })
    }

    fn check(&self) -> Result<(), Problem> {
        self.timing.ttft_ms.check("timing.ttft_ms")?;
        self.timing.gap_ms.check("timing.gap_ms")?;
        at_least_one("output.tokens", self.output.tokens)?;
        at_least_one("output.max_tokens", self.output.max_tokens)?;
        at_most(
            "output.max_tokens",
            self.output.max_tokens,
            OUTPUT_TOKENS_MAX,
        )?;
        at_least_one("output.tokens_per_event", self.output.tokens_per_event)?;
        at_most(
            "output.tool_calls",
            self.output.tool_calls.into(),
            TOOL_CALLS_MAX,
        )?;
        share("output.reasoning_share", self.output.reasoning_share)?;
        at_least_one("cost.per_tokens", self.cost.per_tokens)?;
        for rate in self.cost.rates.values() {
            if rate.input.is_sign_negative() || rate.output.is_sign_negative() {
                return Err(Problem::new("cost.rates", "a rate cannot be negative"));
            }
        }
        if let Some(fault) = &self.fault {
            share("fault.share", fault.share)?;
            if !(400..=599).contains(&fault.status) {
                return Err(Problem::new(
                    "fault.status",
                    format!("{} is no error status, expected 400 to 599", fault.status),
                ));
            }
        }
        Ok(())
    }
}

/// A script is rendered before it is played; this keeps one under about 300 MB.
const OUTPUT_TOKENS_MAX: u64 = 1_000_000;

/// Well above what any model returns, and a bound on the rendered script.
const TOOL_CALLS_MAX: u64 = 128;

/// A wait longer than an hour is a mistake in the unit.
const MILLISECONDS_MAX: f64 = 3_600_000.0;

struct Problem {
    key: &'static str,
    message: String,
}

impl Problem {
    fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self {
            key,
            message: message.into(),
        }
    }
}

impl Distribution {
    fn check(self, key: &'static str) -> Result<(), Problem> {
        let is_time = |value: f64| (0.0..=MILLISECONDS_MAX).contains(&value);
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

fn at_least_one(key: &'static str, value: u64) -> Result<(), Problem> {
    if value == 0 {
        return Err(Problem::new(key, "must be at least 1"));
    }
    Ok(())
}

fn at_most(key: &'static str, value: u64, limit: u64) -> Result<(), Problem> {
    if value > limit {
        return Err(Problem::new(
            key,
            format!("{value} is too many, at most {limit}"),
        ));
    }
    Ok(())
}

fn share(key: &'static str, value: f64) -> Result<(), Problem> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Problem::new(
        key,
        format!("{value} is no share, expected 0 to 1"),
    ))
}

fn whole() -> f64 {
    1.0
}

fn too_many_requests() -> u16 {
    429
}

/// USD per million tokens, as of 2026-07-05.
fn default_rates() -> BTreeMap<String, Rate> {
    // (model, input, output) in cents.
    [
        ("magistral-small-latest", 50, 150),
        ("magistral-medium-latest", 200, 500),
        ("devstral-medium-latest", 40, 200),
        ("codestral-latest", 30, 90),
        ("ministral-14b-latest", 20, 20),
        ("ministral-8b-latest", 15, 15),
        ("ministral-3b-latest", 10, 10),
    ]
    .into_iter()
    .map(|(model, input, output)| {
        let rate = Rate {
            input: Decimal::new(input, 2),
            output: Decimal::new(output, 2),
        };
        (model.to_owned(), rate)
    })
    .collect()
}

fn rates_over_defaults<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Rate>, D::Error> {
    let mut rates = default_rates();
    rates.extend(BTreeMap::<String, Rate>::deserialize(deserializer)?);
    Ok(rates)
}

/// Decimals as quoted text: a TOML float would already have lost the digits.
mod decimal_text {
    use rust_decimal::Decimal;
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        value: &Decimal,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Decimal, D::Error> {
        deserializer.deserialize_str(Text)
    }

    struct Text;

    impl de::Visitor<'_> for Text {
        type Value = Decimal;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a decimal number in quotes, such as \"0.50\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal, E> {
            Decimal::from_str_exact(text)
                .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text[..offset.min(text.len())].matches('\n').count()
}

/// The dotted key whose name or value stands at `offset`.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<String> {
    for (name, value) in table {
        if name.span().contains(&offset) {
            return Some(name.get_ref().to_string());
        }
        if let DeValue::Table(inner) = value.get_ref()
            && let Some(rest) = key_at(inner, offset)
        {
            return Some(format!("{}.{rest}", name.get_ref()));
        }
        if value.span().contains(&offset) {
            return Some(name.get_ref().to_string());
        }
    }
    None
}

/// Where the deepest part of the dotted `key` that is present in the document stands.
fn offset_of(table: &DeTable<'_>, key: &str) -> Option<usize> {
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let (name, value) = table.iter().find(|(name, _)| name.get_ref() == first)?;
    let deeper = match value.get_ref() {
        DeValue::Table(inner) if !rest.is_empty() => offset_of(inner, rest),
        _ => None,
    };
    Some(deeper.unwrap_or(name.span().start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses `text` and compares the error's text.
    fn rejects(text: &str, expected: &str) {
        let error = Config::from_toml(text, "mock.toml").expect_err("a mistake is found");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn empty_file_is_the_default() {
        assert_eq!(
            Config::from_toml("", "mock.toml").expect("valid"),
            Config::default()
        );
    }

    #[test]
    fn the_readme_shows_the_defaults() {
        let readme = include_str!("../README.md");
        let (_, rest) = readme.split_once("```toml\n").expect("an example");
        let (example, _) = rest.split_once("```").expect("its end");
        assert_eq!(
            Config::from_toml(example, "README.md").expect("valid"),
            Config::default()
        );
    }

    #[test]
    fn every_key_survives_a_round_trip() {
        let text = r#"
            seed = 7
            dialect = "mistral"
            direct = true
            rotate_after = 3
            api_key = "secret"
            models = ["a", "b"]
            [timing]
            ttft_ms = { uniform = { min = 1, max = 2.5 } }
            gap_ms = { gamma = { mean = 8.0, shape = 2.0 } }
            [output]
            tokens = 5
            max_tokens = 10
            tokens_per_event = 2
            reasoning_share = 0.5
            tool_calls = 3
            usage_in_stream = "always"
            [cost]
            surfaces = ["usage", "header"]
            per_tokens = 1000
            [cost.rates."a"]
            input = "0.0000001"
            output = "2"
            [fault]
            kind = "html_200"
            share = 0.25
            status = 503
        "#;
        let config = Config::from_toml(text, "mock.toml").expect("valid");
        let again = toml::to_string(&config).expect("serialisable");
        assert_eq!(
            Config::from_toml(&again, "again.toml").expect("valid"),
            config
        );
        assert_eq!(config.cost.rates["a"].input, Decimal::new(1, 7));
        assert_eq!(config.fault.expect("a fault").kind.name(), "html_200");
    }

    #[test]
    fn rates_of_a_file_add_to_the_default_table() {
        let text = "[cost.rates.\"codestral-latest\"]\ninput = \"1\"\noutput = \"2\"\n";
        let config = Config::from_toml(text, "mock.toml").expect("valid");
        assert_eq!(config.cost.rates.len(), 7);
        assert_eq!(config.cost.rates["codestral-latest"].input, Decimal::ONE);
        assert_eq!(
            config.cost.rates["magistral-small-latest"].output,
            Decimal::new(15, 1)
        );
    }

    #[test]
    fn unknown_key_is_named_with_the_valid_ones() {
        rejects(
            "seed = 1\n\n[timing]\nttft = { fixed = 1 }\n",
            "mock.toml:4: `timing.ttft`: unknown field `ttft`, expected `ttft_ms` or `gap_ms`",
        );
    }

    #[test]
    fn unknown_name_is_named_with_the_valid_ones() {
        rejects(
            "dialect = \"cohere\"\n",
            "mock.toml:1: `dialect`: unknown variant `cohere`, expected `openai` or `mistral`",
        );
    }

    #[test]
    fn wrong_type_is_named_with_its_key() {
        rejects(
            "[cost.rates.m]\ninput = 0.5\noutput = \"1\"\n",
            "mock.toml:2: `cost.rates.m.input`: invalid type: floating point `0.5`, \
             expected a decimal number in quotes, such as \"0.50\"",
        );
    }

    #[test]
    fn impossible_value_is_named_with_its_line() {
        rejects(
            "seed = 1\n[output]\ntokens = 0\n",
            "mock.toml:3: `output.tokens`: must be at least 1",
        );
        rejects(
            "[fault]\nkind = \"status\"\nstatus = 200\n",
            "mock.toml:3: `fault.status`: 200 is no error status, expected 400 to 599",
        );
        rejects(
            "[output]\nreasoning_share = 1.5\n",
            "mock.toml:2: `output.reasoning_share`: 1.5 is no share, expected 0 to 1",
        );
    }

    #[test]
    fn broken_syntax_names_the_line() {
        let error = Config::from_toml("seed = 1\nseed = \n", "mock.toml").expect_err("broken");
        assert_eq!(error.line, Some(2));
    }

    #[test]
    fn value_made_in_code_is_checked_without_a_line() {
        let mut config = Config::default();
        config.timing.ttft_ms = Distribution::Uniform { min: 2.0, max: 1.0 };
        let error = config.validate("scenario").expect_err("min is above max");
        assert!(
            error
                .to_string()
                .starts_with("scenario: `timing.ttft_ms`: ")
        );
    }
}
