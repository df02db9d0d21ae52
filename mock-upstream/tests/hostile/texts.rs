//! Configurations that are garbage, and those that are almost valid.

use std::collections::BTreeSet;

use mock_upstream::Config;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use toml::{Table, Value};

use crate::configurations;

/// A configuration with all keys.
const ALL_KEYS: &str = include_str!("../../fuzz/corpus-seeds/config/all-keys.toml");

/// One with what has no default.
const MORE: &str = include_str!("../../fuzz/corpus-seeds/config/faults-and-profiles.toml");

/// What a value may become.
const VALUES: [&str; 16] = [
    "",
    "nan",
    "-inf",
    "1e308",
    "-0.0",
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "\"\"",
    "\"\\u0000\"",
    "[]",
    "{}",
    "{ fixed = 1, uniform = 2 }",
    "[[], 1]",
    "1979-05-27T07:32:00Z",
    "true",
];

/// An error, or a value that survives being written and read again.
fn is_settled(text: &str) {
    let Ok(config) = Config::from_toml(text, "hostile.toml") else {
        return;
    };
    config.validate("config").expect("what was read is valid");
    let written = toml::to_string(&config).expect("what was read can be written");
    let again = Config::from_toml(&written, "written.toml").expect("what was written can be read");
    assert_eq!(again, config, "{written}");
}

#[test]
fn what_the_other_tests_use_survives() {
    for config in configurations::all() {
        is_settled(&toml::to_string(&config).expect("it can be written"));
    }
    for text in [ALL_KEYS, MORE] {
        assert!(Config::from_toml(text, "seed").is_ok());
        is_settled(text);
    }
}

/// All tables in `value`, each with the keys and indexes that lead to it.
fn tables(value: &Value, way: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Table(table) => {
            found.push(way.clone());
            table
                .iter()
                .map(|(key, value)| (key.clone(), value))
                .collect()
        }
        Value::Array(list) => {
            let numbered = list.iter().enumerate();
            numbered
                .map(|(index, value)| (index.to_string(), value))
                .collect()
        }
        _ => return,
    };
    for (key, value) in inner {
        way.push(key);
        tables(value, way, found);
        way.pop();
    }
}

fn table_at<'a>(document: &'a mut Value, way: &[String]) -> &'a mut Table {
    let inner = way.iter().fold(document, |value, key| match value {
        Value::Array(list) => &mut list[key.parse::<usize>().expect("an index")],
        table => &mut table[key.as_str()],
    });
    inner.as_table_mut().expect("a table")
}

/// The keys of a table, or of all elements of the list that it is in.
fn keys_at(document: &Value, way: &[String]) -> BTreeSet<String> {
    let in_list = |key: &String| key.parse::<usize>().is_ok();
    let way = match way.split_last() {
        Some((key, above)) if in_list(key) => above,
        _ => way,
    };
    let value = way.iter().fold(document, |value, key| match value {
        Value::Array(list) => &list[key.parse::<usize>().expect("an index")],
        table => &table[key.as_str()],
    });
    let tables: Vec<&Table> = match value {
        Value::Array(list) => list.iter().filter_map(Value::as_table).collect(),
        table => table.as_table().into_iter().collect(),
    };
    tables
        .into_iter()
        .flat_map(|table| table.keys().cloned())
        .collect()
}

#[test]
fn the_seed_has_every_key_of_the_schema() {
    let document = Value::Table(ALL_KEYS.parse().expect("TOML"));
    let mut ways = Vec::new();
    tables(&document, &mut Vec::new(), &mut ways);
    let mut kinds = 0;
    for way in ways {
        // A key that there is not: where keys are known, the error lists them.
        let mut other = document.clone();
        let table = table_at(&mut other, &way);
        // No element of a list can have all of its keys.
        let own = keys_at(&document, &way);
        table.insert("no_such_key".to_owned(), Value::Boolean(true));
        let text = toml::to_string(&other).expect("it can be written");
        let Err(error) = Config::from_toml(&text, "seed") else {
            panic!("{way:?} takes any key");
        };
        let Some(known) = error
            .message
            .strip_prefix("unknown field `no_such_key`, expected ")
        else {
            // Names of models and the like.
            continue;
        };
        kinds += 1;
        // A profile may have whatever the file has.
        if way.first().is_some_and(|key| key == "profiles") {
            continue;
        }
        let known = known.split('`').skip(1).step_by(2);
        let missing: Vec<_> = known.filter(|key| !own.contains(*key)).collect();
        assert!(missing.is_empty(), "{way:?} lacks {missing:?}");
    }
    assert!(kinds > 15, "only {kinds} tables say which keys they know");
}

proptest! {
    #[test]
    fn any_text_is_settled(text in "[\\[\\]a-z_.=\"'{}, \n0-9\u{e9}#-]{0,80}") {
        is_settled(&text);
    }

    #[test]
    fn almost_valid_configurations_are_settled(
        base in select(vec![ALL_KEYS, MORE]),
        changes in proptest::collection::vec((any::<Index>(), select(VALUES.to_vec())), 1..4),
    ) {
        let mut lines: Vec<String> = base.lines().map(str::to_owned).collect();
        for (at, value) in changes {
            let line = &mut lines[at.index(base.lines().count())];
            *line = match line.split_once('=') {
                Some((key, _)) => format!("{key}= {value}"),
                // A section goes, and its keys are another's.
                None => value.to_owned(),
            };
        }
        is_settled(&lines.join("\n"));
    }
}
