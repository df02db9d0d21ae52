//! What a run tells the store, and nothing else: its facts, one by one.

use std::sync::Arc;

use hdrhistogram::Histogram;

use super::{CallRecord, EventStamp, Example, Health, Record, Second};
use crate::endpoint::Endpoint;
use crate::time::Offset;

/// One fact.
#[derive(Debug)]
pub enum Fact {
    /// An attempt is over.
    Attempt(Arc<Record>, Vec<CallRecord>),
    /// The stamp of each event of an attempt, where they are kept.
    Trace {
        /// The request.
        trace_id: String,
        /// The attempt of it.
        attempt: u32,
        /// In order of arrival.
        events: Vec<EventStamp>,
    },
    /// A captured exchange, and the bytes of its file.
    Example(Example, Vec<u8>),
    /// Gaps between token-bearing events of measured requests, in one interval.
    Gaps {
        /// Of this endpoint.
        endpoint: Endpoint,
        /// Of this worker, from 0: the intervals of one follow each other.
        worker: u32,
        /// The interval's begin.
        from: Offset,
        /// Its end.
        to: Offset,
        /// The gaps, in ns.
        histogram: Box<Histogram<u64>>,
    },
    /// A worker's second at an endpoint.
    Second(Second),
    /// A worker's second, after all else of it.
    Health(Health),
}

/// Where facts go: the store's writer, or a list in tests.
pub trait FactSink: Send + Sync {
    /// Takes a fact. It may wait for room, since every queue is bounded.
    fn put(&self, fact: Fact);
}
