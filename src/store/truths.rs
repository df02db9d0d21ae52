//! `truth.csv`: what the journal says of a run's requests, found by nonce without being held in
//! memory.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use csv::{Position, StringRecord};

use super::StoreError;
use crate::truth::Truth;

/// Bytes read at once: entries are looked up in about the order in which they stand.
const READ_SIZE: usize = 16 * 1024;

/// Writes `truth.csv` entry by entry; it is there once it is whole.
#[derive(Debug)]
pub struct TruthWriter {
    path: PathBuf,
    draft: PathBuf,
    rows: csv::Writer<BufWriter<File>>,
}

impl TruthWriter {
    pub(super) fn create(path: PathBuf, draft: PathBuf) -> Result<Self, StoreError> {
        let file = File::create(&draft).map_err(|error| StoreError::write(&path, &error))?;
        Ok(Self {
            path,
            draft,
            rows: csv::Writer::from_writer(BufWriter::new(file)),
        })
    }

    /// Takes an entry.
    pub fn put(&mut self, truth: &Truth) -> Result<(), StoreError> {
        self.rows
            .serialize(truth)
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

impl Drop for TruthWriter {
    fn drop(&mut self) {
        // Half a file is of no use to anyone; a whole one has another name by now.
        let _ = fs::remove_file(&self.draft);
    }
}

/// The entries of a `truth.csv` by their nonce: 16 bytes of memory each, the rest on the disk.
#[derive(Debug)]
pub struct Truths {
    path: PathBuf,
    headers: StringRecord,
    rows: csv::Reader<File>,
    row: StringRecord,
    /// (hash of the nonce, offset in the file), sorted: entries of one nonce in the file's order.
    index: Vec<(u64, u64)>,
    has_texts: bool,
    found: Vec<Truth>,
}

impl Truths {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|error| StoreError::read(path, &error))?;
        let mut rows = csv::ReaderBuilder::new()
            .buffer_capacity(READ_SIZE)
            .from_reader(file);
        let damaged = |error: csv::Error| StoreError::row(path, &error);
        let headers = rows.headers().map_err(damaged)?.clone();
        let column = |name: &str| headers.iter().position(|header| header == name);
        let nonce = column("nonce").unwrap_or(0);
        let texts = [column("text_sha256"), column("reasoning_sha256")];
        let (mut index, mut has_texts) = (Vec::new(), false);
        let mut row = StringRecord::new();
        while rows.read_record(&mut row).map_err(damaged)? {
            let offset = row.position().map_or(0, Position::byte);
            index.push((hash(row.get(nonce).unwrap_or_default()), offset));
            let text = |column: &Option<usize>| column.and_then(|n| row.get(n));
            has_texts |= texts.iter().filter_map(text).any(|text| !text.is_empty());
        }
        index.sort_unstable();
        Ok(Self {
            path: path.to_owned(),
            headers,
            rows,
            row,
            index,
            has_texts,
            found: Vec::new(),
        })
    }

    /// Whether any entry has a digest of a text.
    pub const fn has_texts(&self) -> bool {
        self.has_texts
    }

    /// The entries of `nonce`, in the order in which the upstream received them.
    pub fn of(&mut self, nonce: &str) -> Result<&[Truth], StoreError> {
        self.found.clear();
        let hash = hash(nonce);
        let first = self.index.partition_point(|(other, _)| *other < hash);
        for at in first..self.index.len() {
            let (other, offset) = self.index[at];
            if other != hash {
                break;
            }
            let truth = self
                .read(offset)
                .map_err(|error| StoreError::row(&self.path, &error))?;
            // Two nonces can have one hash.
            if truth.nonce == nonce {
                self.found.push(truth);
            }
        }
        Ok(&self.found)
    }

    fn read(&mut self, offset: u64) -> csv::Result<Truth> {
        let mut position = Position::new();
        position.set_byte(offset);
        self.rows.seek(position)?;
        self.rows.read_record(&mut self.row)?;
        self.row.deserialize(Some(&self.headers))
    }
}

fn hash(nonce: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    nonce.hash(&mut hasher);
    hasher.finish()
}
