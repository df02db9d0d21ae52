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
fn a_request_that_goes_on_has_the_last_nonce_that_is_written_as_a_request() {
    let (first, second, third) = ("1".repeat(32), "2".repeat(32), "3".repeat(32));
    let user = |text: String| json!({"role": "user", "content": text});
    let nonce = |path: &str, messages: &Value| {
        let body = json!({"model": "m", "max_tokens": 4, "messages": messages}).to_string();
        let script = ask_with(path, body.as_bytes(), &HeaderMap::new(), &config());
        truth(&script).nonce.clone()
    };
    for (text, expected) in [
        (format!("{first} and a digest, {second}"), &first),
        (format!("{first} [request {second}]"), &second),
        (
            format!("[request {second}] [request {third}] {first}"),
            &third,
        ),
        (
            format!("{first} [request {second}0] [request {second}"),
            &first,
        ),
    ] {
        for path in [CHAT_COMPLETIONS, MESSAGES] {
            let found = nonce(path, &json!([user(text.clone())]));
            assert_eq!(&found, expected, "{path} {text}");
        }
    }
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let result =
        |id: &str, text: String| json!({"role": "tool", "tool_call_id": id, "content": text});
    let conversation = json!([
        user(first.clone()),
        {"role": "assistant", "content": null, "tool_calls": [call("a")]},
        result("a", format!("wind [request {second}]")),
        {"role": "assistant", "content": null, "tool_calls": [call("b")]},
        result("b", format!("rain [request {third}]")),
    ]);
    assert_eq!(nonce(CHAT_COMPLETIONS, &conversation), third);
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let result = |id: &str, content: Value| json!({"type": "tool_result", "tool_use_id": id, "content": content});
    let conversation = json!([
        user(first),
        {"role": "assistant", "content": [call("a")]},
        {"role": "user", "content": [result("a", json!(format!("wind [request {second}]")))]},
        {"role": "assistant", "content": [call("b")]},
        {"role": "user", "content": [
            result("b", json!([{"type": "text", "text": format!("rain [request {third}]")}])),
        ]},
    ]);
    assert_eq!(nonce(MESSAGES, &conversation), third);
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
