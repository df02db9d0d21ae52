//! Ledgers as they come, and what look-ups come to as it is written.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use csv::StringRecord;
use jiff::{SignedDuration, Timestamp};

use super::{RunFolder, StoreError};
use crate::billing::ledger::{Columns, Entry, Format, Index, Join, Layout, Scope};
use crate::billing::policy::Policy;
use crate::late::{LedgerSummary, Lookup};
use crate::manifest::Manifest;
use crate::money::MoneyError;
use crate::time::Offset;

/// Bytes of a ledger that are read at once.
const READ_SIZE: usize = 64 * 1024;

/// Writes `lookups.csv`, each row at once.
#[derive(Debug)]
pub struct LookupWriter {
    path: PathBuf,
    file: File,
    begun: bool,
}

impl LookupWriter {
    pub(super) fn create(path: PathBuf) -> Result<Self, StoreError> {
        let file = File::create(&path).map_err(|error| StoreError::write(&path, &error))?;
        Ok(Self {
            path,
            file,
            begun: false,
        })
    }

    /// Writes a row.
    pub fn put(&mut self, lookup: &Lookup) -> Result<(), StoreError> {
        let mut row = csv::WriterBuilder::new()
            .has_headers(!self.begun)
            .from_writer(Vec::new());
        self.begun = true;
        row.serialize(lookup)
            .map_err(|error| StoreError::write(&self.path, &error.into()))?;
        let bytes = row.into_inner().expect("nothing is refused by memory");
        self.file
            .write_all(&bytes)
            .map_err(|error| StoreError::write(&self.path, &error))
    }
}

/// A file that a ledger is kept in while it is read; it goes with this.
#[derive(Debug)]
pub struct Download {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Download {
    /// An empty one.
    pub(super) fn create(path: PathBuf) -> Result<Self, StoreError> {
        let file = File::create(&path).map_err(|error| StoreError::write(&path, &error))?;
        Ok(Self {
            path,
            file: BufWriter::new(file),
        })
    }

    /// Takes the next piece.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_all(bytes)
            .map_err(|error| StoreError::write(&self.path, &error))
    }

    /// Where all of it can be read.
    pub fn whole(&mut self) -> Result<&Path, StoreError> {
        self.file
            .flush()
            .map_err(|error| StoreError::write(&self.path, &error))?;
        Ok(&self.path)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // What is joined of it has been kept.
        let _ = fs::remove_file(&self.path);
    }
}

/// A ledger to be joined with a run.
#[derive(Clone, Copy, Debug)]
pub struct LedgerFile<'a> {
    /// The file.
    pub path: &'a Path,
    /// What it is called in errors and reports.
    pub name: &'a str,
    /// Its format.
    pub format: Format,
    /// Which columns of a CSV hold what.
    pub columns: Option<&'a Columns>,
}

/// Joins a ledger with the attempts of `index` and keeps what it came to in `folder`. Returns that, and
/// how many complete answers have no row.
pub fn join_ledger(
    folder: &RunFolder,
    index: &Index,
    scope: Scope,
    ledger: LedgerFile<'_>,
) -> Result<(LedgerSummary, u64), StoreError> {
    join(folder, index, scope, ledger, false)
}

/// The same with a ledger that comes after the run. One that joins no attempt is an error: it is of
/// another run, or has other ids, and what is kept of an earlier one stays.
pub fn join_later_ledger(
    folder: &RunFolder,
    index: &Index,
    scope: Scope,
    ledger: LedgerFile<'_>,
) -> Result<(), StoreError> {
    join(folder, index, scope, ledger, true).map(|_| ())
}

fn join(
    folder: &RunFolder,
    index: &Index,
    scope: Scope,
    ledger: LedgerFile<'_>,
    must_join: bool,
) -> Result<(LedgerSummary, u64), StoreError> {
    let mut kept = folder.start_ledger()?;
    let mut join = Join::new(index, scope);
    let money = |error: MoneyError| StoreError::Read(ledger.name.into(), error.to_string());
    let format = each_entry(ledger, |entry| match join.take(entry).map_err(money)? {
        Some(row) => kept.put(&row),
        None => Ok(()),
    })?;
    let missing = join.missing();
    let (rows, mut summary) = join.finish();
    rows.iter().try_for_each(|row| kept.put(row))?;
    ledger.name.clone_into(&mut summary.source);
    format.name().clone_into(&mut summary.format);
    if must_join && summary.joined == 0 {
        let what = format!(
            "none of its {} rows joins an attempt of this run, and nothing of the run was changed; is it \
             the ledger of this run, and do its ids stand in its columns?",
            summary.rows
        );
        return Err(StoreError::Read(ledger.name.into(), what));
    }
    // Without the rows their summary would say what nobody can see.
    kept.finish()?;
    folder.write_ledger_summary(&summary)?;
    Ok((summary, missing))
}

/// The attempts of a run, and its time. `policy` says which of them may be charged, and `models` are
/// those that were asked for.
pub fn index_of(
    folder: &RunFolder,
    manifest: &Manifest,
    policy: Policy,
) -> Result<(Index, Scope), StoreError> {
    let mut index = Index::new(manifest.models.iter().cloned());
    let mut last_ns = manifest.duration_ns.unwrap_or(0);
    folder.each_request(|record| {
        let ended = record.ended.or(record.sent);
        last_ns = last_ns.max(ended.map_or(0, Offset::nanos));
        index.add(&record, policy);
        Ok(())
    })?;
    let start: Timestamp = manifest.started_at.parse().map_err(|_| {
        let what = format!("`{}` is no time", manifest.started_at);
        StoreError::Read(folder.path().join("run.json"), what)
    })?;
    let took = SignedDuration::from_nanos(i64::try_from(last_ns).unwrap_or(i64::MAX));
    let end = start.saturating_add(took).unwrap_or(Timestamp::MAX);
    Ok((index.finish(), Scope::new(start, end)))
}

/// Whether the columns of a ledger say what is needed; its rows are not read.
pub fn check_ledger(ledger: LedgerFile<'_>) -> Result<(), StoreError> {
    open(ledger).map(|_| ())
}

/// Every row of a ledger, in order. Returns its format.
fn each_entry(
    ledger: LedgerFile<'_>,
    mut each: impl FnMut(Entry) -> Result<(), StoreError>,
) -> Result<Format, StoreError> {
    let (mut rows, layout) = open(ledger)?;
    let mut row = StringRecord::new();
    while rows
        .read_record(&mut row)
        .map_err(|error| StoreError::row(Path::new(ledger.name), &error))?
    {
        let line = row.position().map_or(0, csv::Position::line);
        each(layout.entry(line, &row))?;
    }
    Ok(layout.format())
}

/// A ledger before its first row.
fn open(ledger: LedgerFile<'_>) -> Result<(csv::Reader<File>, Layout), StoreError> {
    let name = Path::new(ledger.name);
    let file = File::open(ledger.path).map_err(|error| StoreError::read(name, &error))?;
    let mut rows = csv::ReaderBuilder::new()
        .buffer_capacity(READ_SIZE)
        .from_reader(file);
    let headers = rows
        .headers()
        .map_err(|error| StoreError::row(name, &error))?;
    let layout = Layout::find(ledger.format, ledger.columns, headers)
        .map_err(|error| StoreError::Read(name.to_owned(), error.to_string()))?;
    Ok((rows, layout))
}
