//! A script: everything the player needs to perform one answer, and the truth about it.
//!
//! The responder writes scripts, the player performs them. A script is complete before its first byte leaves, so
//! rendering never delays a frame.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::config::FaultKind;
use crate::journal::{Endpoint, Usage};

/// One answer, rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// The response's status.
    pub status: StatusCode,
    /// The response's headers. Those of a whole body hold its `content-length`.
    pub headers: HeaderMap,
    /// What is written when. The head leaves with the first frame.
    pub frames: Frames,
    /// How the answer ends after the last frame.
    pub ending: Ending,
    /// What the journal says of it; `None` for what is no completion (a list of models, an unknown path).
    pub truth: Option<Truth>,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As HTTP says: the last chunk, or the end of the content.
    Clean,
    /// The connection is closed in the middle of the body (HTTP/2: the stream is reset).
    Cut,
    /// Nothing more is sent until the client hangs up or the upstream shuts down.
    Stall,
}

/// One piece of a body, written and flushed as one HTTP chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// When it is written, counted from the receipt of the request.
    pub at: Duration,
    /// What is in it.
    pub content: Content,
    bytes: usize,
}

impl Frame {
    /// Its size in bytes.
    pub(crate) fn length(self) -> usize {
        self.bytes
    }
}

/// What the journal has to know of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Neither tokens nor a cost.
    Frame,
    /// A token event: text, reasoning, the name of a tool call or a piece of its arguments.
    Tokens,
    /// The usage with its cost.
    Cost,
    /// Token event and cost in one, as in Mistral's chunk of tool calls.
    TokensAndCost,
}

impl Content {
    /// Whether this frame is a token event.
    pub fn has_tokens(self) -> bool {
        matches!(self, Self::Tokens | Self::TokensAndCost)
    }

    /// Whether this frame records a cost.
    pub fn has_cost(self) -> bool {
        matches!(self, Self::Cost | Self::TokensAndCost)
    }
}

/// Frames in order, in one allocation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    list: Vec<Frame>,
}

impl Frames {
    /// No frames.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a frame. Frames are played in order: one with an earlier time than its predecessor waits for it.
    pub fn push(&mut self, at: Duration, content: Content, bytes: &[u8]) {
        self.push_pieces(at, content, &[bytes]);
    }

    /// Appends a frame made of pieces, none of which is copied before.
    pub(crate) fn push_pieces<B: AsRef<[u8]>>(
        &mut self,
        at: Duration,
        content: Content,
        pieces: &[B],
    ) {
        let start = self.bytes.len();
        for piece in pieces {
            self.bytes.extend_from_slice(piece.as_ref());
        }
        self.list.push(Frame {
            at,
            content,
            bytes: self.bytes.len() - start,
        });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The frames and their bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Frame, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.list.iter().map(move |frame| {
            let (bytes, after) = rest.split_at(frame.bytes);
            rest = after;
            (*frame, bytes)
        })
    }

    /// All bytes, in order.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many are token events.
    pub fn token_events(&self) -> usize {
        self.list
            .iter()
            .filter(|frame| frame.content.has_tokens())
            .count()
    }

    /// Takes the frames apart for playing: no copy is made.
    pub(crate) fn into_reel(self) -> (Bytes, Vec<Frame>) {
        (self.bytes.into(), self.list)
    }

    /// Where the frame at `index` starts, or would start.
    fn start(&self, index: usize) -> usize {
        self.list[..index].iter().map(|frame| frame.bytes).sum()
    }

    /// The index after the frame at which half of the token events are out.
    fn halfway(&self) -> usize {
        let wanted = self.token_events().div_ceil(2);
        let mut seen = 0;
        self.list
            .iter()
            .position(|frame| {
                seen += usize::from(frame.content.has_tokens());
                seen >= wanted
            })
            .map_or(0, |index| index + 1)
    }

    fn truncate(&mut self, count: usize) {
        self.bytes.truncate(self.start(count));
        self.list.truncate(count);
    }

    /// Puts a frame at `index`, at the time of the one before it.
    fn insert(&mut self, index: usize, bytes: &[u8]) {
        let at = index
            .checked_sub(1)
            .map_or(Duration::ZERO, |before| self.list[before].at);
        let start = self.start(index);
        self.bytes.splice(start..start, bytes.iter().copied());
        let frame = Frame {
            at,
            content: Content::Frame,
            bytes: bytes.len(),
        };
        self.list.insert(index, frame);
    }
}

/// What is so, whatever arrives at the other end.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// The API that was called.
    pub endpoint: Endpoint,
    /// The request's path.
    pub path: String,
    /// The request's own name; empty if it has none.
    pub nonce: String,
    /// The trace id of the `traceparent` header.
    pub trace_id: Option<String>,
    /// The requested model; empty if the request names none.
    pub model: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Size of the request's body.
    pub body_bytes: u64,
    /// Tokens of the whole answer, whether or not all of it is delivered.
    pub usage: Usage,
    /// Exact cost of that usage; `None` for a model without rates.
    pub cost: Option<String>,
    /// The cost that the response's header states.
    pub header_cost: Option<String>,
    /// Tool calls in the answer.
    pub tool_calls: u32,
    /// Digest of the visible text, as the journal has it.
    pub text_sha256: Option<String>,
    /// Digest of the reasoning, as the journal has it.
    pub reasoning_sha256: Option<String>,
    /// The reason to stop, in the API's word.
    pub finish: Option<String>,
    /// The fault that was planted.
    pub fault: Option<FaultKind>,
}

/// An event that no decoder can take: broken JSON, and bytes that are not UTF-8.
const GARBAGE_EVENT: &[u8] = b"data: {\"broken\": \xff\xfe\n\n";

impl Script {
    /// Breaks a stream as `kind` says. `error_event` is the API's error as an event of the stream.
    pub(crate) fn break_stream(&mut self, kind: FaultKind, error_event: &str) {
        let halfway = self.frames.halfway();
        match kind {
            FaultKind::NoTerminator => self.frames.truncate(self.frames.len().saturating_sub(1)),
            FaultKind::ErrorInStream => {
                self.frames.truncate(halfway);
                self.frames.insert(halfway, error_event.as_bytes());
            }
            FaultKind::Cut => {
                self.frames.truncate(halfway);
                self.ending = Ending::Cut;
            }
            FaultKind::Garbage => self.frames.insert(halfway, GARBAGE_EVENT),
            FaultKind::Stall => {
                self.frames.truncate(halfway);
                self.ending = Ending::Stall;
            }
            FaultKind::Status | FaultKind::Html200 | FaultKind::ErrorIn200 => {
                unreachable!("these replace the answer")
            }
        }
    }

    /// Breaks a whole body as `kind` says; false if there is no such way.
    pub(crate) fn break_whole(&mut self, kind: FaultKind) -> bool {
        let (ending, keeps_rest) = match kind {
            FaultKind::Cut => (Ending::Cut, false),
            FaultKind::Stall => (Ending::Stall, false),
            FaultKind::Garbage => (Ending::Clean, true),
            _ => return false,
        };
        let Some(frame) = self.frames.list.first().copied() else {
            return false;
        };
        let body = std::mem::take(&mut self.frames).bytes;
        let (first, second) = body.split_at(body.len() / 2);
        let mut broken = first.to_vec();
        if keeps_rest {
            broken.extend_from_slice(GARBAGE_EVENT);
            broken.extend_from_slice(second);
            self.headers
                .insert(http::header::CONTENT_LENGTH, broken.len().into());
        }
        self.frames.push(frame.at, frame.content, &broken);
        self.ending = ending;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Frames {
        let mut frames = Frames::new();
        let ms = Duration::from_millis;
        frames.push(ms(1), Content::Frame, b"head;");
        for i in 0..4 {
            frames.push(ms(2 + i), Content::Tokens, format!("t{i};").as_bytes());
        }
        frames.push(ms(5), Content::Frame, b"end;");
        frames
    }

    fn script() -> Script {
        Script {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            frames: frames(),
            ending: Ending::Clean,
            truth: None,
        }
    }

    fn texts(frames: &Frames) -> Vec<String> {
        frames
            .iter()
            .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
            .collect()
    }

    fn broken(kind: FaultKind) -> (Vec<String>, Ending) {
        let mut script = script();
        script.break_stream(kind, "error;");
        (texts(&script.frames), script.ending)
    }

    #[test]
    fn frames_keep_their_bytes_and_order() {
        let frames = frames();
        assert_eq!(
            texts(&frames),
            ["head;", "t0;", "t1;", "t2;", "t3;", "end;"]
        );
        assert_eq!(frames.token_events(), 4);
        assert_eq!(frames.bytes(), b"head;t0;t1;t2;t3;end;");
    }

    #[test]
    fn streams_break_halfway() {
        let half = ["head;", "t0;", "t1;"].map(String::from).to_vec();
        assert_eq!(broken(FaultKind::Cut), (half.clone(), Ending::Cut));
        assert_eq!(broken(FaultKind::Stall), (half.clone(), Ending::Stall));
        let mut with_error = half;
        with_error.push("error;".to_owned());
        assert_eq!(
            broken(FaultKind::ErrorInStream),
            (with_error, Ending::Clean)
        );
    }

    #[test]
    fn garbage_stands_between_whole_frames() {
        let (texts, ending) = broken(FaultKind::Garbage);
        assert_eq!(ending, Ending::Clean);
        assert_eq!(texts.len(), 7);
        assert!(texts[3].starts_with("data: {\"broken\""));
        assert_eq!(
            (texts[2].as_str(), texts[4].as_str(), texts[6].as_str()),
            ("t1;", "t2;", "end;")
        );
    }

    #[test]
    fn a_missing_terminator_is_the_last_frame_alone() {
        let (texts, ending) = broken(FaultKind::NoTerminator);
        assert_eq!(ending, Ending::Clean);
        assert_eq!(texts, ["head;", "t0;", "t1;", "t2;", "t3;"]);
    }

    #[test]
    fn whole_bodies_keep_their_announced_length_when_cut() {
        let mut script = script();
        script.frames = Frames::new();
        script
            .frames
            .push(Duration::ZERO, Content::Cost, b"0123456789");
        assert!(!script.break_whole(FaultKind::NoTerminator));
        assert!(script.break_whole(FaultKind::Cut));
        assert_eq!(script.frames.bytes(), b"01234");
        assert_eq!(script.ending, Ending::Cut);
        assert!(!script.headers.contains_key(http::header::CONTENT_LENGTH));
    }
}
