use std::sync::Arc;

use serde_json::{Value, json};

use crate::endpoint::Endpoint;
use crate::prompt::{
    CacheTtl, Call, Message, Prefix, Prompt, Tool, ToolChoice, ToolResult, Toolbox,
};
use crate::protocol::{CredentialError, Dialect, OutputLimitField, credential, encode};

fn plain() -> Prompt {
    Prompt {
        model: "m".into(),
        prefix: None,
        system: None,
        messages: vec![Message::User("Hi".into())],
        tools: Arc::default(),
        cache_conversation: None,
        tool_choice: ToolChoice::Auto,
        parallel_tool_calls: None,
        max_output_tokens: None,
        temperature: None,
        stream: false,
    }
}

/// A prompt with everything: a turn of two calls behind it, one of which failed.
fn full() -> Prompt {
    let call = |id: &str, arguments: &str| Call {
        id: id.into(),
        name: "f".into(),
        arguments: arguments.into(),
    };
    let result = |id: &str, is_error| ToolResult {
        call_id: id.into(),
        name: "f".into(),
        content: format!("result {id}"),
        is_error,
    };
    Prompt {
        prefix: None,
        system: Some("Be brief.".into()),
        messages: vec![
            Message::User("Hi".into()),
            Message::Assistant {
                text: String::new(),
                calls: vec![call("a", r#"{"x": 1.0}"#), call("b", "")],
            },
            Message::ToolResults(vec![result("a", false), result("b", true)]),
            Message::User("Go on".into()),
            Message::Assistant {
                text: "Done".into(),
                calls: vec![],
            },
            Message::User("Thanks".into()),
        ],
        tools: Arc::new(
            Toolbox::new(vec![Tool {
                name: "f".into(),
                description: "Does it.".into(),
                schema: json!({"type": "object"}),
            }])
            .expect("sound schemas"),
        ),
        tool_choice: ToolChoice::Required,
        parallel_tool_calls: Some(false),
        max_output_tokens: Some(64),
        temperature: Some(0.5),
        stream: true,
        ..plain()
    }
}

#[track_caller]
fn check(endpoint: Endpoint, prompt: &Prompt, dialect: &Dialect, expected: &Value) {
    let encoded = encode(endpoint, prompt, dialect);
    let body: Value = serde_json::from_slice(&encoded.body).expect("a JSON body");
    assert_eq!(&body, expected);
    assert_eq!(encoded.path, endpoint.path());
}

#[test]
fn plain_prompts_leave_out_what_is_open() {
    check(
        Endpoint::OpenAi,
        &plain(),
        &Dialect::default(),
        &json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": false}),
    );
    check(
        Endpoint::Anthropic,
        &plain(),
        &Dialect::default(),
        &json!({
            "model": "m",
            "max_tokens": 4096,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            "stream": false,
        }),
    );
}

#[test]
fn a_full_prompt_for_openai() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    check(
        Endpoint::OpenAi,
        &full(),
        &Dialect::default(),
        &json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": null, "tool_calls": [
                    call("a", "{\"x\": 1.0}"), call("b", "")
                ]},
                {"role": "tool", "tool_call_id": "a", "name": "f", "content": "result a"},
                {"role": "tool", "tool_call_id": "b", "name": "f", "content": "result b"},
                {"role": "user", "content": "Go on"},
                {"role": "assistant", "content": "Done"},
                {"role": "user", "content": "Thanks"},
            ],
            "stream": true,
            "stream_options": {"include_usage": true},
            "tools": [{"type": "function", "function": {
                "name": "f", "description": "Does it.", "parameters": {"type": "object"}
            }}],
            "tool_choice": "required",
            "parallel_tool_calls": false,
            "max_tokens": 64,
            "temperature": 0.5,
        }),
    );
}

#[test]
fn a_full_prompt_for_anthropic() {
    check(
        Endpoint::Anthropic,
        &full(),
        &Dialect::default(),
        &json!({
            "model": "m",
            "max_tokens": 64,
            "system": "Be brief.",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1.0}},
                    {"type": "tool_use", "id": "b", "name": "f", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": "result a"},
                    {"type": "tool_result", "tool_use_id": "b", "content": "result b", "is_error": true},
                    {"type": "text", "text": "Go on"},
                ]},
                {"role": "assistant", "content": [{"type": "text", "text": "Done"}]},
                {"role": "user", "content": [{"type": "text", "text": "Thanks"}]},
            ],
            "stream": true,
            "tools": [{"name": "f", "description": "Does it.", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
            "temperature": 0.5,
        }),
    );
}

#[test]
fn tool_choices() {
    for (choice, openai, anthropic) in [
        (
            ToolChoice::Auto,
            json!("auto"),
            json!({"type": "auto", "disable_parallel_tool_use": true}),
        ),
        (ToolChoice::None, json!("none"), json!({"type": "none"})),
        (
            ToolChoice::Named("f".into()),
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true}),
        ),
    ] {
        let prompt = Prompt {
            tool_choice: choice,
            ..full()
        };
        for (endpoint, expected) in [(Endpoint::OpenAi, openai), (Endpoint::Anthropic, anthropic)] {
            let body = encode(endpoint, &prompt, &Dialect::default()).body;
            let body: Value = serde_json::from_slice(&body).expect("a JSON body");
            assert_eq!(body["tool_choice"], expected);
        }
    }
}

#[test]
fn without_tools_nothing_speaks_of_them() {
    for endpoint in Endpoint::ALL {
        let prompt = Prompt {
            tool_choice: ToolChoice::Required,
            parallel_tool_calls: Some(false),
            ..plain()
        };
        let body = encode(endpoint, &prompt, &Dialect::default()).body;
        assert!(!String::from_utf8_lossy(&body).contains("tool"));
    }
}

#[test]
fn dialects() {
    let dialect = Dialect {
        output_limit_field: OutputLimitField::MaxCompletionTokens,
        include_usage: false,
        ..Dialect::default()
    };
    let prompt = Prompt {
        max_output_tokens: Some(7),
        stream: true,
        ..plain()
    };
    check(
        Endpoint::OpenAi,
        &prompt,
        &dialect,
        &json!({
            "model": "m",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": true,
            "max_completion_tokens": 7,
        }),
    );
}

#[test]
fn a_shared_prefix_goes_first_and_is_marked_where_marks_are_needed() {
    let prefix = |ttl| {
        Some(Prefix {
            text: "Long.".into(),
            ttl,
        })
    };
    let dialect = Dialect {
        service_tier: Some("flex".to_owned()),
        ..Dialect::default()
    };
    let system = |endpoint, prompt: &Prompt| {
        let body = encode(endpoint, prompt, &dialect).body;
        let body: Value = serde_json::from_slice(&body).expect("a JSON body");
        assert_eq!(body["service_tier"], "flex");
        match endpoint {
            Endpoint::OpenAi => {
                assert_ne!(body["messages"][1]["role"], "system");
                body["messages"][0].clone()
            }
            Endpoint::Anthropic => body["system"].clone(),
        }
    };
    let alone = Prompt {
        prefix: prefix(CacheTtl::Hour),
        ..plain()
    };
    let both = Prompt {
        prefix: prefix(CacheTtl::FiveMinutes),
        ..full()
    };
    assert_eq!(
        system(Endpoint::OpenAi, &alone),
        json!({"role": "system", "content": "Long."})
    );
    assert_eq!(
        system(Endpoint::OpenAi, &both),
        json!({"role": "system", "content": "Long.\n\nBe brief."})
    );
    let marked = |ttl| {
        json!({"type": "text", "text": "Long.",
               "cache_control": {"type": "ephemeral", "ttl": ttl}})
    };
    assert_eq!(system(Endpoint::Anthropic, &alone), json!([marked("1h")]));
    assert_eq!(
        system(Endpoint::Anthropic, &both),
        json!([marked("5m"), {"type": "text", "text": "Be brief."}])
    );
}

#[test]
fn broken_arguments_become_an_empty_object() {
    for arguments in ["", "{", "[1]", "7", "{} x"] {
        let prompt = Prompt {
            messages: vec![Message::Assistant {
                text: "t".into(),
                calls: vec![Call {
                    id: "a".into(),
                    name: "f".into(),
                    arguments: arguments.into(),
                }],
            }],
            ..plain()
        };
        let body = encode(Endpoint::Anthropic, &prompt, &Dialect::default()).body;
        let body: Value = serde_json::from_slice(&body).expect("a JSON body");
        assert_eq!(
            body["messages"][0]["content"][1]["input"],
            json!({}),
            "{arguments}"
        );
    }
}

#[test]
fn headers() {
    let names = |endpoint, prompt: &Prompt| {
        let headers = encode(endpoint, prompt, &Dialect::default()).headers;
        let mut list: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII")))
            .collect();
        list.sort();
        list
    };
    assert_eq!(
        names(Endpoint::OpenAi, &plain()),
        ["accept: application/json", "content-type: application/json"]
    );
    assert_eq!(
        names(Endpoint::Anthropic, &full()),
        [
            "accept: text/event-stream",
            "anthropic-version: 2023-06-01",
            "content-type: application/json"
        ]
    );
}

#[test]
fn credentials_are_sensitive_and_never_in_errors() {
    let (name, value) = credential(Endpoint::OpenAi, "sk-1").expect("a plain key");
    assert_eq!(
        (name.as_str(), value.as_bytes()),
        ("authorization", &b"Bearer sk-1"[..])
    );
    assert!(value.is_sensitive());
    assert_eq!(format!("{value:?}"), "Sensitive");
    let (name, value) = credential(Endpoint::Anthropic, "sk-2").expect("a plain key");
    assert_eq!(
        (name.as_str(), value.as_bytes()),
        ("x-api-key", &b"sk-2"[..])
    );
    assert!(value.is_sensitive());
    for endpoint in Endpoint::ALL {
        let error = credential(endpoint, "sk-secret\n").expect_err("a line break");
        assert_eq!(error, CredentialError);
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}
