//! The threads that a worker computes on. Who computes for long gives way to who does not.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ingest::priority;
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::{JoinError, JoinHandle},
    time::{Instant, interval_at},
};

/// What a worker gives way to: the process that takes events in.
const NICE: i32 = 5;
/// What a long query gives way to besides: short queries of other workers.
const NICE_LONG: i32 = 15;
/// What computes for longer, for each of its threads, is not a short query.
const SHORT: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Planning recurses deeply.
const STACK_BYTES: usize = 64 << 20;
/// Files are read on these; each keeps memory of its own.
const BLOCKING: usize = 4;

/// Threads of one worker. An unprivileged process cannot take a thread's priority back up, so that those that gave
/// way are replaced.
pub(crate) struct Threads {
    handle: Handle,
    /// Until it is dropped.
    runtime: Option<Runtime>,
    started: Started,
    count: usize,
}

type Started = Arc<Mutex<Inner>>;

#[derive(Debug, Default)]
struct Inner {
    ids: Vec<priority::Id>,
    given_way: bool,
}

impl Threads {
    /// Threads that compute `count` things at once.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let started = Started::default();
        let (starting, stopping) = (Arc::clone(&started), Arc::clone(&started));
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .max_blocking_threads(BLOCKING)
            .on_thread_start(move || {
                let mut started = lock(&starting);
                let id = priority::own();
                priority::lower(id, if started.given_way { NICE_LONG } else { NICE });
                started.ids.push(id);
            })
            .on_thread_stop(move || {
                let id = priority::own();
                lock(&stopping).ids.retain(|other| *other != id);
            })
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self { handle, runtime: Some(runtime), started, count })
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        computing: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.handle.spawn(computing)
    }

    /// Waits for a query. One that is not short, by a clock of what its threads compute, gives way to others.
    pub(crate) async fn wait<T>(
        &self,
        computing: &mut JoinHandle<T>,
        cpu_time: impl Fn() -> Duration,
    ) -> Result<T, JoinError> {
        let short = SHORT * u32::try_from(self.count).unwrap_or(u32::MAX);
        let before = cpu_time();
        let mut looks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        while cpu_time().saturating_sub(before) < short {
            tokio::select! {
                done = &mut *computing => return done,
                _ = looks.tick() => {}
            }
        }
        self.give_way();
        computing.await
    }

    /// From now on these threads run when others have nothing to do.
    pub(crate) fn give_way(&self) {
        let mut started = lock(&self.started);
        started.given_way = true;
        for id in &started.ids {
            priority::lower(*id, NICE_LONG);
        }
    }

    /// The same, or others in place of those that gave way.
    pub(crate) fn renewed(self) -> io::Result<Self> {
        let given_way = lock(&self.started).given_way;
        if given_way { Self::start(self.count) } else { Ok(self) }
    }
}

impl Drop for Threads {
    /// Whoever waits for them may be one of an asynchronous runtime.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("started", &self.started).finish_non_exhaustive()
    }
}

fn lock(started: &Started) -> MutexGuard<'_, Inner> {
    started.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all threads of this process computed since it started. Waiting for the cores is not in it: who waits would give
/// way because of that, and wait longer still.
pub(crate) fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// Lets the thread that asks give way to the process that takes events in.
pub(crate) fn give_way_to_intake() {
    priority::lower(priority::own(), NICE);
}

/// The most of the address space that the threads' stacks take.
pub(crate) fn stack_bytes(count: usize) -> usize {
    (count + BLOCKING) * STACK_BYTES
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    fn nice(threads: &Threads) -> i32 {
        let (sender, receiver) = std::sync::mpsc::channel();
        threads.spawn(async move {
            let _ = sender.send(rustix::process::getpriority_process(None).unwrap());
        });
        receiver.recv().unwrap()
    }

    #[test]
    fn who_computes_for_long_gives_way_until_the_next_question() {
        let before = rustix::process::getpriority_process(None).unwrap();
        let threads = Threads::start(2).unwrap();
        assert_eq!(nice(&threads), before.max(NICE));
        threads.give_way();
        assert_eq!(nice(&threads), before.max(NICE_LONG));
        // A thread that comes later gives way too.
        let (sender, receiver) = std::sync::mpsc::channel();
        threads.handle.spawn_blocking(move || {
            let _ = sender.send(rustix::process::getpriority_process(None).unwrap());
        });
        assert_eq!(receiver.recv().unwrap(), before.max(NICE_LONG));
        let threads = threads.renewed().unwrap();
        assert_eq!(nice(&threads), before.max(NICE));
        let same = Arc::as_ptr(&threads.started);
        assert_eq!(Arc::as_ptr(&threads.renewed().unwrap().started), same);
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), before, "of this thread");
    }

    #[tokio::test]
    async fn who_waits_for_long_does_not_give_way() {
        let threads = Threads::start(2).unwrap();
        let mut waiting = threads.spawn(tokio::time::sleep(4 * SHORT));
        threads.wait(&mut waiting, || Duration::ZERO).await.unwrap();
        assert!(!lock(&threads.started).given_way);
        // One that computes until it gives way.
        let started = Arc::clone(&threads.started);
        let mut computing = threads.spawn(async move {
            for _ in 0..1000 {
                if lock(&started).given_way {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            false
        });
        let computed = std::cell::Cell::new(Duration::ZERO);
        let clock = || computed.replace(computed.get() + SHORT / 3);
        assert!(threads.wait(&mut computing, clock).await.unwrap());
        // The clock of this process goes on while it computes.
        let before = cpu_time();
        assert!((0..10_000_000).any(|_| cpu_time() > before));
    }
}
