//! Failures that can be planted, and when they are.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::behaviour::whole;
use super::check::{Problem, milliseconds, share};
use crate::journal::Endpoint;

/// The request header whose words fire what has the same word as its `marker`.
pub const MARKER_HEADER: &str = "x-mock-marker";

/// Which requests something happens to. All of what is set has to hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// The share of requests, drawn by nonce and attempt; between 0 and 1.
    pub share: f64,
    /// Every nth of the requests that all else holds for; 0 and 1 are each.
    pub every: u64,
    /// A word that stands in the request's header `x-mock-marker`, or anywhere in its body.
    pub marker: Option<String>,
    /// Only the first so many attempts of a request, told apart by its nonce: what is tried again succeeds.
    pub attempts: Option<u64>,
    /// Only requests to this API.
    pub endpoint: Option<Endpoint>,
    /// Only streams, or only whole bodies.
    pub stream: Option<bool>,
}

impl Default for When {
    fn default() -> Self {
        Self {
            share: whole(),
            every: 0,
            marker: None,
            attempts: None,
            endpoint: None,
            stream: None,
        }
    }
}

impl When {
    pub(super) fn check(&self, key: &str) -> Result<(), Problem> {
        share(format!("{key}.share"), self.share)?;
        if self.marker.as_ref().is_some_and(String::is_empty) {
            let message = "must not be empty";
            return Err(Problem::new(format!("{key}.marker"), message));
        }
        Ok(())
    }
}

/// One kind of failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// Which requests it happens to.
    #[serde(default)]
    pub when: When,
    /// The status of [`FaultKind::Status`].
    #[serde(default = "too_many_requests")]
    pub status: u16,
    /// Headers beside the error of [`FaultKind::Status`]. Without any, 429, 503 and 529 have `retry-after: 1`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Token events before a failure in the middle of a stream; without it, half of them.
    #[serde(default)]
    pub after_events: Option<u64>,
    /// How long [`FaultKind::Refuse`] lasts.
    #[serde(default = "a_second")]
    pub for_ms: f64,
}

impl Fault {
    /// A fault of this kind for every request.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            when: When::default(),
            status: too_many_requests(),
            headers: BTreeMap::new(),
            after_events: None,
            for_ms: a_second(),
        }
    }

    pub(super) fn check(&self, key: &str) -> Result<(), Problem> {
        self.when.check(&format!("{key}.when"))?;
        if !(400..=599).contains(&self.status) {
            return Err(Problem::new(
                format!("{key}.status"),
                format!("{} is no error status, expected 400 to 599", self.status),
            ));
        }
        for (name, value) in &self.headers {
            let valid = HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok();
            if !valid {
                let message = format!("`{name}: {value}` is no header");
                return Err(Problem::new(format!("{key}.headers"), message));
            }
        }
        milliseconds(format!("{key}.for_ms"), self.for_ms)
    }
}

fn too_many_requests() -> u16 {
    429
}

fn a_second() -> f64 {
    1_000.0
}

/// The failures that can be planted.
///
/// Those that need a stream to fail in leave whole bodies alone: see [`FaultKind::needs_stream`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// An error status with the API's own error body, at once.
    Status,
    /// Status 200 with an HTML page.
    #[serde(rename = "html_200")]
    Html200,
    /// Status 200 with the API's error body.
    #[serde(rename = "error_in_200")]
    ErrorIn200,
    /// The connection is closed without a byte, and for a while no other is accepted.
    Refuse,
    /// The connection is reset before the head of the answer.
    ResetBeforeHeaders,
    /// The connection is reset after the head of the answer, before any token.
    ResetAfterHeaders,
    /// The connection is reset after some tokens.
    Reset,
    /// The connection is closed after some tokens, in the middle of the body as HTTP counts it.
    Cut,
    /// A stream without its terminator (`[DONE]`, `message_stop`), ended cleanly as HTTP counts it.
    NoTerminator,
    /// An error event after some tokens, after which the stream ends cleanly without its terminator.
    ErrorInStream,
    /// After some tokens, silence until the client hangs up.
    Stall,
    /// After some tokens, an event whose data is neither JSON nor UTF-8; a whole body breaks off and goes on in the same
    /// way.
    Garbage,
    /// The token event after some others comes twice.
    DuplicateEvent,
    /// The token event after some others is missing.
    LostEvent,
    /// The token event after some others is of another request: its text has that one's mark.
    ForeignData,
    /// The answer is kept until it is whole, and then sent as a stream at once.
    FakeStreaming,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Status,
        Self::Html200,
        Self::ErrorIn200,
        Self::Refuse,
        Self::ResetBeforeHeaders,
        Self::ResetAfterHeaders,
        Self::Reset,
        Self::Cut,
        Self::NoTerminator,
        Self::ErrorInStream,
        Self::Stall,
        Self::Garbage,
        Self::DuplicateEvent,
        Self::LostEvent,
        Self::ForeignData,
        Self::FakeStreaming,
    ];

    /// The name as in the configuration and the journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Html200 => "html_200",
            Self::ErrorIn200 => "error_in_200",
            Self::Refuse => "refuse",
            Self::ResetBeforeHeaders => "reset_before_headers",
            Self::ResetAfterHeaders => "reset_after_headers",
            Self::Reset => "reset",
            Self::Cut => "cut",
            Self::NoTerminator => "no_terminator",
            Self::ErrorInStream => "error_in_stream",
            Self::Stall => "stall",
            Self::Garbage => "garbage",
            Self::DuplicateEvent => "duplicate_event",
            Self::LostEvent => "lost_event",
            Self::ForeignData => "foreign_data",
            Self::FakeStreaming => "fake_streaming",
        }
    }

    /// Whether it only happens to streams; whole bodies are left alone.
    pub fn needs_stream(self) -> bool {
        matches!(
            self,
            Self::NoTerminator
                | Self::ErrorInStream
                | Self::DuplicateEvent
                | Self::LostEvent
                | Self::ForeignData
                | Self::FakeStreaming
        )
    }
}
