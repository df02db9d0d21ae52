use std::path::Path;

use mock_upstream::config::{Distribution, FaultKind};
use rustix::process::Signal;
use weighbridge::store::RunFolder;

use crate::facts::{add_up, measured, report, rows};
use crate::program::{Running, Sandbox};
use crate::target::{Upstream, failing, quick};

/// Starts an endless load on `upstream`, two requests at a time.
fn load(sandbox: &Sandbox, upstream: &Upstream, output_tokens: u32) -> Running {
    sandbox
        .run_against(&upstream.origin)
        .args([
            "--endpoint",
            "openai",
            "--set",
            "load.count=1000000",
            "--set",
        ])
        .args([format!("workload.output_tokens={{fixed={output_tokens}}}")])
        .start()
}

#[test]
fn the_first_signal_lets_requests_in_flight_end() {
    for signal in [Signal::INT, Signal::TERM] {
        let sandbox = Sandbox::new();
        let upstream = Upstream::start(quick());
        let running = load(&sandbox, &upstream, 100);
        running.wait_until("some answers", || {
            let stats = upstream.stats();
            stats.requests >= 4 && stats.in_flight >= 1
        });
        running.signal(signal);
        let output = running.end().exits(130).shows(&[
            "INTERRUPTED",
            "the report covers what was measured until then",
        ]);
        assert!(!output.stdout.contains("PASSED"));
        let folder = sandbox.path("out");
        let report = add_up(&folder);
        assert_eq!(report["verdict"]["status"], "interrupted");
        assert_eq!(report["run"]["partial"], true);
        let rows = measured(&folder);
        assert!(!rows.is_empty());
        for row in &rows {
            assert_eq!(row["outcome"], "ok", "nothing in flight is cut");
            assert_eq!(row["last_output"], "100");
        }
        // The preflight and every row: nothing was sent that is not in the facts.
        assert_eq!(upstream.stats().requests, rows.len() as u64 + 1);
        let again = sandbox.weighbridge(["report", "out"]).exits(130);
        assert_eq!(again.stdout, output.stdout);
    }
}

#[test]
fn the_second_signal_cuts_them() {
    let sandbox = Sandbox::new();
    let mut config = quick();
    // An answer takes minutes, the preflight's few tokens a moment.
    config.behaviour.timing.gap_ms = Distribution::Fixed(50.0);
    let upstream = Upstream::start(config);
    let running = load(&sandbox, &upstream, 4096);
    running.wait_until("two requests in flight", || {
        let stats = upstream.stats();
        stats.requests >= 1 && stats.in_flight >= 2
    });
    // Signals of a kind that come in quick succession are one, so there may be more than two.
    running
        .until_it_ends(|running| running.signal(Signal::INT))
        .exits(130)
        .shows(&["INTERRUPTED", "2 cut"]);
    let folder = sandbox.path("out");
    let report = add_up(&folder);
    let requests = &report["endpoints"]["openai"]["requests"];
    assert_eq!(
        (&requests["planned"], &requests["cut"]),
        (&2.into(), &2.into())
    );
    assert_eq!(requests["failed"], 0, "it was not the gateway");
    for row in measured(&folder) {
        assert_eq!(row["outcome"], "cut");
        assert!(!row["ended_ns"].is_empty());
    }
}

#[test]
fn a_signal_during_the_preflight() {
    let sandbox = Sandbox::new();
    let upstream = Upstream::start(failing(FaultKind::Stall, 429));
    let running = load(&sandbox, &upstream, 4);
    running.wait_until("the preflight", || upstream.stats().in_flight >= 1);
    running.signal(Signal::INT);
    running.end().exits(130).shows(&["INTERRUPTED"]);
    let report = add_up(&sandbox.path("out"));
    assert_eq!(report["endpoints"]["openai"]["requests"]["planned"], 0);
}

/// Holds a folder whose run was killed: the report is of every whole row, and says so.
#[track_caller]
fn is_partial(sandbox: &Sandbox, folder: &Path) {
    sandbox
        .program(["report".as_ref(), folder.as_os_str()])
        .output()
        .exits(3)
        .shows(&["NO VERDICT", "incomplete", "unknown time"]);
    let report = add_up(folder);
    assert_eq!(report["verdict"]["status"], "no_verdict");
    assert_eq!(report["run"]["partial"], true);
    assert!(report["run"]["duration_s"].is_null());
    for endpoint in report["endpoints"].as_object().expect("endpoints").values() {
        let rates = &endpoint["throughput"];
        assert!(rates["window_s"].is_null(), "nobody noted when it ended");
        assert!(rates["events_per_s"].is_null() && rates["requests_per_s"].is_null());
    }
}

#[test]
fn a_run_that_was_killed_keeps_every_whole_row() {
    let sandbox = Sandbox::new();
    let running = sandbox
        .program(["run", "quick.toml", "--out", "out"])
        .args(["--set", "load.count=1000000"])
        .start();
    let (folder, requests) = (sandbox.path("out"), sandbox.path("out/requests.csv"));
    running.wait_until("rows on the disk", || {
        requests.is_file() && rows(&requests).len() >= 50
    });
    running.signal(Signal::KILL);
    let output = running.end();
    assert_eq!(output.status.code(), None, "{output:?}");
    assert_eq!(output.stdout, "");
    assert!(!folder.join("report.json").exists());
    assert!(measured(&folder).len() >= 40);
    is_partial(&sandbox, &folder);
    assert_eq!(
        report(&folder)["endpoints"]["openai"]["requests"]["failed"],
        0
    );
}

#[test]
fn a_run_that_was_killed_before_its_first_row() {
    let sandbox = Sandbox::new();
    let upstream = Upstream::start(failing(FaultKind::Stall, 429));
    let running = load(&sandbox, &upstream, 4);
    running.wait_until("the preflight", || upstream.stats().in_flight >= 1);
    running.signal(Signal::KILL);
    running.end();
    is_partial(&sandbox, &sandbox.path("out"));
}

#[test]
fn wherever_the_last_row_is_torn_the_rows_before_it_are_read() {
    let sandbox = Sandbox::new();
    // Answers that depart from the protocol, so that the last cell, which holds JSON, has something.
    let upstream = Upstream::start(failing(FaultKind::Html200, 429));
    sandbox.run_against(&upstream.origin).output().exits(1);
    let folder = sandbox.path("out");
    let path = folder.join("requests.csv");
    let bytes = std::fs::read(&path).expect("rows");
    let ends: Vec<usize> = (0..bytes.len()).filter(|n| bytes[*n] == b'\n').collect();
    let [.., before, last] = ends[..] else {
        panic!("two rows")
    };
    assert!(
        bytes[before..last].ends_with(b"}\""),
        "JSON in the last cell"
    );
    let whole_rows = rows(&path).len();
    for length in before + 1..=last + 1 {
        std::fs::write(&path, &bytes[..length]).expect("written");
        let mut count = 0;
        let torn = RunFolder::open(&folder)
            .expect("a run")
            .each_request(|_| {
                count += 1;
                Ok(())
            })
            .unwrap_or_else(|error| panic!("torn after {} bytes: {error}", length - before - 1));
        let whole = length == last + 1;
        let expected = if whole { whole_rows } else { whole_rows - 1 };
        let at_a_boundary = whole || length == before + 1;
        assert_eq!((count, torn), (expected, !at_a_boundary), "{length}");
    }
}
