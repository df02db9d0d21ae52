//! Reading a chat completion request.

use serde_json::{Value, json};

use crate::responder::ask::{Ask, Choice, Tool, read_limit, read_messages, read_model};
use crate::responder::identity::nonce_in;
use crate::responder::refusal::Refusal;
use crate::tokens;

/// Reads a request body.
pub(in crate::responder) fn read(body: &Value) -> Result<Ask, Refusal> {
    let model = read_model(body)?;
    let messages = read_messages(body)?;
    let limit = match read_limit(body, "max_completion_tokens")? {
        None => read_limit(body, "max_tokens")?,
        limit => limit,
    };
    let mut input_tokens = messages.iter().map(message_tokens).sum();
    let mut tools = Vec::new();
    for tool in body["tools"].as_array().into_iter().flatten() {
        let function = &tool["function"];
        let Some(name) = function["name"].as_str() else {
            return Err(Refusal::bad_request(
                "tools: expected {\"type\":\"function\",\"function\":{\"name\":…}}",
            ));
        };
        let schema = function
            .get("parameters")
            .cloned()
            .unwrap_or_else(|| json!({}));
        let description = function["description"].as_str().unwrap_or_default();
        input_tokens += tokens::of_tool(name, description, &schema);
        tools.push(Tool {
            name: name.to_owned(),
            schema,
        });
    }
    Ok(Ask {
        model,
        stream: body["stream"].as_bool().unwrap_or(false),
        include_usage: body["stream_options"]["include_usage"]
            .as_bool()
            .unwrap_or(false),
        limit,
        tools,
        choice: read_choice(&body["tool_choice"])?,
        parallel: body["parallel_tool_calls"].as_bool().unwrap_or(true),
        input_tokens,
    })
}

fn read_choice(choice: &Value) -> Result<Choice, Refusal> {
    match choice {
        Value::Null => return Ok(Choice::Any),
        Value::String(name) => match name.as_str() {
            "none" => return Ok(Choice::None),
            "auto" | "required" | "any" => return Ok(Choice::Any),
            _ => {}
        },
        named => {
            if let Some(name) = named["function"]["name"].as_str() {
                return Ok(Choice::Named(name.to_owned()));
            }
        }
    }
    Err(Refusal::bad_request(
        "tool_choice: expected none, auto, required or {\"type\":\"function\",\"function\":{\"name\":…}}",
    ))
}

fn message_tokens(message: &Value) -> u64 {
    let content: u64 = texts(&message["content"]).map(tokens::of_text).sum();
    let calls: u64 = message["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|call| call["function"]["arguments"].as_str())
        .map(|arguments| match serde_json::from_str(arguments) {
            Ok(value) => tokens::of_text(&tokens::canonical(&value)),
            Err(_) => tokens::of_text(arguments),
        })
        .sum();
    tokens::MESSAGE_TOKENS + content + calls
}

/// The texts of a message's content: a string, or a list of parts.
fn texts(content: &Value) -> impl Iterator<Item = &str> {
    let parts = content.as_array().into_iter().flatten();
    content
        .as_str()
        .into_iter()
        .chain(parts.filter_map(|part| part["text"].as_str()))
}

/// The nonce of the first message that has one.
pub(in crate::responder) fn find_nonce(body: &Value) -> Option<String> {
    let messages = body["messages"].as_array()?;
    messages
        .iter()
        .flat_map(|message| texts(&message["content"]))
        .find_map(nonce_in)
}
