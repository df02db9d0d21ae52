//! Reads a run folder with nothing but CSV and JSON, and holds what must be true of every run.

use std::collections::BTreeMap;
use std::path::Path;

use rust_decimal::Decimal;
use serde_json::Value;

pub const ENDPOINTS: [&str; 2] = ["openai", "anthropic"];

/// A row by its column's name.
pub type Row = BTreeMap<String, String>;

/// `report.json`.
pub fn report(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("report.json")).expect("report.json");
    serde_json::from_str(&text).expect("report.json is JSON")
}

/// Every whole row of a CSV file: what stands behind the last line break is not one.
pub fn rows(path: &Path) -> Vec<Row> {
    let bytes = std::fs::read(path).expect("a CSV file");
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    csv::Reader::from_reader(&bytes[..whole])
        .deserialize()
        .map(|row| row.expect("a row with every column"))
        .collect()
}

/// The rows of `requests.csv` that count.
pub fn measured(folder: &Path) -> Vec<Row> {
    rows(&folder.join("requests.csv"))
        .into_iter()
        .filter(|row| row["phase"] == "measured")
        .collect()
}

/// What holds of every run, however it went: the report adds up, and it is what the rows say.
#[track_caller]
pub fn add_up(folder: &Path) -> Value {
    let report = report(folder);
    let rows = measured(folder);
    assert_eq!(report["schema"], "weighbridge.report/2");
    let endpoints = report["endpoints"].as_object().expect("endpoints");
    for (name, endpoint) in endpoints {
        let requests = &endpoint["requests"];
        let n = |key: &str| requests[key].as_u64().expect("a count");
        let parts: u64 = ["ok", "failed", "dropped", "cut", "cancelled"]
            .map(n)
            .iter()
            .sum();
        assert_eq!(n("planned"), parts, "{name}: {requests}");

        let mine: Vec<&Row> = rows.iter().filter(|row| row["endpoint"] == *name).collect();
        let how_many = |is: &dyn Fn(&Row) -> bool| mine.iter().filter(|row| is(row)).count() as u64;
        assert_eq!(
            n("planned"),
            how_many(&|row| row["last"] == "true"),
            "{name}: a last row for each request"
        );
        assert_eq!(
            n("attempts"),
            how_many(&|row| !row["sent_ns"].is_empty()),
            "{name}"
        );
        let mut outcomes = BTreeMap::new();
        for row in &mine {
            *outcomes.entry(row["outcome"].clone()).or_insert(0u64) += 1;
        }
        assert_eq!(
            serde_json::to_value(outcomes).expect("plain"),
            requests["outcomes"],
            "{name}"
        );
        classes_add_up(name, endpoint);
        latencies_are_ordered(name, endpoint);
        the_bill_adds_up(name, endpoint, mine.len());
    }
    the_verdict_follows(&report);
    report
}

/// The kinds of requests are the endpoint, count by count.
#[track_caller]
fn classes_add_up(name: &str, endpoint: &Value) {
    let classes = endpoint["classes"].as_array().expect("classes");
    let sum = |of: &dyn Fn(&Value) -> Option<u64>| classes.iter().filter_map(of).sum::<u64>();
    for key in [
        "planned",
        "ok",
        "failed",
        "dropped",
        "cut",
        "cancelled",
        "attempts",
    ] {
        assert_eq!(
            sum(&|class| class["requests"][key].as_u64()),
            endpoint["requests"][key],
            "{name}: {key}"
        );
    }
    for key in ["input", "output"] {
        let whole = endpoint["usage"][key].as_u64().unwrap_or(0);
        assert_eq!(sum(&|class| class["usage"][key].as_u64()), whole, "{name}");
    }
    for metric in ["ttft", "ttfb", "e2e", "tpot"] {
        let count = |of: &Value| of["latency_ms"][metric]["count"].as_u64();
        assert_eq!(
            sum(&count),
            count(endpoint).unwrap_or(0),
            "{name}: {metric}"
        );
    }
    // The log of a run that was killed in its first second is empty.
    if let Some(gaps) = endpoint["latency_ms"]["icl"]["count"].as_u64() {
        assert_eq!(
            sum(&|class| class["gaps_ms"]["count"].as_u64()),
            gaps,
            "{name}"
        );
    }
}

/// Over all requests a quantile is never better than over the successful ones, unless what was cut
/// had it sooner.
#[track_caller]
fn failures_count(name: &str, endpoint: &Value, metric: &str, latency: &Value) {
    let all = &latency["inclusive"];
    if all.is_null() {
        assert!(["icl", "schedule_lag"].contains(&metric), "{name} {metric}");
        return;
    }
    let n = |key: &str| all[key].as_u64().expect("a count");
    assert_eq!(latency["failed"], all["failed"], "{name} {metric}");
    assert_eq!(
        n("count"),
        latency["count"].as_u64().expect("a count") + n("failed") + n("cut"),
        "{name} {metric}"
    );
    let requests = &endpoint["requests"];
    let others = |keys: [&str; 2]| -> u64 {
        keys.map(|key| requests[key].as_u64().expect("a count"))
            .iter()
            .sum()
    };
    if ["ttfb", "e2e"].contains(&metric) {
        assert_eq!(n("failed"), others(["failed", "dropped"]), "{name}");
        assert_eq!(requests["cut"], all["cut"], "{name} {metric}");
    }
    for key in ["p50", "p90", "p95", "p99", "p999"] {
        let value = &all[key];
        match value.as_str() {
            Some("failed") => assert!(n("failed") > 0, "{name} {metric}"),
            Some(text) => assert!(text.starts_with(">= ") && n("cut") > 0, "{name}: {text}"),
            None if n("cut") == 0 => {
                assert!(value.as_f64() >= latency[key].as_f64(), "{name} {metric}");
            }
            None => assert!(value.is_f64(), "{name} {metric}: {value}"),
        }
    }
}

#[track_caller]
fn latencies_are_ordered(name: &str, endpoint: &Value) {
    let ok = endpoint["requests"]["ok"].as_u64().expect("a count");
    for (metric, latency) in endpoint["latency_ms"].as_object().expect("latencies") {
        if latency.is_null() {
            continue;
        }
        let n = |key: &str| latency[key].as_f64().expect("a number");
        assert!(n("count") >= 1.0, "{name} {metric}: no samples is null");
        let order = ["min", "p50", "p90", "p95", "p99", "p999", "max"].map(n);
        assert!(
            order[0] >= 0.0 && order.is_sorted(),
            "{name} {metric}: {latency}"
        );
        assert!(
            (n("min")..=n("max")).contains(&n("mean")),
            "{name} {metric}: {latency}"
        );
        failures_count(name, endpoint, metric, latency);
        if ["ttft", "e2e", "ttfb"].contains(&metric.as_str()) {
            assert_eq!(latency["count"], ok, "{name} {metric}: of successful ones");
        }
    }
}

#[track_caller]
fn the_bill_adds_up(name: &str, endpoint: &Value, attempts: usize) {
    let cost = &endpoint["cost"];
    let amount = |key: &str| -> Option<Decimal> {
        cost[key]
            .as_str()
            .map(|text| text.parse().expect("decimal text"))
    };
    for key in ["predicted", "recorded", "delta", "delta_abs"] {
        assert!(
            cost[key].is_string() || cost[key].is_null(),
            "{name}: {key} is text or null: {}",
            cost[key]
        );
    }
    if let Some(coverage) = cost["coverage"].as_f64() {
        assert!((0.0..=1.0).contains(&coverage), "{name}: {coverage}");
        if cost["coverage"] == 1.0 {
            let difference = amount("recorded")
                .zip(amount("predicted"))
                .map(|(r, p)| r - p);
            assert_eq!(amount("delta"), difference, "{name}");
        }
    }
    if let Some((delta, delta_abs)) = amount("delta").zip(amount("delta_abs")) {
        assert!(delta.abs() <= delta_abs, "{name}: {delta} {delta_abs}");
    }
    let statuses: u64 = cost["statuses"]
        .as_object()
        .expect("statuses")
        .values()
        .map(|n| n.as_u64().expect("a count"))
        .sum();
    assert_eq!(statuses, attempts as u64, "{name}: each row has one status");
}

#[track_caller]
fn the_verdict_follows(report: &Value) {
    let verdict = &report["verdict"];
    let gates = verdict["gates"].as_array().expect("gates");
    let any = |status: &str| gates.iter().any(|gate| gate["status"] == status);
    let nothing_succeeded = report["endpoints"]
        .as_object()
        .expect("endpoints")
        .values()
        .all(|endpoint| endpoint["requests"]["ok"] == 0);
    let all_passed = gates.iter().all(|gate| gate["status"] == "passed");
    match verdict["status"].as_str().expect("a status") {
        "passed" => assert!(all_passed && !nothing_succeeded, "{verdict}"),
        "failed" => assert!(any("failed") || nothing_succeeded, "{verdict}"),
        "no_verdict" => assert!(!any("failed"), "{verdict}"),
        "interrupted" => assert_eq!(report["run"]["partial"], true),
        other => panic!("no such status: {other}"),
    }
}
