//! Remembers every event that was ever accepted: an index for what the tables hold, nearly all of it on the disk, and a
//! map in memory for everything newer. Both are functions of the log and the tables, so both can be built anew.

mod filter;
mod pending;

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray},
    datatypes::Int64Type,
    record_batch::RecordBatch,
};
use filter::{Filling, KeyFilter};
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, PersistMode,
    compaction::Leveled,
    config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry, PartitioningPolicy},
};
use pending::{KeyRun, PendingKeys};

use crate::{
    Error,
    identity::Key,
    log::{LogId, Lsn},
    priority,
};

/// What is remembered of an accepted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedEvent {
    pub content_hash: i64,
    pub lsn: Lsn,
}

/// Bytes of a key and what is remembered of it, where identities are written one after another.
pub const ENTRY_BYTES: usize = 32;

/// So many keys are written as a sorted file at once. Through the journal they would cost several times as much,
/// and again at the next start, which replays it.
const BULK: usize = 10_000;

/// Memory for blocks of the index. Keys are spread over all of it, so that more would seldom hold the right one.
const CACHE_BYTES: u64 = 8 << 20;

/// Sorted files that are merged at once, with all that was merged before: with 8 of them it was a quarter of the
/// intake's time at ten million keys. From 20 on the tree slows its writers down.
const RUNS: u8 = 16;

/// Bytes of a merged file. Whoever looks up a key waits while files are exchanged, and the old ones unlinked: at 64 MiB
/// each, with a gigabyte of them at once, it was a third of a second.
const FILE_BYTES: u64 = 16 << 20;

/// What merges of files give way to: all that senders wait for.
const MERGING_NICE: i32 = 5;

/// The database, whose threads start with the priority of the one that opens it.
fn open(dir: &Path) -> Result<Database, Error> {
    let opened = std::thread::scope(|scope| {
        let opening = || {
            priority::lower(priority::own(), MERGING_NICE);
            // One thread merges: the first of several passes that work on to the others without a pause, as long as
            // they are busy.
            Database::builder(dir).worker_threads(1).cache_size(CACHE_BYTES).open()
        };
        scope.spawn(opening).join()
    });
    Ok(opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)
}

impl AcceptedEvent {
    fn encode(self) -> [u8; 16] {
        let mut value = [0; 16];
        value[..8].copy_from_slice(&self.content_hash.to_le_bytes());
        value[8..].copy_from_slice(&self.lsn.to_le_bytes());
        value
    }

    fn decode(value: [u8; 16]) -> Self {
        let (hash, lsn) =
            (std::array::from_fn(|at| value[at]), std::array::from_fn(|at| value[8 + at]));
        Self { content_hash: i64::from_le_bytes(hash), lsn: Lsn::from_le_bytes(lsn) }
    }

    /// What the index says of a key. An entry that is damaged says nothing, least of all that an event is new.
    fn read(value: &[u8]) -> Result<Self, Error> {
        Ok(Self::decode(value.try_into().map_err(|_| Error::DamagedIndex)?))
    }
}

/// An identity as 32 bytes: the key, the content hash and the LSN. Entries sort by their keys.
pub fn encode_entry(key: Key, seen: AcceptedEvent) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[..16].copy_from_slice(&key.0);
    entry[16..].copy_from_slice(&seen.encode());
    entry
}

pub fn decode_entry(entry: &[u8; ENTRY_BYTES]) -> (Key, AcceptedEvent) {
    let half = |from: usize| std::array::from_fn(|at| entry[from + at]);
    (Key(half(0)), AcceptedEvent::decode(half(16)))
}

/// Reads entries as far as they are whole, up to `most` at once.
pub fn read_entries(
    mut source: impl Read,
    most: usize,
) -> impl Iterator<Item = io::Result<Vec<(Key, AcceptedEvent)>>> {
    std::iter::from_fn(move || {
        let (mut entry, mut batch) = ([0; ENTRY_BYTES], Vec::with_capacity(most));
        while batch.len() < most {
            match source.read_exact(&mut entry) {
                Ok(()) => batch.push(decode_entry(&entry)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Some(Err(error)),
            }
        }
        (!batch.is_empty()).then_some(Ok(batch))
    })
}

/// The index on disk. Clones share it.
#[derive(Clone)]
pub struct Index {
    database: Database,
    keys: Keyspace,
    marks: Keyspace,
    log: LogId,
    filter: Arc<KeyFilter>,
    /// While it is filled.
    filling: Option<Arc<Filling>>,
    held: Arc<PendingKeys>,
}

impl Index {
    /// Opens the index in `dir`, empty where there is none.
    pub fn open(dir: &Path, log: LogId) -> Result<Self, Error> {
        let database = open(dir)?;
        let keys = database.keyspace("keys", || {
            // Keys come as sorted files. Few are ever looked for, so they need not be merged often.
            let strategy =
                Leveled::default().with_l0_threshold(RUNS).with_table_target_size(FILE_BYTES);
            // In one piece they are megabytes, which are read for a single key.
            let in_pieces = PartitioningPolicy::all(true);
            let bloom = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0));
            KeyspaceCreateOptions::default()
                .compaction_strategy(Arc::new(strategy))
                .index_block_partitioning_policy(in_pieces.clone())
                .filter_block_partitioning_policy(in_pieces)
                // Of files that were merged there are few for one key, and a filter costs as much as a look.
                .filter_policy(FilterPolicy::new([bloom, bloom, FilterPolicyEntry::None]))
        })?;
        let marks = database.keyspace("marks", KeyspaceCreateOptions::default)?;
        Ok(Self {
            database,
            keys,
            marks,
            log,
            filter: Arc::default(),
            filling: None,
            held: Arc::default(),
        })
    }

    /// The same for one who asks for many keys that are new: they are soon told apart in memory.
    pub(crate) fn filtered(self, dir: &Path) -> Result<Self, Error> {
        let filling = Filling::start(Arc::clone(&self.filter), self.keys.clone());
        Ok(Self { filling: Some(Arc::new(filling.map_err(Error::io(dir))?)), ..self })
    }

    /// Every key with an LSN up to this one is on the disk.
    pub fn through(&self) -> Result<Lsn, Error> {
        let mark = self.marks.get(self.log.0.to_le_bytes())?;
        Ok(mark.and_then(|mark| mark[..].try_into().ok().map(Lsn::from_le_bytes)).unwrap_or(0))
    }

    /// Looks only for what the filter does not rule out.
    pub fn get(&self, key: Key) -> Result<Option<AcceptedEvent>, Error> {
        if !self.filter().may_hold(key) {
            return Ok(None);
        }
        if let Some(seen) = self.held.get(key) {
            return Ok(Some(seen));
        }
        self.keys.get(key.0)?.map(|value| AcceptedEvent::read(&value)).transpose()
    }

    /// Spoils an entry on the disk.
    #[cfg(test)]
    pub(crate) fn damage(&self, key: Key) {
        self.keys.insert(key.0, [0; 3]).unwrap();
    }

    /// Says of keys, nearly all of which are new, whether the index may hold them.
    pub(crate) fn filter(&self) -> filter::Reader<'_> {
        self.filter.reader()
    }

    /// Every identity that is on the disk now, in the order of the keys.
    pub fn entries(&self) -> impl Iterator<Item = Result<(Key, AcceptedEvent), Error>> + use<> {
        self.keys.iter().map(|entry| {
            let (key, value) = entry.into_inner()?;
            let key = key[..].try_into().map_err(|_| Error::DamagedIndex)?;
            Ok((Key(key), AcceptedEvent::read(&value)?))
        })
    }

    /// Takes the keys of a flush: they are found from now on, and written once enough of them wait.
    pub(crate) fn hold(
        &self,
        keys: impl IntoIterator<Item = (Key, AcceptedEvent)>,
        through: Lsn,
    ) -> Result<(), Error> {
        let held = self.held.through();
        let run: KeyRun = sorted(keys.into_iter().filter(|(_, seen)| seen.lsn > held)).into();
        self.announce(&run);
        if self.held.push(run, through) { self.write_held() } else { Ok(()) }
    }

    /// Writes what waits.
    pub(crate) fn write_held(&self) -> Result<(), Error> {
        let (_writing, runs, through) = self.held.begin();
        if !runs.is_empty() {
            // Of a key that came again the newest stays.
            let newest_first = runs.iter().rev().flat_map(|run| run.iter().copied());
            self.write(sorted(newest_first), through)?;
            self.held.forget(runs.len());
        }
        Ok(())
    }

    /// Writes keys, and moves the mark on to `through` once they are all there.
    pub fn insert(
        &self,
        keys: impl IntoIterator<Item = (Key, AcceptedEvent)>,
        through: Lsn,
    ) -> Result<(), Error> {
        let keys = sorted(keys);
        self.announce(&keys);
        self.write(keys, through)
    }

    fn announce(&self, keys: &[(Key, AcceptedEvent)]) {
        if self.filling.is_some() {
            self.filter.add(keys.iter().map(|(key, _)| *key));
        }
    }

    fn write(&self, keys: Vec<(Key, AcceptedEvent)>, through: Lsn) -> Result<(), Error> {
        let mut batch = self.database.batch();
        if keys.len() >= BULK {
            // One that cannot write any more says so here, before a file is written for nothing.
            self.database.persist(PersistMode::Buffer)?;
            let mut bulk = self.keys.start_ingestion()?;
            for (key, seen) in keys {
                bulk.write(key.0, seen.encode())?;
            }
            bulk.finish()?;
        } else {
            for (key, seen) in keys {
                batch.insert(&self.keys, key.0, seen.encode());
            }
        }
        let mark = through.max(self.through()?);
        batch.insert(&self.marks, self.log.0.to_le_bytes(), mark.to_le_bytes());
        Ok(batch.commit()?)
    }

    /// Makes what was inserted survive a power loss; needed before log segments go.
    pub fn sync(&self) -> Result<(), Error> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("log", &self.log).finish_non_exhaustive()
    }
}

/// Where a key is in the order of all keys. Numbers are compared faster than bytes.
fn place(key: Key) -> u128 {
    u128::from_be_bytes(key.0)
}

/// The keys in their order. Of equal ones the first stays.
fn sorted(keys: impl IntoIterator<Item = (Key, AcceptedEvent)>) -> Vec<(Key, AcceptedEvent)> {
    let mut keys: Vec<_> = keys.into_iter().collect();
    keys.sort_by_key(|(key, _)| place(*key));
    keys.dedup_by_key(|(key, _)| key.0);
    keys
}

/// The keys that the index does not have yet, and those of the group being written.
#[derive(Debug)]
pub(crate) struct RecentKeys {
    seen: [Map; MAPS],
    order: VecDeque<(Lsn, Key)>,
    /// Keys up to here are in the index.
    indexed: Lsn,
    /// Keys up to here are gone.
    evicted: Lsn,
}

type Map = HashMap<Key, AcceptedEvent, foldhash::fast::RandomState>;

/// A map that grows, or tidies up after many keys came and went, moves every key that it holds, while all senders wait:
/// of a million keys in as many maps these are few at a time.
const MAPS: usize = 64;

/// Not of the bytes that a map looks at.
fn map_of(key: Key) -> usize {
    usize::from(key.0[15]) % MAPS
}

impl RecentKeys {
    pub(crate) fn new(evicted: Lsn) -> Self {
        let seen = std::array::from_fn(|_| Map::default());
        Self { seen, order: VecDeque::new(), indexed: evicted, evicted }
    }

    pub(crate) fn get(&self, key: Key) -> Option<AcceptedEvent> {
        self.seen[map_of(key)].get(&key).copied()
    }

    pub(crate) fn insert(&mut self, key: Key, seen: AcceptedEvent) {
        self.seen[map_of(key)].insert(key, seen);
        self.order.push_back((seen.lsn, key));
    }

    /// Takes back the keys from `lsn` on: their group was not written.
    pub(crate) fn take_back(&mut self, lsn: Lsn) {
        while self.order.back().is_some_and(|(at, _)| *at >= lsn) {
            if let Some((_, key)) = self.order.pop_back() {
                self.seen[map_of(key)].remove(&key);
            }
        }
    }

    /// The index holds the keys up to `through` by now: they may go.
    pub(crate) fn indexed(&mut self, through: Lsn) {
        self.indexed = self.indexed.max(through);
    }

    /// Lets go of up to `most` keys that may go; `false` when there is none. All keys of a flush at once would keep
    /// senders waiting for tens of milliseconds.
    pub(crate) fn evict(&mut self, most: usize) -> bool {
        for count in 0..most {
            let Some((lsn, key)) = self.order.pop_front_if(|(lsn, _)| *lsn <= self.indexed) else {
                self.evicted = self.indexed;
                return count > 0;
            };
            self.seen[map_of(key)].remove(&key);
            self.evicted = lsn;
        }
        true
    }

    pub(crate) fn evicted(&self) -> Lsn {
        self.evicted
    }
}

/// The identities of stored rows, derived from their columns. Rows without an id have none.
pub fn keys_of(rows: &RecordBatch, lsn: impl Fn(usize) -> Lsn) -> Vec<(Key, AcceptedEvent)> {
    let text = |name| rows.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    let hashes =
        rows.column_by_name("content_hash").and_then(|c| c.as_primitive_opt::<Int64Type>());
    let (Some(organizations), Some(sources), Some(ids), Some(hashes)) =
        (text("organization_id"), text("source"), text("event_id"), hashes)
    else {
        return Vec::new();
    };
    let organizations = organizations.iter().map(Option::unwrap_or_default);
    let corrects = text("corrects_id").filter(|column| column.null_count() < column.len());
    (0..rows.num_rows())
        .zip(organizations)
        .zip(sources.iter().zip(ids))
        .filter_map(|((row, organization), (source, id))| {
            let seen = AcceptedEvent { content_hash: hashes.value(row), lsn: lsn(row) };
            let corrected = corrects.filter(|c| c.is_valid(row)).map(|c| c.value(row));
            let key = match corrected {
                Some(corrected) => Key::of_correction(organization, source?, id?, corrected),
                None => Key::of(organization, source?, id?),
            };
            Some((key, seen))
        })
        .collect()
}

#[cfg(test)]
mod tests;
