//! Which failure is planted, and what it makes of the answer.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::Exchange;
use super::identity::{request_id, standard_headers};
use super::refusal::{Refusal, body_at, error_event, refuse, refuse_at};
use crate::config::{Fault, FaultKind, MARKER_HEADER, When};
use crate::draw::Pace;
use crate::journal::Endpoint;
use crate::script::{Content, Ending, Frames, Piece, Script, Truth};

#[cfg(test)]
mod tests;

/// An event that no decoder can take: broken JSON, and bytes that are not UTF-8.
const GARBAGE_EVENT: &[u8] = b"data: {\"broken\": \xff\xfe\n\n";

/// The mark of a request that never was, for the first request's foreign data.
const NO_MARK: &str = "ffffffff";

/// The events that end a stream.
const DONE: &[u8] = b"data: [DONE]\n\n";
const MESSAGE_STOP: &[u8] = b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// An event of messages that says nothing, and a chunk that does not.
const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";
const EMPTY_CHUNK: &[u8] = b"data: {\"object\":\"chat.completion.chunk\",\"choices\":[]}\n\n";

impl<'a> Exchange<'a> {
    /// The first fault that fires.
    pub(super) fn fault(&self) -> Option<&'a Fault> {
        let mut faults = self.behaviour.faults.iter().enumerate();
        let fires = |(index, fault): &(usize, &Fault)| {
            (self.stream || !fault.kind.needs_stream())
                && self.fires(&fault.when, &format!("fault {index}"))
        };
        faults.find(fires).map(|(_, fault)| fault)
    }

    /// Whether the rule called `rule` is for this request.
    pub(super) fn fires(&self, when: &When, rule: &str) -> bool {
        let is_meant = when
            .endpoint
            .is_none_or(|endpoint| endpoint == self.endpoint)
            && when.stream.is_none_or(|stream| stream == self.stream)
            && when
                .attempts
                .is_none_or(|attempts| self.attempt <= attempts)
            && when
                .marker
                .as_ref()
                .is_none_or(|marker| self.has_marker(marker))
            && self
                .draws
                .happens(&format!("{rule}, attempt {}", self.attempt), when.share);
        let turn = || self.state.nth(&format!("{} {rule}", self.profile));
        is_meant && (when.every == 0 || turn().is_multiple_of(when.every))
    }

    fn has_marker(&self, marker: &str) -> bool {
        let mut headers = self.received.headers.get_all(MARKER_HEADER).iter();
        let words = |value: &HeaderValue| {
            let text = value.to_str().unwrap_or_default();
            text.split([' ', ',']).any(|word| word == marker)
        };
        let body = self.received.body;
        headers.any(words)
            || body
                .windows(marker.len())
                .any(|bytes| bytes == marker.as_bytes())
    }

    /// The script of a fault that leaves nothing of the answer.
    pub(super) fn replace_answer(&self, fault: &Fault, truth: &Truth) -> Option<Script> {
        let (received, behaviour) = (self.received, self.behaviour);
        let mut truth = truth.clone();
        truth.fault = Some(fault.kind);
        let ttft = || Pace::new(&behaviour.timing, &self.draws, 0).next_event();
        let refusal = |status| Refusal::new(status, "a planted fault");
        let silent = |refuse_for| Script {
            status: StatusCode::OK,
            headers: standard_headers(&request_id(received.arrival.seq)),
            frames: Frames::new(),
            ending: Ending::Unanswered { refuse_for },
            truth: None,
        };
        let script = match fault.kind {
            FaultKind::Status => {
                let status =
                    StatusCode::from_u16(fault.status).expect("the configuration was checked");
                let mut script = refuse(received, behaviour, &refusal(status), None);
                for (name, value) in &fault.headers {
                    let name = HeaderName::try_from(name).expect("the configuration was checked");
                    let value =
                        HeaderValue::try_from(value).expect("the configuration was checked");
                    script.headers.insert(name, value);
                }
                if fault.headers.is_empty() && matches!(fault.status, 429 | 503 | 529) {
                    let a_second = HeaderValue::from_static("1");
                    script.headers.insert(header::RETRY_AFTER, a_second);
                }
                script
            }
            FaultKind::ErrorIn200 => {
                let refusal = refusal(StatusCode::INTERNAL_SERVER_ERROR);
                let mut script = refuse_at(ttft(), received, behaviour, &refusal, None);
                script.status = StatusCode::OK;
                script
            }
            FaultKind::Html200 => body_at(
                ttft(),
                StatusCode::OK,
                standard_headers(&request_id(received.arrival.seq)),
                "text/html; charset=utf-8",
                "<!doctype html><title>A page</title><h1>This is no API.</h1>\n",
                None,
            ),
            FaultKind::Refuse => silent(Duration::from_secs_f64(fault.for_ms / 1_000.0)),
            FaultKind::ResetBeforeHeaders => silent(Duration::ZERO),
            _ => return None,
        };
        Some(Script {
            truth: Some(truth),
            ..script
        })
    }

    /// Breaks an answer; false if there is no such way.
    pub(super) fn break_answer(&self, fault: &Fault, script: &mut Script) -> bool {
        let mut pieces = script.frames.pieces();
        let broken = if fault.kind == FaultKind::WrongContentType {
            let wrong = if self.stream {
                "application/json"
            } else {
                "text/plain; charset=utf-8"
            };
            let wrong = HeaderValue::from_static(wrong);
            script.headers.insert(header::CONTENT_TYPE, wrong);
            Some(Ending::Clean)
        } else if self.stream {
            let material = Material {
                endpoint: self.endpoint,
                error: error_event(self, self.endpoint),
                foreign_error: error_event(self, other(self.endpoint)),
            };
            break_stream(fault, &mut pieces, &material, || self.foreign_mark())
        } else {
            let broken = break_whole(fault.kind, &mut pieces, self.endpoint);
            if broken == Some(Ending::Clean) {
                let length: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
                script.headers.insert(header::CONTENT_LENGTH, length.into());
            }
            broken
        };
        let Some(ending) = broken else {
            return false;
        };
        script.ending = ending;
        script.frames = pieces.into_iter().collect();
        true
    }

    /// This request's mark, and that of another.
    fn foreign_mark(&self) -> (String, String) {
        let own: String = self.nonce.chars().take(8).collect();
        let mut foreign = self.state.exchange_mark(&own);
        if foreign.is_empty() || foreign == own {
            NO_MARK.clone_into(&mut foreign);
        }
        (own, foreign)
    }
}

/// What is put into streams of an API.
#[derive(Debug)]
struct Material {
    endpoint: Endpoint,
    /// The API's error as an event.
    error: String,
    /// The other API's.
    foreign_error: String,
}

fn other(endpoint: Endpoint) -> Endpoint {
    match endpoint {
        Endpoint::OpenAi => Endpoint::Anthropic,
        Endpoint::Anthropic => Endpoint::OpenAi,
    }
}

fn terminator(endpoint: Endpoint) -> &'static [u8] {
    match endpoint {
        Endpoint::OpenAi => DONE,
        Endpoint::Anthropic => MESSAGE_STOP,
    }
}

/// An event that says nothing.
fn nothing(endpoint: Endpoint) -> &'static [u8] {
    match endpoint {
        Endpoint::OpenAi => EMPTY_CHUNK,
        Endpoint::Anthropic => PING,
    }
}

/// Breaks a stream's pieces; how it ends then. `None` if it is too short for that, or has no mark to change.
fn break_stream(
    fault: &Fault,
    pieces: &mut Vec<Piece>,
    material: &Material,
    marks: impl FnOnce() -> (String, String),
) -> Option<Ending> {
    let is_event = |piece: &Piece| piece.content.token_events > 0;
    let events = pieces.iter().filter(|piece| is_event(piece)).count();
    let before = fault.events_before(events);
    // The piece after that many token events, if there are as many, and the next token event from there.
    let mut seen = 0;
    let at = pieces.iter().position(|piece| {
        let reached = seen == before;
        seen += u64::from(piece.content.token_events);
        reached
    });
    let at = (before <= events as u64).then(|| at.unwrap_or(pieces.len()));
    let event = at.and_then(|at| {
        let index = pieces[at..].iter().position(is_event)?;
        Some(at + index)
    });
    match fault.kind {
        FaultKind::NoTerminator => {
            pieces.retain(|piece| piece.bytes != terminator(material.endpoint));
        }
        FaultKind::ErrorInStream => {
            pieces.truncate(at?);
            insert(pieces, pieces.len(), material.error.as_bytes());
        }
        FaultKind::ForeignError => {
            pieces.truncate(at?);
            insert(pieces, pieces.len(), material.foreign_error.as_bytes());
        }
        FaultKind::Garbage => insert(pieces, at?, GARBAGE_EVENT),
        FaultKind::ForeignEvent => insert(pieces, at?, nothing(other(material.endpoint))),
        FaultKind::Cut | FaultKind::Stall | FaultKind::Reset => pieces.truncate(at?),
        FaultKind::ResetAfterHeaders => pieces.clear(),
        FaultKind::DuplicateEvent => {
            let event = event?;
            pieces.insert(event, pieces[event].clone());
        }
        FaultKind::LostEvent => drop(pieces.remove(event?)),
        FaultKind::ForeignData => {
            let (own, foreign) = marks();
            // A dot follows the mark in tokens and in arguments, but not where an id looks like it.
            let (own, foreign) = (format!("{own}."), format!("{foreign}."));
            let mut texts = pieces.iter_mut().skip(event?);
            texts.find_map(|piece| {
                let text = std::str::from_utf8(&piece.bytes).ok()?;
                let changed = text.replace(&own, &foreign);
                let is_other = is_event(piece) && own.len() > 1 && changed != text;
                is_other.then(|| piece.bytes = changed.into_bytes())
            })?;
        }
        FaultKind::FakeStreaming => {
            let end = pieces.last().map_or(Duration::ZERO, |last| last.at);
            for piece in pieces {
                piece.at = end;
            }
        }
        FaultKind::WrongFinish => {
            for piece in pieces {
                change_finish(&mut piece.bytes, material.endpoint);
            }
        }
        FaultKind::ForeignTerminator => {
            insert(pieces, pieces.len(), terminator(other(material.endpoint)));
        }
        FaultKind::LateEvent => {
            let last = pieces.iter().rposition(is_event)?;
            let late = Piece {
                at: pieces.last().map_or(Duration::ZERO, |last| last.at),
                ..pieces[last].clone()
            };
            pieces.push(late);
        }
        FaultKind::UnterminatedEvent => {
            let last = pieces.last_mut()?;
            let length = last.bytes.trim_ascii_end().len();
            last.bytes.truncate(length);
        }
        FaultKind::Status
        | FaultKind::Html200
        | FaultKind::ErrorIn200
        | FaultKind::Refuse
        | FaultKind::ResetBeforeHeaders => unreachable!("these replace the answer"),
        FaultKind::WrongContentType => unreachable!("it is in the head"),
    }
    Some(ending_of(fault.kind))
}

/// Puts a piece at `index`, at the time of the one before it.
fn insert(pieces: &mut Vec<Piece>, index: usize, bytes: &[u8]) {
    let before = index.checked_sub(1).map(|before| pieces[before].at);
    let piece = Piece {
        at: before.unwrap_or_default(),
        content: Content::NOTHING,
        bytes: bytes.to_vec(),
    };
    pieces.insert(index, piece);
}

/// Writes another reason to stop where there is one.
fn change_finish(bytes: &mut Vec<u8>, endpoint: Endpoint) {
    let (key, stop, length): (&[u8], &[u8], &[u8]) = match endpoint {
        Endpoint::OpenAi => (b"\"finish_reason\":\"", b"stop", b"length"),
        Endpoint::Anthropic => (b"\"stop_reason\":\"", b"end_turn", b"max_tokens"),
    };
    let found = bytes.windows(key.len()).position(|window| window == key);
    let Some(begin) = found.map(|at| at + key.len()) else {
        return;
    };
    let reason = bytes[begin..].split(|byte| *byte == b'"').next();
    let reason = reason.unwrap_or_default();
    let other = if reason == stop { length } else { stop };
    let end = begin + reason.len();
    drop(bytes.splice(begin..end, other.iter().copied()));
}

fn ending_of(kind: FaultKind) -> Ending {
    match kind {
        FaultKind::Cut => Ending::Cut,
        FaultKind::Stall => Ending::Stall,
        FaultKind::Reset | FaultKind::ResetAfterHeaders => Ending::Reset,
        _ => Ending::Clean,
    }
}

/// Breaks a whole body in its middle; how it ends then. `None` if there is no such way.
fn break_whole(kind: FaultKind, pieces: &mut Vec<Piece>, endpoint: Endpoint) -> Option<Ending> {
    let body = &mut pieces.first_mut()?.bytes;
    let half = body.len() / 2;
    match kind {
        FaultKind::Cut | FaultKind::Stall | FaultKind::Reset => {
            body.truncate(half);
            // The cost is at the end.
            pieces[0].content = Content::NOTHING;
        }
        FaultKind::ResetAfterHeaders => pieces.clear(),
        FaultKind::Garbage => drop(body.splice(half..half, GARBAGE_EVENT.iter().copied())),
        FaultKind::WrongFinish => change_finish(body, endpoint),
        _ => return None,
    }
    Some(ending_of(kind))
}
