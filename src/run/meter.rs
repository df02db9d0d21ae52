//! What one worker counts and times while it runs: its live numbers, and the facts of its present
//! second. Every worker has its own, so that no event waits for another core; whoever watches
//! folds them together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use hdrhistogram::Histogram;

use super::progress::Progress;
use crate::endpoint::Endpoint;
use crate::metrics::{NANOS_MAX, gap_histogram};
use crate::record::{Fact, Outcome, Second};
use crate::time::Offset;

/// The counts and times of one worker.
#[derive(Debug)]
pub struct Meter {
    /// The worker, from 0.
    worker: u32,
    counts: Mutex<Counts>,
    in_flight: BTreeMap<Endpoint, AtomicU32>,
}

/// What is counted; locked once a frame, and by no one else but for a moment a second.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub progress: Progress,
    /// By the endpoint's place.
    endpoints: [Interval; Endpoint::ALL.len()],
}

/// The present second at one endpoint.
#[derive(Debug, Default)]
pub(super) struct Interval {
    pub sent: u64,
    pub ok: u64,
    pub not_ok: u64,
    pub token_events: u64,
    pub bytes: u64,
    gaps: Option<Box<Histogram<u64>>>,
}

impl Interval {
    /// A gap between token-bearing events of a measured request, in ns.
    pub fn gap(&mut self, nanos: u64) {
        self.gaps
            .get_or_insert_with(|| Box::new(gap_histogram()))
            .record(nanos.min(NANOS_MAX))
            .expect("the histogram resizes");
    }
}

impl Counts {
    /// The present second at `endpoint`.
    pub fn at(&mut self, endpoint: Endpoint) -> &mut Interval {
        &mut self.endpoints[endpoint.place()]
    }

    /// An attempt at `endpoint` is over.
    pub fn ended(&mut self, endpoint: Endpoint, outcome: Outcome) {
        let interval = self.at(endpoint);
        match outcome {
            Outcome::Ok => interval.ok += 1,
            _ => interval.not_ok += 1,
        }
    }
}

impl Meter {
    /// Nothing counted yet.
    pub fn new(worker: u32, endpoints: &[Endpoint]) -> Self {
        Self {
            worker,
            counts: Mutex::default(),
            in_flight: endpoints.iter().map(|e| (*e, AtomicU32::new(0))).collect(),
        }
    }

    /// The worker's number, from 0.
    pub const fn worker(&self) -> u32 {
        self.worker
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts
            .lock()
            .expect("no one panics while holding the counts")
    }

    /// The live numbers so far.
    pub fn progress(&self) -> Progress {
        self.counts().progress.clone()
    }

    pub(super) fn enter(&self, endpoint: Endpoint) {
        self.in_flight[&endpoint].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self, endpoint: Endpoint) {
        self.in_flight[&endpoint].fetch_sub(1, Ordering::Relaxed);
    }

    /// The worker's requests in flight, over its endpoints.
    pub fn in_flight(&self) -> u32 {
        let of = |n: &AtomicU32| n.load(Ordering::Relaxed);
        self.in_flight.values().map(of).sum()
    }

    /// The facts of the interval from `from` to `now`, which end with it.
    pub(super) fn take(&self, from: Offset, now: Offset) -> Vec<Fact> {
        let endpoints = std::mem::take(&mut self.counts().endpoints);
        let mut facts = Vec::new();
        for (endpoint, in_flight) in &self.in_flight {
            let interval = &endpoints[endpoint.place()];
            facts.push(Fact::Second(Second {
                at_ns: now,
                interval_ns: now.nanos_since(from),
                worker: self.worker,
                endpoint: *endpoint,
                sent: interval.sent,
                ok: interval.ok,
                not_ok: interval.not_ok,
                token_events: interval.token_events,
                bytes: interval.bytes,
                in_flight: in_flight.load(Ordering::Relaxed),
            }));
        }
        let gaps = Endpoint::ALL.into_iter().zip(endpoints);
        let gaps = gaps.filter_map(|(endpoint, interval)| {
            Some(Fact::Gaps {
                endpoint,
                from,
                to: now,
                histogram: interval.gaps?,
            })
        });
        facts.extend(gaps);
        facts
    }
}
