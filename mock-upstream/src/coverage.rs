//! Whether `COVERAGE.md` tells the truth: what it names exists, and what there is has a row.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::json;

use crate::billing::ledger::Format;
use crate::config::{
    Aborts, Arguments, Cache, Class, Delivery, Dialect, Distribution, FaultKind, LineEnding,
    Output, RoundingMode, RoundingStage, Surface, Timing, Tools, UsageInStream, When,
};

/// A row: what it is about, and the tests that show it.
struct Row<'a> {
    section: &'a str,
    /// The first word in code.
    name: &'a str,
    tests: Vec<&'a str>,
}

const TABLE: &str = include_str!("../COVERAGE.md");

fn rows() -> Vec<Row<'static>> {
    let mut section = "";
    let mut rows = Vec::new();
    for line in TABLE.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title;
        }
        let Some(cells) = line.strip_prefix("| ") else {
            continue;
        };
        let cells: Vec<_> = cells.trim_end_matches(" |").split(" | ").collect();
        let [what, _, tests] = cells[..] else {
            panic!("{line} has three cells");
        };
        if tests == "test" {
            continue;
        }
        let tests: Vec<_> = code(tests).collect();
        assert!(!tests.is_empty(), "{line} has a test");
        let name = what.starts_with('`').then(|| code(what).next());
        rows.push(Row {
            section,
            name: name.flatten().unwrap_or_default(),
            tests,
        });
    }
    rows
}

/// What stands between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The names of an enum's values or of a struct's keys, all that there are: serde lists them to whoever uses another.
fn names<T: DeserializeOwned + Debug>(no_such: &serde_json::Value) -> Vec<String> {
    let error = T::deserialize(no_such)
        .expect_err("no such name")
        .to_string();
    let (_, expected) = error.split_once("expected ").expect("the names");
    code(expected).map(str::to_owned).collect()
}

fn values<T: DeserializeOwned + Debug>() -> Vec<String> {
    names::<T>(&json!("?"))
}

fn keys<T: DeserializeOwned + Debug>() -> Vec<String> {
    names::<T>(&json!({"?": 1}))
}

#[test]
fn every_name_of_the_configuration_has_a_row() {
    let rows = rows();
    let formats = Format::NAMES.map(|(name, _)| name.to_owned());
    for (section, names) in [
        ("Profiles and timing", keys::<Timing>()),
        ("Profiles and timing", keys::<Distribution>()),
        ("Profiles and timing", keys::<Output>()),
        ("Profiles and timing", values::<UsageInStream>()),
        ("Profiles and timing", keys::<Cache>()),
        ("Dialects and checks", values::<Dialect>()),
        ("Tool calls", keys::<Tools>()),
        ("Tool calls", values::<Arguments>()),
        ("Delivery", keys::<Delivery>()),
        ("Delivery", values::<LineEnding>()),
        ("Faults", values::<FaultKind>()),
        ("Faults", keys::<When>()),
        ("Bills", values::<Surface>()),
        ("Bills", values::<RoundingMode>()),
        ("Bills", values::<RoundingStage>()),
        ("Bills", values::<Aborts>()),
        ("Bills", values::<Class>()),
        ("Bills", formats.to_vec()),
    ] {
        assert!(names.len() > 1, "{section}: {names:?}");
        for name in names {
            let of_it = rows
                .iter()
                .filter(|row| row.section == section && row.name == name);
            assert_eq!(of_it.count(), 1, "rows of `{name}` in `{section}`");
        }
    }
}

/// The package's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// The source of a module below `folder`.
fn source(folder: &str, modules: &[&str]) -> Option<String> {
    let path = modules
        .iter()
        .fold(PathBuf::from(folder), |path, module| path.join(module));
    let inner = || {
        let (last, outer) = modules.split_last()?;
        let block = format!("mod {last} {{");
        source(folder, outer).filter(|outer| outer.contains(&block))
    };
    read(path.with_extension("rs"))
        .or_else(|| read(path.join("mod.rs")))
        .or_else(inner)
}

/// Whether `line` is among those right above the function, such as attributes and docs.
fn has_above(source: &str, function: &str, line: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let head = format!("fn {function}(");
    let is_head = |line: &&str| {
        let line = line.trim_start_matches("pub ");
        line.trim_start_matches("async ").starts_with(&head)
    };
    lines.iter().position(is_head).is_some_and(|place| {
        let above = lines[..place].iter().rev();
        let mut above = above.take_while(|above| !above.is_empty() && **above != "}");
        above.any(|above| *above == line)
    })
}

/// Whether there is a test that `cargo test` calls so.
fn exists(test: &str) -> bool {
    let in_modules = |folder: &str, path: &str| {
        let mut modules: Vec<_> = path.split("::").collect();
        let function = modules.pop().expect("a name");
        let source = source(folder, &modules);
        source.is_some_and(|source| has_above(&source, function, "#[test]"))
    };
    match test.split_once(' ') {
        None => in_modules("src", test),
        Some(("doc", place)) => {
            let (file, item) = place.split_once(" - ").expect("a file and an item");
            let function = item.rsplit("::").next().expect("a name");
            read(file).is_some_and(|source| has_above(&source, function, "/// ```"))
        }
        Some(("fuzz", target)) => {
            let source = read(format!("fuzz/fuzz_targets/{target}.rs"));
            source.is_some_and(|source| source.contains("fuzz_target!"))
        }
        Some(("sdk", case)) => {
            let cases = read("../tests/sdk/cases.py").expect("the cases of the SDKs");
            cases.contains(&format!("\"{case}\""))
        }
        Some((program, path)) => in_modules(&format!("tests/{program}"), path),
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let rows = rows();
    let tests = rows.iter().flat_map(|row| row.tests.iter().copied());
    // Words around the tables name some, too.
    let others = TABLE.lines().filter(|line| !line.starts_with('|'));
    let others = others.flat_map(code).filter(|word| word.contains("::"));
    let missing: Vec<_> = tests.chain(others).filter(|test| !exists(test)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    for no_test in [
        "responder::tests::no_such_test",
        "responder::tests::billing::body",
        "loopback no::such_file",
        "doc src/lib.rs - MockUpstream::reset",
        "sdk no such case",
        "fuzz no_such_target",
    ] {
        assert!(!exists(no_test), "{no_test}");
    }
}
