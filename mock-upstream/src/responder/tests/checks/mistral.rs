//! What Mistral's API cannot process.

use serde_json::{Value, json};

use super::*;

#[test]
fn mistral_lists_what_it_cannot_process() {
    let user = json!({"role": "user", "content": "x"});
    for (more, kind, location, message, input) in [
        (
            json!({"model": null}),
            "missing",
            json!(["body", "model"]),
            "Field required",
            Value::Null,
        ),
        (
            json!({"messages": null}),
            "missing",
            json!(["body", "messages"]),
            "Field required",
            Value::Null,
        ),
        (
            json!({"messages": []}),
            "too_short",
            json!(["body", "messages"]),
            "List should have at least 1 item after validation, not 0",
            json!([]),
        ),
        (
            json!({"foo": 1}),
            "extra_forbidden",
            json!(["body", "foo"]),
            "Extra inputs are not permitted",
            json!(1),
        ),
        (
            json!({"max_completion_tokens": 9}),
            "extra_forbidden",
            json!(["body", "max_completion_tokens"]),
            "Extra inputs are not permitted",
            json!(9),
        ),
        (
            json!({"logit_bias": {}}),
            "extra_forbidden",
            json!(["body", "logit_bias"]),
            "Extra inputs are not permitted",
            json!({}),
        ),
        (
            json!({"max_tokens": 0}),
            "greater_than_equal",
            json!(["body", "max_tokens"]),
            "Input should be greater than or equal to 1",
            json!(0),
        ),
        (
            json!({"max_tokens": "x"}),
            "int_type",
            json!(["body", "max_tokens"]),
            "Input should be a valid integer",
            json!("x"),
        ),
        (
            json!({"messages": [{"role": "user", "content": "x", "name": "n"}]}),
            "extra_forbidden",
            json!(["body", "messages", 0, "user", "name"]),
            "Extra inputs are not permitted",
            json!("n"),
        ),
        (
            json!({"messages": [user, {"role": "assistant", "content": "x", "reasoning_content": "r"}, user]}),
            "extra_forbidden",
            json!(["body", "messages", 1, "assistant", "reasoning_content"]),
            "Extra inputs are not permitted",
            json!("r"),
        ),
        (
            json!({"messages": [{"role": "developer", "content": "x"}]}),
            "literal_error",
            json!(["body", "messages", 0, "role"]),
            "Input should be 'system', 'user', 'assistant' or 'tool'",
            json!("developer"),
        ),
    ] {
        let (status, error) = refused(CHAT_COMPLETIONS, &prompt(&more).to_string(), &mistral());
        let detail = json!([{"type": kind, "loc": location, "msg": message, "input": input}]);
        let expected = json!({"object": "error", "message": {"detail": detail}, "type": "invalid_request_error",
            "param": null, "code": null});
        assert_eq!((status, error), (422, expected), "{more}");
    }
    let more = json!({"random_seed": 1, "safe_prompt": false, "prompt_mode": "reasoning", "tool_choice": "any",
        "tools": openai_tools(), "n": 1, "metadata": {}, "stream": true, "stream_options": {"include_usage": true}});
    assert_eq!(
        ask(CHAT_COMPLETIONS, &prompt(&more), &mistral()).status,
        200
    );
}

#[test]
fn a_value_that_is_nearly_too_deep_to_be_read_is_not_repeated() {
    for (depth, repeated) in [(1, true), (60, true), (120, false)] {
        let deep = (0..depth).fold(json!(1), |value, _| json!([value]));
        let body = prompt(&json!({"tool_choice": deep})).to_string();
        let (status, error) = refused(CHAT_COMPLETIONS, &body, &mistral());
        let detail = &error["message"]["detail"][0];
        assert_eq!(
            (status, &detail["loc"]),
            (422, &json!(["body", "tool_choice"]))
        );
        assert_eq!(detail["input"].is_array(), repeated, "{depth}");
    }
}
