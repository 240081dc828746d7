//! Keeps the record of an import that is under way, so that the next run of the same import goes on there.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use analytics::imports::{self, ENTRY_BYTES, EntryMark, ImportRecord, ImportState, ROWS_MAX};
use anyhow::{Context, bail};
use ingest::{identity::Key, log::Lsn};
use state::clock::Clock;

use super::tally::Tally;

#[derive(Debug)]
pub(super) struct Progress {
    dir: PathBuf,
    record: ImportRecord,
    /// No other process has it.
    keys: File,
    written: Option<Instant>,
    /// Events of imports that were undone, and rows of this one that name them and do not count.
    undone: HashMap<Key, String>,
    voided: BTreeMap<String, u64>,
}

/// The end of the file of identities. They are kept before their rows are sent: what comes of an import can be undone,
/// whatever happens meanwhile.
#[derive(Debug)]
pub(super) struct KeyFile {
    file: File,
    end: u64,
}

/// What an import is of.
#[derive(Debug)]
pub(super) struct ImportStart<'a> {
    pub(super) file: &'a Path,
    pub(super) sha256: &'a str,
    pub(super) rows: u64,
    pub(super) mapping: &'a str,
    pub(super) source: &'a str,
    pub(super) replaces: Option<&'a str>,
    pub(super) since: Lsn,
}

/// Where the identities of some rows are kept.
#[derive(Debug)]
pub(super) struct KeyRange {
    start: u64,
    bytes: Vec<u8>,
}

/// The record is written at the first rows, and then so often.
const EVERY: Duration = Duration::from_secs(1);

impl Progress {
    /// Goes on with an import that was broken off, or begins one.
    pub(super) fn open(
        dir: &Path,
        begun: &ImportStart<'_>,
    ) -> anyhow::Result<(Self, Option<KeyFile>)> {
        let id = begun.id();
        let keys = ImportRecord::lock(dir, &id)?;
        let now = Clock::system().now();
        let record = match ImportRecord::find(dir, &id)? {
            Some(record) => match record.state {
                ImportState::Incomplete => record,
                // What is new by the rules of now comes in; all else is known.
                ImportState::Complete => ImportRecord {
                    state: ImportState::Incomplete,
                    rows: 0,
                    duplicate: 0,
                    rejected: 0,
                    ..record
                },
                ImportState::Undoing | ImportState::Undone => bail!(
                    "{} was imported before as {id}, and undone: its events would be known, and not count. \
                     `--replace {id}` imports it again",
                    begun.file.display()
                ),
            },
            None => ImportRecord {
                id,
                file: std::path::absolute(begun.file)?,
                sha256: begun.sha256.to_owned(),
                source: begun.source.to_owned(),
                state: ImportState::Incomplete,
                started_at: now,
                updated_at: now,
                since: begun.since,
                ends: Vec::new(),
                rows: 0,
                accepted: 0,
                duplicate: 0,
                rejected: 0,
                can_be_undone: begun.rows <= ROWS_MAX,
                replaces: begun.replaces.map(ToOwned::to_owned),
                replaced_by: None,
            },
        };
        // An entry that was not written whole is of a row that was not sent.
        let length = keys.metadata().with_context(|| failed(&record.id))?.len();
        let end = length - length % ENTRY_BYTES as u64;
        let file = keys.try_clone().with_context(|| failed(&record.id))?;
        let kept = record.can_be_undone.then_some(KeyFile { file, end });
        let undone = undone(dir, &record)?;
        let voided = BTreeMap::new();
        let dir = dir.to_owned();
        let mut progress = Self { dir, record, keys, written: None, undone, voided };
        progress.write()?;
        progress.written = None;
        Ok((progress, kept))
    }

    /// A folder for this import alone.
    pub(super) fn folder(&self) -> PathBuf {
        imports::folder(&self.dir).join(&self.record.id)
    }

    pub(super) fn rows(&self) -> u64 {
        self.record.rows
    }

    /// Notes what became of more rows: which of them were accepted, and are in the log.
    pub(super) fn settled(
        &mut self,
        accepted: &[bool],
        kept: Option<KeyRange>,
        tally: &Tally,
    ) -> anyhow::Result<()> {
        if let Some(KeyRange { start, mut bytes }) = kept {
            let entries = bytes.as_chunks_mut::<ENTRY_BYTES>().0.iter_mut();
            for (entry, is_accepted) in entries.zip(accepted) {
                let is_own = entry[0] == EntryMark::Sent as u8 && *is_accepted;
                let key = Key(std::array::from_fn(|at| entry[1 + at]));
                if let Some(import) = self.undone.get(&key).filter(|_| !is_own) {
                    *self.voided.entry(import.clone()).or_default() += 1;
                }
                entry[0] = if is_own { EntryMark::Accepted } else { EntryMark::Foreign } as u8;
            }
            self.keys.write_all_at(&bytes, start).with_context(|| failed(&self.record.id))?;
        }
        self.record.rows += accepted.len() as u64;
        self.record.accepted += tally.accepted;
        self.record.duplicate += tally.duplicate;
        self.record.rejected += tally.rejected();
        if self.written.is_none_or(|written| written.elapsed() >= EVERY) {
            self.write()?;
        }
        Ok(())
    }

    /// The import is complete. Gives its id, and how many of its rows are events of imports that were undone.
    pub(super) fn finish(mut self) -> anyhow::Result<(String, BTreeMap<String, u64>)> {
        self.record.state = ImportState::Complete;
        self.write()?;
        Ok((self.record.id, self.voided))
    }

    fn write(&mut self) -> anyhow::Result<()> {
        self.keys.sync_data().with_context(|| failed(&self.record.id))?;
        self.record.updated_at = Clock::system().now();
        self.record.write(&self.dir)?;
        self.written = Some(Instant::now());
        Ok(())
    }
}

/// The events of imports under the same source that were undone, and that this one does not enter again.
fn undone(dir: &Path, record: &ImportRecord) -> anyhow::Result<HashMap<Key, String>> {
    let mut events = HashMap::new();
    for other in ImportRecord::list(dir)? {
        let is_undone = other.state == ImportState::Undone && other.replaced_by.is_none();
        if is_undone && other.source == record.source {
            events.extend(other.keys(dir)?.into_keys().map(|key| (key, other.id.clone())));
        }
    }
    Ok(events)
}

impl KeyFile {
    /// Keeps the identities of rows that are about to be sent.
    pub(super) fn append(&mut self, keys: &[Option<Key>]) -> anyhow::Result<KeyRange> {
        let mut bytes = Vec::with_capacity(keys.len() * ENTRY_BYTES);
        for key in keys {
            bytes.push(if key.is_some() { EntryMark::Sent } else { EntryMark::Foreign } as u8);
            bytes.extend_from_slice(&key.map_or([0; 16], |key| key.0));
        }
        let start = self.end;
        let written = self.file.write_all_at(&bytes, start).and_then(|()| self.file.sync_data());
        written.context("keeping the identities of the events")?;
        self.end += bytes.len() as u64;
        Ok(KeyRange { start, bytes })
    }
}

impl ImportStart<'_> {
    pub(super) fn id(&self) -> String {
        ImportRecord::id_of(self.sha256, self.mapping, self.replaces)
    }
}

fn failed(id: &str) -> String {
    format!("keeping the identities of the import {id}")
}
