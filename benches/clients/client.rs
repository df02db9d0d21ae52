//! The clients, and how one runs as a process of its own.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use precise_timer::Timer;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::answer::Answer;
use crate::load::{Arrivals, Load, nonce};
use crate::process::{self, Part, Used};
use crate::raw_loop::RawLoop;
use crate::reqwest_loop::ReqwestLoop;
use crate::{program, table};

/// The core of every client.
pub const CORE: usize = 1;

/// Between a bare client's start and its first request.
const LEAD: Duration = Duration::from_millis(20);

/// What puts a load on the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Client {
    /// The harness, from its command line to its report.
    Weighbridge,
    /// A loop around reqwest that counts events and stamps them.
    Reqwest,
    /// The same over TCP without an HTTP library.
    Raw,
    /// The same, woken by the runtime's own timer.
    RawCoarse,
}

impl Client {
    /// Those that are compared in most measures.
    pub const ALL: [Self; 3] = [Self::Weighbridge, Self::Reqwest, Self::Raw];

    /// Its name in options and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weighbridge => "weighbridge",
            Self::Reqwest => "reqwest",
            Self::Raw => "raw",
            Self::RawCoarse => "raw, tokio timer",
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Client {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|client| client.name() == text)
            .ok_or_else(|| format!("expected {}", table::list(&Self::ALL)))
    }
}

/// What a part of the bench has to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    /// Where it runs.
    pub core: usize,
    /// The bare client and its load; without one, the part is the harness's own program with the process's arguments.
    pub bare: Option<(Client, Load)>,
    /// Where it reports what it used and, of a bare client, what it saw.
    pub report: Option<PathBuf>,
}

/// What a client says at its end.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The whole process, up to here.
    pub used: Used,
    /// What it saw, if it is a bare one; the harness's are its facts.
    pub seen: Option<Seen>,
}

/// What a client saw.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Content events of all answers.
    pub events: u64,
    /// The requests, in no order.
    pub requests: Vec<Request>,
    /// Quantiles of the times between content events.
    pub gap_ns: Option<Quantiles>,
}

/// One request and its answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Its name in the journal.
    pub nonce: String,
    /// When it was to be sent; absent in a closed loop.
    pub due: Option<Due>,
    /// From sending to the first content.
    pub ttft_ns: u64,
}

/// When a request of an open loop was to be sent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Due {
    /// The moment, on a clock of the client's.
    pub at_ns: u64,
    /// By how much later it was sent.
    pub lag_ns: u64,
}

/// The middle and the end of a distribution.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

impl Quantiles {
    /// Of all `values`, by sorting; none of none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let at = |per_cent: usize| {
            let rank = (values.len() * per_cent).div_ceil(100).max(1);
            values.get(rank - 1).copied()
        };
        Some(Self {
            p50: at(50)?,
            p99: at(99)?,
        })
    }
}

/// Does the job of this process.
pub fn work(job: Job) -> ExitCode {
    let Some((client, load)) = job.bare else {
        let code = weighbridge::cli::main();
        return match job.report.map_or(Ok(()), |path| report(&path, None)) {
            Ok(()) => code,
            Err(error) => failed(&error),
        };
    };
    let path = job.report.expect("a bare client has somewhere to report");
    match bare(client, &load).and_then(|seen| report(&path, Some(seen))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// Reports what was used before the report itself is written.
fn report(path: &Path, seen: Option<Stamps>) -> anyhow::Result<()> {
    let used = process::used()?;
    let report = Report {
        used,
        seen: seen.map(Stamps::seen),
    };
    Ok(std::fs::write(path, serde_json::to_vec(&report)?)?)
}

/// Runs `client` under `load` in `folder` and returns what it used and saw.
pub fn measure(
    client: Client,
    load: &Load,
    folder: &Path,
    limit: Duration,
) -> anyhow::Result<(Used, Seen)> {
    let report = folder.join("report.json");
    let stderr = folder.join("stderr.txt");
    let mut job = Job {
        core: CORE,
        bare: None,
        report: Some(report.clone()),
    };
    let mut arguments = Vec::new();
    if client == Client::Weighbridge {
        arguments = program::arguments(load, folder)?;
    } else {
        job.bare = Some((client, load.clone()));
    }
    let mut part = Part::start(&job, &arguments, Stdio::null(), &stderr)?;
    let status = part.wait(limit)?;
    let text = std::fs::read(&report).with_context(|| {
        format!(
            "{client} ended with {status}: {}",
            process::last_words(&stderr)
        )
    })?;
    let report: Report = serde_json::from_slice(&text)?;
    let seen = match report.seen {
        Some(seen) => seen,
        None => program::facts(folder, load)?,
    };
    anyhow::ensure!(
        seen.events == load.requests * load.events,
        "{client} saw {} events of {}",
        seen.events,
        load.requests * load.events
    );
    Ok((report.used, seen))
}

/// A bare client: sends one request and reads its answer to the end.
pub trait Bare: Clone + Send + Sync + 'static {
    /// Sends request `number`, at the first poll, and follows its answer.
    fn ask(&self, number: u64) -> impl Future<Output = io::Result<Answer>> + Send;
}

/// The stamps of a bare client as it goes.
#[derive(Debug, Default)]
struct Stamps {
    /// Each request's number, and its time to the first content.
    requests: Vec<(u64, Option<Due>, u64)>,
    events: u64,
    gaps_ns: Vec<u32>,
}

impl Stamps {
    fn take(&mut self, number: u64, due: Option<Due>, answer: &Answer) {
        self.requests.push((number, due, answer.ttft_ns));
        self.events += answer.events;
        self.gaps_ns.extend_from_slice(&answer.gaps_ns);
    }

    fn seen(self) -> Seen {
        let request = |(number, due, ttft_ns)| Request {
            nonce: nonce(number),
            due,
            ttft_ns,
        };
        Seen {
            events: self.events,
            requests: self.requests.into_iter().map(request).collect(),
            gap_ns: Quantiles::of(self.gaps_ns.into_iter().map(f64::from).collect()),
        }
    }
}

fn bare(client: Client, load: &Load) -> anyhow::Result<Stamps> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let timer = match client {
            Client::RawCoarse => Timer::portable(),
            Client::Weighbridge | Client::Reqwest | Client::Raw => Timer::new()?,
        };
        let stamps = match client {
            Client::Reqwest => drive(ReqwestLoop::new(load)?, load, &timer).await?,
            Client::Raw | Client::RawCoarse => drive(RawLoop::new(load), load, &timer).await?,
            Client::Weighbridge => unreachable!("the harness is no bare client"),
        };
        Ok(stamps)
    })
}

async fn drive<B: Bare>(client: B, load: &Load, timer: &Timer) -> anyhow::Result<Stamps> {
    match load.arrivals {
        Arrivals::Closed { users } => closed_loop(&client, users, load.requests).await,
        Arrivals::Constant { interval } => open_loop(&client, interval, load.requests, timer).await,
    }
}

async fn closed_loop<B: Bare>(client: &B, users: u32, requests: u64) -> anyhow::Result<Stamps> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..users {
        let (client, next) = (client.clone(), next.clone());
        tasks.spawn(async move {
            let mut stamps = Stamps::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return io::Result::Ok(stamps);
                }
                stamps.take(number, None, &client.ask(number).await?);
            }
        });
    }
    let mut all = Stamps::default();
    while let Some(stamps) = tasks.join_next().await {
        let stamps = stamps??;
        all.requests.extend(stamps.requests);
        all.events += stamps.events;
        all.gaps_ns.extend(stamps.gaps_ns);
    }
    Ok(all)
}

async fn open_loop<B: Bare>(
    client: &B,
    interval: Duration,
    requests: u64,
    timer: &Timer,
) -> anyhow::Result<Stamps> {
    let begin = Instant::now() + LEAD;
    let mut tasks = JoinSet::new();
    let mut all = Stamps::default();
    for number in 0..requests {
        let offset = interval.mul_f64(number as f64);
        let due = begin + offset;
        timer.sleep_until(due).await;
        let client = client.clone();
        tasks.spawn(async move {
            let due = Due {
                at_ns: nanos(offset),
                lag_ns: nanos(due.elapsed()),
            };
            let answer = client.ask(number).await?;
            io::Result::Ok((number, due, answer))
        });
        // What is over is taken in on the way, so that memory holds the open streams alone.
        while let Some(ended) = tasks.try_join_next() {
            let (number, due, answer) = ended??;
            all.take(number, Some(due), &answer);
        }
    }
    while let Some(ended) = tasks.join_next().await {
        let (number, due, answer) = ended??;
        all.take(number, Some(due), &answer);
    }
    Ok(all)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
