//! `overhead.json`: what a gateway adds, in the form that other programs rely on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::report::InclusiveMs;
use crate::verdict::Status;

/// Version of the keys of `overhead.json`.
pub const OVERHEAD_SCHEMA: &str = "weighbridge.overhead/1";

/// What a gateway adds to its upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overhead {
    /// `weighbridge.overhead/1`.
    pub schema: String,
    /// What was done.
    pub run: Run,
    /// What came of it, by endpoint.
    pub endpoints: BTreeMap<Endpoint, EndpointOverhead>,
    /// How it came out.
    pub verdict: Verdict,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Name of the scenario.
    pub scenario: String,
    /// UTC, RFC 3339.
    pub started_at: String,
    /// Version of the harness that loaded the arms.
    pub version: String,
    /// Seed of every draw: the load's, the order's and the intervals'.
    pub seed: u64,
    /// The upstream itself.
    pub direct: Target,
    /// The gateway before it.
    pub via: Target,
    /// Users at once, in the order of the levels.
    pub concurrency: Vec<u32>,
    /// Blocks of each level.
    pub blocks: u64,
}

/// What an arm loads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Its origin.
    pub origin: String,
    /// The models asked for.
    pub models: Vec<String>,
}

/// How it came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// In one word. No difference is ever a failure: `failed` is an arm in which nothing succeeded.
    pub status: Status,
    /// Why, in words.
    pub reasons: Vec<String>,
}

/// What came of one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointOverhead {
    /// Level by level, those that were not begun left out.
    pub levels: Vec<Level>,
    /// The load at which the gateway, not the upstream, is at its end.
    pub saturation: Saturation,
}

/// What came of one level of load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Level {
    /// Users at once, at either arm.
    pub concurrency: u32,
    /// Sessions of a block.
    pub sessions_per_block: u64,
    /// Blocks that were planned.
    pub blocks_planned: u64,
    /// Blocks that both arms have done: what all numbers below are made of.
    pub blocks: u64,
    /// The arm without the gateway.
    pub direct: Arm,
    /// The arm with it.
    pub via: Arm,
    /// From sending to the first token, in ms.
    pub ttft_ms: Quantiles,
    /// The mean gap between the token-bearing events of an answer, in ms.
    pub mean_gap_ms: Quantiles,
    /// The longest gap between the token-bearing events of an answer, in ms.
    pub longest_gap_ms: Quantiles,
    /// From sending to the terminator, in ms.
    pub e2e_ms: Quantiles,
    /// Successful requests a second: those of all blocks over the time of the arm's turns, each from
    /// its first send to the end of its last session.
    pub requests_per_s: Comparison,
    /// Share of the requests that failed or were dropped, 0 to 1.
    pub failures: Comparison,
}

/// One arm at one level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Arm {
    /// Its run folder, from that of `overhead.json`.
    pub folder: String,
    /// The run's id.
    pub run: String,
    /// Requests of the blocks that count.
    pub requests: u64,
    /// Those that succeeded.
    pub ok: u64,
    /// Those for which a connection was made: their times to the first token and to the end are left
    /// out.
    #[serde(default)]
    pub connected: u64,
    /// The time of its turns, in seconds.
    pub seconds: f64,
    /// Whether the harness could measure times; if not, no time and no rate of it is to be believed.
    pub valid: bool,
    /// If not, why.
    pub reasons: Vec<String>,
    /// Whether its run did not come to its end.
    pub partial: bool,
    /// What a reader of its report must know.
    pub warnings: Vec<String>,
}

/// Quantiles of one time, compared. A request that failed is beyond any time. One that needs more
/// samples than there are (59 for p95, 299 for p99) is `null`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantiles {
    /// Median.
    pub p50: Option<Times>,
    /// 95th percentile.
    pub p95: Option<Times>,
    /// 99th percentile.
    pub p99: Option<Times>,
}

/// A quantile of both arms, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Times {
    /// Without the gateway: `"failed"` where it falls on a failed request.
    pub direct: InclusiveMs,
    /// With it.
    pub via: InclusiveMs,
    /// What the gateway adds; `null` where one of them is no number.
    pub delta: Option<Delta>,
}

/// A number of both arms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Without the gateway.
    pub direct: Option<f64>,
    /// With it.
    pub via: Option<f64>,
    /// The second less the first.
    pub delta: Option<Delta>,
}

/// A difference, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Delta {
    /// Via less direct.
    pub estimate: f64,
    /// Lower bound of its 95 % interval; `null` with fewer than 8 blocks, and where failures leave the
    /// bound without a value.
    pub low: Option<f64>,
    /// Its upper bound.
    pub high: Option<f64>,
    /// What that comes to; `null` without an interval.
    pub seen: Option<Seen>,
}

/// What an interval says of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It is above zero.
    More,
    /// It is below zero.
    Less,
    /// It holds zero: no difference was seen.
    NoDifference,
}

/// The load at which the gateway is at its end. An arm *saturates* from one level to the next where
/// its throughput grows by less than half of what the concurrency grows: `ln(T2 / T1) / ln(L2 / L1)`,
/// and the upper bound of its 95 % interval, are below 0.5; or where nothing succeeds any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Saturation {
    /// What is found.
    pub found: Found,
    /// The level up to which throughput grew; `null` where nothing saturated.
    pub from: Option<u32>,
    /// The level at which it no longer did.
    pub to: Option<u32>,
    /// Throughput at that level, in requests a second, without the gateway.
    pub direct_per_s: Option<f64>,
    /// With it.
    pub via_per_s: Option<f64>,
    /// The same in a sentence.
    pub says: String,
    /// What it rests on, from level to level.
    pub growth: Vec<Growth>,
}

/// What is found of the load at which the gateway is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The gateway saturates, and at that level the upstream does not.
    Gateway,
    /// The upstream itself saturates there, or before: it, or the machine, is the limit.
    Upstream,
    /// Neither does up to the highest level.
    NotReached,
    /// One level, too few blocks, or too few that succeeded.
    NotKnown,
}

/// How throughput grew from one level to the next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Growth {
    /// From this many users.
    pub from: u32,
    /// To this many.
    pub to: u32,
    /// Without the gateway.
    pub direct: Elasticity,
    /// With it.
    pub via: Elasticity,
}

/// `ln(T2 / T1) / ln(L2 / L1)`: 1 where throughput grows as the concurrency does, 0 where it no longer
/// grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Elasticity {
    /// As measured; `null` where a level has no throughput.
    pub estimate: Option<f64>,
    /// Lower bound of its 95 % interval.
    pub low: Option<f64>,
    /// Its upper bound.
    pub high: Option<f64>,
    /// Whether the arm saturates there; `null` where it cannot be told.
    pub saturates: Option<bool>,
}

impl Overhead {
    /// `overhead.json`.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report is plain JSON");
        text.push('\n');
        text
    }
}

/// The JSON Schema of `overhead.json`, as text that ends in a newline.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Overhead);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    text.push('\n');
    text
}
