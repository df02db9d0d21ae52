//! A provider-neutral request: messages, tools, limits. `protocol` writes it for either endpoint.

mod toolbox;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use toolbox::{SchemaError, Toolbox};

/// What one request asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The model id to ask for.
    pub model: String,
    /// A text in front of everything, which prompt caches are to keep.
    pub prefix: Option<Prefix>,
    /// Whether prompt caches are asked to keep the conversation as far as it goes, for its next turn;
    /// only Anthropic is asked.
    pub cache_conversation: Option<CacheTtl>,
    /// The system prompt, on top of the conversation.
    pub system: Option<String>,
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// Tools the model may call; empty for plain chat.
    pub tools: Arc<Toolbox>,
    /// Whether and which tool the model must call; only sent when there are tools.
    pub tool_choice: ToolChoice,
    /// Whether several tool calls may come in one answer; `None` leaves the field out.
    pub parallel_tool_calls: Option<bool>,
    /// The output limit in tokens. Anthropic requires one.
    pub max_output_tokens: Option<u64>,
    /// Sampling temperature; `None` leaves the field out.
    pub temperature: Option<f64>,
    /// Whether the answer is asked for as a stream of events or as a whole body.
    pub stream: bool,
}

/// The begin of a prompt that many prompts share: a part of the system prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Its text.
    pub text: Arc<str>,
    /// How long it is to be kept, where that can be said.
    pub ttl: CacheTtl,
}

/// How long a prompt cache keeps a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CacheTtl {
    /// Five minutes from its last use.
    #[default]
    #[serde(rename = "5m")]
    FiveMinutes,
    /// An hour.
    #[serde(rename = "1h")]
    Hour,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Text of the user.
    User(String),
    /// An earlier answer of the model.
    Assistant {
        /// Its visible text; may be empty.
        text: String,
        /// The tools that it called.
        calls: Vec<Call>,
    },
    /// The results of all calls of the assistant message before it.
    ToolResults(Vec<ToolResult>),
}

/// A call of a tool by the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The provider's id of the call.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments: JSON text of an object.
    pub arguments: String,
}

/// The answer to one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolResult {
    /// The id of the call that is answered.
    pub call_id: String,
    /// The tool's name (Mistral wants it beside the id).
    pub name: String,
    /// The result as text.
    pub content: String,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name, `[a-zA-Z0-9_-]{1,64}` on both endpoints.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments, an object.
    pub schema: Value,
}

/// Which tool the model must call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As the model likes.
    Auto,
    /// At least one, of its choice (`required`; Anthropic: `any`).
    Required,
    /// None.
    None,
    /// This one.
    Named(String),
}

impl ToolChoice {
    /// The kind of a choice that names a tool.
    pub const NAMED: &str = "named";

    /// The kind of choice, as facts name it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Required => "required",
            Self::None => "none",
            Self::Named(_) => Self::NAMED,
        }
    }
}
