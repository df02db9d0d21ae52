//! Chat completions in Mistral's shapes, read back as JSON.

use serde_json::json;

use super::*;
use crate::script::Content;

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
