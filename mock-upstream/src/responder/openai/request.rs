//! Reading a chat completion request, and refusing what the emulated API refuses.

use serde_json::{Value, json};

use super::{conversation, mistral};
use crate::config::{Behaviour, Dialect};
use crate::responder::ask::{Ask, Choice, Tool, read_messages, read_model, read_tool_name};
use crate::responder::identity::nonce_of;
use crate::responder::place::{Kind, Place, Problem, Voice};
use crate::responder::refusal::Refusal;
use crate::tokens;

/// The fields that `OpenAI`'s API has, and what they are.
const FIELDS: [(&str, Kind); 37] = [
    ("audio", Kind::Object),
    ("frequency_penalty", Kind::Number),
    ("function_call", Kind::TextOrObject),
    ("functions", Kind::List),
    ("logit_bias", Kind::Object),
    ("logprobs", Kind::Flag),
    ("max_completion_tokens", Kind::Integer),
    ("max_tokens", Kind::Integer),
    ("messages", Kind::List),
    ("metadata", Kind::Object),
    ("modalities", Kind::List),
    ("model", Kind::Text),
    ("moderation", Kind::Any),
    ("n", Kind::Integer),
    ("parallel_tool_calls", Kind::Flag),
    ("prediction", Kind::Object),
    ("presence_penalty", Kind::Number),
    ("prompt_cache_key", Kind::Text),
    ("prompt_cache_options", Kind::Object),
    ("prompt_cache_retention", Kind::Text),
    ("reasoning_effort", Kind::Text),
    ("response_format", Kind::Object),
    ("safety_identifier", Kind::Text),
    ("seed", Kind::Integer),
    ("service_tier", Kind::Text),
    ("stop", Kind::TextOrList),
    ("store", Kind::Flag),
    ("stream", Kind::Flag),
    ("stream_options", Kind::Object),
    ("temperature", Kind::Number),
    ("tool_choice", Kind::TextOrObject),
    ("tools", Kind::List),
    ("top_logprobs", Kind::Integer),
    ("top_p", Kind::Number),
    ("user", Kind::Text),
    ("verbosity", Kind::Text),
    ("web_search_options", Kind::Object),
];

/// Characters that a tool's name may have.
const TOOL_NAME_MAX: usize = 64;
const TOOL_NAME_PATTERN: &str = "^[a-zA-Z0-9_-]+$";

/// Texts that may end an answer.
const STOPS_MAX: usize = 4;

/// The type of a choice that leaves some of the tools.
const ALLOWED_TOOLS: &str = "allowed_tools";

/// Reads a request body.
pub(in crate::responder) fn read(body: &Value, behaviour: &Behaviour) -> Result<Ask, Refusal> {
    let dialect = behaviour.dialect;
    let voice = match dialect {
        Dialect::Mistral => Voice::Mistral,
        Dialect::OpenAi | Dialect::Vllm | Dialect::OpenRouter => Voice::OpenAi,
    };
    let place = Place::body(voice, body)?;
    // A field that Mistral does not have is as unknown as any other.
    let fields: &[(&str, Kind)] = match dialect {
        Dialect::Mistral => &mistral::FIELDS,
        Dialect::OpenAi | Dialect::Vllm | Dialect::OpenRouter => &FIELDS,
    };
    if dialect == Dialect::OpenAi && body["model"].is_null() {
        return Err(Refusal::bad_request("you must provide a model parameter"));
    }
    let model = read_model(&place)?;
    let messages = read_messages(&place)?;
    place.fields(fields, behaviour.is_strict())?;
    let history = match dialect {
        Dialect::Mistral => mistral::check(&messages, behaviour.is_strict())?,
        Dialect::OpenAi => conversation::check(&messages, true)?,
        Dialect::Vllm | Dialect::OpenRouter => conversation::check(&messages, false)?,
    };
    if dialect == Dialect::OpenAi {
        check_ranges(&place)?;
    }
    let limit = match place.field("max_completion_tokens").at_least(1)? {
        None => place.field("max_tokens").at_least(1)?,
        limit => limit,
    };
    if place.field("n").at_least(1)?.is_some_and(|n| n > 1) {
        return Err(place
            .field("n")
            .say("this upstream returns one choice: n must be 1"));
    }
    let stream = body["stream"].as_bool().unwrap_or(false);
    let options = place.field("stream_options");
    if !stream && !options.value.is_null() {
        return Err(
            options.say("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
        );
    }
    options.field("include_usage").optional(Kind::Flag)?;
    let choice = read_choice(&place, dialect)?;
    let Offer {
        functions: mut tools,
        others: other_tools,
        tokens: tool_tokens,
    } = read_tools(&place, dialect)?;
    if let Some(allowed) = allowed_names(&body["tool_choice"]) {
        tools.retain(|tool| allowed.contains(&tool.name.as_str()));
    }
    let prompt_tokens: u64 = messages
        .items()
        .map(|message| message_tokens(message.value))
        .sum();
    Ok(Ask {
        model,
        stream,
        include_usage: body["stream_options"]["include_usage"]
            .as_bool()
            .unwrap_or(false),
        limit,
        tools,
        other_tools,
        choice,
        parallel: body["parallel_tool_calls"].as_bool().unwrap_or(true),
        input_tokens: prompt_tokens + tool_tokens,
        history,
    })
}

/// Checks what `OpenAI` bounds, and others do not, or elsewhere.
fn check_ranges(body: &Place<'_>) -> Result<(), Refusal> {
    const FORMATS: &[&str] = &["json_object", "json_schema", "text"];
    const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];
    body.field("temperature").up_to(2)?;
    let stop = body.field("stop");
    if stop.items().nth(STOPS_MAX).is_some() {
        return Err(stop.refuse(Problem::MoreThan(STOPS_MAX)));
    }
    let format = body.field("response_format");
    if !format.value.is_null() {
        one_of(&format.field("type"), FORMATS)?;
    }
    let effort = body.field("reasoning_effort");
    if !effort.value.is_null() {
        one_of(&effort, EFFORTS)?;
    }
    let tools = body.field("tools");
    if tools.value.as_array().is_some_and(Vec::is_empty) {
        return Err(tools.refuse(Problem::Empty));
    }
    let limits = ["max_tokens", "max_completion_tokens"].map(|name| body.field(name));
    for limit in &limits {
        limit.at_least(1)?;
    }
    if limits.iter().all(|limit| !limit.value.is_null()) {
        let refusal = limits[0].say(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        );
        return Err(refusal.coded("invalid_parameter_combination"));
    }
    Ok(())
}

/// A text that is one of `known`.
fn one_of<'a>(place: &Place<'a>, known: &'static [&'static str]) -> Result<&'a str, Refusal> {
    let text = place.text()?;
    if known.contains(&text) {
        return Ok(text);
    }
    Err(place.refuse(Problem::NoneOf(known)))
}

/// The tools of a request.
#[derive(Default)]
struct Offer {
    functions: Vec<Tool>,
    /// The names of other tools than functions, which are not called.
    others: Vec<String>,
    /// Tokens of the functions' descriptions.
    tokens: u64,
}

fn read_tools(body: &Place<'_>, dialect: Dialect) -> Result<Offer, Refusal> {
    const TYPES: &[&str] = &["function", "custom"];
    let mut offer = Offer::default();
    for tool in body.field("tools").items() {
        tool.required(Kind::Object)?;
        let place = tool.field("type");
        place.optional(Kind::Text)?;
        if dialect == Dialect::OpenAi {
            one_of(&place, TYPES)?;
        }
        if let Some(kind) = place.value.as_str().filter(|kind| *kind != "function") {
            let name = tool.value[kind]["name"].as_str();
            offer.others.extend(name.map(str::to_owned));
            continue;
        }
        let function = tool.field("function");
        function.required(Kind::Object)?;
        let name = read_tool_name(&function.field("name"), TOOL_NAME_MAX, TOOL_NAME_PATTERN)?;
        function.field("description").optional(Kind::Text)?;
        function.field("parameters").optional(Kind::Object)?;
        let schema = match &function.value["parameters"] {
            Value::Null => json!({}),
            schema => schema.clone(),
        };
        let description = function.value["description"].as_str().unwrap_or_default();
        offer.tokens += tokens::of_tool(&name, description, &schema);
        offer.functions.push(Tool { name, schema });
    }
    Ok(offer)
}

/// The names of the functions that a choice of the type `allowed_tools` leaves. Its members are in an object of that name,
/// or beside the type.
fn allowed_names(choice: &Value) -> Option<Vec<&str>> {
    if choice["type"] != ALLOWED_TOOLS {
        return None;
    }
    let nested = &choice[ALLOWED_TOOLS];
    let members = if nested.is_null() { choice } else { nested };
    let tools = members["tools"].as_array()?.iter();
    Some(
        tools
            .filter_map(|tool| tool["function"]["name"].as_str().or(tool["name"].as_str()))
            .collect(),
    )
}

fn read_choice(body: &Place<'_>, dialect: Dialect) -> Result<Choice, Refusal> {
    const CHOICES: &[&str] = &["none", "auto", "required"];
    let place = body.field("tool_choice");
    let without_tools = body
        .field("tools")
        .value
        .as_array()
        .is_none_or(Vec::is_empty);
    if without_tools && dialect == Dialect::OpenAi {
        for name in ["tool_choice", "parallel_tool_calls"] {
            let place = body.field(name);
            if !place.value.is_null() {
                return Err(place.say(&format!(
                    "Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified."
                )));
            }
        }
    }
    match place.value {
        Value::Null => Ok(Choice::Any),
        Value::String(name) => match name.as_str() {
            "none" => Ok(Choice::None),
            "auto" | "required" => Ok(Choice::Any),
            // Mistral's word for `required`, which others than OpenAI take as well.
            "any" if dialect != Dialect::OpenAi => Ok(Choice::Any),
            _ => Err(place.refuse(Problem::NoneOf(CHOICES))),
        },
        Value::Object(choice) if choice.get("type").is_some_and(|kind| kind == ALLOWED_TOOLS) => {
            Ok(Choice::Any)
        }
        _ => {
            place.optional(Kind::TextOrObject)?;
            let kind = match place.value["type"].as_str() {
                Some("custom") => "custom",
                _ => "function",
            };
            let name = place.field(kind).field("name").text()?;
            Ok(Choice::Named(name.to_owned()))
        }
    }
}

fn message_tokens(message: &Value) -> u64 {
    let content: u64 = texts(&message["content"]).map(tokens::of_text).sum();
    let calls: u64 = message["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|call| match &call["function"]["arguments"] {
            Value::String(arguments) => match serde_json::from_str(arguments) {
                Ok(value) => tokens::of_text(&tokens::canonical(&value)),
                Err(_) => tokens::of_text(arguments),
            },
            Value::Null => 0,
            // Mistral takes them as they are, too.
            arguments => tokens::of_text(&tokens::canonical(arguments)),
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

/// The nonce of the prompt.
pub(in crate::responder) fn find_nonce(body: &Value) -> Option<String> {
    let messages = body["messages"].as_array().into_iter().flatten();
    nonce_of(messages.flat_map(|message| texts(&message["content"])))
}

/// What a request says of calling its tools: whether it must, in words of neither API, and whether several at once.
pub(in crate::responder) fn said_of_tools(body: &Value) -> (Option<&'static str>, Option<bool>) {
    let choice = &body["tool_choice"];
    // A choice that leaves some of the tools says in its mode whether one of them must be called.
    let mode = [&choice[ALLOWED_TOOLS]["mode"], &choice["mode"], choice]
        .into_iter()
        .find_map(Value::as_str);
    let word = match (mode, choice["type"].as_str()) {
        (Some("auto"), _) => Some("auto"),
        (Some("required" | "any"), _) => Some("required"),
        (Some("none"), _) => Some("none"),
        (None, Some("function" | "custom")) => Some("named"),
        _ => None,
    };
    (word, body["parallel_tool_calls"].as_bool())
}
