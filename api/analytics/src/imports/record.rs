//! What is known of an import: how far it came, so that it can go on; and which events it made, so that they can be
//! taken back together. `imports/` in the data folder has for each import a file of JSON, and one of identities.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use ingest::{identity::Key, log::Lsn};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use state::folder::{self, write_private};
use strum::IntoStaticStr;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImportRecord {
    pub id: String,
    pub file: PathBuf,
    /// Of the file's bytes.
    pub sha256: String,
    pub source: String,
    pub state: ImportState,
    pub started_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The newest row before the import began.
    pub since: Lsn,
    /// For each run that was broken off the newest row there was before anybody wrote again.
    pub ends: Vec<Lsn>,
    /// Rows of the file that have their verdicts, in the order of the import.
    pub rows: u64,
    pub accepted: u64,
    pub duplicate: u64,
    /// With the rows that cannot be read.
    pub rejected: u64,
    /// Whether its identities are kept: those of a large file are not.
    pub can_be_undone: bool,
    /// The import in whose place it came.
    pub replaces: Option<String>,
    /// The import that came in its place.
    pub replaced_by: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum ImportState {
    /// It runs, or was broken off.
    Incomplete,
    Complete,
    /// Some of its events may be taken back.
    Undoing,
    Undone,
}

/// Why an import cannot be found or used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("there is no import {0}; `aihub import list` shows them")]
    Unknown(String),
    #[error("the import {0} is at work in another process")]
    Busy(String),
    #[error(
        "the import {0} is of more than {ROWS_MAX} rows: it cannot be undone. A backup from before it can be restored"
    )]
    TooLarge(String),
    #[error("no import comes in the place of {0} now; `aihub import --replace {0}` does that")]
    NotReplaced(String),
    #[error("the import {0} was replaced by {1}")]
    Replaced(String, String),
    #[error("the import {0} was not undone: its events count")]
    Counts(String),
    #[error(
        "what is known of the events of {0} is not complete: it cannot be undone. A backup can be restored"
    )]
    Incomplete(String),
    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// The identities of the events of a larger file are not kept: each that is taken back costs later queries memory.
pub const ROWS_MAX: u64 = 1_000_000;

/// Runs of one import that may be broken off.
const RUNS_MAX: usize = 200;

/// What is kept of a row: a mark, and the identity of its event.
pub const ENTRY_BYTES: usize = 17;

/// What became of the event of a row. From [`BROKEN_OFF`] on: no answer came in the run with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryMark {
    /// No answer came yet: it may have been accepted.
    Sent = 0,
    Accepted = 1,
    /// It is not of this import: rejected, or there before.
    Foreign = 2,
}

const BROKEN_OFF: u8 = 3;

impl ImportRecord {
    /// An import is the same when the same bytes come by the same mapping, in the place of the same one.
    pub fn id_of(sha256: &str, mapping: &str, replaces: Option<&str>) -> String {
        let digest = Sha256::new()
            .chain_update(sha256)
            .chain_update(mapping)
            .chain_update(replaces.unwrap_or_default())
            .finalize();
        let digits = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
        format!("imp_{}", digits.collect::<String>())
    }

    /// `None` where there is none. One that is not readable is no reason to begin anew: what it says would be lost.
    pub fn find(dir: &Path, id: &str) -> Result<Option<Self>, RecordError> {
        let Some(digits) = id.strip_prefix("imp_") else { return Ok(None) };
        if digits.len() != 16 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let path = path(dir, id, "json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| RecordError::File { path, source: error.into() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RecordError::File { path, source }),
        }
    }

    pub fn get(dir: &Path, id: &str) -> Result<Self, RecordError> {
        Self::find(dir, id)?.ok_or_else(|| RecordError::Unknown(id.to_owned()))
    }

    /// All of a data folder, the oldest first.
    pub fn list(dir: &Path) -> Result<Vec<Self>, RecordError> {
        let folder = folder(dir);
        let failed = |source| RecordError::File { path: folder.clone(), source };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut records = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            records.extend(id.map(|id| Self::find(dir, id)).transpose()?.flatten());
        }
        records.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        Ok(records)
    }

    pub fn write(&self, dir: &Path) -> Result<(), RecordError> {
        let path = path(dir, &self.id, "json");
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        let written = text.and_then(|text| write_private(&path, &text));
        written.map_err(|source| RecordError::File { path, source })
    }

    /// The file of its identities, which nobody else uses as long as it is held.
    pub fn lock(dir: &Path, id: &str) -> Result<File, RecordError> {
        let path = path(dir, id, "keys");
        let failed = |source| RecordError::File { path: path.clone(), source };
        fs::create_dir_all(folder(dir)).map_err(failed)?;
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(RecordError::Busy(id.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The identities of the events that it made, or may have made, each with the last LSN that its row may have.
    pub fn keys(&self, dir: &Path) -> Result<HashMap<Key, Lsn>, RecordError> {
        if !self.can_be_undone {
            return Err(RecordError::TooLarge(self.id.clone()));
        }
        let path = path(dir, &self.id, "keys");
        let entries = match fs::read(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(RecordError::File { path, source }),
        };
        let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
        let mut keys = HashMap::new();
        for entry in entries {
            let last = match entry[0] {
                0 | 1 => Lsn::MAX,
                2 => continue,
                run => match self.ends.get(usize::from(run - BROKEN_OFF)) {
                    Some(end) => *end,
                    None => return Err(RecordError::Incomplete(self.id.clone())),
                },
            };
            let key = Key(std::array::from_fn(|at| entry[1 + at]));
            let known = keys.entry(key).or_insert(last);
            *known = last.max(*known);
        }
        if (keys.len() as u64) < self.accepted && self.state != ImportState::Undone {
            return Err(RecordError::Incomplete(self.id.clone()));
        }
        Ok(keys)
    }

    /// Notes of imports that were broken off that the rows from here on are of others. Called before anything is written,
    /// `newest` being the newest row.
    pub fn record_interrupted(dir: &Path, newest: Lsn) -> Result<(), RecordError> {
        for mut record in Self::list(dir)? {
            if record.state != ImportState::Incomplete || record.ends.len() >= RUNS_MAX {
                continue;
            }
            let file = match Self::lock(dir, &record.id) {
                Ok(file) => file,
                // It is at work.
                Err(RecordError::Busy(_)) => continue,
                Err(error) => return Err(error),
            };
            let path = path(dir, &record.id, "keys");
            let failed = |source| RecordError::File { path: path.clone(), source };
            let mut entries = fs::read(&path).map_err(failed)?;
            let run = BROKEN_OFF + u8::try_from(record.ends.len()).unwrap_or(0);
            let mut is_doubtful = false;
            for entry in entries.as_chunks_mut::<ENTRY_BYTES>().0 {
                if entry[0] == EntryMark::Sent as u8 {
                    entry[0] = run;
                    is_doubtful = true;
                }
            }
            if is_doubtful {
                record.ends.push(newest);
                record.write(dir)?;
                file.write_all_at(&entries, 0).and_then(|()| file.sync_data()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Says which the identities of its events are.
    pub fn keep(&self, dir: &Path, events: &HashSet<Key>) -> Result<(), RecordError> {
        let entries: Vec<u8> = events
            .iter()
            .flat_map(|key| std::iter::once(EntryMark::Accepted as u8).chain(key.0))
            .collect();
        let path = path(dir, &self.id, "keys");
        write_private(&path, &entries).map_err(|source| RecordError::File { path, source })
    }
}

impl ImportState {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Copies what is known of all imports to another data folder. The identities follow the record: of an import that is
/// under way, some may be of rows that the record does not count yet.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let from = folder(from);
    if !from.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder(to))?;
    for extension in ["json", "keys"] {
        for entry in fs::read_dir(&from)? {
            let path = entry?.path();
            if path.extension().is_some_and(|known| known == extension) {
                fs::copy(&path, folder(to).join(path.file_name().unwrap_or_default()))?;
            }
        }
    }
    Ok(())
}

pub fn folder(dir: &Path) -> PathBuf {
    folder::IMPORTS.of(dir)
}

fn path(dir: &Path, id: &str, extension: &str) -> PathBuf {
    folder(dir).join(format!("{id}.{extension}"))
}
