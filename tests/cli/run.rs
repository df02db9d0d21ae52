use rust_decimal::Decimal;

use crate::facts::{ENDPOINTS, add_up, report, rows};
use crate::program::Sandbox;
use crate::schemas::holds_for_report;
use crate::target::{Upstream, quick};

/// The files of a run that ended.
const FILES: [&str; 10] = [
    "calls.csv",
    "gaps.hlog",
    "health.csv",
    "prices.csv",
    "report.json",
    "report.md",
    "requests.csv",
    "run.json",
    "scenario.toml",
    "truth.csv",
];

#[test]
fn a_good_run_passes_on_both_endpoints() {
    let sandbox = Sandbox::new();
    sandbox
        .weighbridge(["run", "quick.toml", "--out", "out"])
        .exits(0)
        .shows(&[
            "PASSED",
            "3 ok of 3 planned",
            "pass  cost.delta_abs == 0 USD",
        ]);
    let folder = sandbox.path("out");
    let report = add_up(&folder);
    holds_for_report(&report);
    assert_eq!(report["verdict"]["status"], "passed");
    assert_eq!(report["run"]["partial"], false);
    for name in ENDPOINTS {
        let endpoint = &report["endpoints"][name];
        assert_eq!(endpoint["requests"]["planned"], 3);
        assert_eq!(endpoint["requests"]["ok"], 3);
        assert_eq!(endpoint["usage"]["output"], 12, "3 answers of 4 tokens");
        let cost = &endpoint["cost"];
        assert_eq!(
            (&cost["delta"], &cost["delta_abs"]),
            (&"0".into(), &"0".into())
        );
        assert_eq!(cost["coverage"], 1.0);
        assert_eq!(cost["statuses"]["matched"], 3);
        assert_eq!(cost["predicted"], cost["recorded"]);
        // 0.50 and 1.50 USD a million tokens, in integers: nano-dollars.
        let input = endpoint["usage"]["input"].as_i64().expect("known");
        let expected = Decimal::new(input * 500 + 12 * 1500, 9).normalize();
        assert_eq!(cost["predicted"], expected.to_string());
        assert_eq!(endpoint["truth"]["verified"], 3);
        assert_eq!(endpoint["truth"]["of"], 3);
        for gate in report["verdict"]["gates"].as_array().expect("gates") {
            assert_eq!(gate["status"], "passed", "{gate}");
        }
    }
    for file in FILES {
        assert!(folder.join(file).is_file(), "{file} is missing");
    }
    let leftovers: Vec<_> = crate::program::files(&folder)
        .into_iter()
        .filter(|path| path.to_string_lossy().contains(".draft"))
        .collect();
    assert_eq!(leftovers, Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_rows_are_what_the_upstream_saw() {
    let sandbox = Sandbox::new();
    let upstream = Upstream::start(quick());
    sandbox
        .run_against(&upstream.origin)
        .args(["--set", "load.count=10", "--set"])
        .args([format!("target.truth={}", upstream.journal_url())])
        .output()
        .exits(0)
        .shows(&["10 of 10"]);
    let folder = sandbox.path("out");
    let report = add_up(&folder);
    assert_eq!(report["run"]["truth"], upstream.journal_url());
    let mut seen: Vec<_> = upstream
        .journal()
        .into_iter()
        .map(|entry| (entry.nonce, entry.usage.output.to_string()))
        .collect();
    let mut rows: Vec<_> = rows(&folder.join("requests.csv"))
        .into_iter()
        .map(|row| (row["trace_id"].clone(), row["last_output"].clone()))
        .collect();
    seen.sort();
    rows.sort();
    assert_eq!(
        rows.len(),
        22,
        "a preflight and ten requests to each endpoint"
    );
    assert_eq!(rows, seen);
}

#[test]
fn a_price_that_is_off_by_a_millionth_of_a_dollar_fails_the_gate() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "prices.csv",
        "model,currency,per_tokens,input,output\n\
         magistral-small-latest,USD,1000000,0.500001,1.50\n",
    );
    sandbox
        .program(["run", "quick.toml", "--out", "out"])
        .args(["--set", "pricing.table=prices.csv"])
        .output()
        .exits(1)
        .shows(&[
            "FAILED",
            "FAIL  cost.delta_abs == 0 USD",
            "pass  cost.coverage == 100%",
            "3 mismatched",
        ]);
    let report = add_up(&sandbox.path("out"));
    for name in ENDPOINTS {
        let endpoint = &report["endpoints"][name];
        let input = endpoint["usage"]["input"].as_i64().expect("known");
        let off = Decimal::new(input, 12).normalize();
        assert_eq!(endpoint["cost"]["delta"], format!("-{off}"));
        assert_eq!(endpoint["cost"]["delta_abs"], off.to_string());
        assert_eq!(endpoint["cost"]["statuses"]["mismatched"], 3);
    }
    holds_for_report(&report);
}

#[test]
fn nothing_recorded_is_no_verdict_and_not_a_matching_bill() {
    let sandbox = Sandbox::new();
    let mut config = quick();
    config.behaviour.cost.surfaces.clear();
    let upstream = Upstream::start(config);
    sandbox
        .run_against(&upstream.origin)
        .args(["--set", "gates=[\"cost.delta_abs == 0 USD\"]"])
        .output()
        .exits(3)
        .shows(&["NO VERDICT", "nothing was measured"]);
    let report = add_up(&sandbox.path("out"));
    for name in ENDPOINTS {
        let cost = &report["endpoints"][name]["cost"];
        assert!(
            cost["recorded"].is_null() && cost["delta"].is_null(),
            "{cost}"
        );
        assert_eq!(cost["statuses"]["not_recorded"], 3);
    }
}

#[test]
fn one_endpoint_alone() {
    let sandbox = Sandbox::new();
    for name in ENDPOINTS {
        sandbox
            .weighbridge(["run", "quick.toml", "--endpoint", name, "--out", name])
            .exits(0);
        let report = add_up(&sandbox.path(name));
        let endpoints = report["endpoints"].as_object().expect("endpoints");
        assert_eq!(endpoints.keys().collect::<Vec<_>>(), [name]);
    }
}

#[test]
fn every_kind_of_load_and_work() {
    let sandbox = Sandbox::new();
    for (n, sets) in [
        &["load.arrivals=constant", "load.rate=200"][..],
        &["load.arrivals=poisson", "load.rate=200"],
        &["load.warmup=50ms", "load.concurrency=3"],
        &["workload.stream_share=0.0", "load.concurrency=3"],
        &[
            "workload.tools_share=1.0",
            "workload.output_tokens={fixed=60}",
            "load.concurrency=3",
        ],
        &[
            "workload.cache=shared",
            "offline.dialect=mistral",
            "offline.reasoning_share=0.5",
            "load.concurrency=3",
        ],
        // Long enough for a worker to begin, on any machine.
        &[
            "load.duration=2s",
            "load.count=1000000",
            "load.concurrency=1",
        ],
        &["target.http=\"2\"", "load.concurrency=3"],
    ]
    .into_iter()
    .enumerate()
    {
        let text = crate::program::SCENARIO.replacen("concurrency = 2\ncount = 3", "count = 6", 1);
        sandbox.write("kinds.toml", &format!("{text}{}", crate::program::OFFLINE));
        let out = n.to_string();
        let output = sandbox
            .program(["run", "kinds.toml", "--out", &out])
            .args(sets.iter().flat_map(|set| ["--set", *set]))
            .output();
        assert_eq!(output.status.code(), Some(0), "{sets:?}: {output:?}");
        let report = add_up(&sandbox.path(&out));
        holds_for_report(&report);
        for name in ENDPOINTS {
            let requests = &report["endpoints"][name]["requests"];
            assert_eq!(requests["planned"], requests["ok"], "{sets:?}");
        }
    }
}

#[test]
fn a_budget_ends_the_run_before_it_is_overspent() {
    let sandbox = Sandbox::new();
    // Each request costs about 0.000036 USD.
    sandbox
        .program(["run", "quick.toml", "--out", "out"])
        .args([
            "--set",
            "load.count=200",
            "--set",
            "pricing.budget=0.001 USD",
        ])
        .args(["--set", "gates=[\"cost.delta_abs == 0 USD\"]"])
        .output()
        .shows(&["ended the run"]);
    let report = add_up(&sandbox.path("out"));
    let spent: Decimal = rows(&sandbox.path("out/requests.csv"))
        .iter()
        .filter(|row| row["outcome"] == "ok")
        .map(|row| {
            let tokens = |name: &str| row[name].parse::<i64>().expect("reported");
            Decimal::new(tokens("last_input") * 500 + tokens("last_output") * 1500, 9)
        })
        .sum();
    assert!(
        spent > Decimal::ZERO && spent <= Decimal::new(1, 3),
        "{spent}"
    );
    let planned = |name: &str| report["endpoints"][name]["requests"]["planned"].as_u64();
    assert!(ENDPOINTS.iter().any(|name| planned(name) < Some(200)));
}

#[test]
fn the_copied_scenario_runs_again() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "prices.csv",
        "model,currency,per_tokens,input,output\n\
         magistral-small-latest,USD,1000000,0.50,1.50\n",
    );
    sandbox
        .program(["run", "quick.toml", "--out", "a", "--seed", "7"])
        .args(["--set", "pricing.table=prices.csv"])
        .output()
        .exits(0);
    sandbox
        .weighbridge(["run", "a/scenario.toml", "--out", "b"])
        .exits(0);
    let [a, b] = ["a", "b"].map(|name| report(&sandbox.path(name)));
    for key in ["config_sha256", "prices_sha256", "seed"] {
        assert_eq!(a["run"][key], b["run"][key], "{key}");
    }
    assert_ne!(a["run"]["id"], b["run"]["id"]);
    let sizes = |folder: &str| {
        let mut sizes: Vec<_> = rows(&sandbox.path(folder).join("requests.csv"))
            .into_iter()
            .map(|row| {
                (
                    row["endpoint"].clone(),
                    row["session"].clone(),
                    row["last_input"].clone(),
                )
            })
            .collect();
        sizes.sort();
        sizes
    };
    assert_eq!(sizes("a"), sizes("b"), "the same seed plans the same work");
}

#[test]
fn prompts_of_ones_own() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "prompts.jsonl",
        "{\"prompt\":\"Say hello.\"}\n{\"system\":\"Be brief.\",\"prompt\":\"Say goodbye.\",\"max_output_tokens\":2}\n",
    );
    sandbox
        .program(["run", "quick.toml", "--out", "out"])
        .args(["--set", "workload.prompts=prompts.jsonl"])
        .output()
        .exits(0);
    add_up(&sandbox.path("out"));
    sandbox
        .weighbridge(["run", "out/scenario.toml", "--out", "again"])
        .exits(0);
}

#[test]
fn a_truth_that_cannot_be_read_leaves_the_findings_open() {
    let upstream = Upstream::start(quick());
    let sandbox = Sandbox::new();
    let truth = format!("target.truth={}/nowhere", upstream.origin);
    sandbox
        .program(["run", "live.toml", "--out", "out"])
        .args(["--target", &upstream.origin, "--set", &truth])
        .args(["--set", "gates=[\"cost.findings == 0\"]"])
        .output()
        .exits(3)
        .shows(&[
            "the truth could not be read",
            "token counts are the gateway's own",
        ]);
    let report = add_up(&sandbox.path("out"));
    assert_eq!(report["verdict"]["gates"][0]["status"], "inconclusive");
    assert!(report["run"]["truth"].is_null());
}

#[test]
fn of_two_runs_that_want_one_folder_one_gets_it() {
    let sandbox = Sandbox::new();
    let start = || {
        sandbox
            .program(["run", "quick.toml", "--out", "out"])
            .start()
    };
    let both = [start(), start()];
    let mut codes = both.map(|run| run.end().status.code());
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(2)]);
    add_up(&sandbox.path("out"));
}
