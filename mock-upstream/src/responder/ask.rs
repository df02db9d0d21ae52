//! What a completion request asks for, in either API, and the parts of reading it that both share.

use serde_json::Value;

use super::place::{Kind, Place, Problem};
use super::refusal::Refusal;

/// What a completion request asks for, in either API.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) limit: Option<u64>,
    /// The functions that may be called.
    pub(super) tools: Vec<Tool>,
    /// The names of all other tools that are offered, which nobody calls: an answer to a request that forces one of them
    /// is text.
    pub(super) other_tools: Vec<String>,
    pub(super) choice: Choice,
    pub(super) parallel: bool,
    pub(super) input_tokens: u64,
    pub(super) history: History,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) schema: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Choice {
    /// The model decides, or has to call; this one always calls.
    Any,
    None,
    Named(String),
}

/// What a conversation has behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct History {
    /// Messages of the model with calls, after the last text of a user.
    pub(super) turns: u32,
    /// Results of tools, in the whole conversation.
    pub(super) tool_results: u32,
}

impl History {
    /// The same after a message: of a user with text, of the model with calls, or with so many results of tools.
    pub(super) fn after(self, user_speaks: bool, calls: bool, results: usize) -> Self {
        let turns = if user_speaks { 0 } else { self.turns };
        let results = u32::try_from(results).unwrap_or(u32::MAX);
        Self {
            turns: turns.saturating_add(calls.into()),
            tool_results: self.tool_results.saturating_add(results),
        }
    }
}

/// Names of models are repeated in every event of an answer: one of a megabyte would make it one of gigabytes.
const MODEL_CHARACTERS_MAX: usize = 256;

/// The model's name, which both APIs demand.
pub(super) fn read_model(body: &Place<'_>) -> Result<String, Refusal> {
    let place = body.field("model");
    let model = place.text()?;
    if model.is_empty() {
        return Err(place.refuse(Problem::Missing));
    }
    if model.chars().count() > MODEL_CHARACTERS_MAX {
        return Err(place.refuse(Problem::LongerThan(MODEL_CHARACTERS_MAX)));
    }
    Ok(model.to_owned())
}

/// The messages, of which both APIs demand at least one.
pub(super) fn read_messages<'a>(body: &Place<'a>) -> Result<Place<'a>, Refusal> {
    let place = body.field("messages");
    let messages = place.required(Kind::List)?;
    if messages.as_array().is_none_or(Vec::is_empty) {
        return Err(place.refuse(Problem::Empty));
    }
    Ok(place)
}

/// The name of a tool, of at most `most` characters.
pub(super) fn read_tool_name(
    place: &Place<'_>,
    most: usize,
    pattern: &'static str,
) -> Result<String, Refusal> {
    let name = place.text()?;
    if name.chars().count() > most {
        return Err(place.refuse(Problem::LongerThan(most)));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(place.refuse(Problem::NotLike(pattern)));
    }
    Ok(name.to_owned())
}
