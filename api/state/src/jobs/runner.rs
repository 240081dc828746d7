//! Does the jobs: takes what is due, renews the leases of what runs, and notes how it ended.

use std::{
    collections::BTreeMap,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::{FutureExt, future::BoxFuture};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{
    Job, JobError, JobResult, NewJob, Repeat,
    queue::{self, Ending, Holder},
};
use crate::{
    clock::Clock,
    ids::base62,
    store::{Store, StoreError},
};

/// How a kind of job is done.
#[derive(Debug, Clone, Copy)]
pub struct JobKind {
    /// The name in the database, in answers and in metrics.
    pub name: &'static str,
    /// The most that one process does at once.
    pub parallel: usize,
    /// The pause after so many failed attempts; without one it is given up.
    pub backoff: fn(u32) -> Option<Duration>,
    /// A job that was begun so often is given up, for it may be what ends the processes that do it.
    pub attempts_max: u32,
}

impl JobKind {
    /// One that is done alone, and given up at its first failure.
    pub const fn new(name: &'static str) -> Self {
        Self { name, parallel: 1, backoff: |_| None, attempts_max: 5 }
    }
}

type Work = Arc<dyn Fn(Job) -> BoxFuture<'static, JobResult> + Send + Sync>;

#[derive(Clone)]
struct Handler {
    kind: JobKind,
    work: Work,
    repeat: Option<Repeating>,
}

/// When a repeating kind runs.
#[derive(Clone)]
struct Repeating {
    repeat: Repeat,
    /// After a failure.
    pause: Duration,
    /// When it runs first, if not at the time that the repetition says.
    first: Option<DateTime<Utc>>,
}

/// The kinds of jobs that this process does, and their work. Clones share them.
#[derive(Clone)]
pub struct Jobs {
    store: Store,
    clock: Clock,
    handlers: Arc<Mutex<BTreeMap<&'static str, Handler>>>,
    wake: Arc<Notify>,
    holder: Holder,
}

/// How often the table is looked at: another process may have added a job, or a time has come.
const POLL: Duration = Duration::from_millis(500);
/// A job whose lease is not renewed for so long is taken by another process.
const LEASE: Duration = Duration::from_secs(10);
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How often old jobs are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
/// After a failure of the database, nothing is tried for so long.
const PAUSE: Duration = Duration::from_secs(5);

const RUNNING: &str = "jobs_running";
const ENDED: &str = "jobs_ended_total";
const SECONDS: &str = "job_seconds";

impl Jobs {
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        let id: [u8; 12] = rand::random();
        let lease = TimeDelta::from_std(LEASE).unwrap_or_default();
        let holder = Holder { owner: base62(&id, 17), lease };
        Self { store, clock, handlers: Arc::default(), wake: Arc::default(), holder }
    }

    /// Does jobs of a kind with this work. What it gives is kept as the job's result.
    pub fn handle<F>(&self, kind: JobKind, work: impl Fn(Job) -> F + Send + Sync + 'static)
    where
        F: Future<Output = JobResult> + Send + 'static,
    {
        self.register(kind, work, None);
    }

    /// Does this work again and again. After a failure the next time is at least `pause` away. Work that gives null had
    /// nothing to do: no entry is kept of it.
    pub fn repeat<F>(
        &self,
        kind: JobKind,
        repeat: Repeat,
        pause: Duration,
        work: impl Fn(Job) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = JobResult> + Send + 'static,
    {
        self.register(kind, work, Some(Repeating { repeat, pause, first: None }));
    }

    /// As [`Self::repeat`], with the first time at `first`.
    pub fn repeat_from<F>(
        &self,
        kind: JobKind,
        repeat: Repeat,
        pause: Duration,
        first: DateTime<Utc>,
        work: impl Fn(Job) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = JobResult> + Send + 'static,
    {
        self.register(kind, work, Some(Repeating { repeat, pause, first: Some(first) }));
    }

    fn register<F>(
        &self,
        kind: JobKind,
        work: impl Fn(Job) -> F + Send + Sync + 'static,
        repeat: Option<Repeating>,
    ) where
        F: Future<Output = JobResult> + Send + 'static,
    {
        metrics::gauge!(RUNNING, "kind" => kind.name).set(0.0);
        for state in ["done", "failed", "again", "lost"] {
            metrics::counter!(ENDED, "kind" => kind.name, "state" => state).increment(0);
        }
        let work: Work = Arc::new(move |job| work(job).boxed());
        self.lock().insert(kind.name, Handler { kind, work, repeat });
    }

    /// Says that a job was added: it need not wait until the table is looked at.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Has a repeating kind done now, though its time has not come.
    pub async fn hurry(&self, kind: &'static str) -> Result<(), StoreError> {
        queue::hurry(&self.store, kind, self.clock.now()).await?;
        self.wake();
        Ok(())
    }

    /// The kinds that this process does.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.lock().keys().copied().collect()
    }

    /// Does jobs until the future is dropped. What is registered before it begins is done.
    pub async fn run(&self) {
        let mut work = Working::new(self);
        let mut forgotten: Option<Instant> = None;
        let mut ensured = false;
        loop {
            let tried = async {
                if !ensured {
                    self.ensure_repeating().await?;
                    ensured = true;
                }
                if forgotten.is_none_or(|last| last.elapsed() >= FORGET_EVERY) {
                    forgotten = Some(Instant::now());
                    queue::forget(&self.store, &self.kinds(), self.clock.now()).await?;
                }
                work.take().await
            };
            let pause = match tried.await {
                Ok(()) => POLL,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "jobs wait: the database cannot be used");
                    PAUSE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
                Some(ended) = work.running.join_next() => work.note(ended.ok()),
            }
        }
    }

    /// Gives back what this process took and did not finish. Nothing must run any more.
    pub async fn give_back(&self) -> Result<(), StoreError> {
        queue::give_back(&self.store, &self.holder).await
    }

    async fn ensure_repeating(&self) -> Result<(), StoreError> {
        let handlers: Vec<Handler> = self.lock().values().cloned().collect();
        for handler in handlers {
            let now = self.clock.now();
            if let Some(next) = handler.following(now, Duration::ZERO) {
                let first = handler.repeat.and_then(|repeating| repeating.first);
                let first = NewJob { run_at: first.unwrap_or(next.run_at), ..next };
                queue::ensure(&self.store, &first, now).await?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Handler>> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler {
    /// The next job of a repeating kind.
    fn following(&self, now: DateTime<Utc>, pause: Duration) -> Option<NewJob> {
        let Repeating { repeat, .. } = self.repeat.as_ref()?;
        let earliest = TimeDelta::from_std(pause).ok().and_then(|p| now.checked_add_signed(p));
        let run_at = repeat.next(now).max(earliest.unwrap_or(now));
        // There is one open job of the kind whatever its key is; a key by its time alone would be that of a job which was
        // made up for, and moved away from that time.
        let dedup_key =
            format!("{}:{}", run_at.timestamp_micros(), base62(&rand::random::<[u8; 8]>(), 11));
        let kind = self.kind.name;
        Some(NewJob { kind, dedup_key, payload: serde_json::Value::Null, run_at })
    }

    /// What becomes of a job after an attempt.
    fn ending(&self, job: &Job, done: JobResult, now: DateTime<Utc>) -> Ending {
        let error = match done {
            Ok(result) => return Ending::Done(result),
            Err(error) => error,
        };
        let pause = (self.kind.backoff)(job.attempts).filter(|_| !error.is_final);
        let again = pause.and_then(|pause| TimeDelta::from_std(pause).ok());
        match again.and_then(|pause| now.checked_add_signed(pause)) {
            Some(at) => Ending::Again(error, at),
            None => Ending::Failed(error),
        }
    }
}

/// The jobs that run in this process.
struct Working<'a> {
    jobs: &'a Jobs,
    running: JoinSet<&'static str>,
    counts: BTreeMap<&'static str, usize>,
}

impl<'a> Working<'a> {
    fn new(jobs: &'a Jobs) -> Self {
        Self { jobs, running: JoinSet::new(), counts: BTreeMap::new() }
    }

    /// Takes what is due, as far as there is room.
    async fn take(&mut self) -> Result<(), StoreError> {
        let free: Vec<(&'static str, u64)> = self
            .jobs
            .lock()
            .values()
            .filter_map(|Handler { kind, .. }| {
                let running = self.counts.get(kind.name).copied().unwrap_or_default();
                let free = kind.parallel.saturating_sub(running);
                (free > 0).then_some((kind.name, free as u64))
            })
            .collect();
        let kinds: Vec<&'static str> = free.iter().map(|(kind, _)| *kind).collect();
        let Jobs { store, clock, holder, .. } = self.jobs;
        if !queue::is_any_due(store, &kinds, holder, clock.now()).await? {
            return Ok(());
        }
        for job in queue::take(store, &free, holder, clock.now()).await? {
            let Some(handler) = self.jobs.lock().get(job.kind.as_str()).cloned() else { continue };
            let (kind, jobs) = (handler.kind.name, self.jobs.clone());
            *self.counts.entry(kind).or_default() += 1;
            metrics::gauge!(RUNNING, "kind" => kind).increment(1.0);
            self.running.spawn(async move {
                jobs.do_one(&handler, job).await;
                kind
            });
        }
        Ok(())
    }

    fn note(&mut self, ended: Option<&'static str>) {
        let Some(kind) = ended else { return };
        metrics::gauge!(RUNNING, "kind" => kind).decrement(1.0);
        if let Some(count) = self.counts.get_mut(kind) {
            *count -= 1;
        }
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        for kind in self.counts.keys() {
            metrics::gauge!(RUNNING, "kind" => *kind).set(0.0);
        }
    }
}

impl Jobs {
    /// Does one job that this process holds, and notes its end.
    async fn do_one(&self, handler: &Handler, job: Job) {
        let (id, kind, begun) = (job.id, handler.kind.name, Instant::now());
        let done = if job.attempts > handler.kind.attempts_max {
            Err(JobError::permanent("processes ended again and again while they did it"))
        } else {
            let work = AssertUnwindSafe((handler.work)(job.clone())).catch_unwind();
            tokio::select! {
                done = work => done.unwrap_or_else(|_| Err(JobError::temporary("it panicked"))),
                () = self.keep_lease(id) => {
                    tracing::warn!(id, kind, "another process has taken a job");
                    return count(kind, "lost");
                }
            }
        };
        metrics::histogram!(SECONDS, "kind" => kind).record(begun.elapsed().as_secs_f64());
        let now = self.clock.now();
        let failure = handler.repeat.as_ref().filter(|_| done.is_err()).map(|it| it.pause);
        let ending = handler.ending(&job, done, now);
        match &ending {
            Ending::Done(_) | Ending::Idle(_) => {}
            Ending::Again(error, at) => {
                tracing::warn!(id, kind, attempts = job.attempts, %error, again = %at, "a job failed");
            }
            Ending::Failed(error) => {
                tracing::error!(id, kind, attempts = job.attempts, %error, "a job failed");
            }
        }
        let next = match ending {
            Ending::Again(..) => None,
            _ => handler.following(now, failure.unwrap_or_default()),
        };
        let (ending, next) = match (ending, next) {
            (Ending::Done(result), Some(next)) if result.is_null() => {
                (Ending::Idle(next.run_at), None)
            }
            both => both,
        };
        self.note_end(id, kind, &ending, next.as_ref()).await;
    }

    /// Notes the end, again and again while the database cannot be used: a job that is done must not be done once more.
    async fn note_end(&self, id: i64, kind: &'static str, ending: &Ending, next: Option<&NewJob>) {
        loop {
            let now = self.clock.now();
            match queue::end(&self.store, id, &self.holder, ending, next, now).await {
                Ok(true) => {
                    return count(
                        kind,
                        match ending {
                            Ending::Done(_) | Ending::Idle(_) => "done",
                            Ending::Again(..) => "again",
                            Ending::Failed(_) => "failed",
                        },
                    );
                }
                Ok(false) => return count(kind, "lost"),
                Err(error) => {
                    tracing::error!(
                        id,
                        kind,
                        error = &error as &dyn std::error::Error,
                        "the end of a job is not noted yet"
                    );
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Renews the lease of a job, until another process has it.
    async fn keep_lease(&self, id: i64) {
        let mut ticks = interval_at(Instant::now() + RENEW_EVERY, RENEW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match queue::renew(&self.store, id, &self.holder, self.clock.now()).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(id, error, "the lease of a job is not renewed");
                }
            }
        }
    }
}

fn count(kind: &'static str, state: &'static str) {
    metrics::counter!(ENDED, "kind" => kind, "state" => state).increment(1);
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("kinds", &self.kinds()).finish_non_exhaustive()
    }
}
