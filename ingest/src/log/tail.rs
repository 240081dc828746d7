//! The reading end of a log, in the writer's process or another one: it reads on from where it stopped.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    LogId, Lsn, Record,
    record::{RECORD_BYTES_MAX, RECORD_HEAD, SEGMENT_HEAD, is_segment_head, record_head},
    segments,
};
use crate::Error;

/// The decoded end of a log.
#[derive(Debug)]
pub struct Tail {
    dir: PathBuf,
    log: LogId,
    /// Rows up to here need not be in the log.
    retired: Lsn,
    last: Lsn,
    /// The last LSN of what stands whole before the position, retired or not.
    whole: Lsn,
    records: VecDeque<Record>,
    /// The segment being read and the offset of its next record.
    position: Option<(Lsn, PathBuf, u64)>,
}

impl Tail {
    /// A tail that will read every record with rows above `retired`.
    pub fn new(dir: &Path, log: LogId, retired: Lsn) -> Self {
        Self {
            dir: dir.to_path_buf(),
            log,
            retired,
            last: retired,
            whole: retired,
            records: VecDeque::new(),
            position: None,
        }
    }

    pub fn log(&self) -> LogId {
        self.log
    }

    /// The last LSN that was read.
    pub fn last_lsn(&self) -> Lsn {
        self.last
    }

    /// Reads until the rows up to `cut` are held. Does nothing when they are.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a record at or below the cut cannot be read, [`Error::Gap`] when one is not there.
    pub fn read_to(&mut self, cut: Lsn) -> Result<(), Error> {
        while self.last < cut {
            match self.read_records(cut)? {
                Step::Reached => {}
                Step::End { what, offset } => {
                    if let Some(path) = self.next_segment()? {
                        self.position = Some(path);
                        continue;
                    }
                    let path = self.position.as_ref().map_or(&self.dir, |(_, path, _)| path);
                    return Err(Error::Damaged { path: path.clone(), offset, what });
                }
            }
        }
        Ok(())
    }

    /// Reads everything that is whole, for the one who will write on: the path of the last segment, and where
    /// its last whole record ends. `None` when there is no segment.
    pub(super) fn read_to_end(&mut self) -> Result<Option<(PathBuf, u64)>, Error> {
        loop {
            match self.read_records(Lsn::MAX)? {
                Step::Reached => {}
                Step::End { what, offset } => match self.next_segment()? {
                    Some(next) => self.position = Some(next),
                    None => match &self.position {
                        // Only a torn last write is cut: it was never acknowledged. A damaged length looks
                        // like a record cut short, too.
                        Some((_, path, _)) if self.was_acknowledged(path, offset)? => {
                            return Err(Error::Damaged { path: path.clone(), offset, what });
                        }
                        Some((_, path, _)) => return Ok(Some((path.clone(), offset))),
                        None => return Ok(None),
                    },
                },
            }
        }
    }

    /// Reads whatever is whole, for a reader whom nobody told how far to read. The end may be torn.
    pub fn read_available(&mut self) -> Result<(), Error> {
        self.read_to_end().map(drop)
    }

    /// Takes the records out, for one who keeps them elsewhere from now on.
    pub fn take(&mut self) -> impl Iterator<Item = Record> {
        self.records.drain(..)
    }

    /// The segment that goes on where this one ends, if there is one.
    fn next_segment(&self) -> Result<Option<(Lsn, PathBuf, u64)>, Error> {
        let segments = segments(&self.dir)?;
        let next = match &self.position {
            Some((first, ..)) => segments.into_iter().find(|(start, _)| start > first),
            // Begin with the last segment that may hold the first row wanted.
            None => {
                let at = segments.iter().rposition(|(start, _)| *start <= self.retired + 1);
                match (at, segments.first()) {
                    (Some(at), _) => segments.into_iter().nth(at),
                    (None, Some((start, _))) => {
                        return Err(Error::Gap { after: self.retired, next: *start });
                    }
                    (None, None) => None,
                }
            }
        };
        let Some((start, path)) = next else { return Ok(None) };
        if start > self.last + 1 {
            return Err(Error::Gap { after: self.last, next: start });
        }
        Ok(Some((start, path, 0)))
    }

    /// Reads records of the current segment until row `until` is held or the segment ends.
    fn read_records(&mut self, until: Lsn) -> Result<Step, Error> {
        let Some((first, path, offset)) = &mut self.position else {
            return Ok(Step::End { what: "the segment is missing", offset: 0 });
        };
        let mut file = match File::open(&*path) {
            Ok(file) => file,
            // Removed since: the tables hold what it held. Whether that is all, the next segment tells.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Step::End { what: "the segment is gone", offset: *offset });
            }
            Err(error) => return Err(Error::io(path)(error)),
        };
        if *offset == 0 {
            let mut head = [0; SEGMENT_HEAD];
            if !read_whole(&mut file, &mut head).map_err(Error::io(path))? {
                // Created, but not even its head was written: it never held anything.
                return Ok(Step::End { what: "the segment has no head", offset: 0 });
            }
            if !is_segment_head(&head, self.log, *first) {
                let what = "not a segment of this log";
                return Err(Error::Damaged { path: path.clone(), offset: 0, what });
            }
            *offset = SEGMENT_HEAD as u64;
            self.whole = first.saturating_sub(1);
        }
        file.seek(SeekFrom::Start(*offset)).map_err(Error::io(path))?;
        let mut reader = io::BufReader::with_capacity(256 << 10, file);
        while self.last < until {
            let start = *offset;
            let body = match read_body(&mut reader).map_err(Error::io(path))? {
                Ok(body) => body,
                Err(what) => return Ok(Step::End { what, offset: start }),
            };
            let end = start + (RECORD_HEAD + body.len()) as u64;
            // What the tables hold is passed over: a segment may be full of it.
            if let Some(last) = Record::last_lsn_of(&body).filter(|last| *last <= self.retired) {
                (self.whole, *offset) = (last, end);
                continue;
            }
            let damaged = |what| Error::Damaged { path: path.clone(), offset: start, what };
            let record = Record::decode(&body)
                .ok_or_else(|| damaged("a record of an unknown format"))?
                .map_err(|_| damaged("a record that is not Arrow"))?;
            (self.whole, *offset) = (record.last_lsn(), end);
            if record.last_lsn() > self.last {
                if record.first_lsn > self.last + 1 {
                    return Err(Error::Gap { after: self.last, next: record.first_lsn });
                }
                self.last = record.last_lsn();
                self.records.push_back(record);
            }
        }
        Ok(Step::Reached)
    }

    /// Whether a record of a later group stands anywhere behind the damaged one at `offset`, with rows that the
    /// tables do not hold. Its group was begun after the damaged one was synced, so that one had been
    /// acknowledged. A whole record of the same group proves nothing: the pages of a write reach the disk in any
    /// order. The damage may be in a length, so every place is tried.
    fn was_acknowledged(&self, path: &Path, offset: u64) -> Result<bool, Error> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        file.seek(SeekFrom::Start(offset)).map_err(Error::io(path))?;
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).map_err(Error::io(path))?;
        let later = |place: usize| {
            let (head, bytes) = rest[place..].split_first_chunk()?;
            let (length, crc) = record_head(*head);
            let body = bytes.get(..length)?;
            let group = Record::group_of(body)?;
            let last = Record::last_lsn_of(body)?;
            let plausible = group > self.whole + 1 && last >= group && last > self.retired;
            Some(plausible && crc32c::crc32c(body) == crc)
        };
        Ok((0..rest.len()).any(|place| later(place) == Some(true)))
    }
}

enum Step {
    Reached,
    End { what: &'static str, offset: u64 },
}

/// The body of the record at the reader's place, or why there is none.
fn read_body(reader: &mut impl Read) -> io::Result<Result<Vec<u8>, &'static str>> {
    let mut head = [0; RECORD_HEAD];
    if !read_whole(reader, &mut head)? {
        return Ok(Err("the records end here"));
    }
    let (length, crc) = record_head(head);
    if length == 0 || length > RECORD_BYTES_MAX {
        return Ok(Err("not a record"));
    }
    let mut body = Vec::new();
    reader.by_ref().take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Ok(Err("a record is cut short"));
    }
    if crc32c::crc32c(&body) != crc {
        return Ok(Err("the checksum is wrong"));
    }
    Ok(Ok(body))
}

fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
