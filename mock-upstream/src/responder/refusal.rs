//! Answers in one piece: errors in the shape of the API that was called, and what is no completion.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use super::identity::{identify, request_id, standard_headers};
use super::{Exchange, MESSAGES, MODELS, Received, anthropic, openai};
use crate::config::Behaviour;
use crate::journal::Endpoint;
use crate::script::{Content, Ending, Frames, Script, Truth};

/// A request that is refused.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) code: Option<&'static str>,
    /// The error's type, where the status does not decide it.
    pub(super) kind: Option<&'static str>,
    /// The field that is wrong, as `OpenAI` names it.
    pub(super) param: Option<String>,
    /// What Mistral says in place of the message.
    pub(super) details: Vec<Value>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            code: None,
            kind: None,
            param: None,
            details: Vec::new(),
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The same with a code.
    pub(super) fn coded(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The same of a type.
    pub(super) fn of_kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// The same of a field.
    pub(super) fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }
}

/// An error in the shape of the API whose path was called, for what goes wrong outside of the responder.
pub(crate) fn refuse_as(
    received: &Received<'_>,
    behaviour: &Behaviour,
    status: StatusCode,
    message: &str,
) -> Script {
    let refusal = Refusal::new(status, message);
    refuse(received, behaviour, &refusal, identify(received))
}

pub(super) fn refuse(
    received: &Received<'_>,
    behaviour: &Behaviour,
    refusal: &Refusal,
    truth: Option<Truth>,
) -> Script {
    refuse_at(Duration::ZERO, received, behaviour, refusal, truth)
}

pub(super) fn refuse_at(
    at: Duration,
    received: &Received<'_>,
    behaviour: &Behaviour,
    refusal: &Refusal,
    truth: Option<Truth>,
) -> Script {
    let request_id = request_id(received.arrival.seq);
    // Both APIs list models at the same path.
    let anthropic = received.path.starts_with(MESSAGES)
        || (received.path.starts_with(MODELS)
            && received.headers.contains_key("anthropic-version"));
    let body = if anthropic {
        anthropic::error_body(refusal, Some(&request_id))
    } else {
        openai::error_body(refusal, behaviour.dialect)
    };
    let headers = standard_headers(&request_id);
    body_at(
        at,
        refusal.status,
        headers,
        "application/json",
        &body,
        truth,
    )
}

/// An API's error as an event of a stream.
pub(super) fn error_event(exchange: &Exchange<'_>, endpoint: Endpoint) -> String {
    let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "a planted fault");
    match endpoint {
        Endpoint::OpenAi => openai::error_event(&refusal, exchange),
        Endpoint::Anthropic => {
            format!(
                "event: error\ndata: {}\n\n",
                anthropic::error_body(&refusal, None)
            )
        }
    }
}

pub(super) fn json_now(
    received: &Received<'_>,
    status: StatusCode,
    body: &str,
    truth: Option<Truth>,
) -> Script {
    let headers = standard_headers(&request_id(received.arrival.seq));
    body_at(
        Duration::ZERO,
        status,
        headers,
        "application/json",
        body,
        truth,
    )
}

pub(super) fn body_at(
    at: Duration,
    status: StatusCode,
    mut headers: HeaderMap,
    media_type: &'static str,
    body: &str,
    truth: Option<Truth>,
) -> Script {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    let mut frames = Frames::new();
    frames.push(at, Content::NOTHING, body.as_bytes());
    Script {
        status,
        headers,
        frames,
        ending: Ending::Clean,
        truth,
    }
}
