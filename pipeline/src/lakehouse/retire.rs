//! How the log gets rid of rows that tables and index hold.

use std::sync::atomic::Ordering;

use ingest::{log::Lsn, time::Micros};

use super::{Flusher, Lakehouse};
use crate::Error;

impl Lakehouse {
    /// Writes the keys that wait for the index, so that the log needs to hold nothing that is in the tables.
    pub(super) async fn retire_all(&self) -> Result<Lsn, Error> {
        let mut flusher = self.flusher.lock().await;
        let intake = self.intake.clone();
        let write = move || {
            intake.write_index()?;
            intake.retire()
        };
        let retired = flusher.threads.run(write).await??;
        flusher.note_retired((self.settings.clock)(), retired);
        Ok(retired)
    }

    /// Whether the log takes half of what it may take.
    pub(super) fn is_log_large(&self) -> bool {
        self.shared.load().log_bytes > self.settings.watermarks.log_bytes / 2
    }

    pub(super) async fn unlink_retired(&self) {
        let mut flusher = self.flusher.lock().await;
        let keep = i64::try_from(self.settings.keep_log.as_micros()).unwrap_or(i64::MAX);
        let now = (self.settings.clock)();
        while let Some((_, through)) =
            flusher.retired.pop_front_if(|(at, _)| now.saturating_sub(*at) > keep)
        {
            if let Err(error) = self.unlink(through).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "retired log segments could not be removed");
            }
        }
    }

    /// Unlinks the segments that hold nothing above `through`.
    pub(super) async fn unlink(&self, through: Lsn) -> Result<(), Error> {
        let intake = self.intake.clone();
        let unlinking = tokio::task::spawn_blocking(move || intake.unlink_retired(through));
        let freed = unlinking.await.map_err(|_| Error::Stopped)??;
        self.shared.log_bytes.fetch_sub(freed, Ordering::Relaxed);
        Ok(())
    }
}

impl Flusher {
    /// From now on the segments up to `through` are kept only for those that still read them.
    pub(super) fn note_retired(&mut self, now: Micros, through: Lsn) {
        if self.retired.back().is_none_or(|(_, last)| *last < through) {
            self.retired.push_back((now, through));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ingest::{Verdict, log};

    use super::*;
    use crate::{Delivery, Outcome, lakehouse::Settings};

    const EVENTS: usize = 5;

    async fn send(lakehouse: &Lakehouse) -> Vec<Verdict> {
        let events: String = (0..EVENTS)
            .map(|n| {
                format!(
                    "{{\"id\":\"{n}\",\"source\":\"/s\",\"type\":\"usage.request\",\"subject\":\"o\",\
                     \"time\":\"2026-01-01T00:00:00Z\",\"data\":{{\"model\":\"m\"}}}}\n"
                )
            })
            .collect();
        let delivery = Delivery::of_history(events.into());
        let outcome = lakehouse.take_in(lakehouse.admit().unwrap(), delivery).await.unwrap();
        let Outcome::Settled(verdicts, _) = outcome else { panic!("{outcome:?}") };
        verdicts
    }

    /// A new lakehouse whose events are in the tables, with keys that wait for the index.
    async fn moved(settings: &Settings) -> Lakehouse {
        let lakehouse = Lakehouse::open(settings.clone()).await.unwrap();
        assert_eq!(send(&lakehouse).await, vec![Verdict::Accepted; EVENTS]);
        assert!(lakehouse.flush_once().await.unwrap());
        lakehouse
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_tables_hold_stays_in_the_log_until_the_index_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::sample(dir.path());
        let retired = || log::retired_through(&settings.log_dir).unwrap();
        let lakehouse = moved(&settings).await;
        assert_eq!((lakehouse.cut().floor, retired()), (5, 0));
        // Nobody sends any more: after a while nothing waits.
        let running = {
            let lakehouse = lakehouse.clone();
            tokio::spawn(async move { lakehouse.run().await })
        };
        for _ in 0..1_000 {
            if retired() == 5 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        running.abort();
        assert_eq!((lakehouse.standing().lag_rows, retired()), (0, 5));
        assert_eq!(send(&lakehouse).await, vec![Verdict::Duplicate; EVENTS]);
        assert_eq!(lakehouse.entries().unwrap().count(), EVENTS);
        lakehouse.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_kill_only_what_no_table_holds_is_moved_again() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::sample(dir.path());
        let retired = || log::retired_through(&settings.log_dir).unwrap();
        let lakehouse = moved(&settings).await;
        // Written for a check, and not retired yet.
        assert_eq!(lakehouse.entries().unwrap().count(), EVENTS);
        let others = "{\"id\":\"o\",\"source\":\"/s\",\"type\":\"activity.page_view\",\"subject\":\"o\",\
                      \"time\":\"2026-01-01T00:00:00Z\"}";
        for (events, moves) in [(others.replace("\"o\"", "\"p\""), true), (others.into(), false)] {
            let delivery = Delivery::of_history(events.into());
            lakehouse.take_in(lakehouse.admit().unwrap(), delivery).await.unwrap();
            if moves {
                assert!(lakehouse.flush_once().await.unwrap());
            }
        }
        assert_eq!((lakehouse.cut().floor, retired()), (6, 5));
        lakehouse.intake.stop();
        drop(lakehouse);
        let lakehouse = Lakehouse::open(settings.clone()).await.unwrap();
        assert_eq!((lakehouse.cut().floor, retired(), lakehouse.standing().lag_rows), (6, 6, 1));
        assert_eq!(send(&lakehouse).await, vec![Verdict::Duplicate; EVENTS]);
        lakehouse.close().await.unwrap();
        assert_eq!((retired(), lakehouse.entries().unwrap().count()), (7, 7));
    }
}
