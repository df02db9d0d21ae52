//! `POST /v1/chat/completions`: reading requests, and writing answers in `OpenAI`'s, Mistral's, vLLM's and
//! `OpenRouter`'s shapes.

use serde_json::{Value, json};

use super::Exchange;
use super::refusal::Refusal;
use crate::config::Dialect;

mod conversation;
mod mistral;
mod request;
mod response;
mod usage;

pub(super) use request::{find_nonce, read, said_of_tools};
pub(super) use response::{stream, whole};

/// An error body, in the shape of the dialect.
pub(super) fn error_body(refusal: &Refusal, dialect: Dialect) -> String {
    match dialect {
        Dialect::Mistral => mistral_error(refusal).to_string(),
        Dialect::OpenAi | Dialect::Vllm | Dialect::OpenRouter => {
            json!({"error": error(refusal, dialect)}).to_string()
        }
    }
}

/// The error itself. vLLM's and `OpenRouter`'s codes are the status.
fn error(refusal: &Refusal, dialect: Dialect) -> Value {
    let status = refusal.status.as_u16();
    let message = &refusal.message;
    match dialect {
        Dialect::OpenRouter => json!({"code": status, "message": message}),
        Dialect::Vllm => {
            let kind = match status {
                401 => "Unauthorized",
                404 => "NotFoundError",
                429 => "RateLimitError",
                500.. => "InternalServerError",
                _ => "BadRequestError",
            };
            json!({"message": message, "type": kind, "param": refusal.param, "code": status})
        }
        Dialect::OpenAi | Dialect::Mistral => json!({
            "message": message, "type": kind_of(refusal), "param": refusal.param, "code": code_of(refusal),
        }),
    }
}

fn mistral_error(refusal: &Refusal) -> Value {
    let message = if refusal.details.is_empty() {
        refusal.message.as_str().into()
    } else {
        json!({"detail": refusal.details})
    };
    json!({
        "object": "error", "message": message, "type": kind_of(refusal), "param": null, "code": code_of(refusal),
    })
}

fn kind_of(refusal: &Refusal) -> &'static str {
    refusal.kind.unwrap_or(match refusal.status.as_u16() {
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    })
}

fn code_of(refusal: &Refusal) -> Option<&'static str> {
    let is_limit = refusal.status.as_u16() == 429;
    refusal.code.or(is_limit.then_some("rate_limit_exceeded"))
}

/// What precedes the answer's id.
pub(crate) fn id_prefix(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi | Dialect::Vllm => "chatcmpl-",
        Dialect::OpenRouter => "gen-",
        Dialect::Mistral => "",
    }
}

/// An error in the middle of a stream, after which nothing follows.
///
/// `OpenRouter` ends the choice and has the error beside it. Mistral does either of two things, by draw: the flat error
/// as an event, or the choice ended with nothing but the reason `error`.
pub(super) fn error_event(refusal: &Refusal, exchange: &Exchange<'_>) -> String {
    let dialect = exchange.behaviour.dialect;
    let id = [id_prefix(dialect), &exchange.response_id()].concat();
    let mut chunk = json!({
        "id": id,
        "object": "chat.completion.chunk",
        "created": exchange.created(),
        "model": exchange.model,
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
    });
    let event = match dialect {
        Dialect::OpenAi | Dialect::Vllm => json!({"error": error(refusal, dialect)}),
        Dialect::OpenRouter => {
            chunk["provider"] = PROVIDER.into();
            chunk["error"] = error(refusal, dialect);
            chunk["choices"][0]["native_finish_reason"] = "error".into();
            chunk
        }
        Dialect::Mistral if exchange.draws.happens("error without a message", 0.5) => chunk,
        Dialect::Mistral => mistral_error(refusal),
    };
    format!("data: {event}\n\n")
}

/// Who answers, as `OpenRouter` tells it.
const PROVIDER: &str = "Mock";
