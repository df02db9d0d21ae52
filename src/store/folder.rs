//! The run folder: written while a run goes on, read back for its report.
//!
//! A reader takes every whole row and says if the last one is torn; whatever grows with the run is
//! read in pieces.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use csv::StringRecord;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::StoreError;
use super::inputs::Inputs;
use super::journal::Nonces;
use super::keyed::{Keyed, KeyedRows, KeyedWriter};
use super::ledger::{Download, LookupWriter};
use super::rows::Row;
use super::writer::{FactWriter, Paths};
use crate::endpoint::Endpoint;
use crate::late::{LedgerRow, LedgerSummary, Lookup};
use crate::manifest::Manifest;
use crate::record::{Block, CallRecord, Example, FACTS_SCHEMAS_READ, Health, Record, Second};
use crate::scenario::{self, LedgerSource};
use crate::truth::Truth;

/// Bytes of a file of rows that are read at once.
const READ_SIZE: usize = 64 * 1024;

const SCENARIO: &str = "scenario.toml";
const PRICES: &str = "prices.csv";
const PROMPTS: &str = "prompts.jsonl";
const ARRIVALS: &str = "arrivals.csv";
const TOOLS: &str = "tools.json";
const UPSTREAM: &str = "offline.toml";
const AUTHORITIES: &str = "ca.pem";
const MANIFEST: &str = "run.json";
const REQUESTS: &str = "requests.csv";
const CALLS: &str = "calls.csv";
const SECONDS: &str = "seconds.csv";
const HEALTH: &str = "health.csv";
const BLOCKS: &str = "blocks.csv";
const GAPS: &str = "gaps.hlog";
const EXAMPLES: &str = "examples.csv";
const TRACE: &str = "trace.csv";
const TRUTH: &str = "truth.csv";
const LOOKUPS: &str = "lookups.csv";
const LEDGER: &str = "ledger.csv";
const LEDGER_SUMMARY: &str = "ledger.json";

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

    /// What a file is called until it is whole.
    fn draft(&self, name: &str) -> PathBuf {
        self.file(&format!(".{name}.draft"))
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
        if let Some(bytes) = &inputs.tools_bytes {
            file.workload.tools.file = Some(TOOLS.to_owned());
            self.write(TOOLS, bytes)?;
        }
        if let Some((_, bytes)) = &inputs.upstream
            && let Some(offline) = &mut file.offline
        {
            offline.config = Some(UPSTREAM.to_owned());
            self.write(UPSTREAM, bytes)?;
        }
        if let Some(bytes) = &inputs.ca_pem {
            file.target.ca_file = Some(AUTHORITIES.to_owned());
            self.write(AUTHORITIES, bytes)?;
        }
        if let Some(scenario::Truth::File(name)) = &inputs.scenario.target.truth {
            // The journal stays where it is; from here it is found by its whole path.
            let path = inputs.folder.join(name);
            let path = std::path::absolute(&path).unwrap_or(path);
            file.target.truth = Some(path.display().to_string());
        }
        if let (Some(ledger), Some(LedgerSource::File(name))) = (
            &mut file.pricing.ledger,
            inputs.scenario.pricing.ledger.as_ref().map(|l| &l.source),
        ) {
            let path = inputs.folder.join(name);
            let path = std::path::absolute(&path).unwrap_or(path);
            ledger.source = path.display().to_string();
        }
        let text = file.to_toml();
        self.write(SCENARIO, text.as_bytes())?;
        Ok(text)
    }

    /// Writes a file as a whole: readers see the old one or the new one.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (path, draft) = (self.file(name), self.draft(name));
        fs::write(&draft, bytes)
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|error| {
                // Half a file is of no use to anyone; that it stays is no further error.
                let _ = fs::remove_file(&draft);
                StoreError::write(&path, &error)
            })
    }

    /// Writes `run.json`.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let mut text = serde_json::to_string_pretty(manifest).expect("a manifest is plain JSON");
        text.push('\n');
        self.write(MANIFEST, text.as_bytes())
    }

    /// Writes `blocks.csv`: what this arm did in its turns. Before the load there is none yet.
    pub fn write_blocks(&self, blocks: &[Block]) -> Result<(), StoreError> {
        let mut rows = csv::WriterBuilder::new()
            .has_headers(false)
            .from_writer(Vec::new());
        let failed = "writing to memory does not fail";
        rows.write_record(["block", "first_session", "sessions", "start_ns", "end_ns"])
            .expect(failed);
        for block in blocks {
            rows.serialize(block).expect(failed);
        }
        self.write(BLOCKS, &rows.into_inner().expect(failed))
    }

    /// Whether the run was one of two arms that took turns.
    pub fn took_turns(&self) -> bool {
        self.file(BLOCKS).is_file()
    }

    /// The blocks that this arm has done; `None` if it took no turns.
    pub fn blocks(&self) -> Result<Option<Vec<Block>>, StoreError> {
        if !self.took_turns() {
            return Ok(None);
        }
        let mut blocks = Vec::new();
        each_row(&self.file(BLOCKS), |block| blocks.push(block))?;
        Ok(Some(blocks))
    }

    /// Begins the truth of the upstream.
    pub fn start_truth(&self) -> Result<KeyedWriter<Truth>, StoreError> {
        KeyedWriter::create(self.file(TRUTH), self.draft(TRUTH))
    }

    /// Begins what look-ups come to.
    pub fn start_lookups(&self) -> Result<LookupWriter, StoreError> {
        LookupWriter::create(self.file(LOOKUPS))
    }

    /// Begins the rows of a ledger. Those of an earlier one stay until these are whole.
    pub fn start_ledger(&self) -> Result<KeyedWriter<LedgerRow>, StoreError> {
        KeyedWriter::create(self.file(LEDGER), self.draft(LEDGER))
    }

    /// Begins a ledger that is read from elsewhere.
    pub fn start_download(&self) -> Result<Download, StoreError> {
        Download::create(self.file(".ledger.download.draft"))
    }

    /// Writes `ledger.json`, after the rows.
    pub fn write_ledger_summary(&self, summary: &LedgerSummary) -> Result<(), StoreError> {
        let mut text = serde_json::to_string_pretty(summary).expect("a summary is plain JSON");
        text.push('\n');
        self.write(LEDGER_SUMMARY, text.as_bytes())
    }

    /// `ledger.json`, if there is one.
    pub fn ledger_summary(&self) -> Result<Option<LedgerSummary>, StoreError> {
        let path = self.file(LEDGER_SUMMARY);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path).map_err(|error| StoreError::read(&path, &error))?;
        let summary = serde_json::from_slice(&text);
        summary
            .map(Some)
            .map_err(|error| StoreError::Read(path, error.to_string()))
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
        let columns = Row::columns();
        each_record(&path, |row, headers| {
            // Columns that stand where they are expected need not be looked for by name.
            let names = (*headers != columns).then_some(headers);
            let row: Row<'_> = row.deserialize(names).map_err(Bad::Row)?;
            let record = Record::try_from(row)
                .map_err(|error| Bad::Stop(StoreError::Read(path.clone(), error.to_string())))?;
            each(record).map_err(Bad::Stop)
        })
    }

    /// The nonces of all whole rows of `requests.csv`.
    pub fn nonces(&self) -> Result<Nonces, StoreError> {
        let mut nonces = Vec::new();
        each_record(&self.file(REQUESTS), |row, headers| {
            let column = headers.iter().position(|name| name == "trace_id");
            nonces.extend(column.and_then(|n| Nonces::parse(row.get(n)?)));
            Ok(())
        })?;
        Ok(Nonces::new(nonces))
    }

    /// Every whole row of `calls.csv`.
    pub fn each_call(&self, each: impl FnMut(CallRecord)) -> Result<bool, StoreError> {
        each_row(&self.file(CALLS), each)
    }

    /// Every whole row of `examples.csv`, if there is one.
    pub fn each_example(&self, each: impl FnMut(Example)) -> Result<bool, StoreError> {
        let path = self.file(EXAMPLES);
        if !path.exists() {
            return Ok(false);
        }
        each_row(&path, each)
    }

    /// Every whole row of `seconds.csv`, if there is one.
    pub fn each_second(&self, each: impl FnMut(Second)) -> Result<bool, StoreError> {
        let path = self.file(SECONDS);
        if !path.exists() {
            return Ok(false);
        }
        each_row(&path, each)
    }

    /// Every whole row of `health.csv`.
    pub fn each_health(&self, each: impl FnMut(Health)) -> Result<bool, StoreError> {
        each_row(&self.file(HEALTH), each)
    }

    /// The entries of `truth.csv`, if there is one.
    pub fn truths(&self) -> Result<Option<KeyedRows<Truth>>, StoreError> {
        self.keyed(TRUTH)
    }

    /// The rows of `lookups.csv`, if there is one.
    pub fn lookups(&self) -> Result<Option<KeyedRows<Lookup>>, StoreError> {
        self.keyed(LOOKUPS)
    }

    /// The rows of `ledger.csv`, if there is one.
    pub fn ledger(&self) -> Result<Option<KeyedRows<LedgerRow>>, StoreError> {
        self.keyed(LEDGER)
    }

    fn keyed<T: Keyed>(&self, name: &str) -> Result<Option<KeyedRows<T>>, StoreError> {
        let path = self.file(name);
        path.exists().then(|| KeyedRows::open(&path)).transpose()
    }

    /// Every interval of the gap log; a torn last line is left out.
    pub fn each_gaps(
        &self,
        mut each: impl FnMut(Endpoint, &hdrhistogram::Histogram<u64>),
    ) -> Result<(), StoreError> {
        let path = self.file(GAPS);
        let failed = |error: io::Error| StoreError::read(&path, &error);
        let bad = |what: String| StoreError::Read(path.clone(), what);
        let mut log = BufReader::new(File::open(&path).map_err(failed)?);
        let mut deserializer = Deserializer::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            log.read_until(b'\n', &mut line).map_err(failed)?;
            if line.last() != Some(&b'\n') {
                return Ok(());
            }
            let Some(entry) = IntervalLogIterator::new(&line).next() else {
                continue;
            };
            let LogEntry::Interval(interval) = entry.map_err(|e| bad(format!("{e:?}")))? else {
                continue;
            };
            let endpoint = interval
                .tag()
                // The endpoint, and from version 2 of the facts on the worker.
                .and_then(|tag| Endpoint::from_name(tag.as_str().split('.').next()?))
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
    }

    /// Opens the fact files, so that a bad path fails before the first request, and starts the
    /// thread that writes them. `trace` says whether there will be [`Fact::Trace`]s.
    ///
    /// [`Fact::Trace`]: crate::record::Fact::Trace
    pub fn start_writer(
        &self,
        started: std::time::SystemTime,
        trace: bool,
    ) -> Result<FactWriter, StoreError> {
        FactWriter::start(
            Paths {
                requests: self.file(REQUESTS),
                calls: self.file(CALLS),
                seconds: self.file(SECONDS),
                health: self.file(HEALTH),
                trace: trace.then(|| self.file(TRACE)),
                gaps: self.file(GAPS),
                examples: self.file(EXAMPLES),
                folder: self.path.clone(),
            },
            started,
        )
    }
}

/// Why a row could not be taken.
enum Bad {
    /// It is damaged.
    Row(csv::Error),
    /// Whoever takes rows does not want to go on.
    Stop(StoreError),
}

/// Every whole row of a CSV file, with the file's headers. What stands after the last line's end is
/// torn: it is left out, even where it looks like a row, since its last number may have lost digits.
fn each_record(
    path: &Path,
    mut each: impl FnMut(&StringRecord, &StringRecord) -> Result<(), Bad>,
) -> Result<bool, StoreError> {
    let failed = |error: io::Error| StoreError::read(path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let whole = end_of_last_line(&mut file, length).map_err(failed)?;
    let torn = whole < length;
    let mut rows = csv::ReaderBuilder::new()
        .buffer_capacity(READ_SIZE)
        .from_reader(file.take(whole));
    let headers = rows
        .headers()
        .map_err(|e| StoreError::row(path, &e))?
        .clone();
    let mut row = StringRecord::new();
    loop {
        let read = match rows.read_record(&mut row) {
            Ok(false) => return Ok(torn),
            Ok(true) => each(&row, &headers),
            Err(error) => Err(Bad::Row(error)),
        };
        match read {
            Ok(()) => {}
            Err(Bad::Stop(error)) => return Err(error),
            // A line break inside a quoted cell can be the last one that was written.
            Err(Bad::Row(_)) if rows.position().byte() >= whole => return Ok(true),
            Err(Bad::Row(error)) => return Err(StoreError::row(path, &error)),
        }
    }
}

/// The same, each as a value of `T`.
fn each_row<T: serde::de::DeserializeOwned>(
    path: &Path,
    mut each: impl FnMut(T),
) -> Result<bool, StoreError> {
    each_record(path, |row, headers| {
        each(row.deserialize(Some(headers)).map_err(Bad::Row)?);
        Ok(())
    })
}

/// Where the last line of a file ends; the file is then at its begin again.
pub(super) fn end_of_last_line(file: &mut File, length: u64) -> io::Result<u64> {
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
