//! What the workers of one process share: the stop, the window, the limits, and where facts go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};

use super::progress::Progress;
use super::spend::Spend;
use crate::endpoint::Endpoint;
use crate::metrics::gap_histogram;
use crate::record::{CallRecord, Fact, FactSink, Phase, Record};
use crate::time::{Offset, Window};

/// How far the run has been told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    No,
    /// Start nothing more; what is in flight may end.
    Arrivals,
    /// Cut what is in flight.
    Everything,
}

/// What the workers of one process share.
pub struct Shared {
    stop: watch::Sender<Stop>,
    endpoints: BTreeMap<Endpoint, EndpointState>,
    /// What is spent, and the limit on it.
    pub spend: Option<Arc<Spend>>,
    /// Woken once for each request that has settled its reservation.
    pub settled: Notify,
    facts: Box<dyn FactSink>,
    progress: Mutex<Progress>,
    gaps: Mutex<BTreeMap<Endpoint, hdrhistogram::Histogram<u64>>>,
    warnings: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct EndpointState {
    in_flight: AtomicU32,
    /// Connections that are read on after their terminator.
    draining: AtomicU32,
    /// Bounds both.
    in_flight_max: u32,
    /// Measured turns that came due.
    came_due: AtomicU64,
    window_start: Offset,
    /// `u64::MAX` as long as it is not known.
    window_end: AtomicU64,
}

/// A place among the requests in flight, or among the drains; given back when dropped.
pub struct Place {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    of: fn(&EndpointState) -> &AtomicU32,
    /// How many are taken with this one.
    pub taken: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.of)(&self.shared.endpoints[&self.endpoint]).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// For `endpoints`, with the window as far as it is known.
    pub fn new(
        endpoints: &[Endpoint],
        in_flight_max: u32,
        window: (Offset, Option<Offset>),
        spend: Option<Arc<Spend>>,
        facts: Box<dyn FactSink>,
    ) -> Arc<Self> {
        let state = || EndpointState {
            in_flight: AtomicU32::new(0),
            draining: AtomicU32::new(0),
            in_flight_max,
            came_due: AtomicU64::new(0),
            window_start: window.0,
            window_end: AtomicU64::new(window.1.map_or(u64::MAX, Offset::nanos)),
        };
        Arc::new(Self {
            stop: watch::Sender::new(Stop::No),
            endpoints: endpoints.iter().map(|e| (*e, state())).collect(),
            spend,
            settled: Notify::new(),
            facts,
            progress: Mutex::new(Progress::default()),
            gaps: Mutex::new(BTreeMap::new()),
            warnings: Mutex::new(Vec::new()),
        })
    }

    /// Tells every worker to stop; a weaker word after a stronger one changes nothing.
    pub fn stop(&self, how: Stop) {
        self.stop.send_if_modified(|stop| {
            let stronger = how > *stop;
            *stop = how.max(*stop);
            stronger
        });
    }

    /// How far the run has been told to stop.
    pub fn stopped(&self) -> Stop {
        *self.stop.borrow()
    }

    /// Waits until the run is told to stop at least this far.
    pub async fn until(&self, how: Stop) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as `self`.
        let _ = stop.wait_for(|stop| *stop >= how).await;
    }

    /// A place among the requests in flight at `endpoint`; `None` if all are taken.
    pub fn enter(self: &Arc<Self>, endpoint: Endpoint) -> Option<Place> {
        self.place(endpoint, |state| &state.in_flight)
    }

    /// A place among the connections of `endpoint` that are read on after their terminator.
    pub fn drain(self: &Arc<Self>, endpoint: Endpoint) -> Option<Place> {
        self.place(endpoint, |state| &state.draining)
    }

    fn place(
        self: &Arc<Self>,
        endpoint: Endpoint,
        of: fn(&EndpointState) -> &AtomicU32,
    ) -> Option<Place> {
        let state = &self.endpoints[&endpoint];
        let before = of(state)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < state.in_flight_max).then_some(n + 1)
            })
            .ok()?;
        Some(Place {
            shared: self.clone(),
            endpoint,
            of,
            taken: before + 1,
        })
    }

    /// A turn came due; if it is a measured one, it must end up in a row.
    pub fn came_due(&self, record: &Record) {
        if record.phase == Phase::Measured {
            self.endpoints[&record.endpoint]
                .came_due
                .fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Measured turns that came due, by endpoint.
    pub fn planned(&self) -> BTreeMap<Endpoint, u64> {
        self.endpoints
            .iter()
            .map(|(e, s)| (*e, s.came_due.load(Ordering::Relaxed)))
            .collect()
    }

    /// Requests in flight over all endpoints.
    pub fn in_flight(&self) -> u32 {
        self.endpoints
            .values()
            .map(|s| s.in_flight.load(Ordering::Relaxed))
            .sum()
    }

    /// Whether `at` lies in the measured window of `endpoint`.
    pub fn in_window(&self, endpoint: Endpoint, at: Offset) -> bool {
        let state = &self.endpoints[&endpoint];
        state.window_start <= at && at.nanos() <= state.window_end.load(Ordering::Relaxed)
    }

    /// The measured window of `endpoint` ends at `at`, unless it ended before.
    pub fn end_window(&self, endpoint: Endpoint, at: Offset) {
        self.endpoints[&endpoint]
            .window_end
            .fetch_min(at.nanos(), Ordering::Relaxed);
    }

    /// The windows; one that never ended ends at `now`.
    pub fn windows(&self, now: Offset) -> BTreeMap<Endpoint, Window> {
        self.endpoints
            .iter()
            .map(|(endpoint, state)| {
                let end = Offset::from_nanos(state.window_end.load(Ordering::Relaxed)).min(now);
                let start = state.window_start;
                (
                    *endpoint,
                    Window {
                        start_ns: start,
                        end_ns: end.max(start),
                    },
                )
            })
            .collect()
    }

    /// A request has begun.
    pub fn begun(&self) {
        self.progress().begun();
    }

    /// An attempt is over.
    pub fn ended(&self, record: Record, calls: Vec<CallRecord>) {
        let spent = self.spend.as_ref().and_then(|spend| spend.spent());
        self.progress().ended(&record, spent);
        self.facts.put(Fact::Attempt(Box::new(record), calls));
    }

    /// A fact that is no attempt.
    pub fn put(&self, fact: Fact) {
        self.facts.put(fact);
    }

    /// The live numbers.
    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress
            .lock()
            .expect("no one panics while holding the progress")
    }

    /// A gap between token-bearing events of a measured request, in ns.
    pub fn gap(&self, endpoint: Endpoint, nanos: u64) {
        let mut gaps = self
            .gaps
            .lock()
            .expect("no one panics while holding the gaps");
        let histogram = gaps.entry(endpoint).or_insert_with(gap_histogram);
        histogram
            .record(nanos.min(crate::metrics::NANOS_MAX))
            .expect("the histogram resizes");
    }

    /// The gaps since the last call, as facts of the interval that ends at `now`.
    pub fn put_gaps(&self, from: Offset, now: Offset) {
        let gaps = std::mem::take(
            &mut *self
                .gaps
                .lock()
                .expect("no one panics while holding the gaps"),
        );
        for (endpoint, histogram) in gaps {
            self.put(Fact::Gaps {
                endpoint,
                from,
                to: now,
                histogram: Box::new(histogram),
            });
        }
    }

    /// Something that a reader of the report must know; each text once.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self
            .warnings
            .lock()
            .expect("no one panics while holding the warnings");
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings
            .lock()
            .expect("no one panics while holding the warnings")
            .clone()
    }
}
