//! Runs: a report, made of one period.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, sea_query::Expr,
};
use serde::Serialize;
use serde_json::json;
use state::{
    ids::{base62, random_bytes},
    jobs::{self, NewJob},
    store::{Store, StoreContext, StoreError, Write, time_of},
};
use strum::{EnumString, IntoStaticStr};

use super::{
    report::Report,
    row::{report as report_row, run as row},
};

/// The id of a run begins so.
const RUN: &str = "run_";

/// How far a run is. In texts it is the name in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, IntoStaticStr, EnumString)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub(crate) enum RunState {
    /// It waits for its time, or for its next attempt.
    Queued,
    /// It was made; its deliveries say how far they are.
    Done,
    /// There was nothing to send, by the report's own rules.
    Skipped,
    /// It could not be made.
    Failed,
}

/// A run as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) run_id: String,
    pub(super) report_id: String,
    pub(super) schedule_id: Option<String>,
    pub(super) only_to: Option<String>,
    pub(super) fired_at: DateTime<Utc>,
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    pub(super) state: RunState,
    pub(super) reason: Option<String>,
    pub(super) as_of: Option<String>,
    pub(super) files: Vec<KeptFile>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) finished_at: Option<DateTime<Utc>>,
}

/// A file of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(super) struct KeptFile {
    /// The name that recipients see.
    pub(super) name: String,
    /// Whose numbers it holds; none: those that the owner sees.
    pub(super) organization_id: Option<String>,
}

/// A run that is to be made.
#[derive(Debug, Clone)]
pub(super) struct NewRun {
    pub(super) schedule_id: Option<String>,
    /// A test: only this mail address gets it.
    pub(super) only_to: Option<String>,
    pub(super) fired_at: DateTime<Utc>,
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    pub(super) run_at: DateTime<Utc>,
}

/// The kind of the jobs that make runs.
pub(super) const JOB: &str = "report_run";

/// Begins a run. Of a report and a period there is one, however often it is begun by schedules; who asks for one by hand
/// gets another.
pub(super) async fn begin(
    write: &Write,
    report: &Report,
    new: &NewRun,
    now: DateTime<Utc>,
) -> Result<Option<String>, StoreError> {
    let run_id = format!("{RUN}{}", base62(&random_bytes::<16>()?, 22));
    let dedup_key = match new.schedule_id {
        Some(_) => {
            let (from, to) = (new.from.timestamp(), new.to.timestamp());
            format!("{}:{from}:{to}", report.report_id)
        }
        None => run_id.clone(),
    };
    let known = row::Entity::find()
        .filter(row::Column::DedupKey.eq(dedup_key.as_str()))
        .one(write.db())
        .await
        .doing("looking for a run")?;
    if known.is_some() {
        return Ok(None);
    }
    let row = row::ActiveModel {
        run_id: Set(run_id.clone()),
        report_id: Set(report.report_id.clone()),
        schedule_id: Set(new.schedule_id.clone()),
        dedup_key: Set(dedup_key),
        only_to: Set(new.only_to.clone()),
        fired_at: Set(new.fired_at.timestamp_micros()),
        period_from: Set(new.from.timestamp_micros()),
        period_to: Set(new.to.timestamp_micros()),
        state: Set(<&str>::from(RunState::Queued).to_owned()),
        reason: Set(None),
        as_of: Set(None),
        digest: Set(None),
        files: Set("[]".to_owned()),
        created_at: Set(now.timestamp_micros()),
        finished_at: Set(None),
    };
    row::Entity::insert(row).exec_without_returning(write.db()).await.doing("adding a run")?;
    let job = NewJob {
        kind: JOB,
        dedup_key: run_id.clone(),
        payload: json!({"run_id": run_id, "report_id": report.report_id}),
        run_at: new.run_at,
    };
    jobs::enqueue(write, &job, now).await?;
    Ok(Some(run_id))
}

pub(super) async fn find(store: &Store, id: &str) -> Result<Option<Run>, StoreError> {
    let row = row::Entity::find_by_id(id).one(store.db()).await.doing("looking for a run")?;
    row.map(Run::try_from).transpose()
}

/// The newest runs of a report.
pub(super) async fn of_report(
    store: &Store,
    report_id: &str,
    limit: u64,
) -> Result<Vec<Run>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::ReportId.eq(report_id))
        .order_by_desc(row::Column::CreatedAt)
        .order_by_desc(row::Column::FiredAt)
        .limit(limit)
        .all(store.db())
        .await
        .doing("listing runs")?;
    rows.into_iter().map(Run::try_from).collect()
}

/// The digest of the last run that was sent of a report.
pub(super) async fn last_digest(
    store: &Store,
    report_id: &str,
) -> Result<Option<String>, StoreError> {
    let row = row::Entity::find()
        .filter(row::Column::ReportId.eq(report_id))
        .filter(row::Column::State.eq(<&str>::from(RunState::Done)))
        .filter(row::Column::OnlyTo.is_null())
        .order_by_desc(row::Column::FinishedAt)
        .one(store.db())
        .await
        .doing("looking for the last run")?;
    Ok(row.and_then(|row| row.digest))
}

/// How a run ended.
#[derive(Debug, Clone)]
pub(super) struct RunEnd<'a> {
    pub(super) state: RunState,
    pub(super) reason: Option<&'a str>,
    pub(super) as_of: Option<&'a str>,
    pub(super) digest: Option<&'a str>,
    pub(super) files: &'a [KeptFile],
}

impl<'a> RunEnd<'a> {
    pub(super) fn because(state: RunState, reason: &'a str) -> Self {
        Self { state, reason: Some(reason), as_of: None, digest: None, files: &[] }
    }
}

pub(super) async fn end(
    write: &Write,
    run_id: &str,
    end: &RunEnd<'_>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let owned = |text: Option<&str>| Expr::value(text.map(str::to_owned));
    row::Entity::update_many()
        .col_expr(row::Column::State, Expr::value(<&str>::from(end.state)))
        .col_expr(row::Column::Reason, owned(end.reason))
        .col_expr(row::Column::AsOf, owned(end.as_of))
        .col_expr(row::Column::Digest, owned(end.digest))
        .col_expr(row::Column::Files, Expr::value(json!(end.files).to_string()))
        .col_expr(row::Column::FinishedAt, Expr::value(now.timestamp_micros()))
        .filter(row::Column::RunId.eq(run_id))
        .exec(write.db())
        .await
        .doing("noting the end of a run")?;
    Ok(())
}

/// Says why the last attempt failed, while others follow.
pub(super) async fn note_failure(store: &Store, id: &str, reason: &str) -> Result<(), StoreError> {
    let write = store.write().await?;
    row::Entity::update_many()
        .col_expr(row::Column::Reason, Expr::value(reason))
        .filter(row::Column::RunId.eq(id))
        .exec(write.db())
        .await
        .doing("noting a failed attempt of a run")?;
    write.commit().await
}

/// Runs from before a time, and those of reports that are gone; at most so many. What waits is left alone.
pub(super) async fn old(
    store: &Store,
    before: DateTime<Utc>,
    limit: u64,
) -> Result<Vec<Run>, StoreError> {
    let reports =
        report_row::Entity::find().select_only().column(report_row::Column::ReportId).into_query();
    let is_old = Condition::any()
        .add(row::Column::CreatedAt.lt(before.timestamp_micros()))
        .add(row::Column::ReportId.not_in_subquery(reports));
    let rows = row::Entity::find()
        .filter(is_old)
        .filter(row::Column::State.ne(<&str>::from(RunState::Queued)))
        .limit(limit)
        .all(store.db())
        .await
        .doing("looking for old runs")?;
    rows.into_iter().map(Run::try_from).collect()
}

/// When reports could not be made, and when deliveries of them failed for good.
pub(crate) async fn failed_at(
    store: &Store,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<DateTime<Utc>>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::State.eq(<&str>::from(RunState::Failed)))
        .filter(row::Column::FinishedAt.gte(from.timestamp_micros()))
        .filter(row::Column::FinishedAt.lt(to.timestamp_micros()))
        .all(store.db())
        .await
        .doing("looking for failed runs")?;
    let mut times: Vec<DateTime<Utc>> = rows
        .into_iter()
        .filter_map(|row| row.finished_at)
        .map(|at| time_of("report_runs", at))
        .collect::<Result<_, _>>()?;
    times.extend(delivery::failed_at(store, RUN, from, to).await?);
    Ok(times)
}

pub(super) async fn remove(store: &Store, ids: &[String]) -> Result<(), StoreError> {
    let write = store.write().await?;
    row::Entity::delete_many()
        .filter(row::Column::RunId.is_in(ids))
        .exec(write.db())
        .await
        .doing("removing old runs")?;
    write.commit().await
}

impl TryFrom<row::Model> for Run {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Damaged { table: "report_runs", what };
        let time = |micros| time_of("report_runs", micros);
        Ok(Self {
            state: row.state.parse().map_err(|_| damaged("an unknown state"))?,
            files: serde_json::from_str(&row.files)
                .map_err(|_| damaged("a list of files is not readable"))?,
            fired_at: time(row.fired_at)?,
            from: time(row.period_from)?,
            to: time(row.period_to)?,
            created_at: time(row.created_at)?,
            finished_at: row.finished_at.map(time).transpose()?,
            run_id: row.run_id,
            report_id: row.report_id,
            schedule_id: row.schedule_id,
            only_to: row.only_to,
            reason: row.reason,
            as_of: row.as_of,
        })
    }
}
