//! The process that takes events in: log, deduplication and tables, tied together.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use ingest::{
    OrganizationId, Rejection, Table, Verdict,
    decode::{self, Batch, Form, Malformed, Sender},
    dedup::Seen,
    identity::{Key, Pseudonyms},
    intake::{Intake, Observer, Refused, Settled},
    log::{self, LogId, Lsn, Record},
    time::Micros,
};
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::{Changes, Cut, Error, LakeTable, Location, Mark, Root, reader};

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
    /// Log segments are kept so long after their rows were moved: the longest query deadline and some.
    pub keep_log: Duration,
    /// Microseconds since 1970, UTC.
    pub clock: fn() -> Micros,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Each event has its verdict, in order.
    Settled(Vec<Verdict>),
    /// The body as a whole was not readable.
    Malformed(Malformed),
    /// Nothing was written; the sender may try again.
    Refused(Refused),
}

/// The open lakehouse. Clones share it.
#[derive(Debug, Clone)]
pub struct Lakehouse {
    intake: Intake,
    shared: Arc<Shared>,
    flusher: Arc<tokio::sync::Mutex<Flusher>>,
    decoding: Arc<Semaphore>,
    settings: Arc<Settings>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changes: Changes,
    /// Rows wait for the tables.
    full: Notify,
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
    marks: BTreeMap<Table, Mark>,
}

#[derive(Debug)]
struct Flusher {
    root: Root,
    tables: BTreeMap<Table, LakeTable>,
    retired: VecDeque<(Micros, Lsn)>,
}

/// Bytes of rows that may wait for the tables before senders are told to come back.
const PENDING_BYTES_MAX: usize = 512 << 20;

impl Observer for Shared {
    fn durable(&self, records: Vec<Record>) {
        let mut state = self.lock();
        for record in records {
            self.changes.note(&record);
            state.durable = record.last_lsn();
            state.bytes += get_record_batch_memory_size(&record.rows);
            state.rows += record.rows.num_rows();
            state.pending.push_back(record);
        }
        if state.bytes >= state.flush_at.0 || state.rows >= state.flush_at.1 {
            self.full.notify_one();
        }
    }

    fn broken(&self, error: &ingest::Error) {
        tracing::error!(%error, "the log cannot be written; this process must end");
        self.is_broken.store(true, std::sync::atomic::Ordering::Release);
        self.broken.notify_waiters();
    }
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
                    runtime.block_on(stored_keys(&root, after)).map_err(|error| match error {
                        Error::Ingest(error) => error,
                        error => ingest::Error::Mapping(error.to_string()),
                    })
                };
                let (log, index) = (&settings.log_dir, &settings.index_dir);
                Intake::open(log, index, settings.fresh_log, observer, catch_up)
            };
            tokio::task::spawn_blocking(open).await.map_err(|_| Error::Stopped)??
        };
        let mut tables = BTreeMap::new();
        let mut marks = BTreeMap::new();
        for table in Table::ALL {
            if let Some(opened) = LakeTable::open(&root, table).await? {
                let txn = opened.committed(intake.log()).await?;
                marks.insert(table, Mark { version: opened.version(), txn });
                tables.insert(table, opened);
            }
        }
        let floor = log::retired_through(intake.dir())?;
        {
            let mut state = shared.lock();
            state.flush_at = (settings.flush_bytes, settings.flush_rows);
            state.floor = floor;
            state.durable = floor;
            state.marks = marks;
        }
        shared.durable(records);
        shared.changes.begin_after(shared.lock().durable);
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Self {
            intake,
            shared,
            flusher: Arc::new(tokio::sync::Mutex::new(Flusher {
                root,
                tables,
                retired: VecDeque::from([((settings.clock)(), floor)]),
            })),
            decoding: Arc::new(Semaphore::new(cores)),
            settings: Arc::new(settings),
        })
    }

    /// Decodes, checks and stores a body of events. Returns once every accepted one is on the disk.
    pub async fn take_in(
        &self,
        form: Form,
        body: Bytes,
        organization: Option<OrganizationId>,
    ) -> Result<Outcome, Error> {
        if self.is_full() {
            return Ok(Outcome::Refused(Refused::Overloaded));
        }
        let permit = self.decoding.acquire().await.map_err(|_| Error::Stopped)?;
        let received_at = (self.settings.clock)();
        let (intake, settings) = (self.intake.clone(), Arc::clone(&self.settings));
        let (text, owner) = (body.clone(), organization.clone());
        let decoded = tokio::task::spawn_blocking(move || {
            let sender =
                Sender { organization: organization.as_ref(), pseudonyms: &settings.pseudonyms };
            let decoded = match decode::decode(form, &text, &sender, received_at)? {
                Ok(decoded) => decoded,
                Err(malformed) => return Ok(Err(malformed)),
            };
            let submission = intake.probe(decoded.batches, received_at)?;
            Ok::<_, ingest::Error>(Ok((decoded.events, decoded.rejected, submission)))
        });
        let decoded = decoded.await.map_err(|_| Error::Stopped)??;
        drop(permit);
        let (events, rejected, submission) = match decoded {
            Ok(decoded) => decoded,
            Err(malformed) => return Ok(Outcome::Malformed(malformed)),
        };
        let settled = match self.settle(submission).await? {
            Ok(settled) => settled,
            Err(refused) => return Ok(Outcome::Refused(refused)),
        };
        let mut verdicts = vec![Verdict::Accepted; events as usize];
        let rejected = rejected.into_iter().map(|(index, why)| (index, Verdict::Rejected(why)));
        let mut conflicts = Vec::new();
        for (index, verdict) in rejected.chain(settled) {
            if let Verdict::Rejected(why) = &verdict
                && why.code == ingest::RejectionCode::IdConflict
            {
                conflicts.push((index, why.clone()));
            }
            verdicts[index as usize] = verdict;
        }
        if !conflicts.is_empty() {
            self.keep_conflicts(form, &body, owner.as_ref(), &conflicts).await?;
        }
        Ok(Outcome::Settled(verdicts))
    }

    /// Stores rows that are not events of a request: changes of dimensions. Known ones are left out.
    pub async fn store(&self, batches: Vec<Batch>) -> Result<Result<(), Refused>, Error> {
        let submission = self.intake.probe(batches, (self.settings.clock)())?;
        Ok(self.settle(submission).await?.map(drop))
    }

    /// The line up to which a query may read now.
    pub fn cut(&self) -> Cut {
        let state = self.shared.lock();
        Cut {
            log: self.intake.log().0,
            lsn: state.durable,
            floor: state.floor,
            tables: state.marks.iter().map(|(t, mark)| (t.name().to_owned(), *mark)).collect(),
        }
    }

    /// On which days rows came since the start. A row is noted there before any cut shows it.
    pub fn changes(&self) -> Changes {
        self.shared.changes.clone()
    }

    /// Rows in the log that no table holds yet.
    pub fn lag_rows(&self) -> usize {
        self.shared.lock().rows
    }

    /// Waits until there is room for a bulk load.
    pub async fn room(&self) {
        while self.shared.lock().bytes > 2 * self.settings.flush_bytes {
            let _ =
                tokio::time::timeout(Duration::from_millis(50), self.shared.moved.notified()).await;
        }
    }

    /// Moves everything that is in the log now to the tables.
    pub async fn flush(&self) -> Result<(), Error> {
        let until = self.shared.lock().durable;
        while self.shared.lock().floor < until {
            if !self.flush_once().await? {
                break;
            }
        }
        Ok(())
    }

    /// Moves rows as they come, until the future is dropped. A failure is logged and tried again.
    pub async fn run(&self) {
        loop {
            let _ =
                tokio::time::timeout(self.settings.flush_age, self.shared.full.notified()).await;
            if let Err(error) = self.flush_once().await {
                tracing::error!(error = &error as &dyn std::error::Error, "rows stay in the log");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            self.unlink_retired().await;
        }
    }

    /// Whether the log cannot be written any more.
    pub fn is_broken(&self) -> bool {
        self.shared.is_broken.load(std::sync::atomic::Ordering::Acquire)
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
        self.flush().await
    }

    fn is_full(&self) -> bool {
        self.shared.lock().bytes > PENDING_BYTES_MAX
    }

    async fn settle(
        &self,
        submission: ingest::intake::Submission,
    ) -> Result<Result<Settled, Refused>, Error> {
        let (sender, receiver) = oneshot::channel();
        self.intake.submit(
            submission,
            Box::new(move |settled| {
                // A client that went away does not need its answer.
                let _ = sender.send(settled);
            }),
        );
        receiver.await.map_err(|_| Error::Stopped)
    }

    /// An identity with other content is only found at the log: its dead letter follows.
    async fn keep_conflicts(
        &self,
        form: Form,
        body: &Bytes,
        owner: Option<&OrganizationId>,
        conflicts: &[(u32, Rejection)],
    ) -> Result<(), Error> {
        let text = std::str::from_utf8(body).unwrap_or_default();
        let Ok(events) = decode::split(form, text) else { return Ok(()) };
        let conflicts: Vec<_> = conflicts
            .iter()
            .filter_map(|(index, why)| {
                let event = *events.get(*index as usize)?;
                let owner = owner.map(ToString::to_string).or_else(|| decode::subject(event));
                Some((owner, why, event))
            })
            .collect();
        let letters = conflicts.iter().map(|(owner, why, event)| (owner.as_deref(), *why, *event));
        let batch = decode::dead_letters(letters, (self.settings.clock)())?;
        if let Err(refused) = self.store(batch.into_iter().collect()).await? {
            tracing::warn!(%refused, "conflicting events were answered, but not kept as dead letters");
        }
        Ok(())
    }

    /// Moves one flush's worth of rows; `false` when there was nothing to move.
    async fn flush_once(&self) -> Result<bool, Error> {
        let mut flusher = self.flusher.lock().await;
        let records = self.shared.lock().first(self.settings.flush_rows);
        let Some(through) = records.last().map(Record::last_lsn) else { return Ok(false) };
        let now = (self.settings.clock)();
        let log = self.intake.log();
        for table in Table::ALL {
            if records.iter().any(|record| record.table == table) {
                let mark = flusher.append(table, log, &records, through, now).await?;
                self.shared.lock().marks.insert(table, mark);
            }
        }
        let intake = self.intake.clone();
        let retire = move || {
            intake.index(&records, through)?;
            intake.retire(through)
        };
        tokio::task::spawn_blocking(retire).await.map_err(|_| Error::Stopped)??;
        self.shared.lock().forget(through);
        self.shared.moved.notify_waiters();
        flusher.retired.push_back((now, through));
        Ok(true)
    }

    async fn unlink_retired(&self) {
        let mut flusher = self.flusher.lock().await;
        let keep = i64::try_from(self.settings.keep_log.as_micros()).unwrap_or(i64::MAX);
        let now = (self.settings.clock)();
        while let Some((_, through)) =
            flusher.retired.pop_front_if(|(at, _)| now.saturating_sub(*at) > keep)
        {
            if let Err(error) = self.intake.unlink_retired(through) {
                tracing::warn!(%error, "retired log segments could not be removed");
            }
        }
    }
}

impl State {
    /// The oldest records, about `rows` rows of them.
    fn first(&self, rows: usize) -> Vec<Record> {
        let mut taken = 0;
        self.pending
            .iter()
            .take_while(|record| {
                let wanted = taken < rows;
                taken += record.rows.num_rows();
                wanted
            })
            .cloned()
            .collect()
    }

    fn forget(&mut self, through: Lsn) {
        while let Some(record) = self.pending.pop_front_if(|r| r.last_lsn() <= through) {
            self.bytes = self.bytes.saturating_sub(get_record_batch_memory_size(&record.rows));
            self.rows -= record.rows.num_rows();
        }
        self.floor = through;
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
    ) -> Result<Mark, Error> {
        if !self.tables.contains_key(&table) {
            let opened = LakeTable::open_or_create(&self.root, table).await?;
            self.tables.insert(table, opened);
        }
        let opened = self.tables.get_mut(&table).ok_or(Error::Stopped)?;
        let appended = opened.append(log, records, through, now / 1000).await;
        if appended.is_err() {
            // What is on disk is read anew before the next attempt.
            self.tables.remove(&table);
        }
        appended
    }
}

/// The identities of the rows above `after` that the tables hold.
async fn stored_keys(root: &Root, after: Lsn) -> Result<Vec<(Key, Seen)>, Error> {
    let mut keys = Vec::new();
    for table in Table::ALL {
        if let Some(opened) = LakeTable::open(root, table).await? {
            keys.extend(reader::stored_keys(root, &opened, after).await?);
        }
    }
    Ok(keys)
}
