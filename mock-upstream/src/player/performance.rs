//! A script on its way out.
//!
//! A [`Performance`] keeps the [`Books`] of one answer by the clock and moves no bytes. Two kinds of players do: a [`PacedBody`], which
//! hands its frames to hyper one by one (HTTP/2, HTTP/1.0, whole bodies), and an act on a
//! [`Line`](super::line::Line), which writes those of HTTP/1.1 streams to the socket itself.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use hyper::body::{Body, Frame};
use precise_timer::Sleep;

use super::Player;
use super::line::Line;
use crate::books::Books;
use crate::responder::{Arrival, Received};
use crate::script::{Ending, Frame as ScriptFrame, Truth};

/// One request's arrival.
pub(super) struct Receipt {
    pub(super) at: Instant,
    pub(super) arrival: Arrival,
    pub(super) presence: Presence,
}

impl Receipt {
    pub(super) fn received<'a>(&self, parts: &'a Parts, body: &'a [u8]) -> Received<'a> {
        Received {
            method: &parts.method,
            path: parts.uri.path(),
            headers: &parts.headers,
            body,
            arrival: self.arrival,
        }
    }
}

/// Counts a request as in flight for as long as it lives.
pub(super) struct Presence {
    player: Arc<Player>,
}

impl Presence {
    pub(super) fn enter(player: &Arc<Player>) -> Self {
        player.counters.enter();
        Self {
            player: Arc::clone(player),
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.player.counters.leave();
    }
}

/// The books of one answer, and the clock that they are kept by.
///
/// It journals itself just before the last frame leaves, or when it is dropped before that.
pub(super) struct Performance {
    books: Books,
    ending: Ending,
    receipt: Receipt,
}

impl Performance {
    pub(super) fn new(
        receipt: Receipt,
        frames: Vec<ScriptFrame>,
        status: StatusCode,
        ending: Ending,
        truth: Option<Truth>,
    ) -> Self {
        let config = &receipt.presence.player.config;
        Self {
            books: Books::new(receipt.arrival, frames, status, truth, config),
            ending,
            receipt,
        }
    }

    /// The request's place in the order of receipt.
    pub(super) fn seq(&self) -> u64 {
        self.books.arrival().seq
    }

    pub(super) fn ending(&self) -> Ending {
        self.ending
    }

    /// The frames that have not left.
    pub(super) fn rest(&self) -> &[ScriptFrame] {
        self.books.rest()
    }

    /// When a frame has to leave.
    pub(super) fn due(&self, frame: ScriptFrame) -> Instant {
        self.receipt.at + frame.at
    }

    /// When the next frame has to leave; `None` if there is none.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.rest().first().map(|frame| self.due(*frame))
    }

    /// Waits for the next frame's moment, or not at all if there is none.
    pub(super) async fn opening(&self) {
        if let Some(due) = self.next_due() {
            self.receipt.presence.player.timer.sleep_until(due).await;
        }
    }

    /// Notes that hyper gets the head now.
    pub(super) fn note_head(&mut self) {
        self.books.note_head();
    }

    /// Notes that the next frame is written at `now`.
    pub(super) fn note_written(&mut self, now: Instant) {
        let since_receipt = now.saturating_duration_since(self.receipt.at);
        if let Some(late) = self.books.note_written(since_receipt) {
            self.receipt.presence.player.counters.count_lateness(late);
        }
    }

    /// Notes that all remaining frames are written at `now` and the answer is whole, and journals it.
    pub(super) fn note_finished(&mut self, now: Instant) {
        while !self.rest().is_empty() {
            self.note_written(now);
        }
        self.write_journal(true);
    }

    fn is_done(&self) -> bool {
        self.rest().is_empty() && self.ending == Ending::Clean
    }

    fn write_journal(&mut self, completed: bool) {
        let player = &self.receipt.presence.player;
        if let Some(entry) = self.books.close(completed, &player.config) {
            let journaled = player.journal.append(&entry).is_ok();
            player.counters.count(&entry, journaled);
        }
    }
}

impl Drop for Performance {
    fn drop(&mut self) {
        self.write_journal(false);
    }
}

/// The planted end of a connection.
#[derive(Debug, thiserror::Error)]
#[error("the script cuts the connection here")]
struct Cut;

/// What makes hyper cut the connection.
pub(super) fn cut() -> io::Error {
    io::Error::other(Cut)
}

/// How long the last frames have before an HTTP/2 stream is reset: what has not left by then never does, and nothing
/// says when it has, since hyper writes for all streams of a connection at once.
const RESET_PAUSE: Duration = Duration::from_millis(20);

/// A performance through hyper, which gets each frame at its moment.
pub(crate) struct PacedBody {
    performance: Performance,
    bytes: Bytes,
    sleep: Option<Sleep>,
    /// The connection, if it is this answer's alone.
    line: Option<Arc<Line>>,
    /// Whether the connection had a turn to flush the last frame before the cut.
    flushed: bool,
}

impl PacedBody {
    /// `line` is `None` where the connection has other streams, too.
    pub(super) fn new(performance: Performance, bytes: Bytes, line: Option<Arc<Line>>) -> Self {
        Self {
            performance,
            bytes,
            sleep: None,
            line,
            flushed: false,
        }
    }

    /// Ready when the connection (HTTP/2: the stream) has to break.
    ///
    /// An error drops what hyper still buffers; pending makes it flush first.
    fn poll_break(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(line) = &self.line else {
            let timer = &self.performance.receipt.presence.player.timer;
            let due = || timer.sleep_until(Instant::now() + RESET_PAUSE);
            return Pin::new(self.sleep.get_or_insert_with(due)).poll(context);
        };
        if !self.flushed {
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.performance.ending == Ending::Reset {
            line.reset();
        }
        Poll::Ready(())
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let body = self.get_mut();
        let Some(frame) = body.performance.rest().first().copied() else {
            return match body.performance.ending {
                Ending::Clean => Poll::Ready(None),
                Ending::Stall => Poll::Pending,
                Ending::Cut | Ending::Reset | Ending::Unanswered { .. } => {
                    ready!(body.poll_break(context));
                    Poll::Ready(Some(Err(cut())))
                }
            };
        };
        let due = body.performance.due(frame);
        let timer = &body.performance.receipt.presence.player.timer;
        let sleep = body.sleep.get_or_insert_with(|| timer.sleep_until(due));
        ready!(Pin::new(sleep).poll(context));
        body.sleep = None;
        body.performance.note_written(Instant::now());
        if body.performance.is_done() {
            body.performance.write_journal(true);
        }
        let bytes = body.bytes.split_to(frame.length());
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.performance.is_done()
    }
}
