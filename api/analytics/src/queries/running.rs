//! Queries on their way: each has an id, can be seen and stopped while it runs, and ends in the history.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use query::{
    AnswerStream, Cost, Engine, QueryError, QuerySummary, Reason, Request, pool::WorkerMessage,
};
use rest::{
    client_limiter::{ClientLimiter, ClientPermit, LimitReached},
    pace::AnswerLimiter,
    principal::{Ability, Principal},
    problem::Problem,
};
use state::{
    clock::Clock,
    ids::{base62, random_bytes},
    store::{Store, StoreError},
    tasks::Tasks,
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use super::{
    code,
    history::{self, Entry, Status, kept_detail, kept_sql},
    problem,
};
use crate::as_of::CutCipher;

/// Starts queries and knows those that run. Clones share them.
#[derive(Debug, Clone)]
pub struct Runner {
    engine: Engine,
    clock: Clock,
    cut_cipher: CutCipher,
    shared: Arc<Mutex<Shared>>,
    /// For answers, while they are made and read.
    pub readers: AnswerLimiter,
    /// For those who read the history: each of its pages is held whole.
    pub(super) lists: ClientLimiter,
    pub(super) tasks: Tasks,
    /// Held while entries go from memory to the history: who looks for one waits until it is there.
    pub(super) writing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    running: HashMap<String, Arc<LiveQuery>>,
    /// Those that ended and are not written to the history yet.
    ended: Vec<Entry>,
    /// Bytes that went to the history since it was last tidied up.
    written_bytes: usize,
}

impl Shared {
    fn remember(&mut self, entry: Entry) {
        let is_own = |other: &&Entry| other.organization_id == entry.organization_id;
        if self.ended.len() < ENDED_MAX && self.ended.iter().filter(is_own).count() < OWN_ENDED_MAX
        {
            self.ended.push(entry);
        }
    }

    fn give_back(&mut self, mut entries: Vec<Entry>) {
        entries.append(&mut self.ended);
        entries.truncate(ENDED_MAX);
        self.ended = entries;
    }
}

/// A query while it is under way.
#[derive(Debug)]
struct LiveQuery {
    seen: Mutex<Entry>,
    stop: Notify,
}

/// A query that runs. Dropped before its end, it is stopped, and the history says so.
#[derive(Debug)]
pub struct RunningQuery {
    runner: Runner,
    id: String,
    who: Principal,
    /// Whether the answer shows what says something of persons.
    persons: bool,
    live: Arc<LiveQuery>,
    pieces: AnswerStream,
    /// When it is stopped; of an answer that is there already, never.
    deadline: Option<Instant>,
    is_over: bool,
    /// Whether the history has it already.
    is_listed: bool,
}

/// Says when a query is not to go on, to whoever writes its answer.
#[derive(Debug)]
pub(super) struct CancelToken {
    live: Arc<LiveQuery>,
    deadline: Option<Instant>,
}

/// Entries that wait to be written, at most: more are forgotten rather than held.
const ENDED_MAX: usize = 2_000;
/// The same of one organization: whose queries fail by the thousand does not push others out of the history.
const OWN_ENDED_MAX: usize = 500;
/// Requests that read the history at the same time.
const LISTS_EACH: usize = 4;
const LISTS_ALL: usize = 24;
/// Statements that were refused before they ran, by code.
const REFUSALS: &str = "query_refusals_total";

impl Runner {
    pub fn new(engine: Engine, clock: Clock, cut_cipher: CutCipher, tasks: Tasks) -> Self {
        let lists = ClientLimiter::new(LISTS_EACH, LISTS_ALL);
        let (shared, readers, writing) = (Arc::default(), AnswerLimiter::default(), Arc::default());
        Self { engine, clock, cut_cipher, shared, readers, lists, tasks, writing }
    }

    /// Writes the queries that ended to the history.
    pub async fn write_ended(&self, store: &Store) -> Result<(), StoreError> {
        let _writing = self.writing.lock().await;
        let entries = self.take_ended();
        let written = history::write(store, &entries).await;
        match written {
            Ok(()) => self.note_written(&entries),
            Err(_) => self.give_back(entries),
        }
        written
    }

    /// Starts a query.
    ///
    /// # Errors
    /// Its problem, with its id.
    pub async fn start(&self, who: &Principal, request: Request) -> Result<RunningQuery, Problem> {
        let mut running = self.admit(who, &request)?;
        match running.begin(request).await {
            Ok(()) => Ok(running),
            Err(error) => {
                running.end(Err(&error));
                Err(problem(error).with("query_id", running.id()))
            }
        }
    }

    /// Puts a query on the list of those that are under way, before it runs.
    pub fn admit(&self, who: &Principal, request: &Request) -> Result<RunningQuery, Problem> {
        metrics::counter!("query_requests_total").increment(1);
        let id = format!("qry_{}", base62(&random_bytes::<12>()?, 17));
        let entry = Entry {
            query_id: id.clone(),
            principal_id: who.id.clone(),
            principal: who.name.clone(),
            organization_id: who.reach.organization_id().map(str::to_owned),
            sql: kept_sql(&request.sql),
            as_of: self.cut_cipher.token(&request.cut, who)?,
            started_at: self.clock.now(),
            duration_ms: 0,
            status: Status::Queued,
            code: None,
            detail: None,
            rows: 0,
            bytes: 0,
            truncated: false,
            rows_scanned: None,
            bytes_scanned: None,
            memory_bytes: None,
            kept_until: None,
        };
        let live = Arc::new(LiveQuery { seen: Mutex::new(entry), stop: Notify::new() });
        self.lock().running.insert(id.clone(), Arc::clone(&live));
        let (_, none) = mpsc::channel(1);
        let (runner, who, persons) = (self.clone(), who.clone(), request.terms.persons);
        let (pieces, deadline, is_over, is_listed) = (none.into(), None, false, false);
        Ok(RunningQuery { runner, id, who, persons, live, pieces, deadline, is_over, is_listed })
    }

    /// An answer that is there already, to be written like one that comes.
    pub fn replay(&self, who: &Principal, entry: Entry, pieces: AnswerStream) -> RunningQuery {
        let (id, who) = (entry.query_id.clone(), who.clone());
        let live = Arc::new(LiveQuery { seen: Mutex::new(entry), stop: Notify::new() });
        let (runner, persons, deadline) = (self.clone(), false, None);
        let (is_over, is_listed) = (true, true);
        RunningQuery { runner, id, who, persons, live, pieces, deadline, is_over, is_listed }
    }

    /// Queries that are under way, newest first, as far as they are of interest.
    pub fn running(&self, interest: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let now = self.clock.now();
        let live: Vec<_> = self.lock().running.values().map(Arc::clone).collect();
        let mut entries: Vec<_> = live.iter().map(|live| live.at(now)).collect();
        entries.retain(interest);
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.started_at));
        entries
    }

    /// Stops a query; `false` when it does not run.
    pub fn stop(&self, id: &str) -> bool {
        let live = self.lock().running.get(id).map(Arc::clone);
        if let Some(live) = &live {
            live.stop.notify_one();
        }
        live.is_some()
    }

    /// Counts entries that were written to the history.
    pub(super) fn note_written(&self, entries: &[Entry]) {
        self.lock().written_bytes += entries.iter().map(Entry::bytes).sum::<usize>();
    }

    /// Whether more than `most` bytes went to the history; then they are counted anew.
    pub(super) fn has_written(&self, most: usize) -> bool {
        let mut shared = self.lock();
        let has = shared.written_bytes > most;
        if has {
            shared.written_bytes = 0;
        }
        has
    }

    /// Takes the entries that wait to be written.
    pub(super) fn take_ended(&self) -> Vec<Entry> {
        std::mem::take(&mut self.lock().ended)
    }

    /// Gives entries back that could not be written.
    pub(super) fn give_back(&self, entries: Vec<Entry>) {
        self.lock().give_back(entries);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningQuery {
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn as_of(&self) -> String {
        self.live.lock().as_of.clone()
    }

    /// Whether its answer was there already.
    pub fn is_kept(&self) -> bool {
        self.pieces.is_kept()
    }

    /// Says that the history has it: how it ends is written there, whatever that is.
    pub fn note_listed(&mut self) {
        self.is_listed = true;
    }

    pub fn entry(&self) -> Entry {
        self.live.at(self.runner.clock.now())
    }

    /// Sends the query to a worker.
    pub async fn begin(&mut self, request: Request) -> Result<(), QueryError> {
        let as_of = self.runner.cut_cipher.token(&request.cut, &self.who);
        {
            let mut seen = self.live.lock();
            seen.status = Status::Running;
            seen.as_of =
                as_of.map_err(|_| QueryError::new(Reason::Unavailable, "no randomness"))?;
            seen.bytes = 0;
        }
        self.deadline = Some(Instant::now() + Duration::from_millis(request.deadline_ms));
        self.pieces = tokio::select! {
            biased;
            () = self.live.stop.notified() => return Err(canceled()),
            pieces = self.runner.engine.stream(request) => pieces?,
        };
        Ok(())
    }

    /// A place for the answer, before anything of it is made. Without one the query ends.
    pub(super) async fn place(&mut self) -> Result<ClientPermit, Problem> {
        let taken = self.runner.readers.place(&(&self.who).into()).await;
        taken.map_err(|full| {
            let error = match full {
                LimitReached::Own => QueryError::new(
                    Reason::TooMany,
                    "too many answers of yours are being read; read one to its end first",
                ),
                LimitReached::All => {
                    QueryError::new(Reason::Busy, "too many answers are being read")
                }
            };
            self.end(Err(&error));
            problem(error).with("query_id", self.id.as_str())
        })
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.runner.tasks
    }

    pub(super) fn stop(&self) -> CancelToken {
        CancelToken { live: Arc::clone(&self.live), deadline: self.deadline }
    }

    /// Waits for somebody who stops the query.
    pub async fn stopped(&self) {
        self.live.stop.notified().await;
    }

    /// The next piece of the answer. After one that is not of rows there are no more.
    pub async fn next(&mut self) -> WorkerMessage {
        let piece = self.piece().await;
        match &piece {
            WorkerMessage::Ended(ended) => self.end(Ok(ended)),
            WorkerMessage::Failed(error) => self.end(Err(error)),
            WorkerMessage::Rows(_) | WorkerMessage::Progress(_) => {}
        }
        piece
    }

    /// The same, while the query goes on after its last piece.
    pub async fn piece(&mut self) -> WorkerMessage {
        loop {
            let piece = tokio::select! {
                biased;
                () = self.live.stop.notified() => Some(WorkerMessage::Failed(canceled())),
                piece = self.pieces.recv() => piece,
            };
            let lost = || QueryError::new(Reason::Lost, "the query was cut off");
            match piece.unwrap_or_else(|| WorkerMessage::Failed(lost())) {
                WorkerMessage::Progress(cost) => self.live.lock().note(cost),
                WorkerMessage::Rows(rows) => {
                    self.live.lock().bytes += rows.len() as u64;
                    return WorkerMessage::Rows(rows);
                }
                last => return last,
            }
        }
    }

    /// Writes down how the query ended.
    pub fn end(&mut self, outcome: Result<&QuerySummary, &QueryError>) {
        if let Err(error) = outcome
            && is_refusal(error.reason)
            && !self.is_listed
        {
            metrics::counter!(REFUSALS, "code" => code(error.reason).as_str()).increment(1);
            self.is_over = true;
            self.runner.lock().running.remove(&self.id);
            return;
        }
        {
            let mut seen = self.live.lock();
            match outcome {
                Ok(ended) => {
                    seen.note(ended.cost);
                    seen.status = Status::Done;
                    (seen.rows, seen.truncated) = (ended.rows, ended.truncated);
                }
                Err(error) => {
                    let stopped = error.reason == Reason::Canceled;
                    seen.status = if stopped { Status::Canceled } else { Status::Failed };
                    seen.code = Some(code(error.reason).as_str().to_owned());
                    seen.detail = Some(kept_detail(&self.remembered(error)));
                }
            }
        }
        self.leave();
    }

    /// What the history keeps of an error. One of the rows quotes a value, which its reader may not see any more when
    /// he looks there: only administrators always see persons.
    fn remembered(&self, error: &QueryError) -> String {
        let is_lasting = !self.persons || self.who.may(Ability::Administer);
        match error.reason {
            Reason::Failed if !is_lasting => "the query failed on a row".to_owned(),
            _ => error.message.clone(),
        }
    }

    /// Says until when the answer is kept.
    pub fn keep_until(&self, at: DateTime<Utc>) {
        self.live.lock().kept_until = Some(at);
    }

    fn leave(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let entry = self.entry();
        let mut shared = self.runner.lock();
        shared.running.remove(&self.id);
        shared.remember(entry);
    }
}

impl CancelToken {
    /// Why the query is not to go on.
    pub(super) async fn reason(&self) -> QueryError {
        let overdue = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.live.stop.notified() => canceled(),
            () = overdue => {
                QueryError::new(Reason::Deadline, "the answer was not read in time")
            }
        }
    }
}

impl Drop for RunningQuery {
    /// Nobody reads any more.
    fn drop(&mut self) {
        if !self.is_over {
            self.live.lock().status = Status::Abandoned;
            self.leave();
        }
    }
}

impl LiveQuery {
    fn lock(&self) -> MutexGuard<'_, Entry> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, now: DateTime<Utc>) -> Entry {
        let mut entry = self.lock().clone();
        let took = now.signed_duration_since(entry.started_at).num_milliseconds();
        entry.duration_ms = took.max(0);
        entry
    }
}

impl Entry {
    fn note(&mut self, cost: Cost) {
        self.rows_scanned = cost.rows_scanned;
        self.bytes_scanned = cost.bytes_scanned;
        self.memory_bytes = cost.memory_bytes;
    }
}

/// Whether a statement was refused before it ran.
fn is_refusal(reason: Reason) -> bool {
    use Reason::{Busy, Invalid, NotAllowed, Parameters, Syntax, TooComplex, TooMany};
    matches!(reason, Busy | Invalid | NotAllowed | Parameters | Syntax | TooComplex | TooMany)
}

fn canceled() -> QueryError {
    QueryError::new(Reason::Canceled, "the query was stopped")
}

#[cfg(test)]
mod tests {
    use super::{super::history::tests::entry, *};

    #[test]
    fn one_organization_has_few_entries_that_wait_to_be_written() {
        let mut shared = Shared::default();
        let ask = |shared: &mut Shared, organization, count| {
            (0..count).for_each(|id| shared.remember(entry(id, organization, "select 1")));
            shared.ended.len()
        };
        assert_eq!(ask(&mut shared, Some("org_a"), 2 * OWN_ENDED_MAX), OWN_ENDED_MAX);
        // Those that could not be written count on.
        let unwritten = std::mem::take(&mut shared.ended);
        shared.give_back(unwritten);
        assert_eq!(ask(&mut shared, Some("org_a"), 1), OWN_ENDED_MAX);
        assert_eq!(ask(&mut shared, Some("org_b"), 1), OWN_ENDED_MAX + 1);
        for organization in ["org_b", "org_c", "org_d", "org_e"] {
            ask(&mut shared, Some(organization), OWN_ENDED_MAX);
        }
        assert_eq!(shared.ended.len(), ENDED_MAX);
    }
}
