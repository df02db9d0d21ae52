//! The folder of a command that loads two arms in turns: `pairs.json`, a run folder for each arm of each
//! level, and what is made of them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{RunFolder, StoreError};
use crate::manifest::{PAIRS_SCHEMA, Pairs};

const PAIRS: &str = "pairs.json";

/// The folder of a command that loads two arms in turns.
#[derive(Clone, Debug)]
pub struct PairsFolder {
    path: PathBuf,
}

impl PairsFolder {
    /// Makes a new folder at `path`, which must not exist or be empty, so that nothing is lost.
    pub fn create(path: &Path, pairs: &Pairs) -> Result<Self, StoreError> {
        let failed = |error: io::Error| StoreError::write(path, &error);
        fs::create_dir_all(path).map_err(failed)?;
        if fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(StoreError::NotEmpty(path.to_owned()));
        }
        let mut file = match File::create_new(path.join(PAIRS)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StoreError::NotEmpty(path.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        };
        let mut text = serde_json::to_string_pretty(pairs).expect("plain JSON");
        text.push('\n');
        file.write_all(text.as_bytes()).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The folder of an earlier command; `None` if there is none at `path`.
    pub fn open(path: &Path) -> Option<Self> {
        path.join(PAIRS).is_file().then(|| Self {
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `pairs.json`.
    pub fn pairs(&self) -> Result<Pairs, StoreError> {
        let path = self.path.join(PAIRS);
        let text = fs::read(&path).map_err(|error| StoreError::read(&path, &error))?;
        let pairs: Pairs = serde_json::from_slice(&text)
            .map_err(|error| StoreError::Read(path.clone(), error.to_string()))?;
        if pairs.schema != PAIRS_SCHEMA {
            return Err(StoreError::Schema {
                path,
                found: pairs.schema,
            });
        }
        Ok(pairs)
    }

    /// Makes the folder of one arm's run.
    pub fn create_run(&self, name: &str) -> Result<RunFolder, StoreError> {
        RunFolder::create(&self.path.join(name))
    }

    /// The folder of one arm's run; `None` if it never began.
    pub fn run(&self, name: &str) -> Option<RunFolder> {
        RunFolder::open(&self.path.join(name)).ok()
    }

    /// Writes a file that is made of the runs, as a whole.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (path, draft) = (
            self.path.join(name),
            self.path.join(format!(".{name}.draft")),
        );
        fs::write(&draft, bytes)
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|error| {
                // Half a file is of no use to anyone; that it stays is no further error.
                let _ = fs::remove_file(&draft);
                StoreError::write(&path, &error)
            })
    }
}
