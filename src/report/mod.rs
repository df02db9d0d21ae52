//! One [`Report`] value, and its forms: JSON, console, Markdown.
//!
//! The value is `report.json`: other programs rely on its keys (schema `weighbridge.report/2`).
//! Every other form is rendered from it and knows nothing else. Times are in ms unless the key says
//! otherwise, money is decimal text, and what was not measured is `null`, never zero. The load second
//! by second has a file of its own, `series.csv`.

mod answers;
mod assembly;
mod bill;
mod conformance;
pub(crate) mod console;
mod cost;
pub(crate) mod format;
mod inclusive;
mod markdown;
mod parity;
mod series;
mod tables;
mod tools;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::manifest::Environment;
use crate::metrics::Point;
use crate::record::Class;
use crate::verdict::{GateStatus, Status};

pub use assembly::{Assembly, AssemblyError};
pub use conformance::{Conformance, Share, Smoothness};
pub use console::console;
pub use cost::{
    ByInFlight, ByTime, Cost, CostGroup, CostLoad, CostRounding, CostSurface, Explained, Ledger,
    OffByLoad, Resolution, Unpredicted, Verified, Worst,
};
pub use inclusive::{Inclusive, InclusiveMs};
pub use markdown::markdown;
pub use parity::{Parity, Shift};
pub use series::series_csv;
pub use tools::{ArgumentRate, CallsAtLoad, Loops, ToolCalls, Turns};

/// Version of the report's keys.
pub const REPORT_SCHEMA: &str = "weighbridge.report/2";

/// A run's report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// `weighbridge.report/2`.
    pub schema: String,
    /// Which run.
    pub run: Run,
    /// Whether the harness could measure at all.
    pub validity: Validity,
    /// What was measured, per endpoint.
    pub endpoints: BTreeMap<Endpoint, EndpointReport>,
    /// The rows of the gateway's ledger; `null` without one, or if it could not be read.
    pub ledger: Option<Ledger>,
    /// The endpoints held against each other; `null` where there is one.
    pub parity: Option<Parity>,
    /// How it came out.
    pub verdict: Verdict,
    /// The load second by second: the rows of `series.csv`, and in no JSON.
    #[serde(skip)]
    pub series: Vec<Point>,
}

/// Which run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Unique.
    pub id: String,
    /// Name of the scenario.
    pub scenario: String,
    /// UTC, RFC 3339.
    pub started_at: String,
    /// Length in seconds; `null` if the run never ended.
    pub duration_s: Option<f64>,
    /// Seed of every draw.
    pub seed: u64,
    /// Version of the harness.
    pub version: String,
    /// SHA-256 of the resolved scenario.
    pub config_sha256: String,
    /// SHA-256 of the price table that this report uses.
    pub prices_sha256: String,
    /// Whether the facts are not whole.
    pub partial: bool,
    /// What was loaded: `offline`, or the origin.
    pub target: String,
    /// The load in words.
    pub load: String,
    /// Models asked for.
    pub models: Vec<String>,
    /// Where the independent token counts came from; `null` without any.
    pub truth: Option<String>,
    /// What the run cost in all, the preflight and the warm-up included.
    pub spent: Spent,
    /// Connections made, in every phase.
    pub connects: Connects,
    /// What a reader must know.
    pub warnings: Vec<String>,
    /// The machine.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub environment: Environment,
}

/// Connections of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Connects {
    /// How many were begun.
    pub count: u64,
    /// How long they took on average, in ms; `null` without any.
    pub mean_ms: Option<f64>,
    /// How long the slowest took, in ms; `null` if unknown.
    pub max_ms: Option<f64>,
}

/// What a run cost in all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spent {
    /// Of the amount.
    pub currency: String,
    /// The sum of the recorded costs; where none is recorded, of the predicted ones.
    pub amount: String,
    /// Attempts that may have cost something and have neither.
    pub unknown: u64,
}

/// Whether the harness could measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Validity {
    /// Whether claims about time can be believed.
    pub valid: bool,
    /// If not, why, and what to do.
    pub reasons: Vec<String>,
    /// How late requests were sent; `null` in a closed loop.
    pub schedule_lag_ms: Option<ScheduleLag>,
    /// CPU of the workers' threads, as a share of their time; `null` if unknown. The embedded
    /// upstream runs on other threads and does not count.
    pub cpu_utilization: Option<f64>,
    /// The same of the worst second of a worker.
    pub cpu_utilization_max: Option<f64>,
    /// How long the workers were ready to run and another had their core, as a share of their time;
    /// `null` where the system does not say.
    pub run_queue_wait: Option<f64>,
    /// The same of the worst second of a worker.
    pub run_queue_wait_max: Option<f64>,
    /// How long a CPU limit (cgroup) held the process up, as a share of the time; `null` where the
    /// system does not say.
    pub throttled: Option<f64>,
    /// Heartbeats of workers that came more than 50 ms late.
    pub stalls: u64,
    /// By how much these were late, together, in ms.
    pub stalled_ms: f64,
    /// The largest step of the wall clock against the monotonic one within a second, in ms, ahead or
    /// (negative) back; `null` where it was not looked at.
    pub clock_jump_ms: Option<f64>,
    /// Requests that came due and were not sent.
    pub dropped: u64,
}

/// How late requests were sent, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleLag {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The latest.
    pub max: f64,
}

/// What was measured at one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointReport {
    /// Requests, counted; planned = ok + failed + dropped + cut + cancelled.
    pub requests: Requests,
    /// Every latency by name, in ms; `null` without samples.
    pub latency_ms: BTreeMap<String, Option<Latency>>,
    /// Rates over the measured window.
    pub throughput: Throughput,
    /// Sums of the reported token counts.
    pub usage: Usage,
    /// The same by kind of request: those that occurred, which add up to the endpoint's.
    pub classes: Vec<ClassReport>,
    /// Sizes planned and achieved, of successful requests whose usage is known.
    pub sizes: Sizes,
    /// Tool calls of successful requests.
    pub tool_calls: ToolCalls,
    /// Sessions that may have several turns; `null` where none may.
    pub loops: Option<Loops>,
    /// The bill.
    pub cost: Cost,
    /// What was held against the upstream's journal; `null` without one.
    pub truth: Option<Truth>,
    /// Whether answers keep their protocol, and hold what the upstream wrote.
    pub conformance: Conformance,
    /// Whether streams arrive as they were written; `null` without a journal that says how.
    pub smoothness: Option<Smoothness>,
}

/// What was measured of one kind of request at one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassReport {
    /// What is asked for.
    pub class: Class,
    /// How the answer is asked for.
    pub mode: Mode,
    /// Requests, counted; planned = ok + failed + dropped + cut + cancelled.
    pub requests: ClassRequests,
    /// Latencies by name, in ms; `null` without samples. `icl` and `time_to_tool_call`, of which a
    /// request has many, are told apart by endpoint only and stand there.
    pub latency_ms: BTreeMap<String, Option<Latency>>,
    /// Gaps between token-bearing events, in ms; `null` without any. Their quantiles are the
    /// endpoint's `icl`: which of them are of which kind is not kept.
    pub gaps_ms: Option<Gaps>,
    /// Sums of the reported token counts.
    pub usage: Usage,
}

/// How an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As a stream of events.
    Stream,
    /// As one whole body.
    Whole,
}

/// Requests of one kind, counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassRequests {
    /// Came due, as far as their rows are there.
    pub planned: u64,
    /// Complete answers.
    pub ok: u64,
    /// Failed in any way.
    pub failed: u64,
    /// Not sent.
    pub dropped: u64,
    /// Cut by the harness when the run ended.
    pub cut: u64,
    /// Hung up on purpose.
    pub cancelled: u64,
    /// Attempts sent.
    pub attempts: u64,
    /// Attempts by outcome; those that did not occur are left out.
    pub outcomes: BTreeMap<String, u64>,
}

/// Gaps of one kind of request, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gaps {
    /// How many.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

/// Requests, counted: each by the outcome of its last attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Requests {
    /// Came due.
    pub planned: u64,
    /// Complete answers.
    pub ok: u64,
    /// Failed in any way.
    pub failed: u64,
    /// Not sent.
    pub dropped: u64,
    /// Cut by the harness when the run ended.
    pub cut: u64,
    /// Hung up on purpose.
    pub cancelled: u64,
    /// Attempts sent: more than requests where some were retried.
    pub attempts: u64,
    /// Attempts by outcome, those that were retried included; those that did not occur are left out.
    pub outcomes: BTreeMap<String, u64>,
    /// Requests whose latency holds a new connection.
    pub connected: u64,
    /// What failed attempts said, and how often.
    pub errors: BTreeMap<String, u64>,
    /// Departures from the protocol by name.
    pub oddities: BTreeMap<String, u64>,
}

/// A latency's distribution over successful requests, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Samples.
    pub count: u64,
    /// Requests that should have had one and failed: gates count them as over any limit.
    pub failed: u64,
    /// Quantiles over all requests, as gates take them; `null` for what failures do not count in.
    pub inclusive: Option<Inclusive>,
    /// Mean.
    pub mean: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
}

/// Rates over the measured window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Throughput {
    /// Length of the window in seconds; `null` if it has none.
    pub window_s: Option<f64>,
    /// Successful requests completed.
    pub requests_per_s: Option<f64>,
    /// Reported output tokens, each credited at its event's time.
    pub output_tokens_per_s: Option<f64>,
    /// Token-bearing events.
    pub events_per_s: Option<f64>,
    /// Successful requests within every limit; `null` without `[limits]`.
    pub goodput_per_s: Option<f64>,
    /// Attempts that said something in the window, or completed in it, and whose output tokens are
    /// not known; if there are any, `output_tokens_per_s` is `null`.
    pub without_usage: u64,
    /// Measured requests completed after the window, in the drain: in no rate.
    pub drained: u64,
}

/// Sums of the reported token counts, in one meaning for both endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// All input tokens, cached ones included.
    pub input: Option<u64>,
    /// Read from a cache.
    pub cache_read: Option<u64>,
    /// Written to a cache.
    pub cache_write: Option<u64>,
    /// All output tokens.
    pub output: Option<u64>,
    /// Output tokens that are reasoning.
    pub reasoning: Option<u64>,
}

/// Sizes planned and achieved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sizes {
    /// Input tokens; planned is the harness's own estimate.
    pub input: Size,
    /// Output tokens; planned is the limit that was asked for.
    pub output: Size,
}

/// One size, planned and achieved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Size {
    /// As planned.
    pub planned: Option<Quantiles>,
    /// As reported in the usage.
    pub achieved: Option<Quantiles>,
}

/// Quantiles of a size, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantiles {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 95th percentile.
    pub p95: u64,
}

/// What was held against the upstream's journal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Truth {
    /// Complete answers whose reported token counts are the true ones.
    pub verified: u64,
    /// Complete answers.
    pub of: u64,
    /// Measured time to first token less the journal's (first token written - received), in ms:
    /// the way there and back, what stands between, and the harness's own error.
    pub ttft_error_ms: Option<Latency>,
}

/// How the run came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// In one word.
    pub status: Status,
    /// Why, where the gates do not say it.
    pub reasons: Vec<String>,
    /// Each gate at each endpoint that it is about.
    pub gates: Vec<Gate>,
}

/// A gate at one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// As written.
    pub expression: String,
    /// Where it was held.
    pub endpoint: Endpoint,
    /// What was measured, with its unit; `null` if nothing was.
    pub actual: Option<String>,
    /// How it came out.
    pub status: GateStatus,
    /// Why it neither passed nor failed.
    pub reason: Option<String>,
}

impl Report {
    /// `report.json`.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report is plain JSON");
        text.push('\n');
        text
    }
}

/// The JSON Schema of `report.json`, as text that ends in a newline.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Report);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    text.push('\n');
    text
}
