//! Files of rows that are about a request, found by its id without being held in memory: `truth.csv`,
//! `lookups.csv`, `ledger.csv`.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::BufWriter;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use csv::{Position, StringRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use super::folder::end_of_last_line;
use crate::late::{LedgerRow, Lookup};
use crate::truth::Truth;

/// Bytes read at once: rows are looked up in about the order in which they stand.
const READ_SIZE: usize = 16 * 1024;

/// A row about a request.
pub trait Keyed: Serialize + DeserializeOwned {
    /// The column with the request's id.
    const COLUMN: &'static str;
    /// Columns of which it is known whether any row has something in them.
    const WATCHED: &'static [&'static str] = &[];

    /// The request's id; `None` if it is about none.
    fn key(&self) -> Option<&str>;
}

impl Keyed for Truth {
    const COLUMN: &'static str = "nonce";
    const WATCHED: &'static [&'static str] = &["text_sha256", "reasoning_sha256"];

    fn key(&self) -> Option<&str> {
        Some(&self.nonce)
    }
}

impl Keyed for Lookup {
    const COLUMN: &'static str = "trace_id";

    fn key(&self) -> Option<&str> {
        Some(&self.trace_id)
    }
}

impl Keyed for LedgerRow {
    const COLUMN: &'static str = "trace_id";

    fn key(&self) -> Option<&str> {
        self.trace_id.as_deref()
    }
}

/// Writes a file row by row; it is there once it is whole.
#[derive(Debug)]
pub struct KeyedWriter<T> {
    path: PathBuf,
    draft: PathBuf,
    rows: csv::Writer<BufWriter<File>>,
    of: PhantomData<T>,
}

impl<T: Keyed> KeyedWriter<T> {
    pub(super) fn create(path: PathBuf, draft: PathBuf) -> Result<Self, StoreError> {
        let file = File::create(&draft).map_err(|error| StoreError::write(&path, &error))?;
        Ok(Self {
            path,
            draft,
            rows: csv::Writer::from_writer(BufWriter::new(file)),
            of: PhantomData,
        })
    }

    /// Takes a row.
    pub fn put(&mut self, row: &T) -> Result<(), StoreError> {
        self.rows
            .serialize(row)
            .map_err(|error| StoreError::write(&self.path, &error.into()))
    }

    /// Puts the file into its place.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.rows
            .flush()
            .and_then(|()| fs::rename(&self.draft, &self.path))
            .map_err(|error| StoreError::write(&self.path, &error))
    }
}

impl<T> Drop for KeyedWriter<T> {
    fn drop(&mut self) {
        // Half a file is of no use to anyone; a whole one has another name by now.
        let _ = fs::remove_file(&self.draft);
    }
}

/// The rows of a file by their request: 16 bytes of memory each, the rest on the disk.
#[derive(Debug)]
pub struct KeyedRows<T> {
    path: PathBuf,
    headers: StringRecord,
    rows: csv::Reader<File>,
    row: StringRecord,
    /// (hash of the id, offset in the file), sorted: rows of one request in the file's order.
    index: Vec<(u64, u64)>,
    watched: bool,
    torn: bool,
    found: Vec<T>,
}

impl<T: Keyed> KeyedRows<T> {
    /// What stands behind the last line's end is torn, and left out.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| StoreError::read(path, &error);
        let mut file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let whole = end_of_last_line(&mut file, length).map_err(failed)?;
        let mut rows = csv::ReaderBuilder::new()
            .buffer_capacity(READ_SIZE)
            .from_reader(file);
        let damaged = |error: csv::Error| StoreError::row(path, &error);
        let headers = rows.headers().map_err(damaged)?.clone();
        let column = |name: &str| headers.iter().position(|header| header == name);
        let key = column(T::COLUMN);
        let watched_columns: Vec<usize> = T::WATCHED.iter().filter_map(|n| column(n)).collect();
        let (mut index, mut watched) = (Vec::new(), false);
        let mut row = StringRecord::new();
        while rows.position().byte() < whole && rows.read_record(&mut row).map_err(damaged)? {
            let offset = row.position().map_or(0, Position::byte);
            let id = key.and_then(|n| row.get(n)).unwrap_or_default();
            if !id.is_empty() {
                index.push((hash(id), offset));
            }
            let mut cells = watched_columns.iter().filter_map(|n| row.get(*n));
            watched |= cells.any(|cell| !cell.is_empty());
        }
        index.sort_unstable();
        Ok(Self {
            path: path.to_owned(),
            headers,
            rows,
            row,
            index,
            watched,
            torn: whole < length,
            found: Vec::new(),
        })
    }

    /// Whether the file ends in the middle of a row.
    pub const fn is_torn(&self) -> bool {
        self.torn
    }

    /// The rows about the request `id` that `keep` holds for, in the file's order.
    pub fn of(&mut self, id: &str, keep: impl Fn(&T) -> bool) -> Result<&[T], StoreError> {
        self.found.clear();
        let hash = hash(id);
        let first = self.index.partition_point(|(other, _)| *other < hash);
        for at in first..self.index.len() {
            let (other, offset) = self.index[at];
            if other != hash {
                break;
            }
            let row = self
                .read(offset)
                .map_err(|error| StoreError::row(&self.path, &error))?;
            // Two ids can have one hash.
            if row.key() == Some(id) && keep(&row) {
                self.found.push(row);
            }
        }
        Ok(&self.found)
    }

    fn read(&mut self, offset: u64) -> csv::Result<T> {
        let mut position = Position::new();
        position.set_byte(offset);
        self.rows.seek(position)?;
        self.rows.read_record(&mut self.row)?;
        self.row.deserialize(Some(&self.headers))
    }
}

impl KeyedRows<Truth> {
    /// Whether any entry has a digest of a text.
    pub const fn has_texts(&self) -> bool {
        self.watched
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}
