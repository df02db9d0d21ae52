//! The measures: which load, and what of it is printed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::Options;
use crate::client::{self, Client, Quantiles, Seen};
use crate::journal::{self, Errors};
use crate::load::{Arrivals, Load};
use crate::machine::{self, Cores};
use crate::process::Used;
use crate::table::{difference, list, number, print};
use crate::upstream::{Pace, Upstream};

/// One run of a client takes no longer, except the million.
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// Nor does a million requests.
const MILLION_LIMIT: Duration = Duration::from_secs(3600);

/// Connections are opened for so many times an answer's length: then the first are free again.
const OPENING: f64 = 1.05;

/// A load and what is looked at.
#[derive(Debug)]
pub struct Measure {
    name: &'static str,
    about: &'static str,
    pace: Pace,
    arrivals: Arrivals,
    requests: u64,
    events: u64,
    kind: Kind,
}

/// What is printed of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// CPU per request.
    Burst,
    /// CPU per event, and how far the times are from the truth.
    Paced,
    /// How late requests leave.
    Lag,
    /// Memory per stream.
    Memory,
    /// Memory after a long run.
    Million,
}

const fn constant(interval_us: u64) -> Arrivals {
    Arrivals::Constant {
        interval: Duration::from_micros(interval_us),
    }
}

const fn pace(ttft_ms: u32, gap_ms: u32) -> Pace {
    Pace {
        ttft_ms,
        gap_ms,
        frame_times: gap_ms > 0,
    }
}

const BURST: Arrivals = Arrivals::Closed { users: 64 };

/// Answers of paced measures take about two seconds, and as many requests are sent meanwhile as there shall be streams;
/// twice that many altogether, so that the second half finds its connections open. The intervals are no simple
/// fractions of the gaps, so the streams' events spread evenly in time instead of coming in step.
const MEASURES: [Measure; 8] = [
    Measure {
        name: "burst",
        about: "8,000 answers of 64 events as fast as they come, 64 connections",
        pace: pace(0, 0),
        arrivals: BURST,
        requests: 8_000,
        events: 64,
        kind: Kind::Burst,
    },
    Measure {
        name: "paced-100",
        about: "100 streams of 100 events/s",
        pace: pace(50, 10),
        arrivals: constant(20_618),
        requests: 200,
        events: 200,
        kind: Kind::Paced,
    },
    Measure {
        name: "paced-1000",
        about: "1,000 streams of 100 events/s",
        pace: pace(50, 10),
        arrivals: constant(2_062),
        requests: 2_000,
        events: 200,
        kind: Kind::Paced,
    },
    Measure {
        name: "paced-4000",
        about: "4,000 streams of 20 events/s",
        pace: pace(50, 50),
        arrivals: constant(511),
        requests: 8_000,
        events: 40,
        kind: Kind::Paced,
    },
    Measure {
        name: "lag-100",
        about: "100 requests/s, short answers",
        pace: pace(0, 0),
        arrivals: constant(10_000),
        requests: 400,
        events: 8,
        kind: Kind::Lag,
    },
    Measure {
        name: "lag-1000",
        about: "1,000 requests/s, short answers",
        pace: pace(0, 0),
        arrivals: constant(1_000),
        requests: 4_000,
        events: 8,
        kind: Kind::Lag,
    },
    Measure {
        name: "memory-1000",
        about: "1,000 streams of 10 events/s, open at once",
        pace: pace(50, 100),
        arrivals: constant(1_618),
        requests: 1_000,
        events: 40,
        kind: Kind::Memory,
    },
    Measure {
        name: "memory-8000",
        about: "8,000 streams of 10 events/s, open at once",
        pace: pace(50, 100),
        arrivals: constant(411),
        requests: 8_000,
        events: 50,
        kind: Kind::Memory,
    },
];

const MILLION: Measure = Measure {
    name: "million",
    about: "a million answers of 64 events as fast as they come, 64 connections",
    pace: pace(0, 0),
    arrivals: BURST,
    requests: 1_000_000,
    events: 64,
    kind: Kind::Million,
};

/// The measures that `names` mean, in full or by a part, or all; the million only if asked for.
pub fn chosen(names: &[String], million: bool) -> anyhow::Result<Vec<Measure>> {
    let mut all: Vec<Measure> = MEASURES.into_iter().collect();
    let known: Vec<&str> = all.iter().map(|measure| measure.name).collect();
    for name in names {
        anyhow::ensure!(
            known.iter().any(|known| known.contains(name.as_str())),
            "no measure is called `{name}`; there are {}",
            list(&known)
        );
    }
    // A name in full is that measure alone: `paced-100` is not `paced-1000` as well.
    let means = |name: &String, measure: &Measure| {
        if known.contains(&name.as_str()) {
            measure.name == name
        } else {
            measure.name.contains(name.as_str())
        }
    };
    let wanted = |measure: &Measure| names.iter().any(|name| means(name, measure));
    // The million alone, if nothing else was named beside it.
    all.retain(|measure| wanted(measure) || (names.is_empty() && !million));
    if million {
        all.push(MILLION);
    }
    Ok(all)
}

/// One run of one client.
#[derive(Debug)]
struct Run {
    used: Used,
    /// CPU of the upstream meanwhile, and the time that it took.
    upstream_cpu_s: f64,
    wall_s: f64,
    /// The share of both cores that others used.
    others: f64,
    lag_ms: Option<Quantiles>,
    errors: Option<Errors>,
}

/// A number of a run; none if it was not measured.
type Value<'a> = &'a dyn Fn(&Run) -> Option<f64>;

/// The median over the runs of a client of what `value` takes from each; none if any has none.
fn median(runs: &[Run], value: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
    let mut values = runs.iter().map(value).collect::<Option<Vec<f64>>>()?;
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        let below = middle.checked_sub(1)?;
        return Some(f64::midpoint(values[below], values[middle]));
    }
    values.get(middle).copied()
}

/// The runs of each client.
type Runs = BTreeMap<Client, Vec<Run>>;

/// A client's value over that of another; absent for itself.
fn ratio(value: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(value? / other?)
}

/// Everything that the measures share.
#[derive(Debug)]
pub struct Bench {
    folder: tempfile::TempDir,
    reps: u32,
    clients: Vec<Client>,
    /// Memory of each client after one request, in KiB.
    empty_kib: RefCell<BTreeMap<Client, f64>>,
}

impl Bench {
    /// With a folder for its files.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let mut clients = options.clients.clone();
        clients.sort_unstable();
        clients.dedup();
        Ok(Self {
            folder: tempfile::tempdir().context("no folder for the bench's files")?,
            reps: if options.quick { 1 } else { options.reps },
            clients,
            empty_kib: RefCell::default(),
        })
    }

    /// What each client takes for a single request: the part of every other number that does not grow with the load.
    pub fn start_up(&self) -> anyhow::Result<()> {
        let measure = Measure {
            name: "start",
            about: "one request",
            pace: Pace::default(),
            arrivals: Arrivals::Closed { users: 1 },
            requests: 1,
            events: 1,
            kind: Kind::Burst,
        };
        let runs = self.runs(&measure, &self.clients)?;
        let mut rows = Vec::new();
        for (client, runs) in &runs {
            let cpu_ms = median(runs, |run| Some(run.used.cpu_s * 1e3));
            let memory = median(runs, |run| Some(run.used.memory_kib as f64));
            if let Some(kib) = memory {
                self.empty_kib.borrow_mut().insert(*client, kib);
            }
            rows.push(vec![
                client.to_string(),
                number(cpu_ms, 1),
                number(memory.map(|kib| kib / 1024.0), 1),
            ]);
        }
        print(&measure.title(), &["client", "CPU ms", "peak MiB"], &rows);
        Ok(())
    }

    /// Takes a measure and prints it.
    pub fn take(&self, measure: &Measure) -> anyhow::Result<()> {
        let mut clients = self.clients.clone();
        match measure.kind {
            Kind::Lag => clients.push(Client::RawCoarse),
            Kind::Million => clients.retain(|client| *client == Client::Weighbridge),
            Kind::Burst | Kind::Paced | Kind::Memory => {}
        }
        if measure.kind == Kind::Million {
            return self.million(measure);
        }
        let runs = self
            .runs(measure, &clients)
            .with_context(|| format!("failed to measure {}", measure.name))?;
        match measure.kind {
            Kind::Burst | Kind::Million => print_burst(measure, &runs),
            Kind::Paced => print_paced(measure, &runs),
            Kind::Lag => print_lag(measure, &runs),
            Kind::Memory => self.print_memory(measure, &runs),
        }
        say_who_else(&runs);
        Ok(())
    }

    /// Runs the clients in turn, each as often as asked for.
    fn runs(&self, measure: &Measure, clients: &[Client]) -> anyhow::Result<Runs> {
        let upstream = Upstream::start(measure.pace, self.folder.path())?;
        let load = measure.load(&upstream);
        let mut runs = Runs::new();
        for _ in 0..self.reps {
            for client in clients {
                let run = run(measure, &upstream, *client, &load, self.folder.path())?;
                runs.entry(*client).or_default().push(run);
            }
        }
        Ok(runs)
    }

    /// The harness alone: the bare clients would only keep the upstream busy for longer.
    fn million(&self, measure: &Measure) -> anyhow::Result<()> {
        let folder = self.folder.path();
        let upstream = Upstream::start(measure.pace, folder)?;
        let load = measure.load(&upstream);
        let (used, _) = client::measure(Client::Weighbridge, &load, folder, MILLION_LIMIT)?;
        let of_upstream = upstream.used()?;
        let row = |name: &str, used: Used| {
            vec![
                name.to_owned(),
                number(Some(used.memory_kib as f64 / 1024.0), 1),
                number(Some(used.cpu_s / measure.requests as f64 * 1e3), 4),
            ]
        };
        print(
            &measure.title(),
            &["process", "peak MiB", "CPU s / 1,000 requests"],
            &[row("weighbridge", used), row("upstream", of_upstream)],
        );
        Ok(())
    }

    fn print_memory(&self, measure: &Measure, runs: &Runs) {
        let rows = runs.iter().map(|(client, runs)| {
            let peak = median(runs, |run| Some(run.used.memory_kib as f64));
            let empty = self.empty_kib.borrow().get(client).copied();
            let more = peak.zip(empty).map(|(peak, empty)| peak - empty);
            vec![
                client.to_string(),
                number(peak.map(|kib| kib / 1024.0), 1),
                number(more.map(|kib| kib / 1024.0), 1),
                number(more.map(|kib| kib / measure.requests as f64), 1),
            ]
        });
        let headings = ["client", "peak MiB", "above one request", "KiB a stream"];
        print(&measure.title(), &headings, &rows.collect::<Vec<_>>());
    }
}

impl Measure {
    fn title(&self) -> String {
        format!("{}: {}", self.name, self.about)
    }

    fn load(&self, upstream: &Upstream) -> Load {
        Load {
            address: upstream.address.clone(),
            arrivals: self.arrivals,
            requests: self.requests,
            events: self.events,
        }
    }

    fn gap(&self) -> Duration {
        Duration::from_millis(self.pace.gap_ms.into())
    }

    /// How long an answer takes.
    fn answer(&self) -> Duration {
        let gaps = u32::try_from(self.events).expect("few") - 1;
        Duration::from_millis(self.pace.ttft_ms.into()) + self.gap() * gaps
    }
}

fn run(
    measure: &Measure,
    upstream: &Upstream,
    client: Client,
    load: &Load,
    folder: &Path,
) -> anyhow::Result<Run> {
    upstream.reset()?;
    let (cores, before, begun) = (Cores::now()?, upstream.used()?, Instant::now());
    let (used, seen) = client::measure(client, load, folder, RUN_LIMIT)?;
    let (after, wall_s) = (upstream.used()?, begun.elapsed().as_secs_f64());
    let upstream_cpu_s = after.cpu_s - before.cpu_s;
    let others = Cores::now()?.others_since(cores, used.cpu_s + upstream_cpu_s, wall_s);
    let errors = (measure.kind == Kind::Paced).then(|| {
        let from = measure.answer().mul_f64(OPENING);
        journal::errors(upstream, &seen, measure.events, measure.gap(), from)
    });
    Ok(Run {
        used,
        upstream_cpu_s,
        wall_s,
        others,
        lag_ms: lag(&seen),
        errors: errors.transpose()?,
    })
}

/// Says how busy the machine was otherwise.
fn say_who_else(runs: &Runs) {
    let worst = runs
        .iter()
        .filter_map(|(client, runs)| Some((median(runs, |run| Some(run.others))?, client)))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let Some((others, client)) = worst else {
        return;
    };
    let warning = if others > machine::OTHERS_MAX {
        ": THE MACHINE WAS BUSY, the numbers are not to be trusted"
    } else {
        ""
    };
    println!(
        "\nOthers used up to {:.0} % of the two cores (beside {client}){warning}.",
        others * 100.0
    );
}

fn lag(seen: &Seen) -> Option<Quantiles> {
    let lags = seen.requests.iter().filter_map(|request| request.due);
    Quantiles::of(lags.map(|due| due.lag_ns as f64 / 1e6).collect())
}

fn print_burst(measure: &Measure, runs: &Runs) {
    let thousands = measure.requests as f64 / 1e3;
    let cpu = |client: Client| {
        let runs = runs.get(&client)?;
        median(runs, |run| Some(run.used.cpu_s / thousands))
    };
    let rows = runs.iter().map(|(client, runs)| {
        let own = cpu(*client);
        let upstream = median(runs, |run| Some(run.upstream_cpu_s / thousands));
        vec![
            client.to_string(),
            number(own, 4),
            number(ratio(own, cpu(Client::Reqwest)), 2),
            number(ratio(own, cpu(Client::Raw)), 2),
            number(upstream, 4),
        ]
    });
    let headings = [
        "client",
        "CPU s / 1,000 requests",
        "x reqwest",
        "x raw",
        "upstream's CPU s",
    ];
    print(&measure.title(), &headings, &rows.collect::<Vec<_>>());
}

fn print_paced(measure: &Measure, runs: &Runs) {
    let events = (measure.requests * measure.events) as f64 / 1e5;
    let of = |client: Client, value: Value<'_>| median(runs.get(&client)?, value);
    let cpu = |run: &Run| Some(run.used.cpu_s / events);
    let rows = runs.keys().map(|client| {
        let own = of(*client, &cpu);
        let mut row = vec![
            client.to_string(),
            number(own, 3),
            number(ratio(own, of(Client::Reqwest, &cpu)), 2),
            number(ratio(own, of(Client::Raw, &cpu)), 2),
        ];
        let errors: [Value<'_>; 4] = [
            &|run| Some(run.errors?.ttft_ms.p50),
            &|run| Some(run.errors?.ttft_ms.p99),
            &|run| Some(run.errors?.gap_ms.p50),
            &|run| Some(run.errors?.gap_ms.p99),
        ];
        for error in errors {
            let own = of(*client, error);
            let raw = of(Client::Raw, error);
            row.push(difference(own, 3));
            row.push(difference(own.zip(raw).map(|(own, raw)| own - raw), 3));
        }
        row.push(number(
            of(*client, &|run| run.errors?.upstream_late_ms_p99),
            3,
        ));
        row.push(number(
            of(*client, &|run| {
                Some(run.upstream_cpu_s / run.wall_s * 100.0)
            }),
            0,
        ));
        row
    });
    let headings = [
        "client",
        "CPU s / 100k events",
        "x reqwest",
        "x raw",
        "ttft error p50, ms",
        "- raw",
        "p99",
        "- raw",
        "gap error p50, ms",
        "- raw",
        "p99",
        "- raw",
        "upstream late p99, ms",
        "its CPU, %",
    ];
    print(&measure.title(), &headings, &rows.collect::<Vec<_>>());
}

fn print_lag(measure: &Measure, runs: &Runs) {
    let rows = runs.iter().map(|(client, runs)| {
        let lag = |value: fn(Quantiles) -> f64| median(runs, |run| run.lag_ms.map(value));
        vec![
            client.to_string(),
            number(lag(|lag| lag.p50), 3),
            number(lag(|lag| lag.p99), 3),
            number(median(runs, |run| Some(run.used.cpu_s)), 3),
        ]
    });
    let headings = ["client", "lag p50, ms", "p99", "CPU s"];
    print(&measure.title(), &headings, &rows.collect::<Vec<_>>());
}
