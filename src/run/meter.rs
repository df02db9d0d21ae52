//! What one worker counts and times while it runs: its live numbers, and the facts of its present
//! second. Every worker has its own, so that no event waits for another core; whoever watches
//! folds them together.

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
    /// What it loads.
    endpoints: Vec<Endpoint>,
    counts: Mutex<Counts>,
}

/// What is counted; locked once a frame, and by no one else but for a moment a second.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub progress: Progress,
    /// By the endpoint's place.
    endpoints: [Interval; Endpoint::ALL.len()],
    present: [Present; Endpoint::ALL.len()],
}

/// The requests in flight at one endpoint, and how long so many have been.
#[derive(Debug, Default)]
struct Present {
    requests: u32,
    /// Their number times how long they were so many, summed up to `until`.
    sum_ns: u64,
    until: Offset,
}

impl Present {
    /// Sums up to `now`.
    fn sum_to(&mut self, now: Offset) {
        self.sum_ns += u64::from(self.requests) * now.nanos_since(self.until);
        self.until = self.until.max(now);
    }
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
            endpoints: endpoints.to_vec(),
            counts: Mutex::default(),
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

    /// A request is in flight from `now` on.
    pub(super) fn enter(&self, endpoint: Endpoint, now: Offset) {
        let present = &mut self.counts().present[endpoint.place()];
        present.sum_to(now);
        present.requests += 1;
    }

    /// A request is no longer in flight from `now` on.
    pub(super) fn leave(&self, endpoint: Endpoint, now: Offset) {
        let present = &mut self.counts().present[endpoint.place()];
        present.sum_to(now);
        present.requests -= 1;
    }

    /// The worker's requests in flight, over its endpoints.
    pub fn in_flight(&self) -> u32 {
        self.counts().present.iter().map(|p| p.requests).sum()
    }

    /// The facts of the interval from `from` to `now`, which end with it.
    pub(super) fn take(&self, from: Offset, now: Offset) -> Vec<Fact> {
        let mut counts = self.counts();
        let endpoints = std::mem::take(&mut counts.endpoints);
        let mut facts = Vec::new();
        for &endpoint in &self.endpoints {
            let interval = &endpoints[endpoint.place()];
            let present = &mut counts.present[endpoint.place()];
            present.sum_to(now);
            facts.push(Fact::Second(Second {
                at_ns: now,
                interval_ns: now.nanos_since(from),
                worker: self.worker,
                endpoint,
                sent: interval.sent,
                ok: interval.ok,
                not_ok: interval.not_ok,
                token_events: interval.token_events,
                bytes: interval.bytes,
                in_flight_ns: std::mem::take(&mut present.sum_ns),
                in_flight: present.requests,
            }));
        }
        drop(counts);
        let gaps = Endpoint::ALL.into_iter().zip(endpoints);
        let gaps = gaps.filter_map(|(endpoint, interval)| {
            Some(Fact::Gaps {
                endpoint,
                worker: self.worker,
                from,
                to: now,
                histogram: interval.gaps?,
            })
        });
        facts.extend(gaps);
        facts
    }
}
