//! The journal: what was really received and written, one line of JSON a completion request.
//!
//! Entries go to an unnamed temporary file, so memory stays flat however long the upstream runs. An entry is in the
//! journal before the last frame is written: whoever has read a whole answer finds its entry. The
//! entry of an answer that was not read to its end follows as soon as the server notices that the client is gone.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use lru::LruCache;
use serde::{Deserialize, Serialize};

use crate::config::Class;

/// The truth about one completion request and its answer. Times ending in `_ns` are nanoseconds since the
/// upstream's start, on the monotonic clock. *Written* is the moment right before the system call that took the frame's
/// last byte; for the last frames of a stream, right before the first call that offered them; and for whole bodies,
/// HTTP/2 and HTTP/1.0 the moment at which hyper got the frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The request's place in the order of receipt, from 0; requests that are no completions take places too.
    pub seq: u64,
    /// The first run of exactly 32 lower-case hexadecimal digits in the prompt, else the trace id, else empty.
    pub nonce: String,
    /// The trace id of the `traceparent` header.
    pub trace_id: Option<String>,
    /// The API that was called.
    pub endpoint: Endpoint,
    /// The request's path, without the query.
    pub path: String,
    /// The requested model; empty if the request named none.
    pub model: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// The answer's status; 0 if there was none, as planted.
    pub status: u16,
    /// When the head of the request was received: microseconds since 1970, by the wall clock.
    pub received_unix_us: u64,
    /// When the head of the request was received.
    pub received_ns: u64,
    /// When the first frame, and the response's head with it, was written.
    pub first_write_ns: Option<u64>,
    /// When the first token event was written.
    pub first_token_write_ns: Option<u64>,
    /// When the latest frame was written.
    pub last_write_ns: Option<u64>,
    /// Frames of the script. One frame is one write and one HTTP chunk: an event, unless the configuration's `delivery`
    /// has several in a write, or splits them.
    pub frames: u64,
    /// Frames that were written.
    pub frames_written: u64,
    /// Token events whose last byte is in the frames written: text, reasoning, a tool call's name, a piece of its arguments.
    pub token_events: u64,
    /// The longest time by which a frame was written later than planned.
    pub lateness_ns_max: u64,
    /// Tokens of the whole answer, delivered or not.
    pub usage: Usage,
    /// Exact cost of that usage as a decimal; `None` for a model without rates, and for errors.
    pub cost: Option<String>,
    /// The cost as it was written: in the usage that went out, else in the header.
    pub recorded_cost: Option<String>,
    /// What it truly costs as a decimal, exact: `cost` for a whole answer, 0 for an error and for a hit in a gateway's
    /// cache, and what `cost.aborts` says for an answer that was not delivered whole. `None` for a model without rates.
    #[serde(default)]
    pub charged: Option<String>,
    /// What was recorded, by surface as the configuration names it, and as `lookup` and `ledger`. The digits are those
    /// that were written; what was not written is not here.
    #[serde(default)]
    pub recorded: BTreeMap<String, String>,
    /// The mistakes that were planted in what is recorded.
    #[serde(default)]
    pub billing_faults: Vec<Class>,
    /// What the answer says that it used, where that is not `usage`.
    #[serde(default)]
    pub wire_usage: Option<Usage>,
    /// What the look-up and the ledger say that it used, and are priced by, where that is not `usage`.
    #[serde(default)]
    pub billed_usage: Option<Usage>,
    /// Rows that the ledgers have because of it.
    #[serde(default)]
    pub ledger_rows: u32,
    /// When the look-up and the ledgers know of it: microseconds since 1970, by the wall clock.
    #[serde(default)]
    pub recorded_unix_us: Option<u64>,
    /// The service tier that was asked for.
    #[serde(default)]
    pub service_tier: Option<String>,
    /// The model that the answer names, where it is not the requested one.
    #[serde(default)]
    pub served_model: Option<String>,
    /// Tool calls in the answer.
    pub tool_calls: u32,
    /// Results of tools in the request; 0 for a request that was refused.
    #[serde(default)]
    pub tool_results: u32,
    /// Turns of a conversation with tools before this one: messages of the model with calls in the request, after the
    /// last text of a user. 0 for a request that was refused.
    #[serde(default)]
    pub turn: u32,
    /// First 16 hexadecimal digits of the SHA-256 of the whole answer's visible text, delivered or not. `None` if the
    /// answer has no text, or is not what was asked for: an error, a planted fault, a stub of a test's author. What
    /// follows a fault was never written, and nothing may stand for what it cut off.
    pub text_sha256: Option<String>,
    /// The same of the reasoning.
    pub reasoning_sha256: Option<String>,
    /// The reason to stop, in the API's word.
    pub finish: Option<String>,
    /// The planted fault, by its name in the configuration.
    pub fault: Option<String>,
    /// Which attempt it is at the same request, from 1: the same bytes again, with a nonce in them.
    pub attempt: u64,
    /// The profile that answered, if one did.
    pub profile: Option<String>,
    /// The answer's id, without the prefix that an API has for it; `None` for errors.
    pub response_id: Option<String>,
    /// How long the request waited for a slot.
    pub queue_ns: u64,
    /// Whether every frame was written and the answer ended as HTTP demands.
    pub completed: bool,
    /// Size of the request's body.
    pub body_bytes: u64,
    /// The request's body, if the configuration says `journal_bodies`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<serde_json::Value>,
    /// When each frame was planned and written, if the configuration says `journal_frames`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_times: Option<FrameTimes>,
}

/// The times of an answer's frames in order, in nanoseconds since the receipt of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameTimes {
    /// When each frame of the script was to be written.
    pub planned_ns: Vec<u64>,
    /// When each frame that was written was: as many as there are `frames_written`.
    pub written_ns: Vec<u64>,
}

/// The emulated API of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    OpenAi,
    /// `POST /v1/messages`.
    Anthropic,
}

/// Token counts. The parts of the input are disjoint; reasoning is part of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens that no cache served or took.
    pub input: u64,
    /// Input tokens read from a cache.
    pub cache_read: u64,
    /// Input tokens written to a cache.
    pub cache_write: u64,
    /// Those of `cache_write` that it keeps for an hour.
    #[serde(default)]
    pub cache_write_1h: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Reasoning tokens.
    pub reasoning: u64,
}

impl Usage {
    /// All input tokens.
    pub fn prompt(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
    }
}

/// Bytes kept in memory before they go to the file.
const BUFFER_BYTES: usize = 64 * 1024;

/// Answers that can be looked up by their id; each takes about 100 bytes.
const PLACES_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("more than none");

/// Bytes read from the file at once.
const READ_BYTES: usize = 64 * 1024;

/// The spool of entries.
#[derive(Debug)]
pub(crate) struct Journal {
    spool: Mutex<Spool>,
}

#[derive(Debug)]
struct Spool {
    file: File,
    file_bytes: u64,
    buffer: Vec<u8>,
    /// Entries since the last reset.
    entries: u64,
    /// Where the lines of the latest answers begin, by the answer's id.
    places: LruCache<String, u64>,
    /// Counts resets, so that a reader of the time before one ends.
    generation: u64,
    /// Nothing is appended any more, so followers end.
    closed: bool,
    /// Who waits for the next entry.
    waiting: Vec<Waker>,
}

/// Which entries are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Those with this nonce only.
    pub(crate) nonce: Option<String>,
    /// Those whose number is at least this.
    pub(crate) since: u64,
    /// Those to come as well, until the journal is closed. A reset does not end it.
    pub(crate) follow: bool,
}

/// What a [`Selection`] looks at.
#[derive(Deserialize)]
struct Name<'a> {
    seq: u64,
    #[serde(borrow)]
    nonce: Cow<'a, str>,
}

impl Selection {
    fn takes(&self, line: &[u8]) -> io::Result<bool> {
        if self.takes_all() {
            return Ok(true);
        }
        let name: Name<'_> = serde_json::from_slice(line).map_err(io::Error::other)?;
        let wanted = self.nonce.as_ref();
        Ok(name.seq >= self.since && wanted.is_none_or(|nonce| *nonce == name.nonce))
    }

    fn takes_all(&self) -> bool {
        self.nonce.is_none() && self.since == 0
    }
}

impl Journal {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            spool: Mutex::new(Spool {
                file: tempfile::tempfile()?,
                file_bytes: 0,
                buffer: Vec::with_capacity(BUFFER_BYTES),
                entries: 0,
                places: LruCache::new(PLACES_MAX),
                generation: 0,
                closed: false,
                waiting: Vec::new(),
            }),
        })
    }

    /// Appends an entry. Fails if the temporary file cannot take it, as on a full disk.
    pub(crate) fn append(&self, entry: &JournalEntry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry).map_err(io::Error::other)?;
        line.push(b'\n');
        let mut spool = self.lock();
        let place = spool.file_bytes + spool.buffer.len() as u64;
        if let Some(id) = &entry.response_id {
            spool.places.put(id.clone(), place);
        }
        spool.buffer.extend_from_slice(&line);
        spool.entries += 1;
        spool.wake();
        if spool.buffer.len() >= BUFFER_BYTES {
            return spool.flush();
        }
        Ok(())
    }

    /// Forgets all entries.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let mut spool = self.lock();
        spool.buffer.clear();
        spool.places.clear();
        spool.generation += 1;
        spool.file_bytes = 0;
        spool.entries = 0;
        // Followers have to begin anew, lest they read on where the entries after this are.
        spool.wake();
        spool.file.set_len(0)
    }

    /// Lets those who follow end once they have read what there is.
    pub(crate) fn close(&self) {
        let mut spool = self.lock();
        spool.closed = true;
        spool.wake();
    }

    /// The entries of this moment as lines, or some of them.
    pub(crate) fn lines(self: &Arc<Self>, selection: Selection) -> io::Result<Lines> {
        let mut spool = self.lock();
        spool.flush()?;
        Ok(Lines {
            journal: Arc::clone(self),
            offset: 0,
            end: spool.file_bytes,
            generation: spool.generation,
            selection,
        })
    }

    /// Waits until there are so many entries since the last reset.
    pub(crate) async fn reach(&self, entries: u64) {
        poll_fn(|context| {
            let mut spool = self.lock();
            if spool.entries >= entries {
                return Poll::Ready(());
            }
            spool.await_next(context);
            Poll::Pending
        })
        .await;
    }

    /// The entry of an answer, by its id without prefix, if it is among the latest [`PLACES_MAX`].
    pub(crate) fn find(self: &Arc<Self>, response_id: &str) -> io::Result<Option<JournalEntry>> {
        let mut lines = self.lines(Selection::default())?;
        let place = self.lock().places.get(response_id).copied();
        let Some(place) = place.filter(|place| *place < lines.end) else {
            return Ok(None);
        };
        lines.offset = place;
        let piece = lines.next_piece()?.unwrap_or_default();
        let line = piece.split_inclusive(|byte| *byte == b'\n').next();
        let entry = line.and_then(|line| serde_json::from_slice::<JournalEntry>(line).ok());
        // After a write that failed, another line may stand there.
        Ok(entry.filter(|entry| entry.response_id.as_deref() == Some(response_id)))
    }

    fn lock(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool {
    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.file.seek(SeekFrom::Start(self.file_bytes))?;
        let written = self.file.write_all(&self.buffer);
        if written.is_ok() {
            self.file_bytes += self.buffer.len() as u64;
        }
        // After an error too: a full disk must not turn into growing memory.
        self.buffer.clear();
        written
    }

    fn read(&mut self, offset: u64, count: usize) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; count];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn await_next(&mut self, context: &Context<'_>) {
        let waker = context.waker();
        if !self.waiting.iter().any(|other| other.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

/// Reads the journal piece by piece; as a response's body it streams.
#[derive(Debug)]
pub(crate) struct Lines {
    journal: Arc<Journal>,
    offset: u64,
    end: u64,
    generation: u64,
    selection: Selection,
}

impl Lines {
    /// The next whole lines, or nothing at the end or after a reset.
    pub(crate) fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut wanted = READ_BYTES;
        loop {
            let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
            if left == 0 {
                return Ok(None);
            }
            let mut piece = {
                let mut spool = self.journal.lock();
                if spool.generation != self.generation {
                    return Ok(None);
                }
                spool.read(self.offset, wanted.min(left))?
            };
            let Some(last) = piece.iter().rposition(|byte| *byte == b'\n') else {
                // A line longer than the piece.
                wanted *= 2;
                continue;
            };
            piece.truncate(last + 1);
            self.offset += piece.len() as u64;
            if self.selection.takes_all() {
                return Ok(Some(piece));
            }
            let mut kept = Vec::new();
            for line in piece.split_inclusive(|byte| *byte == b'\n') {
                if self.selection.takes(line)? {
                    kept.extend_from_slice(line);
                }
            }
            if !kept.is_empty() {
                return Ok(Some(kept));
            }
        }
    }

    /// Looks for what came after the end: false if there is nothing, and never will be. Without anything yet, whoever
    /// polls is woken by the next entry.
    fn poll_more(&mut self, context: &Context<'_>) -> Poll<io::Result<bool>> {
        if !self.selection.follow {
            return Poll::Ready(Ok(false));
        }
        let mut spool = self.journal.lock();
        spool.flush()?;
        if spool.generation != self.generation {
            (self.generation, self.offset) = (spool.generation, 0);
        }
        self.end = spool.file_bytes;
        if self.end > self.offset {
            return Poll::Ready(Ok(true));
        }
        if spool.closed {
            return Poll::Ready(Ok(false));
        }
        spool.await_next(context);
        Poll::Pending
    }

    /// All entries, parsed.
    pub(crate) fn parse(mut self) -> io::Result<Vec<JournalEntry>> {
        let mut entries = Vec::new();
        while let Some(piece) = self.next_piece()? {
            for line in piece.split_inclusive(|byte| *byte == b'\n') {
                entries.push(serde_json::from_slice(line).map_err(io::Error::other)?);
            }
        }
        Ok(entries)
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(piece) = self.next_piece()? {
                return Poll::Ready(Some(Ok(Frame::data(piece.into()))));
            }
            if !ready!(self.poll_more(context))? {
                return Poll::Ready(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Wake;

    use super::*;

    fn entry(seq: u64, nonce: &str) -> JournalEntry {
        JournalEntry {
            seq,
            nonce: nonce.to_owned(),
            trace_id: None,
            endpoint: Endpoint::OpenAi,
            path: "/v1/chat/completions".to_owned(),
            model: "m".to_owned(),
            stream: true,
            status: 200,
            received_unix_us: 1,
            received_ns: 2,
            first_write_ns: Some(3),
            first_token_write_ns: None,
            last_write_ns: Some(4),
            frames: 5,
            frames_written: 5,
            token_events: 0,
            lateness_ns_max: 6,
            usage: Usage::default(),
            cost: Some("0.00125".to_owned()),
            recorded_cost: None,
            charged: Some("0.00125".to_owned()),
            recorded: BTreeMap::new(),
            billing_faults: vec![Class::Late],
            wire_usage: None,
            billed_usage: None,
            ledger_rows: 1,
            recorded_unix_us: Some(3),
            service_tier: None,
            served_model: None,
            tool_calls: 0,
            tool_results: 0,
            turn: 0,
            text_sha256: Some("0123456789abcdef".to_owned()),
            reasoning_sha256: None,
            finish: Some("stop".to_owned()),
            fault: None,
            attempt: 1,
            profile: None,
            response_id: Some("r".to_owned()),
            queue_ns: 0,
            body: None,
            completed: true,
            body_bytes: 7,
            frame_times: None,
        }
    }

    fn all(journal: &Arc<Journal>, nonce: Option<&str>) -> Vec<JournalEntry> {
        let selection = Selection {
            nonce: nonce.map(str::to_owned),
            ..Selection::default()
        };
        let lines = journal.lines(selection).expect("readable");
        lines.parse().expect("entries")
    }

    #[test]
    fn entries_come_back_in_order_whatever_was_spooled() {
        let journal = Arc::new(Journal::new().expect("a temporary file"));
        // Well over the buffer, and read in between.
        for seq in 0..1_000 {
            journal.append(&entry(seq, "n")).expect("spooled");
            if seq % 300 == 0 {
                assert_eq!(all(&journal, None).len() as u64, seq + 1);
            }
        }
        let entries = all(&journal, None);
        assert!(entries.iter().map(|entry| entry.seq).eq(0..1_000));
        assert_eq!(entries[7], entry(7, "n"));
    }

    #[test]
    fn lines_are_found_by_nonce() {
        let journal = Arc::new(Journal::new().expect("a temporary file"));
        for seq in 0..500 {
            journal
                .append(&entry(seq, &format!("n{}", seq % 100)))
                .expect("spooled");
        }
        let found = all(&journal, Some("n42"));
        assert!(
            found
                .iter()
                .map(|entry| entry.seq)
                .eq([42, 142, 242, 342, 442])
        );
        assert!(all(&journal, Some("n4")).len() == 5);
        assert!(all(&journal, Some("absent")).is_empty());
    }

    #[test]
    fn lines_are_found_by_number() {
        let journal = Arc::new(Journal::new().expect("a temporary file"));
        for seq in [3, 0, 2, 5, 1, 4] {
            journal.append(&entry(seq, "n")).expect("spooled");
        }
        let selection = Selection {
            since: 3,
            ..Selection::default()
        };
        let found = journal.lines(selection).expect("readable");
        let found = found.parse().expect("entries");
        assert!(found.iter().map(|entry| entry.seq).eq([3, 5, 4]));
    }

    #[test]
    fn a_follower_is_woken_by_an_entry_by_a_reset_and_by_the_end() {
        let journal = Arc::new(Journal::new().expect("a temporary file"));
        journal.append(&entry(0, "n")).expect("spooled");
        let selection = Selection {
            nonce: Some("n".to_owned()),
            follow: true,
            ..Selection::default()
        };
        let mut lines = journal.lines(selection).expect("readable");
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut poll = || {
            let polled = Pin::new(&mut lines).poll_frame(&mut Context::from_waker(&waker));
            polled.map(|piece| {
                let piece = piece?.expect("readable").into_data().expect("data");
                let entry: JournalEntry = serde_json::from_slice(&piece).expect("an entry");
                Some(entry.seq)
            })
        };
        assert_eq!(poll(), Poll::Ready(Some(0)));
        assert_eq!(poll(), Poll::Pending);
        assert_eq!(woken.count(), 0);
        journal.append(&entry(1, "another")).expect("spooled");
        assert_eq!((woken.count(), poll()), (1, Poll::Pending));
        journal.append(&entry(2, "n")).expect("spooled");
        assert_eq!((woken.count(), poll()), (2, Poll::Ready(Some(2))));
        assert_eq!(poll(), Poll::Pending);
        journal.clear().expect("cleared");
        assert_eq!((woken.count(), poll()), (3, Poll::Pending));
        journal.append(&entry(3, "n")).expect("spooled");
        journal.close();
        assert_eq!((woken.count(), poll()), (4, Poll::Ready(Some(3))));
        assert_eq!(poll(), Poll::Ready(None));
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicU64);

    impl Woken {
        fn count(&self) -> u64 {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_line_longer_than_a_piece_is_read_whole() {
        let journal = Arc::new(Journal::new().expect("a temporary file"));
        let long = entry(0, &"x".repeat(3 * READ_BYTES));
        journal.append(&long).expect("spooled");
        assert_eq!(all(&journal, None), [long]);
    }

    #[test]
    fn answers_are_found_by_their_id() {
        let journal = Arc::new(Journal::new().expect("a temporary file"));
        for seq in 0..500 {
            let mut entry = entry(seq, "n");
            entry.response_id = Some(format!("r{seq}"));
            journal.append(&entry).expect("spooled");
        }
        let find = |id| journal.find(id).expect("readable").map(|entry| entry.seq);
        assert_eq!(
            (find("r0"), find("r77"), find("r499")),
            (Some(0), Some(77), Some(499))
        );
        assert_eq!(find("r500"), None);
        // As after a write that failed: another line stands there.
        journal.lock().places.put("lost".to_owned(), 0);
        assert_eq!(find("lost"), None);
        journal.clear().expect("cleared");
        assert_eq!(find("r0"), None);
    }

    #[test]
    fn clearing_ends_older_readers() {
        let journal = Arc::new(Journal::new().expect("a temporary file"));
        journal.append(&entry(0, "n")).expect("spooled");
        let mut before = journal.lines(Selection::default()).expect("readable");
        journal.clear().expect("cleared");
        journal.append(&entry(1, "n")).expect("spooled");
        assert!(before.next_piece().expect("no error").is_none());
        assert_eq!(all(&journal, None).len(), 1);
    }
}
