//! The write-ahead log: a directory of segments, each a run of records with dense row numbers (LSNs).
//!
//! ```text
//! LOG/log.json                     format, log id, shards
//! LOG/lock                         held by the one process that writes
//! LOG/retired                      the highest LSN that tables and index hold durably
//! LOG/00000000000000000001.seg     records from that LSN on
//! ```
//!
//! A record is acknowledged only after its bytes were fsynced. Readers of other processes follow the files;
//! they are told how far to read (the cut), so a damaged record at or below the cut is damage, and above it
//! simply the end. Segments are unlinked, never recycled.

mod record;
mod tail;
mod writer;

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::Error;
pub use record::Record;
pub use tail::Tail;
pub use writer::{AppendStats, LogWriter};
pub(crate) use writer::{retire, unlink_retired};

/// Numbers a row within its log: 1, 2, 3, … without a gap.
pub type Lsn = u64;

/// Names a log, never reused: a random number, positive so that every reader of the tables can hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(pub i64);

/// `log.json`: what a log is. Its id and its shards are decided when it is created.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    format: u32,
    pub log: LogId,
    /// Routing and deduplication ownership are counted in shards; the number never changes.
    shards: u32,
}

/// Version 2 has records that leave columns out. Version 1 is read, and becomes version 2 when it is written to.
const FORMAT: u32 = 2;
const SHARDS: u32 = 64;

/// Reads the description of a log; `None` where there is no log yet.
pub fn describe(dir: &Path) -> Result<Option<Description>, Error> {
    let path = dir.join("log.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(&path)(error)),
    };
    let description: Description = serde_json::from_slice(&text)
        .map_err(|source| Error::Description { path: path.clone(), source })?;
    if description.format > FORMAT {
        return Err(Error::NewerFormat { path, found: description.format, supported: FORMAT });
    }
    Ok(Some(description))
}

/// The highest LSN that tables and index hold durably: rows up to it need no log.
pub fn retired_through(dir: &Path) -> Result<Lsn, Error> {
    let path = dir.join("retired");
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| Error::Damaged {
            path,
            offset: 0,
            what: "not a number",
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io(&path)(error)),
    }
}

/// Writes a log with the id of another that holds only these records, which follow on `retired`.
pub fn write_copy(dir: &Path, log: LogId, retired: Lsn, records: &[Record]) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(Error::io(dir))?;
    writer::create(dir, log)?;
    retire(dir, retired)?;
    let (mut writer, _) = LogWriter::open(dir, log)?;
    for record in records {
        writer.append(std::slice::from_ref(record))?;
    }
    Ok(())
}

/// Gives a log that holds nothing any more a new id. Its numbers go on, so that they stay unique in the tables,
/// but the two logs are told apart from here on. Returns the last LSN of the old one.
///
/// # Errors
/// [`Error::Gap`] when the log still holds rows.
pub fn renew(dir: &Path, fresh: LogId) -> Result<Lsn, Error> {
    let retired = retired_through(dir)?;
    {
        let (writer, _) = LogWriter::open(dir, fresh)?;
        if writer.next_lsn() != retired + 1 {
            return Err(Error::Gap { after: retired, next: writer.next_lsn() });
        }
    }
    for (_, path) in segments(dir)? {
        fs::remove_file(&path).map_err(Error::io(&path))?;
    }
    writer::create(dir, fresh)?;
    Ok(retired)
}

/// The segments of a log with the LSN each begins at, in order.
fn segments(dir: &Path) -> Result<Vec<(Lsn, PathBuf)>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        let first = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".seg"))
            .and_then(|digits| digits.parse().ok());
        if let Some(first) = first {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Bytes that the segments of a log take on the disk.
pub fn size_bytes(dir: &Path) -> Result<u64, Error> {
    segments(dir)?.iter().map(|(_, path)| length(path)).sum()
}

fn length(path: &Path) -> Result<u64, Error> {
    Ok(fs::metadata(path).map_err(Error::io(path))?.len())
}

/// Replaces a small file so that a crash leaves the old or the new one, and the new one stays.
fn write_durably(path: &Path, content: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary).map_err(Error::io(&temporary))?;
    file.write_all(content).map_err(Error::io(&temporary))?;
    file.sync_all().map_err(Error::io(&temporary))?;
    fs::rename(&temporary, path).map_err(Error::io(path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

fn sync_directory(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io(dir))
}

#[cfg(test)]
mod tests;
