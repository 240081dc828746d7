//! The threads that decode events. They are few and always the same: what a thread allocated and another one freed
//! stays with it until it allocates again, so that of many threads each would hold much.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

use crate::Error;

/// One thread for each core. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Decoders(Arc<ThreadPool>);

impl Decoders {
    pub(super) fn start() -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = ThreadPoolBuilder::new()
            .num_threads(cores)
            .thread_name(|_| "decode".into())
            // Whoever waits for what panicked is told that it was stopped.
            .panic_handler(|_| {})
            .build();
        Ok(Self(Arc::new(threads.map_err(|error| Error::Threads(error.to_string()))?)))
    }

    /// Does something on one of the threads, once one is free, unless nobody waits for it any more by then.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        decoding: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        self.0.spawn(move || {
            if !sender.is_closed() {
                let _ = sender.send(decoding());
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
        let decoders = Decoders::start().unwrap();
        let stopped = decoders.run(|| panic!("an event that nobody foresaw")).await;
        assert!(matches!(stopped, Err::<(), _>(Error::Stopped)));
        assert_eq!(decoders.run(|| 3).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_done() {
        let decoders = Decoders::start().unwrap();
        let cores = decoders.0.current_num_threads();
        // All threads are held until the one that waits is gone.
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let holders: Vec<_> = (0..cores)
            .map(|_| {
                let (decoders, held) = (decoders.clone(), Arc::clone(&held));
                tokio::spawn(async move {
                    decoders.run(move || held.lock().unwrap().recv().unwrap_err()).await
                })
            })
            .collect();
        tokio::task::yield_now().await;
        let (done, was_done) = std::sync::mpsc::channel();
        let left = decoders.run(move || done.send(()).unwrap());
        tokio::select! {
            biased;
            _ = left => panic!("no thread was free"),
            () = std::future::ready(()) => {}
        }
        drop(hold);
        for holder in holders {
            holder.await.unwrap().unwrap();
        }
        decoders.run(|| ()).await.unwrap();
        assert!(was_done.recv().is_err());
    }
}
