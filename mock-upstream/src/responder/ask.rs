//! What a completion request asks for, in either API, and the parts of reading it that both share.

use serde_json::Value;

use super::refusal::Refusal;

/// What a completion request asks for, in either API.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) limit: Option<u64>,
    pub(super) tools: Vec<Tool>,
    pub(super) choice: Choice,
    pub(super) parallel: bool,
    pub(super) input_tokens: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) schema: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Choice {
    /// The model decides; this one always calls.
    Any,
    None,
    Named(String),
}

/// Anthropic's limit for a model's name.
const MODEL_BYTES_MAX: usize = 256;

/// The model's name, which both APIs demand.
pub(super) fn read_model(body: &Value) -> Result<String, Refusal> {
    match body["model"].as_str() {
        // Each chunk of a stream repeats it.
        Some(model) if model.len() > MODEL_BYTES_MAX => Err(Refusal::bad_request(format!(
            "model: should have at most {MODEL_BYTES_MAX} characters"
        ))),
        Some(model) if !model.is_empty() => Ok(model.to_owned()),
        _ => Err(Refusal::bad_request("model: field required")),
    }
}

/// The messages, of which both APIs demand at least one.
pub(super) fn read_messages(body: &Value) -> Result<&Vec<Value>, Refusal> {
    match body["messages"].as_array() {
        Some(messages) if !messages.is_empty() => Ok(messages),
        _ => Err(Refusal::bad_request(
            "messages: field required, a list of at least one message",
        )),
    }
}

/// An output limit under `key`, if the request sets it.
pub(super) fn read_limit(body: &Value, key: &str) -> Result<Option<u64>, Refusal> {
    match &body[key] {
        Value::Null => Ok(None),
        value => match value.as_u64() {
            Some(limit) if limit > 0 => Ok(Some(limit)),
            _ => Err(Refusal::bad_request(format!(
                "{key}: must be an integer of at least 1"
            ))),
        },
    }
}
