//! Where entries are kept, and who reads them: lines, selections of them, and those who wait for the next.
//!
//! Entries go to an unnamed temporary file, so memory stays flat however long the upstream runs. An entry is in the
//! journal before the last frame is written: whoever has read a whole answer finds its entry. The
//! entry of an answer that was not read to its end follows as soon as the server notices that the client is gone.

use std::borrow::Cow;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use lru::LruCache;
use serde::Deserialize;

use super::JournalEntry;

#[cfg(test)]
mod tests;

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

/// What is read in pieces, each of which may take a while.
pub(crate) trait Pieces: Send + Unpin + 'static {
    /// The next piece, which may be empty; `None` at the end.
    fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>>;

    /// After the end: ready with true once there is more, and with false if there never will be. It returns at once.
    fn poll_more(&mut self, _: &Context<'_>) -> Poll<io::Result<bool>> {
        Poll::Ready(Ok(false))
    }
}

/// Reads the journal piece by piece.
#[derive(Debug)]
pub(crate) struct Lines {
    journal: Arc<Journal>,
    offset: u64,
    end: u64,
    generation: u64,
    selection: Selection,
}

impl Pieces for Lines {
    /// Whole lines, or the end, which a reset is, too. Empty where a part of the journal has nothing that is wanted.
    fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
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
            return Ok(Some(kept));
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
}

impl Lines {
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
