//! A script on its way out: which frames have left, how late, and the journal entry that comes of it.
//!
//! A [`Performance`] keeps the books of one answer and moves no bytes. Two kinds of players do: a [`PacedBody`], which
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
use crate::billing::{Delivery, Settlement};
use crate::journal::{FrameTimes, JournalEntry};
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

/// The books of one answer.
///
/// It journals itself just before the last frame leaves, or when it is dropped before that.
pub(super) struct Performance {
    frames: Vec<ScriptFrame>,
    ending: Ending,
    truth: Option<Box<Truth>>,
    status: StatusCode,
    receipt: Receipt,
    next: usize,
    /// Whether hyper got the head, which leaves with the first frame, or without one where there is none.
    has_head: bool,
    first_write: Option<Instant>,
    first_token_write: Option<Instant>,
    last_write: Option<Instant>,
    token_events: u64,
    cost_written: bool,
    lateness_ns_max: u64,
    /// When each frame was written, counted from receipt; `None` if the journal does not want it.
    written_ns: Option<Vec<u64>>,
}

impl Performance {
    pub(super) fn new(
        receipt: Receipt,
        frames: Vec<ScriptFrame>,
        status: StatusCode,
        ending: Ending,
        truth: Option<Truth>,
    ) -> Self {
        let journals_frames = truth.is_some() && receipt.presence.player.config.journal_frames;
        Self {
            written_ns: journals_frames.then(|| Vec::with_capacity(frames.len())),
            frames,
            ending,
            truth: truth.map(Box::new),
            status,
            receipt,
            next: 0,
            has_head: false,
            first_write: None,
            first_token_write: None,
            last_write: None,
            token_events: 0,
            cost_written: false,
            lateness_ns_max: 0,
        }
    }

    /// The request's place in the order of receipt.
    pub(super) fn seq(&self) -> u64 {
        self.receipt.arrival.seq
    }

    pub(super) fn ending(&self) -> Ending {
        self.ending
    }

    /// The frames that have not left.
    pub(super) fn rest(&self) -> &[ScriptFrame] {
        &self.frames[self.next..]
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
        self.has_head = true;
    }

    /// Notes that the next frame is written at `now`.
    pub(super) fn note_written(&mut self, now: Instant) {
        let frame = self.frames[self.next];
        self.next += 1;
        self.first_write.get_or_insert(now);
        self.last_write = Some(now);
        if frame.content.token_events > 0 {
            self.first_token_write.get_or_insert(now);
            self.token_events += u64::from(frame.content.token_events);
        }
        self.cost_written |= frame.content.has_cost;
        let since_receipt = now.saturating_duration_since(self.receipt.at);
        let late = nanoseconds(since_receipt.saturating_sub(frame.at));
        self.lateness_ns_max = self.lateness_ns_max.max(late);
        if self.truth.is_some() {
            self.receipt.presence.player.counters.count_lateness(late);
        }
        if let Some(written_ns) = &mut self.written_ns {
            written_ns.push(nanoseconds(since_receipt));
        }
    }

    /// Notes that all remaining frames are written at `now` and the answer is whole, and journals it.
    pub(super) fn note_finished(&mut self, now: Instant) {
        while self.next < self.frames.len() {
            self.note_written(now);
        }
        self.write_journal(true);
    }

    fn is_done(&self) -> bool {
        self.next == self.frames.len() && self.ending == Ending::Clean
    }

    /// The moment of the last write by the wall clock: an answer that breaks off ends where it does.
    fn ended_unix_us(&self) -> u64 {
        let last = self.last_write.unwrap_or(self.receipt.at);
        let took = last.saturating_duration_since(self.receipt.at);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.receipt.arrival.unix_us.saturating_add(took_us)
    }

    fn write_journal(&mut self, completed: bool) {
        let Some(truth) = self.truth.take() else {
            return;
        };
        let player = &self.receipt.presence.player;
        let since_start =
            |moment: Instant| nanoseconds(moment.saturating_duration_since(player.started));
        let delivery = Delivery {
            started: self.has_head,
            cost_written: self.cost_written,
            completed,
            token_events: self.token_events,
            ended_unix_us: self.ended_unix_us(),
        };
        let settlement = match &truth.bill {
            Some(bill) => {
                let behaviour = player.config.behaviour_of(truth.profile.as_deref());
                bill.settle(&behaviour.cost, delivery)
            }
            None => Settlement::without_bill(
                truth.fault.is_some()
                    || self.status.is_client_error()
                    || self.status.is_server_error(),
            ),
        };
        let bill = truth.bill.map(|bill| *bill).unwrap_or_default();
        let frame_times = self.written_ns.take().map(|written_ns| FrameTimes {
            planned_ns: self
                .frames
                .iter()
                .map(|frame| nanoseconds(frame.at))
                .collect(),
            written_ns,
        });
        let entry = JournalEntry {
            seq: self.receipt.arrival.seq,
            nonce: truth.nonce,
            trace_id: truth.trace_id,
            endpoint: truth.endpoint,
            path: truth.path,
            model: truth.model,
            stream: truth.stream,
            status: if self.has_head {
                self.status.as_u16()
            } else {
                0
            },
            received_unix_us: self.receipt.arrival.unix_us,
            received_ns: since_start(self.receipt.at),
            first_write_ns: self.first_write.map(since_start),
            first_token_write_ns: self.first_token_write.map(since_start),
            last_write_ns: self.last_write.map(since_start),
            frames: self.frames.len() as u64,
            frames_written: self.next as u64,
            token_events: self.token_events,
            lateness_ns_max: self.lateness_ns_max,
            usage: truth.usage,
            cost: truth.cost,
            recorded_cost: settlement.recorded_in_answer(),
            charged: settlement.charged,
            recorded: settlement.recorded,
            billing_faults: settlement.billing_faults,
            wire_usage: settlement.wire_usage,
            billed_usage: settlement.billed_usage,
            ledger_rows: settlement.ledger_rows,
            recorded_unix_us: settlement.recorded_unix_us,
            service_tier: bill.service_tier,
            served_model: bill.served_model,
            tool_calls: truth.tool_calls,
            tool_results: truth.tool_results,
            turn: truth.turn,
            text_sha256: truth.text_sha256,
            reasoning_sha256: truth.reasoning_sha256,
            finish: truth.finish,
            fault: truth.fault.map(|fault| fault.name().to_owned()),
            attempt: truth.attempt,
            profile: truth.profile,
            response_id: truth.response_id,
            queue_ns: nanoseconds(truth.queue),
            body: truth.body,
            completed,
            body_bytes: truth.body_bytes,
            frame_times,
        };
        let journaled = player.journal.append(&entry).is_ok();
        player.counters.count(&entry, journaled);
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

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
