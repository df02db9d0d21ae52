//! `POST /v1/messages`: reading requests, and writing answers in Anthropic's shapes.

use serde_json::json;

use super::refusal::Refusal;

mod conversation;
mod request;
mod response;
mod usage;

#[cfg(test)]
pub(super) use request::count;
pub(super) use request::{Limit, find_nonce, read, said_of_tools};
pub(super) use response::{stream, whole};

/// An error body.
pub(super) fn error_body(refusal: &Refusal, request_id: Option<&str>) -> String {
    let kind = match refusal.status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let mut body = json!({"type": "error", "error": {"type": kind, "message": refusal.message}});
    if refusal.code == Some(request::NO_THREADS) {
        body["error"]["details"] = json!({"error_code": request::NO_THREADS});
    }
    if let Some(id) = request_id {
        body["request_id"] = id.into();
    }
    body.to_string()
}
