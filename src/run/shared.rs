//! What the workers of one process share: the stop, the window, the limits, and where facts go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::capture::Examples;
use super::spend::Spend;
use crate::endpoint::Endpoint;
use crate::plan::Plan;
use crate::record::{Fact, FactSink, Phase, Record};
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

/// What the workers of one process share: touched once a request, but for the stop, which each
/// waits for.
pub struct Shared {
    /// Told when nothing more may start.
    arrivals: CancellationToken,
    /// Told when what is in flight is cut.
    everything: CancellationToken,
    /// Told when nothing more will start, since the plan is done.
    all_started: CancellationToken,
    /// What still starts requests: the workers of an open loop, the pools of a closed one.
    sources: AtomicUsize,
    endpoints: BTreeMap<Endpoint, EndpointState>,
    /// What is spent, and the limit on it.
    pub spend: Option<Arc<Spend>>,
    /// Woken once for each request that has settled its reservation.
    pub settled: Notify,
    /// What is kept of exchanges, and which examples there are.
    pub(super) examples: Arc<Examples>,
    facts: Box<dyn FactSink>,
    warnings: Mutex<Vec<String>>,
    /// Requests of a closed loop that waited for room in the budget.
    budget_waits: AtomicU64,
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
    window: OpenWindow,
}

/// A window whose end may come while it is asked for.
#[derive(Debug)]
pub(super) struct OpenWindow {
    /// `u64::MAX` as long as it is not known.
    start: AtomicU64,
    /// `u64::MAX` as long as it is not known.
    end: AtomicU64,
}

impl OpenWindow {
    /// Whether `at` lies in it.
    pub fn holds(&self, at: Offset) -> bool {
        self.start.load(Ordering::Relaxed) <= at.nanos()
            && at.nanos() <= self.end.load(Ordering::Relaxed)
    }
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
    /// For the load of `plan`, which `workers` workers do, with what is known of its window.
    pub fn new(
        plan: &Plan,
        workers: u32,
        spend: Option<Arc<Spend>>,
        facts: Box<dyn FactSink>,
    ) -> Arc<Self> {
        let (window_start, window_end) = plan.window();
        let state = || EndpointState {
            in_flight: AtomicU32::new(0),
            draining: AtomicU32::new(0),
            in_flight_max: plan.schedule.max_in_flight,
            came_due: AtomicU64::new(0),
            window: OpenWindow {
                start: AtomicU64::new(window_start.nanos()),
                end: AtomicU64::new(window_end.map_or(u64::MAX, Offset::nanos)),
            },
        };
        let sources = if plan.schedule.arrivals.is_open() {
            workers as usize
        } else {
            plan.endpoints.len()
        };
        Arc::new(Self {
            arrivals: CancellationToken::new(),
            everything: CancellationToken::new(),
            all_started: CancellationToken::new(),
            sources: AtomicUsize::new(sources),
            endpoints: plan.endpoints.iter().map(|e| (*e, state())).collect(),
            spend,
            settled: Notify::new(),
            examples: Arc::default(),
            facts,
            warnings: Mutex::new(Vec::new()),
            budget_waits: AtomicU64::new(0),
        })
    }

    /// Tells every worker to stop; a weaker word after a stronger one changes nothing.
    pub fn stop(&self, how: Stop) {
        if how >= Stop::Arrivals {
            self.arrivals.cancel();
        }
        if how >= Stop::Everything {
            self.everything.cancel();
        }
    }

    /// How far the run has been told to stop.
    pub fn stopped(&self) -> Stop {
        if self.everything.is_cancelled() {
            Stop::Everything
        } else if self.arrivals.is_cancelled() {
            Stop::Arrivals
        } else {
            Stop::No
        }
    }

    /// Waits until nothing more may start.
    pub fn no_more_arrivals(&self) -> WaitForCancellationFuture<'_> {
        self.arrivals.cancelled()
    }

    /// Waits until what is in flight is cut.
    pub fn cut(&self) -> WaitForCancellationFuture<'_> {
        self.everything.cancelled()
    }

    /// Waits until the plan has nothing more to start.
    pub fn all_started(&self) -> WaitForCancellationFuture<'_> {
        self.all_started.cancelled()
    }

    /// One of the sources of requests has nothing more to start.
    pub fn source_ended(&self) {
        if self.sources.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.all_started.cancel();
        }
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

    /// The measured window of `endpoint`, whose end may not be known yet.
    pub(super) fn window(&self, endpoint: Endpoint) -> &OpenWindow {
        &self.endpoints[&endpoint].window
    }

    /// The measured window of `endpoint` begins when [`Self::begin_window`] says so, not with the
    /// measured part of the plan.
    pub(super) fn hold_window(&self, endpoint: Endpoint) {
        let start = &self.endpoints[&endpoint].window.start;
        start.store(u64::MAX, Ordering::Relaxed);
    }

    /// A window that was held begins at `at`, unless it began before.
    pub(super) fn begin_window(&self, endpoint: Endpoint, at: Offset) {
        let start = &self.endpoints[&endpoint].window.start;
        start.fetch_min(at.nanos(), Ordering::Relaxed);
    }

    /// The measured window of `endpoint` ends at `at`, unless it ended before.
    pub fn end_window(&self, endpoint: Endpoint, at: Offset) {
        self.endpoints[&endpoint]
            .window
            .end
            .fetch_min(at.nanos(), Ordering::Relaxed);
    }

    /// The windows; one that never ended ends at `now`, and one that never began is empty.
    pub fn windows(&self, now: Offset) -> BTreeMap<Endpoint, Window> {
        self.endpoints
            .iter()
            .map(|(endpoint, state)| {
                let end = Offset::from_nanos(state.window.end.load(Ordering::Relaxed)).min(now);
                let start = Offset::from_nanos(state.window.start.load(Ordering::Relaxed));
                let start = start.min(now);
                (
                    *endpoint,
                    Window {
                        start_ns: start,
                        end_ns: end.max(start),
                        idle_ns: 0,
                    },
                )
            })
            .collect()
    }

    /// A fact, to where facts go.
    pub fn put(&self, fact: Fact) {
        self.facts.put(fact);
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

    /// A user waits for room in the budget before its next request.
    pub fn waits_for_budget(&self) {
        if self.budget_waits.fetch_add(1, Ordering::Relaxed) == 0 {
            self.warn(
                "users waited for room in the budget: fewer requests were in flight than the load says, and rates are the budget's",
            );
        }
    }

    /// Requests that waited for room in the budget so far.
    pub fn budget_waits(&self) -> u64 {
        self.budget_waits.load(Ordering::Relaxed)
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings
            .lock()
            .expect("no one panics while holding the warnings")
            .clone()
    }
}
