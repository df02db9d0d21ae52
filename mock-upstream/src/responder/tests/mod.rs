//! Each shape, read back as JSON.

use std::collections::BTreeMap;

use super::identity::nonce_in;
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

use super::*;
use crate::config::{Dialect, Distribution, Fault, FaultKind, UsageInStream};
use crate::journal::Usage;
use crate::script::{Content, Truth};

const NONCE: &str = "0123456789abcdef0123456789abcdef";
const MODEL: &str = "magistral-small-latest";

/// 40 ms to the first token event, 10 ms between two.
fn config() -> Config {
    let mut config = Config::default();
    config.behaviour.timing.ttft_ms = Distribution::Fixed(40.0);
    config.behaviour.timing.gap_ms = Distribution::Fixed(10.0);
    config
}

fn mistral() -> Config {
    let mut config = config();
    config.behaviour.dialect = Dialect::Mistral;
    config
}

fn ask(path: &str, body: &Value, config: &Config) -> Script {
    ask_with(path, body.to_string().as_bytes(), &HeaderMap::new(), config)
}

fn ask_with(path: &str, body: &[u8], headers: &HeaderMap, config: &Config) -> Script {
    let received = Received {
        method: &Method::POST,
        path,
        headers,
        body,
        arrival: Arrival {
            seq: 7,
            unix_us: 1_700_000_000_000_000,
            at: Duration::ZERO,
        },
    };
    respond(&received, config, &State::default())
}

/// A request for both endpoints, with `more` on top.
fn prompt(more: &Value) -> Value {
    let mut body = json!({
        "model": MODEL,
        "max_tokens": 3,
        "messages": [{"role": "user", "content": format!("{NONCE} hello")}],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

fn openai_tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}},
        {"type": "function", "function": {"name": "now"}},
    ])
}

fn anthropic_tools() -> Value {
    json!([
        {"name": "weather", "description": "d", "input_schema": {
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
        {"name": "now", "input_schema": {}},
    ])
}

/// The time of each frame in milliseconds, what it is for the journal, and its data; comments are left out.
fn chunks(script: &Script) -> Vec<(u128, Content, Value)> {
    script
        .frames
        .iter()
        .filter(|(_, bytes)| !bytes.starts_with(b":"))
        .map(|(frame, bytes)| {
            let text = std::str::from_utf8(bytes).expect("UTF-8");
            let data = text.strip_prefix("data: ").expect("a data line");
            let data = data.strip_suffix("\n\n").expect("a blank line");
            assert!(!data.contains('\n'));
            let data = if data == "[DONE]" {
                json!("[DONE]")
            } else {
                serde_json::from_str(data).expect("JSON")
            };
            (frame.at.as_millis(), frame.content, data)
        })
        .collect()
}

fn events(script: &Script) -> Vec<(u128, Content, String, Value)> {
    script
        .frames
        .iter()
        .map(|(frame, bytes)| {
            let text = std::str::from_utf8(bytes).expect("UTF-8");
            let rest = text.strip_prefix("event: ").expect("an event line");
            let (name, data) = rest.split_once("\ndata: ").expect("a data line");
            let data: Value = serde_json::from_str(data.trim_end()).expect("JSON");
            assert_eq!(data["type"], name);
            assert!(text.ends_with("}\n\n"));
            (frame.at.as_millis(), frame.content, name.to_owned(), data)
        })
        .collect()
}

fn whole_body(script: &Script) -> Value {
    assert_eq!(script.frames.len(), 1);
    assert_eq!(script.headers["content-type"], "application/json");
    assert_eq!(
        script.headers["content-length"],
        script.frames.bytes().len().to_string().as_str()
    );
    serde_json::from_slice(script.frames.bytes()).expect("JSON")
}

fn truth(script: &Script) -> &Truth {
    script.truth.as_ref().expect("a completion has a truth")
}

fn names(events: &[(u128, Content, String, Value)]) -> Vec<&str> {
    events.iter().map(|event| event.2.as_str()).collect()
}

#[test]
fn openai_stream_has_role_tokens_finish_usage_and_terminator() {
    let body = prompt(&json!({"stream": true, "stream_options": {"include_usage": true}}));
    let script = ask(CHAT_COMPLETIONS, &body, &config());
    assert_eq!(
        script.headers["content-type"],
        "text/event-stream; charset=utf-8"
    );
    let chunks = chunks(&script);
    let times: Vec<_> = chunks.iter().map(|chunk| chunk.0).collect();
    assert_eq!(times, [20, 40, 50, 60, 60, 60, 60]);
    for (_, _, chunk) in &chunks[..6] {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["id"], chunks[0].2["id"]);
        assert_eq!(chunk["created"], 1_700_000_000);
        assert_eq!(chunk["model"], MODEL);
    }
    assert_eq!(
        chunks[0].2["choices"],
        json!([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}])
    );
    for i in 0..3 {
        assert_eq!(
            chunks[i + 1].2["choices"][0]["delta"],
            json!({"content": format!("01234567.{i} ")})
        );
        assert_eq!(chunks[i + 1].1, Content::TOKENS);
        assert!(chunks[i + 1].2["usage"].is_null());
    }
    assert_eq!(
        chunks[4].2["choices"],
        json!([{"index": 0, "delta": {}, "finish_reason": "length"}])
    );
    assert_eq!(chunks[5].2["choices"], json!([]));
    assert_eq!(chunks[5].1, Content::COST);
    // 6 tokens for the nonce, 1 for the word, 4 for the message; 0.50 and 1.50 for a million.
    assert_eq!(
        chunks[5].2["usage"],
        json!({
            "prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
            "cost": 0.00001,
        })
    );
    assert_eq!(chunks[6].2, "[DONE]");
    let truth = truth(&script);
    assert_eq!(
        (truth.nonce.as_str(), truth.finish.as_deref()),
        (NONCE, Some("length"))
    );
    assert_eq!((truth.usage.input, truth.usage.output), (11, 3));
    assert_eq!(truth.cost.as_deref(), Some("0.00001"));
}

#[test]
fn openai_stream_says_usage_only_when_asked_or_always() {
    let body = prompt(&json!({"stream": true}));
    let unasked = ask(CHAT_COMPLETIONS, &body, &config());
    assert!(
        chunks(&unasked)
            .iter()
            .all(|chunk| chunk.2.get("usage").is_none())
    );
    assert!(
        unasked
            .frames
            .iter()
            .all(|(frame, _)| !frame.content.has_cost)
    );
    let mut always = config();
    always.behaviour.output.usage_in_stream = UsageInStream::Always;
    let chunks = chunks(&ask(CHAT_COMPLETIONS, &body, &always));
    assert_eq!(chunks[chunks.len() - 2].2["usage"]["completion_tokens"], 3);
}

#[test]
fn openai_stream_reasons_before_it_answers() {
    let mut config = config();
    config.behaviour.output.reasoning_share = 0.5;
    let body = prompt(&json!({"stream": true, "max_completion_tokens": 4}));
    let script = ask(CHAT_COMPLETIONS, &body, &config);
    let deltas: Vec<_> = chunks(&script)[1..5]
        .iter()
        .map(|chunk| chunk.2["choices"][0]["delta"].clone())
        .collect();
    assert_eq!(
        deltas,
        [
            json!({"reasoning_content": "01234567.r0 "}),
            json!({"reasoning_content": "01234567.r1 "}),
            json!({"content": "01234567.0 "}),
            json!({"content": "01234567.1 "}),
        ]
    );
    assert_eq!(
        (truth(&script).usage.output, truth(&script).usage.reasoning),
        (4, 2)
    );
}

#[test]
fn openai_stream_fragments_the_arguments_of_parallel_calls() {
    let body = prompt(&json!({"stream": true, "tools": openai_tools()}));
    let script = ask(CHAT_COMPLETIONS, &body, &config());
    let mut calls = BTreeMap::new();
    for (_, content, chunk) in chunks(&script) {
        for call in chunk["choices"][0]["delta"]["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
        {
            assert_eq!(content, Content::TOKENS);
            let index = call["index"].as_u64().expect("an index");
            let function = &call["function"];
            if let Some(name) = function["name"].as_str() {
                assert_eq!(
                    (call["type"].as_str(), function["arguments"].as_str()),
                    (Some("function"), Some(""))
                );
                assert!(call["id"].as_str().expect("an id").starts_with("call_"));
                assert!(
                    calls
                        .insert(index, (name.to_owned(), String::new(), 0))
                        .is_none()
                );
            } else {
                let (_, arguments, fragments) = calls.get_mut(&index).expect("announced before");
                arguments.push_str(function["arguments"].as_str().expect("a fragment"));
                *fragments += 1;
            }
        }
    }
    assert_eq!(calls[&0].0, "weather");
    assert_eq!(calls[&0].1, r#"{"city":"01234567.c0"}"#);
    assert!(calls[&0].2 > 2);
    assert_eq!((calls[&1].0.as_str(), calls[&1].1.as_str()), ("now", "{}"));
    let truth = truth(&script);
    assert_eq!(truth.finish.as_deref(), Some("tool_calls"));
    assert_eq!(truth.tool_calls, 2);
    // (7 + 22) / 4 and (3 + 2) / 4, rounded up.
    assert_eq!(truth.usage.output, 8 + 2);
}

#[test]
fn tool_choice_decides_who_is_called() {
    let count = |more: Value| {
        let mut body = prompt(&json!({"tools": openai_tools()}));
        for (key, value) in more.as_object().expect("members") {
            body[key] = value.clone();
        }
        let body = whole_body(&ask(CHAT_COMPLETIONS, &body, &config()));
        let calls = body["choices"][0]["message"]["tool_calls"].clone();
        let names: Vec<_> = calls
            .as_array()
            .into_iter()
            .flatten()
            .map(|call| {
                call["function"]["name"]
                    .as_str()
                    .expect("a name")
                    .to_owned()
            })
            .collect();
        names.join(",")
    };
    assert_eq!(count(json!({})), "weather,now");
    assert_eq!(count(json!({"tool_choice": "required"})), "weather,now");
    assert_eq!(count(json!({"tool_choice": "none"})), "");
    assert_eq!(count(json!({"parallel_tool_calls": false})), "weather");
    assert_eq!(
        count(json!({"tool_choice": {"type": "function", "function": {"name": "now"}}})),
        "now"
    );
}

#[test]
fn openai_whole_body_comes_when_a_stream_would_have_ended() {
    let mut config = config();
    config.behaviour.output.reasoning_share = 0.34;
    let script = ask(CHAT_COMPLETIONS, &prompt(&json!({})), &config);
    assert_eq!(
        script.frames.iter().next().expect("a frame").0.at,
        Duration::from_millis(60)
    );
    let body = whole_body(&script);
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(
        body["choices"],
        json!([{"index": 0, "finish_reason": "length", "message": {
            "role": "assistant", "content": "01234567.0 01234567.1 ", "reasoning_content": "01234567.r0 "}}])
    );
    assert_eq!(
        body["usage"]["completion_tokens_details"]["reasoning_tokens"],
        1
    );
}

#[test]
fn mistral_stream_thinks_in_lists_and_ends_with_usage_in_the_finish_chunk() {
    let mut config = mistral();
    config.behaviour.output.reasoning_share = 0.5;
    let script = ask(
        CHAT_COMPLETIONS,
        &prompt(&json!({"stream": true, "max_tokens": 4})),
        &config,
    );
    let chunks = chunks(&script);
    let content = |i: usize| chunks[i].2["choices"][0]["delta"]["content"].clone();
    let thinking = |text| json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]});
    assert_eq!(content(1), json!([thinking("01234567.r0 ")]));
    assert_eq!(
        content(2),
        json!([thinking("01234567.r1 "), {"type": "text", "text": "01234567.0 "}])
    );
    assert_eq!(content(3), "01234567.1 ");
    assert_eq!(chunks[4].2["choices"][0]["finish_reason"], "length");
    assert_eq!(chunks[4].2["usage"]["total_tokens"], 15);
    assert_eq!(chunks[4].1, Content::COST);
    assert_eq!(chunks[5].2, "[DONE]");
    assert_eq!(chunks.len(), 6);
}

#[test]
fn mistral_stream_sends_whole_calls_with_finish_and_usage_in_one_chunk() {
    let body = prompt(&json!({"stream": true, "tools": openai_tools()}));
    let script = ask(CHAT_COMPLETIONS, &body, &mistral());
    let chunks = chunks(&script);
    assert_eq!(chunks.len(), 3);
    assert_eq!(chunks[1].1, Content::TOKENS_AND_COST);
    let choice = &chunks[1].2["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(chunks[1].2["usage"]["completion_tokens"], 10);
    let calls = choice["delta"]["tool_calls"].as_array().expect("calls");
    assert_eq!(calls.len(), 2);
    for call in calls {
        assert!(call.get("index").is_none());
        let id = call["id"].as_str().expect("an id");
        assert!(
            id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{id}"
        );
    }
    assert_eq!(
        calls[0]["function"]["arguments"],
        r#"{"city":"01234567.c0"}"#
    );
}

#[test]
fn mistral_whole_body_has_thinking_and_text_parts() {
    let mut config = mistral();
    config.behaviour.output.reasoning_share = 0.34;
    let body = whole_body(&ask(CHAT_COMPLETIONS, &prompt(&json!({})), &config));
    assert_eq!(
        body["choices"][0]["message"]["content"],
        json!([
            {"type": "thinking", "thinking": [{"type": "text", "text": "01234567.r0 "}]},
            {"type": "text", "text": "01234567.0 01234567.1 "},
        ])
    );
}

#[test]
fn anthropic_stream_orders_its_events_and_blocks() {
    let mut config = config();
    config.behaviour.output.reasoning_share = 0.34;
    let script = ask(MESSAGES, &prompt(&json!({"stream": true})), &config);
    let events = events(&script);
    assert_eq!(
        names(&events),
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    let times: Vec<_> = events.iter().map(|event| event.0).collect();
    assert_eq!(times, [20, 40, 40, 40, 50, 50, 50, 50, 60, 60, 60, 60]);
    let message = &events[0].3["message"];
    assert_eq!(message["content"], json!([]));
    assert_eq!(message["usage"]["input_tokens"], 11);
    assert_eq!(message["usage"]["output_tokens"], 1);
    assert_eq!(events[1].3["content_block"]["type"], "thinking");
    assert_eq!(
        events[3].3["delta"],
        json!({"type": "thinking_delta", "thinking": "01234567.r0 "})
    );
    assert_eq!(events[4].3["delta"]["type"], "signature_delta");
    assert_eq!(events[6].3["index"], 1);
    assert_eq!(
        events[7].3["delta"],
        json!({"type": "text_delta", "text": "01234567.0 "})
    );
    assert_eq!(
        events[10].3["delta"],
        json!({"stop_reason": "max_tokens", "stop_sequence": null})
    );
    assert_eq!(events[10].3["usage"]["output_tokens"], 3);
    assert_eq!(events[10].3["usage"]["cost"], json!(0.00001));
    assert_eq!(script.frames.token_events(), 3);
}

#[test]
fn anthropic_stream_starts_each_call_with_an_empty_fragment() {
    let script = ask(
        MESSAGES,
        &prompt(&json!({"stream": true, "tools": anthropic_tools()})),
        &config(),
    );
    let events = events(&script);
    let mut open = None;
    let mut calls: Vec<(String, String)> = Vec::new();
    let mut fragments_before = 0;
    for (_, content, name, data) in &events {
        match name.as_str() {
            "content_block_start" => {
                assert_eq!(open, None, "one block is open at a time");
                assert_eq!(data["index"], calls.len());
                assert_eq!(data["content_block"]["input"], json!({}));
                assert_eq!(*content, Content::TOKENS);
                open = Some(calls.len());
                fragments_before = 0;
                let name = data["content_block"]["name"].as_str().expect("a name");
                calls.push((name.to_owned(), String::new()));
            }
            "content_block_delta" => {
                let fragment = data["delta"]["partial_json"].as_str().expect("a fragment");
                assert_eq!(fragment.is_empty(), fragments_before == 0);
                assert_eq!((content.token_events > 0), fragments_before > 0);
                fragments_before += 1;
                calls
                    .last_mut()
                    .expect("an open block")
                    .1
                    .push_str(fragment);
            }
            "content_block_stop" => assert_eq!(open.take(), Some(calls.len() - 1)),
            "message_delta" => assert_eq!(data["delta"]["stop_reason"], "tool_use"),
            _ => {}
        }
    }
    let expected = [("weather", r#"{"city":"01234567.c0"}"#), ("now", "{}")];
    assert_eq!(
        calls,
        expected.map(|(name, arguments)| (name.to_owned(), arguments.to_owned()))
    );
}

#[test]
fn anthropic_whole_body_has_all_blocks() {
    let mut config = config();
    config.behaviour.output.reasoning_share = 0.34;
    let body = whole_body(&ask(MESSAGES, &prompt(&json!({})), &config));
    assert_eq!(body["type"], "message");
    assert_eq!(body["content"][0]["thinking"], "01234567.r0 ");
    assert_eq!(
        body["content"][1],
        json!({"type": "text", "text": "01234567.0 01234567.1 "})
    );
    assert_eq!(body["stop_reason"], "max_tokens");
    let body = prompt(&json!({"tools": anthropic_tools(), "tool_choice": {"type": "any"}}));
    let body = whole_body(&ask(MESSAGES, &body, &config));
    assert_eq!(body["content"][1]["input"], json!({"city": "01234567.c0"}));
    assert_eq!(body["content"][2]["name"], "now");
}

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
    };
    for (_, bytes) in script.frames.iter() {
        let frame = std::str::from_utf8(bytes).expect("UTF-8");
        let json = frame.split_once("data: ").map_or(frame, |(_, data)| data);
        let Ok(value) = serde_json::from_str::<Value>(json) else {
            assert_eq!(json, "[DONE]\n\n");
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
        for dialect in [Dialect::OpenAi, Dialect::Mistral] {
            for (reasoning_share, tools, tokens_per_event) in [
                (0.0, false, 1),
                (0.5, false, 1),
                (0.5, false, 3),
                (1.0, false, 1),
                (0.0, true, 1),
                (0.5, true, 1),
            ] {
                let mut config = config();
                config.behaviour.dialect = dialect;
                config.behaviour.output.reasoning_share = reasoning_share;
                config.behaviour.output.tokens_per_event = tokens_per_event;
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
fn several_tokens_share_an_event() {
    let mut config = config();
    config.behaviour.output.tokens_per_event = 2;
    let script = ask(CHAT_COMPLETIONS, &prompt(&json!({"stream": true})), &config);
    let contents: Vec<_> = chunks(&script)[1..3]
        .iter()
        .map(|chunk| chunk.2["choices"][0]["delta"]["content"].clone())
        .collect();
    assert_eq!(contents, ["01234567.0 01234567.1 ", "01234567.2 "]);
    assert_eq!(script.frames.token_events(), 2);
}

#[test]
fn cost_is_exact_and_stands_where_it_is_asked_to() {
    let mut config = config();
    let body = prompt(&json!({"max_tokens": 500, "messages": [
        // 996 one-token words and 4 for the message.
        {"role": "user", "content": "word ".repeat(996)}]}));
    let script = ask(CHAT_COMPLETIONS, &body, &config);
    assert_eq!(truth(&script).cost.as_deref(), Some("0.00125"));
    assert!(String::from_utf8_lossy(script.frames.bytes()).contains("\"cost\":0.00125}"));
    assert!(!script.headers.contains_key("x-mock-response-cost"));

    config.behaviour.cost.surfaces = vec![Surface::Header];
    let script = ask(CHAT_COMPLETIONS, &body, &config);
    assert_eq!(script.headers["x-mock-response-cost"], "0.00125");
    assert!(!String::from_utf8_lossy(script.frames.bytes()).contains("cost"));
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let script = ask(MESSAGES, &streamed, &config);
    assert_eq!(script.headers["x-mock-response-cost"], "0");
    assert_eq!(truth(&script).header_cost.as_deref(), Some("0"));
    assert_eq!(truth(&script).cost.as_deref(), Some("0.00125"));

    let unlisted = prompt(&json!({"model": "another"}));
    let script = ask(CHAT_COMPLETIONS, &unlisted, &config);
    assert_eq!(truth(&script).cost, None);
    assert!(!script.headers.contains_key("x-mock-response-cost"));
}

#[test]
fn tiny_costs_are_written_without_an_exponent() {
    let mut config = config();
    config
        .behaviour
        .cost
        .rates
        .get_mut(MODEL)
        .expect("listed")
        .input = Decimal::new(1, 7);
    config
        .behaviour
        .cost
        .rates
        .get_mut(MODEL)
        .expect("listed")
        .output = Decimal::ZERO;
    let script = ask(CHAT_COMPLETIONS, &prompt(&json!({})), &config);
    assert_eq!(truth(&script).cost.as_deref(), Some("0.0000000000011"));
    let text = String::from_utf8_lossy(script.frames.bytes()).into_owned();
    assert!(text.contains("\"cost\":0.0000000000011}"), "{text}");
}

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

fn faulty(kind: FaultKind, path: &str, stream: bool) -> Script {
    let mut config = config();
    config.behaviour.faults = vec![Fault {
        status: 529,
        ..Fault::new(kind)
    }];
    ask(path, &prompt(&json!({"stream": stream})), &config)
}

#[test]
fn faults_replace_or_break_the_answer() {
    for path in [CHAT_COMPLETIONS, MESSAGES] {
        for stream in [false, true] {
            let script = faulty(FaultKind::Status, path, stream);
            assert_eq!(
                (script.status.as_u16(), &script.headers["retry-after"]),
                (529, &HeaderValue::from_static("1"))
            );
            assert_eq!(truth(&script).usage, Usage::default());
            let script = faulty(FaultKind::ErrorIn200, path, stream);
            assert_eq!(script.status, StatusCode::OK);
            assert!(whole_body(&script).get("error").is_some());
            let script = faulty(FaultKind::Html200, path, stream);
            assert_eq!(script.headers["content-type"], "text/html; charset=utf-8");
            for kind in [FaultKind::Cut, FaultKind::Stall, FaultKind::Garbage] {
                let script = faulty(kind, path, stream);
                assert_eq!(truth(&script).fault, Some(kind));
                assert_eq!(truth(&script).text_sha256, None);
            }
        }
        let last = |kind| {
            let script = faulty(kind, path, true);
            assert_eq!(truth(&script).fault, Some(kind));
            let (_, bytes) = script.frames.iter().last().expect("frames");
            String::from_utf8_lossy(bytes).into_owned()
        };
        let without = last(FaultKind::NoTerminator);
        assert!(
            !without.contains("[DONE]") && !without.contains("message_stop"),
            "{without}"
        );
        assert!(last(FaultKind::ErrorInStream).contains("\"error\""));
        // A whole body has no terminator to lose.
        assert_eq!(
            truth(&faulty(FaultKind::NoTerminator, path, false)).fault,
            None
        );
    }
}

#[test]
fn faults_strike_their_share_of_nonces() {
    let mut config = config();
    let mut fault = Fault::new(FaultKind::Status);
    fault.when.share = 0.25;
    config.behaviour.faults = vec![fault];
    let struck = (0..400)
        .filter(|i| {
            let body = json!({"messages": [{"role": "user", "content": format!("{i:032x}")}]});
            let script = ask(CHAT_COMPLETIONS, &prompt(&body), &config);
            script.status == StatusCode::TOO_MANY_REQUESTS
        })
        .count();
    assert!((60..140).contains(&struck), "{struck}");
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

#[test]
fn equal_requests_get_equal_scripts() {
    let body = prompt(&json!({"stream": true}));
    let config = Config::default();
    assert_eq!(
        ask(CHAT_COMPLETIONS, &body, &config),
        ask(CHAT_COMPLETIONS, &body, &config)
    );
}
