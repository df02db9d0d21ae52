//! Which requests are refused, and how.

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::*;

/// Status and error message of a request that is refused on `path`.
fn refused(path: &str, body: &str, config: &Config) -> (u16, Value) {
    let script = ask_with(path, body.as_bytes(), &HeaderMap::new(), config);
    let body = whole_body(&script);
    (script.status.as_u16(), body)
}

#[test]
fn bad_requests_are_refused_in_the_shape_of_the_api() {
    for (body, message) in [
        ("{", "the body is not valid JSON"),
        ("{}", "model: field required"),
        (r#"{"model":"m"}"#, "messages: field required"),
        (r#"{"model":"m","messages":[]}"#, "messages: field required"),
        (
            r#"{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"x"}]}"#,
            "max_tokens: must be",
        ),
        (
            r#"{"model":"m","max_tokens":1,"messages":[{}],"tools":[{}]}"#,
            "tools: expected",
        ),
        (
            r#"{"model":"m","max_tokens":1,"messages":[{}],"tool_choice":"sometimes"}"#,
            "tool_choice: expected",
        ),
    ] {
        let (status, error) = refused(CHAT_COMPLETIONS, body, &config());
        let text = error["error"]["message"].as_str().expect("a message");
        assert!(
            status == 400 && text.starts_with(message),
            "{body}: {error}"
        );
        assert_eq!(error["error"]["type"], "invalid_request_error");
        let (status, error) = refused(CHAT_COMPLETIONS, body, &mistral());
        assert!(
            status == 400 && error["object"] == "error",
            "{body}: {error}"
        );
        let (status, error) = refused(MESSAGES, body, &config());
        let text = error["error"]["message"].as_str().expect("a message");
        assert!(
            status == 400 && text.starts_with(message),
            "{body}: {error}"
        );
        assert_eq!(
            (&error["type"], &error["error"]["type"]),
            (&json!("error"), &json!("invalid_request_error"))
        );
    }
    let (status, error) = refused(MESSAGES, r#"{"model":"m","messages":[{}]}"#, &config());
    assert_eq!(
        (status, &error["error"]["message"]),
        (400, &json!("max_tokens: field required"))
    );
    let named =
        json!({"tool_choice": {"type": "tool", "name": "absent"}, "tools": anthropic_tools()});
    let (status, _) = refused(MESSAGES, &prompt(&named).to_string(), &config());
    assert_eq!(status, 400);
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
