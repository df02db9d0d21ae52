use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::Sandbox;

fn in_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The file is what the code generates; with `UPDATE_SCHEMAS=1` it becomes that.
#[track_caller]
fn is_generated(path: &str, generated: &str) {
    let file = in_tree(path);
    if std::env::var_os("UPDATE_SCHEMAS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(file.parent().expect("in a folder")).expect("a folder");
        std::fs::write(&file, generated).expect("a file in the tree");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == generated,
        "{path} is not what the code generates; write it again with\n    UPDATE_SCHEMAS=1 cargo test --test cli schemas\nand look at what has changed: other programs rely on it"
    );
}

#[track_caller]
fn holds(schema: &str, value: &Value) {
    let errors = errors(schema, value);
    assert!(errors.is_empty(), "{errors:#?}");
}

fn errors(schema: &str, value: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_str(schema).expect("a schema is JSON");
    jsonschema::validator_for(&schema)
        .expect("a schema")
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// A report fits its published schema.
#[track_caller]
pub fn holds_for_report(report: &Value) {
    holds(&weighbridge::report::schema(), report);
}

/// What a gateway adds fits its published schema.
#[track_caller]
pub fn holds_for_overhead(overhead: &Value) {
    holds(&weighbridge::overhead::schema(), overhead);
}

#[test]
fn the_overhead_schema_is_generated() {
    let schema = weighbridge::overhead::schema();
    is_generated("reports/overhead.schema.json", &schema);
    let wrong = serde_json::json!({"schema": "weighbridge.overhead/1"});
    assert!(!errors(&schema, &wrong).is_empty());
}

#[test]
fn the_report_schema_is_generated() {
    is_generated("reports/report.schema.json", &weighbridge::report::schema());
}

#[test]
fn the_scenario_schema_is_generated() {
    let schema = weighbridge::scenario::schema();
    is_generated("scenarios/scenario.schema.json", &schema);
    let shown = Sandbox::new().weighbridge(["check", "--schema"]).exits(0);
    assert_eq!(shown.stdout, schema);
}

/// A scenario as the JSON that its schema is about.
fn json(toml: &str) -> Value {
    let table: toml::Table = toml::from_str(toml).expect("TOML");
    serde_json::to_value(table).expect("no dates in it")
}

#[test]
fn every_shipped_scenario_is_sound() {
    let schema = weighbridge::scenario::schema();
    let sandbox = Sandbox::new();
    let mut count = 0;
    for entry in std::fs::read_dir(in_tree("scenarios")).expect("scenarios") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        count += 1;
        let text = std::fs::read_to_string(&path).expect("a scenario");
        let value = json(&text);
        let wrong = errors(&schema, &value);
        assert!(wrong.is_empty(), "{}: {wrong:#?}", path.display());
        let mut program = sandbox.program(["check".as_ref(), path.as_os_str()]);
        if let Some(name) = value["target"]["api_key_env"].as_str() {
            program = program.env(name, "sk-dummy");
        }
        let name = value["name"].as_str().expect("a name");
        program.output().exits(0).shows(&[name]);
    }
    assert!(count >= 1);
}

#[test]
fn the_schemas_refuse_what_the_program_refuses() {
    let scenario = weighbridge::scenario::schema();
    holds(&scenario, &json("name = \"x\"\n[load]\nconcurrency = 1"));
    for wrong in [
        "description = \"nameless\"",
        "name = \"x\"\n[load]\nrat = 1",
        "name = \"x\"\n[load]\ncount = -1",
        "name = \"x\"\n[load]\narrivals = \"poison\"",
        "name = \"x\"\nlaod = 1",
    ] {
        assert!(!errors(&scenario, &json(wrong)).is_empty(), "{wrong}");
    }
    let report = weighbridge::report::schema();
    assert!(
        !errors(
            &report,
            &serde_json::json!({"schema": "weighbridge.report/2"})
        )
        .is_empty()
    );
}

#[test]
fn the_copied_scenario_fits_the_schema() {
    let sandbox = Sandbox::new();
    sandbox
        .weighbridge(["run", "quick.toml", "--out", "out"])
        .exits(0);
    let text = std::fs::read_to_string(sandbox.path("out/scenario.toml")).expect("a copy");
    holds(&weighbridge::scenario::schema(), &json(&text));
}
