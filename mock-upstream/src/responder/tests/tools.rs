//! Tool calls: who is called, and in what form.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::script::Content;

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
