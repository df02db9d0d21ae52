//! What one arm of a pair did in one of its turns.

use serde::{Deserialize, Serialize};

use crate::time::Offset;

/// A block of sessions that one of two arms did in its turn, from the first to the last of them: the
/// row of `blocks.csv`. The other arm did the same sessions right before it or right after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its number, from 0: the same at both arms.
    pub block: u64,
    /// Number of its first session in the planned load.
    pub first_session: u64,
    /// Its sessions.
    pub sessions: u64,
    /// When the turn began: its first session was about to be sent.
    pub start_ns: Offset,
    /// When its last session was over.
    pub end_ns: Offset,
}
