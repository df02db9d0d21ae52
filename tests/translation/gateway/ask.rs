//! A request of one protocol as one of the other.

use serde_json::{Map, Value, json};
use weighbridge::endpoint::Endpoint;

use super::Wire;

/// The request that the upstream gets.
pub fn translate(body: &Value, client: Endpoint, wire: Wire) -> Value {
    let mut asks = match (client, wire) {
        (Endpoint::OpenAi, Wire::Anthropic) => to_messages(body),
        (Endpoint::Anthropic, Wire::OpenAi | Wire::Mistral) => to_completions(body),
        (Endpoint::OpenAi, Wire::OpenAi | Wire::Mistral)
        | (Endpoint::Anthropic, Wire::Anthropic) => body.clone(),
    };
    // A gateway that bills has to know, whether or not its client wants to.
    if wire != Wire::Anthropic && asks["stream"] == true {
        asks["stream_options"] = json!({"include_usage": true});
    }
    asks
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The text of a content: a string, or blocks of which the texts count.
fn text_of(content: &Value) -> String {
    match content.as_str() {
        Some(text) => text.to_owned(),
        None => {
            let texts = list(content).filter_map(|part| part["text"].as_str());
            texts.collect::<Vec<_>>().join("\n\n")
        }
    }
}

/// What both protocols call the same.
fn common(body: &Value) -> Map<String, Value> {
    let mut common = Map::new();
    for name in ["model", "stream", "temperature"] {
        if let Some(value) = body.get(name) {
            common.insert(name.to_owned(), value.clone());
        }
    }
    common
}

fn to_messages(body: &Value) -> Value {
    let mut asks = common(body);
    let limit = [&body["max_tokens"], &body["max_completion_tokens"]];
    let limit = limit.into_iter().find_map(Value::as_u64).unwrap_or(4_096);
    asks.insert("max_tokens".to_owned(), limit.into());
    let mut system = Vec::new();
    let mut messages: Vec<Value> = Vec::new();
    for message in list(&body["messages"]) {
        match message["role"].as_str() {
            Some("system" | "developer") => system.push(text_of(&message["content"])),
            Some("assistant") => messages.push(assistant_with_blocks(message)),
            Some("tool") => {
                let result = json!({
                    "type": "tool_result", "tool_use_id": message["tool_call_id"],
                    "content": text_of(&message["content"]),
                });
                // All results of one answer are one message.
                match messages.last_mut() {
                    Some(last) if last["role"] == "user" && last["content"].is_array() => {
                        let blocks = last["content"].as_array_mut().expect("a list");
                        blocks.push(result);
                    }
                    _ => messages.push(json!({"role": "user", "content": [result]})),
                }
            }
            _ => {
                let text = text_of(&message["content"]);
                messages.push(json!({"role": "user", "content": text}));
            }
        }
    }
    if !system.is_empty() {
        asks.insert("system".to_owned(), system.join("\n\n").into());
    }
    asks.insert("messages".to_owned(), messages.into());
    if body["tools"].is_array() {
        let tools = list(&body["tools"]).map(|tool| {
            let function = &tool["function"];
            let mut tool = json!({
                "name": function["name"], "input_schema": function["parameters"],
            });
            if function["description"].is_string() {
                tool["description"] = function["description"].clone();
            }
            tool
        });
        asks.insert("tools".to_owned(), tools.collect());
    }
    let mut choice = match &body["tool_choice"] {
        Value::String(word) if word == "required" => json!({"type": "any"}),
        Value::String(word) => json!({"type": word}),
        Value::Object(named) => json!({"type": "tool", "name": named["function"]["name"]}),
        _ => Value::Null,
    };
    if let Some(parallel) = body["parallel_tool_calls"].as_bool() {
        if choice.is_null() {
            choice = json!({"type": "auto"});
        }
        choice["disable_parallel_tool_use"] = (!parallel).into();
    }
    if !choice.is_null() {
        asks.insert("tool_choice".to_owned(), choice);
    }
    asks.into()
}

fn assistant_with_blocks(message: &Value) -> Value {
    let mut blocks = Vec::new();
    let text = text_of(&message["content"]);
    if !text.is_empty() {
        blocks.push(json!({"type": "text", "text": text}));
    }
    for call in list(&message["tool_calls"]) {
        let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
        let input: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
        blocks.push(json!({
            "type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": input,
        }));
    }
    json!({"role": "assistant", "content": blocks})
}

fn to_completions(body: &Value) -> Value {
    let mut asks = common(body);
    asks.insert("max_tokens".to_owned(), body["max_tokens"].clone());
    let mut messages = Vec::new();
    if !body["system"].is_null() {
        messages.push(json!({"role": "system", "content": text_of(&body["system"])}));
    }
    for message in list(&body["messages"]) {
        if message["role"] == "assistant" {
            messages.push(assistant_with_calls(message));
            continue;
        }
        let blocks = || list(&message["content"]);
        for result in blocks().filter(|block| block["type"] == "tool_result") {
            messages.push(json!({
                "role": "tool", "tool_call_id": result["tool_use_id"],
                "content": text_of(&result["content"]),
            }));
        }
        if message["content"].is_string() || blocks().any(|block| block["type"] == "text") {
            messages.push(json!({"role": "user", "content": text_of(&message["content"])}));
        }
    }
    asks.insert("messages".to_owned(), messages.into());
    if body["tools"].is_array() {
        let tools = list(&body["tools"]).map(|tool| {
            let mut function = json!({"name": tool["name"], "parameters": tool["input_schema"]});
            if tool["description"].is_string() {
                function["description"] = tool["description"].clone();
            }
            json!({"type": "function", "function": function})
        });
        asks.insert("tools".to_owned(), tools.collect());
    }
    let choice = &body["tool_choice"];
    let word = match choice["type"].as_str() {
        Some("any") => json!("required"),
        Some("tool") => json!({"type": "function", "function": {"name": choice["name"]}}),
        Some(word) => json!(word),
        None => Value::Null,
    };
    if !word.is_null() {
        asks.insert("tool_choice".to_owned(), word);
    }
    if let Some(disabled) = choice["disable_parallel_tool_use"].as_bool() {
        asks.insert("parallel_tool_calls".to_owned(), (!disabled).into());
    }
    asks.into()
}

fn assistant_with_calls(message: &Value) -> Value {
    let text = text_of(&message["content"]);
    let calls: Vec<Value> = list(&message["content"])
        .filter(|block| block["type"] == "tool_use")
        .map(|block| {
            json!({
                "id": block["id"], "type": "function",
                "function": {"name": block["name"], "arguments": block["input"].to_string()},
            })
        })
        .collect();
    let content = if text.is_empty() {
        Value::Null
    } else {
        text.into()
    };
    let mut message = json!({"role": "assistant", "content": content});
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    message
}
