//! The load itself: preflight, workers, signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::workers::Workers;
use super::{RunError, Tick};
use crate::billing::budget::Budget;
use crate::billing::prices::PriceTable;
use crate::client::http::{HttpTransport, Options};
use crate::client::{Connects, Transport as _};
use crate::clock::{Clock, Start};
use crate::manifest::Manifest;
use crate::plan::Plan;
use crate::protocol::Surfaces;
use crate::record::{Outcome, Record};
use crate::run::shared::{Shared, Stop};
use crate::run::{Conduct, Meter, Pool, Progress, Seat, Spend};
use crate::scenario::Scenario;
use crate::store::Queue;

/// How often whoever watches is told.
const TICK: Duration = Duration::from_millis(200);

/// From the moment at which everything is ready to the begin of the schedule.
const LEAD: Duration = Duration::from_millis(10);

/// A wall clock that moves more than this during a run is worth a warning.
const CLOCK_DRIFT_MAX_NS: u64 = 100_000_000;

/// What the main thread measures with.
pub(super) struct Measuring<'a> {
    pub scenario: &'a Scenario,
    pub options: Options,
    pub secrets: Vec<String>,
    pub prices: Arc<PriceTable>,
    /// What the runs of one command spend of.
    pub budget: Option<Budget>,
    pub start: Start,
    /// Worker threads, at least one.
    pub workers: u32,
    /// Whether each event's stamp is kept.
    pub trace: bool,
    pub facts: Queue,
    /// Where the run takes turns with another.
    pub seat: Option<Seat>,
    /// Set when facts can no longer be written.
    pub failed: Arc<AtomicBool>,
}

impl Measuring<'_> {
    /// Preflight and load; fills in what the manifest says of them. `false` if a signal ended the
    /// run before its load.
    pub async fn run(
        self,
        plan: &mut Plan,
        manifest: &mut Manifest,
        watch: &mut dyn FnMut(&Tick<'_>),
    ) -> Result<bool, RunError> {
        let mut signals = signals()?;
        // A file that may grow no further is an error of the write, not the end of the process.
        let _beyond_limit = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        let clock = Clock::live(self.start)?;
        manifest.environment.precise_timer = clock.is_precise();
        let transport = HttpTransport::new(&self.options)?;
        // One account for the preflight and the load.
        let spend = Arc::new(Spend::new(self.prices.clone(), self.budget.clone()));

        // The preflight goes before the schedule, whose times are counted from its end.
        let shared = self.shared(plan, spend.clone());
        let meter = Arc::new(Meter::new(0, &plan.endpoints));
        let preflight = self.worker(plan, &meter, &shared, &Pool::all(plan));
        let preflight = Arc::new(preflight(clock.clone(), transport.clone()));
        for &endpoint in &plan.endpoints {
            let mut sending = std::pin::pin!(preflight.clone().preflight(endpoint));
            let record: Arc<Record> = tokio::select! {
                record = &mut sending => record,
                () = any(&mut signals) => {
                    // What was sent may be billed: it is cut, and its row is kept.
                    manifest.interrupted = true;
                    shared.stop(Stop::Everything);
                    sending.await;
                    return Ok(false);
                }
            };
            judge_preflight(&record, self.seat.is_some())?;
            if record.outcome != Outcome::Ok {
                let said = record.error.as_ref();
                let said = said.map(|e| format!(" ({e})")).unwrap_or_default();
                manifest.warnings.push(format!(
                    "the preflight request to the {endpoint} endpoint ended as {}{said}",
                    record.outcome
                ));
            }
        }
        let mut workers = Workers::ready(self.workers, self.start, &self.options).await?;
        plan.begins = clock.now() + LEAD;
        let shared = self.shared(plan, spend);
        let pools = match &self.seat {
            Some(seat) => Pool::in_turns(plan, seat, &shared),
            None => Pool::all(plan),
        };
        let meters: Vec<Arc<Meter>> = (0..self.workers)
            .map(|index| Arc::new(Meter::new(index, &plan.endpoints)))
            .collect();
        workers.begin(|index| {
            let meter = meters[index as usize].clone();
            Box::new(self.worker(plan, &meter, &shared, &pools))
        });
        let load = Load {
            plan,
            shared: &shared,
            clock: &clock,
            meters: &meters,
        };
        let mut connects = self
            .watch(workers, &load, &mut signals, manifest, watch)
            .await?;
        connects.push(transport.connects());
        for connects in connects {
            manifest.connects.count += connects.begun;
            manifest.connects.sum_ns += connects.sum_ns;
            manifest.connects.max_ns = manifest.connects.max_ns.max(Some(connects.max_ns));
        }
        manifest.windows = shared.windows(clock.now());
        if let Some(seat) = &self.seat {
            for window in manifest.windows.values_mut() {
                window.idle_ns = seat.idle_ns(*window);
            }
        }
        manifest.planned = shared.planned();
        manifest.budget_waits = shared.budget_waits();
        manifest.warnings.extend(shared.warnings());
        let drift = self.start.wall_clock_drift_ns();
        if drift.unsigned_abs() > u128::from(CLOCK_DRIFT_MAX_NS) {
            manifest.warnings.push(format!(
                "the wall clock moved by {:.3} s against the monotonic one during the run: UTC times are by the latter",
                drift as f64 / 1e9
            ));
        }
        Ok(true)
    }

    fn shared(&self, plan: &Plan, spend: Arc<Spend>) -> Arc<Shared> {
        let facts = Box::new(self.facts.clone());
        Shared::new(plan, self.workers, Some(spend), facts)
    }

    /// Makes a worker once its thread has a clock and a transport of its own.
    fn worker(
        &self,
        plan: &Plan,
        meter: &Arc<Meter>,
        shared: &Arc<Shared>,
        pools: &Arc<[Pool]>,
    ) -> impl FnOnce(Clock, HttpTransport) -> Conduct<HttpTransport> + Send + use<> {
        let part = u64::from(meter.worker());
        let slice = plan.slice.part(part, u64::from(self.workers));
        let plan = Plan {
            slice: slice.expect("an index below their number"),
            ..plan.clone()
        };
        let (shared, pools, meter) = (shared.clone(), pools.clone(), meter.clone());
        let surfaces = Surfaces::new(&self.scenario.pricing.surfaces);
        let timeouts = self.scenario.target.timeouts;
        let retries = self.scenario.target.retries;
        let trace = self.trace;
        let grace = self.scenario.grace;
        let secrets = self.secrets.clone();
        move |clock, transport| Conduct {
            plan,
            transport,
            clock,
            shared,
            pools,
            meter,
            surfaces,
            timeouts,
            retries,
            trace,
            grace,
            secrets,
        }
    }

    /// Watches the workers to their end. Returns the connections that each made.
    async fn watch(
        &self,
        mut workers: Workers,
        load: &Load<'_>,
        signals: &mut [Signal; 2],
        manifest: &mut Manifest,
        watch: &mut dyn FnMut(&Tick<'_>),
    ) -> Result<Vec<Connects>, RunError> {
        let Load {
            plan,
            shared,
            clock,
            meters,
        } = *load;
        let forecast = plan.forecast();
        // How many turns a session has is the model's choice.
        let planned = forecast
            .measured_sessions
            .filter(|_| forecast.turns_max == 1)
            .map(|n| n * plan.endpoints.len() as u64);
        let mut ticks = tokio::time::interval(TICK);
        let mut worked = Vec::new();
        while worked.len() < workers.count() {
            tokio::select! {
                result = workers.next() => {
                    // The others would do less than was planned.
                    if result.is_err() {
                        shared.stop(Stop::Everything);
                    }
                    worked.push(result);
                }
                () = any(signals) => {
                    manifest.interrupted = true;
                    for &endpoint in &plan.endpoints {
                        shared.end_window(endpoint, clock.now());
                    }
                    shared.stop(match shared.stopped() {
                        Stop::No => Stop::Arrivals,
                        Stop::Arrivals | Stop::Everything => Stop::Everything,
                    });
                }
                _ = ticks.tick() => {
                    if self.failed.load(Ordering::Relaxed) {
                        shared.stop(Stop::Everything);
                    }
                }
            }
            // Copies: a slow terminal must not hold up the workers.
            let mut progress = Progress::default();
            for meter in meters {
                progress.merge(&meter.progress());
            }
            watch(&Tick {
                elapsed: Duration::from_nanos(clock.now().nanos_since(plan.begins)),
                in_flight: shared.in_flight(),
                planned,
                duration: forecast.duration,
                progress: &progress,
                spent: shared.spend.as_ref().and_then(|spend| spend.spent()),
                limit: shared.spend.as_ref().and_then(|spend| spend.limit()),
                stopping: shared.stopped() > Stop::No,
            });
        }
        workers.join();
        worked.into_iter().collect()
    }
}

/// A load that goes on.
struct Load<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    clock: &'a Clock,
    meters: &'a [Arc<Meter>],
}

/// The signals that end a run.
pub(super) fn signals() -> std::io::Result<[Signal; 2]> {
    Ok([
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    ])
}

/// Waits for any of the signals.
pub(super) async fn any(signals: &mut [Signal; 2]) {
    let [interrupt, terminate] = signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// A refusal that no load would change is an error of the target or the key. Between two arms
/// `in_turns` any other end but success is one, too: there is nothing to compare.
fn judge_preflight(record: &Record, in_turns: bool) -> Result<(), RunError> {
    let said = record.error.as_deref().filter(|e| !e.is_empty());
    let said = said.map(|e| format!(" ({e})")).unwrap_or_default();
    // Those of 4xx may pass: a load is how one finds out.
    let (408 | 409 | 425 | 429 | ..400 | 500..) = record.status.unwrap_or(0) else {
        return Err(refused(record, said));
    };
    if in_turns && record.outcome != Outcome::Ok {
        return Err(RunError::PreflightFailed {
            endpoint: record.endpoint,
            outcome: record.outcome,
            said,
        });
    }
    Ok(())
}

/// The error of a preflight that ended with a status of 4xx.
fn refused(record: &Record, said: String) -> RunError {
    let status = record.status.unwrap_or(0);
    let check = match status {
        401 | 403 => "the key and `target.api_key_env`",
        402 => "the account's credit",
        404 | 405 => "`target.base_url`, `target.model` and `target.endpoint`",
        _ => "what the endpoint says against `[workload]` and `[target]`",
    };
    RunError::Refused {
        endpoint: record.endpoint,
        status,
        said,
        check,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;
    use crate::record::{Class, Phase};

    #[test]
    fn an_arm_that_answers_nothing_has_no_load_to_wait_for() {
        let mut record = Record::new("t".into(), Phase::Preflight, Endpoint::OpenAi, Class::Chat);
        for (status, outcome, alone, in_turns) in [
            (Some(200), Outcome::Ok, true, true),
            (Some(503), Outcome::HttpError, true, false),
            (Some(429), Outcome::RateLimited, true, false),
            (None, Outcome::TimeoutTotal, true, false),
            (Some(401), Outcome::HttpError, false, false),
        ] {
            (record.status, record.outcome) = (status, outcome);
            let judged = [false, true].map(|turns| judge_preflight(&record, turns).is_ok());
            assert_eq!(judged, [alone, in_turns], "{status:?}");
        }
        (record.status, record.error) = (Some(503), Some("down".into()));
        let error = judge_preflight(&record, true)
            .expect_err("in turns")
            .to_string();
        assert!(
            error.contains("the preflight request to the openai endpoint"),
            "{error}"
        );
        assert!(error.contains("(down)"), "{error}");
    }
}
