//! Feeds the counters of quotas: what the ledger says at a cut, and then each event of the log as it is acknowledged.

mod check;
mod fold;
mod ledger;

use std::{sync::Arc, time::Duration};

use accounts::quotas::Month;
use ingest::log::{LogId, Lsn, Tail};
use metrics::{describe_gauge, gauge};
use rest::feature::Feature;
use state::{
    folder,
    jobs::{JobError, JobKind, Repeat},
};
use tokio::sync::Mutex;

pub(crate) use check::QuotaCheck;
use fold::Fold;

use crate::server::System;

/// How soon an event counts.
const PAUSE: Duration = Duration::from_millis(100);
/// After a failure.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often the log is read while the ledger is.
const PAUSE_MEANWHILE: Duration = Duration::from_millis(500);
/// Log sequence numbers of a step.
const STEP_ROWS: Lsn = 100_000;
const CHECKED_EVERY: Duration = Duration::from_secs(3_600);
const DIFFERING: &str = "quota_differing_counters";

/// Metering.
pub(crate) const FEATURE: Feature<System> = Feature::new("metering").with_tasks(begin);

/// The reader of the log, where it stands. Nothing: the ledger is to be read first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metering(Arc<Mutex<Option<Tail>>>);

/// Why counters are not as they should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeteringError {
    #[error("reading the ledger: {0}")]
    Query(#[from] query::QueryError),
    #[error("an answer of the ledger is not readable")]
    Answer(#[from] arrow::error::ArrowError),
    #[error("reading the log")]
    Log(#[from] ingest::Error),
    #[error("the reader of the log has stopped")]
    Stopped,
    #[error("the ledger is still being read")]
    StillReading,
}

fn begin(system: &System) {
    describe_gauge!(
        DIFFERING,
        "Counters of quotas that the last comparison found to differ from the tables"
    );
    gauge!(DIFFERING).set(0.0);
    system.keep("metering", |system| async move {
        loop {
            let error = match start(&system).await {
                Ok(()) => follow(&system).await,
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                say(&error);
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    });
    let shared = system.clone();
    let kind = JobKind::new("quota_check");
    let repeat = Repeat::Every(CHECKED_EVERY);
    system.state.jobs.repeat(kind, repeat, PAUSE_AFTER_FAILURE, move |_| {
        let system = shared.clone();
        async move {
            let found = system.metering.check(&system).await;
            let found = found.map_err(|error| JobError::temporary(error.to_string()))?;
            serde_json::to_value(&found).map_err(|error| JobError::temporary(error.to_string()))
        }
    });
}

fn say(error: &MeteringError) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(error, "the counters of quotas begin anew");
}

/// Counts what the ledger says at a cut. The log is read on meanwhile: what was written long ago is removed.
async fn start(system: &System) -> Result<(), MeteringError> {
    // Whoever compares waits until it is there again.
    *system.metering.0.lock().await = None;
    let cut = system.lake.lakehouse.cut();
    let month = Month::of(system.state.clock.now());
    let log_dir = folder::LOG.of(&system.config.dir);
    let mut tail = Tail::new(&log_dir, LogId(cut.log), cut.lsn);
    let mut fold = Fold::new(month, false);
    let mut reading = std::pin::pin!(ledger::counted(&system.lake, &cut, month, false));
    let counted = loop {
        tokio::select! {
            counted = &mut reading => break counted?,
            () = tokio::time::sleep(PAUSE_MEANWHILE) => {
                let through = system.lake.lakehouse.cut().lsn;
                (tail, fold) = read(tail, fold, through).await?;
            }
        }
    };
    let last = tail.last_lsn();
    system.directory.quotas.begin(cut.lsn, counted);
    system.directory.quotas.count(last, fold.counted(), [], system.state.clock.now());
    *system.metering.0.lock().await = Some(tail);
    Ok(())
}

/// Counts events as they come; nothing when the ledger is to be read again.
async fn follow(system: &System) -> Option<MeteringError> {
    loop {
        tokio::time::sleep(PAUSE).await;
        let mut tail = system.metering.0.lock().await;
        // A comparison found a difference.
        let reader = tail.take()?;
        match advance(system, reader, system.lake.lakehouse.cut().lsn).await {
            Ok(reader) => *tail = Some(reader),
            Err(error) => return Some(error),
        }
    }
}

/// Counts the events up to a log sequence number, in steps that memory holds.
async fn advance(system: &System, mut tail: Tail, through: Lsn) -> Result<Tail, MeteringError> {
    while tail.last_lsn() < through {
        let now = system.state.clock.now();
        let awaited = system.directory.quotas.awaits_events();
        let fold = Fold::new(Month::of(now).previous(), awaited);
        let step = through.min(tail.last_lsn() + STEP_ROWS);
        let (read, mut fold) = read(tail, fold, step).await?;
        let counted = fold.counted();
        system.directory.quotas.count(read.last_lsn(), counted, fold.arrived, now);
        tail = read;
    }
    Ok(tail)
}

/// Adds the events up to a log sequence number, in steps.
async fn read(mut tail: Tail, mut fold: Fold, through: Lsn) -> Result<(Tail, Fold), MeteringError> {
    let reading = tokio::task::spawn_blocking(move || {
        while tail.last_lsn() < through {
            let after = tail.last_lsn();
            tail.read_to(through.min(after + STEP_ROWS))?;
            for record in tail.take() {
                fold.add(&record, after);
            }
        }
        Ok::<_, ingest::Error>((tail, fold))
    });
    Ok(reading.await.map_err(|_| MeteringError::Stopped)??)
}
