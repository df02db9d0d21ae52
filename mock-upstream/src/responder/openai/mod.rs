//! `POST /v1/chat/completions`: reading requests, and writing answers in `OpenAI`'s, Mistral's, vLLM's and
//! `OpenRouter`'s shapes.

use serde_json::json;

use super::refusal::Refusal;
use crate::config::Dialect;

mod request;
mod response;
mod usage;

pub(super) use request::{find_nonce, read};
pub(super) use response::{stream, whole};

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
