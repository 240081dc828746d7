//! The process that takes events in: log, deduplication and tables, tied together.

mod admission;
mod count;
mod delivery;
mod erasure;
mod observer;
mod refresh;
mod replay;
mod retire;
mod rollup;
#[cfg(test)]
mod sample;

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use datafusion::common::utils::memory::get_record_batch_memory_size;
use ingest::{
    Table,
    dedup::AcceptedEvent,
    identity::{Key, Pseudonyms},
    intake::{Intake, Observer},
    log::{self, LogId, Lsn, Record},
    time::Micros,
};
use tokio::{sync::Notify, time::Instant};

pub use admission::{Admission, Watermarks};
pub use count::{FSYNC_SECONDS, LakeStatus};
pub use delivery::{Delivery, FileDelivery, Outcome, ReplacedImport};
pub use replay::RejectedEvent;
use rollup::Rollups;
pub use rollup::{RollupChange, RollupMonth};

use crate::{
    Changes, Cut, Error, LakeTable, Location, Root, TableVersion, reader, threads::Threads,
};

/// Where a lakehouse is, and when it moves rows from the log to the tables.
#[derive(Debug, Clone)]
pub struct Settings {
    pub log_dir: PathBuf,
    pub index_dir: PathBuf,
    pub location: Location,
    /// The id that a new log gets; an existing one keeps its own.
    pub fresh_log: LogId,
    pub pseudonyms: Pseudonyms,
    /// Rows are moved when so many bytes or rows wait, or the oldest waits so long.
    pub flush_bytes: usize,
    pub flush_rows: usize,
    pub flush_age: Duration,
    pub watermarks: Watermarks,
    /// Nobody waits for an answer: moving rows does not give way, and takes all cores.
    pub is_bulk: bool,
    /// Log segments are kept so long after their rows were moved: the longest query deadline and some.
    pub keep_log: Duration,
    /// Microseconds since 1970, UTC.
    pub clock: fn() -> Micros,
}

/// The open lakehouse. Clones share it.
#[derive(Debug, Clone)]
pub struct Lakehouse {
    intake: Intake,
    shared: Arc<Shared>,
    flusher: Arc<tokio::sync::Mutex<Flusher>>,
    rollups: Arc<tokio::sync::Mutex<Rollups>>,
    rollup_work: Arc<tokio::sync::Mutex<()>>,
    decoders: Threads,
    /// Shared by what is between its decoding and the log.
    under_way: Arc<tokio::sync::RwLock<()>>,
    settings: Arc<Settings>,
    /// The last LSN before the start.
    started_at: Lsn,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changes: Changes,
    /// Bytes of requests that are not answered yet.
    arriving: AtomicUsize,
    log_bytes: AtomicU64,
    /// Events that were answered as accepted since the start.
    accepted: AtomicU64,
    /// Enough rows wait for the tables.
    full: Notify,
    /// Somebody waits for the tables.
    hasten: Notify,
    /// Rows were moved.
    moved: Notify,
    broken: Notify,
    is_broken: std::sync::atomic::AtomicBool,
}

/// What the cut is made of, under one lock.
#[derive(Debug, Default)]
struct State {
    pending: VecDeque<Record>,
    bytes: usize,
    rows: usize,
    flush_at: (usize, usize),
    durable: Lsn,
    floor: Lsn,
    marks: BTreeMap<Table, TableVersion>,
    files: BTreeMap<Table, (usize, u64)>,
    /// Those of rollups that hold all rows up to their LSN.
    rollups: BTreeMap<String, TableVersion>,
}

/// Whoever waits for the tables makes them come sooner, but not more often than this.
const HASTENED: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Flusher {
    root: Root,
    threads: Threads,
    tables: BTreeMap<Table, LakeTable>,
    retired: VecDeque<(Micros, Lsn)>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lakehouse {
    /// Opens the log, the index and the tables, and replays what the tables do not hold yet.
    ///
    /// # Errors
    /// [`ingest::Error::Locked`] when another process has it open.
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        let root = settings.location.open()?;
        let shared = Arc::new(Shared::default());
        let (intake, records) = {
            let (settings, root) = (settings.clone(), root.clone());
            let observer: Arc<dyn Observer> = Arc::<Shared>::clone(&shared);
            let runtime = tokio::runtime::Handle::current();
            let open = move || {
                let catch_up = |after| {
                    runtime.block_on(reader::stored_keys(&root, after)).map_err(|error| match error
                    {
                        Error::Ingest(error) => error,
                        error => ingest::Error::Mapping(error.to_string()),
                    })
                };
                let (log, index) = (&settings.log_dir, &settings.index_dir);
                Intake::open(log, index, settings.fresh_log, settings.clock, observer, catch_up)
            };
            tokio::task::spawn_blocking(open).await.map_err(|_| Error::Stopped)??
        };
        let mut tables = BTreeMap::new();
        let (mut marks, mut files) = (BTreeMap::new(), BTreeMap::new());
        for table in Table::ALL {
            if let Some(opened) = LakeTable::open(&root, table).await? {
                let txn = opened.committed(intake.log()).await?;
                marks.insert(table, TableVersion { version: opened.version(), txn });
                files.insert(table, opened.size()?);
                tables.insert(table, opened);
            }
        }
        let (floor, records) = settle_stored(&intake, &marks, records).await?;
        {
            let mut state = shared.lock();
            state.flush_at = (settings.flush_bytes, settings.flush_rows);
            state.floor = floor;
            state.durable = floor;
            state.marks = marks;
            state.files = files;
        }
        // Added, since the writing thread may have begun to count.
        shared.log_bytes.fetch_add(log::size_bytes(intake.dir())?, Ordering::Relaxed);
        count::begin();
        shared.durable(records);
        let rollups = Arc::new(tokio::sync::Mutex::new(Rollups::new(&root)));
        let started_at = shared.lock().durable;
        shared.changes.begin_after(started_at);
        Ok(Self {
            intake,
            shared,
            flusher: Arc::new(tokio::sync::Mutex::new(Flusher {
                root,
                threads: Threads::flushing(settings.is_bulk)?,
                tables,
                retired: VecDeque::from([((settings.clock)(), floor)]),
            })),
            rollups,
            rollup_work: Arc::default(),
            decoders: Threads::decoding()?,
            under_way: Arc::default(),
            settings: Arc::new(settings),
            started_at,
        })
    }

    /// The line up to which a query may read now.
    pub fn cut(&self) -> Cut {
        let state = self.shared.lock();
        Cut {
            log: self.intake.log().0,
            lsn: state.durable,
            floor: state.floor,
            tables: state.marks.iter().map(|(t, mark)| (t.name().to_owned(), *mark)).collect(),
            rollups: state.rollups.clone(),
        }
    }

    /// The number of events that were accepted since the start, and the last LSN before it.
    pub fn accepted(&self) -> (u64, Lsn) {
        (self.shared.accepted.load(Ordering::Acquire), self.started_at)
    }

    /// Every identity that the index holds now, in the order of the keys. Writes those that wait: work for a thread of
    /// its own.
    pub fn entries(
        &self,
    ) -> Result<
        impl Iterator<Item = Result<(Key, AcceptedEvent), ingest::Error>> + use<>,
        ingest::Error,
    > {
        self.intake.entries()
    }

    /// On which days rows came since the start. A row is noted there before any cut shows it.
    pub fn changes(&self) -> Changes {
        self.shared.changes.clone()
    }

    pub fn pseudonyms(&self) -> &Pseudonyms {
        &self.settings.pseudonyms
    }

    /// Waits until there is room for a bulk load.
    pub async fn room(&self) {
        let most =
            (2 * self.settings.flush_bytes).min(self.settings.watermarks.waiting_bytes_soft / 2);
        while self.shared.lock().bytes > most {
            let _ =
                tokio::time::timeout(Duration::from_millis(50), self.shared.moved.notified()).await;
        }
    }

    /// Moves everything that is in the log now to the tables, and gives the LSN up to which the log holds nothing
    /// else.
    pub async fn flush(&self) -> Result<Lsn, Error> {
        let until = self.shared.lock().durable;
        while self.shared.lock().floor < until {
            if !self.flush_once().await? {
                break;
            }
        }
        let retired = self.retire_all().await?;
        self.unlink_retired().await;
        Ok(retired)
    }

    /// Waits until the tables hold everything up to `lsn` durably, and makes that come sooner. `false` when it
    /// did not come in time.
    pub async fn stored(&self, lsn: Lsn, patience: Duration) -> bool {
        let stored = async {
            loop {
                let moved = self.shared.moved.notified();
                if self.shared.lock().floor >= lsn {
                    return;
                }
                // Asked again every second: a flush that failed has spent the request.
                self.shared.hasten.notify_one();
                let _ = tokio::time::timeout(HASTENED, moved).await;
            }
        };
        tokio::time::timeout(patience, stored).await.is_ok()
    }

    /// Moves rows as they come, until the future is dropped. A failure is logged and tried again.
    pub async fn run(&self) {
        let mut refreshed = Instant::now();
        loop {
            let soonest = Instant::now() + HASTENED;
            let hastened = async {
                self.shared.hasten.notified().await;
                tokio::time::sleep_until(soonest).await;
            };
            tokio::select! {
                // While rows were moved it was told of them, too.
                () = self.shared.full.notified() => if !self.shared.lock().is_due() { continue },
                () = hastened => {}
                () = tokio::time::sleep(self.settings.flush_age) => {}
            }
            // In a task of its own, which goes on when this future is dropped: a put that nobody waits for would
            // land behind the back of the next flush.
            let lakehouse = self.clone();
            let flushing = tokio::spawn(async move {
                let has_moved = lakehouse.flush_once().await?;
                // Keys that wait for others, which may not come soon, keep the log large.
                if has_moved && !lakehouse.is_log_large() {
                    return Ok(());
                }
                lakehouse.retire_all().await.map(drop)
            });
            if let Err(error) = flushing.await.unwrap_or(Err(Error::Stopped)) {
                tracing::error!(error = &error as &dyn std::error::Error, "rows stay in the log");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            self.unlink_retired().await;
            if refreshed.elapsed() >= self.settings.flush_age {
                self.refresh().await;
                refreshed = Instant::now();
            }
        }
    }

    /// Whether the log cannot be written any more.
    pub fn is_broken(&self) -> bool {
        self.shared.is_broken.load(Ordering::Acquire)
    }

    /// Completes when the log cannot be written any more.
    pub async fn broken(&self) {
        let notified = self.shared.broken.notified();
        if !self.is_broken() {
            notified.await;
        }
    }

    /// Answers what was sent, moves it to the tables, and lets go of the log.
    pub async fn close(&self) -> Result<(), Error> {
        let intake = self.intake.clone();
        let _ = tokio::task::spawn_blocking(move || intake.stop()).await;
        self.flush().await.map(drop)
    }

    /// Moves one flush's worth of rows; `false` when there was nothing to move.
    async fn flush_once(&self) -> Result<bool, Error> {
        let mut flusher = self.flusher.lock().await;
        let records = self.shared.lock().first();
        let Some(through) = records.last().map(Record::last_lsn) else { return Ok(false) };
        let now = (self.settings.clock)();
        let log = self.intake.log();
        for table in Table::ALL {
            if records.iter().any(|record| record.table == table) {
                let before = flusher.tables.get(&table).map(LakeTable::version);
                let (mark, size) = flusher.append(table, log, &records, through, now).await?;
                // A new table is made in one version and filled in the next.
                if mark.version > before.unwrap_or_default() + 1 {
                    self.shared.changes.exchanged(table, mark.version);
                }
                let mut state = self.shared.lock();
                state.marks.insert(table, mark);
                state.files.insert(table, size);
            }
        }
        let intake = self.intake.clone();
        let retire = move || {
            intake.index(&records, through)?;
            intake.retire()
        };
        let retired = flusher.threads.run(retire).await??;
        let (moved, is_due) = {
            let mut state = self.shared.lock();
            (state.forget(through), state.is_due())
        };
        // Megabytes to free, and below files to unlink: while a thread of the runtime does that, no task of it hears of
        // its pipes.
        tokio::task::spawn_blocking(move || drop(moved));
        if is_due {
            // What came meanwhile is not left to the next row or to the timer.
            self.shared.full.notify_one();
        }
        self.shared.moved.notify_waiters();
        flusher.note_retired(now, retired);
        Ok(true)
    }
}

/// Indexes the first of the records of a log that are in the tables already: all flushes before the start whose keys
/// were not written. Gives the LSN up to which the log is retired then, and the other records.
async fn settle_stored(
    intake: &Intake,
    marks: &BTreeMap<Table, TableVersion>,
    mut records: Vec<Record>,
) -> Result<(Lsn, Vec<Record>), Error> {
    let is_stored = |record: &Record| {
        marks.get(&record.table).is_some_and(|mark| mark.txn >= record.last_lsn())
    };
    let stored = records.iter().take_while(|record| is_stored(record)).count();
    let others = records.split_off(stored);
    let intake = intake.clone();
    let index = move || {
        if let Some(last) = records.last() {
            intake.index(&records, last.last_lsn())?;
            intake.write_index()?;
        }
        intake.retire()
    };
    let retired = tokio::task::spawn_blocking(index).await.map_err(|_| Error::Stopped)??;
    Ok((retired, others))
}

impl State {
    /// The oldest records, about as much as one flush should move.
    fn first(&self) -> Vec<Record> {
        let (most_bytes, most_rows) = self.flush_at;
        let (mut bytes, mut rows) = (0, 0);
        let wanted = self.pending.iter().take_while(|record| {
            let has_room = bytes < most_bytes && rows < most_rows;
            bytes += get_record_batch_memory_size(&record.rows);
            rows += record.rows.num_rows();
            has_room
        });
        wanted.cloned().collect()
    }

    fn is_due(&self) -> bool {
        self.bytes >= self.flush_at.0 || self.rows >= self.flush_at.1
    }

    /// Gives the records up to `through` back, which the tables hold by now. Freeing them takes milliseconds, in
    /// which senders would wait for the lock.
    fn forget(&mut self, through: Lsn) -> Vec<Record> {
        let mut moved = Vec::new();
        while let Some(record) = self.pending.pop_front_if(|r| r.last_lsn() <= through) {
            self.bytes = self.bytes.saturating_sub(get_record_batch_memory_size(&record.rows));
            self.rows -= record.rows.num_rows();
            moved.push(record);
        }
        self.floor = through;
        moved
    }
}

impl Flusher {
    async fn append(
        &mut self,
        table: Table,
        log: LogId,
        records: &[Record],
        through: Lsn,
        now: Micros,
    ) -> Result<(TableVersion, (usize, u64)), Error> {
        if !self.tables.contains_key(&table) {
            let opened = LakeTable::open_or_create(&self.root, table).await?;
            self.tables.insert(table, opened);
        }
        let opened = self.tables.get_mut(&table).ok_or(Error::Stopped)?;
        let appended = opened.append(&self.threads, log, records, through, now / 1000).await;
        if appended.is_err() {
            // What is on disk is read anew before the next attempt.
            self.tables.remove(&table);
        }
        Ok((appended?, self.tables.get(&table).ok_or(Error::Stopped)?.size()?))
    }
}
