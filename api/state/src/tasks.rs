//! The tasks of a server. Those that belong to it as long as it runs are named and supervised: one that ends, or panics,
//! is begun again after a pause, or ends the process where that is not safe. Nobody goes on without them unnoticed.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    /// They end here.
    stop: CancellationToken,
    /// The server is asked to end.
    ending: CancellationToken,
    /// The process must end.
    failed: CancellationToken,
    /// Whether each of those that are supervised runs.
    running: Arc<Mutex<BTreeMap<&'static str, bool>>>,
    patience: RestartBackoff,
}

/// When a task that failed is begun again.
#[derive(Debug, Clone, Copy)]
struct RestartBackoff {
    /// The first pause. Each is twice as long as the one before.
    pause_min: Duration,
    pause_max: Duration,
    /// What ran so long had not failed before.
    healthy: Duration,
}

impl Default for RestartBackoff {
    fn default() -> Self {
        Self {
            pause_min: Duration::from_secs(1),
            pause_max: Duration::from_secs(60),
            healthy: Duration::from_secs(300),
        }
    }
}

/// Tasks that stop are waited for so long.
const STOPPING: Duration = Duration::from_secs(10);

/// 1 while a task runs, 0 while it waits to be begun again.
const RUNNING: &str = "task_running";
/// How often a task ended that should not, or panicked.
const FAILURES: &str = "task_failures_total";

impl Tasks {
    /// Keeps a task running: it is begun again when it ends or panics. One that has nothing to do waits for ever.
    pub fn keep<F>(&self, name: &'static str, make: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.begin(name);
        let tasks = self.clone();
        let kept = async move {
            let RestartBackoff { pause_min, pause_max, healthy } = tasks.patience;
            let mut pause = pause_min;
            loop {
                let begun = Instant::now();
                let ended = AssertUnwindSafe(make()).catch_unwind().await;
                tasks.note_failure(name, ended.err().as_deref());
                if begun.elapsed() >= healthy {
                    pause = pause_min;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(pause_max);
                tasks.show(name, true);
            }
        };
        self.track(kept);
    }

    /// Runs a task without which the process must end.
    pub fn rely_on(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.begin(name);
        let tasks = self.clone();
        self.track(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if !tasks.ending.is_cancelled() {
                tasks.note_failure(name, ended.err().as_deref());
                tasks.failed.cancel();
            }
        });
    }

    /// Runs a task that has an end. It gives nothing when it panics, or the server stops.
    pub fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let (tasks, stop) = (self.clone(), self.stop.clone());
        self.tracker.spawn(async move {
            let task = AssertUnwindSafe(task).catch_unwind();
            match stop.run_until_cancelled(task).await? {
                Ok(done) => Some(done),
                Err(panic) => {
                    tasks.note_failure(name, Some(&*panic));
                    None
                }
            }
        })
    }

    /// Completes when the process must end.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Those that do not run now, though they should.
    pub fn down(&self) -> Vec<&'static str> {
        self.lock().iter().filter(|(_, runs)| !**runs).map(|(name, _)| *name).collect()
    }

    /// Says that what others rely on may end from here on.
    pub fn prepare_to_stop(&self) {
        self.ending.cancel();
    }

    /// Ends all of them, and waits for that.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(STOPPING, self.tracker.wait()).await.is_err() {
            tracing::warn!(left = self.tracker.len(), "tasks do not end");
        }
    }

    fn track(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    fn begin(&self, name: &'static str) {
        metrics::counter!(FAILURES, "task" => name).increment(0);
        self.show(name, true);
    }

    fn show(&self, name: &'static str, runs: bool) {
        metrics::gauge!(RUNNING, "task" => name).set(if runs { 1.0 } else { 0.0 });
        self.lock().insert(name, runs);
    }

    fn note_failure(&self, name: &'static str, panic: Option<&(dyn Any + Send)>) {
        let reason = panic.map_or("it ended", |panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
        });
        tracing::error!(task = name, reason, "a task of the server failed");
        metrics::counter!(FAILURES, "task" => name).increment(1);
        if let Some(runs) = self.lock().get_mut(name) {
            *runs = false;
            metrics::gauge!(RUNNING, "task" => name).set(0.0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, bool>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_task_that_fails_is_begun_again_after_longer_and_longer_pauses() {
        let millis = Duration::from_millis;
        let patience =
            RestartBackoff { pause_min: millis(20), pause_max: millis(80), healthy: millis(100) };
        let (tasks, (sender, mut begun)) =
            (Tasks { patience, ..Tasks::default() }, tokio::sync::mpsc::unbounded_channel());
        let times = AtomicUsize::new(0);
        tasks.keep("odd", move || {
            let times = times.fetch_add(1, Ordering::SeqCst);
            let _ = sender.send(Instant::now());
            async move {
                match times {
                    0 => panic!("the first time"),
                    // Long enough to have been well.
                    4 => tokio::time::sleep(millis(120)).await,
                    1..6 => {}
                    _ => std::future::pending().await,
                }
            }
        });
        assert!(tasks.down().is_empty());
        let mut last = begun.recv().await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(tasks.down(), ["odd"]);
        // The fifth time it runs for 120 ms, and the pauses begin anew.
        for least in [20, 40, 80, 80, 120 + 20, 40] {
            let next = begun.recv().await.unwrap();
            assert!(next - last >= millis(least), "{:?} of {least}", next - last);
            last = next;
        }
        assert!(tasks.down().is_empty());
        tasks.stop().await;
    }

    #[tokio::test]
    async fn the_process_ends_without_what_it_relies_on() {
        let tasks = Tasks::default();
        tasks.rely_on("other", std::future::pending());
        assert!(tasks.failed().now_or_never().is_none());
        tasks.rely_on("http", async { panic!("{}", "gone") });
        tasks.failed().await;
        assert_eq!(tasks.down(), ["http"]);
        tasks.stop().await;
        let tasks = Tasks::default();
        tasks.prepare_to_stop();
        tasks.rely_on("http", async {});
        tasks.stop().await;
        assert!(tasks.down().is_empty() && tasks.failed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_task_with_an_end_gives_what_it_made_or_nothing() {
        let tasks = Tasks::default();
        assert_eq!(tasks.run("sum", async { 1 + 1 }).await.unwrap(), Some(2));
        let panics = tasks.run("odd", async { if true { panic!("odd") } else { 1 } });
        assert_eq!(panics.await.unwrap(), None);
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let endless = tasks.run("endless", async move {
            let _sender = sender;
            std::future::pending::<()>().await;
        });
        tasks.stop().await;
        assert_eq!(endless.await.unwrap(), None);
        assert!(receiver.await.is_err(), "it was dropped");
        assert!(tasks.down().is_empty() && tasks.failed().now_or_never().is_none());
    }
}
