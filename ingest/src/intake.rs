//! The thread that writes: it takes decoded requests from a bounded queue, settles duplicates, writes one
//! group of records with one fsync, and only then answers everybody in the group.

mod refused;
mod rows;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use arrow::{array::BooleanArray, compute};
pub use refused::Refused;
use rows::{conflict, content_hashes, merge};

use crate::{
    Error, Verdict,
    decode::Batch,
    dedup::{AcceptedEvent, Index, RecentKeys, keys_of},
    identity::{Key, earlier_hashes},
    log::{self, AppendStats, LogId, LogWriter, Lsn, Record},
    time::Micros,
};

/// A decoded request on its way to the log.
#[derive(Debug)]
pub struct Submission {
    pub batches: Vec<Batch>,
    /// For each batch and row, what the index knows of the key ([`Intake::probe`]).
    pub known: Vec<Vec<Option<AcceptedEvent>>>,
    /// How far the index reached when it was asked.
    pub probed_through: Lsn,
    /// The rows are only true together: all of them are written, or none.
    pub together: bool,
}

/// A decoded request of which some keys may be in the index.
#[derive(Debug)]
pub struct FilteredSubmission {
    submission: Submission,
    /// Batch and row.
    doubtful: Vec<(usize, usize)>,
}

impl FilteredSubmission {
    /// Whether the index must be asked. That waits where its files are being exchanged.
    pub fn is_doubtful(&self) -> bool {
        !self.doubtful.is_empty()
    }
}

/// What a group commit says of each row: its place in the request, and the verdict.
pub type RowVerdicts = Vec<(u32, Verdict)>;

/// Called once with the outcome, from the writing thread.
pub type VerdictCallback = Box<dyn FnOnce(Result<RowVerdicts, Refused>) + Send>;

/// What the writing thread reports, before anybody is answered.
pub trait Observer: Send + Sync + 'static {
    /// These records are on the disk now.
    fn durable(&self, records: Vec<Record>);
    /// The log grew by so many bytes, and the fsync took so long.
    fn synced(&self, _: AppendStats) {}
    /// A submission was refused, since the index could not be read.
    fn unread(&self, _: &Error) {}
    /// The log takes nothing more: the process should end, and replay at its next start.
    fn broken(&self, error: &Error);
}

enum Message {
    Submit(Submission, VerdictCallback),
    Indexed(Lsn),
    Roll(mpsc::Sender<Result<u64, Error>>),
    Stop,
}

/// The front of the log. Clones share it.
#[derive(Debug, Clone)]
pub struct Intake {
    queue: mpsc::SyncSender<Message>,
    index: Index,
    indexed: Arc<AtomicU64>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    dir: PathBuf,
    log: LogId,
}

/// Requests that may wait for the writer; beyond them the sender is told to come back.
const QUEUE: usize = 1024;
/// Rows after which a group is closed.
const GROUP_ROWS: usize = 50_000;
/// Keys that go from memory at once: less than a millisecond of work.
const EVICTED_AT_ONCE: usize = 4_096;

impl Intake {
    /// Opens the log and the index and starts the writing thread. Returns the records that are in the log.
    ///
    /// `catch_up(from)` gives the keys that tables hold above an LSN, in case the index lags behind them.
    pub fn open(
        dir: &Path,
        index_dir: &Path,
        fresh: LogId,
        clock: fn() -> Micros,
        observer: Arc<dyn Observer>,
        catch_up: impl FnOnce(Lsn) -> Result<Vec<(Key, AcceptedEvent)>, Error>,
    ) -> Result<(Self, Vec<Record>), Error> {
        let (writer, mut tail) = LogWriter::open(dir, fresh)?;
        let index = Index::open(index_dir, writer.log())?;
        let retired = log::retired_through(dir)?;
        let indexed = index.through()?;
        if indexed < retired {
            index.insert(catch_up(indexed)?, retired)?;
        }
        let index = index.filtered(index_dir)?;
        let indexed = index.through()?;
        let mut hot = RecentKeys::new(indexed);
        let records: Vec<_> = tail.take().collect();
        for record in &records {
            for (key, seen) in keys_of(&record.rows, |row| record.first_lsn + row as Lsn) {
                if seen.lsn > indexed {
                    hot.insert(key, seen);
                }
            }
        }
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let log = writer.log();
        let thread = {
            let index = index.clone();
            std::thread::Builder::new()
                .name("log-writer".into())
                .spawn(move || WriterThread { writer, hot, index, clock, observer }.run(&messages))
                .map_err(Error::io(dir))?
        };
        let intake = Self {
            queue,
            index,
            indexed: Arc::new(AtomicU64::new(indexed)),
            thread: Arc::new(Mutex::new(Some(thread))),
            dir: dir.to_path_buf(),
            log,
        };
        Ok((intake, records))
    }

    pub fn log(&self) -> LogId {
        self.log
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Says of every key whether the index may hold it, without looking there.
    pub fn check_filter(&self, batches: Vec<Batch>) -> FilteredSubmission {
        let probed_through = self.indexed.load(Ordering::Acquire);
        let mut doubtful = Vec::new();
        let filter = self.index.filter();
        for (place, batch) in batches.iter().enumerate() {
            let keys = batch.keys.iter().enumerate();
            let held = keys.filter(|(_, key)| filter.may_hold(**key));
            doubtful.extend(held.map(|(row, _)| (place, row)));
        }
        let known = batches.iter().map(|batch| vec![None; batch.keys.len()]).collect();
        let submission = Submission { batches, known, probed_through, together: false };
        FilteredSubmission { submission, doubtful }
    }

    /// Looks up what is doubtful: work for the caller's thread, not for the writer's.
    pub fn look_up(&self, sifted: FilteredSubmission) -> Result<Submission, Error> {
        let FilteredSubmission { mut submission, doubtful } = sifted;
        for (place, row) in doubtful {
            let key = submission.batches[place].keys[row];
            submission.known[place][row] = self.index.get(key)?;
        }
        Ok(submission)
    }

    /// Looks up every key that the index may hold.
    pub fn probe(&self, batches: Vec<Batch>) -> Result<Submission, Error> {
        self.look_up(self.check_filter(batches))
    }

    /// Hands a request to the writer. `answer` is called once, when the rows are on the disk or refused.
    pub fn submit(&self, submission: Submission, answer: VerdictCallback) {
        let full = match self.queue.try_send(Message::Submit(submission, answer)) {
            Ok(()) => return,
            Err(error) => error,
        };
        match full {
            mpsc::TrySendError::Full(Message::Submit(_, answer)) => {
                answer(Err(Refused::Overloaded))
            }
            mpsc::TrySendError::Disconnected(Message::Submit(_, answer)) => {
                answer(Err(Refused::Broken));
            }
            _ => {}
        }
    }

    /// Adds the keys of rows that the tables hold durably to the index, up to `through`. They are written when enough
    /// of them wait, or by [`Self::write_index`].
    pub fn index(&self, records: &[Record], through: Lsn) -> Result<(), Error> {
        let keys = records
            .iter()
            .flat_map(|record| keys_of(&record.rows, |row| record.first_lsn + row as Lsn));
        self.index.hold(keys.filter(|(_, seen)| seen.lsn <= through), through)?;
        self.indexed.fetch_max(through, Ordering::AcqRel);
        // A stopped writer has no map to empty.
        let _ = self.queue.send(Message::Indexed(through));
        Ok(())
    }

    /// Writes the keys that wait in the index.
    pub fn write_index(&self) -> Result<(), Error> {
        self.index.write_held()
    }

    /// Gives keys that the index holds another content.
    pub fn reindex(&self, entries: Vec<(Key, AcceptedEvent)>) -> Result<(), Error> {
        self.index.write_held()?;
        self.index.insert(entries, self.index.through()?)?;
        self.index.sync()
    }

    /// Closes the segment that is written to, and gives the bytes that the log grew by: what was written until now
    /// is in segments that go when they are retired.
    pub fn roll(&self) -> Result<u64, Error> {
        let (sender, receiver) = mpsc::channel();
        self.queue.send(Message::Roll(sender)).map_err(|_| Error::Closed)?;
        receiver.recv().map_err(|_| Error::Closed)?
    }

    /// Every identity that the index holds now, in the order of the keys.
    pub fn entries(
        &self,
    ) -> Result<impl Iterator<Item = Result<(Key, AcceptedEvent), Error>> + use<>, Error> {
        self.index.write_held()?;
        Ok(self.index.entries())
    }

    /// Notes how far the index is written: up to there, it and the tables hold everything durably. Gives that LSN.
    pub fn retire(&self) -> Result<Lsn, Error> {
        let through = self.index.through()?;
        if through > log::retired_through(&self.dir)? {
            self.index.sync()?;
            log::retire(&self.dir, through)?;
        }
        Ok(through)
    }

    /// Unlinks the segments that hold nothing above `through`, and gives the bytes that they held.
    pub fn unlink_retired(&self, through: Lsn) -> Result<u64, Error> {
        log::unlink_retired(&self.dir, through)
    }

    /// Answers what is queued, then ends the writing thread.
    pub fn stop(&self) {
        let _ = self.queue.send(Message::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// The state of the writing thread.
struct WriterThread {
    writer: LogWriter,
    hot: RecentKeys,
    index: Index,
    clock: fn() -> Micros,
    observer: Arc<dyn Observer>,
}

/// What a group has gathered so far.
#[derive(Default)]
struct Group {
    records: Vec<Record>,
    answers: Vec<(VerdictCallback, RowVerdicts)>,
    rows: usize,
}

impl WriterThread {
    fn run(mut self, messages: &mpsc::Receiver<Message>) {
        let mut stopping = false;
        while !stopping {
            let Some(mut message) = self.next(messages) else { return };
            let mut group = Group::default();
            let first = self.writer.next_lsn();
            loop {
                match message {
                    Message::Submit(submission, answer) => {
                        self.gather(submission, answer, first, &mut group);
                    }
                    Message::Indexed(through) => self.hot.indexed(through),
                    // What the group has gathered is not written yet: it goes to the new segment.
                    Message::Roll(answer) => {
                        let _ = answer.send(self.writer.roll());
                    }
                    Message::Stop => stopping = true,
                }
                if group.rows >= GROUP_ROWS || stopping {
                    break;
                }
                match messages.try_recv() {
                    Ok(next) => message = next,
                    Err(_) => break,
                }
            }
            let rows = group.rows;
            self.commit(group, first);
            // More than came: who sends without a pause leaves no other time for it.
            self.hot.evict(EVICTED_AT_ONCE.max(2 * rows));
        }
    }

    /// Waits for the next message, and lets go of old keys meanwhile.
    fn next(&mut self, messages: &mpsc::Receiver<Message>) -> Option<Message> {
        loop {
            match messages.try_recv() {
                Ok(message) => return Some(message),
                Err(mpsc::TryRecvError::Disconnected) => return None,
                Err(mpsc::TryRecvError::Empty) if self.hot.evict(EVICTED_AT_ONCE) => {}
                Err(mpsc::TryRecvError::Empty) => return messages.recv().ok(),
            }
        }
    }

    /// Settles a submission against everything that was accepted before it, and adds what is new to the group.
    fn gather(
        &mut self,
        mut submission: Submission,
        answer: VerdictCallback,
        first: Lsn,
        group: &mut Group,
    ) {
        if let Err(error) = self.look_again(&mut submission) {
            self.observer.unread(&error);
            answer(Err(Refused::Broken));
            return;
        }
        let mut settled = RowVerdicts::new();
        if submission.together && self.is_known(&submission, &mut settled) {
            group.answers.push((answer, settled));
            return;
        }
        for (batch, known) in submission.batches.into_iter().zip(submission.known) {
            let mut keep = vec![true; batch.rows.num_rows()];
            let start = first + group.rows as Lsn;
            let mut next = start;
            let hashes = content_hashes(&batch);
            let mut barred = batch.barred.iter().peekable();
            for (row, (key, hash)) in batch.keys.iter().zip(hashes).enumerate() {
                let bar = barred.next_if(|(place, _)| *place == row).map(|(_, why)| why);
                let verdict = match bar {
                    None => self.verdict(&batch, row, hash, known[row]),
                    Some(_) if self.seen(*key, known[row]).is_some() => Verdict::Duplicate,
                    Some(why) => Verdict::Rejected(why.clone()),
                };
                if verdict == Verdict::Accepted {
                    self.hot.insert(*key, AcceptedEvent { content_hash: hash, lsn: next });
                    next += 1;
                }
                keep[row] = verdict == Verdict::Accepted;
                settled.push((batch.index[row], verdict));
            }
            let rows = if keep.iter().all(|keep| *keep) {
                Ok(batch.rows)
            } else {
                compute::filter_record_batch(&batch.rows, &BooleanArray::from(keep))
            };
            // The filter is as long as the batch, so this cannot fail.
            let Ok(rows) = rows else { continue };
            if rows.num_rows() > 0 {
                group.rows += rows.num_rows();
                group.records.push(Record {
                    table: batch.table,
                    first_lsn: start,
                    // Stamped when the group is written.
                    ingested_at: 0,
                    rows,
                });
            }
        }
        group.answers.push((answer, settled));
    }

    fn verdict(
        &self,
        batch: &Batch,
        row: usize,
        hash: i64,
        known: Option<AcceptedEvent>,
    ) -> Verdict {
        match self.seen(batch.keys[row], known) {
            None => Verdict::Accepted,
            Some(seen) if seen.content_hash == hash => Verdict::Duplicate,
            // It may have been accepted by an older version.
            Some(seen)
                if earlier_hashes(batch.table, &batch.rows.slice(row, 1))
                    .contains(&Some(seen.content_hash)) =>
            {
                Verdict::Duplicate
            }
            Some(_) => Verdict::Rejected(conflict()),
        }
    }

    /// Looks up what may have moved to the index after the sender looked there. A key that cannot be read may be that
    /// of an event which was accepted: nothing is taken then.
    fn look_again(&self, submission: &mut Submission) -> Result<(), Error> {
        if submission.probed_through >= self.hot.evicted() {
            return Ok(());
        }
        for (batch, known) in submission.batches.iter().zip(&mut submission.known) {
            for (key, known) in batch.keys.iter().zip(known) {
                if known.is_none() && self.hot.get(*key).is_none() {
                    *known = self.index.get(*key)?;
                }
            }
        }
        Ok(())
    }

    fn seen(&self, key: Key, known: Option<AcceptedEvent>) -> Option<AcceptedEvent> {
        known.or_else(|| self.hot.get(key))
    }

    /// Whether a row of the submission was accepted before. Then the verdict of the first such row is everyone's.
    fn is_known(&self, submission: &Submission, settled: &mut RowVerdicts) -> bool {
        let rows = submission.batches.iter().zip(&submission.known).flat_map(|(batch, known)| {
            let hashes = content_hashes(batch);
            let rows = known.iter().zip(hashes).enumerate();
            rows.map(move |(row, (known, hash))| self.verdict(batch, row, hash, *known))
        });
        let found = rows.into_iter().find(|verdict| *verdict != Verdict::Accepted);
        if let Some(verdict) = &found {
            let places = submission.batches.iter().flat_map(|batch| &batch.index);
            settled.extend(places.map(|index| (*index, verdict.clone())));
        }
        found.is_some()
    }

    fn commit(&mut self, mut group: Group, first: Lsn) {
        let mut records = Vec::new();
        let written = if group.records.is_empty() {
            Ok(None)
        } else {
            // One time for the whole group: a row that was given that of another request would tell when that came.
            let now = (self.clock)();
            group.records.iter_mut().for_each(|record| record.ingested_at = now);
            merge(group.records).and_then(|merged| {
                records = merged;
                self.writer.append(&records).map(Some)
            })
        };
        if let Ok(Some(written)) = written {
            self.observer.synced(written);
        }
        if let Err(error) = written {
            self.hot.take_back(first);
            let refused = match &error {
                Error::DiskFull { .. } => Refused::DiskFull,
                _ => Refused::Broken,
            };
            if self.writer.is_broken() {
                self.observer.broken(&error);
            }
            for (answer, _) in group.answers {
                answer(Err(refused));
            }
            return;
        }
        if !records.is_empty() {
            self.observer.durable(records);
        }
        for (answer, settled) in group.answers {
            answer(Ok(settled));
        }
    }
}

#[cfg(test)]
mod tests;
