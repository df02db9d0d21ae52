//! Which requests are refused, and how.

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::*;

mod anthropic;
mod mistral;
mod mutants;
mod openai;

/// Status and error message of a request that is refused on `path`.
fn refused(path: &str, body: &str, config: &Config) -> (u16, Value) {
    let script = ask_with(path, body.as_bytes(), &HeaderMap::new(), config);
    let body = whole_body(&script);
    (script.status.as_u16(), body)
}

#[test]
fn unknown_fields_are_refused_where_the_api_or_the_configuration_says_so() {
    let body = prompt(&json!({"foo": {"a": 1}})).to_string();
    for (dialect, strict, expected, expected_of_messages) in [
        (Dialect::OpenAi, None, 400, 400),
        (Dialect::Mistral, None, 422, 400),
        (Dialect::Vllm, None, 200, 400),
        (Dialect::OpenRouter, None, 200, 400),
        (Dialect::OpenAi, Some(false), 200, 200),
        (Dialect::Mistral, Some(false), 200, 200),
        (Dialect::Vllm, Some(true), 400, 400),
    ] {
        let mut config = of_dialect(dialect);
        config.behaviour.strict = strict;
        let mut headers = HeaderMap::new();
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
        let status = |path| {
            ask_with(path, body.as_bytes(), &headers, &config)
                .status
                .as_u16()
        };
        assert_eq!(status(CHAT_COMPLETIONS), expected, "{dialect:?} {strict:?}");
        assert_eq!(
            status(MESSAGES),
            expected_of_messages,
            "{dialect:?} {strict:?}"
        );
        // What no API takes is refused by all.
        for path in [CHAT_COMPLETIONS, MESSAGES] {
            let broken = prompt(&json!({"max_tokens": "many"})).to_string();
            let script = ask_with(path, broken.as_bytes(), &headers, &config);
            assert!(
                matches!(script.status.as_u16(), 400 | 422),
                "{dialect:?} {strict:?}"
            );
        }
    }
}

#[test]
fn errors_have_the_shape_of_their_dialect() {
    let body = prompt(&json!({"n": 2})).to_string();
    let message = "this upstream returns one choice: n must be 1";
    for (dialect, expected) in [
        (
            Dialect::OpenAi,
            json!({"error": {"message": message, "type": "invalid_request_error", "param": "n", "code": null}}),
        ),
        (
            Dialect::Vllm,
            json!({"error": {"message": message, "type": "BadRequestError", "param": "n", "code": 400}}),
        ),
        (
            Dialect::OpenRouter,
            json!({"error": {"message": message, "code": 400}}),
        ),
        (
            Dialect::Mistral,
            json!({"object": "error", "message": message, "type": "invalid_request_error", "param": null, "code": null}),
        ),
    ] {
        assert_eq!(
            refused(CHAT_COMPLETIONS, &body, &of_dialect(dialect)),
            (400, expected)
        );
    }
}

#[test]
fn unknown_paths_models_and_methods_are_refused() {
    let mut config = config();
    config.models = Some(vec!["only".to_owned()]);
    let body = prompt(&json!({})).to_string();
    let (status, error) = refused(CHAT_COMPLETIONS, &body, &config);
    assert_eq!(
        (status, &error["error"]["code"]),
        (404, &json!("model_not_found"))
    );
    let (status, error) = refused(MESSAGES, &body, &config);
    assert_eq!(
        (status, &error["error"]["type"]),
        (404, &json!("not_found_error"))
    );
    assert_eq!(refused("/v2/else", &body, &config).0, 404);
    assert_eq!(refused(MODELS, &body, &config).0, 405);
}

#[test]
fn keys_are_checked_if_there_is_one() {
    let mut config = config();
    config.api_key = Some("right".to_owned());
    let status = |name: &'static str, value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        let body = prompt(&json!({})).to_string();
        let one = ask_with(CHAT_COMPLETIONS, body.as_bytes(), &headers, &config);
        let other = ask_with(MESSAGES, body.as_bytes(), &headers, &config);
        assert_eq!(one.status, other.status);
        assert_eq!(truth(&one).nonce, NONCE);
        one.status.as_u16()
    };
    assert_eq!(status("authorization", "Bearer right"), 200);
    assert_eq!(status("x-api-key", "right"), 200);
    assert_eq!(status("authorization", "Bearer wrong"), 401);
    assert_eq!(status("authorization", "right"), 401);
    assert_eq!(status("x-other", "right"), 401);
}

#[test]
fn bodies_that_readers_of_the_journal_could_not_take_are_refused() {
    let mut config = of_dialect(Dialect::Vllm);
    config.behaviour.strict = Some(false);
    config.journal_bodies = true;
    for (levels, status) in [(100, 200), (101, 400)] {
        // The body is the first level.
        let deep = (1..levels).fold(json!(1), |deep, _| json!([deep]));
        let body = prompt(&json!({"foo": deep}));
        for path in [CHAT_COMPLETIONS, MESSAGES] {
            let script = ask(path, &body, &config);
            assert_eq!(script.status, status, "{path} {levels}");
            assert_eq!(truth(&script).nonce, NONCE);
            let written = json!({"body": truth(&script).body}).to_string();
            let read: Value = serde_json::from_str(&written).expect("it can be read");
            assert_eq!(read["body"].is_object(), status == 200);
        }
    }
}

#[test]
fn refused_bodies_are_in_the_journal_where_it_has_bodies() {
    for journal_bodies in [false, true] {
        let mut config = config();
        config.journal_bodies = journal_bodies;
        let body = prompt(&json!({"foo": 1}));
        for path in [CHAT_COMPLETIONS, MESSAGES] {
            let script = ask(path, &body, &config);
            assert_eq!(script.status, 400);
            assert_eq!(truth(&script).body, journal_bodies.then(|| body.clone()));
        }
    }
}
