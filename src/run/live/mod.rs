//! A real run: threads, sockets, signals and files around [`Conduct`](super::Conduct).
//!
//! Everything that can be wrong before the first request is found before it: the folder, the key,
//! the certificates, the file-descriptor limit, and, by one preflight request to each endpoint, the
//! key's validity, the model and the path.

mod late;
mod measure;
mod truth;
mod workers;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};

use super::progress::Progress;
use super::turns::Seat;
use crate::billing::budget::Budget;
use crate::client::http::{
    ClientError, Credentials, HttpTransport, Options, certificates, ensure_descriptors,
};
use crate::clock::{Clock, Start};
use crate::endpoint::Endpoint;
use crate::manifest::{ConnectTotals, Environment, Manifest};
use crate::money::Money;
use crate::offline::{self, OfflineUpstream};
use crate::plan::{Plan, Unpriced};
use crate::protocol;
use crate::record::{FACTS_SCHEMA, Outcome};
use crate::scenario::{HttpVersion, Scenario};
use crate::schedule::{Arrivals, Presence, Process, Profile, Replay, Stages, Users};
use crate::seed::{self, Wait};
use crate::slice::Slice;
use crate::store::{Inputs, RunFolder, StoreError};
use crate::time::Offset;

use measure::Measuring;

/// Descriptors beside the connections: files, timers, signals, the upstream's own.
const DESCRIPTORS_BESIDE: u64 = 64;

/// The run cannot begin, or its facts cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The environment variable with the key is not there.
    #[error(
        "the environment variable `{0}`, named by the scenario (`target.api_key_env` or `target.headers_env`), is not set; export it, or change the name"
    )]
    KeyMissing(String),
    /// The key has characters that no header can hold.
    #[error(
        "the key in `{0}` has characters that cannot be sent in a header; check it for line breaks and quotes"
    )]
    KeyInvalid(String),
    /// A budget, and something that the run would be billed for without a price.
    #[error("the budget needs a price of everything that the run is billed for: {}", all_of(.0))]
    Unpriced(Vec<Unpriced>),
    /// An endpoint refused the preflight request.
    #[error(
        "the {endpoint} endpoint refused the preflight request with status {status}{said}; check {check}"
    )]
    Refused {
        /// Which.
        endpoint: Endpoint,
        /// The status.
        status: u16,
        /// What it said, as a clause.
        said: String,
        /// What to check.
        check: &'static str,
    },
    /// A preflight request did not succeed, where two arms are compared.
    #[error(
        "the preflight request to the {endpoint} endpoint ended as {outcome}{said}, so there is nothing to compare; see that the target answers, and start again"
    )]
    PreflightFailed {
        /// Which.
        endpoint: Endpoint,
        /// How it ended.
        outcome: Outcome,
        /// What was said, as a clause.
        said: String,
    },
    /// What is wrong is wrong with one of two arms.
    #[error("{arm}: {error}")]
    OfArm {
        /// Which, and the options that it goes by.
        arm: &'static str,
        /// What.
        error: Box<RunError>,
    },
    /// A file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The system gives no thread, timer, signal or socket.
    #[error("the system refuses what a run needs: {0}")]
    System(#[from] std::io::Error),
    /// A bug.
    #[error("worker {0} panicked, which is a bug; what was measured until then is kept")]
    WorkerPanicked(u32),
    /// The arrivals hold no session.
    #[error(
        "the plan holds no session: raise `load.rate`, `load.duration` or `load.count`, or shorten `load.warmup` if it is longer than a replay"
    )]
    NothingPlanned,
}

/// What whoever watches is told.
#[derive(Debug)]
pub struct Tick<'a> {
    /// Since the load began.
    pub elapsed: Duration,
    /// Requests in flight.
    pub in_flight: u32,
    /// Measured requests that are planned, over all endpoints, if that is known.
    pub planned: Option<u64>,
    /// The arrivals' length, if it is known.
    pub duration: Option<Duration>,
    /// The numbers so far.
    pub progress: &'a Progress,
    /// What the run has cost so far by the price table; `None` where it is not known.
    pub spent: Option<Money>,
    /// The most that it may spend.
    pub limit: Option<Money>,
    /// Whether the run has been told to stop.
    pub stopping: bool,
}

/// How a run is done, whatever it does: the same plan comes of any of these.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Worker threads, at least one; by default one a core, and one less where the upstream needs
    /// a core too.
    pub workers: Option<u32>,
    /// Whether each event's stamp is kept, in `trace.csv`.
    pub trace: bool,
}

/// A run that can begin: its key is there, its plan is not empty, its sockets are allowed.
pub struct Ready<'a> {
    inputs: &'a Inputs,
    workers: u32,
    trace: bool,
    plan: Plan,
    secrets: Secrets,
    in_flight_max: u64,
    seat: Option<Seat>,
}

/// The plan of `inputs`, of a run that does not exist yet.
pub fn plan(inputs: &Inputs) -> Plan {
    let scenario = &inputs.scenario;
    Plan {
        run_id: random_id(),
        seed: scenario.seed,
        endpoints: scenario.target.endpoints.clone(),
        schedule: scenario.load.spec(inputs.replay.clone()),
        workload: scenario.workload.spec(inputs.given.clone()),
        dialect: scenario.target.dialect.clone(),
        slice: Slice::WHOLE,
        begins: Offset::ZERO,
    }
}

impl<'a> Ready<'a> {
    /// Checks what can be checked without a request or a file.
    pub fn new(inputs: &'a Inputs, how: How) -> Result<Self, RunError> {
        let secrets = Secrets::read(&inputs.scenario)?;
        if let Some(pem) = &inputs.ca_pem {
            certificates(pem)?;
        }
        let plan = plan(inputs);
        check_prices(inputs, &plan)?;
        let forecast = plan.forecast();
        if forecast.measured_sessions == Some(0) {
            return Err(RunError::NothingPlanned);
        }
        // A connection in flight and one that is drained; the embedded upstream holds the other end
        // of each, and its own to wiremock.
        let ends = if inputs.scenario.target.origin.is_some() {
            2
        } else {
            5
        };
        ensure_descriptors(forecast.in_flight_max * ends + DESCRIPTORS_BESIDE)?;
        Ok(Self {
            inputs,
            workers: workers(how.workers, inputs.scenario.target.origin.is_none(), &plan),
            trace: how.trace,
            plan,
            secrets,
            in_flight_max: forecast.in_flight_max,
            seat: None,
        })
    }

    /// Keeps the keys of `other` out of the facts and errors, too: a gateway quotes its upstream.
    pub(crate) fn keep_out(&mut self, other: &[String]) {
        let values = &mut self.secrets.values;
        values.extend_from_slice(other);
        // A key that begins another one would leave the rest of it.
        values.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
    }

    /// The keys and secret headers that the run sends.
    pub(crate) fn keys(&self) -> &[String] {
        &self.secrets.values
    }

    /// The run takes turns with another, which has the other seat and must run at the same time.
    #[must_use]
    pub fn in_turns(mut self, seat: Seat) -> Self {
        self.seat = Some(seat);
        self
    }

    /// Runs into `folder`; the facts are there when this returns, also after an error in the
    /// middle. `budget` is what all runs of a command may spend together. `watch` is told several
    /// times a second how it goes.
    pub fn run(
        self,
        folder: &RunFolder,
        budget: Option<Budget>,
        watch: &mut dyn FnMut(&Tick<'_>),
    ) -> Result<Manifest, RunError> {
        let Self {
            inputs,
            workers,
            trace,
            mut plan,
            secrets,
            in_flight_max,
            seat,
        } = self;
        let scenario = &inputs.scenario;
        let prices = Arc::new(inputs.prices.clone());
        let scenario_text = folder.write_inputs(inputs)?;
        let start = Start::now();
        let writer = folder.start_writer(SystemTime::from(start.utc()), trace)?;
        let upstream = upstream_of(inputs)?;
        let embedded = upstream.as_ref().map(|upstream| &upstream.origin);
        let origin = scenario
            .target
            .origin
            .as_ref()
            .or(embedded)
            .expect("one or the other")
            .clone();
        let mut headers = scenario.target.headers.clone();
        headers.extend(secrets.headers);
        let options = Options {
            origin,
            proxy: upstream.is_none(),
            http2: scenario.target.http == HttpVersion::Http2,
            ca_pem: inputs.ca_pem.clone(),
            headers,
            credentials: secrets.credentials,
            connect_timeout: scenario.target.timeouts.connect,
            connections: usize::try_from(in_flight_max).unwrap_or(usize::MAX),
            start,
        };
        let target = options.origin.clone();
        let truth = truth::source(inputs, upstream.as_ref());
        let mut manifest = manifest(inputs, &plan, start, &scenario_text);
        manifest.workers = workers;
        manifest.truth = truth.as_ref().map(|(name, _)| name.clone());
        folder.write_manifest(&manifest)?;
        if seat.is_some() {
            folder.write_blocks(&[])?;
        }

        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let truth_transport = HttpTransport::new(&options)?;
        let measuring = Measuring {
            scenario,
            options,
            secrets: secrets.values,
            prices,
            budget,
            start,
            workers,
            trace,
            facts: writer.queue(),
            seat: seat.clone(),
            failed: writer.failed(),
        };
        let measured = runtime.block_on(measuring.run(&mut plan, &mut manifest, watch));
        // The other arm must not wait for one that never began, or has failed.
        if let (Some(seat), Err(_) | Ok(false)) = (&seat, &measured) {
            seat.close();
        }
        // Whatever happened, what was measured goes to disk.
        let written = writer.finish();
        manifest.duration_ns = Some(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        if let (Ok(true), Ok(()), Some((name, source))) = (&measured, &written, &truth) {
            let fetched = runtime.block_on(truth::fetch(folder, &truth_transport, name, source));
            if let Err(error) = fetched {
                manifest.warnings.push(format!(
                    "the truth could not be read, so no token count is verified: {error}"
                ));
                manifest.truth_error = Some(error);
            }
        }
        if let (Ok(true), Ok(())) = (&measured, &written) {
            let clock = || Clock::live(start);
            let asking = late::Asking {
                inputs,
                folder,
                transport: &truth_transport,
                origin: &target,
            };
            asking.run(&runtime, clock, &mut manifest);
        }
        manifest.partial = !(matches!(measured, Ok(true)) && written.is_ok());
        let blocks = seat.map(|seat| folder.write_blocks(&seat.blocks()));
        let noted = folder.write_manifest(&manifest);
        written?;
        measured?;
        noted?;
        blocks.transpose()?;
        Ok(manifest)
    }
}

/// The embedded upstream, where nothing else is loaded.
fn upstream_of(inputs: &Inputs) -> Result<Option<OfflineUpstream>, RunError> {
    let target = &inputs.scenario.target;
    if target.origin.is_some() {
        return Ok(None);
    }
    let config = match &inputs.upstream {
        Some((config, _)) => (**config).clone(),
        None => offline::config(&target.offline, inputs.scenario.seed),
    };
    Ok(Some(OfflineUpstream::start(config)?))
}

/// How many worker threads `plan` is done by. A closed loop has work for no more than its users.
fn workers(asked: Option<u32>, embedded: bool, plan: &Plan) -> u32 {
    let workers = asked.unwrap_or_else(|| cpus() - u32::from(embedded));
    let useful = match &plan.schedule.arrivals {
        Arrivals::Closed(users) => users.concurrency,
        Arrivals::Open { .. } | Arrivals::Replay(_) => u32::MAX,
    };
    workers.clamp(1, useful)
}

/// Processors that this process may use.
fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

/// Under a budget, whatever the run is billed for needs a price on the day of the run.
pub fn check_prices(inputs: &Inputs, plan: &Plan) -> Result<(), RunError> {
    if inputs.scenario.pricing.budget.is_none() {
        return Ok(());
    }
    let today = Start::now().utc().to_zoned(jiff::tz::TimeZone::UTC).date();
    let unpriced = plan.unpriced(&inputs.prices, today);
    if unpriced.is_empty() {
        Ok(())
    } else {
        Err(RunError::Unpriced(unpriced))
    }
}

fn all_of(unpriced: &[Unpriced]) -> String {
    let texts: Vec<String> = unpriced.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// What comes from the environment and must not leave the process but in headers.
struct Secrets {
    /// The credential of each endpoint.
    credentials: Credentials,
    /// Further headers.
    headers: HeaderMap,
    /// The values themselves, to be taken out of what a gateway says.
    values: Vec<String>,
}

impl Secrets {
    /// Reads the variables that the scenario names.
    fn read(scenario: &Scenario) -> Result<Self, RunError> {
        let target = &scenario.target;
        let mut secrets = Self {
            credentials: Credentials::new(),
            headers: HeaderMap::new(),
            values: Vec::new(),
        };
        if let Some(variable) = &target.api_key_env {
            let key = read_variable(variable)?;
            for endpoint in &target.endpoints {
                let credential = protocol::credential(*endpoint, &key)
                    .map_err(|_| RunError::KeyInvalid(variable.clone()))?;
                secrets.credentials.insert(endpoint.path(), credential);
            }
            secrets.values.push(key);
        }
        for (name, variable) in &target.headers_env {
            let value = read_variable(variable)?;
            let mut header = HeaderValue::from_str(&value)
                .map_err(|_| RunError::KeyInvalid(variable.clone()))?;
            header.set_sensitive(true);
            secrets.headers.insert(name.clone(), header);
            secrets.values.push(value);
        }
        Ok(secrets)
    }
}

fn read_variable(name: &str) -> Result<String, RunError> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.ok_or_else(|| RunError::KeyMissing(name.to_owned()))
}

/// What the run says of itself before it has begun.
fn manifest(inputs: &Inputs, plan: &Plan, start: Start, scenario_text: &str) -> Manifest {
    let scenario = &inputs.scenario;
    Manifest {
        schema: FACTS_SCHEMA.to_owned(),
        id: plan.run_id.clone(),
        scenario: scenario.name.clone(),
        started_at: format!("{:.6}", start.utc()),
        duration_ns: None,
        seed: scenario.seed,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        target: scenario
            .target
            .origin
            .clone()
            .unwrap_or_else(|| "offline".to_owned()),
        endpoints: plan.endpoints.clone(),
        open_loop: plan.schedule.arrivals.is_open(),
        load: describe(plan),
        models: scenario.target.models.clone(),
        slice: (0, 1),
        workers: 1,
        config_sha256: seed::sha256_hex(scenario_text.as_bytes()),
        prices_sha256: inputs.prices.sha256(),
        windows: BTreeMap::new(),
        planned: BTreeMap::new(),
        budget_waits: 0,
        truth_error: None,
        truth: None,
        interrupted: false,
        partial: true,
        warnings: Vec::new(),
        environment: Environment {
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cpus: cpus(),
            precise_timer: true,
        },
        connects: ConnectTotals::default(),
    }
}

/// 16 hex digits from the operating system's chance: nonces must differ between runs of one seed.
fn random_id() -> String {
    let chance = std::hash::RandomState::new().build_hasher().finish();
    format!("{chance:016x}")
}

/// The load in words.
pub fn describe(plan: &Plan) -> String {
    let spec = &plan.schedule;
    let arrivals = match &spec.arrivals {
        Arrivals::Closed(users) => format!("closed loop, {}", users_in_words(users)),
        Arrivals::Open { process, profile } => {
            let process = match process {
                Process::Constant => "constant".to_owned(),
                Process::Poisson => "Poisson".to_owned(),
                Process::Gamma(burstiness) => format!("gamma ({})", burstiness.shape()),
            };
            format!("open loop, {process} {}", profile_in_words(profile))
        }
        Arrivals::Replay(replay) => format!("open loop, {}", replay_in_words(replay)),
    };
    let unit = match plan.workload.turns_max() {
        0 | 1 => "requests".to_owned(),
        turns => format!("sessions of up to {turns} turns"),
    };
    let count = spec.count.map(|n| format!(", {n} {unit}"));
    let unit = if spec.count.is_none() && plan.workload.turns_max() > 1 {
        format!(", {unit}")
    } else {
        String::new()
    };
    let duration = spec
        .duration
        .map(|d| format!(", {}", humantime::format_duration(d)));
    let each = if plan.endpoints.len() > 1 {
        " per endpoint"
    } else {
        ""
    };
    format!(
        "{arrivals}{}{unit}{}{each}",
        count.unwrap_or_default(),
        duration.unwrap_or_default()
    )
}

fn users_in_words(users: &Users) -> String {
    let time = humantime::format_duration;
    let think_time = match users.think_time {
        Wait::Fixed(Duration::ZERO) => String::new(),
        Wait::Fixed(fixed) => format!(" who think for {}", time(fixed)),
        Wait::Uniform { min, max } => {
            format!(" who think for {} to {}", time(min), time(max))
        }
        Wait::Exponential { mean } => format!(" who think for {} on average", time(mean)),
        Wait::Lognormal { median, .. } => {
            format!(" who think for {} at the median", time(median))
        }
    };
    match &users.presence {
        Presence::Stay {
            stagger: Duration::ZERO,
        } => format!("{} users{think_time}", users.concurrency),
        Presence::Stay { stagger } => {
            let begin = time(*stagger);
            format!(
                "{} users{think_time} and begin within {begin}",
                users.concurrency
            )
        }
        Presence::Staged(stages) => {
            let users = stages_in_words(stages, " users");
            format!("{users}{think_time}")
        }
    }
}

fn profile_in_words(profile: &Profile) -> String {
    match profile {
        Profile::Flat { rate } => format!("{rate}/s"),
        Profile::Staged(stages) => stages_in_words(stages, "/s"),
    }
}

fn stages_in_words(stages: &Stages, unit: &str) -> String {
    let ends = stages.iter().flat_map(|stage| [stage.from, stage.to]);
    let (low, high) = (ends.fold(f64::INFINITY, f64::min), stages.highest());
    match stages.iter().count() {
        1 => format!("{} to {}{unit}", stages.first(), stages.last()),
        n => format!("{low} to {high}{unit} ({n} stages)"),
    }
}

fn replay_in_words(replay: &Replay) -> String {
    let arrivals = replay.len();
    let speed = match replay.speed() {
        1.0 => String::new(),
        speed => format!(" at {speed} times its speed"),
    };
    format!("replay of {arrivals} due times{speed}")
}
