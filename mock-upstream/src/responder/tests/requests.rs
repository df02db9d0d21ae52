//! What a request is called, and what is no completion.

use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;

use super::*;
use crate::responder::identity::nonce_in;

#[test]
fn nonce_is_the_first_run_of_exactly_32_digits_else_the_trace_id() {
    for (text, expected) in [
        (NONCE, Some(NONCE)),
        ("id=0123456789abcdef0123456789abcdef.", Some(NONCE)),
        ("0123456789abcdef0123456789abcde", None),
        ("0123456789abcdef0123456789abcdef0", None),
        ("0123456789ABCDEF0123456789ABCDEF", None),
        (
            "0123456789abcdef0123456789abcdef0 0123456789abcdef0123456789abcdef",
            Some(NONCE),
        ),
    ] {
        assert_eq!(nonce_in(text).as_deref(), expected, "{text}");
    }
    let mut headers = HeaderMap::new();
    let trace = "00-abcdef0123456789abcdef0123456789-0123456789abcdef-01";
    headers.insert("traceparent", HeaderValue::from_static(trace));
    let id = "abcdef0123456789abcdef0123456789";
    let body = prompt(&json!({"messages": [{"role": "user", "content": "hi"}]})).to_string();
    let script = ask_with(MESSAGES, body.as_bytes(), &headers, &config());
    assert_eq!(
        (
            truth(&script).nonce.as_str(),
            truth(&script).trace_id.as_deref()
        ),
        (id, Some(id))
    );
    let script = ask_with(
        MESSAGES,
        prompt(&json!({})).to_string().as_bytes(),
        &headers,
        &config(),
    );
    assert_eq!(
        (
            truth(&script).nonce.as_str(),
            truth(&script).trace_id.as_deref()
        ),
        (NONCE, Some(id))
    );
}

#[test]
fn models_and_token_counts_are_answered_without_a_truth() {
    let received = Received {
        method: &Method::GET,
        path: MODELS,
        headers: &HeaderMap::new(),
        body: b"",
        arrival: Arrival::default(),
    };
    let script = respond(&received, &config(), &State::default());
    let body = whole_body(&script);
    assert_eq!(body["data"].as_array().expect("models").len(), 7);
    assert_eq!(body["data"][0]["id"], "codestral-latest");
    assert!(script.truth.is_none());
    let script = ask(COUNT_TOKENS, &prompt(&json!({})), &config());
    assert_eq!(whole_body(&script), json!({"input_tokens": 11}));
    assert!(script.truth.is_none());
}
