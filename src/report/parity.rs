//! What a report says of the two endpoints side by side.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::parity::Difference;

/// The two endpoints held against each other, by pairs of requests of one session and turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parity {
    /// `exact` where answers are known token by token; `structure` where a live model says something
    /// else each time; `mixed` where some are; `nothing` without a pair.
    pub mode: String,
    /// What was compared, in words.
    pub basis: String,
    /// Pairs that were compared.
    pub pairs: u64,
    /// Those of them that were compared exactly.
    pub exact: u64,
    /// Pairs that were not, since the harness dropped, cut or cancelled a side.
    pub left_out: u64,
    /// Requests without a counterpart.
    pub unpaired: u64,
    /// Requests that were not compared: too many waited for their counterpart.
    pub uncompared: u64,
    /// What differs.
    pub findings: Vec<Difference>,
    /// How much longer the Anthropic endpoint took in the same pair, in ms: `ttft` and `e2e`; `null`
    /// without a pair that has it.
    pub latency_ms: BTreeMap<String, Option<Shift>>,
    /// What became of the tokens of pairs that were compared exactly; `null` without any.
    pub tokens: Option<BTreeMap<Endpoint, Tokens>>,
}

/// A difference of times, in ms: Anthropic less `OpenAI`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shift {
    /// Pairs that it rests on.
    pub count: u64,
    /// Median of the differences.
    pub median: f64,
    /// Lower bound of its 95 % interval; `null` with too few pairs.
    pub low: Option<f64>,
    /// Upper bound.
    pub high: Option<f64>,
}

/// What became of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// Arrived, each counted once.
    pub own: u64,
    /// Missing.
    pub lost: u64,
    /// Came again.
    pub repeated: u64,
    /// Came out of order.
    pub reordered: u64,
    /// Of another answer.
    pub foreign: u64,
}
