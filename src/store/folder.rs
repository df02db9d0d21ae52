//! The run folder: written while a run goes on, read back for its report.
//!
//! Rows are written by a thread of its own through a bounded queue, whole lines only, flushed
//! every second. A reader takes every whole row and says if the last one is torn.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use super::StoreError;
use super::inputs::Inputs;
use super::rows::{Row, TraceRow};
use crate::endpoint::Endpoint;
use crate::manifest::Manifest;
use crate::record::{CallRecord, FACTS_SCHEMAS_READ, Fact, FactSink, Health, Record, Second};
use crate::scenario::Truth;
use crate::truth::Truth as TruthRow;

/// Facts that wait for the disk, at most; beyond, the workers wait.
const QUEUE: usize = 16_384;

/// Rows stay in memory no longer than this.
const FLUSH: Duration = Duration::from_secs(1);

const SCENARIO: &str = "scenario.toml";
const PRICES: &str = "prices.csv";
const PROMPTS: &str = "prompts.jsonl";
const ARRIVALS: &str = "arrivals.csv";
const AUTHORITIES: &str = "ca.pem";
const MANIFEST: &str = "run.json";
const REQUESTS: &str = "requests.csv";
const CALLS: &str = "calls.csv";
const SECONDS: &str = "seconds.csv";
const HEALTH: &str = "health.csv";
const GAPS: &str = "gaps.hlog";
const TRACE: &str = "trace.csv";
const TRUTH: &str = "truth.csv";

/// Histograms of gaps are in ns; the log's maxima are shown in ms.
const GAPS_DIVISOR: f64 = 1e6;

/// A run folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes a new folder at `path`, which must not exist or be empty, so that nothing is lost. It
    /// is claimed at once: of two runs that want the same folder, one gets it.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: io::Error| StoreError::write(path, &error);
        fs::create_dir_all(path).map_err(failed)?;
        if fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(StoreError::NotEmpty(path.to_owned()));
        }
        match File::create_new(path.join(REQUESTS)) {
            Ok(_) => Ok(Self {
                path: path.to_owned(),
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(StoreError::NotEmpty(path.to_owned()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The folder of an earlier run.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = Self {
            path: path.to_owned(),
        };
        if folder.file(MANIFEST).is_file() {
            Ok(folder)
        } else {
            Err(StoreError::NoRun(path.to_owned()))
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Copies the inputs of the run, so that the folder can be run again. Returns the scenario's
    /// text with everything resolved.
    pub fn write_inputs(&self, inputs: &Inputs) -> Result<String, StoreError> {
        let mut file = inputs.scenario.file.clone();
        PRICES.clone_into(&mut file.pricing.table);
        self.write(PRICES, inputs.prices.bytes())?;
        if let Some(bytes) = &inputs.given_bytes {
            file.workload.prompts = Some(PROMPTS.to_owned());
            self.write(PROMPTS, bytes)?;
        }
        if let Some(bytes) = &inputs.replay_bytes {
            file.load.replay = Some(ARRIVALS.to_owned());
            self.write(ARRIVALS, bytes)?;
        }
        if let Some(bytes) = &inputs.ca_pem {
            file.target.ca_file = Some(AUTHORITIES.to_owned());
            self.write(AUTHORITIES, bytes)?;
        }
        if let Some(Truth::File(name)) = &inputs.scenario.target.truth {
            // The journal stays where it is; from here it is found by its whole path.
            let path = inputs.folder.join(name);
            let path = std::path::absolute(&path).unwrap_or(path);
            file.target.truth = Some(path.display().to_string());
        }
        let text = toml::to_string(&file).expect("a scenario file is plain TOML");
        self.write(SCENARIO, text.as_bytes())?;
        Ok(text)
    }

    /// Writes a file as a whole: readers see the old one or the new one.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (path, draft) = (self.file(name), self.file(&format!(".{name}.draft")));
        fs::write(&draft, bytes)
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|error| StoreError::write(&path, &error))
    }

    /// Writes `run.json`.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let mut text = serde_json::to_string_pretty(manifest).expect("a manifest is plain JSON");
        text.push('\n');
        self.write(MANIFEST, text.as_bytes())
    }

    /// Writes the truth of the upstream.
    pub fn write_truth(&self, truths: &[TruthRow]) -> Result<(), StoreError> {
        let mut rows = csv::Writer::from_writer(Vec::new());
        let path = self.file(TRUTH);
        for truth in truths {
            rows.serialize(truth)
                .map_err(|error| StoreError::Write(path.clone(), error.to_string()))?;
        }
        let bytes = rows
            .into_inner()
            .map_err(|error| StoreError::Write(path, error.to_string()))?;
        self.write(TRUTH, &bytes)
    }

    /// Text of the scenario that the run was made from.
    pub fn scenario(&self) -> Result<(String, String), StoreError> {
        let path = self.file(SCENARIO);
        let text = fs::read_to_string(&path).map_err(|error| StoreError::read(&path, &error))?;
        Ok((path.display().to_string(), text))
    }

    /// The price table that the run was made with: its name in errors, and its bytes.
    pub fn prices(&self) -> Result<(String, Vec<u8>), StoreError> {
        let path = self.file(PRICES);
        let bytes = fs::read(&path).map_err(|error| StoreError::read(&path, &error))?;
        Ok((path.display().to_string(), bytes))
    }

    /// `run.json`.
    pub fn manifest(&self) -> Result<Manifest, StoreError> {
        let path = self.file(MANIFEST);
        let text = fs::read(&path).map_err(|error| StoreError::read(&path, &error))?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| StoreError::Read(path.clone(), error.to_string()))?;
        if !FACTS_SCHEMAS_READ.contains(&manifest.schema.as_str()) {
            return Err(StoreError::Schema {
                path,
                found: manifest.schema,
            });
        }
        Ok(manifest)
    }

    /// Every whole row of `requests.csv`, in order. Returns whether the file ends in a torn row.
    pub fn each_request(
        &self,
        mut each: impl FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let path = self.file(REQUESTS);
        each_row(&path, |row: Row| {
            let record = Record::try_from(row)
                .map_err(|error| StoreError::Read(path.clone(), error.to_string()))?;
            each(record)
        })
    }

    /// Every whole row of `calls.csv`.
    pub fn each_call(&self, mut each: impl FnMut(CallRecord)) -> Result<bool, StoreError> {
        each_row(&self.file(CALLS), |row| {
            each(row);
            Ok(())
        })
    }

    /// Every whole row of `seconds.csv`, if there is one.
    pub fn each_second(&self, mut each: impl FnMut(Second)) -> Result<bool, StoreError> {
        let path = self.file(SECONDS);
        if !path.exists() {
            return Ok(false);
        }
        each_row(&path, |row| {
            each(row);
            Ok(())
        })
    }

    /// Every whole row of `health.csv`.
    pub fn each_health(&self, mut each: impl FnMut(Health)) -> Result<bool, StoreError> {
        each_row(&self.file(HEALTH), |row| {
            each(row);
            Ok(())
        })
    }

    /// Every row of `truth.csv`, if there is one.
    pub fn each_truth(&self, mut each: impl FnMut(TruthRow)) -> Result<(), StoreError> {
        let path = self.file(TRUTH);
        if !path.exists() {
            return Ok(());
        }
        each_row(&path, |row| {
            each(row);
            Ok(())
        })?;
        Ok(())
    }

    /// Every interval of the gap log; a torn last line is left out.
    pub fn each_gaps(
        &self,
        mut each: impl FnMut(Endpoint, &hdrhistogram::Histogram<u64>),
    ) -> Result<(), StoreError> {
        let path = self.file(GAPS);
        let bytes = fs::read(&path).map_err(|error| StoreError::read(&path, &error))?;
        let whole = bytes
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        let bad = |what: String| StoreError::Read(path.clone(), what);
        let mut deserializer = Deserializer::new();
        for entry in IntervalLogIterator::new(&bytes[..whole]) {
            let LogEntry::Interval(interval) = entry.map_err(|e| bad(format!("{e:?}")))? else {
                continue;
            };
            let endpoint = interval
                .tag()
                .and_then(|tag| Endpoint::from_name(tag.as_str()))
                .ok_or_else(|| bad("an interval without an endpoint's tag".to_owned()))?;
            let encoded = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                interval.encoded_histogram(),
            )
            .map_err(|e| bad(e.to_string()))?;
            let histogram = deserializer
                .deserialize(&mut encoded.as_slice())
                .map_err(|e| bad(format!("{e:?}")))?;
            each(endpoint, &histogram);
        }
        Ok(())
    }

    /// Opens the fact files, so that a bad path fails before the first request, and starts the
    /// thread that writes them. `trace` says whether there will be [`Fact::Trace`]s.
    pub fn start_writer(
        &self,
        started: std::time::SystemTime,
        trace: bool,
    ) -> Result<FactWriter, StoreError> {
        let open = |name: &str| {
            let path = self.file(name);
            File::create(&path).map_err(|error| StoreError::write(&path, &error))
        };
        let files = Files {
            requests: rows(open(REQUESTS)?),
            calls: rows(open(CALLS)?),
            seconds: rows(open(SECONDS)?),
            health: rows(open(HEALTH)?),
            trace: trace.then(|| open(TRACE).map(rows)).transpose()?,
            gaps: BufWriter::new(open(GAPS)?),
        };
        let (queue, facts) = sync_channel(QUEUE);
        let failed = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("facts".to_owned())
            .spawn({
                let (path, failed) = (self.path.clone(), failed.clone());
                move || {
                    let result = files.write_all(&facts, started);
                    if result.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    // The queue is emptied all the same: a worker must not wait for a dead disk.
                    while facts.recv().is_ok() {}
                    result.map_err(|error| StoreError::write(&path, &error))
                }
            })
            .map_err(|error| StoreError::write(&self.path, &error))?;
        Ok(FactWriter {
            queue,
            failed,
            thread,
        })
    }
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

type Rows = csv::Writer<File>;

fn rows(file: File) -> Rows {
    csv::WriterBuilder::new()
        .buffer_capacity(1 << 16)
        .from_writer(file)
}

struct Files {
    requests: Rows,
    calls: Rows,
    seconds: Rows,
    health: Rows,
    trace: Option<Rows>,
    gaps: BufWriter<File>,
}

impl Files {
    fn write_all(self, facts: &Receiver<Fact>, started: std::time::SystemTime) -> io::Result<()> {
        let Self {
            mut requests,
            mut calls,
            mut seconds,
            mut health,
            mut trace,
            mut gaps,
        } = self;
        let mut serializer = V2DeflateSerializer::new();
        let mut builder = IntervalLogWriterBuilder::new();
        let log_error = |error: &dyn std::fmt::Debug| io::Error::other(format!("{error:?}"));
        // The headers stand in the file from the start.
        let mut log = builder
            .add_comment("gaps between token-bearing events; histograms in ns, maxima in ms")
            .with_base_time(started)
            .with_start_time(started)
            .with_max_value_divisor(GAPS_DIVISOR)
            .begin_log_with(&mut gaps, &mut serializer)?;
        loop {
            let fact = match facts.recv_timeout(FLUSH) {
                Ok(fact) => fact,
                Err(RecvTimeoutError::Timeout) => {
                    // Nothing came for a while; what came before goes to disk.
                    requests.flush()?;
                    calls.flush()?;
                    seconds.flush()?;
                    health.flush()?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            match fact {
                Fact::Attempt(record, made) => {
                    requests
                        .serialize(Row::from(record.as_ref()))
                        .map_err(io::Error::from)?;
                    for call in made {
                        calls.serialize(call).map_err(io::Error::from)?;
                    }
                }
                Fact::Trace {
                    trace_id,
                    attempt,
                    events,
                } => {
                    let trace = trace.as_mut().expect("a run with a trace has its file");
                    for (event, stamp) in (0..).zip(events) {
                        let row = TraceRow::new(&trace_id, attempt, event, stamp);
                        trace.serialize(row).map_err(io::Error::from)?;
                    }
                }
                Fact::Gaps {
                    endpoint,
                    from,
                    to,
                    histogram,
                } => log
                    .write_histogram(
                        histogram.as_ref(),
                        from.since_start(),
                        Duration::from_nanos(to.nanos_since(from)),
                        Tag::new(endpoint.name()),
                    )
                    .map_err(|error| log_error(&error))?,
                Fact::Second(row) => seconds.serialize(row).map_err(io::Error::from)?,
                // A worker's second is whole: the moment to flush.
                Fact::Health(row) => {
                    health.serialize(row).map_err(io::Error::from)?;
                    requests.flush()?;
                    calls.flush()?;
                    seconds.flush()?;
                    health.flush()?;
                }
            }
        }
        drop(log);
        gaps.flush()?;
        requests.flush()?;
        calls.flush()?;
        seconds.flush()?;
        if let Some(trace) = &mut trace {
            trace.flush()?;
        }
        health.flush()
    }
}

/// Every whole row of a CSV file. What stands after the last line's end is torn: it is left out,
/// even where it looks like a row, since its last number may have lost digits.
fn each_row<T: serde::de::DeserializeOwned>(
    path: &Path,
    mut each: impl FnMut(T) -> Result<(), StoreError>,
) -> Result<bool, StoreError> {
    let failed = |error: io::Error| StoreError::read(path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let whole = end_of_last_line(&mut file, length).map_err(failed)?;
    let torn = whole < length;
    let mut rows = csv::Reader::from_reader(BufReader::new(file.take(whole)));
    let headers = rows
        .headers()
        .map_err(|e| StoreError::row(path, &e))?
        .clone();
    let mut row = csv::StringRecord::new();
    loop {
        let read = rows
            .read_record(&mut row)
            .and_then(|more| more.then(|| row.deserialize(Some(&headers))).transpose());
        match read {
            Ok(Some(value)) => each(value)?,
            Ok(None) => return Ok(torn),
            // A line break inside a quoted cell can be the last one that was written.
            Err(_) if rows.position().byte() >= whole => return Ok(true),
            Err(error) => return Err(StoreError::row(path, &error)),
        }
    }
}

/// Where the last line of a file ends; the file is then at its begin again.
fn end_of_last_line(file: &mut File, length: u64) -> io::Result<u64> {
    const BLOCK: u64 = 64 * 1024;
    let mut block = Vec::new();
    let mut end = length;
    let found = loop {
        let start = end.saturating_sub(BLOCK);
        block.clear();
        file.seek(SeekFrom::Start(start))?;
        io::Read::take(&mut *file, end - start).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|&b| b == b'\n') {
            break start + at as u64 + 1;
        }
        if start == 0 {
            break 0;
        }
        end = start;
    };
    file.rewind()?;
    Ok(found)
}
