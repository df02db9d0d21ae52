//! Failures that can be planted, and when they are.

use std::collections::BTreeMap;

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::behaviour::whole;
use super::check::{Problem, header_name, milliseconds, share};
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
    /// Token events before a failure in the middle of a stream; without it, half of them. A stream that has fewer is left
    /// whole.
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

    /// Token events before a failure in the middle of a stream that has so many of them.
    pub(crate) fn events_before(&self, events: usize) -> u64 {
        self.after_events.unwrap_or(events.div_ceil(2) as u64)
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
            let key = format!("{key}.headers.{name}");
            header_name(&key, name)?;
            if HeaderValue::try_from(value).is_err() {
                return Err(Problem::new(key, format!("{value:?} is no header's value")));
            }
        }
        milliseconds(format!("{key}.for_ms"), self.for_ms)?;
        self.check_use(key)
    }

    /// Refuses keys that say something to another kind of fault. A default says nothing, since it is written out where a
    /// configuration is printed.
    fn check_use(&self, key: &str) -> Result<(), Problem> {
        let plain = Self::new(self.kind);
        let is_status = self.kind == FaultKind::Status;
        let idle = [
            (
                "status",
                !is_status && self.status != plain.status,
                "`status`",
            ),
            (
                "headers",
                !is_status && !self.headers.is_empty(),
                "`status`",
            ),
            (
                "for_ms",
                self.kind != FaultKind::Refuse && !is_same(self.for_ms, plain.for_ms),
                "`refuse`",
            ),
            (
                "after_events",
                !self.kind.is_in_the_middle() && self.after_events.is_some(),
                "faults in the middle of a stream",
            ),
        ];
        let Some((name, _, user)) = idle.into_iter().find(|(_, is_idle, _)| *is_idle) else {
            return Ok(());
        };
        let message = format!(
            "does nothing for the kind `{}`, only for {user}",
            self.kind.name()
        );
        Err(Problem::new(format!("{key}.{name}"), message))
    }
}

/// Whether two numbers of a file are the same one.
fn is_same(one: f64, other: f64) -> bool {
    one.to_bits() == other.to_bits()
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
    /// The connection is reset without a byte, and for a while others are refused. Those that are open stay so.
    Refuse,
    /// The connection is reset before the head of the answer. Here and below it is the stream on HTTP/2.
    ResetBeforeHeaders,
    /// The connection is reset after the head of the answer, before any token.
    ResetAfterHeaders,
    /// The connection is reset after some tokens, or half of a whole body.
    Reset,
    /// The connection is closed after some tokens, or half of a whole body: orderly for TCP, too early for HTTP.
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
    /// A stream with the media type `application/json`, a whole body with `text/plain`.
    WrongContentType,
    /// The reason to stop is another one: `length` (`max_tokens`) for `stop` (`end_turn`), and that for all others.
    WrongFinish,
    /// After the stream's terminator, that of the other API: `[DONE]` on `/v1/messages`, `message_stop` after `[DONE]`.
    ForeignTerminator,
    /// Like [`FaultKind::ErrorInStream`], in the other API's shape.
    ForeignError,
    /// After some tokens, an event that says nothing, of the other API: a `ping` among chunks, an empty chunk among events.
    ForeignEvent,
    /// After the terminator, the last token event once more.
    LateEvent,
    /// The last event of a stream, which is its terminator, without the line ends after it.
    UnterminatedEvent,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 23] = [
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
        Self::WrongContentType,
        Self::WrongFinish,
        Self::ForeignTerminator,
        Self::ForeignError,
        Self::ForeignEvent,
        Self::LateEvent,
        Self::UnterminatedEvent,
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
            Self::WrongContentType => "wrong_content_type",
            Self::WrongFinish => "wrong_finish",
            Self::ForeignTerminator => "foreign_terminator",
            Self::ForeignError => "foreign_error",
            Self::ForeignEvent => "foreign_event",
            Self::LateEvent => "late_event",
            Self::UnterminatedEvent => "unterminated_event",
        }
    }

    /// Whether all of the answer's text was to be written, so that whoever compares it with the journal's digest sees
    /// what the fault did to it, or that it did nothing. Other faults leave no text, or a part of it: an answer with one of
    /// them is an abort for its bill, even if it ends cleanly as HTTP counts it.
    pub fn keeps_text(self) -> bool {
        match self {
            Self::NoTerminator
            | Self::Garbage
            | Self::DuplicateEvent
            | Self::LostEvent
            | Self::ForeignData
            | Self::FakeStreaming
            | Self::WrongContentType
            | Self::WrongFinish
            | Self::ForeignTerminator
            | Self::ForeignEvent
            | Self::LateEvent
            | Self::UnterminatedEvent => true,
            Self::Status
            | Self::Html200
            | Self::ErrorIn200
            | Self::Refuse
            | Self::ResetBeforeHeaders
            | Self::ResetAfterHeaders
            | Self::Reset
            | Self::Cut
            | Self::ErrorInStream
            | Self::ForeignError
            | Self::Stall => false,
        }
    }

    /// Whether it happens after some token events, see [`Fault::after_events`].
    pub fn is_in_the_middle(self) -> bool {
        matches!(
            self,
            Self::Reset
                | Self::Cut
                | Self::ErrorInStream
                | Self::Stall
                | Self::Garbage
                | Self::DuplicateEvent
                | Self::LostEvent
                | Self::ForeignData
                | Self::ForeignError
                | Self::ForeignEvent
        )
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
                | Self::ForeignTerminator
                | Self::ForeignError
                | Self::ForeignEvent
                | Self::LateEvent
                | Self::UnterminatedEvent
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_listed_by_the_names_that_are_read() {
        let error = FaultKind::deserialize(serde_json::json!("")).expect_err("no kind");
        let names = FaultKind::ALL.map(|kind| format!("`{}`", kind.name()));
        let expected = format!("expected one of {}", names.join(", "));
        assert!(error.to_string().ends_with(&expected), "{error}");
    }
    #[test]
    fn the_readme_has_a_row_for_each_kind() {
        let readme = include_str!("../../README.md");
        for kind in FaultKind::ALL {
            let wanted = if kind.needs_stream() {
                "stream"
            } else {
                "both"
            };
            let row = readme
                .lines()
                .find(|line| line.starts_with(&format!("| `{}` |", kind.name())));
            let row = row.unwrap_or_else(|| panic!("{kind:?} has a row"));
            assert!(row.ends_with(&format!("| {wanted} |")), "{row}");
        }
    }
}
