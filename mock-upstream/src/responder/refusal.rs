//! Answers in one piece: errors in the shape of the API that was called, and what is no completion.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::identity::{identify, request_id, standard_headers};
use super::{MESSAGES, MODELS, Received, anthropic, openai};
use crate::config::{Behaviour, Dialect};
use crate::journal::Endpoint;
use crate::script::{Content, Ending, Frames, Script, Truth};

/// A request that is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) code: Option<&'static str>,
}

impl Refusal {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            code: None,
        }
    }
}

/// An error in the shape of the API whose path was called, for what goes wrong outside of the responder.
pub(crate) fn refuse_as(
    received: &Received<'_>,
    behaviour: &Behaviour,
    status: StatusCode,
    message: &str,
) -> Script {
    let refusal = Refusal {
        status,
        message: message.to_owned(),
        code: None,
    };
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

/// The API's error as an event of a stream.
pub(super) fn error_event(endpoint: Endpoint, dialect: Dialect) -> String {
    let refusal = Refusal {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        message: "a planted fault".to_owned(),
        code: None,
    };
    match endpoint {
        Endpoint::OpenAi => format!("data: {}\n\n", openai::error_body(&refusal, dialect)),
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
