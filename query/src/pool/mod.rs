//! The parent's side: workers that run one query each, are killed when they overrun, and are replaced.

mod child;
mod fair_queue;
mod scheduler;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use child::{Child, Fate};
use fair_queue::QueueFull;
use scheduler::{Scheduler, Slot, Tenant};
use tokio::{
    sync::{Mutex, mpsc},
    time::{Instant, timeout_at},
};

use crate::{
    Author, Cost, QueryError, QuerySummary, Reason, Request, RowAccess,
    worker::{Handshake, WorkerRequest},
};

/// How workers are started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program, and the argument that makes it a worker.
    pub program: PathBuf,
    pub argument: &'static str,
    /// Its whole environment.
    pub environment: &'static [(&'static str, &'static str)],
    pub handshake: Handshake,
}

/// What a worker says, piece by piece.
#[derive(Debug)]
pub enum WorkerMessage {
    /// Bytes of an Arrow IPC stream.
    Rows(Bytes),
    /// What the query read so far.
    Progress(Cost),
    Ended(QuerySummary),
    Failed(QueryError),
}

/// Some workers. Clones share them.
#[derive(Debug, Clone)]
pub struct Pool {
    launch: Arc<Launch>,
    idle: Arc<Mutex<Vec<Child>>>,
    scheduler: Scheduler,
    workers: usize,
    /// On how many a query is computed while nobody else waits.
    partitions: usize,
    /// Whether a worker is there before somebody asks.
    is_ready: bool,
}

/// Queries that may wait for a worker, for each worker there is: of all, and of one organization.
const WAITING_PER_WORKER: usize = 32;
const OWN_WAITING_PER_WORKER: usize = 8;
/// Workers for our own plans: one organization has all but one of them at most.
const RESERVED: usize = 2;
/// What a worker may hold that nobody asked for so long; a new one holds a tenth of it.
const IDLE_BYTES_MAX: usize = 64 << 20;
const UNASKED: Duration = Duration::from_secs(10);
/// Pieces that wait for their reader. Beyond them the worker waits.
const PIECES: usize = 4;
/// After its deadline a query that did not stop by itself is killed.
const GRACE: Duration = Duration::from_secs(2);

impl Pool {
    /// A pool of `workers`, none of them started yet.
    pub fn new(launch: Launch, workers: usize) -> Self {
        let (own, all) = (workers * OWN_WAITING_PER_WORKER, workers * WAITING_PER_WORKER);
        Self::with(launch, workers, Scheduler::new(workers, own, all))
    }

    /// Workers for our own plans: metrics, dashboards, lookups of events.
    pub fn reserved(launch: Launch) -> Self {
        Self::new(launch, RESERVED)
    }

    /// One worker for our own plans that nobody waits for. It is there while it has something to do, and takes one core,
    /// and the memory of one.
    pub fn ahead(launch: Launch) -> Self {
        let pool = Self::new(launch, 1);
        Self { is_ready: false, partitions: 1, ..pool }
    }

    fn with(launch: Launch, workers: usize, scheduler: Scheduler) -> Self {
        let partitions = launch.handshake.partitions;
        let (launch, idle) = (Arc::new(launch), Arc::default());
        Self { launch, idle, scheduler, workers, partitions, is_ready: true }
    }

    /// Starts a worker ahead of the first query, so that it does not wait for it.
    pub async fn warm(&self) {
        if !self.is_ready {
            return;
        }
        match Child::start(&self.launch).await {
            Ok(worker) => self.idle.lock().await.push(worker),
            Err(error) => tracing::error!(%error, "a query worker did not start"),
        }
    }

    /// Sends a query to a worker, and returns the pieces of its answer as they come. Dropping the receiver
    /// stops the query.
    pub async fn run(
        &self,
        mut request: Request,
    ) -> Result<mpsc::Receiver<WorkerMessage>, QueryError> {
        let deadline = Instant::now() + Duration::from_millis(request.deadline_ms);
        let mut place = self.scheduler.enter(&request.reach).map_err(refused)?;
        timeout_at(deadline, place.called())
            .await
            .map_err(|_| QueryError::new(Reason::Busy, "no query worker became free in time"))?;
        request.gives_way |= request.author == Author::Stranger && place.gives_way();
        let worker = self.take(&Tenant::of(&request.reach)).await?;
        let (pieces, receiver) = mpsc::channel(PIECES);
        let pool = self.clone();
        let partitions = match place.is_crowded() {
            // Where all workers are busy the cores are as well: more threads than these get in each other's way.
            true => (self.partitions / self.workers).max(1),
            false => self.partitions,
        };
        tokio::spawn(async move {
            let question = WorkerRequest { request: &request, partitions };
            pool.answer(worker, place, &question, deadline, &pieces).await;
        });
        Ok(receiver)
    }

    /// The idle worker that suits best and is alive, or a new one. Without it, who is stopped again and again would
    /// leave only new workers to others, and those are slow at first.
    async fn take(&self, tenant: &Tenant) -> Result<Child, QueryError> {
        loop {
            let mut idle = self.idle.lock().await;
            // Of equals the one that was given back last: whoever had it had this slot.
            let best = (0..idle.len()).max_by_key(|place| idle[*place].suits(tenant));
            let Some(mut worker) = best.map(|place| idle.remove(place)) else {
                drop(idle);
                return Child::start(&self.launch).await;
            };
            drop(idle);
            if worker.is_alive() {
                return Ok(worker);
            }
            tracing::warn!("a query worker ended while it was idle");
        }
    }

    async fn answer(
        &self,
        mut worker: Child,
        mut place: Slot,
        question: &WorkerRequest<&Request>,
        deadline: Instant,
        pieces: &mpsc::Sender<WorkerMessage>,
    ) {
        let mut again = true;
        loop {
            let before = worker.cpu_time();
            let fate = self.ask(&mut worker, question, deadline, pieces).await;
            match fate {
                Fate::Lost | Fate::Outgrown => place.lost(),
                Fate::Vanished => {}
                Fate::Ready | Fate::Overdue | Fate::Unread => {
                    let computed = before.zip(worker.cpu_time());
                    let computed = computed.map(|(before, after)| after.saturating_sub(before));
                    place.used(computed.map(|time| time + worker.unread()), fate == Fate::Ready);
                }
            }
            match fate {
                Fate::Ready if worker.held_bytes() <= self.launch.held_bytes_max() => {
                    self.idle.lock().await.push(worker.rests());
                }
                // It holds on to much that its query is done with.
                Fate::Ready => {
                    worker.end().await;
                    self.warm().await;
                }
                // Somebody killed it, or the machine; no row has been passed on, so that a second answer is a whole one.
                Fate::Vanished if again => match Child::start(&self.launch).await {
                    Ok(another) => {
                        tracing::warn!("a query worker was lost; its query is asked again");
                        (worker, again) = (another, false);
                        continue;
                    }
                    Err(error) => {
                        let _ = pieces.try_send(WorkerMessage::Failed(error));
                    }
                },
                fate => {
                    worker.kill().await;
                    let _ = pieces.try_send(WorkerMessage::Failed(fate.error(question.request)));
                    self.warm().await;
                }
            }
            return;
        }
    }

    /// Asks one worker. It is killed by nobody but the caller.
    async fn ask(
        &self,
        worker: &mut Child,
        question: &WorkerRequest<&Request>,
        deadline: Instant,
        pieces: &mpsc::Sender<WorkerMessage>,
    ) -> Fate {
        let memory = worker.memory();
        let outgrown = memory.exceeds(self.launch.handshake.memory_bytes_max());
        let answering = timeout_at(deadline + GRACE, worker.ask(question, deadline, pieces));
        tokio::select! {
            biased;
            fate = answering => fate.unwrap_or(Fate::Overdue),
            // The client went away: the query is stopped by ending its worker.
            () = pieces.closed() => Fate::Unread,
            () = outgrown => Fate::Outgrown,
        }
    }

    /// Puts a new worker in the place of idle ones that hold much and that nobody asked for a while. An idle process
    /// gives nothing back by itself.
    pub async fn trim(&self) {
        let is_left = |worker: &mut Child| {
            let may_go = || !self.is_ready || worker.own_bytes() > IDLE_BYTES_MAX;
            worker.idle_for() >= UNASKED && may_go()
        };
        let left: Vec<_> = self.idle.lock().await.extract_if(.., is_left).collect();
        for worker in left {
            worker.end().await;
            self.warm().await;
        }
    }

    /// Ends every idle worker.
    pub async fn stop(&self) {
        let idle: Vec<_> = self.idle.lock().await.drain(..).collect();
        for worker in idle {
            worker.end().await;
        }
    }
}

impl Launch {
    /// What a worker may still hold after its query. The next one is quicker with what the last one left.
    fn held_bytes_max(&self) -> usize {
        self.handshake.memory_bytes + (128 << 20)
    }
}

/// Turns that organizations take at something that is slow. Clones share them.
#[derive(Debug, Clone)]
pub struct FairSemaphore(Scheduler);

/// One of these, or the wait for it. It is given back when dropped.
#[derive(Debug)]
pub struct FairPermit(Slot);

impl FairSemaphore {
    /// So many have their turn at once; so many of one organization may wait, and of all.
    pub fn new(at_once: usize, each_max: usize, all_max: usize) -> Self {
        Self(Scheduler::new(at_once, each_max, all_max))
    }

    /// A place in the queue.
    ///
    /// # Errors
    /// When too many wait.
    pub fn enter(&self, reach: &RowAccess) -> Result<FairPermit, QueryError> {
        self.0.enter(reach).map(FairPermit).map_err(refused)
    }
}

impl FairPermit {
    /// Completes when it has come.
    pub async fn come(&mut self) {
        self.0.called().await;
    }
}

fn refused(full: QueueFull) -> QueryError {
    match full {
        QueueFull::Own => {
            let message =
                "too many queries of yours wait already; send the next when one is answered";
            QueryError::new(Reason::TooMany, message)
        }
        QueueFull::All => QueryError::new(Reason::Busy, "every query worker is busy"),
    }
}
