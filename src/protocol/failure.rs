//! Errors that a provider reports, in the shapes of both protocols and of what stands in front
//! of them.

use serde_json::{Map, Value};

use super::lenient::without_half_surrogates;
use crate::endpoint::Endpoint;

/// Longest message that [`error_body`] and descriptions of broken input give.
const MESSAGE_CHARS: usize = 200;

/// An error as reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Its type or code; empty if it has none.
    pub kind: String,
    /// Its message, whole.
    pub message: String,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// `{"error":{message,type,param,code}}`.
    OpenAi,
    /// `{"type":"error","error":{type,message}}`.
    Anthropic,
    /// Mistral's `{"object":"error",message,type,code}`, `FastAPI`'s `{"detail":...}`, and others
    /// without an envelope.
    Flat,
}

impl Failure {
    /// The error that a JSON text reports, if it does.
    pub fn in_json(text: &str) -> Option<Self> {
        Self::in_value(&value(text)?)
    }

    /// The error of the first choice of a chat completion or its chunk (`OpenRouter`).
    pub fn in_choice(text: &str) -> Option<Self> {
        let value = value(text)?;
        enveloped(value.pointer("/choices/0/error")?, &Map::new())
    }

    /// The error of an event that is known to be one; in an unknown shape its text is all there
    /// is.
    pub fn in_event(text: &str) -> Self {
        Self::in_json(text).unwrap_or_else(|| Self {
            kind: String::new(),
            message: text.to_owned(),
            shape: Shape::Flat,
        })
    }

    /// Whether an error of this endpoint looks otherwise.
    pub fn is_foreign_to(&self, endpoint: Endpoint) -> bool {
        self.shape
            != match endpoint {
                Endpoint::OpenAi => Shape::OpenAi,
                Endpoint::Anthropic => Shape::Anthropic,
            }
    }

    fn in_value(value: &Value) -> Option<Self> {
        let fields = match value {
            Value::Object(fields) => fields,
            // Google's endpoints wrap their envelope in a list.
            Value::Array(items) => items.first()?.as_object()?,
            _ => return None,
        };
        if let Some(failure) = fields.get("error").and_then(|e| enveloped(e, fields)) {
            return Some(failure);
        }
        if says(fields, "object", "error") || says(fields, "type", "error") {
            return Some(Self {
                kind: kind(fields),
                message: fields.get("message").map_or_else(String::new, words),
                shape: Shape::Flat,
            });
        }
        if let Some(detail) = fields.get("detail") {
            return Some(detailed(detail));
        }
        let message = fields.get("message")?.as_str()?;
        Some(Self {
            kind: kind(fields),
            message: message.to_owned(),
            shape: Shape::Flat,
        })
    }
}

/// The one-line kind and message of the body of an HTTP error, in any known shape: `OpenAI`'s and
/// Anthropic's envelopes, Mistral's flat form, `FastAPI`'s `{"detail":...}`, and else the first
/// line of the text, or the title of an HTML page. The kind is empty where there is none. Each has
/// at most 200 characters.
pub fn error_body(bytes: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(bytes);
    match Failure::in_json(&text) {
        Some(failure) => (one_line(&failure.kind), one_line(&failure.message)),
        None => (String::new(), one_line(title(&text).unwrap_or(&text))),
    }
}

/// The first line that is not blank, without control characters, bounded.
pub(super) fn one_line(text: &str) -> String {
    text.trim()
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end()
        .chars()
        .take(MESSAGE_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The JSON value of a text, also where it has half surrogate pairs.
fn value(text: &str) -> Option<Value> {
    serde_json::from_str(text)
        .ok()
        .or_else(|| serde_json::from_str(&without_half_surrogates(text)?).ok())
}

fn title(text: &str) -> Option<&str> {
    let text = text.trim_start();
    if !text.starts_with('<') {
        return None;
    }
    let (_, rest) = text
        .split_once("<title>")
        .or_else(|| text.split_once("<TITLE>"))?;
    let (title, _) = rest.split_once("</")?;
    Some(title).filter(|title| !title.trim().is_empty())
}

fn enveloped(error: &Value, fields: &Map<String, Value>) -> Option<Failure> {
    Some(match error {
        Value::Null | Value::Bool(false) => return None,
        Value::String(text) if text.is_empty() => return None,
        Value::Object(inner) => Failure {
            kind: kind(inner),
            message: match inner.get("message") {
                Some(message) => words(message),
                None => error.to_string(),
            },
            shape: if says(fields, "type", "error") {
                Shape::Anthropic
            } else {
                Shape::OpenAi
            },
        },
        // `{"error":"invalid_token","message":"..."}` or `{"error":"no such route"}`.
        other => {
            let message = ["message", "error_description", "detail"]
                .iter()
                .find_map(|key| fields.get(*key)?.as_str());
            let (kind, message) = match message {
                Some(message) => (words(other), message.to_owned()),
                None => (kind(fields), words(other)),
            };
            Failure {
                kind,
                message,
                shape: Shape::Flat,
            }
        }
    })
}

/// `FastAPI`'s: a text, or a list of `{loc, msg, type}`.
fn detailed(detail: &Value) -> Failure {
    let first = detail.get(0).unwrap_or(detail);
    let place: Vec<String> = first
        .get("loc")
        .and_then(Value::as_array)
        .map_or_else(Vec::new, |loc| loc.iter().map(words).collect());
    let message = match first.get("msg").or_else(|| first.get("message")) {
        Some(message) if place.is_empty() => words(message),
        Some(message) => format!("{}: {}", place.join("."), words(message)),
        None => words(first),
    };
    Failure {
        kind: first.as_object().map_or_else(String::new, kind),
        message,
        shape: Shape::Flat,
    }
}

/// The type, else the code, else the status; `"type":"error"` only says that this is an error.
fn kind(fields: &Map<String, Value>) -> String {
    ["type", "code", "status"]
        .iter()
        .filter_map(|key| fields.get(*key))
        .filter(|value| value.is_string() || value.is_number())
        .map(words)
        .find(|kind| !kind.is_empty() && kind != "error")
        .unwrap_or_default()
}

fn says(fields: &Map<String, Value>, key: &str, text: &str) -> bool {
    fields.get(key).and_then(Value::as_str) == Some(text)
}

/// A text as itself, anything else as JSON.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
