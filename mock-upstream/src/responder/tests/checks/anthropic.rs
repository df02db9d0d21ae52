//! What Anthropic's API refuses, and what it takes.

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::*;

/// Checks how a request is refused that is a prompt with `more` on top.
fn check(more: &Value, message: &str) {
    let (status, error) = refused(MESSAGES, &prompt(more).to_string(), &config());
    let said = error["error"]["message"].as_str().expect("a message");
    assert!(
        status == 400 && said.starts_with(message),
        "{more}: {error}"
    );
    let expected = json!({"type": "error", "error": {"type": "invalid_request_error", "message": said},
        "request_id": "req_0000000000000007"});
    assert_eq!(error, expected);
}

fn tool(name: &str) -> Value {
    json!([{"name": name, "input_schema": {}}])
}

#[test]
fn fields_of_the_wrong_type_or_size_are_named() {
    let long = "m".repeat(257);
    for (more, message) in [
        (json!({"model": null}), "model: Field required"),
        (
            json!({"model": long}),
            "model: String should have at most 256 characters",
        ),
        (json!({"max_tokens": null}), "max_tokens: Field required"),
        (
            json!({"max_tokens": 0}),
            "max_tokens: Input should be greater than or equal to 1",
        ),
        (
            json!({"max_tokens": 2.5}),
            "max_tokens: Input should be a valid integer",
        ),
        (json!({"foo": 1}), "foo: Extra inputs are not permitted"),
        (
            json!({"max_completion_tokens": 1}),
            "max_completion_tokens: Extra inputs are not permitted",
        ),
        (
            json!({"stream": 1}),
            "stream: Input should be a valid boolean",
        ),
    ] {
        check(&more, message);
    }
}

#[test]
fn messages_are_checked_one_by_one() {
    let messages = |message: Value| json!({"messages": [message]});
    for (more, message) in [
        (json!({"messages": null}), "messages: Field required"),
        (
            json!({"messages": {}}),
            "messages: Input should be a valid list",
        ),
        (
            json!({"messages": []}),
            "messages: at least one message is required",
        ),
        (
            messages(json!("hi")),
            "messages.0: Input should be a valid dictionary",
        ),
        (
            messages(json!({"role": "system", "content": ""})),
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        (
            messages(json!({"role": "assistant", "content": "x"})),
            "messages: first message must use the \"user\" role",
        ),
        (
            messages(json!({"role": "user"})),
            "messages.0.content: Field required",
        ),
        (
            messages(json!({"role": "user", "content": 1})),
            "messages.0.content: Input should be a valid list",
        ),
        (
            messages(json!({"role": "user", "content": [{"type": "smell"}]})),
            "messages.0.content.0: Input tag 'smell' found using 'type' does not match any of the expected tags: 'compaction', ",
        ),
        (
            messages(json!({"role": "user", "content": [{"type": "text"}]})),
            "messages.0.content.0.text.text: Field required",
        ),
        (
            messages(json!({"role": "user", "content": [{"text": "x"}]})),
            "messages.0.content.0.type: Field required",
        ),
    ] {
        check(&more, message);
    }
}

#[test]
fn tools_and_their_choice_are_checked() {
    let long = "m".repeat(257);
    for (more, message) in [
        (
            json!({"tools": [{"name": "a"}]}),
            "tools.0.custom.input_schema: Field required",
        ),
        (
            json!({"tools": tool("a b")}),
            "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
        ),
        (
            json!({"tools": tool(&long)}),
            "tools.0.custom.name: String should have at most 128 characters",
        ),
        (
            json!({"tools": tool("a"), "tool_choice": {"type": "required"}}),
            "tool_choice: Input tag 'required' found using 'type' does not match any of the expected tags: 'auto', 'any', 'tool', 'none'",
        ),
        (
            json!({"tools": tool("a"), "tool_choice": {"type": "tool"}}),
            "tool_choice.tool.name: Field required",
        ),
        (
            json!({"tools": tool("a"), "tool_choice": {"type": "tool", "name": "b"}}),
            "tool_choice names `b`, which is no offered tool",
        ),
        (
            json!({"tool_choice": "auto"}),
            "tool_choice: Input should be a valid dictionary",
        ),
    ] {
        check(&more, message);
    }
}

#[test]
fn thinking_has_a_budget_and_is_free_to_call() {
    for (more, message) in [
        (
            json!({"thinking": {"type": "much"}}),
            "thinking: Input tag 'much' found using 'type'",
        ),
        (
            json!({"thinking": {"type": "enabled"}}),
            "thinking.enabled.budget_tokens: Field required",
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 1023}}),
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            json!({"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 2000}}),
            "`max_tokens` must be greater than `thinking.budget_tokens`.",
        ),
        (
            json!({"max_tokens": 2001, "thinking": {"type": "enabled", "budget_tokens": 2000}, "tools": tool("a"), "tool_choice": {"type": "any"}}),
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
        (
            json!({"max_tokens": 2001, "thinking": {"type": "enabled", "budget_tokens": 2000}, "tools": tool("a"),
            "tool_choice": {"type": "tool", "name": "a"}}),
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
    ] {
        check(&more, message);
    }
}

#[test]
fn empty_texts_and_values_out_of_range_are_refused() {
    let said = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let empty = "messages.0: all messages must have non-empty content except for the optional final assistant message";
    let text = |more: Value| {
        let mut block = json!({"type": "text", "text": "x"});
        block["cache_control"] = more;
        block
    };
    let marked = text(json!({"type": "ephemeral"}));
    for (more, message) in [
        (said(json!("")), empty),
        (said(json!([])), empty),
        (
            said(json!([{"type": "text", "text": ""}])),
            "messages: text content blocks must be non-empty",
        ),
        (
            json!({"system": [{"type": "text", "text": ""}]}),
            "system: text content blocks must be non-empty",
        ),
        (json!({"temperature": 1.5}), "temperature: range: 0..1"),
        (json!({"temperature": -0.5}), "temperature: range: 0..1"),
        (
            json!({"max_tokens": 2000, "temperature": 0.5, "thinking": {"type": "enabled", "budget_tokens": 1024}}),
            "`temperature` may only be set to 1 when thinking is enabled.",
        ),
        (
            json!({"tools": [tool("a")[0], {"type": "bash_20250124", "name": "a"}]}),
            "tools: Tool names must be unique.",
        ),
        (
            json!({"system": [marked, marked], "messages": [{"role": "user", "content": [marked, marked, marked]}]}),
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        ),
        (
            json!({"system": [text(json!({"type": "eternal"}))]}),
            "system.0.cache_control: Input tag 'eternal' found using 'type' does not match any of the expected tags: \
             'ephemeral'",
        ),
        (
            said(json!([text(json!({}))])),
            "messages.0.content.0.cache_control.type: Field required",
        ),
    ] {
        check(&more, message);
    }
    let most = json!({"temperature": 0, "system": [marked, marked], "messages": [{"role": "user", "content": [marked, marked]}]});
    assert_eq!(ask(MESSAGES, &prompt(&most), &config()).status, 200);
}

#[test]
fn tokens_are_counted_of_what_would_be_answered() {
    let mut strict = config();
    strict.behaviour.strict = Some(true);
    for (config, more, message) in [
        (&config(), json!({"max_tokens": null}), ""),
        (
            &config(),
            json!({"max_tokens": null, "thinking": {"type": "enabled", "budget_tokens": 1024}}),
            "",
        ),
        (&strict, json!({}), "anthropic-version: header is required"),
        (
            &config(),
            json!({"foo": 1}),
            "foo: Extra inputs are not permitted",
        ),
        (
            &config(),
            json!({"messages": [{"role": "system", "content": "x"}]}),
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        (
            &config(),
            json!({"tools": tool("a"), "tool_choice": {"type": "tool", "name": "b"}}),
            "tool_choice names `b`, which is no offered tool",
        ),
    ] {
        let script = ask(COUNT_TOKENS, &prompt(&more), config);
        let body = whole_body(&script);
        assert_eq!(script.status, if message.is_empty() { 200 } else { 400 });
        assert_eq!(
            body["error"]["message"].as_str().unwrap_or_default(),
            message
        );
        assert_eq!(body["input_tokens"].is_u64(), message.is_empty(), "{more}");
    }
}

#[test]
fn everything_that_its_clients_may_send_is_taken() {
    let more = json!({
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}], "temperature": 1, "top_p": 0.5,
        "top_k": 5, "stop_sequences": ["x"], "metadata": {"user_id": "u"}, "service_tier": "auto", "max_tokens": 2000,
        "thinking": {"type": "enabled", "budget_tokens": 1024}, "container": null, "context_management": {}, "mcp_servers": [],
        "tools": [anthropic_tools()[0], {"type": "web_search_20250305", "name": "web_search"}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": NONCE}, {"type": "image", "source": {}},
            {"type": "document", "source": {}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"}, {"type": "server_tool_use", "id": "s", "name": "n", "input": {}},
                {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}, {"type": "text", "text": "x"}]}],
    });
    assert_eq!(ask(MESSAGES, &prompt(&more), &config()).status, 200);
}

#[test]
fn versions_decide_what_is_taken() {
    let sampling = |name: &str| json!({ name: 1 });
    for (version, strict, more, status, message) in [
        (None, None, json!({}), 200, ""),
        (None, Some(false), json!({}), 200, ""),
        (
            None,
            Some(true),
            json!({}),
            400,
            "anthropic-version: header is required",
        ),
        (
            Some("2023-06-01"),
            Some(true),
            sampling("temperature"),
            200,
            "",
        ),
        (
            Some("2023-01-01"),
            None,
            json!({}),
            400,
            "anthropic-version: \"2023-01-01\" is not a valid version",
        ),
        (
            Some("2023-06-01, 2023-06-01"),
            None,
            json!({}),
            400,
            "anthropic-version: \"2023-06-01, 2023-06-01\" is not a valid version",
        ),
        (Some("2026-10-21"), None, json!({}), 200, ""),
        (
            Some("2026-10-21"),
            None,
            sampling("temperature"),
            400,
            "temperature: Extra inputs are not permitted",
        ),
        (
            Some("2026-10-21"),
            None,
            sampling("top_p"),
            400,
            "top_p: Extra inputs are not permitted",
        ),
        (
            Some("2026-10-21"),
            Some(false),
            sampling("top_k"),
            400,
            "top_k: Extra inputs are not permitted",
        ),
    ] {
        let mut config = config();
        config.behaviour.strict = strict;
        let mut headers = HeaderMap::new();
        if let Some(version) = version {
            headers.insert("anthropic-version", HeaderValue::from_static(version));
        }
        let script = ask_with(
            MESSAGES,
            prompt(&more).to_string().as_bytes(),
            &headers,
            &config,
        );
        assert_eq!(script.status, status, "{version:?} {strict:?} {more}");
        if status != 200 {
            assert_eq!(whole_body(&script)["error"]["message"], message);
        }
    }
    // Thinking between calls may take more than one answer is allowed.
    let more = json!({"thinking": {"type": "enabled", "budget_tokens": 4000}});
    let mut headers = HeaderMap::new();
    headers.insert(
        "anthropic-beta",
        HeaderValue::from_static("a-1,interleaved-thinking-2025-05-14"),
    );
    let script = ask_with(
        MESSAGES,
        prompt(&more).to_string().as_bytes(),
        &headers,
        &config(),
    );
    assert_eq!(script.status, 200);
}

#[test]
fn threads_are_refused_so_that_clients_send_whole_conversations() {
    let body = prompt(&json!({"thread": {"type": "create"}}));
    let script = ask(MESSAGES, &body, &config());
    let error = whole_body(&script);
    assert_eq!(script.status, 400);
    assert_eq!(
        error["error"]["details"]["error_code"],
        "thread_unsupported_request"
    );
}
