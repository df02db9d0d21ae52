//! Configurations that are garbage, and those that are almost valid.

use mock_upstream::Config;
use proptest::prelude::*;
use proptest::sample::{Index, select};

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
