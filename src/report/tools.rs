//! What a report says of tool calls, and of sessions that go on with their results.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Latency;

/// Tool calls of successful requests; a count that the facts do not give is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCalls {
    /// Calls in answers.
    pub returned: u64,
    /// Arguments that are one complete JSON object.
    pub valid_json: u64,
    /// Arguments that are not.
    pub invalid_json: u64,
    /// Arguments that fit the tool's schema; `null` for older facts.
    pub schema_valid: Option<u64>,
    /// Arguments that do not, those of tools that were not offered included; `null` for older facts.
    pub schema_invalid: Option<u64>,
    /// Calls of the upstream that did not arrive; `null` without its journal.
    pub missing: Option<u64>,
    /// Calls that the upstream did not make; `null` without its journal.
    pub extra: Option<u64>,
    /// Calls of a tool that was not offered.
    pub unknown_name: u64,
    /// Bytes of arguments a second, from a call's announcement to its end; `null` if none took 1 ms.
    pub argument_bytes_per_s: Option<ArgumentRate>,
    /// The same by the requests in flight when theirs was sent; empty for older facts.
    pub by_in_flight: Vec<CallsAtLoad>,
}

/// How fast arguments came, in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ArgumentRate {
    /// Calls that took 1 ms or more: those that came in one piece have no rate.
    pub count: u64,
    /// Mean of the calls' rates.
    pub mean: f64,
    /// Slowest.
    pub min: u64,
    /// Fastest.
    pub max: u64,
    /// Median.
    pub p50: u64,
    /// 5th percentile: one in twenty is slower.
    pub p5: u64,
}

/// Tool calls at a range of requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallsAtLoad {
    /// Fewest requests in flight.
    pub in_flight_min: u32,
    /// Most.
    pub in_flight_max: u32,
    /// Calls.
    pub calls: u64,
    /// Arguments that are one complete JSON object.
    pub valid_json: u64,
    /// Arguments that fit the tool's schema; `null` for older facts.
    pub schema_valid: Option<u64>,
    /// Time to a complete call, in ms; `null` without any that is complete.
    pub time_to_tool_call_ms: Option<Latency>,
}

/// Sessions that may have several turns: the model calls tools, gets their results and goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Loops {
    /// How many ended.
    pub sessions: u64,
    /// By the way they ended: `answered` (the model called no more tools), `turn_limit`, `failed`,
    /// `stopped`.
    pub ended: BTreeMap<String, u64>,
    /// The share of those that were answered, of all that were not stopped; `null` without any.
    pub completed: Option<f64>,
    /// Turns of answered ones; `null` without any.
    pub turns: Option<Turns>,
    /// From the sending of the first turn to the end of the last of answered ones, in ms, the tools'
    /// own time included; `null` without any.
    pub time_ms: Option<Latency>,
}

/// Turns of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Turns {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// Most.
    pub max: u64,
}
