//! How far an import came, so that the next run of the same import goes on there. Losing the note costs time
//! only: what was loaded before is a duplicate.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::lake::write_private;

#[derive(Debug)]
pub(super) struct ProgressNote {
    path: PathBuf,
    text: Text,
    written: Option<Instant>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Text {
    file: PathBuf,
    /// Rows that are in the log, in the order of the import.
    rows: u64,
}

/// The note is written at the first rows, and then so often.
const EVERY: Duration = Duration::from_secs(1);

impl ProgressNote {
    /// Finds the note of an import: of the same bytes by the same mapping.
    pub(super) fn open(dir: &Path, file: &Path, hash: &str, mapping: &str) -> anyhow::Result<Self> {
        let name: String = Sha256::new()
            .chain_update(hash)
            .chain_update(mapping)
            .finalize()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let path = dir.join("imports").join(format!("{name}.json"));
        let found = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let text = found.unwrap_or_else(|| Text { file: file.to_owned(), rows: 0 });
        fs::create_dir_all(dir.join("imports")).context("creating the folder `imports`")?;
        Ok(Self { path, text, written: None })
    }

    /// A folder for this import alone.
    pub(super) fn folder(&self) -> PathBuf {
        self.path.with_extension("")
    }

    pub(super) fn rows(&self) -> u64 {
        self.text.rows
    }

    /// Notes that more rows are in the log.
    pub(super) fn add(&mut self, rows: u64) -> anyhow::Result<()> {
        self.text.rows += rows;
        if self.written.is_none_or(|written| written.elapsed() >= EVERY) {
            write_private(&self.path, &serde_json::to_vec(&self.text)?)
                .context("noting how far the import came")?;
            self.written = Some(Instant::now());
        }
        Ok(())
    }

    /// The import is complete.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("removing the note of the import")
            }
            _ => Ok(()),
        }
    }
}
