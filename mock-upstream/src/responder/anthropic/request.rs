//! Reading a message request.

use serde_json::{Value, json};

use crate::responder::ask::{Ask, Choice, Tool, read_limit, read_messages, read_model};
use crate::responder::identity::nonce_in;
use crate::responder::refusal::Refusal;
use crate::tokens;

/// Reads a request body.
pub(in crate::responder) fn read(body: &Value) -> Result<Ask, Refusal> {
    let model = read_model(body)?;
    let input_tokens = count(body)?;
    let Some(limit) = read_limit(body, "max_tokens")? else {
        return Err(Refusal::bad_request("max_tokens: field required"));
    };
    let mut tools = Vec::new();
    for tool in body["tools"].as_array().into_iter().flatten() {
        let Some(name) = tool["name"].as_str() else {
            return Err(Refusal::bad_request(
                "tools: expected {\"name\":…,\"input_schema\":…}",
            ));
        };
        tools.push(Tool {
            name: name.to_owned(),
            schema: schema_of(tool),
        });
    }
    let choice = &body["tool_choice"];
    Ok(Ask {
        model,
        stream: body["stream"].as_bool().unwrap_or(false),
        include_usage: true,
        limit: Some(limit),
        tools,
        choice: read_choice(choice)?,
        parallel: !choice["disable_parallel_tool_use"]
            .as_bool()
            .unwrap_or(false),
        input_tokens,
    })
}

fn read_choice(choice: &Value) -> Result<Choice, Refusal> {
    if choice.is_null() {
        return Ok(Choice::Any);
    }
    match (choice["type"].as_str(), choice["name"].as_str()) {
        (Some("none"), _) => Ok(Choice::None),
        (Some("auto" | "any"), _) => Ok(Choice::Any),
        (Some("tool"), Some(name)) => Ok(Choice::Named(name.to_owned())),
        _ => Err(Refusal::bad_request(
            "tool_choice: expected the type auto, any, none, or tool with a name",
        )),
    }
}

fn schema_of(tool: &Value) -> Value {
    tool.get("input_schema")
        .cloned()
        .unwrap_or_else(|| json!({}))
}

/// Input tokens of a request body.
pub(in crate::responder) fn count(body: &Value) -> Result<u64, Refusal> {
    let messages: u64 = read_messages(body)?.iter().map(message_tokens).sum();
    let system: u64 = match &body["system"] {
        Value::Null => 0,
        system => tokens::MESSAGE_TOKENS + texts(system).map(tokens::of_text).sum::<u64>(),
    };
    let tools: u64 = body["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|tool| {
            let name = tool["name"].as_str().unwrap_or_default();
            let description = tool["description"].as_str().unwrap_or_default();
            tokens::of_tool(name, description, &schema_of(tool))
        })
        .sum();
    Ok(messages + system + tools)
}

/// Tokens of a message. Each tool result in it is a message of its own, as it is on the other endpoint.
fn message_tokens(message: &Value) -> u64 {
    let content = &message["content"];
    let mut count: u64 = texts(content).map(tokens::of_text).sum();
    let mut results = 0;
    let mut others = u64::from(content.is_string());
    for block in content.as_array().into_iter().flatten() {
        match block["type"].as_str() {
            Some("tool_result") => {
                results += 1;
                count += texts(&block["content"]).map(tokens::of_text).sum::<u64>();
            }
            Some("tool_use") => {
                others += 1;
                count += tokens::of_text(&tokens::canonical(&block["input"]));
            }
            _ => others += 1,
        }
    }
    let messages = results + u64::from(others > 0 || results == 0);
    count + messages * tokens::MESSAGE_TOKENS
}

/// The texts of a content: a string, or a list of blocks.
fn texts(content: &Value) -> impl Iterator<Item = &str> {
    let blocks = content.as_array().into_iter().flatten();
    content
        .as_str()
        .into_iter()
        .chain(blocks.filter_map(|block| block["text"].as_str()))
}

/// The nonce of the system prompt, or of the first message that has one.
pub(in crate::responder) fn find_nonce(body: &Value) -> Option<String> {
    let messages = body["messages"].as_array().into_iter().flatten();
    texts(&body["system"])
        .chain(messages.flat_map(|message| texts(&message["content"])))
        .find_map(nonce_in)
}
