//! The writing end of a log: one process holds its lock, appends groups of records, and retires segments.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Description, FORMAT, LogId, Lsn, SHARDS, Tail, length,
    record::{self, Record},
    segments, sync_directory, write_durably,
};
use crate::Error;

/// A segment is closed when it has grown past this.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Memory that is kept from group to group.
const KEPT_BYTES: usize = 32 << 20;

/// What one group cost.
#[derive(Debug, Clone, Copy)]
pub struct AppendStats {
    /// Bytes that the log grew by.
    pub bytes: u64,
    pub fsync: Duration,
}

/// The open log. Dropping it releases the lock.
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    log: LogId,
    next: Lsn,
    segment: PathBuf,
    file: File,
    /// The end of the last record that is whole and synced.
    end: u64,
    /// The bytes of the last group; kept, since fresh memory of this size costs more than the copy.
    bytes: Vec<u8>,
    /// Set by a failed write that could not be undone: nothing may be acknowledged any more.
    broken: bool,
    _lock: File,
}

impl LogWriter {
    /// Opens the log in `dir`, creating it with the id `fresh` where there is none. Returns the rows that the
    /// segments hold too. A torn last record (it was never acknowledged) is cut off.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process writes to it, [`Error::Damaged`] and [`Error::Gap`] when
    /// acknowledged records cannot be read.
    pub fn open(dir: &Path, fresh: LogId) -> Result<(Self, Tail), Error> {
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        // It may have been made by a process that was killed before it synced it.
        sync_directory(dir.parent().unwrap_or(dir))?;
        let lock = lock(dir)?;
        let description = match super::describe(dir)? {
            Some(description) if description.format == FORMAT => description,
            // From now on an older program refuses it.
            Some(description) => create(dir, description.log)?,
            None => create(dir, fresh)?,
        };
        let retired = super::retired_through(dir)?;
        let mut tail = Tail::new(dir, description.log, retired);
        let end = tail.read_to_end()?;
        let next = tail.last_lsn() + 1;
        let (segment, file, end) = match end {
            Some((path, end)) if end > 0 => {
                let mut file =
                    OpenOptions::new().write(true).open(&path).map_err(Error::io(&path))?;
                file.set_len(end).map_err(Error::io(&path))?;
                file.sync_all().map_err(Error::io(&path))?;
                file.seek(SeekFrom::Start(end)).map_err(Error::io(&path))?;
                (path, file, end)
            }
            _ => new_segment(dir, description.log, next)?,
        };
        let log = description.log;
        let writer = Self {
            dir: dir.to_path_buf(),
            log,
            next,
            segment,
            file,
            end,
            bytes: Vec::new(),
            broken: false,
            _lock: lock,
        };
        Ok((writer, tail))
    }

    pub fn log(&self) -> LogId {
        self.log
    }

    /// The LSN that the next row will get.
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// Writes records whose LSNs follow on [`Self::next_lsn`], and returns once they are on the disk.
    ///
    /// # Errors
    /// After [`Error::DiskFull`] nothing was written and the log can be used again. After any other error
    /// the log takes nothing more: a failed fsync may have lost pages silently.
    pub fn append(&mut self, records: &[Record]) -> Result<AppendStats, Error> {
        if self.broken {
            return Err(Error::Closed);
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        for record in records {
            record.encode(self.next, &mut self.bytes)?;
        }
        let mut grown = self.bytes.len() as u64;
        if self.end > SEGMENT_BYTES {
            (self.segment, self.file, self.end) = new_segment(&self.dir, self.log, self.next)?;
            grown += self.end;
        }
        if let Err(error) = self.file.write_all(&self.bytes) {
            let error = Error::io(&self.segment)(error);
            let undone = self.file.set_len(self.end).is_ok()
                && self.file.seek(SeekFrom::Start(self.end)).is_ok();
            self.broken = !(undone && matches!(error, Error::DiskFull { .. }));
            return Err(error);
        }
        let syncing = Instant::now();
        if let Err(error) = self.file.sync_data() {
            self.broken = true;
            return Err(Error::io(&self.segment)(error));
        }
        let fsync = syncing.elapsed();
        self.end += self.bytes.len() as u64;
        if let Some(last) = records.last() {
            self.next = last.last_lsn() + 1;
        }
        Ok(AppendStats { bytes: grown, fsync })
    }

    /// Closes the segment that is written to, so that it can go once its rows are elsewhere. Gives the bytes that
    /// the log grew by.
    ///
    /// # Errors
    /// The log goes on with the segment that it has.
    pub fn roll(&mut self) -> Result<u64, Error> {
        if self.broken {
            return Err(Error::Closed);
        }
        if self.segment == segment_path(&self.dir, self.next) {
            return Ok(0);
        }
        (self.segment, self.file, self.end) = new_segment(&self.dir, self.log, self.next)?;
        Ok(self.end)
    }

    /// Whether an earlier failure forbids to acknowledge anything more.
    pub fn is_broken(&self) -> bool {
        self.broken
    }
}

/// Records that tables and index hold every row up to `through` durably. Segments go by [`unlink_retired`].
pub(crate) fn retire(dir: &Path, through: Lsn) -> Result<(), Error> {
    write_durably(&dir.join("retired"), through.to_string().as_bytes())
}

/// Unlinks the segments that hold nothing above `through`, and gives the bytes that they held. The last segment
/// stays: it is written to.
pub(crate) fn unlink_retired(dir: &Path, through: Lsn) -> Result<u64, Error> {
    let segments = segments(dir)?;
    let mut freed = 0;
    for pair in segments.windows(2) {
        if pair[1].0 <= through + 1 {
            freed += length(&pair[0].1)?;
            fs::remove_file(&pair[0].1).map_err(Error::io(&pair[0].1))?;
        }
    }
    Ok(freed)
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(dir.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(Error::io(&path)(error)),
    }
}

pub(super) fn create(dir: &Path, log: LogId) -> Result<Description, Error> {
    let description = Description { format: FORMAT, log, shards: SHARDS };
    let path = dir.join("log.json");
    let text = serde_json::to_vec_pretty(&description)
        .map_err(|source| Error::Description { path: path.clone(), source })?;
    write_durably(&path, &text)?;
    Ok(description)
}

fn segment_path(dir: &Path, first: Lsn) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

fn new_segment(dir: &Path, log: LogId, first: Lsn) -> Result<(PathBuf, File, u64), Error> {
    let path = segment_path(dir, first);
    let mut file = File::create(&path).map_err(Error::io(&path))?;
    let head = record::segment_head(log, first);
    file.write_all(&head).map_err(Error::io(&path))?;
    file.sync_all().map_err(Error::io(&path))?;
    sync_directory(dir)?;
    Ok((path, file, head.len() as u64))
}
