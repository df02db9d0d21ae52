//! The transport: sends an encoded request, hands over body frames. `http` is the real one, on
//! reqwest; `scripted` is its in-memory double for tests in virtual time.
//!
//! It knows nothing of tokens, costs or protocols, and stamps nothing: the caller stamps each
//! frame when it is handed over. A failure says which outcome it is; it is never an `Err` of the
//! run.

pub mod http;
pub mod scripted;

use std::future::Future;

use ::http::HeaderMap;
use bytes::Bytes;

use crate::protocol::Encoded;
use crate::record::Outcome;

/// Sends requests to one target.
pub trait Transport: Clone + Send + Sync + 'static {
    /// The body of a response.
    type Body: Body;

    /// Sends `request`, named `trace_id`, and waits for the head of the response.
    fn send(
        &self,
        request: Encoded,
        trace_id: &str,
        attempt: u32,
    ) -> impl Future<Output = Result<(Head, Self::Body), Failure>> + Send;

    /// How many connects have begun and how many have ended, since the start.
    fn connects(&self) -> Connects;
}

/// The body of a response.
pub trait Body: Send {
    /// The next frame, or `None` at the end of the body.
    fn frame(&mut self) -> impl Future<Output = Option<Result<Bytes, Failure>>> + Send;
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct Head {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Whether the connection speaks an older HTTP version than was asked for.
    pub downgraded: bool,
}

/// The transport failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which outcome that is.
    pub outcome: Outcome,
    /// What the transport said, in one line, without the target's address or key.
    pub message: String,
}

/// Connection attempts, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connects {
    /// Begun.
    pub begun: u64,
    /// Ended, in a connection or a failure.
    pub ended: u64,
    /// Sum of their durations, in ns.
    pub sum_ns: u64,
    /// The longest, in ns.
    pub max_ns: u64,
}

impl Connects {
    /// Whether any connect was under way at some time between `earlier` and now.
    pub const fn overlap(self, earlier: Self) -> bool {
        self.begun > earlier.begun || earlier.begun > earlier.ended
    }
}
