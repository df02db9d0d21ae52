use crate::program::{OFFLINE, Output, SCENARIO, Sandbox};
use crate::target::{Scripted, Upstream, quick, response};

/// Runs `quick.toml` with `sets` on top, which is refused; nothing must be left behind.
#[track_caller]
fn refused(sets: &[&str]) -> Output {
    let sandbox = Sandbox::new();
    let sets = sets.iter().flat_map(|set| ["--set", *set]);
    let output = sandbox
        .program(["run", "quick.toml", "--out", "out"])
        .args(sets)
        .output()
        .exits(2);
    assert_eq!(output.stdout, "", "stdout is for data");
    assert!(
        !sandbox.path("out").exists(),
        "found before anything is made"
    );
    output
}

/// The scenario with one line replaced, and the number of that line.
fn with_line(from: &str, to: &str) -> (String, usize) {
    let text = format!("{SCENARIO}{OFFLINE}");
    let at = text
        .lines()
        .position(|line| line == from)
        .expect("a line of the scenario");
    (text.replacen(from, to, 1), at + 1)
}

#[test]
fn a_missing_scenario_file() {
    let sandbox = Sandbox::new();
    for command in ["run", "check"] {
        sandbox
            .weighbridge([command, "nowhere.toml"])
            .exits(2)
            .says(&["nowhere.toml: there is no such file"]);
    }
}

#[test]
fn an_unknown_key_of_the_file_has_its_line_and_the_nearest_name() {
    let sandbox = Sandbox::new();
    let (text, line) = with_line("concurrency = 2", "concurency = 2");
    sandbox.write("typo.toml", &text);
    for command in ["run", "check"] {
        sandbox.weighbridge([command, "typo.toml"]).exits(2).says(&[
            &format!("typo.toml:{line}: load.concurency: unknown field `concurency`"),
            "did you mean `concurrency`?",
            "`max_in_flight`",
        ]);
    }
}

#[test]
fn an_unknown_table_of_the_file() {
    let sandbox = Sandbox::new();
    let (text, line) = with_line("[workload]", "[worklod]");
    sandbox.write("typo.toml", &text);
    sandbox.weighbridge(["check", "typo.toml"]).exits(2).says(&[
        &format!("typo.toml:{line}: worklod: unknown field `worklod`"),
        "did you mean `workload`?",
    ]);
}

#[test]
fn a_file_that_is_not_toml() {
    let sandbox = Sandbox::new();
    let (text, line) = with_line("count = 3", "count = = 3");
    sandbox.write("broken.toml", &text);
    sandbox
        .weighbridge(["check", "broken.toml"])
        .exits(2)
        .says(&[&format!("broken.toml:{line}: ")]);
}

#[test]
fn a_value_of_the_wrong_type() {
    let sandbox = Sandbox::new();
    let (text, line) = with_line("count = 3", "count = \"three\"");
    sandbox.write("typed.toml", &text);
    sandbox
        .weighbridge(["check", "typed.toml"])
        .exits(2)
        .says(&[&format!("typed.toml:{line}: load.count: "), "three"]);
}

#[test]
fn an_unknown_key_of_set() {
    refused(&["load.rat=5"]).says(&[
        "--set load.rat=5: load.rat: unknown field `rat`",
        "did you mean `rate`?",
        "`concurrency`",
    ]);
}

#[test]
fn an_unknown_value_of_a_closed_set() {
    refused(&["load.arrivals=poison"]).says(&[
        "load.arrivals: unknown variant `poison`",
        "did you mean `poisson`?",
        "`constant`",
    ]);
    let sandbox = Sandbox::new();
    sandbox
        .weighbridge(["run", "quick.toml", "--endpoint", "antropic"])
        .exits(2)
        .says(&["target.endpoint", "did you mean `anthropic`?", "`both`"]);
}

#[test]
fn set_without_a_value() {
    refused(&["load.rate"]).says(&["`--set load.rate` has no `=`", "--set load.rate=50"]);
    refused(&["=5"]).says(&["a key is missing before `=`"]);
    refused(&["name.x=5"]).says(&["`name` is a value, not a table"]);
}

#[test]
fn a_negative_rate() {
    let sandbox = Sandbox::new();
    let (text, line) = with_line("concurrency = 2", "arrivals = \"poisson\"\nrate = -3.5");
    sandbox.write("backwards.toml", &text);
    sandbox
        .weighbridge(["run", "backwards.toml"])
        .exits(2)
        .says(&[
            &format!("backwards.toml:{}: load.rate", line + 1),
            "must be above zero sessions per second, not -3.5",
        ]);
}

#[test]
fn a_bad_duration() {
    refused(&["load.warmup=5parsecs"]).says(&[
        "--set load.warmup=5parsecs: load.warmup: `5parsecs` is not a duration",
        "`800ms`",
    ]);
    refused(&["target.timeouts.idle=0s"]).says(&["target.timeouts.idle: must be above zero"]);
}

#[test]
fn retries_and_hang_ups_that_make_no_sense() {
    refused(&["target.retries={ attempts = 1 }"]).says(&[
        "target.retries.attempts: counts the first attempt too",
        "at least 2",
    ]);
    refused(&["target.retries={ wait = \"1m\", wait_max = \"5s\" }"])
        .says(&["target.retries.wait: is longer than `target.retries.wait_max`"]);
    for neither_nor in [
        "{ share = 0.1 }",
        "{ share = 0.1, after_events = 3, after = \"1s\" }",
    ] {
        refused(&[&format!("workload.hang_up={neither_nor}")])
            .says(&["workload.hang_up: needs one of `after_events` and `after`"]);
    }
    refused(&["workload.hang_up={ share = 0.1, after_events = 0 }"]).says(&[
        "workload.hang_up.after_events: must be at least 1",
        "use `after`",
    ]);
    refused(&["workload.hang_up={ share = 1.5, after = \"1s\" }"])
        .says(&["workload.hang_up.share: is a share from 0 to 1, not 1.5"]);
}

#[test]
fn several_problems_are_all_shown_with_their_lines() {
    let sandbox = Sandbox::new();
    let (text, line) = with_line("count = 3", "count = 0\ngrace = \"soon\"");
    sandbox.write("many.toml", &text);
    let output = sandbox
        .weighbridge([
            "run",
            "many.toml",
            "--set",
            "load.concurrency=0",
            "--set",
            "workload.stream_share=1.5",
            "--set",
            "pricing.budget=lots",
        ])
        .exits(2)
        .says(&[
            &format!("many.toml:{line}: load.count: must be at least 1"),
            &format!("many.toml:{}: load.grace: `soon` is not a duration", line + 1),
            "--set load.concurrency=0: load.concurrency: must be at least 1",
            "--set workload.stream_share=1.5: workload.stream_share: is a share from 0 to 1, not 1.5",
            "--set pricing.budget=lots: pricing.budget: `lots` is not an amount",
            "write `5 USD`",
        ]);
    assert_eq!(output.stderr.trim().lines().count(), 5, "{}", output.stderr);
}

#[test]
fn an_unknown_model_with_a_budget_or_a_cost_gate() {
    let model = "target.model=magistral-smal-latest";
    let expected = [
        "target.model: `magistral-smal-latest` has no price in builtin:keeprouter",
        "did you mean `magistral-small-latest`?",
        "add a row for it",
        "ministral-3b-latest",
    ];
    refused(&[model, "gates=[]", "pricing.budget=1 USD"])
        .says(&expected)
        .says(&["the budget needs one"]);
    refused(&[model, "gates=[\"cost.delta == 0 USD\"]"])
        .says(&expected)
        .says(&["the gate `cost.delta == 0 USD` needs one"]);
}

#[test]
fn a_prefix_of_no_size_and_a_tier_without_a_name() {
    for tokens in ["0", "2000000"] {
        refused(&[&format!("workload.cached_prefix={{tokens={tokens}}}")])
            .says(&["workload.cached_prefix.tokens: must be from 1 to 1000000"]);
    }
    refused(&["workload.cached_prefix={tokens=9,ttl=\"2h\"}"]).says(&["`2h`", "`5m`"]);
    refused(&["target.service_tier=\"\""]).says(&["target.service_tier: must not be empty"]);
    refused(&["pricing.policy={abort=\"fre\"}"]).says(&["did you mean `free`?", "`delivered`"]);
}

#[test]
fn a_budget_or_a_gate_in_another_currency() {
    refused(&["pricing.budget=5 EUR"]).says(&["pricing.budget: is in EUR", "is in USD"]);
    refused(&["gates=[\"cost.delta == 0 EUR\"]"]).says(&["gates[0]", "is in EUR", "is in USD"]);
}

#[test]
fn a_malformed_price_row_has_its_line_and_column() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "prices.csv",
        "model,currency,per_tokens,input,output\n\
         magistral-small-latest,USD,1000000,0.50,1.50\n\
         codestral-latest,USD,1000000,cheap,0.90\n",
    );
    for args in [
        ["run", "quick.toml", "--set", "pricing.table=prices.csv"].as_slice(),
        &[
            "quote",
            "codestral-latest",
            "--input",
            "1",
            "--output",
            "1",
            "--prices",
            "prices.csv",
        ],
    ] {
        sandbox
            .weighbridge(args)
            .exits(2)
            .says(&["prices.csv:3:4: column `input`", "cheap"]);
    }
    sandbox.write(
        "prices.csv",
        "model,currency,per_tokens,imput,output\nm,USD,1000000,1,1\n",
    );
    sandbox
        .weighbridge(["run", "quick.toml", "--set", "pricing.table=prices.csv"])
        .exits(2)
        .says(&["prices.csv:1:4: unknown column `imput`", "`input`"]);
}

#[test]
fn a_missing_price_file() {
    refused(&["pricing.table=nowhere.csv"]).says(&[
        "--set pricing.table=nowhere.csv: pricing.table: nowhere.csv: there is no such file",
    ]);
    refused(&["pricing.table=builtin:keprouter"]).says(&["builtin:keeprouter"]);
}

#[test]
fn a_prompt_file_with_a_bad_line() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "prompts.jsonl",
        "{\"prompt\":\"Say hello.\"}\n\n{\"promt\":\"Say goodbye.\"}\n",
    );
    let with = |name: &str| {
        sandbox.weighbridge([
            "run",
            "quick.toml",
            "--set",
            &format!("workload.prompts={name}"),
        ])
    };
    with("prompts.jsonl").exits(2).says(&[
        "prompts.jsonl:3: ",
        "promt",
        "`prompt`",
        "max_output_tokens",
    ]);
    sandbox.write("empty.jsonl", "\n");
    with("empty.jsonl")
        .exits(2)
        .says(&["empty.jsonl", "holds no prompt"]);
    with("nowhere.jsonl")
        .exits(2)
        .says(&["workload.prompts", "nowhere.jsonl: there is no such file"]);
}

#[test]
fn an_unknown_metric_of_a_gate() {
    refused(&["gates=[\"planned > 0\", \"tfft p95 < 1s\"]"]).says(&[
        "gates[1]: `tfft p95 < 1s`: unknown metric `tfft`",
        "did you mean `ttft`?",
        "cost.delta_abs",
    ]);
}

#[test]
fn a_gate_of_the_file_has_its_line() {
    let sandbox = Sandbox::new();
    let text = SCENARIO.replacen(
        "\"error_rate == 0%\",",
        "\"error_rate == 0%\",\n\"e2e < 1s\",",
        1,
    );
    sandbox.write("gate.toml", &text);
    sandbox
        .weighbridge(["check", "gate.toml"])
        .exits(2)
        .says(&["gate.toml:3: gates[1]: `e2e < 1s`: `e2e` needs a statistic: p50"]);
}

#[test]
fn a_gate_on_an_endpoint_that_is_not_loaded() {
    refused(&[
        "target.endpoint=openai",
        "gates=[\"anthropic.ttft p50 < 1s\"]",
    ])
    .says(&[
        "gates[0]: `anthropic.ttft p50 < 1s`",
        "the endpoint is not loaded",
        "`target.endpoint`",
    ]);
}

#[test]
fn a_variable_without_a_key() {
    let sandbox = Sandbox::new();
    let upstream = Upstream::start(quick());
    let program = || {
        sandbox
            .program(["run", "live.toml", "--target", &upstream.origin])
            .args(["--set", "target.api_key_env=WB_TEST_KEY", "--out", "out"])
    };
    let expected = [
        "`WB_TEST_KEY`",
        "`target.api_key_env`",
        "is not set",
        "export it",
    ];
    program().output().exits(2).says(&expected);
    program()
        .env("WB_TEST_KEY", "")
        .output()
        .exits(2)
        .says(&expected);
    program()
        .env("WB_TEST_KEY", "two\nlines")
        .output()
        .exits(2)
        .says(&["`WB_TEST_KEY`", "cannot be sent in a header"]);
    assert_eq!(upstream.journal().len(), 0, "nothing was sent");
    // The same folder is still good once the key is there.
    program().env("WB_TEST_KEY", "sk-1").output().exits(0);
}

#[test]
fn a_key_instead_of_the_name_of_its_variable_is_not_repeated() {
    let output =
        refused(&["target.api_key_env=sk-MARKED-1"]).says(&["target.api_key_env", "*name*"]);
    assert!(!output.stderr.contains("MARKED"), "{}", output.stderr);
    let output = refused(&[
        "target.base_url=http://me:MARKED@gateway.invalid",
        "offline={}",
    ])
    .says(&["target.base_url", "target.api_key_env"]);
    assert!(!output.stderr.contains("MARKED"), "{}", output.stderr);
    let output = refused(&["target.headers.Authorization=Bearer MARKED"])
        .says(&["target.headers.Authorization", "target.api_key_env"]);
    assert!(!output.stderr.contains("MARKED"), "{}", output.stderr);
}

#[test]
fn a_refused_preflight_names_endpoint_status_and_what_to_check() {
    let sandbox = Sandbox::new();
    let locked = Upstream::start(mock_upstream::Config {
        api_key: Some("sk-right".to_owned()),
        ..quick()
    });
    for (endpoint, out) in [("openai", "a"), ("anthropic", "b")] {
        sandbox
            .program(["run", "live.toml", "--target", &locked.origin])
            .args(["--endpoint", endpoint, "--out", out])
            .args(["--set", "target.api_key_env=WB_TEST_KEY"])
            .env("WB_TEST_KEY", "sk-wrong")
            .output()
            .exits(2)
            .says(&[
                &format!("the {endpoint} endpoint refused the preflight request with status 401"),
                "check the key and `target.api_key_env`",
            ]);
    }
    let other = Upstream::start(mock_upstream::Config {
        models: Some(vec!["another-model".to_owned()]),
        ..quick()
    });
    sandbox
        .weighbridge(["run", "live.toml", "--target", &other.origin, "--out", "c"])
        .exits(2)
        .says(&[
            "the openai endpoint refused the preflight request with status 404",
            "`target.base_url`, `target.model` and `target.endpoint`",
        ]);
    assert_eq!(other.stats().requests, 1, "no load after a refusal");
}

#[test]
fn a_folder_with_something_in_it() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("out")).expect("a folder");
    let kept = sandbox.write("out/thesis.txt", "mine");
    sandbox
        .weighbridge(["run", "quick.toml", "--out", "out"])
        .exits(2)
        .says(&["out is not empty", "`--out`"]);
    assert_eq!(std::fs::read(kept).expect("still there"), b"mine");
}

#[test]
fn a_folder_that_cannot_be_written() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "");
    // Also for a user whom no permission stops.
    for out in ["file", "file/out"] {
        sandbox
            .weighbridge(["run", "quick.toml", "--out", out])
            .exits(2)
            .says(&[&format!("cannot write {out}: ")]);
    }
}

#[test]
fn a_live_target_without_a_budget_needs_a_yes() {
    let sandbox = Sandbox::new();
    // Were anything sent, it would go to this proxy.
    let proxy = Scripted::start(|_| response("500 Internal Server Error", &[], "proxied"));
    let program = |args: &[&str]| {
        sandbox
            .program(["run", "live.toml", "--target", "http://gateway.invalid"])
            .args(args)
            .env("http_proxy", &proxy.origin)
    };
    program(&["--out", "out"]).output().exits(2).says(&[
        "http://gateway.invalid is a live target",
        "no budget",
        "`pricing.budget`",
        "`--yes`",
    ]);
    assert_eq!(proxy.accepted(), 0, "nothing may be sent");
    assert!(!sandbox.path("out").exists());

    program(&["--yes", "--out", "a"]).output().exits(1);
    assert!(proxy.accepted() > 0, "the proxy would have seen it");
    let before = proxy.accepted();
    program(&["--set", "pricing.budget=1 USD", "--out", "b"]).output();
    assert!(proxy.accepted() > before, "a budget is as good as a yes");
}

#[test]
fn a_folder_that_holds_no_run() {
    let sandbox = Sandbox::new();
    for folder in [".", "nowhere"] {
        sandbox.weighbridge(["report", folder]).exits(2).says(&[
            &format!("{folder} holds no run"),
            "`run.json` is missing",
            "`weighbridge run`",
        ]);
    }
}

#[test]
fn a_wrong_command_line() {
    let sandbox = Sandbox::new();
    sandbox
        .weighbridge(["runn"])
        .exits(2)
        .says(&["runn", "run"]);
    sandbox
        .weighbridge(["run", "--ouut", "x"])
        .exits(2)
        .says(&["--ouut", "--out"]);
    sandbox.weighbridge::<&str>([]).exits(2).says(&["Usage"]);
}

#[test]
fn a_budget_without_a_price_on_the_day_of_the_run() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "old.csv",
        "model,currency,per_tokens,input,output,effective_to\n\
         magistral-small-latest,USD,1000000,0.50,1.50,2020-01-01\n",
    );
    sandbox
        .program(["run", "quick.toml", "--out", "out"])
        .args(["--set", "pricing.table=old.csv"])
        .args(["--set", "pricing.budget=1 USD"])
        .args(["--set", "gates=[]"])
        .output()
        .exits(2)
        .says(&[
            "old.csv: no row for `magistral-small-latest` holds on ",
            "add one",
        ]);
    assert!(
        !sandbox.path("out").exists(),
        "found before anything is made"
    );
}
