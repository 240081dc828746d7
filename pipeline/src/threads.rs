//! Threads for work that takes long. They are few and always the same: what a thread allocated and another one freed
//! stays with it until it allocates again, so that of many threads each would hold much.

use std::sync::Arc;

use ingest::priority;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

use crate::Error;

/// Some threads of one name and priority. Clones share them.
#[derive(Debug, Clone)]
pub struct Threads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: ThreadPool,
    /// Held by all work that is being done or waits.
    work: Arc<()>,
}

/// Moving rows to the tables gives way to taking them in.
const FLUSHING_NICE: i32 = 5;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

impl Threads {
    /// Decode events: one for each core.
    pub fn decoding() -> Result<Self, Error> {
        Self::start("decode", cores(), None)
    }

    /// Moves rows to the tables: one thing after another, or, while a bulk is loaded, on all cores.
    pub fn flushing(is_bulk: bool) -> Result<Self, Error> {
        if is_bulk {
            Self::start("flush", cores(), None)
        } else {
            Self::start("flush", 1, Some(FLUSHING_NICE))
        }
    }

    fn start(name: &'static str, threads: usize, nice: Option<i32>) -> Result<Self, Error> {
        let threads = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|_| name.into())
            .start_handler(move |_| {
                if let Some(nice) = nice {
                    priority::lower(priority::own(), nice);
                }
            })
            // Whoever waits for what panicked is told that it was stopped.
            .panic_handler(|_| {})
            .build();
        let pool = threads.map_err(|error| Error::Threads(error.to_string()))?;
        Ok(Self(Arc::new(Inner { pool, work: Arc::default() })))
    }

    /// Threads that have nothing to do.
    pub(crate) fn idle(&self) -> usize {
        let under_way = Arc::strong_count(&self.0.work) - 1;
        self.0.pool.current_num_threads().saturating_sub(under_way)
    }

    /// Does something on one of the threads, once one is free, unless nobody waits for it any more by then.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        let held = Arc::clone(&self.0.work);
        self.0.pool.spawn(move || {
            let _held = held;
            if !sender.is_closed() {
                let _ = sender.send(work());
            }
        });
        receiver.await.map_err(|_| Error::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_stops_only_what_panicked() {
        let threads = Threads::decoding().unwrap();
        let stopped = threads.run(|| panic!("an event that nobody foresaw")).await;
        assert!(matches!(stopped, Err::<(), _>(Error::Stopped)));
        assert_eq!(threads.run(|| 3).await.unwrap(), 3);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn moving_rows_gives_way_to_decoding() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let flushing = [false, true].map(|is_bulk| Threads::flushing(is_bulk).unwrap());
        let [patient, bulk] = &flushing;
        assert_eq!(patient.run(nice).await.unwrap(), before.max(FLUSHING_NICE));
        assert_eq!(bulk.run(nice).await.unwrap(), before, "nobody sends beside an import");
        assert_eq!(flushing.map(|f| f.0.pool.current_num_threads()), [1, cores()]);
        let decoding = Threads::decoding().unwrap();
        assert_eq!(decoding.run(nice).await.unwrap(), before);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_done() {
        let threads = Threads::decoding().unwrap();
        let cores = threads.0.pool.current_num_threads();
        assert_eq!(threads.idle(), cores);
        // All threads are held until the one that waits is gone.
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let holders: Vec<_> = (0..cores)
            .map(|_| {
                let (threads, held) = (threads.clone(), Arc::clone(&held));
                tokio::spawn(async move {
                    threads.run(move || held.lock().unwrap().recv().unwrap_err()).await
                })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(threads.idle(), 0);
        let (done, was_done) = std::sync::mpsc::channel();
        let left = threads.run(move || done.send(()).unwrap());
        tokio::select! {
            biased;
            _ = left => panic!("no thread was free"),
            () = std::future::ready(()) => {}
        }
        drop(hold);
        for holder in holders {
            holder.await.unwrap().unwrap();
        }
        threads.run(|| ()).await.unwrap();
        assert!(was_done.recv().is_err());
    }
}
