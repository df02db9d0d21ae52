//! Messages, read back as JSON.

use serde_json::json;

use super::*;
use crate::script::Content;

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
        &prompt(&json!({"stream": true, "max_tokens": 100, "tools": anthropic_tools()})),
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
    let body = prompt(
        &json!({"max_tokens": 100, "tools": anthropic_tools(), "tool_choice": {"type": "any"}}),
    );
    let body = whole_body(&ask(MESSAGES, &body, &config));
    assert_eq!(body["content"][1]["input"], json!({"city": "01234567.c0"}));
    assert_eq!(body["content"][2]["name"], "now");
}
