//! The harness as a client: its scenario, its command line, and its facts.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde::Deserialize;

use crate::client::{Due, Quantiles, Request, Seen};
use crate::load::{Arrivals, INPUT_TOKENS, Load, MODEL};

/// The run's folder, inside the one of the measure.
const RUN: &str = "run";

/// Whether `run` takes a number of worker threads; on one core, one is enough.
static HAS_WORKERS: LazyLock<bool> = LazyLock::new(|| {
    let help = Command::new(env!("CARGO_BIN_EXE_weighbridge"))
        .args(["run", "--help"])
        .stdin(Stdio::null())
        .output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--workers"))
});

/// Writes the scenario of `load` into `folder`, makes room for the run, and returns the command line.
pub fn arguments(load: &Load, folder: &Path) -> anyhow::Result<Vec<String>> {
    let arrivals = match load.arrivals {
        Arrivals::Closed { users } => format!("arrivals = \"closed\"\nconcurrency = {users}\n"),
        Arrivals::Constant { interval } => format!(
            "arrivals = \"constant\"\nrate = {:?}\n",
            1.0 / interval.as_secs_f64()
        ),
    };
    let scenario = format!(
        r#"name = "bench"
[target]
base_url = "http://{address}"
endpoint = "openai"
model = "{MODEL}"
[workload]
input_tokens = {{ fixed = {INPUT_TOKENS} }}
output_tokens = {{ fixed = {events} }}
[load]
count = {requests}
max_in_flight = {requests}
{arrivals}"#,
        address = load.address,
        events = load.events,
        requests = load.requests,
    );
    let file = folder.join("scenario.toml");
    fs::write(&file, scenario)?;
    let out = folder.join(RUN);
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    let path = |path: &Path| {
        let text = path.to_str().context("a path that is no text");
        text.map(str::to_owned)
    };
    let mut arguments = ["run", &path(&file)?, "--quiet", "--out", &path(&out)?]
        .map(str::to_owned)
        .to_vec();
    if *HAS_WORKERS {
        arguments.extend(["--workers", "1"].map(str::to_owned));
    }
    Ok(arguments)
}

/// The columns of `requests.csv` that are held against the journal.
#[derive(Debug, Deserialize)]
struct Row {
    trace_id: String,
    phase: String,
    outcome: String,
    error: Option<String>,
    due_ns: Option<u64>,
    sent_ns: Option<u64>,
    first_token_ns: Option<u64>,
    token_events: u64,
}

/// What the run in `folder` saw; an error unless every request succeeded.
pub fn facts(folder: &Path, load: &Load) -> anyhow::Result<Seen> {
    let run = folder.join(RUN);
    let mut seen = Seen {
        gap_ns: gaps(&run.join("gaps.hlog"))?,
        ..Seen::default()
    };
    let mut rows = csv::Reader::from_path(run.join("requests.csv"))?;
    let mut requests = 0;
    for row in rows.deserialize() {
        let row: Row = row?;
        if row.phase != "measured" {
            continue;
        }
        anyhow::ensure!(
            row.outcome == "ok",
            "a request of the harness ended as {}: {}",
            row.outcome,
            row.error.unwrap_or_default()
        );
        requests += 1;
        seen.events += row.token_events;
        // In a closed loop only the number counts, and there may be a million.
        let (Arrivals::Constant { .. }, Some(sent), Some(first)) =
            (load.arrivals, row.sent_ns, row.first_token_ns)
        else {
            continue;
        };
        seen.requests.push(Request {
            nonce: row.trace_id,
            due: row.due_ns.map(|due| Due {
                at_ns: due,
                lag_ns: sent.saturating_sub(due),
            }),
            ttft_ns: first.saturating_sub(sent),
        });
    }
    anyhow::ensure!(
        requests == load.requests,
        "the harness made {requests} requests of {}",
        load.requests
    );
    Ok(seen)
}

/// Quantiles of all gaps, to the three digits of the log.
fn gaps(path: &Path) -> anyhow::Result<Option<Quantiles>> {
    let bytes = fs::read(path)?;
    let mut all = Histogram::<u64>::new(3)?;
    for entry in IntervalLogIterator::new(&bytes) {
        let entry = entry.map_err(|error| anyhow::anyhow!("{}: {error:?}", path.display()))?;
        if let LogEntry::Interval(interval) = entry {
            let encoded = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                interval.encoded_histogram(),
            )?;
            let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &encoded[..])?;
            all.add(histogram)?;
        }
    }
    let at = |quantile: f64| all.value_at_quantile(quantile) as f64;
    Ok((!all.is_empty()).then(|| Quantiles {
        p50: at(0.5),
        p99: at(0.99),
    }))
}
