//! The thread that writes facts while a run goes on.
//!
//! Facts come through a bounded queue and go to disk every second. A write ends at the end of a row,
//! so that whatever kills the process leaves whole rows; after a write that failed, the part of a row
//! that it left is cut off again.

use std::fs::File;
use std::io::{self, LineWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};
use hdrhistogram::serialization::{V2DeflateSerializeError, V2DeflateSerializer};
use serde::Serialize;

use super::StoreError;
use super::rows::{Row, TraceRow};
use crate::record::{Example, Fact, FactSink};

/// Facts that wait for the disk, at most; beyond, the workers wait.
const QUEUE: usize = 16_384;

/// Rows stay in memory no longer than this.
const FLUSH: Duration = Duration::from_secs(1);

/// How long facts gather in the queue before they are taken together: far less than what fills it,
/// and long enough that a worker at full speed wakes nobody.
const GATHER: Duration = Duration::from_millis(5);

/// Rows of this many bytes go to the disk at once.
const WRITE_SIZE: usize = 64 * 1024;

/// Longer than any line of the gap log: a full histogram has 184 KB before it is compressed.
const LOG_LINE: usize = 256 * 1024;

/// Histograms of gaps are in ns; the log's maxima are shown in ms.
const GAPS_DIVISOR: f64 = 1e6;

/// Where facts are written.
pub(super) struct Paths {
    pub requests: PathBuf,
    pub calls: PathBuf,
    pub seconds: PathBuf,
    pub health: PathBuf,
    /// Only where each event's stamp is kept.
    pub trace: Option<PathBuf>,
    pub gaps: PathBuf,
    /// Made with the first example.
    pub examples: PathBuf,
    /// The run folder, which the files of examples are named from.
    pub folder: PathBuf,
}

/// The thread that writes facts.
#[derive(Debug)]
pub struct FactWriter {
    queue: SyncSender<Fact>,
    failed: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), StoreError>>,
}

/// Where workers put facts for the writer.
#[derive(Clone, Debug)]
pub struct Queue(SyncSender<Fact>);

impl FactSink for Queue {
    fn put(&self, fact: Fact) {
        // The writer lives as long as any queue; only its own panic could end it early.
        let _ = self.0.send(fact);
    }
}

impl FactWriter {
    /// Opens every file and starts the thread.
    pub(super) fn start(paths: Paths, started: SystemTime) -> Result<Self, StoreError> {
        let mut files = Files {
            requests: Rows::create(paths.requests)?,
            calls: Rows::create(paths.calls)?,
            seconds: Rows::create(paths.seconds)?,
            health: Rows::create(paths.health)?,
            trace: paths.trace.map(Rows::create).transpose()?,
            examples: None,
            examples_path: paths.examples,
            folder: paths.folder,
        };
        let gaps = create(&paths.gaps)?;
        let thread_refused = StoreError::write(&paths.gaps, &io::ErrorKind::OutOfMemory.into());
        let (queue, facts) = sync_channel(QUEUE);
        let failed = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("facts".to_owned())
            .spawn({
                let failed = failed.clone();
                move || {
                    let result = files.write_all(&facts, gaps, &paths.gaps, started);
                    if result.is_err() {
                        failed.store(true, Ordering::Relaxed);
                        // What was measured is kept where it still can be.
                        let _ = files.flush();
                    }
                    // The queue is emptied all the same: a worker must not wait for a dead disk.
                    while facts.recv().is_ok() {}
                    result
                }
            })
            .map_err(|_| thread_refused)?;
        Ok(Self {
            queue,
            failed,
            thread,
        })
    }

    /// A queue into it.
    pub fn queue(&self) -> Queue {
        Queue(self.queue.clone())
    }

    /// Set when writing fails: the run must end.
    pub fn failed(&self) -> Arc<AtomicBool> {
        self.failed.clone()
    }

    /// Writes what is queued and closes the files. Every [`Queue`] must be gone.
    pub fn finish(self) -> Result<(), StoreError> {
        drop(self.queue);
        self.thread.join().expect("the writer does not panic")
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "that facts come is what must not wake this thread, one by one"
)]
fn gather() {
    std::thread::sleep(GATHER);
}

fn create(path: &Path) -> Result<File, StoreError> {
    File::create(path).map_err(|error| StoreError::write(path, &error))
}

struct Files {
    requests: Rows,
    calls: Rows,
    seconds: Rows,
    health: Rows,
    trace: Option<Rows>,
    examples: Option<Rows>,
    examples_path: PathBuf,
    folder: PathBuf,
}

impl Files {
    fn write_all(
        &mut self,
        facts: &Receiver<Fact>,
        gaps: File,
        gaps_path: &Path,
        started: SystemTime,
    ) -> Result<(), StoreError> {
        let failed = |error: io::Error| StoreError::write(gaps_path, &error);
        // A line of the log is a second of an endpoint: each goes to the disk when it is whole.
        let mut gaps = LineWriter::with_capacity(LOG_LINE, gaps);
        let mut serializer = V2DeflateSerializer::new();
        let mut builder = IntervalLogWriterBuilder::new();
        // The headers stand in the file from the start.
        let mut log = builder
            .add_comment("gaps between token-bearing events; histograms in ns, maxima in ms")
            .with_base_time(started)
            .with_start_time(started)
            .with_max_value_divisor(GAPS_DIVISOR)
            .begin_log_with(&mut gaps, &mut serializer)
            .map_err(failed)?;
        loop {
            let fact = match facts.try_recv() {
                Ok(fact) => fact,
                Err(TryRecvError::Empty) => {
                    gather();
                    match facts.recv_timeout(FLUSH) {
                        Ok(fact) => fact,
                        Err(RecvTimeoutError::Timeout) => {
                            // Nothing came for a while; what came before goes to disk.
                            self.flush()?;
                            continue;
                        }
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
                Err(TryRecvError::Disconnected) => break,
            };
            match fact {
                Fact::Attempt(record, made) => {
                    self.requests.put(Row::from(record.as_ref()))?;
                    for call in made {
                        self.calls.put(call)?;
                    }
                }
                Fact::Trace {
                    trace_id,
                    attempt,
                    events,
                } => {
                    let trace = self
                        .trace
                        .as_mut()
                        .expect("a run with a trace has its file");
                    for (event, stamp) in (0..).zip(events) {
                        trace.put(TraceRow::new(&trace_id, attempt, event, stamp))?;
                    }
                }
                Fact::Example(example, bytes) => self.example(&example, &bytes)?,
                Fact::Gaps {
                    endpoint,
                    worker,
                    from,
                    to,
                    histogram,
                } => log
                    .write_histogram(
                        histogram.as_ref(),
                        from.since_start(),
                        Duration::from_nanos(to.nanos_since(from)),
                        Tag::new(&format!("{endpoint}.{worker}")),
                    )
                    .map_err(|error| failed(io_error(error)))?,
                Fact::Second(row) => self.seconds.put(row)?,
                // A worker's second is whole: the moment to flush.
                Fact::Health(row) => {
                    self.health.put(row)?;
                    self.flush()?;
                }
            }
        }
        drop(log);
        gaps.flush().map_err(failed)?;
        self.flush()
    }

    /// Writes the file of an example, and then its row.
    fn example(&mut self, example: &Example, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.folder.join(&example.file);
        let folder = path.parent().unwrap_or(&self.folder);
        let made = std::fs::create_dir_all(folder).and_then(|()| File::create_new(&path));
        let written = made.and_then(|mut file| file.write_all(bytes));
        match written {
            Ok(()) => {}
            // Two requests whose names begin alike: the first one is kept.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => return Err(StoreError::write(&path, &error)),
        }
        let rows = match self.examples.take() {
            Some(rows) => rows,
            None => Rows::create(self.examples_path.clone())?,
        };
        self.examples.insert(rows).put(example)
    }

    /// Writes all of them, also after one that cannot be written.
    fn flush(&mut self) -> Result<(), StoreError> {
        let results = [
            self.requests.flush(),
            self.calls.flush(),
            self.seconds.flush(),
            self.health.flush(),
            self.trace.as_mut().map_or(Ok(()), Rows::flush),
            self.examples.as_mut().map_or(Ok(()), Rows::flush),
        ];
        results.into_iter().collect()
    }
}

fn io_error(error: IntervalLogWriterError<V2DeflateSerializeError>) -> io::Error {
    match error {
        IntervalLogWriterError::IoError(error)
        | IntervalLogWriterError::SerializeError(V2DeflateSerializeError::IoError(error)) => error,
        IntervalLogWriterError::SerializeError(other) => io::Error::other(other),
    }
}

/// A file of rows, written in whole rows.
struct Rows {
    path: PathBuf,
    file: File,
    /// Where the last whole row in the file ends.
    written: u64,
    /// The rows that are not in the file yet; `None` only while they go there.
    pending: Option<csv::Writer<Vec<u8>>>,
    /// Whether anything was written, and so the names of the columns.
    begun: bool,
}

impl Rows {
    fn create(path: PathBuf) -> Result<Self, StoreError> {
        let file = create(&path)?;
        Ok(Self {
            path,
            file,
            written: 0,
            pending: Some(rows(Vec::new(), true)),
            begun: false,
        })
    }

    fn put(&mut self, row: impl Serialize) -> Result<(), StoreError> {
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        self.begun = true;
        pending
            .serialize(row)
            .map_err(|error| StoreError::write(&self.path, &error.into()))?;
        if pending.get_ref().len() >= WRITE_SIZE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let Some(pending) = self.pending.take().filter(|_| self.begun) else {
            self.pending.get_or_insert_with(|| rows(Vec::new(), true));
            return Ok(());
        };
        let mut bytes = pending.into_inner().expect("nothing is refused by memory");
        let (done, result) = write_some(&mut self.file, &bytes);
        if result.is_err() {
            let whole = memchr::memrchr(b'\n', &bytes[..done]).map_or(0, |at| at + 1);
            // If even this fails, a reader leaves the part of a row out.
            let _ = self.file.set_len(self.written + whole as u64);
        }
        self.written += done as u64;
        bytes.clear();
        self.pending = Some(rows(bytes, false));
        result.map_err(|error| StoreError::write(&self.path, &error))
    }
}

/// Writes all of it, or says how much of it was written before the error.
fn write_some(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}

fn rows(into: Vec<u8>, with_names: bool) -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new()
        .has_headers(with_names)
        .from_writer(into)
}
