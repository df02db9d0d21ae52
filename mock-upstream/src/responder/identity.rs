//! Which request it is: its nonce, its trace id, the names that the answer gets.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use rand::Rng as _;
use serde_json::Value;

use super::reply::Reply;
use super::{CHAT_COMPLETIONS, Exchange, MESSAGES, Received, anthropic, openai};
use crate::config::Dialect;
use crate::journal::{Endpoint, Usage};
use crate::script::Truth;

/// What the journal can say of a completion request whatever the answer; `None` for other requests.
pub fn identify(received: &Received<'_>) -> Option<Truth> {
    let endpoint = endpoint_of(received)?;
    let body = serde_json::from_slice(received.body).unwrap_or(Value::Null);
    Some(truth_of(received, endpoint, &body))
}

pub(super) fn endpoint_of(received: &Received<'_>) -> Option<Endpoint> {
    if received.method != Method::POST {
        return None;
    }
    match received.path {
        CHAT_COMPLETIONS => Some(Endpoint::OpenAi),
        MESSAGES => Some(Endpoint::Anthropic),
        _ => None,
    }
}

pub(super) fn truth_of(received: &Received<'_>, endpoint: Endpoint, body: &Value) -> Truth {
    let trace_id = trace_id(received.headers);
    let nonce = match endpoint {
        Endpoint::OpenAi => openai::find_nonce(body),
        Endpoint::Anthropic => anthropic::find_nonce(body),
    };
    let (tool_choice, parallel_tool_calls) = match endpoint {
        Endpoint::OpenAi => openai::said_of_tools(body),
        Endpoint::Anthropic => anthropic::said_of_tools(body),
    };
    let offered = body["tools"].as_array().map_or(0, Vec::len);
    let offered = u32::try_from(offered).unwrap_or(u32::MAX);
    Truth {
        endpoint,
        path: received.path.to_owned(),
        nonce: nonce.or_else(|| trace_id.clone()).unwrap_or_default(),
        trace_id,
        model: body["model"].as_str().unwrap_or_default().to_owned(),
        stream: body["stream"].as_bool().unwrap_or(false),
        body_bytes: received.body.len() as u64,
        usage: Usage::default(),
        cost: None,
        bill: None,
        tools: body.is_object().then_some(offered),
        tool_choice,
        parallel_tool_calls,
        tool_calls: 0,
        tool_results: 0,
        turn: 0,
        text_tokens: None,
        text_tokens_after: None,
        reasoning_tokens: None,
        text_sha256: None,
        reasoning_sha256: None,
        finish: None,
        fault: None,
        attempt: 1,
        profile: None,
        response_id: None,
        queue: Duration::ZERO,
        body: None,
    }
}

pub(super) fn request_id(seq: u64) -> String {
    format!("req_{seq:016x}")
}

/// Whether this is the id of a request, as in its `x-request-id`.
pub(crate) fn is_request_id(id: &str) -> bool {
    let digits = id.strip_prefix("req_");
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(is_lower_hex))
}

pub(super) fn standard_headers(request_id: &str) -> HeaderMap {
    let id = HeaderValue::from_str(request_id).expect("hexadecimal digits are a header value");
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert("x-request-id", id.clone());
    headers.insert("request-id", id);
    headers
}

/// What `OpenAI` says of its limits, which nobody reaches here.
const OPENAI_LIMITS: [(&str, &str); 6] = [
    ("x-ratelimit-limit-requests", "30000"),
    ("x-ratelimit-limit-tokens", "150000000"),
    ("x-ratelimit-remaining-requests", "29999"),
    ("x-ratelimit-remaining-tokens", "149999000"),
    ("x-ratelimit-reset-requests", "2ms"),
    ("x-ratelimit-reset-tokens", "0s"),
];

/// What Anthropic says of its limits. They are full again since long ago.
const ANTHROPIC_LIMITS: [(&str, &str); 6] = [
    ("anthropic-ratelimit-requests-limit", "4000"),
    ("anthropic-ratelimit-requests-remaining", "3999"),
    ("anthropic-ratelimit-requests-reset", "1970-01-01T00:00:00Z"),
    ("anthropic-ratelimit-tokens-limit", "2000000"),
    ("anthropic-ratelimit-tokens-remaining", "1999000"),
    ("anthropic-ratelimit-tokens-reset", "1970-01-01T00:00:00Z"),
];

impl Exchange<'_> {
    /// The answer's id, without the prefix that an API has for it.
    pub(super) fn response_id(&self) -> String {
        let drawn = self.draws.stream("id").next_u64();
        format!("{drawn:016x}{:08x}", self.received.arrival.seq)
    }

    /// When the answer was made, in seconds since 1970.
    pub(super) fn created(&self) -> u64 {
        self.received.arrival.unix_us / 1_000_000
    }

    /// The headers that only one API has on its answers: limits, and `OpenAI`'s time until its head was ready.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap, reply: &Reply) {
        let limits = match (self.endpoint, self.behaviour.dialect) {
            (Endpoint::Anthropic, _) => ANTHROPIC_LIMITS,
            (Endpoint::OpenAi, Dialect::OpenAi) => {
                let ready_ms = u64::try_from(reply.opening.as_millis()).unwrap_or(u64::MAX);
                headers.insert("openai-processing-ms", ready_ms.into());
                headers.insert("openai-version", HeaderValue::from_static("2020-10-01"));
                OPENAI_LIMITS
            }
            (Endpoint::OpenAi, _) => return,
        };
        for (name, value) in limits {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

/// The trace id of a W3C `traceparent` header.
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let id = value.split('-').nth(1)?;
    is_nonce(id).then(|| id.to_owned())
}

const NONCE_DIGITS: usize = 32;

/// What stands before the nonce of a request that repeats a conversation, and behind it.
const NAMED: (&str, char) = ("[request ", ']');

/// The nonce of a prompt with these texts: the last one that is written `[request NONCE]`, since a request that goes on
/// with a conversation repeats the nonces of those before it; else the first run of digits that is one, whatever stands
/// behind it.
pub(super) fn nonce_of<'a>(texts: impl Iterator<Item = &'a str>) -> Option<String> {
    let (mut named, mut first) = (None, None);
    for text in texts {
        named = last_named_in(text).or(named);
        first = first.or_else(|| nonce_in(text));
    }
    named.or(first)
}

fn last_named_in(text: &str) -> Option<String> {
    text.rmatch_indices(NAMED.0).find_map(|(at, begin)| {
        let (digits, _) = text[at + begin.len()..].split_once(NAMED.1)?;
        is_nonce(digits).then(|| digits.to_owned())
    })
}

fn is_nonce(digits: &str) -> bool {
    digits.len() == NONCE_DIGITS && digits.bytes().all(is_lower_hex)
}

/// The first run of exactly 32 lower-case hexadecimal digits.
pub(super) fn nonce_in(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some(start) = rest.bytes().position(is_lower_hex) {
        let run = &rest[start..];
        let length = run
            .bytes()
            .position(|byte| !is_lower_hex(byte))
            .unwrap_or(run.len());
        if length == NONCE_DIGITS {
            return Some(run[..length].to_owned());
        }
        rest = &run[length..];
    }
    None
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}
