//! Any text as a configuration: an error or a value, and a value survives being written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mock_upstream::Config;

fuzz_target!(|text: &str| {
    let Ok(config) = Config::from_toml(text, "fuzz.toml") else {
        return;
    };
    config.validate("config").expect("what was read is valid");
    let written = toml::to_string(&config).expect("what was read can be written");
    let again = Config::from_toml(&written, "written.toml").expect("what was written can be read");
    assert_eq!(again, config);
});
