//! The identities of all rows against the index: sorted in pieces on disk, then merged with it.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use ingest::{
    dedup::{AcceptedEvent, ENTRY_BYTES, decode_entry, encode_entry},
    identity::Key,
    log::Lsn,
};

use super::findings::{DifferenceKind, Findings};
use crate::Error;

/// Pieces, by the first byte of the key. One is in memory at a time.
const PIECES: usize = 256;
const BUFFER_BYTES: usize = 16 << 10;
/// An entry, and whether the index must know it.
const PIECE_BYTES: usize = ENTRY_BYTES + 1;

#[derive(Debug)]
pub(super) struct Entries {
    dir: PathBuf,
    pieces: Vec<BufWriter<File>>,
}

/// An identity that a row has.
#[derive(Debug, Clone, Copy)]
struct StoredIdentity {
    key: Key,
    seen: AcceptedEvent,
    /// Rows above the floor may not be in the index yet.
    indexed: bool,
}

/// Writes the entries of an index, in the order of their keys, and gives their number.
pub fn write_entries(
    path: &Path,
    entries: impl Iterator<Item = Result<(Key, AcceptedEvent), ingest::Error>>,
) -> Result<u64, Error> {
    let mut file = BufWriter::new(File::create(path).map_err(Error::file(path))?);
    let mut count = 0;
    for entry in entries {
        let (key, seen) = entry?;
        file.write_all(&encode_entry(key, seen)).map_err(Error::file(path))?;
        count += 1;
    }
    file.flush().map_err(Error::file(path))?;
    Ok(count)
}

impl Entries {
    pub(super) fn create(dir: &Path) -> Result<Self, Error> {
        let open = |piece| {
            let path = piece_path(dir, piece);
            let file = File::create(&path).map_err(Error::file(&path))?;
            Ok(BufWriter::with_capacity(BUFFER_BYTES, file))
        };
        let pieces = (0..PIECES).map(open).collect::<Result<_, Error>>()?;
        Ok(Self { dir: dir.to_path_buf(), pieces })
    }

    pub(super) fn push(
        &mut self,
        key: Key,
        seen: AcceptedEvent,
        indexed: bool,
    ) -> Result<(), Error> {
        let piece = &mut self.pieces[usize::from(key.0[0])];
        let mut bytes = [0; PIECE_BYTES];
        bytes[..ENTRY_BYTES].copy_from_slice(&encode_entry(key, seen));
        bytes[ENTRY_BYTES] = u8::from(indexed);
        piece.write_all(&bytes).map_err(Error::file(&self.dir))
    }

    /// Compares with the index, up to `cut`, and gives the number of different identities. `removed`: the index
    /// may know rows that are gone.
    pub(super) fn merge(
        self,
        index: &Path,
        cut: Lsn,
        removed: bool,
        findings: &mut Findings,
    ) -> Result<u64, Error> {
        for mut piece in self.pieces {
            piece.flush().map_err(Error::file(&self.dir))?;
        }
        let mut known = IndexEntries::open(index)?;
        let mut identities = 0;
        let gone = |entry: (Key, AcceptedEvent), findings: &mut Findings| {
            if !removed && entry.1.lsn <= cut {
                let detail = format!("LSN {} is in the index, and no row has it", entry.1.lsn);
                findings.add_nowhere(DifferenceKind::Index, detail);
            }
        };
        for piece in 0..PIECES {
            let stored = read_piece(&piece_path(&self.dir, piece))?;
            for same in stored.chunk_by(|a, b| a.key == b.key) {
                identities += 1;
                let first = same[0];
                for other in &same[1..] {
                    let (a, b) = (first.seen.lsn, other.seen.lsn);
                    let detail = format!("the identity of LSN {a} is stored again as LSN {b}");
                    findings.add_nowhere(DifferenceKind::Identity, detail);
                }
                while let Some(entry) = known.next_if(|key| key.0 < first.key.0)? {
                    gone(entry, findings);
                }
                let entry = known.next_if(|key| *key == first.key)?;
                compare(first, entry.map(|(_, seen)| seen), cut, findings);
            }
        }
        while let Some(entry) = known.next_if(|_| true)? {
            gone(entry, findings);
        }
        Ok(identities)
    }
}

fn compare(
    stored: StoredIdentity,
    known: Option<AcceptedEvent>,
    cut: Lsn,
    findings: &mut Findings,
) {
    let lsn = stored.seen.lsn;
    match known {
        Some(known) if known == stored.seen => {}
        // An entry above the cut belongs to a row that is not read here.
        Some(known) if known.lsn > cut => {
            let detail = format!("LSN {lsn} is known as LSN {}, which came later", known.lsn);
            findings.add_nowhere(DifferenceKind::Index, detail);
        }
        Some(known) if known.lsn != lsn => {
            let detail = format!("LSN {lsn} is known as LSN {}", known.lsn);
            findings.add_nowhere(DifferenceKind::Index, detail);
        }
        Some(_) => {
            let detail = format!("LSN {lsn} is known with another content");
            findings.add_nowhere(DifferenceKind::Index, detail);
        }
        None if stored.indexed => {
            let detail = format!("LSN {lsn} is not in the index: sent again, it would count twice");
            findings.add_nowhere(DifferenceKind::Index, detail);
        }
        None => {}
    }
}

fn piece_path(dir: &Path, piece: usize) -> PathBuf {
    dir.join(format!("identities-{piece:02x}"))
}

/// Reads one piece, sorted, and removes its file.
fn read_piece(path: &Path) -> Result<Vec<StoredIdentity>, Error> {
    let bytes = std::fs::read(path).map_err(Error::file(path))?;
    std::fs::remove_file(path).map_err(Error::file(path))?;
    let (pieces, _) = bytes.as_chunks::<PIECE_BYTES>();
    let mut stored: Vec<_> = pieces
        .iter()
        .filter_map(|piece| {
            let (entry, [indexed]) = piece.split_first_chunk::<ENTRY_BYTES>()? else { return None };
            let (key, seen) = decode_entry(entry);
            Some(StoredIdentity { key, seen, indexed: *indexed == 1 })
        })
        .collect();
    stored.sort_unstable_by_key(|stored| (stored.key.0, stored.seen.lsn));
    Ok(stored)
}

/// The entries of the index, one after the other.
struct IndexEntries {
    path: PathBuf,
    file: BufReader<File>,
    next: Option<(Key, AcceptedEvent)>,
}

impl IndexEntries {
    fn open(path: &Path) -> Result<Self, Error> {
        let file = BufReader::new(File::open(path).map_err(Error::file(path))?);
        let mut known = Self { path: path.to_path_buf(), file, next: None };
        known.advance()?;
        Ok(known)
    }

    fn next_if(
        &mut self,
        wanted: impl Fn(&Key) -> bool,
    ) -> Result<Option<(Key, AcceptedEvent)>, Error> {
        let Some(entry) = self.next.filter(|(key, _)| wanted(key)) else { return Ok(None) };
        self.advance()?;
        Ok(Some(entry))
    }

    fn advance(&mut self) -> Result<(), Error> {
        let mut entry = [0; ENTRY_BYTES];
        self.next = match self.file.read_exact(&mut entry) {
            Ok(()) => Some(decode_entry(&entry)),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(Error::file(&self.path)(error)),
        };
        Ok(())
    }
}
