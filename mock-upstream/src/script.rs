//! A script: everything the player needs to perform one answer, and the truth about it.
//!
//! The responder writes scripts, the player performs them. A script is complete before its first byte leaves, so
//! rendering never delays a frame.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::billing::Bill;
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
    /// The connection is reset in the middle of the body (HTTP/2: the stream is).
    Reset,
    /// There is no answer at all: the connection is reset, and for a time no other is accepted.
    Unanswered {
        /// How long that is.
        refuse_for: Duration,
    },
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

/// What the journal has to know of a frame: what is complete with its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Content {
    /// Token events: text, reasoning, the name of a tool call or a piece of its arguments.
    pub token_events: u32,
    /// Whether a cost is recorded in it.
    pub has_cost: bool,
    /// Keep-alives that fill a silence.
    pub keep_alives: u32,
}

impl Content {
    /// Neither tokens nor a cost.
    pub const NOTHING: Self = Self {
        token_events: 0,
        has_cost: false,
        keep_alives: 0,
    };
    /// A keep-alive in a silence.
    pub const KEEP_ALIVE: Self = Self {
        token_events: 0,
        has_cost: false,
        keep_alives: 1,
    };
    /// A token event.
    pub const TOKENS: Self = Self {
        token_events: 1,
        has_cost: false,
        keep_alives: 0,
    };
    /// The usage with its cost.
    pub const COST: Self = Self {
        token_events: 0,
        has_cost: true,
        keep_alives: 0,
    };
    /// Token event and cost in one, as in Mistral's chunk of tool calls.
    pub const TOKENS_AND_COST: Self = Self {
        token_events: 1,
        has_cost: true,
        keep_alives: 0,
    };

    /// What is in two frames that become one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            token_events: self.token_events + other.token_events,
            has_cost: self.has_cost || other.has_cost,
            keep_alives: self.keep_alives + other.keep_alives,
        }
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
        let counts = self.list.iter().map(|frame| frame.content.token_events);
        counts.sum::<u32>() as usize
    }

    /// Takes the frames apart for playing: no copy is made.
    pub(crate) fn into_reel(self) -> (Bytes, Vec<Frame>) {
        (self.bytes.into(), self.list)
    }

    /// A copy of each frame with its bytes, to be changed.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        self.iter()
            .map(|(frame, bytes)| Piece {
                at: frame.at,
                content: frame.content,
                bytes: bytes.to_vec(),
            })
            .collect()
    }
}

/// A frame on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) at: Duration,
    pub(crate) content: Content,
    pub(crate) bytes: Vec<u8>,
}

impl FromIterator<Piece> for Frames {
    fn from_iter<I: IntoIterator<Item = Piece>>(pieces: I) -> Self {
        let mut frames = Self::new();
        for piece in pieces {
            frames.push(piece.at, piece.content, &piece.bytes);
        }
        frames
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
    /// What is recorded of that cost; `None` for what is not billed.
    pub(crate) bill: Option<Box<Bill>>,
    /// Tools in the request.
    pub tools: Option<u32>,
    /// What the request says of calling them, in words of neither API.
    pub tool_choice: Option<&'static str>,
    /// Whether it says that several calls may come in one answer.
    pub parallel_tool_calls: Option<bool>,
    /// Tool calls in the answer.
    pub tool_calls: u32,
    /// Results of tools in the request.
    pub tool_results: u32,
    /// Messages of the model with calls in the request, after the last text of a user.
    pub turn: u32,
    /// Tokens of visible text, as the journal has them.
    pub text_tokens: Option<u64>,
    /// Those of them after the calls.
    pub text_tokens_after: Option<u64>,
    /// Tokens of reasoning, as the journal has them.
    pub reasoning_tokens: Option<u64>,
    /// Digest of the visible text, as the journal has it.
    pub text_sha256: Option<String>,
    /// Digest of the reasoning, as the journal has it.
    pub reasoning_sha256: Option<String>,
    /// The reason to stop, in the API's word.
    pub finish: Option<String>,
    /// The fault that was planted.
    pub fault: Option<FaultKind>,
    /// Which attempt at the same request it is, from 1.
    pub attempt: u64,
    /// The profile that answered.
    pub profile: Option<String>,
    /// The answer's id, without the prefix that an API has for it; of an error that is billed, the request's id. `None`
    /// for other errors.
    pub response_id: Option<String>,
    /// How long the request waited for a slot.
    pub queue: Duration,
    /// The request's body, if the journal wants it.
    pub body: Option<serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_their_bytes_order_and_contents() {
        let mut frames = Frames::new();
        frames.push(Duration::ZERO, Content::NOTHING, b"head;");
        frames.push(
            Duration::ZERO,
            Content::TOKENS.and(Content::TOKENS_AND_COST),
            b"t0;t1;",
        );
        frames.push_pieces(Duration::ZERO, Content::NOTHING, &["en", "d;"]);
        assert_eq!((frames.len(), frames.token_events()), (3, 2));
        assert_eq!(frames.bytes(), b"head;t0;t1;end;");
        assert_eq!(frames.pieces()[1].bytes, b"t0;t1;");
        assert_eq!(frames.pieces().into_iter().collect::<Frames>(), frames);
    }
}
