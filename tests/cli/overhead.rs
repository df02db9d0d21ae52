//! `weighbridge overhead`: two arms on loopback, one a slower upstream in the gateway's place.

use std::collections::BTreeSet;
use std::path::Path;

use mock_upstream::config::{Distribution, FaultKind};
use rust_decimal::Decimal;
use rustix::process::Signal;
use serde_json::Value;

use crate::facts::measured;
use crate::program::{Output, Program, Sandbox};
use crate::schemas::holds_for_overhead;
use crate::target::{Upstream, failing, quick};

/// Few and short: a busy machine makes the numbers worse, not wrong.
const SMALL: [&str; 6] = ["--requests", "8", "--blocks", "8", "--out", "out"];

fn overhead(sandbox: &Sandbox, direct: &str, via: &str, concurrency: &str) -> Program {
    let args = ["overhead", "quick.toml", "--direct", direct, "--via", via];
    sandbox
        .program(args)
        .args(["--concurrency", concurrency])
        .args(SMALL)
}

/// A gateway that thinks for 60 ms before it says anything.
fn slow() -> mock_upstream::Config {
    let mut config = quick();
    config.behaviour.timing.ttft_ms = Distribution::Fixed(60.0);
    config
}

/// The code of a command whose arms may have been held up by a busy machine: then there is no verdict.
#[track_caller]
fn measured_it(output: Output) -> Output {
    let code = output.status.code();
    let busy = output.stdout.contains("INVALID");
    assert!(
        code == Some(0) || (code == Some(3) && busy),
        "{code:?}\n{}\n{}",
        output.stdout,
        output.stderr
    );
    output
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a report");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_gateway_that_thinks_is_seen_at_each_level_of_each_endpoint() {
    let sandbox = Sandbox::new();
    let (direct, via) = (Upstream::start(quick()), Upstream::start(slow()));
    let output = overhead(&sandbox, &direct.origin, &via.origin, "2,1").output();
    let output = measured_it(output)
        .says(&[
            "quick: overhead of",
            "always a closed loop",
            "32 by 1 user, 64 by 2",
        ])
        .shows(&[
            "overhead of quick:",
            "openai, 1 in flight",
            "anthropic, 2 in flight",
        ]);
    let found = json(&sandbox.path("out/overhead.json"));
    holds_for_overhead(&found);
    assert_eq!(found["schema"], "weighbridge.overhead/1");
    let mut ids = BTreeSet::new();
    for endpoint in ["openai", "anthropic"] {
        let levels = found["endpoints"][endpoint]["levels"]
            .as_array()
            .expect("levels");
        assert_eq!(levels.len(), 2);
        for (level, (concurrency, sessions)) in levels.iter().zip([(1, 4), (2, 8)]) {
            assert_eq!(level["concurrency"], concurrency);
            assert_eq!(level["sessions_per_block"], sessions);
            assert_eq!(
                (&level["blocks"], &level["blocks_planned"]),
                (&8.into(), &8.into())
            );
            assert_eq!(
                level["ttft_ms"]["p50"]["delta"]["seen"], "more",
                "{level:#}"
            );
            assert_eq!(level["ttft_ms"]["p99"], Value::Null);
            assert_eq!(level["failures"]["via"], 0.0);
            for arm in ["direct", "via"] {
                assert_eq!(level[arm]["ok"], sessions * 8);
                let folder = sandbox.path(&format!("out/{endpoint}-{concurrency}/{arm}"));
                let report = json(&folder.join("report.json"));
                crate::schemas::holds_for_report(&report);
                assert_eq!(report["run"]["id"], level[arm]["run"]);
                for row in measured(&folder) {
                    assert!(
                        ids.insert(row["trace_id"].clone()),
                        "each arm has its own nonces"
                    );
                }
            }
        }
    }
    // Every request of the rows reached its upstream, and a preflight of each run.
    let requests = (32 + 64) * 2 + 4;
    for upstream in [&direct, &via] {
        assert_eq!(upstream.stats().requests, requests);
    }
    let made = std::fs::read_to_string(sandbox.path("out/overhead.json")).expect("a report");
    let again = sandbox.weighbridge(["report", "out", "--json"]);
    assert_eq!(again.status.code(), output.status.code());
    assert_eq!(again.stdout, made);
    sandbox
        .weighbridge(["report", "out", "--prices", "builtin:keeprouter"])
        .exits(2)
        .says(&["overhead command", "name its folder"]);
    let arm = sandbox.weighbridge(["report", "out/openai-1/via"]);
    assert!(arm.status.code() != Some(2), "{}", arm.stderr);
}

#[test]
fn the_arms_never_load_at_the_same_time() {
    let sandbox = Sandbox::new();
    let upstream = Upstream::start(quick());
    let args = ["--endpoint", "openai", "--quiet"];
    let output = overhead(&sandbox, &upstream.origin, &upstream.origin, "3");
    let output = measured_it(output.args(args).output());
    assert!(!output.stderr.contains("closed loop"), "quiet");
    // By the upstream's one clock.
    let journal = upstream.journal();
    let [direct, via] = ["direct", "via"].map(|arm| {
        let rows = measured(&sandbox.path(&format!("out/openai-3/{arm}")));
        let names: BTreeSet<String> = rows.iter().map(|row| row["trace_id"].clone()).collect();
        let spans = journal.iter().filter(|entry| names.contains(&entry.nonce));
        let spans = spans.map(|e| (e.received_ns, e.last_write_ns.expect("an answer")));
        spans.collect::<Vec<_>>()
    });
    assert_eq!((direct.len(), via.len()), (96, 96));
    for (begin, end) in &direct {
        for (other_begin, other_end) in &via {
            assert!(end < other_begin || other_end < begin, "both at once");
        }
    }
    let most = measured(&sandbox.path("out/openai-3/via"));
    let most = most
        .iter()
        .filter_map(|row| row["in_flight"].parse().ok())
        .max();
    assert_eq!(most, Some(3));
}

#[test]
fn an_arm_that_does_not_answer_ends_the_command_before_any_load() {
    let sandbox = Sandbox::new();
    let direct = Upstream::start(quick());
    let via = Upstream::start(failing(FaultKind::Status, 503));
    let output = overhead(&sandbox, &direct.origin, &via.origin, "2");
    output
        .args(["--endpoint", "anthropic"])
        .output()
        .exits(2)
        .says(&[
            "the gateway's arm (`--via`): the preflight request to the anthropic endpoint ended as",
            "there is nothing to compare",
        ]);
    assert_eq!(direct.stats().requests, 1, "its preflight");
}

#[test]
fn an_upstream_has_its_own_key_and_model() {
    let sandbox = Sandbox::new();
    let tool = r#"[{"name":"look_up","description":"","schema":{"type":"object"}}]"#;
    sandbox.write("tools.json", tool);
    let (direct, via) = (Upstream::start(quick()), Upstream::start(quick()));
    let more = [
        "--endpoint",
        "openai",
        "--direct-model",
        "magistral-medium-latest",
        "--set",
        "workload.tools_share=1.0",
        "--set",
        "workload.tools.file=tools.json",
    ];
    let output = overhead(&sandbox, &direct.origin, &via.origin, "1").args(more);
    let key = ["--direct-key-env", "UPSTREAM_KEY"];
    output.args(key).output().exits(2).says(&["`UPSTREAM_KEY`"]);
    assert_eq!(via.stats().requests, 0, "found before the first request");

    let args = [
        "overhead",
        "quick.toml",
        "--direct",
        &direct.origin,
        "--via",
        &via.origin,
    ];
    let output = sandbox
        .program(args)
        .args(["--concurrency", "1"])
        .args(more)
        .args(key);
    let output = output.args(["--requests", "8", "--blocks", "8", "--out", "keyed"]);
    measured_it(output.env("UPSTREAM_KEY", "sk-upstream-secret").output());
    let models = |upstream: &Upstream| {
        let journal = upstream.journal();
        journal
            .iter()
            .map(|e| e.model.clone())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        models(&direct),
        BTreeSet::from(["magistral-medium-latest".to_owned()])
    );
    assert_eq!(
        models(&via),
        BTreeSet::from(["magistral-small-latest".to_owned()])
    );
    // The files that the scenario names are both arms'.
    for entry in [&direct, &via]
        .iter()
        .flat_map(|upstream| upstream.journal())
    {
        assert_eq!(entry.tools, Some(1));
    }
    for file in crate::program::files(&sandbox.path("keyed")) {
        let bytes = std::fs::read(&file).expect("a file");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("sk-upstream-secret"), "{}", file.display());
    }
}

#[test]
fn a_refused_arm_ends_the_command_before_any_load() {
    let sandbox = Sandbox::new();
    let direct = Upstream::start(quick());
    let via = Upstream::start(failing(FaultKind::Status, 401));
    let output = overhead(&sandbox, &direct.origin, &via.origin, "2");
    output
        .args(["--endpoint", "openai"])
        .output()
        .exits(2)
        .says(&["refused the preflight request with status 401"]);
    assert_eq!(direct.stats().requests, 1, "its preflight");
    sandbox
        .weighbridge(["report", "out"])
        .exits(3)
        .shows(&["NO VERDICT", "its facts are not whole"]);
}

#[test]
fn one_budget_holds_over_both_arms_of_all_levels() {
    let sandbox = Sandbox::new();
    let (direct, via) = (Upstream::start(quick()), Upstream::start(quick()));
    let output = overhead(&sandbox, &direct.origin, &via.origin, "2,4");
    let output = output.args(["--budget", "0.004 USD"]).output().exits(3);
    let output = output.says(&["budget $0.004: it allows about"]);
    output.shows(&["NO VERDICT", "both arms have done"]);
    let paid: Decimal = [&direct, &via]
        .iter()
        .flat_map(|upstream| upstream.journal())
        .map(|entry| {
            let charged = entry.charged.expect("every answer has a price");
            charged.parse::<Decimal>().expect("a decimal")
        })
        .sum();
    assert!(paid > Decimal::ZERO && paid <= Decimal::new(4, 3), "{paid}");
}

#[test]
fn a_signal_ends_both_arms_and_keeps_what_was_measured() {
    let sandbox = Sandbox::new();
    let (direct, via) = (Upstream::start(quick()), Upstream::start(quick()));
    let args = ["--requests", "1000000", "--blocks", "8", "--out", "out"];
    let running = sandbox
        .program(["overhead", "quick.toml", "--direct", &direct.origin])
        .args([
            "--via",
            &via.origin,
            "--concurrency",
            "1,2",
            "--endpoint",
            "openai",
        ])
        .args(args)
        .start();
    running.wait_until("some answers", || {
        direct.stats().requests + via.stats().requests >= 8
    });
    running.signal(Signal::INT);
    let output = running.end().exits(130);
    output.shows(&["INTERRUPTED", "openai: nothing was measured at 2 in flight"]);
    for arm in ["direct", "via"] {
        let run = json(&sandbox.path(&format!("out/openai-1/{arm}/run.json")));
        assert_eq!(run["interrupted"], true);
    }
    sandbox.weighbridge(["report", "out"]).exits(130);
}

#[test]
fn what_is_wrong_is_said_before_anything_is_sent() {
    let sandbox = Sandbox::new();
    let upstream = Upstream::start(quick());
    let origin = upstream.origin.as_str();
    sandbox.write("file", "of an earlier run");
    let both = [
        "overhead",
        "quick.toml",
        "--direct",
        origin,
        "--via",
        origin,
    ];
    for (more, says) in [
        (["--out", "."], ". is not empty"),
        (["--blocks", "7"], "7 is not in 8..=1000"),
        (["--concurrency", "1,0"], "0 is not in 1..=100000"),
        (
            ["--via", "gateway.example"],
            "'--via <URL>' cannot be used multiple times",
        ),
        (["--set", "target.models=1"], "target.models"),
    ] {
        sandbox
            .program(both)
            .args(more)
            .output()
            .exits(2)
            .says(&[says]);
    }
    let args = [
        "overhead",
        "quick.toml",
        "--direct",
        origin,
        "--via",
        "gateway.example",
    ];
    let output = sandbox.weighbridge(args).exits(2);
    output.says(&["target.base_url", "`gateway.example`"]);
    let args = ["overhead", "quick.toml", "--direct", origin];
    sandbox.weighbridge(args).exits(2).says(&["--via <URL>"]);
    // A live target without a budget needs a word.
    let live = "https://gateway.example";
    let args = ["overhead", "quick.toml", "--direct", origin, "--via", live];
    sandbox
        .weighbridge(args)
        .exits(2)
        .says(&[live, "is a live target", "--yes"]);
    assert_eq!(upstream.stats().requests, 0);
}
