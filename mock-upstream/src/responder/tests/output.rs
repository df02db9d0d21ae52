//! How much is answered, and when.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;

#[test]
fn both_endpoints_take_the_same_time_and_tokens_for_the_same_prompt() {
    let openai = json!({
        "model": MODEL, "max_completion_tokens": 9, "stream": true, "tools": openai_tools(),
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": format!("{NONCE} what about Paris and Rome")}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Paris\"}"}},
                {"id": "2", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Rome\"}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "sunny all day"},
            {"role": "tool", "tool_call_id": "2", "content": "rain"},
            {"role": "user", "content": "thanks"},
        ],
    });
    let anthropic = json!({
        "model": MODEL, "max_tokens": 9, "stream": true, "tools": anthropic_tools(),
        "system": [{"type": "text", "text": "be brief"}],
        "messages": [
            {"role": "user", "content": format!("{NONCE} what about Paris and Rome")},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "1", "name": "weather", "input": {"city": "Paris"}},
                {"type": "tool_use", "id": "2", "name": "weather", "input": {"city": "Rome"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": "sunny all day"},
                {"type": "tool_result", "tool_use_id": "2", "content": [{"type": "text", "text": "rain"}]},
                {"type": "text", "text": "thanks"}]},
        ],
    });
    let config = Config::default();
    let one = ask(CHAT_COMPLETIONS, &openai, &config);
    let other = ask(MESSAGES, &anthropic, &config);
    assert_eq!(truth(&one).usage, truth(&other).usage);
    let tools: u64 = [
        r#"{"name":"weather","description":"d","schema":{"properties":{"city":{"type":"string"}},"required":["city"],"type":"object"}}"#,
        r#"{"name":"now","description":"","schema":{}}"#,
    ]
    .iter()
    .map(|json| json.len().div_ceil(4) as u64)
    .sum();
    // Words: "be brief" 2, nonce 6 and 5 words, arguments 3 and 3 tokens, 3, 1 and "thanks" 1; six messages.
    assert_eq!(
        truth(&one).usage.input,
        2 + 11 + (3 + 3) + 3 + 1 + 1 + 6 * 4 + tools
    );
    let token_times = |script: &Script| -> Vec<Duration> {
        script
            .frames
            .iter()
            .filter(|(frame, _)| frame.content.token_events > 0)
            .map(|(frame, _)| frame.at)
            .collect()
    };
    assert_eq!(token_times(&one), token_times(&other));
}

#[test]
fn a_fixed_size_is_that_of_every_answer() {
    let mut config = config();
    config.behaviour.output.tokens = 7;
    config.behaviour.output.obey_limit = false;
    config.behaviour.tools.calls = 0;
    for (path, tools) in [
        (CHAT_COMPLETIONS, openai_tools()),
        (MESSAGES, json!([{"name": "now", "input_schema": {}}])),
    ] {
        for limit in [1, 3, 100] {
            let body = prompt(&json!({"stream": true, "max_tokens": limit, "tools": tools}));
            let script = ask(path, &body, &config);
            let truth = script.truth.as_ref().expect("a completion");
            assert_eq!(script.frames.token_events(), 7);
            assert_eq!((truth.usage.output, truth.tool_calls), (7, 0));
        }
    }
}

#[test]
fn output_is_the_limit_up_to_the_cap_and_the_default_without() {
    let mut config = config();
    config.behaviour.output.tokens = 5;
    config.behaviour.output.max_tokens = 8;
    let finish = |limit: Value| {
        let script = ask(
            CHAT_COMPLETIONS,
            &prompt(&json!({"max_tokens": limit})),
            &config,
        );
        let truth = truth(&script);
        (truth.usage.output, truth.finish.clone().expect("a finish"))
    };
    assert_eq!(finish(json!(6)), (6, "length".to_owned()));
    assert_eq!(finish(json!(9)), (8, "stop".to_owned()));
    assert_eq!(finish(Value::Null), (5, "stop".to_owned()));
}

/// The visible text and the reasoning that a client reads out of a script's frames.
fn read_out(script: &Script) -> (String, String) {
    let (mut text, mut reasoning) = (String::new(), String::new());
    let mut read = |part: &Value| {
        let pieces = match &part["thinking"] {
            Value::Array(pieces) => pieces.iter().map(|piece| &piece["text"]).collect(),
            piece => vec![piece],
        };
        text.push_str(part["text"].as_str().unwrap_or_default());
        reasoning.extend(pieces.into_iter().filter_map(Value::as_str));
        reasoning.push_str(part["reasoning_content"].as_str().unwrap_or_default());
        reasoning.push_str(part["reasoning"].as_str().unwrap_or_default());
    };
    for (_, bytes) in script.frames.iter() {
        let frame = std::str::from_utf8(bytes).expect("UTF-8");
        let json = frame.split_once("data: ").map_or(frame, |(_, data)| data);
        let Ok(value) = serde_json::from_str::<Value>(json) else {
            assert!(json == "[DONE]\n\n" || json.starts_with(": "), "{json}");
            continue;
        };
        let choice = &value["choices"][0];
        for message in [
            &choice["delta"],
            &choice["message"],
            &value["delta"],
            &value,
        ] {
            read(message);
            match &message["content"] {
                Value::Array(parts) => parts.iter().for_each(&mut read),
                content => read(&json!({"text": content})),
            }
        }
    }
    (text, reasoning)
}

#[test]
fn digests_are_of_what_a_client_reads_in_every_shape() {
    let digest = |text: &str| {
        let bytes = Sha256::digest(text);
        let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
        (!text.is_empty()).then(|| digits.collect::<Vec<_>>().concat()[..16].to_owned())
    };
    for path in [CHAT_COMPLETIONS, MESSAGES] {
        for dialect in DIALECTS {
            for (reasoning_share, tools, tokens_per_event, unicode) in [
                (0.0, false, 1, false),
                (0.5, false, 1, false),
                (0.5, false, 3, true),
                (1.0, false, 1, true),
                (0.0, true, 1, false),
                (0.5, true, 1, false),
            ] {
                let mut config = config();
                config.behaviour.dialect = dialect;
                config.behaviour.output.reasoning_share = reasoning_share;
                config.behaviour.output.tokens_per_event = tokens_per_event;
                config.behaviour.output.unicode = unicode;
                let mut digests = Vec::new();
                for stream in [false, true] {
                    let mut body = prompt(&json!({"stream": stream, "max_tokens": 4}));
                    if tools {
                        body["tools"] = match path {
                            MESSAGES => anthropic_tools(),
                            _ => openai_tools(),
                        };
                    }
                    let script = ask(path, &body, &config);
                    let truth = truth(&script);
                    let (text, reasoning) = read_out(&script);
                    assert_eq!(text.is_empty(), tools || reasoning_share > 0.9);
                    assert_eq!(reasoning.is_empty(), reasoning_share < 0.1);
                    assert_eq!(
                        [&text, &reasoning]
                            .iter()
                            .any(|text| text.ends_with("é漢🦀 ")),
                        unicode
                    );
                    assert_eq!(truth.text_sha256, digest(&text), "{body}");
                    assert_eq!(truth.reasoning_sha256, digest(&reasoning), "{body}");
                    digests.push((truth.text_sha256.clone(), truth.reasoning_sha256.clone()));
                }
                assert_eq!(
                    digests[0], digests[1],
                    "a stream says what a whole body says"
                );
            }
        }
    }
    // From sha256sum: "01234567.0 01234567.1 " and "01234567.r0 01234567.r1 ".
    let mut config = config();
    config.behaviour.output.reasoning_share = 0.5;
    let script = ask(MESSAGES, &prompt(&json!({"max_tokens": 4})), &config);
    let truth = truth(&script);
    assert_eq!(truth.text_sha256.as_deref(), Some("c85ee6a73a57f2b3"));
    assert_eq!(truth.reasoning_sha256.as_deref(), Some("24bd14059af638f5"));
}

#[test]
fn equal_requests_get_equal_scripts() {
    let body = prompt(&json!({"stream": true}));
    let config = Config::default();
    assert_eq!(
        ask(CHAT_COMPLETIONS, &body, &config),
        ask(CHAT_COMPLETIONS, &body, &config)
    );
}
