//! Writing requests.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::endpoint::Endpoint;
use crate::prompt::{CacheTtl, Call, Message, Prompt, Tool, ToolChoice, ToolResult};

/// Anthropic requires an output limit. This one is sent where the prompt has none: what every
/// model since Claude 3 can give.
const DEFAULT_MAX_TOKENS: u64 = 4096;

/// An encoded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The path below the target's origin.
    pub path: &'static str,
    /// `content-type`, `accept`, and for Anthropic `anthropic-version`. No credentials.
    pub headers: HeaderMap,
    /// The JSON text.
    pub body: Bytes,
}

/// Choices of the wire that are the target's and not the prompt's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// What the output limit is called on the `OpenAI` endpoint.
    pub output_limit_field: OutputLimitField,
    /// Whether `OpenAI` streams are asked for token counts (`stream_options.include_usage`).
    pub include_usage: bool,
    /// The `anthropic-version` header.
    pub anthropic_version: HeaderValue,
    /// The service tier that is asked for, on both endpoints; `None` leaves the field out.
    pub service_tier: Option<String>,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            output_limit_field: OutputLimitField::default(),
            include_usage: true,
            anthropic_version: HeaderValue::from_static("2023-06-01"),
            service_tier: None,
        }
    }
}

/// The field of the output limit on the `OpenAI` endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputLimitField {
    /// `max_tokens`: older, understood by most, and the only one that Mistral takes.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`: required by `OpenAI`'s reasoning models.
    MaxCompletionTokens,
}

/// A key that no header can hold. It does not contain the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key has characters that no header can hold; look for a line break or a typographic sign in it"
)]
pub struct CredentialError;

/// Writes the request of a prompt. Fields that the prompt leaves open are left out, since some
/// targets reject what they do not know.
pub fn encode(endpoint: Endpoint, prompt: &Prompt, dialect: &Dialect) -> Encoded {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let accept = if prompt.stream {
        "text/event-stream"
    } else {
        "application/json"
    };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    let body = match endpoint {
        Endpoint::OpenAi => serde_json::to_vec(&openai(prompt, dialect)),
        Endpoint::Anthropic => {
            headers.insert("anthropic-version", dialect.anthropic_version.clone());
            serde_json::to_vec(&anthropic(prompt, dialect))
        }
    };
    Encoded {
        path: endpoint.path(),
        headers,
        body: body
            .expect("texts, numbers and lists always become JSON")
            .into(),
    }
}

/// The credential header of an endpoint (`authorization: Bearer` or `x-api-key`), marked sensitive
/// so that it is never printed.
pub fn credential(
    endpoint: Endpoint,
    key: &str,
) -> Result<(HeaderName, HeaderValue), CredentialError> {
    let (name, value) = match endpoint {
        Endpoint::OpenAi => (
            AUTHORIZATION,
            HeaderValue::try_from(format!("Bearer {key}")),
        ),
        Endpoint::Anthropic => (
            HeaderName::from_static("x-api-key"),
            HeaderValue::from_str(key),
        ),
    };
    let mut value = value.map_err(|_| CredentialError)?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[derive(Serialize)]
struct OpenAiRequest<'a> {
    model: &'a str,
    messages: Vec<OpenAiMessage<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<OpenAiTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<OpenAiToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum OpenAiMessage<'a> {
    System {
        content: Cow<'a, str>,
    },
    User {
        content: &'a str,
    },
    Assistant {
        /// `null` beside calls, where an empty text would be refused by some.
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<OpenAiCall<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        name: &'a str,
        content: &'a str,
    },
}

#[derive(Serialize)]
struct OpenAiCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct OpenAiTool<'a> {
    r#type: &'static str,
    function: DeclaredFunction<'a>,
}

#[derive(Serialize)]
struct DeclaredFunction<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a Value,
}

/// A word, or an object that names the tool.
enum OpenAiToolChoice<'a> {
    Word(&'static str),
    Named(&'a str),
}

impl Serialize for OpenAiToolChoice<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Choice<'a> {
            r#type: &'static str,
            function: Name<'a>,
        }
        #[derive(Serialize)]
        struct Name<'a> {
            name: &'a str,
        }
        match *self {
            Self::Word(word) => serializer.serialize_str(word),
            Self::Named(name) => Choice {
                r#type: "function",
                function: Name { name },
            }
            .serialize(serializer),
        }
    }
}

fn openai<'a>(prompt: &'a Prompt, dialect: &'a Dialect) -> OpenAiRequest<'a> {
    let mut messages = Vec::with_capacity(prompt.messages.len() + 1);
    // Caches here go by the prompt's begin, and need no mark. Some targets take one system message.
    let system = match (&prompt.prefix, prompt.system.as_deref()) {
        (Some(prefix), Some(system)) => Some(format!("{}\n\n{system}", prefix.text).into()),
        (Some(prefix), None) => Some(Cow::Borrowed(&*prefix.text)),
        (None, system) => system.map(Cow::Borrowed),
    };
    messages.extend(system.map(|content| OpenAiMessage::System { content }));
    for message in &prompt.messages {
        match message {
            Message::User(content) => messages.push(OpenAiMessage::User { content }),
            Message::Assistant { text, calls } => messages.push(OpenAiMessage::Assistant {
                content: (calls.is_empty() || !text.is_empty()).then_some(text),
                tool_calls: calls.iter().map(openai_call).collect(),
            }),
            Message::ToolResults(results) => {
                messages.extend(results.iter().map(|result| OpenAiMessage::Tool {
                    tool_call_id: &result.call_id,
                    name: &result.name,
                    content: &result.content,
                }));
            }
        }
    }
    let has_tools = !prompt.tools.is_empty();
    let limit = |field| {
        prompt
            .max_output_tokens
            .filter(|_| dialect.output_limit_field == field)
    };
    OpenAiRequest {
        model: &prompt.model,
        messages,
        stream: prompt.stream,
        stream_options: (prompt.stream && dialect.include_usage).then_some(StreamOptions {
            include_usage: true,
        }),
        tools: prompt.tools.tools().iter().map(openai_tool).collect(),
        tool_choice: has_tools.then_some(match &prompt.tool_choice {
            ToolChoice::Auto => OpenAiToolChoice::Word("auto"),
            ToolChoice::Required => OpenAiToolChoice::Word("required"),
            ToolChoice::None => OpenAiToolChoice::Word("none"),
            ToolChoice::Named(name) => OpenAiToolChoice::Named(name),
        }),
        parallel_tool_calls: prompt.parallel_tool_calls.filter(|_| has_tools),
        max_tokens: limit(OutputLimitField::MaxTokens),
        max_completion_tokens: limit(OutputLimitField::MaxCompletionTokens),
        temperature: prompt.temperature,
        service_tier: dialect.service_tier.as_deref(),
    }
}

fn openai_call(call: &Call) -> OpenAiCall<'_> {
    OpenAiCall {
        id: &call.id,
        r#type: "function",
        function: CalledFunction {
            name: &call.name,
            arguments: &call.arguments,
        },
    }
}

fn openai_tool(tool: &Tool) -> OpenAiTool<'_> {
    OpenAiTool {
        r#type: "function",
        function: DeclaredFunction {
            name: &tool.name,
            description: &tool.description,
            parameters: &tool.schema,
        },
    }
}

#[derive(Serialize)]
struct AnthropicRequest<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<AnthropicSystem<'a>>,
    messages: Vec<AnthropicMessage<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<AnthropicTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<AnthropicToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
}

/// A text, or blocks where one of them is to be cached.
#[derive(Serialize)]
#[serde(untagged)]
enum AnthropicSystem<'a> {
    Text(&'a str),
    Blocks(Vec<SystemBlock<'a>>),
}

#[derive(Serialize)]
struct SystemBlock<'a> {
    r#type: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
struct CacheControl {
    r#type: &'static str,
    ttl: CacheTtl,
}

#[derive(Serialize)]
struct AnthropicMessage<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: &'a RawValue,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
}

impl Block<'_> {
    /// Asks caches to keep the prompt up to this block.
    fn keep(&mut self, ttl: CacheTtl) {
        match self {
            Self::Text { cache_control, .. } | Self::ToolResult { cache_control, .. } => {
                *cache_control = Some(CacheControl::of(ttl));
            }
            // A request ends with words of the user or with results.
            Self::ToolUse { .. } => {}
        }
    }
}

impl CacheControl {
    const fn of(ttl: CacheTtl) -> Self {
        Self {
            r#type: "ephemeral",
            ttl,
        }
    }
}

#[derive(Serialize)]
struct AnthropicTool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    input_schema: &'a Value,
}

#[derive(Serialize)]
struct AnthropicToolChoice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

fn anthropic<'a>(prompt: &'a Prompt, dialect: &'a Dialect) -> AnthropicRequest<'a> {
    AnthropicRequest {
        model: &prompt.model,
        max_tokens: prompt.max_output_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
        system: anthropic_system(prompt),
        messages: anthropic_messages(&prompt.messages, prompt.cache_conversation),
        stream: prompt.stream,
        tools: prompt
            .tools
            .tools()
            .iter()
            .map(|tool| AnthropicTool {
                name: &tool.name,
                description: &tool.description,
                input_schema: &tool.schema,
            })
            .collect(),
        tool_choice: (!prompt.tools.is_empty()).then(|| anthropic_tool_choice(prompt)),
        temperature: prompt.temperature,
        service_tier: dialect.service_tier.as_deref(),
    }
}

fn anthropic_system(prompt: &Prompt) -> Option<AnthropicSystem<'_>> {
    let Some(prefix) = &prompt.prefix else {
        return prompt.system.as_deref().map(AnthropicSystem::Text);
    };
    let block = |text, cache_control| SystemBlock {
        r#type: "text",
        text,
        cache_control,
    };
    let cached = CacheControl::of(prefix.ttl);
    let more = prompt.system.as_deref().map(|text| block(text, None));
    let first = block(&prefix.text, Some(cached));
    Some(AnthropicSystem::Blocks(
        std::iter::once(first).chain(more).collect(),
    ))
}

fn anthropic_tool_choice(prompt: &Prompt) -> AnthropicToolChoice<'_> {
    let (r#type, name) = match &prompt.tool_choice {
        ToolChoice::Auto => ("auto", None),
        ToolChoice::Required => ("any", None),
        ToolChoice::None => ("none", None),
        ToolChoice::Named(name) => ("tool", Some(&**name)),
    };
    AnthropicToolChoice {
        r#type,
        name,
        // Where no tool may be called, the protocol has no such field.
        disable_parallel_tool_use: prompt
            .parallel_tool_calls
            .filter(|_| prompt.tool_choice != ToolChoice::None)
            .map(|parallel| !parallel),
    }
}

/// The results of a turn's calls and the user's next words become one message, results first: the
/// protocol refuses anything else.
fn anthropic_messages(messages: &[Message], keep: Option<CacheTtl>) -> Vec<AnthropicMessage<'_>> {
    let mut out: Vec<AnthropicMessage<'_>> = Vec::with_capacity(messages.len());
    let mut after_results = false;
    for message in messages {
        let (role, content) = match message {
            Message::User(text) => ("user", vec![text_block(text)]),
            Message::Assistant { text, calls } => ("assistant", assistant_blocks(text, calls)),
            Message::ToolResults(results) => {
                ("user", results.iter().map(tool_result_block).collect())
            }
        };
        match out.last_mut() {
            Some(last) if after_results && role == "user" => last.content.extend(content),
            _ => out.push(AnthropicMessage { role, content }),
        }
        after_results = matches!(message, Message::ToolResults(_));
    }
    let last = out.last_mut().and_then(|last| last.content.last_mut());
    if let (Some(last), Some(ttl)) = (last, keep) {
        last.keep(ttl);
    }
    out
}

fn assistant_blocks<'a>(text: &'a str, calls: &'a [Call]) -> Vec<Block<'a>> {
    // An empty text block is refused.
    let text = (!text.is_empty()).then(|| text_block(text));
    let calls = calls.iter().map(|call| Block::ToolUse {
        id: &call.id,
        name: &call.name,
        input: object_or_empty(&call.arguments),
    });
    text.into_iter().chain(calls).collect()
}

fn tool_result_block(result: &ToolResult) -> Block<'_> {
    Block::ToolResult {
        tool_use_id: &result.call_id,
        content: &result.content,
        is_error: result.is_error,
        cache_control: None,
    }
}

fn text_block(text: &str) -> Block<'_> {
    Block::Text {
        text,
        cache_control: None,
    }
}

/// The arguments as they stand. The protocol takes nothing but an object, so that a model's broken
/// arguments become an empty one, as a model's empty ones do.
fn object_or_empty(arguments: &str) -> &RawValue {
    serde_json::from_str::<&RawValue>(arguments)
        .ok()
        .filter(|raw| raw.get().starts_with('{'))
        .unwrap_or_else(|| serde_json::from_str("{}").expect("this is an object"))
}
