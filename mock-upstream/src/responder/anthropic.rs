//! `POST /v1/messages`: reading requests, and writing answers in Anthropic's shapes.

use std::time::Duration;

use serde_json::{Value, json};

use super::ask::{Ask, Choice, Tool, read_limit, read_messages, read_model};
use super::identity::nonce_in;
use super::refusal::Refusal;
use super::reply::{Reply, Step, finish_name, quoted};
use crate::journal::Endpoint;
use crate::script::{Content, Frames};
use crate::tokens;

/// Reads a request body.
pub(super) fn read(body: &Value) -> Result<Ask, Refusal> {
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
pub(super) fn count(body: &Value) -> Result<u64, Refusal> {
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
pub(super) fn find_nonce(body: &Value) -> Option<String> {
    let messages = body["messages"].as_array().into_iter().flatten();
    texts(&body["system"])
        .chain(messages.flat_map(|message| texts(&message["content"])))
        .find_map(nonce_in)
}

/// An error body.
pub(super) fn error_body(refusal: &Refusal, request_id: Option<&str>) -> String {
    let kind = match refusal.status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let mut body = json!({"type": "error", "error": {"type": kind, "message": refusal.message}});
    if let Some(id) = request_id {
        body["request_id"] = id.into();
    }
    body.to_string()
}

/// A whole body.
pub(super) fn whole(ask: &Ask, reply: &Reply) -> String {
    let mut blocks = Vec::new();
    if reply.reasoning_tokens > 0 {
        blocks.push(format!(
            "{{\"type\":\"thinking\",\"thinking\":{},\"signature\":{}}}",
            quoted(&reply.reasoning()),
            quoted(&signature(reply)),
        ));
    }
    if reply.text_tokens > 0 {
        blocks.push(format!(
            "{{\"type\":\"text\",\"text\":{}}}",
            quoted(&reply.text())
        ));
    }
    for call in &reply.calls {
        blocks.push(format!(
            "{{\"type\":\"tool_use\",\"id\":\"{}\",\"name\":{},\"input\":{}}}",
            call.id,
            quoted(&call.name),
            call.arguments,
        ));
    }
    format!(
        "{{\"id\":\"msg_{}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":{},\"content\":[{}],\
         \"stop_reason\":\"{}\",\"stop_sequence\":null,\"usage\":{}}}",
        reply.response_id,
        quoted(&ask.model),
        blocks.join(","),
        finish_name(Endpoint::Anthropic, reply.finish),
        usage(reply, reply.usage.output, &reply.cost_member()),
    )
}

/// The frames of a stream.
pub(super) fn stream(ask: &Ask, reply: &Reply) -> Frames {
    let mut events = Events {
        frames: Frames::new(),
        open: None,
        blocks: 0,
    };
    events.push(
        reply.opening,
        Content::NOTHING,
        "message_start",
        &format!(
            ",\"message\":{{\"id\":\"msg_{}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":{},\"content\":[],\
             \"stop_reason\":null,\"stop_sequence\":null,\"usage\":{}}}",
            reply.response_id,
            quoted(&ask.model),
            // A placeholder, as the real thing has it: nothing is known of the output yet.
            usage(reply, 1, ""),
        ),
    );
    for (at, step) in &reply.steps {
        let at = *at;
        match step {
            Step::Reasoning(text) => {
                if events.open != Some(Block::Thinking) {
                    events.start(at, reply, Block::Thinking);
                }
                events.delta(
                    at,
                    Content::TOKENS,
                    &format!("\"type\":\"thinking_delta\",\"thinking\":{}", quoted(text)),
                );
            }
            Step::Text(text) => {
                if events.open != Some(Block::Text) {
                    events.start(at, reply, Block::Text);
                }
                let delta = format!("\"type\":\"text_delta\",\"text\":{}", quoted(text));
                events.delta(at, Content::TOKENS, &delta);
            }
            Step::Announce(index) => events.start(at, reply, Block::ToolUse(*index)),
            Step::Arguments(_, fragment) => {
                let delta = format!(
                    "\"type\":\"input_json_delta\",\"partial_json\":{}",
                    quoted(fragment)
                );
                events.delta(at, Content::TOKENS, &delta);
            }
            Step::Transition(..) | Step::WholeCalls => unreachable!("only Mistral has these steps"),
        }
    }
    let end = reply.end();
    events.stop(end, reply);
    events.push(
        end,
        reply.usage_content(),
        "message_delta",
        &format!(
            ",\"delta\":{{\"stop_reason\":\"{}\",\"stop_sequence\":null}},\"usage\":{}",
            finish_name(Endpoint::Anthropic, reply.finish),
            usage(reply, reply.usage.output, &reply.cost_member()),
        ),
    );
    events.push(end, Content::NOTHING, "message_stop", "");
    events.frames
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
    ToolUse(usize),
}

/// Writes events, with one block open at a time.
struct Events {
    frames: Frames,
    open: Option<Block>,
    /// Blocks started so far; the open one has the index before.
    blocks: usize,
}

impl Events {
    /// An event; `members` follow its type.
    fn push(&mut self, at: Duration, content: Content, name: &str, members: &str) {
        let pieces = [
            "event: ",
            name,
            "\ndata: {\"type\":\"",
            name,
            "\"",
            members,
            "}\n\n",
        ];
        self.frames.push_pieces(at, content, &pieces);
    }

    /// Opens a block, after closing the one before. The start of a tool's block names it: a token event.
    fn start(&mut self, at: Duration, reply: &Reply, block: Block) {
        self.stop(at, reply);
        let (content, members) = match block {
            Block::Thinking => (
                Content::NOTHING,
                r#""type":"thinking","thinking":"","signature":"""#.to_owned(),
            ),
            Block::Text => (Content::NOTHING, r#""type":"text","text":"""#.to_owned()),
            Block::ToolUse(index) => {
                let call = &reply.calls[index];
                (
                    Content::TOKENS,
                    format!(
                        "\"type\":\"tool_use\",\"id\":\"{}\",\"name\":{},\"input\":{{}}",
                        call.id,
                        quoted(&call.name),
                    ),
                )
            }
        };
        let index = self.blocks;
        self.push(
            at,
            content,
            "content_block_start",
            &format!(",\"index\":{index},\"content_block\":{{{members}}}"),
        );
        self.blocks += 1;
        self.open = Some(block);
        if index == 0 {
            self.push(at, Content::NOTHING, "ping", "");
        }
        if matches!(block, Block::ToolUse(_)) {
            self.delta(
                at,
                Content::NOTHING,
                r#""type":"input_json_delta","partial_json":"""#,
            );
        }
    }

    fn delta(&mut self, at: Duration, content: Content, members: &str) {
        let index = self.blocks - 1;
        self.push(
            at,
            content,
            "content_block_delta",
            &format!(",\"index\":{index},\"delta\":{{{members}}}"),
        );
    }

    /// Closes the open block, if there is one. Thinking is signed before.
    fn stop(&mut self, at: Duration, reply: &Reply) {
        let Some(block) = self.open.take() else {
            return;
        };
        if block == Block::Thinking {
            let delta = format!(
                "\"type\":\"signature_delta\",\"signature\":{}",
                quoted(&signature(reply))
            );
            self.delta(at, Content::NOTHING, &delta);
        }
        let index = self.blocks - 1;
        self.push(
            at,
            Content::NOTHING,
            "content_block_stop",
            &format!(",\"index\":{index}"),
        );
    }
}

/// A signature of its own for each answer, so that a lost or a foreign one shows.
fn signature(reply: &Reply) -> String {
    format!("sig{}", reply.response_id)
}

/// Usage; `cost` is its last member, with a comma before, or empty.
fn usage(reply: &Reply, output_tokens: u64, cost: &str) -> String {
    let usage = reply.usage;
    format!(
        "{{\"input_tokens\":{},\"cache_creation_input_tokens\":{},\"cache_read_input_tokens\":{},\
         \"output_tokens\":{output_tokens}{cost}}}",
        usage.input, usage.cache_write, usage.cache_read,
    )
}
