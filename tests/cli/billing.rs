//! Runs that are there for their bill: the shipped scenario, an upstream configured by a file, a
//! shared prefix, a budget.

use crate::program::{OFFLINE, SCENARIO, Sandbox};

/// `quick.toml` with the embedded upstream configured by `upstream.toml`.
fn with_upstream(upstream: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let text = format!("{SCENARIO}\n[offline]\nconfig = \"upstream.toml\"\n");
    sandbox.write("configured.toml", &text);
    sandbox.write("upstream.toml", upstream);
    sandbox
}

const QUICK: &str = "[timing]\nttft_ms = { fixed = 2 }\ngap_ms = { fixed = 1 }\n";

#[test]
fn the_offline_upstream_is_configured_by_a_file_that_the_folder_keeps() {
    let wrong = "[[cost.wrong]]\nclass = \"MARKUP_UNDECLARED\"\n";
    let sandbox = with_upstream(&format!("{QUICK}{wrong}"));
    let run = |scenario: &str, out: &str| {
        sandbox
            .weighbridge(["run", scenario, "--out", out])
            .exits(1)
            .shows(&["cost.delta_abs"]);
    };
    run("configured.toml", "out");
    let kept = std::fs::read_to_string(sandbox.path("out/offline.toml")).expect("a copy");
    assert_eq!(kept, format!("{QUICK}{wrong}"));
    // The folder holds all that is needed to run it again, and no key twice.
    run("out/scenario.toml", "again");
}

#[test]
fn a_wrong_upstream_file_has_file_line_and_key() {
    let sandbox = with_upstream("[timing]\nttft = 5\n");
    for command in ["run", "check"] {
        sandbox
            .weighbridge([command, "configured.toml"])
            .exits(2)
            .says(&["upstream.toml:2", "ttft", "`ttft_ms`"]);
    }
    std::fs::remove_file(sandbox.path("upstream.toml")).expect("it was there");
    sandbox
        .weighbridge(["check", "configured.toml"])
        .exits(2)
        .says(&["offline.config: ", "upstream.toml: there is no such file"]);
}

#[test]
fn a_file_says_everything_of_the_upstream() {
    let sandbox = with_upstream("");
    let text = format!("{SCENARIO}{OFFLINE}config = \"upstream.toml\"\n");
    sandbox.write("both.toml", &text);
    let line = text.lines().count();
    sandbox.weighbridge(["check", "both.toml"]).exits(2).says(&[
        &format!("both.toml:{line}: offline.config: "),
        "`offline.ttft_ms_median`, `offline.gap_ms_median` stands beside it",
    ]);
    sandbox
        .weighbridge(["check", "both.toml", "--set", "offline.ttft_ms_median="])
        .exits(2)
        .says(&["but `offline.gap_ms_median` stands beside it"]);
    sandbox
        .weighbridge(["check", "configured.toml", "--set", "offline.tool_calls=3"])
        .exits(2)
        .says(&["but `offline.tool_calls` stands beside it"]);
}

#[test]
fn a_shared_prefix_is_written_once_and_read_by_all_others() {
    let sandbox = with_upstream(&format!("{QUICK}[cache]\nenabled = true\n"));
    sandbox.write(
        "prices.csv",
        "model,currency,per_tokens,input,output,cache_read,cache_write_5m,cache_write_1h\n\
         magistral-small-latest,USD,1000000,0.50,1.50,0.50,0.50,0.50\n",
    );
    sandbox
        .program(["run", "configured.toml", "--out", "out"])
        .args(["--set", "workload.cached_prefix={tokens=1500,ttl=\"1h\"}"])
        .args(["--set", "pricing.table=prices.csv"])
        .args(["--budget", "1 USD"])
        .output()
        .exits(0);
    let rows = crate::facts::rows(&sandbox.path("out/requests.csv"));
    for row in &rows {
        let count = |name: &str| row[name].parse::<u64>().unwrap_or(0);
        let first = row["phase"] == "preflight";
        let read = count("last_cache_read");
        let written = (count("last_cache_write"), count("last_cache_write_1h"));
        match (row["endpoint"].as_str(), first) {
            (_, false) => assert!(read >= 1024 && written == (0, 0), "{row:?}"),
            ("openai", true) => assert_eq!((read, written), (0, (0, 0)), "{row:?}"),
            _ => assert!(
                read == 0 && written.0 >= 1500 && written.1 == written.0,
                "{row:?}"
            ),
        }
    }
    assert_eq!(rows.len(), 8);
}

#[test]
fn a_budget_needs_a_price_for_every_kind_of_token() {
    let sandbox = with_upstream("");
    let prefix = ["--set", "workload.cached_prefix={tokens=1500}"];
    for command in ["run", "check"] {
        sandbox
            .program([command, "configured.toml", "--budget", "1 USD"])
            .args(prefix)
            .output()
            .exits(2)
            .says(&[
                "builtin:keeprouter:2: cache_read: ",
                "builtin:keeprouter:2: cache_write_5m: ",
                "fill it in",
            ]);
    }
    assert!(!sandbox.path("reports").exists(), "nothing was begun");
    sandbox
        .program(["check", "configured.toml"])
        .args(prefix)
        .output()
        .exits(0)
        .shows(&[
            "expected unknown",
            "no price: builtin:keeprouter:2: cache_read: ",
        ]);
    sandbox
        .program(["check", "configured.toml", "--budget", "lots"])
        .output()
        .exits(2)
        .says(&["--set pricing.budget=", "write `5 USD`"]);
}

/// The shipped scenario, from where it stands.
const BILLING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/billing.toml");

#[test]
fn the_billing_scenario_finds_nothing_wrong_with_an_honest_bill() {
    let sandbox = Sandbox::new();
    // Nobody goes away, so that every answer has a usage of its own.
    sandbox
        .program(["run", BILLING, "--out", "out"])
        .args(["--set", "load.count=60", "--set", "workload.hang_up="])
        .output()
        .exits(0)
        .shows(&["cost.findings == 0", "cost.coverage == 100%"]);
    let rows = crate::facts::rows(&sandbox.path("out/requests.csv"));
    let sum = |name: &str| -> u64 {
        rows.iter()
            .filter_map(|row| row[name].parse::<u64>().ok())
            .sum()
    };
    for kind in [
        "last_cache_read",
        "last_cache_write_1h",
        "last_reasoning_tokens",
    ] {
        assert!(sum(kind) > 0, "{kind}: every kind of token is there");
    }
    assert!(rows.iter().all(|row| row["requested_tier"] == "flex"));
}

#[test]
fn the_billing_scenario_has_amounts_of_their_own_for_swapped_prices_and_lost_caches() {
    let sandbox = Sandbox::new();
    let shown = sandbox.weighbridge(["check", BILLING]).exits(0).stdout;
    let blind: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("cannot be"))
        .collect();
    for class in [
        "RATES_SWAPPED",
        "CACHE_DOUBLE",
        "CACHE_DROPPED",
        "CACHE_TIER_WRONG",
        "REASONING_DROPPED",
        "REASONING_DOUBLE",
        "STREAM_CUMULATIVE_SUMMED",
        "MODEL_ALIAS",
    ] {
        assert!(!blind.iter().any(|line| line.contains(class)), "{blind:#?}");
    }
}
