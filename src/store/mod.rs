//! Every file that is read or written, and nothing but that.

mod folder;
mod inputs;
mod journal;
mod keyed;
mod ledger;
mod pairs;
mod rows;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

pub use folder::RunFolder;
pub use inputs::{Inputs, load_inputs, read_file, read_prices, write_file};
pub use journal::{JournalReader, Nonces, read_truth_file};
pub use keyed::{Keyed, KeyedRows, KeyedWriter};
pub use ledger::{Download, LedgerFile, LookupWriter, index_of, join_later_ledger, join_ledger};
pub use pairs::PairsFolder;
pub use writer::{FactWriter, Queue};

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading failed.
    #[error("{}: {}", .0.display(), .1)]
    Read(PathBuf, String),
    /// Writing failed.
    #[error("cannot write {}: {}", .0.display(), .1)]
    Write(PathBuf, String),
    /// The output folder has something in it.
    #[error("{} is not empty; name a new folder with `--out`, so that no earlier run is lost", .0.display())]
    NotEmpty(PathBuf),
    /// There is no run in the folder.
    #[error("{} holds no run: `run.json` is missing; name a folder that `weighbridge run` has written", .0.display())]
    NoRun(PathBuf),
    /// The facts are of a version that is not known here.
    #[error("{}: facts of schema `{found}`, which this version does not know; use the version that wrote them, or a later one", path.display())]
    Schema {
        /// The manifest.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// A row is damaged.
    #[error("{place}: {message}")]
    Row {
        /// `file:line`.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// A scenario is wrong.
    #[error(transparent)]
    Scenario(#[from] crate::scenario::ScenarioError),
    /// A price table is wrong.
    #[error(transparent)]
    Prices(#[from] crate::billing::prices::PriceError),
    /// The configuration of the offline upstream is wrong.
    #[error(transparent)]
    Upstream(#[from] mock_upstream::config::ConfigError),
    /// A file of due times is wrong.
    #[error(transparent)]
    Replay(#[from] crate::schedule::ReplayError),
}

impl StoreError {
    fn read(path: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => error.to_string(),
        };
        Self::Read(path.to_owned(), hint)
    }

    fn write(path: &Path, error: &io::Error) -> Self {
        use io::ErrorKind::{
            FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
        };
        let hint = match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => {
                "; make room, or name a place that has some with `--out`: what was written stays, and `weighbridge report` reads it"
            }
            PermissionDenied | ReadOnlyFilesystem => {
                "; name a place that can be written to with `--out`"
            }
            _ => "",
        };
        Self::Write(path.to_owned(), format!("{error}{hint}"))
    }

    fn row(path: &Path, error: &csv::Error) -> Self {
        let line = error.position().map_or(0, csv::Position::line);
        Self::Row {
            place: format!("{}:{line}", path.display()),
            message: error.to_string(),
        }
    }
}
