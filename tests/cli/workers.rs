//! `--workers` and `--trace`: how a run is done, whatever it does.

use std::collections::BTreeSet;
use std::path::Path;

use crate::facts::{add_up, measured, rows};
use crate::program::{OFFLINE, Sandbox};

/// An open loop of single turns, on the embedded upstream.
const OPEN: &str = r#"name = "open"
gates = ["error_rate == 0%"]

[target]
endpoint = "both"
model = "magistral-small-latest"

[workload]
input_tokens = { uniform = { min = 40, max = 90 } }
output_tokens = { uniform = { min = 2, max = 6 } }
tools_share = 0.3

[load]
arrivals = "poisson"
rate = 200.0
count = 60
seed = 7
"#;

/// What is planned of each request: when it is due, counted from the first, and what it asks.
fn plan(folder: &Path) -> BTreeSet<Vec<String>> {
    let rows = measured(folder);
    let due = |text: &str| text.parse::<u64>().expect("ns");
    let first = rows.iter().map(|r| due(&r["due_ns"])).min().expect("rows");
    let asked = [
        "session",
        "endpoint",
        "class",
        "requested_model",
        "planned_input",
        "output_limit",
    ];
    rows.iter()
        .map(|row| {
            let mut cells = vec![(due(&row["due_ns"]) - first).to_string()];
            cells.extend(asked.map(|column| row[column].clone()));
            cells
        })
        .collect()
}

#[test]
fn any_number_of_workers_sends_the_same_requests_at_the_same_times() {
    let sandbox = Sandbox::new();
    sandbox.write("open.toml", &format!("{OPEN}{OFFLINE}"));
    let [one, two] = ["1", "2"].map(|workers| {
        let folder = sandbox.path(workers);
        // Whether a machine that runs many tests at once measures well is not the matter here.
        sandbox.weighbridge(["run", "open.toml", "--workers", workers, "--out", workers]);
        add_up(&folder);
        let health = rows(&folder.join("health.csv"));
        let numbers: BTreeSet<_> = health.iter().map(|row| row["worker"].clone()).collect();
        assert_eq!(numbers.len().to_string(), workers);
        plan(&folder)
    });
    assert_eq!(one.len(), 120);
    assert_eq!(one, two);
}

#[test]
fn a_closed_loop_has_no_more_workers_than_users() {
    let sandbox = Sandbox::new();
    sandbox
        .weighbridge(["run", "quick.toml", "--workers", "9", "--out", "out"])
        .exits(0);
    let manifest = std::fs::read_to_string(sandbox.path("out").join("run.json")).expect("run.json");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(manifest["workers"], 2, "its concurrency");
}

#[test]
fn zero_workers_are_refused() {
    Sandbox::new()
        .weighbridge(["run", "quick.toml", "--workers", "0"])
        .exits(2);
}

#[test]
fn a_trace_has_a_row_for_each_event() {
    let sandbox = Sandbox::new();
    sandbox
        .weighbridge(["run", "quick.toml", "--trace", "--out", "out"])
        .exits(0);
    let folder = sandbox.path("out");
    let requests = rows(&folder.join("requests.csv"));
    let trace = rows(&folder.join("trace.csv"));
    for request in &requests {
        let mine: Vec<_> = trace
            .iter()
            .filter(|row| row["trace_id"] == request["trace_id"])
            .collect();
        assert_eq!(mine.len().to_string(), request["events"]);
        let tokens = |row: &&&crate::facts::Row| row["classes"] != "N";
        assert_eq!(
            mine.iter().filter(tokens).count().to_string(),
            request["token_events"]
        );
        let first = mine.iter().find(tokens).map(|row| row["at_ns"].clone());
        assert_eq!(first.as_ref(), Some(&request["first_token_ns"]));
    }
    assert!(!sandbox.path("without").exists());
    sandbox
        .weighbridge(["run", "quick.toml", "--out", "without"])
        .exits(0);
    assert!(!sandbox.path("without").join("trace.csv").exists());
}
