//! `POST /v1/chat/completions`: reading requests, and writing answers in `OpenAI`'s and Mistral's shapes.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::ask::{Ask, Choice, Tool, read_limit, read_messages, read_model};
use super::identity::nonce_in;
use super::refusal::Refusal;
use super::reply::{Call, Reply, Step, finish_name, quoted};
use crate::config::{Behaviour, Dialect, UsageInStream};
use crate::journal::Endpoint;
use crate::script::{Content, Frames};
use crate::tokens;

/// Reads a request body.
pub(super) fn read(body: &Value) -> Result<Ask, Refusal> {
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
pub(super) fn find_nonce(body: &Value) -> Option<String> {
    let messages = body["messages"].as_array()?;
    messages
        .iter()
        .flat_map(|message| texts(&message["content"]))
        .find_map(nonce_in)
}

/// An error body, in the shape of the dialect.
pub(super) fn error_body(refusal: &Refusal, dialect: Dialect) -> String {
    let status = refusal.status.as_u16();
    let kind = match status {
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let code = refusal
        .code
        .or((status == 429).then_some("rate_limit_exceeded"));
    let body = match dialect {
        Dialect::OpenAi | Dialect::Vllm | Dialect::OpenRouter => json!({
            "error": {"message": refusal.message, "type": kind, "param": null, "code": code},
        }),
        Dialect::Mistral => json!({
            "object": "error", "message": refusal.message, "type": kind, "param": null, "code": code,
        }),
    };
    body.to_string()
}

/// A whole body.
pub(super) fn whole(ask: &Ask, reply: &Reply, dialect: Dialect) -> String {
    let text = reply.text();
    let reasoning = reply.reasoning();
    let (content, reasoning_member) = match dialect {
        Dialect::Mistral if reply.reasoning_tokens > 0 => {
            let mut parts = vec![thinking_part(&reasoning)];
            if reply.text_tokens > 0 {
                parts.push(text_part(&text));
            }
            (format!("[{}]", parts.join(",")), String::new())
        }
        Dialect::OpenAi if reply.reasoning_tokens > 0 => (
            content_or_null(reply, &text),
            format!(",\"reasoning_content\":{}", quoted(&reasoning)),
        ),
        _ => (content_or_null(reply, &text), String::new()),
    };
    let calls = if reply.calls.is_empty() {
        String::new()
    } else {
        format!(
            ",\"tool_calls\":[{}]",
            join(reply.calls.iter().map(whole_call))
        )
    };
    format!(
        "{{\"id\":\"chatcmpl-{}\",\"object\":\"chat.completion\",\"created\":{},\"model\":{},\"choices\":[{{\"index\":0,\
         \"message\":{{\"role\":\"assistant\",\"content\":{content}{reasoning_member}{calls}}},\
         \"finish_reason\":\"{}\"}}],\"usage\":{}}}",
        reply.response_id,
        reply.created,
        quoted(&ask.model),
        finish_name(Endpoint::OpenAi, reply.finish),
        usage(reply, dialect),
    )
}

fn content_or_null(reply: &Reply, text: &str) -> String {
    if reply.text_tokens > 0 {
        quoted(text)
    } else {
        "null".to_owned()
    }
}

/// The frames of a stream.
pub(super) fn stream(ask: &Ask, reply: &Reply, behaviour: &Behaviour) -> Frames {
    let dialect = behaviour.dialect;
    let shows_usage =
        ask.include_usage || behaviour.output.usage_in_stream == UsageInStream::Always;
    // OpenAI's chunks all have the member once the request asks for it.
    let no_usage = if ask.include_usage && dialect == Dialect::OpenAi {
        ",\"usage\":null"
    } else {
        ""
    };
    let mut chunks = Chunks {
        start: format!(
            "data: {{\"id\":\"chatcmpl-{}\",\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":{},\"choices\":[",
            reply.response_id,
            reply.created,
            quoted(&ask.model),
        ),
        no_usage,
        frames: Frames::new(),
    };
    chunks.delta(
        reply.opening,
        Content::NOTHING,
        r#"{"role":"assistant","content":""}"#,
    );
    let finish = finish_name(Endpoint::OpenAi, reply.finish);
    let mut finished = false;
    for (at, step) in &reply.steps {
        let delta = match step {
            Step::Reasoning(text) if dialect == Dialect::Mistral => {
                format!("{{\"content\":[{}]}}", thinking_part(text))
            }
            Step::Reasoning(text) => format!("{{\"reasoning_content\":{}}}", quoted(text)),
            Step::Text(text) => format!("{{\"content\":{}}}", quoted(text)),
            Step::Transition(thinking, text) => {
                format!(
                    "{{\"content\":[{},{}]}}",
                    thinking_part(thinking),
                    text_part(text)
                )
            }
            Step::Announce(index) => {
                let call = &reply.calls[*index];
                format!(
                    "{{\"tool_calls\":[{{\"index\":{index},\"id\":\"{}\",\"type\":\"function\",\
                     \"function\":{{\"name\":{},\"arguments\":\"\"}}}}]}}",
                    call.id,
                    quoted(&call.name),
                )
            }
            Step::Arguments(index, fragment) => format!(
                "{{\"tool_calls\":[{{\"index\":{index},\"function\":{{\"arguments\":{}}}}}]}}",
                quoted(fragment),
            ),
            Step::WholeCalls => {
                let calls = join(reply.calls.iter().map(whole_call));
                let delta = format!("{{\"content\":\"\",\"tool_calls\":[{calls}]}}");
                let content = match reply.usage_content() {
                    Content::COST => Content::TOKENS_AND_COST,
                    _ => Content::TOKENS,
                };
                chunks.finish(*at, content, &delta, finish, Some(&usage(reply, dialect)));
                finished = true;
                continue;
            }
        };
        chunks.delta(*at, Content::TOKENS, &delta);
    }
    let end = reply.end();
    match dialect {
        Dialect::Mistral if finished => {}
        Dialect::Mistral => {
            let usage = usage(reply, dialect);
            chunks.finish(
                end,
                reply.usage_content(),
                r#"{"content":""}"#,
                finish,
                Some(&usage),
            );
        }
        Dialect::OpenAi | Dialect::Vllm | Dialect::OpenRouter => {
            chunks.finish(end, Content::NOTHING, "{}", finish, None);
            if shows_usage {
                let chunk = format!(
                    "{}],\"usage\":{}}}\n\n",
                    chunks.start,
                    usage(reply, dialect)
                );
                chunks
                    .frames
                    .push(end, reply.usage_content(), chunk.as_bytes());
            }
        }
    }
    chunks
        .frames
        .push(end, Content::NOTHING, b"data: [DONE]\n\n");
    chunks.frames
}

/// Writes chunks that differ only in their choice.
struct Chunks {
    /// A chunk up to its list of choices.
    start: String,
    /// The usage member of chunks without usage.
    no_usage: &'static str,
    frames: Frames,
}

impl Chunks {
    fn delta(&mut self, at: Duration, content: Content, delta: &str) {
        let pieces = [
            self.start.as_str(),
            "{\"index\":0,\"delta\":",
            delta,
            ",\"finish_reason\":null}]",
            self.no_usage,
            "}\n\n",
        ];
        self.frames.push_pieces(at, content, &pieces);
    }

    fn finish(
        &mut self,
        at: Duration,
        content: Content,
        delta: &str,
        reason: &str,
        usage: Option<&str>,
    ) {
        let mut chunk = format!(
            "{}{{\"index\":0,\"delta\":{delta},\"finish_reason\":\"{reason}\"}}]",
            self.start,
        );
        match usage {
            Some(usage) => write!(chunk, ",\"usage\":{usage}").expect("a string takes any text"),
            None => chunk.push_str(self.no_usage),
        }
        chunk.push_str("}\n\n");
        self.frames.push(at, content, chunk.as_bytes());
    }
}

fn thinking_part(text: &str) -> String {
    format!(
        "{{\"type\":\"thinking\",\"thinking\":[{}]}}",
        text_part(text)
    )
}

fn text_part(text: &str) -> String {
    format!("{{\"type\":\"text\",\"text\":{}}}", quoted(text))
}

fn whole_call(call: &Call) -> String {
    format!(
        "{{\"id\":\"{}\",\"type\":\"function\",\"function\":{{\"name\":{},\"arguments\":{}}}}}",
        call.id,
        quoted(&call.name),
        quoted(&call.arguments),
    )
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}

/// Usage, with the cost's digits as they are.
fn usage(reply: &Reply, dialect: Dialect) -> String {
    let usage = reply.usage;
    let details = match dialect {
        Dialect::OpenAi | Dialect::Vllm | Dialect::OpenRouter => format!(
            ",\"prompt_tokens_details\":{{\"cached_tokens\":{}}},\"completion_tokens_details\":{{\"reasoning_tokens\":{}}}",
            usage.cache_read, usage.reasoning,
        ),
        Dialect::Mistral => String::new(),
    };
    format!(
        "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{}{details}{}}}",
        usage.input,
        usage.output,
        usage.input + usage.output,
        reply.cost_member(),
    )
}
