//! Costs that are said after the fact: look-ups and ledgers of an upstream that plants what is wrong
//! with them.

use std::path::Path;

use mock_upstream::Config;
use serde_json::Value;

use crate::facts::{ENDPOINTS, add_up, report, rows};
use crate::program::Sandbox;
use crate::target::{Scripted, Upstream, response};

const LOOKUP: &str = "lookup:{base_url}/api/v1/generation?id={response_id}#/data/total_cost";

/// An upstream that begins at once, with this `[cost]`.
fn upstream(cost: &str) -> Upstream {
    let text =
        format!("[timing]\nttft_ms = {{ fixed = 1.0 }}\ngap_ms = {{ fixed = 1.0 }}\n\n{cost}");
    Upstream::start(Config::from_toml(&text, "mock.toml").expect("a configuration"))
}

/// A scenario of six requests an endpoint with these gates, and these lines under `[pricing]`. No gate is
/// about anything that depends on how busy the machine is.
fn scenario(gates: &str, pricing: &str) -> String {
    format!(
        r#"name = "late"
gates = ["error_rate == 0%", {gates}]

[target]
endpoint = "both"
model = "magistral-small-latest"

[workload]
input_tokens = {{ fixed = 60 }}
output_tokens = {{ fixed = 4 }}

[load]
concurrency = 2
count = 6

[pricing]
{pricing}
"#
    )
}

/// Runs it against `origin`, into `out`; exits with `code`.
fn run(sandbox: &Sandbox, text: &str, origin: &str, code: i32) -> Value {
    sandbox.write("live.toml", text);
    sandbox.run_against(origin).output().exits(code);
    add_up(&sandbox.path("out"))
}

/// (code, count) of an endpoint's findings.
fn findings(report: &Value, endpoint: &str) -> Vec<(String, u64)> {
    let list = report["endpoints"][endpoint]["cost"]["findings"].as_array();
    list.expect("findings")
        .iter()
        .map(|f| {
            let code = f["code"].as_str().expect("a code").to_owned();
            (code, f["count"].as_u64().expect("a count"))
        })
        .collect()
}

fn one(code: &str, count: u64) -> Vec<(String, u64)> {
    vec![(code.to_owned(), count)]
}

fn status(report: &Value, endpoint: &str, status: &str) -> u64 {
    let count = &report["endpoints"][endpoint]["cost"]["statuses"][status];
    count.as_u64().expect("a count")
}

fn ledger(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("ledger.json")).expect("ledger.json");
    serde_json::from_str(&text).expect("JSON")
}

/// (joined, `ledger_only`, duplicate, `out_of_scope`).
fn counts(summary: &Value) -> [u64; 4] {
    let n = |key: &str| summary[key].as_u64().expect("a count");
    let counts = ["joined", "ledger_only", "duplicate", "out_of_scope"].map(n);
    assert_eq!(counts.iter().sum::<u64>(), n("rows"), "{summary}");
    counts
}

#[test]
fn a_cost_that_only_a_look_up_knows_is_asked_for_until_it_does() {
    let upstream = upstream("[cost]\nsurfaces = []\nrecorded_after_ms = 400\n");
    let sandbox = Sandbox::new();
    let text = scenario(
        r#""cost.coverage == 100%", "cost.delta_abs == 0 USD", "cost.findings == 0""#,
        &format!("recorded = [\"default\", \"{LOOKUP}\"]"),
    );
    let report = run(&sandbox, &text, &upstream.origin, 0);
    for name in ENDPOINTS {
        assert_eq!(status(&report, name, "matched"), 6, "{name}");
    }
    let lookups = rows(&sandbox.path("out/lookups.csv"));
    // The preflight's too.
    assert_eq!(lookups.len(), 14);
    for row in &lookups {
        assert_eq!(row["surface"], LOOKUP);
        assert!(!row["digits"].is_empty(), "{row:?}");
    }
    for row in &lookups {
        let ns = |column: &str| row[column].parse::<u64>().ok();
        assert!(ns("unknown_ns") < ns("known_ns"), "{row:?}");
        assert_eq!(ns("unknown_ns").is_some(), row["tries"] != "1", "{row:?}");
    }
    // From the facts alone, later.
    let again = sandbox.weighbridge(["report", "out", "--json"]).exits(0);
    let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!(again, report);
}

#[test]
fn a_cost_that_comes_too_late_is_late_and_pending() {
    let upstream = upstream(
        "[cost]\nsurfaces = []\nwrong = [{ class = \"LATE\", when = { endpoint = \"openai\", stream = true } }]\n",
    );
    let sandbox = Sandbox::new();
    let text = scenario(
        "",
        &format!("recorded = [\"{LOOKUP}\"]\nlookup_timeout = \"1s\"\nlate_after = \"500ms\""),
    );
    let report = run(&sandbox, &text, &upstream.origin, 0);
    let late = status(&report, "openai", "pending");
    assert!(late > 0, "{report}");
    assert_eq!(status(&report, "openai", "matched"), 6 - late);
    assert_eq!(
        findings(&report, "openai"),
        [one("LATE", late), one("COST_PENDING", late)].concat()
    );
    assert_eq!(status(&report, "anthropic", "matched"), 6);
    assert_eq!(findings(&report, "anthropic"), []);
}

#[test]
fn a_look_up_that_is_refused_says_so_and_ends() {
    let upstream = upstream("[cost]\nsurfaces = []\n");
    let refusing = Scripted::start(|request| {
        assert!(request.key().is_empty(), "the key is the target's alone");
        response("401 Unauthorized", &[], "no")
    });
    let sandbox = Sandbox::new();
    let lookup = LOOKUP.replace("{base_url}", &refusing.origin);
    let text = scenario(
        "",
        &format!("recorded = [\"{lookup}\"]\nlookup_timeout = \"1ms\""),
    )
    .replace("[target]", "[target]\napi_key_env = \"TARGET_KEY\"");
    sandbox.write("live.toml", &text);
    sandbox
        .run_against(&upstream.origin)
        .env("TARGET_KEY", "sk-of-the-target")
        .output()
        .exits(0);
    let report = report(&sandbox.path("out"));
    for name in ENDPOINTS {
        assert_eq!(status(&report, name, "pending"), 6);
        let findings = report["endpoints"][name]["cost"]["findings"].to_string();
        assert!(findings.contains("status 401"), "{findings}");
    }
}

#[test]
fn a_ledger_is_joined_row_by_row_and_waited_for() {
    for format in ["litellm", "openrouter"] {
        let upstream = upstream("[cost]\nrecorded_after_ms = 400\n");
        let sandbox = Sandbox::new();
        let text = scenario(
            r#""cost.findings == 0""#,
            &format!("[pricing.ledger]\nsource = \"{{base_url}}/__mock/ledger?format={format}\""),
        );
        run(&sandbox, &text, &upstream.origin, 0);
        let out = sandbox.path("out");
        let summary = ledger(&out);
        assert_eq!(summary["format"], format);
        let [joined, ledger_only, duplicate, _] = counts(&summary);
        assert_eq!([joined, ledger_only, duplicate], [14, 0, 0], "{summary}");
        assert_eq!(rows(&out.join("ledger.csv")).len(), 14);
        assert!(!out.join(".ledger.download.draft").exists());
    }
}

#[test]
fn everything_that_can_be_wrong_with_a_ledger_is_found() {
    // Six measured requests at each endpoint, and a preflight, which is planted too.
    for (class, rows) in [
        ("LEDGER_MISSING", [7, 0, 0, 0]),
        ("LEDGER_DUPLICATE", [14, 0, 7, 0]),
        ("LEDGER_ORPHAN", [14, 7, 0, 0]),
        ("DAY_BOUNDARY", [14, 0, 0, 0]),
    ] {
        let upstream = upstream(&format!(
            "[[cost.wrong]]\nclass = \"{class}\"\nwhen = {{ endpoint = \"openai\" }}\n"
        ));
        let sandbox = Sandbox::new();
        let text = scenario(
            "",
            "[pricing.ledger]\nsource = \"{base_url}/__mock/ledger?format=litellm\"\nwait = \"0s\"",
        );
        let report = run(&sandbox, &text, &upstream.origin, 0);
        let summary = ledger(&sandbox.path("out"));
        assert_eq!(counts(&summary), rows, "{class}: {summary}");
        let of = if class == "LEDGER_ORPHAN" { 7 } else { 6 };
        assert_eq!(findings(&report, "openai"), one(class, of), "{class}");
        assert_eq!(findings(&report, "anthropic"), [], "{class}");
        let message = &report["endpoints"]["openai"]["cost"]["findings"][0]["message"];
        let message = message.as_str().expect("words");
        assert_eq!(message.contains('$'), class != "DAY_BOUNDARY", "{message}");
    }
}

#[test]
fn surfaces_are_held_against_each_other() {
    let upstream = upstream(
        "[[cost.wrong]]\nclass = \"SURFACE_DISAGREE\"\nwhen = { endpoint = \"openai\" }\n",
    );
    let sandbox = Sandbox::new();
    let text = scenario(
        "",
        &format!(
            "recorded = [\"default\", \"{LOOKUP}\"]\n[pricing.ledger]\nsource = \"{{base_url}}/__mock/ledger?format=openrouter\""
        ),
    );
    let report = run(&sandbox, &text, &upstream.origin, 0);
    assert_eq!(findings(&report, "openai"), one("SURFACE_DISAGREE", 6));
    assert_eq!(findings(&report, "anthropic"), []);
    assert_eq!(status(&report, "openai", "matched"), 6, "the answer stands");
    let words = report["endpoints"]["openai"]["cost"]["findings"][0]["message"].to_string();
    assert!(words.contains(LOOKUP), "{words}");
}

#[test]
fn a_ledger_that_comes_later_is_joined_by_a_report() {
    let upstream = upstream(
        "[[cost.wrong]]\nclass = \"LEDGER_DUPLICATE\"\nwhen = { endpoint = \"anthropic\" }\n",
    );
    let sandbox = Sandbox::new();
    let report = run(&sandbox, &scenario("", ""), &upstream.origin, 0);
    assert_eq!(findings(&report, "anthropic"), []);
    // What a person exports: in columns of their own.
    let measured = crate::facts::measured(&sandbox.path("out"));
    let mut csv = "call,amount,at,who\n".to_owned();
    for row in &measured {
        let line = format!("x,0.000036,{},{}\n", row["sent_utc"], row["response_id"]);
        csv.push_str(&line);
        if row["endpoint"] == "anthropic" {
            csv.push_str(&line);
        }
    }
    sandbox.write("export.csv", &csv);
    let with = |columns: &str| {
        sandbox.weighbridge([
            "report",
            "out",
            "--ledger",
            "export.csv",
            "--ledger-columns",
            columns,
            "--json",
        ])
    };
    with("id=call,id=whom,cost=amount")
        .exits(2)
        .says(&["export.csv", "no column `whom`, did you mean `who`?"]);
    assert!(!sandbox.path("out/ledger.json").exists());
    let output = with("id=call,id=who,cost=amount,started=at").exits(0);
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let summary = ledger(&sandbox.path("out"));
    assert_eq!(counts(&summary), [12, 0, 6, 0]);
    assert_eq!(summary["joined_by"]["who"], 18);
    assert_eq!(findings(&report, "anthropic"), one("LEDGER_DUPLICATE", 6));
    let message = &report["endpoints"]["anthropic"]["cost"]["findings"][0]["message"];
    let message = message.as_str().expect("words");
    assert!(message.contains("$0.000216 too much"), "{message}");
    assert_eq!(findings(&report, "openai"), []);
    // It stays, and so it does when another one joins nothing.
    assert_eq!(add_up(&sandbox.path("out")), report);
    let kept = rows(&sandbox.path("out").join("ledger.csv"));
    sandbox.write("other.csv", "call,amount\nsomebody,0.5\n");
    let columns = ["--ledger-columns", "id=call,cost=amount"];
    sandbox
        .weighbridge(
            ["report", "out", "--ledger", "other.csv"]
                .into_iter()
                .chain(columns),
        )
        .exits(2)
        .says(&[
            "other.csv",
            "none of its 1 rows joins an attempt of this run",
        ]);
    assert_eq!(rows(&sandbox.path("out").join("ledger.csv")), kept);
    assert_eq!(add_up(&sandbox.path("out")), report);
    // What is billed twice is in the headline and in no gate's zero.
    let cost = &report["endpoints"]["anthropic"]["cost"];
    assert_eq!(cost["billed_again"], "0.000216");
    assert_eq!(cost["delta_abs"], "0.000216");
    sandbox.weighbridge(["report", "out"]).exits(0).shows(&[
        "every cost as predicted",
        "LEDGER_DUPLICATE (6, 0.000216 USD too much)",
    ]);
    sandbox
        .weighbridge(["report", "out", "--ledger", "export.csv"])
        .exits(2)
        .says(&["no known format has the columns `call`, `amount`"]);
    sandbox
        .weighbridge([
            "report",
            "out",
            "--ledger",
            "x.csv",
            "--ledger-format",
            "litelm",
        ])
        .exits(2)
        .says(&["did you mean `litellm`?"]);
}

#[test]
fn a_ledger_that_cannot_be_read_leaves_a_gate_on_findings_inconclusive() {
    let upstream = upstream("");
    let sandbox = Sandbox::new();
    let text = scenario(
        r#""cost.delta_abs == 0 USD", "cost.findings == 0""#,
        "[pricing.ledger]\nsource = \"{base_url}/__mock/ledger?format=focus\"\nwait = \"0s\"",
    );
    let report = run(&sandbox, &text, &upstream.origin, 3);
    assert_eq!(
        report["verdict"]["status"], "no_verdict",
        "{}",
        report["verdict"]
    );
    let warnings = report["run"]["warnings"].to_string();
    assert!(warnings.contains("could not be read"), "{warnings}");
    assert!(warnings.contains("FOCUS"), "{warnings}");
    for name in ENDPOINTS {
        assert_eq!(findings(&report, name), one("LEDGER_UNREAD", 6));
    }
}

#[test]
fn a_ledger_file_is_looked_at_before_the_load() {
    let sandbox = Sandbox::new();
    sandbox.write("ab.csv", "a,b\n1,2\n");
    for (source, columns, parts) in [
        ("nofile.csv", "", ["nofile.csv", "there is no such file"]),
        ("ab.csv", "", ["ab.csv", "the columns `a`, `b`"]),
        (
            "ab.csv",
            "columns = { id = \"a\", cost = \"c\" }",
            ["ab.csv", "has no column `c`"],
        ),
    ] {
        let pricing = format!("[pricing.ledger]\nsource = \"{source}\"\n{columns}");
        sandbox.write("live.toml", &scenario("", &pricing));
        for command in [
            &["check", "live.toml"][..],
            &["run", "live.toml", "--out", "out"],
        ] {
            let output = sandbox.weighbridge(command.iter().copied()).exits(2);
            output
                .says(&["live.toml", "pricing.ledger.source", "--ledger FILE"])
                .says(&parts);
        }
        assert!(!sandbox.path("out").exists());
    }
}

#[test]
fn what_a_scenario_says_of_look_ups_and_ledgers_is_checked() {
    let sandbox = Sandbox::new();
    for (pricing, parts) in [
        (
            "recorded = [\"lookup:{base_url}/x?id={id}#/cost\"]",
            &["pricing.recorded[0]", "{response_id}"][..],
        ),
        ("late_after = \"1s\"", &["pricing.late_after", "lookup:"]),
        (
            "recorded = [\"lookup:{base_url}/x?id={trace_id}#/cost\"]\nlate_after = \"61s\"",
            &["pricing.late_after", "pricing.lookup_timeout"],
        ),
        (
            "[pricing.ledger]\nsource = \"x.csv\"\nformat = \"csv\"",
            &["pricing.ledger.columns", "columns = {"],
        ),
        (
            "[pricing.ledger]\nsource = \"https://a:secret@b/x\"",
            &["pricing.ledger.source", "password"],
        ),
        (
            "recorded = [\"lookup:{base_url}/x?id={trace_id}&api%5Fkey=secret#/cost\"]",
            &["pricing.recorded[0]", "credential", "target.headers_env"],
        ),
        (
            "[pricing.ledger]\nsource = \"{base_url}/x?Token=secret\"",
            &["pricing.ledger.source", "credential", "target.headers_env"],
        ),
        (
            "[pricing.ledger]\nsource = \"x.csv\"\ncolumns = { id = 5, cost = \"c\" }",
            &["a column's name such as"],
        ),
    ] {
        sandbox.write("wrong.toml", &scenario("", pricing));
        let output = sandbox.weighbridge(["check", "wrong.toml"]).exits(2);
        assert!(!output.stderr.contains("secret"), "{}", output.stderr);
        output.says(parts);
    }
}
