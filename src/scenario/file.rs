//! The scenario file as it is written: serde types, and the JSON Schema that is made from them.
//!
//! Nothing here is checked beyond its type; `Scenario` is the validated form.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::billing::ledger::{Columns, Format};
use crate::billing::policy::Policy;
use crate::prompt::CacheTtl;
use crate::workload::{Cache, Size};

pub use super::tools::file::Tools;
pub use super::wait::Wait;

/// A scenario: what to load, with what, how hard, and what must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Name of the scenario: letters, digits, `-` and `_`; part of the run folder's name.
    pub name: String,
    /// One line on what it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Claims that must hold, as in `ttft p95 < 800ms`, `cost.findings == 0`,
    /// `conformance.findings == 0`, `parity.findings == 0` (both endpoints side by side),
    /// `tool_calls.schema_valid == 100%` or `loops.completed >= 99%`; an unprefixed one must hold on
    /// each endpoint. What was not measured never passes.
    #[serde(default)]
    pub gates: Vec<String>,
    /// What is loaded.
    #[serde(default)]
    pub target: Target,
    /// What is sent.
    #[serde(default)]
    pub workload: Workload,
    /// When it is sent.
    #[serde(default)]
    pub load: Load,
    /// Upper limits of latencies, by metric: a request within all of them is goodput.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
    /// Prices, recorded costs and the budget.
    #[serde(default)]
    pub pricing: Pricing,
    /// How the offline upstream behaves; only without `target.base_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<Offline>,
}

/// What is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// Origin of the gateway, as in `https://gateway.example`; a trailing `/v1` is accepted.
    /// Without one, the embedded offline upstream is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Which endpoints.
    pub endpoint: Endpoints,
    /// The model to ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Several models and their weights, instead of `model`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<WeightedModel>,
    /// *Name* of the environment variable that holds the API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Further headers of every request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Further headers whose values are secret: by header, the *name* of the environment variable
    /// that holds the value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers_env: BTreeMap<String, String>,
    /// HTTP version: `1.1` or `2`.
    pub http: HttpVersion,
    /// PEM file with further certificate authorities, relative to the scenario file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Journal of the upstream behind the target (URL, or JSONL file relative to the scenario
    /// file): the independent count that token verification rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truth: Option<String>,
    /// Which field carries the output limit on the `openai` endpoint.
    pub output_limit_field: OutputLimitField,
    /// The service tier to ask for, as in `flex`: `service_tier` on both endpoints; left out if
    /// absent. Prices are those of this tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// Whether to ask for usage in `openai` streams (`stream_options.include_usage`).
    pub include_usage: bool,
    /// The `anthropic-version` header.
    pub anthropic_version: String,
    /// Limits of waiting.
    pub timeouts: Timeouts,
    /// Further attempts of requests that were refused or not connected; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            base_url: None,
            endpoint: Endpoints::Both,
            model: None,
            models: Vec::new(),
            api_key_env: None,
            headers: BTreeMap::new(),
            headers_env: BTreeMap::new(),
            http: HttpVersion::Http1,
            ca_file: None,
            truth: None,
            output_limit_field: OutputLimitField::MaxTokens,
            service_tier: None,
            include_usage: true,
            anthropic_version: "2023-06-01".to_owned(),
            timeouts: Timeouts::default(),
            retries: None,
        }
    }
}

/// Which endpoints a run goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Endpoints {
    /// `/v1/chat/completions`.
    OpenAi,
    /// `/v1/messages`.
    Anthropic,
    /// Every session goes to each; count, rate and concurrency are per endpoint.
    Both,
}

/// A model and how often it is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedModel {
    /// The model id.
    pub model: String,
    /// Its weight among all; above zero.
    pub weight: f64,
}

/// HTTP version of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpVersion {
    /// A connection for each request in flight.
    #[serde(rename = "1.1")]
    Http1,
    /// Requests share connections.
    #[serde(rename = "2")]
    Http2,
}

/// Name of the output limit on the `openai` endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputLimitField {
    /// The older name, which Mistral and most gateways need.
    MaxTokens,
    /// The newer name.
    MaxCompletionTokens,
}

/// Limits of waiting, as in `5s` or `800ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until a connection is made.
    pub connect: String,
    /// From sending to the first token of a stream.
    pub first_token: String,
    /// Between two frames of a body, from its first token on.
    pub idle: String,
    /// From sending to the end.
    pub total: String,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: "5s".to_owned(),
            first_token: "60s".to_owned(),
            idle: "30s".to_owned(),
            total: "5m".to_owned(),
        }
    }
}

/// Further attempts of a request that was refused (408, 409, 425, 429, 5xx) or not connected. Each
/// attempt is a row of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// Attempts of one request, the first included.
    pub attempts: u32,
    /// The wait before the second attempt, as in `500ms`; it doubles with each, less up to half at
    /// random. A `retry-after` of the target stands over it.
    pub wait: String,
    /// The longest wait; a `retry-after` beyond it ends the request.
    pub wait_max: String,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 3,
            wait: "500ms".to_owned(),
            wait_max: "30s".to_owned(),
        }
    }
}

/// Requests that are hung up on, on purpose: users go away in the middle, and what such a request
/// costs is worth knowing. One of `after_events` and `after`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HangUp {
    /// Share of the requests, 0 to 1.
    pub share: f64,
    /// Once this many token-bearing events of a stream have arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_events: Option<u64>,
    /// This long after sending, as in `800ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Input tokens of generated prompts, by estimate.
    pub input_tokens: Size,
    /// Output limit of each request.
    pub output_tokens: Size,
    /// Prompts from a JSONL file, relative to the scenario file, instead of generated ones: one
    /// object a line, with `prompt` and, if wanted, `system` and `max_output_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<String>,
    /// Share of the requests that offer tools, 0 to 1.
    pub tools_share: f64,
    /// Share of the requests that ask for a stream, 0 to 1.
    pub stream_share: f64,
    /// Whether the model must call a tool: `auto`, `required`, `none`, or the name of one.
    pub tool_choice: String,
    /// The tools, the kinds of sessions that offer them, and how calls are answered.
    #[serde(skip_serializing_if = "Tools::is_default")]
    pub tools: Tools,
    /// Whether prompts are made unique by a nonce.
    pub cache: Cache,
    /// A text in front of every prompt, the same for the whole run, so that prompt caches have
    /// something to serve; none if absent. The nonce then stands behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_prefix: Option<CachedPrefix>,
    /// How long the `anthropic` endpoint is asked to keep each turn's conversation for the next one, as coding agents
    /// do: `5m` or `1h`, by `cache_control` on the last block of the last message; not asked if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_conversation: Option<CacheTtl>,
    /// Sampling temperature; left out if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Requests that are hung up on, on purpose; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hang_up: Option<HangUp>,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            input_tokens: Size::Fixed(500),
            output_tokens: Size::Fixed(64),
            prompts: None,
            tools_share: 0.0,
            stream_share: 1.0,
            tool_choice: "auto".to_owned(),
            tools: Tools::default(),
            cache: Cache::Unique,
            cached_prefix: None,
            cache_conversation: None,
            temperature: None,
            hang_up: None,
        }
    }
}

/// A text that all prompts of a run begin with: a system prompt drawn from the seed. Its tokens come
/// on top of `input_tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CachedPrefix {
    /// Its size by estimate. Caches of providers begin at about 1024 tokens.
    pub tokens: u64,
    /// How long the `anthropic` endpoint is asked to keep it (`cache_control`): `5m` or `1h`. The
    /// `openai` endpoint is not asked: caches there go by the begin of the prompt.
    #[serde(default)]
    pub ttl: CacheTtl,
}

/// When requests are sent; per endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// The arrival process.
    pub arrivals: Arrivals,
    /// Users of a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Users of a closed loop begin spread evenly over this time, from the begin of the load,
    /// warm-up included: user `i` of `n` (from 0) after `stagger * i / n`. Default: all at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stagger: Option<String>,
    /// Sessions per second of an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Shape of the gaps of `gamma` arrivals, 0.01 to 10000: 1 is `poisson`, below is burstier, above
    /// more regular; the coefficient of variation of the gaps is `1 / sqrt(burstiness)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burstiness: Option<f64>,
    /// CSV file with the due times of `replay` arrivals, relative to the scenario file: a header
    /// `due_s`, then seconds from the begin of the load, one a line, in order. The arrivals of its
    /// first `warmup` are the warm-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
    /// How many times as fast as its file a replay is; default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_speed: Option<f64>,
    /// Measured sessions, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How long measured sessions start, at most, as in `30s`. Stages have their own durations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Length of the warm-up before, whose requests are in no latency and no count. With stages, it
    /// keeps the rate, or the users, that the first stage begins with.
    pub warmup: String,
    /// Seed of every draw.
    pub seed: u64,
    /// Requests in flight at one endpoint, at most; an arrival beyond is `dropped`.
    pub max_in_flight: u32,
    /// How long requests in flight may take after the last session started, before they are `cut`;
    /// default: a second more than the total timeout, as often as a session has turns and a turn
    /// attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<String>,
    /// How long a user of a closed loop waits between an answer and its next session: a time such
    /// as `2s`, or a distribution. Default: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think_time: Option<Wait>,
    /// The rate of an open loop, or the users of a closed one, in stages, one after the other,
    /// instead of `rate` or `concurrency`, and `duration`. User `i` (from 0) is at work while there
    /// are more than `i`; one that is not ends its session and starts no other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            arrivals: Arrivals::Closed,
            concurrency: None,
            stagger: None,
            rate: None,
            burstiness: None,
            replay: None,
            replay_speed: None,
            count: None,
            duration: None,
            warmup: "0s".to_owned(),
            seed: 1,
            max_in_flight: 1_000,
            grace: None,
            think_time: None,
            stages: Vec::new(),
        }
    }
}

impl Load {
    /// Becomes a closed loop of `count` sessions by `concurrency` users who never wait. Warm-up, seed
    /// and grace stay.
    pub fn close(&mut self, concurrency: u32, count: u64) {
        *self = Self {
            concurrency: Some(concurrency),
            count: Some(count),
            warmup: self.warmup.clone(),
            seed: self.seed,
            grace: self.grace.clone(),
            max_in_flight: self.max_in_flight.max(concurrency),
            ..Self::default()
        };
    }
}

/// The arrival process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Closed loop: `concurrency` users, or users in `stages`, each starting when its last request was answered and its
    /// `think_time` is over.
    Closed,
    /// Open loop, evenly spaced at `rate` or in `stages`.
    Constant,
    /// Open loop, exponential gaps with mean `1 / rate`.
    Poisson,
    /// Open loop, gamma-distributed gaps with mean `1 / rate`; see `burstiness`.
    Gamma,
    /// Open loop, the due times of the file `replay`.
    Replay,
}

/// A stage of an open loop's rate or of a closed loop's users: flat with `rate` or `users`, or a
/// linear ramp with `from` and `to`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Its length, as in `30s`.
    pub duration: String,
    /// Sessions per second of a flat stage of an open loop; 0 is a pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Users of a flat stage of a closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<f64>,
    /// Sessions per second, or users, at the begin of a ramp; default: those at the end of the stage
    /// before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<f64>,
    /// Sessions per second, or users, at the end of a ramp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
}

/// Prices, recorded costs and the budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pricing {
    /// Price table: a CSV file relative to the scenario file, or `builtin:keeprouter`.
    pub table: String,
    /// Where the gateway records the cost: `header:NAME`, `body:/json/pointer`,
    /// `stream:/json/pointer`, or `default` for the places of the known gateways, which are tried
    /// without this list; and `lookup:URL#/json/pointer`, asked after the load, with `{base_url}`,
    /// `{response_id}`, `{request_id}`, `{call_id}` and `{trace_id}` in the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Vec<String>>,
    /// How long after an attempt's end a look-up may not know its cost yet.
    pub lookup_timeout: String,
    /// A cost that a look-up does not know so long after an attempt's end is late, as in `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_after: Option<String>,
    /// What the gateway exports of its bills, a row a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<Ledger>,
    /// What the price list says that is not about tokens.
    #[serde(skip_serializing_if = "is_default")]
    pub policy: Policy,
    /// Hard limit of what a command may spend, as in `5 USD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
}

impl Default for Pricing {
    fn default() -> Self {
        Self {
            table: "builtin:keeprouter".to_owned(),
            recorded: None,
            lookup_timeout: "60s".to_owned(),
            late_after: None,
            ledger: None,
            policy: Policy::default(),
            budget: None,
        }
    }
}

/// A gateway's ledger: CSV, a row a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// A file relative to the scenario file, or a URL, which may begin with `{base_url}`.
    pub source: String,
    /// `auto` knows LiteLLM's and OpenRouter's columns.
    #[serde(default)]
    pub format: Format,
    /// Which columns of a `csv` hold what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
    /// How long after the load a URL is read again until every complete answer has its row.
    #[serde(default = "ledger_wait")]
    pub wait: String,
}

fn ledger_wait() -> String {
    "30s".to_owned()
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over the field"
)]
fn is_default(policy: &Policy) -> bool {
    *policy == Policy::default()
}

/// How the offline upstream behaves: by `config`, or by the other keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Offline {
    /// Configuration file of the upstream, relative to the scenario file: the same TOML as
    /// `weighbridge mock --config` takes. It says everything; no other key may stand beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Shapes of the `openai` endpoint.
    pub dialect: OfflineDialect,
    /// Time to first token, log-normal: the median in ms.
    pub ttft_ms_median: f64,
    /// Its standard deviation, of the logarithm.
    pub ttft_sigma: f64,
    /// Time between tokens, log-normal: the median in ms.
    pub gap_ms_median: f64,
    /// Its standard deviation, of the logarithm.
    pub gap_sigma: f64,
    /// Share of the output tokens that are reasoning.
    pub reasoning_share: f64,
    /// Parallel calls of an answer to a request that offers tools.
    pub tool_calls: u32,
}

impl Default for Offline {
    fn default() -> Self {
        Self {
            config: None,
            dialect: OfflineDialect::OpenAi,
            ttft_ms_median: 60.0,
            ttft_sigma: 0.35,
            gap_ms_median: 8.0,
            gap_sigma: 0.3,
            reasoning_share: 0.0,
            tool_calls: 2,
        }
    }
}

/// Shapes of the offline upstream's `openai` endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OfflineDialect {
    /// As the original.
    OpenAi,
    /// As Mistral's: thinking lists, whole tool calls in one chunk.
    Mistral,
}

impl File {
    /// The file as TOML, with all defaults.
    pub fn to_toml(&self) -> String {
        let mut table = toml::Table::try_from(self).expect("a scenario file is plain TOML");
        // A configuration file says everything: no other key may stand beside it.
        if let Some(offline) = table.get_mut("offline").and_then(|o| o.as_table_mut())
            && offline.contains_key("config")
        {
            offline.retain(|key, _| key == "config");
        }
        toml::to_string(&table).expect("a table is TOML")
    }
}

/// The JSON Schema of scenario files, as text that ends in a newline.
pub fn schema() -> String {
    let schema = schemars::schema_for!(File);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    text.push('\n');
    text
}
