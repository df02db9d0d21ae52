use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::facts::{ENDPOINTS, report};
use crate::program::{Sandbox, files};
use crate::schemas::holds_for_report;

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(folder)
        .into_iter()
        .map(|path| {
            let bytes = std::fs::read(&path).expect("a file");
            (path, bytes)
        })
        .collect()
}

#[test]
fn the_same_facts_give_the_same_bytes() {
    let sandbox = Sandbox::new();
    let first = sandbox
        .weighbridge(["run", "quick.toml", "--out", "out"])
        .exits(0);
    let folder = sandbox.path("out");
    let before = contents(&folder);
    for output in ["report.json", "report.md", "report.txt"] {
        std::fs::remove_file(folder.join(output)).expect("an output");
    }
    let second = sandbox.weighbridge(["report", "out"]).exits(0);
    assert_eq!(second.stdout, first.stdout);
    assert_eq!(contents(&folder), before);
    let json = sandbox.weighbridge(["report", "out", "--json"]).exits(0);
    assert_eq!(json.stdout.as_bytes(), before[&folder.join("report.json")]);
}

#[test]
fn a_folder_that_was_moved_gives_the_same_report() {
    let sandbox = Sandbox::new();
    sandbox
        .weighbridge(["run", "quick.toml", "--out", "out"])
        .exits(0);
    let before = std::fs::read(sandbox.path("out/report.json")).expect("a report");
    std::fs::rename(sandbox.path("out"), sandbox.path("archive")).expect("moved");
    std::fs::remove_file(sandbox.path("quick.toml")).expect("the scenario");
    sandbox.weighbridge(["report", "archive"]).exits(0);
    assert_eq!(
        std::fs::read(sandbox.path("archive/report.json")).expect("a report"),
        before
    );
}

/// Everything in `a` that `b` has otherwise, as JSON pointers.
fn differences(a: &Value, b: &Value, at: &str, found: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) if x.keys().eq(y.keys()) => {
            for (key, value) in x {
                differences(value, &y[key], &format!("{at}/{key}"), found);
            }
        }
        _ if a == b => {}
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn other_prices_change_the_costs_and_nothing_else() {
    let sandbox = Sandbox::new();
    sandbox
        .weighbridge(["run", "quick.toml", "--out", "out"])
        .exits(0);
    sandbox.write(
        "other.csv",
        "model,currency,per_tokens,input,output\nmagistral-small-latest,USD,1000000,1,3\n",
    );
    let before = contents(&sandbox.path("out"));
    let output = sandbox
        .weighbridge(["report", "out", "--prices", "other.csv", "--json"])
        .exits(1);
    assert_eq!(
        contents(&sandbox.path("out")),
        before,
        "the folder keeps its own"
    );
    let own = report(&sandbox.path("out"));
    let other: Value = serde_json::from_str(&output.stdout).expect("JSON");
    holds_for_report(&other);
    let mut found = Vec::new();
    differences(&own, &other, "", &mut found);
    for pointer in &found {
        let about_cost = pointer.contains("/cost/")
            || ["/run/prices_sha256", "/verdict/status", "/verdict/gates"]
                .contains(&pointer.as_str());
        assert!(about_cost, "{pointer} changed too");
    }
    assert!(found.contains(&"/run/prices_sha256".to_owned()));
    for name in ENDPOINTS {
        let cost = |report: &Value, key: &str| -> rust_decimal::Decimal {
            let text = report["endpoints"][name]["cost"][key].as_str();
            text.expect("an amount").parse().expect("decimal text")
        };
        let twice = cost(&own, "predicted") * rust_decimal::Decimal::TWO;
        assert_eq!(cost(&other, "predicted"), twice);
        assert_eq!(cost(&other, "recorded"), cost(&own, "recorded"));
    }
    sandbox
        .weighbridge(["report", "out", "--prices", "other.csv"])
        .exits(1)
        .shows(&["FAIL  cost.delta_abs == 0 USD"]);
    sandbox
        .weighbridge(["report", "out", "--prices", "nowhere.csv"])
        .exits(2)
        .says(&["nowhere.csv: there is no such file"]);
}

#[test]
fn damage_in_the_middle_is_refused_with_its_line() {
    let sandbox = Sandbox::new();
    sandbox
        .weighbridge(["run", "quick.toml", "--out", "out"])
        .exits(0);
    let path = sandbox.path("out/requests.csv");
    let text = std::fs::read_to_string(&path).expect("rows");
    let mut lines: Vec<&str> = text.lines().collect();
    lines[3] = "damage";
    std::fs::write(&path, lines.join("\n") + "\n").expect("written");
    sandbox
        .weighbridge(["report", "out"])
        .exits(2)
        .says(&["requests.csv:4"]);
}

#[test]
fn facts_of_another_version_are_refused() {
    let sandbox = Sandbox::new();
    sandbox
        .weighbridge(["run", "quick.toml", "--out", "out"])
        .exits(0);
    let path = sandbox.path("out/run.json");
    let text = std::fs::read_to_string(&path).expect("a manifest");
    std::fs::write(
        &path,
        text.replacen(weighbridge::record::FACTS_SCHEMA, "weighbridge.facts/99", 1),
    )
    .expect("written");
    sandbox.weighbridge(["report", "out"]).exits(2).says(&[
        "run.json",
        "`weighbridge.facts/99`",
        "use the version that wrote them",
    ]);
}
