//! Which behaviour answers, and when answers come that depend on others.

use http::StatusCode;

use super::*;
use crate::config::PROFILE_HEADER;

const CONFIG: &str = r#"
    [timing]
    ttft_ms = { fixed = 40 }
    gap_ms = { fixed = 10 }
    [profiles.busy]
    models = ["busy-*"]
    timing.slots = 2
    timing.prefill_us_per_token = 1000
    [profiles.short]
    models = ["short"]
    output.tokens = 1
    output.obey_limit = false
"#;

/// When the frames of an answer leave, in milliseconds, and what the journal says.
fn times(model: &str, profile: Option<&str>, state: &State, at_ms: u64) -> (Vec<u128>, Truth) {
    let config = Config::from_toml(CONFIG, "test").expect("valid");
    let mut headers = HeaderMap::new();
    if let Some(profile) = profile {
        headers.insert(PROFILE_HEADER, profile.parse().expect("a value"));
    }
    let body = prompt(&json!({"model": model, "stream": true})).to_string();
    let received = Received {
        method: &Method::POST,
        path: CHAT_COMPLETIONS,
        headers: &headers,
        body: body.as_bytes(),
        arrival: Arrival {
            at: Duration::from_millis(at_ms),
            ..Arrival::default()
        },
    };
    let script = respond(&received, &config, state);
    let times = script.frames.iter().map(|(frame, _)| frame.at.as_millis());
    (times.collect(), truth(&script).clone())
}

#[test]
fn a_header_or_else_the_model_chooses_the_profile() {
    let state = State::default();
    let profile = |model, header| times(model, header, &state, 0).1.profile;
    assert_eq!(profile(MODEL, None), None);
    assert_eq!(profile("busy-1", None).as_deref(), Some("busy"));
    assert_eq!(profile("busy-1", Some("short")).as_deref(), Some("short"));
    assert_eq!(profile(MODEL, Some("short")).as_deref(), Some("short"));
    // One token in place of the three that the request allows.
    assert_eq!(times("short", None, &state, 0).0, [20, 40, 40, 40]);
    let body = prompt(&json!({})).to_string();
    let mut headers = HeaderMap::new();
    headers.insert(PROFILE_HEADER, "sort".parse().expect("a value"));
    for (config, known) in [
        (CONFIG, "expected one of busy, short"),
        ("", "the configuration has none"),
    ] {
        let config = Config::from_toml(config, "test").expect("valid");
        let script = ask_with(MESSAGES, body.as_bytes(), &headers, &config);
        assert_eq!(script.status, StatusCode::BAD_REQUEST);
        let message = whole_body(&script)["error"]["message"].to_string();
        assert!(message.contains(known), "{message}");
    }
}

#[test]
fn errors_before_the_model_is_known_are_those_of_the_profile_in_the_header() {
    let text = "api_key = \"k\"\nmodels = [\"m\"]\n[profiles.mi]\ndialect = \"mistral\"\n";
    let config = Config::from_toml(text, "test").expect("valid");
    for (profile, flat) in [(Some("mi"), true), (None, false), (Some("x"), false)] {
        for (method, path, key, body, status) in [
            (Method::POST, CHAT_COMPLETIONS, "k", "{", 400),
            (Method::POST, CHAT_COMPLETIONS, "wrong", "{}", 401),
            (Method::POST, "/v1/else", "k", "{}", 404),
            (Method::GET, CHAT_COMPLETIONS, "k", "", 405),
            (Method::GET, "/v1/models/gone", "k", "", 404),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-api-key", key.parse().expect("a value"));
            if let Some(profile) = profile {
                headers.insert(PROFILE_HEADER, profile.parse().expect("a value"));
            }
            let received = Received {
                method: &method,
                path,
                headers: &headers,
                body: body.as_bytes(),
                arrival: Arrival::default(),
            };
            let script = respond(&received, &config, &State::default());
            let error = whole_body(&script);
            assert_eq!(script.status, status, "{profile:?} {path}");
            assert_eq!(error["object"] == "error", flat, "{profile:?} {error}");
            if let Some(truth) = &script.truth {
                assert_eq!(truth.profile.as_deref(), profile.filter(|_| flat));
            }
        }
    }
}

#[test]
fn prompt_tokens_delay_the_first_token() {
    // 11 tokens of a millisecond each, half of the wait before the head.
    assert_eq!(
        times("busy", Some("busy"), &State::default(), 0).0[..3],
        [25, 51, 61]
    );
}

#[test]
fn requests_wait_for_a_slot_in_order_of_receipt() {
    let state = State::default();
    // Each answer takes 71 ms; two are under way at a time.
    let begin = |at_ms| {
        let (times, truth) = times("busy-1", None, &state, at_ms);
        (times[1], truth.queue.as_millis())
    };
    assert_eq!(begin(0), (51, 0));
    assert_eq!(begin(10), (51, 0));
    assert_eq!(begin(20), (51 + 51, 51));
    assert_eq!(begin(20), (51 + 61, 61));
    assert_eq!(begin(300), (51, 0));
    // Another profile has slots of its own.
    assert_eq!(times("short", None, &state, 20).1.queue, Duration::ZERO);
}
