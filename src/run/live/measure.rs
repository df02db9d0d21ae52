//! The load itself: preflight, worker, signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::{RunError, Tick};
use crate::billing::prices::PriceTable;
use crate::client::http::{HttpTransport, Options};
use crate::client::{Connects, Transport as _};
use crate::clock::{Clock, Start};
use crate::manifest::{ConnectTotals, Manifest};
use crate::plan::Plan;
use crate::record::{Outcome, Record};
use crate::run::Conduct;
use crate::run::shared::{Shared, Stop};
use crate::run::spend::Spend;
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
    pub start: Start,
    pub facts: Queue,
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
        let mut signals = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ];
        let clock = Clock::live(self.start)?;
        manifest.environment.precise_timer = clock.is_precise();
        let transport = HttpTransport::new(&self.options)?;
        let limit = self.scenario.pricing.budget.map(|(amount, _)| amount);
        // One account for the preflight and the load.
        let spend = Arc::new(Spend::new(self.prices.clone(), limit));

        // The preflight goes before the schedule, whose times are counted from its end.
        let shared = self.shared(plan, spend.clone());
        let preflight = Arc::new(self.worker(plan.clone(), shared.clone())(
            clock.clone(),
            transport.clone(),
        ));
        for &endpoint in &plan.endpoints {
            let mut sending = std::pin::pin!(preflight.clone().preflight(endpoint));
            let record = tokio::select! {
                record = &mut sending => record,
                () = any(&mut signals) => {
                    // What was sent may be billed: it is cut, and its row is kept.
                    manifest.interrupted = true;
                    shared.stop(Stop::Everything);
                    sending.await;
                    return Ok(false);
                }
            };
            judge_preflight(&record)?;
            if record.outcome != Outcome::Ok {
                let said = record.error.map(|e| format!(" ({e})")).unwrap_or_default();
                manifest.warnings.push(format!(
                    "the preflight request to the {endpoint} endpoint ended as {}{said}",
                    record.outcome
                ));
            }
        }
        let (worker, start) = self.ready_worker().await?;
        plan.begins = clock.now() + LEAD;
        let shared = self.shared(plan, spend);
        // A worker that is gone shows its error when it is joined.
        let _ = start.send(Box::new(self.worker(plan.clone(), shared.clone())));
        let connects = self
            .watch(worker, plan, &shared, &clock, &mut signals, manifest, watch)
            .await?;
        let of_preflight = transport.connects();
        manifest.connects = ConnectTotals {
            count: connects.begun + of_preflight.begun,
            sum_ns: connects.sum_ns + of_preflight.sum_ns,
            max_ns: None,
        };
        manifest.windows = shared.windows(clock.now());
        manifest.planned = shared.planned();
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
        Shared::new(
            &plan.endpoints,
            plan.schedule.max_in_flight,
            plan.window(),
            Some(spend),
            Box::new(self.facts.clone()),
        )
    }

    /// Makes a worker once its thread has a clock and a transport of its own.
    fn worker(
        &self,
        plan: Plan,
        shared: Arc<Shared>,
    ) -> impl FnOnce(Clock, HttpTransport) -> Conduct<HttpTransport> + Send + use<> {
        let surfaces = self.scenario.pricing.surfaces.clone();
        let timeouts = self.scenario.target.timeouts;
        let grace = self.scenario.grace;
        let secrets = self.secrets.clone();
        move |clock, transport| Conduct {
            plan,
            transport,
            clock,
            shared,
            surfaces,
            timeouts,
            grace,
            secrets,
        }
    }

    /// Starts a worker's thread and waits until its runtime, clock and client are there, so that
    /// the first request is as much on time as any other.
    async fn ready_worker(&self) -> Result<(Worker, oneshot::Sender<MakeConduct>), RunError> {
        let (ready, is_ready) = oneshot::channel();
        let (start, begin) = oneshot::channel();
        let (over, ended) = oneshot::channel();
        let (since, options) = (self.start, self.options.clone());
        let thread = std::thread::Builder::new()
            .name("worker-0".to_owned())
            .spawn(move || {
                let result = worker_thread(since, &options, ready, begin);
                // The main thread waits for this.
                let _ = over.send(());
                result
            })?;
        // If it could not get ready, `ended` says so next.
        let _ = is_ready.await;
        Ok((Worker { thread, ended }, start))
    }

    /// Watches the worker to its end.
    #[expect(
        clippy::too_many_arguments,
        reason = "the loop that holds everything together"
    )]
    async fn watch(
        &self,
        mut worker: Worker,
        plan: &Plan,
        shared: &Arc<Shared>,
        clock: &Clock,
        signals: &mut [Signal; 2],
        manifest: &mut Manifest,
        watch: &mut dyn FnMut(&Tick<'_>),
    ) -> Result<Connects, RunError> {
        let forecast = plan.forecast();
        let planned = forecast
            .measured_sessions
            .map(|n| n * plan.endpoints.len() as u64);
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                _ = &mut worker.ended => break,
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
            // A copy: a slow terminal must not hold up the workers.
            let progress = shared.progress().clone();
            watch(&Tick {
                elapsed: Duration::from_nanos(clock.now().nanos_since(plan.begins)),
                in_flight: shared.in_flight(),
                planned,
                duration: forecast.duration,
                progress: &progress,
                stopping: shared.stopped() > Stop::No,
            });
        }
        worker.thread.join().expect("a worker does not panic")
    }
}

/// Makes the conduct of a worker from its thread's clock and transport.
type MakeConduct = Box<dyn FnOnce(Clock, HttpTransport) -> Conduct<HttpTransport> + Send>;

/// A worker's thread.
struct Worker {
    thread: std::thread::JoinHandle<Result<Connects, RunError>>,
    ended: oneshot::Receiver<()>,
}

/// A worker: a runtime of one thread, a client and a clock of its own.
fn worker_thread(
    since: Start,
    options: &Options,
    ready: oneshot::Sender<()>,
    begin: oneshot::Receiver<MakeConduct>,
) -> Result<Connects, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let transport = HttpTransport::new(options)?;
        let clock = Clock::live(since)?;
        let _ = ready.send(());
        // Without a word to begin there is no load.
        let Ok(make) = begin.await else {
            return Ok(Connects::default());
        };
        let worker = Arc::new(make(clock, transport.clone()));
        let (over, pulse_ends) = oneshot::channel();
        let pulse = tokio::spawn(worker.clone().pulse(0, pulse_ends));
        worker.drive().await;
        drop(over);
        pulse.await.expect("the pulse does not panic");
        Ok(transport.connects())
    })
}

/// Waits for any of the signals.
async fn any(signals: &mut [Signal; 2]) {
    let [interrupt, terminate] = signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// A refusal that no load would change is an error of the target or the key.
fn judge_preflight(record: &Record) -> Result<(), RunError> {
    let Some(status @ 400..500) = record.status else {
        return Ok(());
    };
    let check = match status {
        // These may pass: a load is how one finds out.
        408 | 409 | 425 | 429 => return Ok(()),
        401 | 403 => "the key and `target.api_key_env`",
        402 => "the account's credit",
        404 | 405 => "`target.base_url`, `target.model` and `target.endpoint`",
        _ => "what the endpoint says against `[workload]` and `[target]`",
    };
    let said = record.error.as_deref().filter(|e| !e.is_empty());
    Err(RunError::Refused {
        endpoint: record.endpoint,
        status,
        said: said.map(|e| format!(" ({e})")).unwrap_or_default(),
        check,
    })
}
