//! What the server has at hand, for the tiles that show it.

use chrono::TimeDelta;
use reports::{Dashboard, SystemName, SystemTable, SystemTables, SystemTopic, SystemValue};
use rest::principal::Principal;
use state::{jobs, store::StoreError};

use crate::{Lake, forecasts, queries::history};

/// The tables that a dashboard shows; none for members: they do not operate the server.
pub(super) async fn tables(
    lake: &Lake,
    principal: &Principal,
    dashboard: &Dashboard,
) -> Result<SystemTables, StoreError> {
    tables_of(lake, principal, dashboard.system_topics()).await
}

async fn tables_of(
    lake: &Lake,
    principal: &Principal,
    topics: impl IntoIterator<Item = SystemTopic>,
) -> Result<SystemTables, StoreError> {
    let mut tables = SystemTables::new();
    if principal.reach.organization_id().is_some() {
        return Ok(tables);
    }
    for topic in topics {
        let table = match topic {
            SystemTopic::Intake => intake(lake),
            SystemTopic::Tables => files(lake),
            SystemTopic::Jobs => of_jobs(lake).await?,
            SystemTopic::Queries => of_queries(lake).await?,
            SystemTopic::Forecasts => forecasts::table(lake).await?,
        };
        tables.insert(topic, table);
    }
    Ok(tables)
}

/// Those of them that are in reports.
pub(crate) async fn reported_tables(
    lake: &Lake,
    principal: &Principal,
    dashboard: &Dashboard,
) -> Result<SystemTables, StoreError> {
    let topics = dashboard.system_topics().into_iter().filter(|topic| topic.is_reported());
    tables_of(lake, principal, topics).await
}

fn count(number: usize) -> SystemValue {
    SystemValue::Count(number as u64)
}

fn intake(lake: &Lake) -> SystemTable {
    let now = lake.lakehouse.standing();
    let row = |name, value| (SystemName::Word(name), vec![value]);
    SystemTable {
        heads: vec!["what", "value"],
        rows: vec![
            row("waiting_rows", count(now.lag_rows)),
            row("waiting_for", SystemValue::Seconds(now.lag.as_secs_f64())),
            row("waiting_bytes", SystemValue::Bytes(now.pending_bytes as u64)),
            row("arriving_bytes", SystemValue::Bytes(now.arriving_bytes as u64)),
            row("log_bytes", SystemValue::Bytes(now.log_bytes)),
        ],
    }
}

fn files(lake: &Lake) -> SystemTable {
    let rows = lake.lakehouse.standing().files.into_iter().map(|(table, (files, bytes))| {
        let values = vec![count(files), SystemValue::Bytes(bytes)];
        (SystemName::Name(table.name().to_owned()), values)
    });
    SystemTable { heads: vec!["table", "files", "bytes"], rows: rows.collect() }
}

async fn of_jobs(lake: &Lake) -> Result<SystemTable, StoreError> {
    let counts = jobs::counts(&lake.state.store).await?;
    let rows = counts.into_iter().map(|of| {
        let counts = [of.queued, of.running, of.done, of.failed].map(SystemValue::Count);
        let ended = SystemValue::Time(of.last_finished_at);
        (SystemName::Name(of.kind), counts.into_iter().chain([ended]).collect())
    });
    Ok(SystemTable {
        heads: vec!["job", "queued", "running", "done", "failed", "last_end"],
        rows: rows.collect(),
    })
}

async fn of_queries(lake: &Lake) -> Result<SystemTable, StoreError> {
    let since = lake.state.clock.now() - TimeDelta::hours(24);
    let counts = history::counts_since(&lake.state.store, since).await?;
    let rows = counts.into_iter().map(|of| {
        let seconds = [of.mean_ms, of.longest_ms].map(|ms| SystemValue::Seconds(ms / 1_000.0));
        let values = std::iter::once(SystemValue::Count(of.count)).chain(seconds).collect();
        (SystemName::Name(of.status), values)
    });
    Ok(SystemTable { heads: vec!["status", "count", "mean_time", "longest"], rows: rows.collect() })
}
