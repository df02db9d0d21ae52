//! No value anywhere in a request makes it panic.

use serde_json::{Value, json};

use super::*;

/// Every body that differs from `body` in one value, which is another or none.
fn mutants(body: &Value) -> Vec<Value> {
    fn places(value: &Value, path: &str, found: &mut Vec<String>) {
        found.push(path.to_owned());
        for (name, member) in value.as_object().into_iter().flatten() {
            places(member, &format!("{path}/{name}"), found);
        }
        for (index, element) in value.as_array().into_iter().flatten().enumerate() {
            places(element, &format!("{path}/{index}"), found);
        }
    }
    let mut found = Vec::new();
    places(body, "", &mut found);
    let others = [
        json!(null),
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("é漢🦀"),
        json!([]),
        json!([null]),
        json!({}),
        json!({"type": "text"}),
        json!([[{"role": "tool"}]]),
    ];
    let mutant = |place: &String, other: &Value| {
        let mut mutant = body.clone();
        *mutant.pointer_mut(place).expect("a place in it") = other.clone();
        mutant
    };
    found
        .iter()
        .flat_map(|place| others.iter().map(move |other| mutant(place, other)))
        .collect()
}

#[test]
fn no_value_makes_it_panic() {
    let mut messages = vec![
        json!({"role": "user", "content": "hi"}),
        json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "call00001", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]}),
        json!({"role": "tool", "tool_call_id": "call00001", "content": "sunny"}),
    ];
    messages.push(json!({"role": "assistant", "content": [{"type": "text", "text": "x"}]}));
    messages.push(json!({"role": "user", "content": [{"type": "text", "text": "x"}]}));
    let schema = json!({"type": "object", "required": ["b"], "properties": {
        "a": {"type": "array", "minItems": 2, "items": {"enum": [1]}}, "b": {"type": ["null", "number"], "minimum": 1}}});
    let openai = json!({"model": MODEL, "max_tokens": 9, "stream": true, "stream_options": {"include_usage": true}, "n": 1,
        "tools": [{"type": "function", "function": {"name": "a", "description": "d", "parameters": schema}}],
        "tool_choice": {"type": "function", "function": {"name": "a"}}, "parallel_tool_calls": false, "messages": messages});
    let anthropic = json!({"model": MODEL, "max_tokens": 2000, "stream": true, "system": [{"type": "text", "text": "x"}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "a", "description": "d", "input_schema": schema}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "messages": [{"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "a", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "x"}]}]}]});
    for (path, body) in [(CHAT_COMPLETIONS, openai), (MESSAGES, anthropic)] {
        for dialect in DIALECTS {
            let mut config = of_dialect(dialect);
            config.behaviour.output.max_tokens = 4;
            assert_eq!(ask(path, &body, &config).status, 200, "{dialect:?}");
            for mutant in mutants(&body) {
                let script = ask(path, &mutant, &config);
                assert!(
                    matches!(script.status.as_u16(), 200 | 400 | 422),
                    "{mutant}"
                );
                // Other readers of a body have to bear with it, too.
                ask(COUNT_TOKENS, &mutant, &config);
            }
        }
    }
}
