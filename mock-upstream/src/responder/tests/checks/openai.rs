//! What `OpenAI`'s API refuses, and what it takes.

use serde_json::{Value, json};

use super::*;

/// Checks how a request is refused that is a prompt with `more` on top.
fn check(more: &Value, message: &str, param: &str, code: &str) {
    let (status, error) = refused(CHAT_COMPLETIONS, &prompt(more).to_string(), &config());
    let error = &error["error"];
    let said = error["message"].as_str().expect("a message");
    assert!(
        status == 400 && said.starts_with(message),
        "{more}: {error}"
    );
    assert_eq!(
        (&error["param"], &error["code"]),
        (&json!(param), &json!(code)),
        "{more}"
    );
    assert_eq!(error["type"], "invalid_request_error");
}

fn tool(name: &str) -> Value {
    json!([{"type": "function", "function": {"name": name}}])
}

#[test]
fn what_is_no_request_at_all_is_refused() {
    let deep = |depth: usize| [&"[".repeat(depth)[..], &"]".repeat(depth)].concat();
    for (text, message) in [
        ("{".to_owned(), "the body is not valid JSON"),
        (deep(100_000), "the body is not valid JSON"),
        ("{\"n\": 1e999}".to_owned(), "the body is not valid JSON"),
        ("[]".to_owned(), "the body is no JSON object"),
        ("{}".to_owned(), "you must provide a model parameter"),
    ] {
        let (status, error) = refused(CHAT_COMPLETIONS, &text, &config());
        let said = error["error"]["message"].as_str().expect("a message");
        assert!(status == 400 && said.starts_with(message), "{error}");
    }
}

#[test]
fn fields_of_the_wrong_type_or_size_are_named() {
    let long = "m".repeat(257);
    for (more, message, param, code) in [
        (
            json!({"model": 7}),
            "Invalid type for 'model': expected a string, but got an integer instead.",
            "model",
            "invalid_type",
        ),
        (
            json!({"model": long}),
            "Invalid 'model': string too long.",
            "model",
            "string_above_max_length",
        ),
        (
            json!({"max_tokens": 0}),
            "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead.",
            "max_tokens",
            "integer_below_min_value",
        ),
        (
            json!({"max_completion_tokens": -1}),
            "Invalid 'max_completion_tokens': integer below",
            "max_completion_tokens",
            "integer_below_min_value",
        ),
        (
            json!({"max_tokens": 1.5}),
            "Invalid type for 'max_tokens': expected an integer, but got a decimal instead.",
            "max_tokens",
            "invalid_type",
        ),
        (
            json!({"max_tokens": 1e30}),
            "Invalid type for 'max_tokens'",
            "max_tokens",
            "invalid_type",
        ),
        (
            json!({"temperature": "hot"}),
            "Invalid type for 'temperature': expected a decimal, but got a string instead.",
            "temperature",
            "invalid_type",
        ),
        (
            json!({"stream": "yes"}),
            "Invalid type for 'stream': expected a boolean",
            "stream",
            "invalid_type",
        ),
        (
            json!({"stream": true, "stream_options": {"include_usage": 1}}),
            "Invalid type for 'stream_options.include_usage'",
            "stream_options.include_usage",
            "invalid_type",
        ),
    ] {
        check(&more, message, param, code);
    }
}

#[test]
fn messages_are_checked_one_by_one() {
    let messages = |message: Value| json!({"messages": [message]});
    for (more, message, param, code) in [
        (
            json!({"messages": null}),
            "Missing required parameter: 'messages'.",
            "messages",
            "missing_required_parameter",
        ),
        (
            json!({"messages": []}),
            "Invalid 'messages': empty array.",
            "messages",
            "empty_array",
        ),
        (
            json!({"messages": "hi"}),
            "Invalid type for 'messages': expected an array, but got a string instead.",
            "messages",
            "invalid_type",
        ),
        (
            messages(json!(1)),
            "Invalid type for 'messages[0]': expected an object",
            "messages[0]",
            "invalid_type",
        ),
        (
            messages(json!({})),
            "Missing required parameter: 'messages[0].role'.",
            "messages[0].role",
            "missing_required_parameter",
        ),
        (
            messages(json!({"role": "boss", "content": ""})),
            "Invalid value: 'boss'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.",
            "messages[0].role",
            "invalid_value",
        ),
        (
            messages(json!({"role": "user"})),
            "Missing required parameter: 'messages[0].content'.",
            "messages[0].content",
            "missing_required_parameter",
        ),
        (
            messages(json!({"role": "user", "content": 1})),
            "Invalid type for 'messages[0].content': expected one of a string or array of objects, but got an integer instead.",
            "messages[0].content",
            "invalid_type",
        ),
        (
            messages(json!({"role": "user", "content": [{"type": "smell"}]})),
            "Invalid value: 'smell'.",
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            messages(json!({"role": "user", "content": [{"type": "text"}]})),
            "Missing required parameter: 'messages[0].content[0].text'.",
            "messages[0].content[0].text",
            "missing_required_parameter",
        ),
    ] {
        check(&more, message, param, code);
    }
}

#[test]
fn tools_and_their_choice_are_checked() {
    let long = "m".repeat(257);
    for (more, message, param, code) in [
        (
            json!({"tools": [{"type": "function"}]}),
            "Missing required parameter: 'tools[0].function'.",
            "tools[0].function",
            "missing_required_parameter",
        ),
        (
            json!({"tools": [7]}),
            "Invalid type for 'tools[0]'",
            "tools[0]",
            "invalid_type",
        ),
        (
            json!({"tools": tool("a b")}),
            "Invalid 'tools[0].function.name': string does not match pattern.",
            "tools[0].function.name",
            "invalid_value",
        ),
        (
            json!({"tools": tool(&long)}),
            "Invalid 'tools[0].function.name': string too long.",
            "tools[0].function.name",
            "string_above_max_length",
        ),
        (
            json!({"tools": tool("a"), "tool_choice": "any"}),
            "Invalid value: 'any'. Supported values are: 'none', 'auto', and 'required'.",
            "tool_choice",
            "invalid_value",
        ),
        (
            json!({"tools": tool("a"), "tool_choice": {"type": "function"}}),
            "Missing required parameter: 'tool_choice.function.name'.",
            "tool_choice.function.name",
            "missing_required_parameter",
        ),
    ] {
        check(&more, message, param, code);
    }
}

#[test]
fn what_openai_bounds_is_taken_by_a_lenient_dialect() {
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": "data:"}]}]);
    for (more, message, param, code) in [
        (
            json!({"max_completion_tokens": 3}),
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        ),
        (
            json!({"temperature": 2.5}),
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.",
            "temperature",
            "decimal_above_max_value",
        ),
        (
            json!({"temperature": -1}),
            "Invalid 'temperature': decimal below minimum value. Expected a value >= 0, but got -1 instead.",
            "temperature",
            "decimal_below_min_value",
        ),
        (
            json!({"stop": ["1", "2", "3", "4", "5"]}),
            "Invalid 'stop': array too long.",
            "stop",
            "array_above_max_length",
        ),
        (
            json!({"tools": []}),
            "Invalid 'tools': empty array.",
            "tools",
            "empty_array",
        ),
        (
            json!({"tools": [{"function": {"name": "a"}}]}),
            "Missing required parameter: 'tools[0].type'.",
            "tools[0].type",
            "missing_required_parameter",
        ),
        (
            json!({"response_format": {"type": "xml"}}),
            "Invalid value: 'xml'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            "response_format.type",
            "invalid_value",
        ),
        (
            json!({"reasoning_effort": "lots"}),
            "Invalid value: 'lots'.",
            "reasoning_effort",
            "invalid_value",
        ),
        (
            json!({ "messages": image }),
            "Invalid type for 'messages[0].content[0].image_url': expected an object, but got a string instead.",
            "messages[0].content[0].image_url",
            "invalid_type",
        ),
    ] {
        check(&more, message, param, code);
        let lenient = of_dialect(Dialect::Vllm);
        let script = ask(CHAT_COMPLETIONS, &prompt(&more), &lenient);
        assert_eq!(script.status, 200, "{more}");
    }
    for more in [
        json!({"temperature": 2, "stop": ["1", "2", "3", "4"], "reasoning_effort": "xhigh"}),
        json!({"temperature": 0, "response_format": {"type": "json_schema", "json_schema": {}}}),
    ] {
        assert_eq!(ask(CHAT_COMPLETIONS, &prompt(&more), &config()).status, 200);
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (more, message, param) in [
        (
            json!({"foo": 1}),
            "Unrecognized request argument supplied: foo",
            Value::Null,
        ),
        (
            json!({"foo": 1, "bar": 2}),
            "Unrecognized request arguments supplied: bar, foo",
            Value::Null,
        ),
        (
            json!({"n": 2}),
            "this upstream returns one choice: n must be 1",
            json!("n"),
        ),
        (
            json!({"stream_options": {"include_usage": true}}),
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            json!("stream_options"),
        ),
        (
            json!({"tool_choice": "auto"}),
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            json!("tool_choice"),
        ),
        (
            json!({"parallel_tool_calls": true}),
            "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are specified.",
            json!("parallel_tool_calls"),
        ),
        (
            json!({"tools": tool("a"), "tool_choice": {"type": "function", "function": {"name": "b"}}}),
            "tool_choice names `b`, which is no offered tool",
            json!("tool_choice"),
        ),
    ] {
        let (status, error) = refused(CHAT_COMPLETIONS, &prompt(&more).to_string(), &config());
        let expected = json!({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": null}});
        assert_eq!((status, error), (400, expected), "{more}");
    }
}

#[test]
fn everything_that_openais_clients_may_send_is_taken() {
    let mut body = prompt(&json!({
        "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false},
        "max_tokens": null, "max_completion_tokens": 9, "n": 1, "stop": ["a"], "seed": -1, "user": "u", "store": false,
        "metadata": {"a": "b"}, "service_tier": "auto", "reasoning_effort": "low", "verbosity": "low",
        "response_format": {"type": "json_object"}, "prompt_cache_key": "k", "prompt_cache_retention": "24h",
        "safety_identifier": "s", "web_search_options": {}, "audio": {}, "modalities": ["text"],
        "prediction": {"type": "content", "content": "x"}, "logit_bias": {"1": 1}, "logprobs": true, "top_logprobs": 2,
    }));
    let more = json!({
        "temperature": 1, "top_p": 0.5, "presence_penalty": 0, "frequency_penalty": 0.1, "functions": [],
        "function_call": "none", "parallel_tool_calls": false, "tool_choice": "required",
        "tools": [openai_tools()[0], {"type": "custom", "custom": {"name": "free"}}],
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "be brief"}]},
            {"role": "user", "content": [
                {"type": "text", "text": NONCE}, {"type": "image_url", "image_url": {"url": "data:"}},
                {"type": "file", "file": {}}, {"type": "input_audio", "input_audio": {}}], "name": "n"},
            {"role": "assistant", "refusal": "no", "annotations": [], "audio": null, "function_call": null},
            {"role": "user", "content": ""},
        ],
    });
    for (name, value) in more.as_object().expect("members") {
        body[name] = value.clone();
    }
    for dialect in [Dialect::OpenAi, Dialect::Vllm, Dialect::OpenRouter] {
        let script = ask(CHAT_COMPLETIONS, &body, &of_dialect(dialect));
        assert_eq!(
            script.status,
            200,
            "{:?}",
            String::from_utf8_lossy(script.frames.bytes())
        );
        assert_eq!(truth(&script).tool_calls, 1);
    }
}
