//! Any request, to every path, dialect and profile: a script comes back, and it is whole.

#![no_main]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use mock_upstream::Config;
use mock_upstream::config::{MARKER_HEADER, PROFILE_HEADER};
use mock_upstream::responder::{Arrival, Received, State, respond};

#[path = "../../tests/hostile/configurations.rs"]
mod configurations;
#[path = "../../tests/hostile/script.rs"]
mod script;

static CONFIGURATIONS: LazyLock<Vec<Config>> = LazyLock::new(configurations::all);

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let line = parts.next().unwrap_or_default();
    let body = parts.next().unwrap_or_default();
    let [path, configuration, rest @ ..] = line else {
        return;
    };
    let paths = configurations::PATHS;
    let text = std::str::from_utf8(rest).unwrap_or("/");
    let (method, path) = match paths.get(usize::from(path.wrapping_sub(b'a'))) {
        Some((method, path)) => (method.parse().expect("a method"), *path),
        None => (Method::POST, text),
    };
    let config = &CONFIGURATIONS[usize::from(*configuration) % CONFIGURATIONS.len()];
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(rest) {
        for name in [PROFILE_HEADER, MARKER_HEADER, "traceparent", "authorization"] {
            headers.insert(name, value.clone());
        }
        for name in ["anthropic-version", "x-api-key", "anthropic-beta"] {
            headers.insert(name, value.clone());
        }
    }
    if config.profiles.get(text).is_none() {
        headers.remove(PROFILE_HEADER);
    }
    let received = Received {
        method: &method,
        path,
        headers: &headers,
        body,
        arrival: Arrival::default(),
    };
    let state = State::default();
    // The second time the same request meets what the first one left behind.
    for _ in 0..2 {
        script::assert_whole(&respond(&received, config, &state));
    }
});
