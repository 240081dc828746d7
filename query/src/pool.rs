//! The parent's side: workers that run one query each, are killed when they overrun, and are replaced.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{Mutex, Semaphore, mpsc},
    time::{Instant, timeout_at},
};

use crate::{
    Cost, Ended, QueryError, Reason, Request,
    worker::{ENDED, FAILED, Handshake, PROGRESS, ROWS, read_frame, write_frame},
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
pub enum Piece {
    /// Bytes of an Arrow IPC stream.
    Rows(Bytes),
    /// What the query read so far.
    Progress(Cost),
    Ended(Ended),
    Failed(QueryError),
}

/// Some workers. Clones share them.
#[derive(Debug, Clone)]
pub struct Pool {
    launch: Arc<Launch>,
    idle: Arc<Mutex<Vec<Worker>>>,
    slots: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

#[derive(Debug)]
struct Worker {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

/// Queries that may wait for a worker, for each worker there is.
const WAITING_PER_WORKER: usize = 16;
/// After its deadline a query that did not stop by itself is killed.
const GRACE: Duration = Duration::from_secs(2);
/// How long an idle worker may take to end.
const END: Duration = Duration::from_secs(2);
const FRAME_BYTES_MAX: usize = 1 << 30;

impl Pool {
    /// A pool of `workers`, none of them started yet.
    pub fn new(launch: Launch, workers: usize) -> Self {
        Self {
            launch: Arc::new(launch),
            idle: Arc::default(),
            slots: Arc::new(Semaphore::new(workers)),
            waiting: Arc::new(Semaphore::new(workers * (1 + WAITING_PER_WORKER))),
        }
    }

    /// Starts a worker ahead of the first query, so that it does not wait for it.
    pub async fn warm(&self) {
        match self.start().await {
            Ok(worker) => self.idle.lock().await.push(worker),
            Err(error) => tracing::error!(%error, "a query worker did not start"),
        }
    }

    /// Sends a query to a worker, and returns the pieces of its answer as they come. Dropping the receiver
    /// stops the query.
    pub async fn run(&self, request: Request) -> Result<mpsc::Receiver<Piece>, QueryError> {
        let deadline = Instant::now() + Duration::from_millis(request.deadline_ms);
        let waiting = Arc::clone(&self.waiting)
            .try_acquire_owned()
            .map_err(|_| QueryError::new(Reason::Busy, "every query worker is busy"))?;
        let slot = timeout_at(deadline, Arc::clone(&self.slots).acquire_owned())
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| QueryError::new(Reason::Busy, "no query worker became free in time"))?;
        let idle = self.idle.lock().await.pop();
        let mut worker = match idle {
            Some(worker) => worker,
            None => self.start().await?,
        };
        let (pieces, receiver) = mpsc::channel(16);
        let pool = self.clone();
        tokio::spawn(async move {
            let (_slot, _waiting) = (slot, waiting);
            let (process, memory_max) = (worker.child.id(), pool.launch.memory_bytes_max());
            let answering = timeout_at(deadline + GRACE, worker.ask(&request, deadline, &pieces));
            let outcome = tokio::select! {
                biased;
                outcome = answering => outcome,
                // The client went away: the query is stopped by ending its worker.
                () = pieces.closed() => Ok(Err(gone())),
                () = outgrows(process, memory_max) => Ok(Err(QueryError::new(
                    Reason::Memory,
                    "the query needs more memory than it may use",
                ))),
            };
            match outcome {
                Ok(Ok(())) => pool.idle.lock().await.push(worker),
                Ok(Err(error)) => pool.replace(worker, &pieces, error).await,
                Err(_) => pool.replace(worker, &pieces, overdue(&request)).await,
            }
        });
        Ok(receiver)
    }

    /// Puts a new worker in the place of the idle ones: what they keep for the next query is given back.
    pub async fn renew(&self) {
        self.stop().await;
        self.warm().await;
    }

    /// Ends every idle worker.
    pub async fn stop(&self) {
        let idle: Vec<_> = self.idle.lock().await.drain(..).collect();
        for worker in idle {
            worker.end().await;
        }
    }

    async fn replace(&self, mut worker: Worker, pieces: &mpsc::Sender<Piece>, error: QueryError) {
        let _ = worker.child.kill().await;
        let _ = pieces.try_send(Piece::Failed(error));
        self.warm().await;
    }

    async fn start(&self) -> Result<Worker, QueryError> {
        let lost = |error: std::io::Error| {
            tracing::error!(%error, program = %self.launch.program.display(), "starting a query worker");
            QueryError::new(Reason::Lost, "a query worker could not be started")
        };
        let mut child = Command::new(&self.launch.program)
            .arg(self.launch.argument)
            .env_clear()
            .envs(self.launch.environment.iter().copied())
            // Where a build that measures coverage writes what ran.
            .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            // Ctrl-C in a terminal is for the server, which ends its workers in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(lost)?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(QueryError::new(Reason::Lost, "a query worker has no pipes"));
        };
        let handshake = serde_json::to_vec(&self.launch.handshake).map_err(|e| lost(e.into()))?;
        write_frame(&mut input, ROWS, &handshake).await.map_err(lost)?;
        Ok(Worker { child, input, output })
    }
}

impl Worker {
    /// Lets an idle worker end by itself, as it does when its input ends.
    async fn end(self) {
        let Self { mut child, input, output } = self;
        drop((input, output));
        if tokio::time::timeout(END, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }

    /// Asks one question and passes the answer on. An error means that the worker is of no use any more.
    async fn ask(
        &mut self,
        request: &Request,
        deadline: Instant,
        pieces: &mpsc::Sender<Piece>,
    ) -> Result<(), QueryError> {
        let lost =
            || QueryError::new(Reason::Lost, "the query ended its worker; it may need too much");
        let question = serde_json::to_vec(request).map_err(|_| lost())?;
        write_frame(&mut self.input, ROWS, &question).await.map_err(|_| lost())?;
        loop {
            let frame = timeout_at(deadline, read_frame(&mut self.output, FRAME_BYTES_MAX))
                .await
                .map_err(|_| overdue(request))?;
            let (kind, body) = frame.ok().flatten().ok_or_else(lost)?;
            let piece = match kind {
                ROWS => Piece::Rows(body.into()),
                PROGRESS => Piece::Progress(serde_json::from_slice(&body).map_err(|_| lost())?),
                ENDED => Piece::Ended(serde_json::from_slice(&body).map_err(|_| lost())?),
                FAILED => Piece::Failed(serde_json::from_slice(&body).map_err(|_| lost())?),
                _ => return Err(lost()),
            };
            let last = !matches!(piece, Piece::Rows(_) | Piece::Progress(_));
            if pieces.send(piece).await.is_err() && !last {
                return Err(gone());
            }
            if last {
                return Ok(());
            }
        }
    }
}

impl Launch {
    /// What a worker may hold in all: the pool of its operators, and as much again for what is not counted there.
    fn memory_bytes_max(&self) -> usize {
        2 * self.handshake.memory_bytes + (256 << 20)
    }
}

/// Completes when a process holds more memory than it may. The memory pool of the engine counts only some of
/// what a query allocates, so that the operating system is asked. Where it does not tell, this never completes.
async fn outgrows(process: Option<u32>, bytes_max: usize) {
    const PAGE: usize = 4096;
    let path = format!("/proc/{}/statm", process.unwrap_or_default());
    loop {
        let Ok(text) = std::fs::read_to_string(&path) else { return std::future::pending().await };
        let pages: usize = text.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or_default();
        if pages * PAGE > bytes_max {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn gone() -> QueryError {
    QueryError::new(Reason::Lost, "nobody waits for the answer")
}

fn overdue(request: &Request) -> QueryError {
    let message = format!("the query did not end within {} ms", request.deadline_ms);
    QueryError::new(Reason::Deadline, message)
}
