//! A client's connection, on which hyper speaks HTTP and the frames of a stream take a short cut to the socket.
//!
//! hyper reads requests and writes heads, terminators and everything that is no stream. While a stream is *on stage*
//! its body stays pending for hyper, and the frames, rendered as HTTP chunks beforehand, are written to the socket
//! here: by the [`Conductor`] at their moment, all that are due in one system call. What hyper writes meanwhile is
//! held until it flushes, and leaves in one piece with the frames beside it: the head with the first ones, the
//! terminator with the last ones, a burst as a whole.
//!
//! hyper flushes when its own buffer is empty, so no frame overtakes the head; the body ends only once the last
//! frames are due, so the terminator is held behind them.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::conductor::Conductor;
use super::performance::{PacedBody, Performance, cut};
use crate::script::{Ending, Frame as ScriptFrame};

/// What is held of later answers while a client does not read, before hyper has to wait.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// The size up to which the last frames wait for the terminator, to leave with it in one system call. More than that is
/// written first, so that an answer is not taken for whole while a client that does not read holds most of it back.
const CLOSING_BYTES_MAX: usize = 64 * 1024;

/// The writing side of a connection.
pub(crate) struct Line {
    stage: Mutex<Stage>,
    conductor: Arc<Conductor>,
}

struct Stage {
    /// `None` once the connection is to be reset.
    socket: Option<OwnedWriteHalf>,
    act: Option<Act>,
}

/// A stream on stage.
struct Act {
    performance: Performance,
    /// What hyper wrote before the frames.
    head: Held,
    /// The frames as HTTP chunks.
    chunks: Held,
    /// Bytes of `chunks` up to the end of the last frame that was noted as written.
    noted: usize,
    /// What hyper wrote after the frames.
    tail: Held,
    cue: Cue,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    /// Whether the conductor has an entry for it.
    scheduled: bool,
}

/// How far the body is, seen from hyper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cue {
    /// hyper has not asked for it, so the head is not out.
    Unasked,
    /// Frames are written when they are due.
    Playing,
    /// The last frames are due, and wait for hyper to end the body.
    Closing,
    /// hyper has ended the body: the last frames leave with what it flushes next.
    Closed,
    /// The last frames are out, and the connection has to break.
    Cutting,
}

/// Bytes to write, and how many of them are written.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    written: usize,
}

/// What is left to do after as much as possible was written.
enum Progress {
    /// Nothing before hyper or the client does something.
    Rest,
    /// A frame at this moment.
    Due(Instant),
    /// The socket takes no more.
    Blocked,
}

impl Line {
    /// Takes a connection apart into its two users: hyper's transport, and the line for the frames.
    pub(super) fn open(stream: TcpStream, conductor: Arc<Conductor>) -> (Transport, Arc<Self>) {
        let (reading, writing) = stream.into_split();
        let line = Arc::new(Self {
            stage: Mutex::new(Stage {
                socket: Some(writing),
                act: None,
            }),
            conductor,
        });
        let transport = Transport {
            reading,
            line: Arc::clone(&line),
        };
        (transport, line)
    }

    /// Puts a stream on stage. It goes through hyper where the end of the answer before it is not out yet, as may
    /// happen with a client that pipelines requests and does not read.
    pub(super) fn enter(
        self: &Arc<Self>,
        performance: Performance,
        bytes: Bytes,
    ) -> Result<StagedBody, Box<PacedBody>> {
        let mut stage = self.lock();
        if stage.act.is_some() {
            let line = Some(Arc::clone(self));
            return Err(Box::new(PacedBody::new(performance, bytes, line)));
        }
        let seq = performance.seq();
        stage.act = Some(Act {
            chunks: Held {
                bytes: chunks(performance.rest(), &bytes),
                written: 0,
            },
            performance,
            head: Held::default(),
            noted: 0,
            tail: Held::default(),
            cue: Cue::Unasked,
            waker: None,
            scheduled: false,
        });
        Ok(StagedBody {
            line: Arc::clone(self),
            seq,
        })
    }

    /// The conductor's call: writes what is due at `now` of the answer to request `seq`. When to call again, if so.
    pub(super) fn play(&self, seq: u64, now: Instant) -> Option<Instant> {
        let mut stage = self.lock();
        let act = stage.act.as_mut()?;
        if act.performance.seq() != seq {
            return None;
        }
        act.scheduled = false;
        match stage.play(now) {
            Ok(Progress::Due(due)) => {
                stage.act.as_mut()?.scheduled = true;
                Some(due)
            }
            Ok(Progress::Rest) => None,
            // The connection's task waits for the socket, or meets the error itself.
            Ok(Progress::Blocked) | Err(_) => {
                stage.act.as_mut()?.wake();
                None
            }
        }
    }

    /// Has the connection end in a reset, once hyper lets go of it. Nothing more is written.
    pub(super) fn reset(&self) {
        self.lock().reset();
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Stage {
    fn reset(&mut self) {
        if let Some(socket) = self.socket.take() {
            // Fails only if the client is gone already.
            let _ = socket.as_ref().set_zero_linger();
            // Dropping it would end the connection in an orderly way before the reset.
            socket.forget();
        }
    }

    fn socket(&mut self) -> io::Result<&mut OwnedWriteHalf> {
        let reset = || ErrorKind::ConnectionReset.into();
        self.socket.as_mut().ok_or_else(reset)
    }

    /// Writes what is held and what is due at `now`, as far as the socket takes it.
    fn play(&mut self, mut now: Instant) -> io::Result<Progress> {
        let Some(act) = &mut self.act else {
            return Ok(Progress::Rest);
        };
        if act.cue == Cue::Unasked {
            return Ok(Progress::Rest);
        }
        let Some(socket) = &self.socket else {
            return Err(ErrorKind::ConnectionReset.into());
        };
        loop {
            let due_end = act.due_end(now);
            let pieces = [
                act.head.rest(),
                &act.chunks.bytes[act.chunks.written..due_end],
                act.tail.rest(),
            ];
            let filled = pieces.iter().filter(|piece| !piece.is_empty()).count();
            let written = match (filled, pieces) {
                (0, _) => break,
                // A plain send is cheaper than a vectored one.
                (1, [_, frames, _]) if !frames.is_empty() => socket.try_write(frames),
                (_, pieces) => socket.try_write_vectored(&pieces.map(IoSlice::new)),
            };
            match written {
                Ok(count) => act.note(count, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Blocked);
                }
                Err(error) => return Err(error),
            }
            if act.chunks.written < due_end {
                now = Instant::now();
            }
        }
        if act.cue == Cue::Closed {
            self.act = None;
            return Ok(Progress::Rest);
        }
        if let Some(due) = act.performance.next_due()
            && act.cue == Cue::Playing
        {
            return Ok(Progress::Due(due));
        }
        if act.cue == Cue::Playing
            && !matches!(act.performance.ending(), Ending::Clean | Ending::Stall)
        {
            act.cue = Cue::Cutting;
            act.wake();
        }
        Ok(Progress::Rest)
    }

    /// [`Stage::play`] for the connection's task, which is woken when the socket takes more.
    fn poll_play(&mut self, line: &Arc<Line>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.play(Instant::now())? {
                Progress::Blocked => {
                    ready!(self.socket()?.as_ref().poll_write_ready(context))?;
                }
                Progress::Rest => return Poll::Ready(Ok(())),
                Progress::Due(due) => {
                    if let Some(act) = &mut self.act
                        && !act.scheduled
                    {
                        act.scheduled = true;
                        let seq = act.performance.seq();
                        line.conductor.schedule(due, seq, Arc::downgrade(line));
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl Act {
    /// The end, within the chunks, of the frames that may be written at `now`.
    ///
    /// Once the last ones are due, hyper is asked to end the body, and they are held back until it has: it then
    /// flushes the terminator with them. The answer is journaled here, before they leave, so that whoever has read
    /// all of it finds its entry.
    fn due_end(&mut self, now: Instant) -> usize {
        if self.cue == Cue::Closed {
            self.performance.note_finished(now);
            return self.chunks.bytes.len();
        }
        let mut end = self.noted;
        for frame in self.performance.rest() {
            if self.performance.due(*frame) > now {
                // A part of a frame may be out already that was not due yet at an earlier `now`.
                return end.max(self.chunks.written);
            }
            end += chunk_bytes(*frame);
        }
        if self.performance.ending() != Ending::Clean {
            return end;
        }
        let last = self.performance.rest().last();
        let last_bytes = last.map_or(0, |frame| chunk_bytes(*frame));
        if end - self.chunks.written > CLOSING_BYTES_MAX.max(last_bytes) {
            return end - last_bytes;
        }
        self.cue = Cue::Closing;
        self.wake();
        self.chunks.written
    }

    /// Notes that the socket took `count` bytes in a call made right after `now`.
    fn note(&mut self, count: usize, now: Instant) {
        let count = self.head.take(count);
        let count = self.chunks.take(count);
        self.tail.take(count);
        while let Some(frame) = self.performance.rest().first() {
            let end = self.noted + chunk_bytes(*frame);
            if end > self.chunks.written {
                break;
            }
            self.noted = end;
            self.performance.note_written(now);
        }
    }

    /// What hyper writes goes before the frames until it has ended the body.
    fn held(&mut self) -> &mut Held {
        if self.cue == Cue::Closed {
            &mut self.tail
        } else {
            &mut self.head
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Held {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Counts up to `count` bytes as written; how many it did not have.
    fn take(&mut self, count: usize) -> usize {
        let taken = count.min(self.rest().len());
        self.written += taken;
        count - taken
    }
}

/// Frames as HTTP chunks, one after the other. Empty ones are left out, since an empty chunk ends a body.
fn chunks(frames: &[ScriptFrame], bytes: &[u8]) -> Vec<u8> {
    let size = frames.iter().map(|frame| chunk_bytes(*frame)).sum();
    let mut chunks = Vec::with_capacity(size);
    let mut rest = bytes;
    for frame in frames {
        let (content, after) = rest.split_at(frame.length());
        rest = after;
        if content.is_empty() {
            continue;
        }
        for digit in (0..hex_digits(content.len())).rev() {
            chunks.push(b"0123456789abcdef"[(content.len() >> (4 * digit)) & 15]);
        }
        chunks.extend_from_slice(b"\r\n");
        chunks.extend_from_slice(content);
        chunks.extend_from_slice(b"\r\n");
    }
    debug_assert_eq!(chunks.len(), size);
    chunks
}

/// The size of a frame as an HTTP chunk.
fn chunk_bytes(frame: ScriptFrame) -> usize {
    match frame.length() {
        0 => 0,
        length => hex_digits(length) + length + 4,
    }
}

fn hex_digits(number: usize) -> usize {
    (usize::BITS - number.leading_zeros()).div_ceil(4) as usize
}

/// The body of a stream on stage, which hyper only sees begin and end.
pub(crate) struct StagedBody {
    line: Arc<Line>,
    seq: u64,
}

impl Body for StagedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut stage = self.line.lock();
        let Some(act) = &mut stage.act else {
            return Poll::Ready(None);
        };
        match act.cue {
            Cue::Closing => {
                act.cue = Cue::Closed;
                return Poll::Ready(None);
            }
            Cue::Closed => return Poll::Ready(None),
            Cue::Cutting => {
                if act.performance.ending() == Ending::Reset {
                    stage.reset();
                }
                return Poll::Ready(Some(Err(cut())));
            }
            Cue::Unasked => act.cue = Cue::Playing,
            Cue::Playing => {}
        }
        act.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for StagedBody {
    fn drop(&mut self) {
        let left = {
            let mut stage = self.line.lock();
            stage
                .act
                .take_if(|act| act.performance.seq() == self.seq && act.cue != Cue::Closed)
        };
        // It journals itself, which is no business of the lock.
        drop(left);
    }
}

/// hyper's side of a connection.
pub(super) struct Transport {
    reading: OwnedReadHalf,
    line: Arc<Line>,
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reading).poll_read(context, buffer)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut stage = self.line.lock();
        if stage
            .act
            .as_ref()
            .is_some_and(|act| act.tail.rest().len() > HELD_BYTES_MAX)
        {
            ready!(stage.poll_play(&self.line, context))?;
        }
        let Some(act) = &mut stage.act else {
            return Pin::new(stage.socket()?).poll_write_vectored(context, pieces);
        };
        let held = act.held();
        for piece in pieces {
            held.bytes.extend_from_slice(piece);
        }
        Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.lock().poll_play(&self.line, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.line.lock().socket() {
            Ok(socket) => Pin::new(socket).poll_shutdown(context),
            // What is to be reset must not end in an orderly way.
            Err(_) => Poll::Ready(Ok(())),
        }
    }
}
