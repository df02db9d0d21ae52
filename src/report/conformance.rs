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
