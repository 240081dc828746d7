//! The nightly check of a running server, in a child process.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use analytics::{
    Lake,
    rollups::{self, RollupWork},
};
use anyhow::{Context, ensure};
use chrono::{DateTime, Days, NaiveTime, SecondsFormat, Utc};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use state::{
    folder::{self, write_private},
    jobs::{JobError, JobKind, Repeat},
};
use tokio::io::AsyncWriteExt;

use super::{CheckReport, ServerAccess, proof::CheckAssignment};
use crate::{background, config::Config, lake, server::System};

/// `check.json`: the last nightly check, so that a server that is started anew each day misses none.
#[derive(Debug, Serialize, Deserialize)]
struct LastCheck {
    at: String,
    as_of: String,
    differences: u64,
}

const DIFFERENCES: &str = "check_differences";
const LAST_RUN: &str = "check_last_run_timestamp_seconds";
const FAILED: &str = "check_failed_runs_total";

/// Describes the metrics, and shows the last run of an earlier process.
pub(crate) fn begin(config: &Config) {
    describe_gauge!(DIFFERENCES, "Differences that the last nightly check found");
    describe_gauge!(LAST_RUN, "When the last nightly check ended");
    describe_counter!(FAILED, "Nightly checks that did not come to an end");
    counter!(FAILED).increment(0);
    if let Some((last, at)) = last(config) {
        gauge!(DIFFERENCES).set(last.differences as f64);
        gauge!(LAST_RUN).set(at.timestamp() as f64);
    }
}

/// The pause after a check that did not come to its end.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(3_600);

/// Checks every night; a night that was missed is made up for. `url` is where the server listens.
pub(crate) fn register(system: &System, url: &str) {
    if !system.config.check.nightly {
        return;
    }
    let (shared, url) = (system.clone(), url.to_owned());
    let nightly = Repeat::daily_at(system.config.check.hour_utc);
    let kind = JobKind::new("nightly_check");
    let now = system.state.clock.now();
    let since = last(&system.config).map_or(now, |(_, at)| at);
    let first = match is_due(since, now, system.config.check.hour_utc) {
        true => now,
        false => nightly.next(now),
    };
    system.state.jobs.repeat_from(kind, nightly, PAUSE_AFTER_FAILURE, first, move |_| {
        let (system, url) = (shared.clone(), url.clone());
        async move {
            let now = system.state.clock.now();
            night(&system, &url, now).await.map_err(|error| {
                counter!(FAILED).increment(1);
                JobError::temporary(format!("{error:#}"))
            })
        }
    });
}

/// Whether the hour came since the last check.
fn is_due(since: DateTime<Utc>, now: DateTime<Utc>, hour: u8) -> bool {
    let hour = NaiveTime::from_hms_opt(u32::from(hour), 0, 0).unwrap_or_default();
    let today = now.date_naive().and_time(hour).and_utc();
    let slot = if today <= now { today } else { today - Days::new(1) };
    since < slot
}

async fn night(system: &System, url: &str, now: DateTime<Utc>) -> anyhow::Result<Value> {
    // What is not open yet would not be compared.
    rollups::open_all(&system.lake).await;
    let server = ServerAccess { url: url.to_owned(), token: system.local_token.clone() };
    let checked = check(&system.program, &system.config, server).await?;
    for difference in &checked.proof.differences {
        tracing::error!(%difference, "the nightly check found a difference");
    }
    let last = LastCheck {
        at: now.to_rfc3339_opts(SecondsFormat::Secs, true),
        as_of: checked.proof.as_of,
        differences: checked.proof.count,
    };
    write_private(&path(&system.config), &serde_json::to_vec(&last)?)
        .context("writing check.json")?;
    gauge!(DIFFERENCES).set(last.differences as f64);
    gauge!(LAST_RUN).set(now.timestamp() as f64);
    let Lake { lakehouse, engine, state, .. } = &system.lake;
    let work = RollupWork::new(lakehouse, engine, &state.clock);
    for (rollup, dates) in &checked.rollups.differing {
        work.rebuild_days(rollup, dates).await.context("computing a rollup anew")?;
        tracing::warn!(rollup, days = dates.len(), "days of a rollup were computed anew");
    }
    Ok(json!({"differences": last.differences, "as_of": last.as_of}))
}

/// Lets a child process check. Its secrets go by its standard input.
async fn check(
    program: &Path,
    config: &Config,
    server: ServerAccess,
) -> anyhow::Result<CheckReport> {
    let mut child =
        background::command(program, "check-worker").spawn().context("starting the check")?;
    let (dir, location) = (config.dir.clone(), lake::location(config)?);
    let order = CheckAssignment { dir, location, config: config.clone(), server };
    let mut input = child.stdin.take().context("the check has no input")?;
    input.write_all(&serde_json::to_vec(&order)?).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "the check ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn path(config: &Config) -> PathBuf {
    folder::CHECK.of(&config.dir)
}

fn last(config: &Config) -> Option<(LastCheck, DateTime<Utc>)> {
    let last: LastCheck = serde_json::from_slice(&std::fs::read(path(config)).ok()?).ok()?;
    let at = DateTime::parse_from_rfc3339(&last.at).ok()?.to_utc();
    Some((last, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_due_once_after_its_hour() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        let cases = [
            ("2026-01-01T12:00:00Z", "2026-01-02T02:59:59Z", false),
            ("2026-01-01T12:00:00Z", "2026-01-02T03:00:00Z", true),
            ("2026-01-02T03:00:00Z", "2026-01-02T23:00:00Z", false),
            ("2026-01-02T03:00:00Z", "2026-01-03T02:00:00Z", false),
            ("2026-01-02T03:00:10Z", "2026-01-03T09:00:00Z", true),
            ("2025-11-01T00:00:00Z", "2026-01-02T00:30:00Z", true),
        ];
        for (since, now, due) in cases {
            assert_eq!(is_due(at(since), at(now), 3), due, "{since} {now}");
        }
    }
}
