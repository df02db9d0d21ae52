//! What a report says of whether answers are what they should be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conformance::Finding;

/// Whether answers keep their protocol, and hold what the upstream wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conformance {
    /// What departs, the gravest first.
    pub findings: Vec<Finding>,
    /// Answers that were checked against their protocol.
    pub checked: u64,
    /// Those of them whose text or reasoning is numbered token by token, so that losses show.
    pub checked_by_marks: u64,
    /// Complete ones that were held against what the upstream wrote.
    pub checked_by_journal: u64,
    /// Answers whose tool calls could not be judged: too many needed a second look.
    pub unread: u64,
    /// Whether only a part of the answers was checked.
    pub sampled: bool,
}

/// Whether streams arrive as they were written: complete ones that the upstream wrote as streams.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Smoothness {
    /// How many.
    pub streams: u64,
    /// Those of them that were written over 50 ms and more, in 4 writes and more, and so show it.
    pub judged: u64,
    /// Judged ones that came at once: in one batch, or in a tenth of the time that they were written
    /// in.
    pub fake: u64,
    /// Judged ones that came in fewer than half as many batches as they were written in, though the
    /// writes were apart; `null` where the journal does not know the writes.
    pub buffered: Option<u64>,
    /// Time from the first to the last token here by that of the upstream, of judged ones: 1 is as it
    /// was written. `null` without any.
    pub span_ratio: Option<Share>,
    /// Token events a batch, where frames that were ready without a wait share one.
    pub events_per_batch: Option<Share>,
    /// Token events a write of the upstream; `null` where the journal does not know the writes.
    pub events_per_write: Option<Share>,
}

/// A ratio over streams.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// Mean.
    pub mean: f64,
    /// 5th percentile.
    pub p5: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
}
