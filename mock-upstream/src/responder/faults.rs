//! Which failure is planted, and what it makes of the answer.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::Exchange;
use super::identity::{request_id, standard_headers};
use super::refusal::{Refusal, body_at, error_event, refuse, refuse_at};
use crate::config::{Fault, FaultKind, MARKER_HEADER, When};
use crate::draw::Pace;
use crate::script::{Content, Ending, Frames, Piece, Script, Truth};

/// An event that no decoder can take: broken JSON, and bytes that are not UTF-8.
const GARBAGE_EVENT: &[u8] = b"data: {\"broken\": \xff\xfe\n\n";

/// The mark of a request that never was, for the first request's foreign data.
const NO_MARK: &str = "ffffffff";

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
        if !self.stream {
            return break_whole(fault.kind, script);
        }
        let mut pieces = script.frames.pieces();
        let error = error_event(self);
        script.ending = break_stream(fault, &mut pieces, &error, || self.foreign_mark());
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

/// Breaks a stream's pieces; how it ends then.
fn break_stream(
    fault: &Fault,
    pieces: &mut Vec<Piece>,
    error_event: &str,
    marks: impl FnOnce() -> (String, String),
) -> Ending {
    let events = pieces.iter().filter(|piece| piece.content.token_events > 0);
    let before = fault
        .after_events
        .unwrap_or(events.count().div_ceil(2) as u64);
    // The piece after that many token events, and the next token event from there.
    let mut seen = 0;
    let at = pieces.iter().position(|piece| {
        let reached = seen == before;
        seen += u64::from(piece.content.token_events);
        reached
    });
    let at = at.unwrap_or(pieces.len());
    let event = pieces[at..]
        .iter()
        .position(|piece| piece.content.token_events > 0);
    let event = event.map(|index| at + index);
    match fault.kind {
        FaultKind::NoTerminator => drop(pieces.pop()),
        FaultKind::ErrorInStream => {
            pieces.truncate(at);
            insert(pieces, at, error_event.as_bytes());
        }
        FaultKind::Garbage => insert(pieces, at, GARBAGE_EVENT),
        FaultKind::Cut | FaultKind::Stall | FaultKind::Reset => pieces.truncate(at),
        FaultKind::ResetAfterHeaders => pieces.clear(),
        FaultKind::DuplicateEvent => {
            if let Some(event) = event {
                pieces.insert(event, pieces[event].clone());
            }
        }
        FaultKind::LostEvent => drop(event.map(|event| pieces.remove(event))),
        FaultKind::ForeignData => {
            let (own, foreign) = marks();
            if let Some(event) = event
                && !own.is_empty()
            {
                let bytes = &mut pieces[event].bytes;
                *bytes = String::from_utf8_lossy(bytes)
                    .replace(&own, &foreign)
                    .into_bytes();
            }
        }
        FaultKind::FakeStreaming => {
            let end = pieces.last().map_or(Duration::ZERO, |last| last.at);
            for piece in pieces {
                piece.at = end;
            }
        }
        FaultKind::Status
        | FaultKind::Html200
        | FaultKind::ErrorIn200
        | FaultKind::Refuse
        | FaultKind::ResetBeforeHeaders => unreachable!("these replace the answer"),
    }
    ending_of(fault.kind)
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

fn ending_of(kind: FaultKind) -> Ending {
    match kind {
        FaultKind::Cut => Ending::Cut,
        FaultKind::Stall => Ending::Stall,
        FaultKind::Reset | FaultKind::ResetAfterHeaders => Ending::Reset,
        _ => Ending::Clean,
    }
}

/// Breaks a whole body in its middle; false if there is no such way.
fn break_whole(kind: FaultKind, script: &mut Script) -> bool {
    let mut pieces = script.frames.pieces();
    let Some(body) = pieces.first_mut() else {
        return false;
    };
    let half = body.bytes.len() / 2;
    match kind {
        FaultKind::Cut | FaultKind::Stall | FaultKind::Reset => body.bytes.truncate(half),
        FaultKind::ResetAfterHeaders => pieces.clear(),
        FaultKind::Garbage => {
            drop(body.bytes.splice(half..half, GARBAGE_EVENT.iter().copied()));
            let length = body.bytes.len().into();
            script.headers.insert(header::CONTENT_LENGTH, length);
        }
        _ => return false,
    }
    script.ending = ending_of(kind);
    if script.ending != Ending::Clean
        && let Some(body) = pieces.first_mut()
    {
        // The usage, at the body's end, is not in what is left.
        body.content = Content::NOTHING;
    }
    script.frames = pieces.into_iter().collect();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> Vec<Piece> {
        let ms = Duration::from_millis;
        let mut frames = Frames::new();
        frames.push(ms(1), Content::NOTHING, b"head;");
        for i in 0..4 {
            frames.push(ms(2 + i), Content::TOKENS, format!("own{i};").as_bytes());
        }
        frames.push(ms(5), Content::NOTHING, b"end;");
        frames.pieces()
    }

    /// What becomes of the pieces, joined, and of the ending.
    fn broken(kind: FaultKind, after_events: Option<u64>) -> (String, Ending) {
        let fault = Fault {
            after_events,
            ..Fault::new(kind)
        };
        let mut pieces = pieces();
        let marks = || ("own".to_owned(), "foreign".to_owned());
        let ending = break_stream(&fault, &mut pieces, "error;", marks);
        let bytes: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.bytes.clone())
            .collect();
        (String::from_utf8_lossy(&bytes).into_owned(), ending)
    }

    #[test]
    fn streams_break_halfway_or_after_so_many_events() {
        let garbage = String::from_utf8_lossy(GARBAGE_EVENT);
        let whole = "head;own0;own1;own2;own3;end;";
        for (kind, after, expected, ending) in [
            (FaultKind::Cut, None, "head;own0;own1;", Ending::Cut),
            (FaultKind::Cut, Some(0), "", Ending::Cut),
            (FaultKind::Cut, Some(1), "head;own0;", Ending::Cut),
            (
                FaultKind::Cut,
                Some(4),
                "head;own0;own1;own2;own3;",
                Ending::Cut,
            ),
            (FaultKind::Cut, Some(9), whole, Ending::Cut),
            (FaultKind::Stall, None, "head;own0;own1;", Ending::Stall),
            (
                FaultKind::Reset,
                Some(3),
                "head;own0;own1;own2;",
                Ending::Reset,
            ),
            (FaultKind::ResetAfterHeaders, Some(3), "", Ending::Reset),
            (
                FaultKind::ErrorInStream,
                None,
                "head;own0;own1;error;",
                Ending::Clean,
            ),
            (
                FaultKind::NoTerminator,
                None,
                "head;own0;own1;own2;own3;",
                Ending::Clean,
            ),
            (
                FaultKind::DuplicateEvent,
                None,
                "head;own0;own1;own2;own2;own3;end;",
                Ending::Clean,
            ),
            (
                FaultKind::DuplicateEvent,
                Some(0),
                "head;own0;own0;own1;own2;own3;end;",
                Ending::Clean,
            ),
            (
                FaultKind::LostEvent,
                Some(3),
                "head;own0;own1;own2;end;",
                Ending::Clean,
            ),
            (FaultKind::LostEvent, Some(4), whole, Ending::Clean),
            (
                FaultKind::ForeignData,
                None,
                "head;own0;own1;foreign2;own3;end;",
                Ending::Clean,
            ),
            (FaultKind::FakeStreaming, None, whole, Ending::Clean),
        ] {
            assert_eq!(
                broken(kind, after),
                (expected.to_owned(), ending),
                "{kind:?} {after:?}"
            );
        }
        let expected = format!("head;own0;own1;{garbage}own2;own3;end;");
        assert_eq!(broken(FaultKind::Garbage, None), (expected, Ending::Clean));
    }

    #[test]
    fn fake_streams_leave_at_once_at_their_end() {
        let mut pieces = pieces();
        let fault = Fault::new(FaultKind::FakeStreaming);
        break_stream(&fault, &mut pieces, "", || unreachable!("no marks"));
        assert!(
            pieces
                .iter()
                .all(|piece| piece.at == Duration::from_millis(5))
        );
    }

    #[test]
    fn whole_bodies_keep_their_announced_length_when_cut() {
        let mut script = Script {
            status: StatusCode::OK,
            headers: http::HeaderMap::new(),
            frames: Frames::new(),
            ending: Ending::Clean,
            truth: None,
        };
        script
            .frames
            .push(Duration::ZERO, Content::COST, b"0123456789");
        assert!(!break_whole(FaultKind::NoTerminator, &mut script));
        assert!(break_whole(FaultKind::Cut, &mut script));
        assert_eq!(script.frames.bytes(), b"01234");
        assert_eq!(script.ending, Ending::Cut);
        assert!(!script.headers.contains_key(header::CONTENT_LENGTH));
    }
}
