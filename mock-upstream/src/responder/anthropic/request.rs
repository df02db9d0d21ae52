//! Reading a message request, and refusing what the API refuses.

use std::collections::HashSet;

use http::HeaderMap;
use serde_json::{Value, json};

use super::conversation;
use crate::config::Behaviour;
use crate::responder::ask::{Ask, Choice, Tool, read_messages, read_model, read_tool_name};
use crate::responder::identity::nonce_of;
use crate::responder::place::{Kind, Place, Problem, Voice};
use crate::responder::refusal::Refusal;
use crate::tokens;

/// The fields that the API has, and what they are.
const FIELDS: [(&str, Kind); 23] = [
    ("cache_control", Kind::Object),
    ("container", Kind::TextOrObject),
    ("context_management", Kind::Object),
    ("inference_geo", Kind::Text),
    ("max_tokens", Kind::Integer),
    ("mcp_servers", Kind::List),
    ("messages", Kind::List),
    ("metadata", Kind::Object),
    ("model", Kind::Text),
    ("output_config", Kind::Object),
    ("output_format", Kind::Object),
    ("service_tier", Kind::Text),
    ("speed", Kind::Text),
    ("stop_sequences", Kind::List),
    ("stream", Kind::Flag),
    ("system", Kind::TextOrList),
    ("temperature", Kind::Number),
    ("thinking", Kind::Object),
    ("tool_choice", Kind::Object),
    ("tools", Kind::List),
    ("top_k", Kind::Integer),
    ("top_p", Kind::Number),
    ("user_profile_id", Kind::Text),
];

/// The fields that version 2026-10-21 does not have any more.
const SAMPLING: [&str; 3] = ["temperature", "top_p", "top_k"];

/// Characters that a tool's name may have.
const TOOL_NAME_MAX: usize = 128;
const TOOL_NAME_PATTERN: &str = "^[a-zA-Z0-9_-]{1,128}$";

/// Fewer tokens are no budget for thinking.
const THINKING_TOKENS_MIN: u64 = 1024;

/// The code that has the SDKs go on without a thread.
pub(super) const NO_THREADS: &str = "thread_unsupported_request";

/// Blocks that may be marked for the cache.
const CACHE_MARKS_MAX: usize = 4;

/// Whether a request has to say how long its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::responder) enum Limit {
    Needed,
    /// Tokens are counted, and there is no answer.
    Optional,
}

/// Reads a request body.
pub(in crate::responder) fn read(
    body: &Value,
    headers: &HeaderMap,
    behaviour: &Behaviour,
    limit: Limit,
) -> Result<Ask, Refusal> {
    let version = Version::read(headers, behaviour.strict == Some(true))?;
    let place = Place::body(Voice::Anthropic, body)?;
    if !place.field("thread").value.is_null() {
        // A beta of conversations that the API keeps. Its clients send the whole conversation once they are told this.
        let message = "thread: conversations are not kept here";
        return Err(Refusal::bad_request(message).coded(NO_THREADS));
    }
    let model = read_model(&place)?;
    let max_tokens = place.field("max_tokens");
    if limit == Limit::Needed {
        max_tokens.required(Kind::Integer)?;
    }
    let limit = max_tokens.at_least(1)?;
    let messages = read_messages(&place)?;
    // The dialect, which may be lenient, is that of chat completions.
    place.fields(&FIELDS, behaviour.strict.unwrap_or(true))?;
    if version == Version::V20261021 {
        for name in SAMPLING {
            let field = place.field(name);
            if !field.value.is_null() {
                return Err(field.say("Extra inputs are not permitted"));
            }
        }
    }
    place.field("temperature").up_to(1)?;
    let history = conversation::check(&messages)?;
    check_system(&place.field("system"))?;
    let (tools, other_tools) = read_tools(&place)?;
    let choice = read_choice(&place.field("tool_choice"))?;
    check_thinking(&place, headers, limit)?;
    check_cache_marks(&place)?;
    Ok(Ask {
        model,
        stream: body["stream"].as_bool().unwrap_or(false),
        include_usage: true,
        limit,
        tools,
        other_tools,
        choice,
        parallel: !body["tool_choice"]["disable_parallel_tool_use"]
            .as_bool()
            .unwrap_or(false),
        input_tokens: count(body)?,
        history,
    })
}

/// A version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V20230601,
    /// Without sampling parameters.
    V20261021,
}

impl Version {
    /// The version that the header asks for; one is only `demanded` where the configuration is strict, so that a request
    /// by hand needs none.
    fn read(headers: &HeaderMap, demanded: bool) -> Result<Self, Refusal> {
        let Some(version) = headers.get("anthropic-version") else {
            if demanded {
                return Err(Refusal::bad_request(
                    "anthropic-version: header is required",
                ));
            }
            return Ok(Self::V20230601);
        };
        match version.as_bytes() {
            b"2023-06-01" => Ok(Self::V20230601),
            b"2026-10-21" => Ok(Self::V20261021),
            other => Err(Refusal::bad_request(format!(
                "anthropic-version: \"{}\" is not a valid version",
                String::from_utf8_lossy(other)
            ))),
        }
    }
}

/// The tools that are offered, and the names of those with a type of the API's own, which are not called.
fn read_tools(body: &Place<'_>) -> Result<(Vec<Tool>, Vec<String>), Refusal> {
    let (mut tools, mut others) = (Vec::new(), Vec::new());
    for tool in body.field("tools").items() {
        tool.required(Kind::Object)?;
        tool.field("type").optional(Kind::Text)?;
        if tool.value["type"]
            .as_str()
            .is_some_and(|kind| kind != "custom")
        {
            // A set of tools of a server has no name.
            others.extend(tool.value["name"].as_str().map(str::to_owned));
            continue;
        }
        let custom = tool.named("custom");
        let name = read_tool_name(&custom.field("name"), TOOL_NAME_MAX, TOOL_NAME_PATTERN)?;
        custom.field("description").optional(Kind::Text)?;
        custom.field("input_schema").required(Kind::Object)?;
        tools.push(Tool {
            name,
            schema: schema_of(tool.value),
        });
    }
    let mut seen = HashSet::new();
    let names = tools.iter().map(|tool: &Tool| &tool.name).chain(&others);
    if !names.into_iter().all(|name| seen.insert(name)) {
        return Err(body.field("tools").say("Tool names must be unique."));
    }
    Ok((tools, others))
}

/// Checks the blocks of a system prompt, which are texts.
fn check_system(system: &Place<'_>) -> Result<(), Refusal> {
    for block in system.items() {
        block.required(Kind::Object)?;
        if block.field("text").text()?.is_empty() {
            return Err(system.say(conversation::EMPTY_TEXT));
        }
    }
    Ok(())
}

/// Checks the marks of what may be cached, and that there are not too many.
fn check_cache_marks(body: &Place<'_>) -> Result<(), Refusal> {
    const TYPES: &[&str] = &["ephemeral"];
    let messages = body.field("messages");
    let blocks = messages
        .items()
        .flat_map(|message| message.field("content").items().collect::<Vec<_>>());
    let tools = body.field("tools");
    let system = body.field("system");
    let mut count = 0;
    for block in tools.items().chain(system.items()).chain(blocks) {
        let mark = block.field("cache_control");
        if mark.value.is_null() {
            continue;
        }
        mark.required(Kind::Object)?;
        if !TYPES.contains(&mark.field("type").text()?) {
            let kind = mark.with(&mark.value["type"]);
            return Err(kind.refuse(Problem::NoTypeOf(TYPES)));
        }
        count += 1;
    }
    if count > CACHE_MARKS_MAX {
        return Err(Refusal::bad_request(format!(
            "A maximum of {CACHE_MARKS_MAX} blocks with cache_control may be provided. Found {count}."
        )));
    }
    Ok(())
}

fn read_choice(place: &Place<'_>) -> Result<Choice, Refusal> {
    const CHOICES: &[&str] = &["auto", "any", "tool", "none"];
    if place.value.is_null() {
        return Ok(Choice::Any);
    }
    match place.field("type").text()? {
        "none" => Ok(Choice::None),
        "auto" | "any" => Ok(Choice::Any),
        "tool" => {
            let name = place.named("tool").field("name").text()?;
            Ok(Choice::Named(name.to_owned()))
        }
        _ => Err(place
            .with(&place.value["type"])
            .refuse(Problem::NoTypeOf(CHOICES))),
    }
}

/// Checks the budget for thinking, and what cannot be had together with it.
fn check_thinking(
    body: &Place<'_>,
    headers: &HeaderMap,
    limit: Option<u64>,
) -> Result<(), Refusal> {
    const TYPES: &[&str] = &["adaptive", "disabled", "enabled"];
    let thinking = body.field("thinking");
    if thinking.value.is_null() {
        return Ok(());
    }
    match thinking.field("type").text()? {
        "enabled" => {}
        "adaptive" | "disabled" => return Ok(()),
        _ => {
            let kind = thinking.with(&thinking.value["type"]);
            return Err(kind.refuse(Problem::NoTypeOf(TYPES)));
        }
    }
    let budget = thinking.named("enabled").field("budget_tokens");
    budget.required(Kind::Integer)?;
    let budget = budget.at_least(THINKING_TOKENS_MIN)?;
    // Thinking between calls counts over a whole turn, so its budget may be larger than the limit of an answer.
    let betas = headers.get_all("anthropic-beta").iter();
    let mut betas = betas.filter_map(|value| value.to_str().ok());
    if limit.is_some()
        && budget >= limit
        && !betas.any(|betas| betas.contains("interleaved-thinking"))
    {
        return Err(Refusal::bad_request(
            "`max_tokens` must be greater than `thinking.budget_tokens`.",
        ));
    }
    if matches!(
        body.value["tool_choice"]["type"].as_str(),
        Some("any" | "tool")
    ) {
        return Err(Refusal::bad_request(
            "Thinking may not be enabled when tool_choice forces tool use.",
        ));
    }
    let temperature = body.value["temperature"].as_f64().unwrap_or(1.0);
    if temperature < 1.0 {
        return Err(Refusal::bad_request(
            "`temperature` may only be set to 1 when thinking is enabled.",
        ));
    }
    Ok(())
}

fn schema_of(tool: &Value) -> Value {
    tool.get("input_schema")
        .cloned()
        .unwrap_or_else(|| json!({}))
}

/// Input tokens of a request body.
pub(in crate::responder) fn count(body: &Value) -> Result<u64, Refusal> {
    let messages = read_messages(&Place::body(Voice::Anthropic, body)?)?;
    let messages: u64 = messages
        .items()
        .map(|message| message_tokens(message.value))
        .sum();
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

/// The nonce of the prompt, also in results of tools.
pub(in crate::responder) fn find_nonce(body: &Value) -> Option<String> {
    let messages = body["messages"].as_array().into_iter().flatten();
    let results = |content| blocks_of(content).map(|block| &block["content"]);
    let said = messages
        .map(|message| &message["content"])
        .flat_map(|content| {
            let inner = results(content).flat_map(texts);
            texts(content).chain(inner)
        });
    nonce_of(texts(&body["system"]).chain(said))
}

fn blocks_of(content: &Value) -> impl Iterator<Item = &Value> {
    content.as_array().into_iter().flatten()
}

/// What a request says of calling its tools: whether it must, in words of neither API, and whether several at once.
pub(in crate::responder) fn said_of_tools(body: &Value) -> (Option<&'static str>, Option<bool>) {
    let choice = &body["tool_choice"];
    let word = match choice["type"].as_str() {
        Some("auto") => Some("auto"),
        Some("any") => Some("required"),
        Some("none") => Some("none"),
        Some("tool") => Some("named"),
        _ => None,
    };
    let disabled = choice["disable_parallel_tool_use"].as_bool();
    (word, disabled.map(|disabled| !disabled))
}
