use crate::program::Sandbox;

const TABLE: &str = "\
model,currency,per_tokens,input,output,cache_read,cache_write_5m,reasoning,tier_above,tier_mode,service_tier,effective_to
m,USD,1000000,1,4,0.1,1.25,,,,,
m,USD,1000000,2,6,0.2,2.5,,200000,whole,,
m,USD,1000000,2,8,0.2,2.5,,,,priority,
old,USD,1000000,1,1,,,,,,,2026-01-01
";

const LITELLM: &str = r#"{
  "sample_spec": {"mode": "chat"},
  "mistral/small": {"litellm_provider": "mistral", "mode": "chat",
    "input_cost_per_token": 5e-07, "output_cost_per_token": 1.5e-06},
  "m": {"litellm_provider": "acme", "mode": "chat",
    "input_cost_per_token": 1.1e-06, "output_cost_per_token": 4e-06},
  "odd": {"litellm_provider": "acme", "mode": "chat",
    "input_cost_per_token": 1e-06, "output_cost_per_token": 4e-06, "input_cost_per_character": 1e-07}
}"#;

#[test]
fn check_says_what_is_in_a_table() {
    let sandbox = Sandbox::new();
    sandbox.write("prices.csv", TABLE);
    sandbox
        .weighbridge(["prices", "check", "prices.csv"])
        .exits(0)
        .shows(&[
            "prices.csv: 4 rows, 2 models, USD",
            "service tiers: priority",
            "1 row for long prompts",
            "cache_read: unknown in 1 row",
        ]);
    sandbox
        .weighbridge(["prices", "check", "builtin:keeprouter"])
        .exits(0)
        .shows(&["7 models"]);
}

#[test]
fn check_says_everything_that_is_wrong_with_its_place() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "bad.csv",
        "model,currency,per_tokens,input,output\nm,USD,7,-1,1\nn,USD,1,1\no,EURO,1,1,1\n",
    );
    sandbox
        .weighbridge(["prices", "check", "bad.csv"])
        .exits(2)
        .says(&[
            "bad.csv:2:3: column `per_tokens`: `7`",
            "bad.csv:2:4: column `input`: `-1` is negative",
            "bad.csv:3:5: the row has 4 fields",
            "bad.csv:4:2: column `currency`: `EURO`",
        ]);
    sandbox
        .weighbridge(["prices", "check", "none.csv"])
        .exits(2)
        .says(&["none.csv", "no such file"]);
}

#[test]
fn show_is_a_table_for_people() {
    let sandbox = Sandbox::new();
    sandbox.write("prices.csv", TABLE);
    let show = |args: &[&str]| {
        sandbox
            .program(["prices", "show", "--prices", "prices.csv"])
            .args(args)
            .output()
    };
    show(&[])
        .exits(0)
        .shows(&["priority", "200000 whole", "old", "0.2"]);
    let of_day = show(&["--at", "2026-01-01"]).exits(0);
    assert!(!of_day.stdout.contains("old"), "{}", of_day.stdout);
    show(&["old", "--at", "2026-01-01"])
        .exits(2)
        .says(&["no price for `old` on 2026-01-01 in prices.csv"]);
    sandbox
        .weighbridge(["prices", "show", "codestral-lates"])
        .exits(2)
        .says(&["did you mean `codestral-latest`?"]);
}

#[test]
fn import_writes_a_table_that_the_program_reads() {
    let sandbox = Sandbox::new();
    sandbox.write("list.json", LITELLM);
    let import = ["prices", "import", "list.json", "--format", "litellm"];
    let shown = sandbox.weighbridge(import).exits(0).says(&[
        "left out: `odd`: `input_cost_per_character` is a price that no column can say",
        "2 of 3 models imported",
    ]);
    assert!(
        shown
            .stdout
            .contains("mistral/small,mistral,USD,1000000,0.5,1.5,"),
        "{}",
        shown.stdout
    );
    sandbox
        .program(import)
        .args([
            "--out",
            "new.csv",
            "--source",
            "a list",
            "--effective-from",
            "2026-07-01",
        ])
        .output()
        .exits(0);
    let written = std::fs::read_to_string(sandbox.path("new.csv")).expect("written");
    assert!(written.contains(",2026-07-01,a list,"), "{written}");
    sandbox
        .program([
            "quote",
            "mistral/small",
            "--input",
            "1000",
            "--output",
            "500",
        ])
        .args(["--prices", "new.csv", "--at", "2026-07-01"])
        .output()
        .exits(0)
        .shows(&["$0.00125", "a list"]);
}

#[test]
fn import_is_narrowed_and_says_what_it_could_not_do() {
    let sandbox = Sandbox::new();
    sandbox.write("list.json", LITELLM);
    let import = |args: &[&str]| {
        sandbox
            .program(["prices", "import", "list.json", "--format", "litellm"])
            .args(args)
            .output()
    };
    import(&["--model", "odd"])
        .exits(1)
        .says(&["0 of 1 models"]);
    import(&["--model", "odd", "--model", "m"])
        .exits(1)
        .says(&["1 of 2 models"]);
    import(&["--provider", "mistral"])
        .exits(0)
        .says(&["1 of 1 models"]);
    import(&["--model", "mistral/smal"])
        .exits(2)
        .says(&["list.json: there is no model `mistral/smal`, did you mean `mistral/small`?"]);
    sandbox
        .weighbridge(["prices", "import", "list.json", "--format", "openrouter"])
        .exits(2)
        .says(&["list.json: not OpenRouter's answer", "missing field `data`"]);
}

#[test]
fn import_shows_what_it_would_change() {
    let sandbox = Sandbox::new();
    sandbox.write("list.json", LITELLM);
    sandbox.write("prices.csv", TABLE);
    let shown = sandbox
        .program(["prices", "import", "list.json", "--format", "litellm"])
        .args(["--model", "m", "--diff", "prices.csv"])
        .output()
        .exits(0)
        .shows(&[
            "m: input 1 -> 1.1 (+10%)",
            "m: cache_read 0.1 -> -",
            "m (priority): removed",
        ]);
    assert!(!shown.stdout.contains("currency"), "{}", shown.stdout);
}

#[test]
fn diff_tells_by_its_exit_code_whether_anything_changed() {
    let sandbox = Sandbox::new();
    sandbox.write("old.csv", TABLE);
    sandbox.write(
        "new.csv",
        &TABLE.replace("m,USD,1000000,1,4,0.1", "m,USD,1000000,0.9,4,0.1"),
    );
    let same = sandbox
        .weighbridge(["prices", "diff", "old.csv", "old.csv"])
        .exits(0);
    assert_eq!(same.stdout, "");
    let changed = sandbox
        .weighbridge(["prices", "diff", "old.csv", "new.csv"])
        .exits(1);
    assert_eq!(changed.stdout, "m: input 1 -> 0.9 (-10%)\n");
    sandbox
        .weighbridge(["prices", "diff", "old.csv", "builtin:keeprouter"])
        .exits(1)
        .shows(&["codestral-latest: added", "m above 200000 tokens: removed"]);
}

#[test]
fn quote_knows_tiers_of_size_and_of_service() {
    let sandbox = Sandbox::new();
    sandbox.write("prices.csv", TABLE);
    let quote = |args: &[&str]| {
        sandbox
            .program(["quote", "m", "--prices", "prices.csv"])
            .args(args)
            .output()
    };
    quote(&["--input", "200000", "--output", "1000"])
        .exits(0)
        .shows(&["$0.204 ", "line 2"]);
    quote(&["--input", "200001", "--output", "1000"])
        .exits(0)
        .shows(&["$0.406002 ", "line 3", "prompts above 200000 tokens"]);
    quote(&[
        "--input",
        "1000",
        "--output",
        "1000",
        "--service-tier",
        "priority",
        "--cache-write",
        "400",
    ])
    .exits(0)
    .shows(&["$0.0102 ", "service tier priority", "cache write"]);
    quote(&[
        "--input",
        "1000",
        "--output",
        "1000",
        "--service-tier",
        "flex",
    ])
    .exits(2)
    .says(&["in the service tier `flex`", "it has standard, priority"]);
    quote(&[
        "--input",
        "1000",
        "--output",
        "1000",
        "--cache-write-1h",
        "1",
    ])
    .exits(2)
    .says(&["`cache_write_1h`"]);
}
