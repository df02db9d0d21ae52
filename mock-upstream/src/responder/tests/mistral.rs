//! Chat completions in Mistral's shapes, read back as JSON.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::config::{Fault, FaultKind, UsageInStream};
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
    let body = prompt(&json!({"stream": true, "max_tokens": 100, "tools": openai_tools()}));
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

/// A request of its own name.
fn numbered(number: u64, more: &Value) -> Value {
    let mut body = prompt(more);
    body["messages"] = json!([{"role": "user", "content": format!("{number:032x} hi")}]);
    body
}

#[test]
fn mistral_streams_call_with_and_without_index_and_type() {
    let mut forms = BTreeSet::new();
    for number in 0..40 {
        let body = numbered(
            number,
            &json!({"stream": true, "max_tokens": 100, "tools": openai_tools()}),
        );
        let chunks = chunks(&ask(CHAT_COMPLETIONS, &body, &mistral()));
        let calls = &chunks[1].2["choices"][0]["delta"]["tool_calls"];
        let form = |i: usize| {
            (
                calls[i].get("index").is_some(),
                calls[i].get("type").is_some(),
            )
        };
        assert_eq!(form(0), form(1));
        if form(0).0 {
            assert_eq!(
                (&calls[0]["index"], &calls[1]["index"]),
                (&json!(0), &json!(1))
            );
        }
        forms.insert(form(0));
    }
    assert_eq!(forms.len(), 4);
}

#[test]
fn mistral_streams_break_with_a_flat_error_or_a_reason_alone() {
    let mut config = mistral();
    config.behaviour.faults = vec![Fault::new(FaultKind::ErrorInStream)];
    let mut forms = BTreeSet::new();
    for number in 0..20 {
        let script = ask(
            CHAT_COMPLETIONS,
            &numbered(number, &json!({"stream": true})),
            &config,
        );
        let last = &chunks(&script).pop().expect("chunks").2;
        forms.insert(if last["object"] == "error" {
            assert_eq!(
                (&last["message"], &last["type"]),
                (&json!("a planted fault"), &json!("server_error"))
            );
            "flat"
        } else {
            assert_eq!(last["choices"][0]["finish_reason"], "error");
            assert_eq!(last["id"], chunks(&script)[0].2["id"]);
            "reason"
        });
    }
    assert_eq!(forms.len(), 2);
}

#[test]
fn mistral_says_its_usage_in_the_finish_chunk_unless_it_never_does() {
    for (wanted, told) in [
        (UsageInStream::Asked, 1),
        (UsageInStream::Always, 1),
        (UsageInStream::Every, 5),
        (UsageInStream::Never, 0),
    ] {
        for tools in [false, true] {
            let mut config = mistral();
            config.behaviour.output.usage_in_stream = wanted;
            let mut body = prompt(&json!({"stream": true}));
            let mut told = told;
            if tools {
                body["tools"] = openai_tools();
                body["max_tokens"] = json!(100);
                told = told.min(2);
            }
            let script = ask(CHAT_COMPLETIONS, &body, &config);
            let chunks = chunks(&script);
            let with_usage = chunks.iter().filter(|chunk| chunk.2["usage"].is_object());
            assert_eq!(with_usage.count(), told, "{wanted:?}");
            let costs = chunks.iter().filter(|chunk| chunk.1.has_cost).count();
            assert_eq!(costs, told.min(1));
            let texts = String::from_utf8_lossy(script.frames.bytes())
                .matches("\"cost\"")
                .count();
            assert_eq!(texts, costs);
        }
    }
}
