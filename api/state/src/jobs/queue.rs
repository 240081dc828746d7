//! The table of jobs: every change of a row.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait},
};
use serde_json::Value;

use super::{Job, JobError, JobState, NewJob, row};
use crate::store::{Store, StoreContext, StoreError, Write, time_of};

/// Which jobs to list. Empty members say nothing.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Of this kind.
    pub kind: Option<String>,
    /// In this state.
    pub state: Option<JobState>,
    /// With a smaller number than this.
    pub before: Option<i64>,
}

/// Adds a job, in the transaction of what makes it necessary. Gives its number, or none when a job of the kind has the
/// same deduplication key.
pub async fn enqueue(
    write: &Write,
    job: &NewJob,
    now: DateTime<Utc>,
) -> Result<Option<i64>, StoreError> {
    // The write lock is held: nobody else adds it in between.
    let known = row::Entity::find()
        .filter(row::Column::Kind.eq(job.kind))
        .filter(row::Column::DedupKey.eq(job.dedup_key.as_str()))
        .one(write.db())
        .await
        .doing("looking for a job")?;
    if known.is_some() {
        return Ok(None);
    }
    let row = row::ActiveModel {
        kind: Set(job.kind.to_owned()),
        dedup_key: Set(job.dedup_key.clone()),
        payload: Set(job.payload.to_string()),
        state: Set(JobState::Queued.as_str().to_owned()),
        run_at: Set(job.run_at.timestamp_micros()),
        attempts: Set(0),
        created_at: Set(now.timestamp_micros()),
        ..row::ActiveModel::default()
    };
    let inserted = row::Entity::insert(row).exec(write.db()).await.doing("adding a job")?;
    Ok(Some(inserted.last_insert_id))
}

/// The newest jobs first.
pub async fn list(store: &Store, filter: &JobFilter, limit: u64) -> Result<Vec<Job>, StoreError> {
    let mut found = row::Entity::find();
    if let Some(kind) = &filter.kind {
        found = found.filter(row::Column::Kind.eq(kind.as_str()));
    }
    if let Some(state) = filter.state {
        found = found.filter(row::Column::State.eq(state.as_str()));
    }
    if let Some(before) = filter.before {
        found = found.filter(row::Column::Id.lt(before));
    }
    let rows = found
        .order_by_desc(row::Column::Id)
        .limit(limit)
        .all(store.db())
        .await
        .doing("listing jobs")?;
    rows.into_iter().map(Job::try_from).collect()
}

/// How many jobs of a kind there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobCounts {
    /// The kind.
    pub kind: String,
    /// Those that wait for their time or their next attempt.
    pub queued: u64,
    /// Those that are being done.
    pub running: u64,
    /// Those that were done, as far as they are kept.
    pub done: u64,
    /// Those that were given up, as far as they are kept.
    pub failed: u64,
    /// When the last one ended.
    pub last_finished_at: Option<DateTime<Utc>>,
}

/// The jobs by their kind, in the order of the names.
pub async fn counts(store: &Store) -> Result<Vec<JobCounts>, StoreError> {
    let found: Vec<(String, String, i64, Option<i64>)> = row::Entity::find()
        .select_only()
        .column(row::Column::Kind)
        .column(row::Column::State)
        .column_as(row::Column::Id.count(), "jobs")
        .column_as(row::Column::FinishedAt.max(), "last")
        .group_by(row::Column::Kind)
        .group_by(row::Column::State)
        .order_by_asc(row::Column::Kind)
        .into_tuple()
        .all(store.db())
        .await
        .doing("counting jobs")?;
    let mut counts: Vec<JobCounts> = Vec::new();
    for (kind, state, jobs, last) in found {
        if counts.last().is_none_or(|of| of.kind != kind) {
            counts.push(JobCounts { kind, ..JobCounts::default() });
        }
        let Some(of) = counts.last_mut() else { continue };
        let damaged = StoreError::Damaged { table: "jobs", what: "an unknown state" };
        let jobs = jobs.unsigned_abs();
        match state.parse().map_err(|_| damaged)? {
            JobState::Queued => of.queued = jobs,
            JobState::Running => of.running = jobs,
            JobState::Done => of.done = jobs,
            JobState::Failed => of.failed = jobs,
        }
        let last = last.map(|at| time_of("jobs", at)).transpose()?;
        of.last_finished_at = Ord::max(of.last_finished_at, last);
    }
    Ok(counts)
}

/// The job with a number.
pub async fn find(store: &Store, id: i64) -> Result<Option<Job>, StoreError> {
    let found = row::Entity::find_by_id(id).one(store.db()).await.doing("looking for a job")?;
    found.map(Job::try_from).transpose()
}

/// Queues a job that failed once more, from now on and with all its attempts. Says whether it was a failed one.
pub async fn retry(write: &Write, id: i64, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let changed = row::Entity::update_many()
        .col_expr(row::Column::State, text(JobState::Queued.as_str()))
        .col_expr(row::Column::RunAt, Expr::value(now.timestamp_micros()))
        .col_expr(row::Column::Attempts, Expr::value(0))
        .col_expr(row::Column::FinishedAt, Expr::value(None::<i64>))
        .filter(row::Column::Id.eq(id))
        .filter(row::Column::State.eq(JobState::Failed.as_str()))
        .exec(write.db())
        .await
        .doing("queueing a job once more")?;
    Ok(changed.rows_affected > 0)
}

/// Who takes jobs, and for how long.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) owner: String,
    pub(super) lease: TimeDelta,
}

/// What can be taken now: what is due, and what another process began whose lease ran out. What this process began still
/// runs in it, however late a renewal is.
fn takeable(kinds: &[&'static str], holder: &Holder, now: i64) -> Condition {
    let due = Condition::all()
        .add(row::Column::State.eq(JobState::Queued.as_str()))
        .add(row::Column::RunAt.lte(now));
    let left = Condition::all()
        .add(row::Column::State.eq(JobState::Running.as_str()))
        .add(row::Column::LeaseOwner.ne(holder.owner.as_str()))
        .add(row::Column::LeaseUntil.lt(now));
    let of_kind = row::Column::Kind.is_in(kinds.iter().copied());
    Condition::all().add(of_kind).add(Condition::any().add(due).add(left))
}

async fn oldest(
    db: &impl ConnectionTrait,
    kind: &'static str,
    holder: &Holder,
    now: i64,
    limit: u64,
) -> Result<Vec<row::Model>, StoreError> {
    row::Entity::find()
        .filter(takeable(&[kind], holder, now))
        .order_by_asc(row::Column::RunAt)
        .order_by_asc(row::Column::Id)
        .limit(limit)
        .all(db)
        .await
        .doing("looking for jobs that are due")
}

/// Whether there is anything to take. It needs no write lock.
pub(super) async fn is_any_due(
    store: &Store,
    kinds: &[&'static str],
    holder: &Holder,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let found = row::Entity::find()
        .filter(takeable(kinds, holder, now.timestamp_micros()))
        .one(store.db())
        .await
        .doing("looking for jobs that are due")?;
    Ok(found.is_some())
}

/// Takes the jobs that are due, at most so many of each kind.
pub(super) async fn take(
    store: &Store,
    free: &[(&'static str, u64)],
    holder: &Holder,
    now: DateTime<Utc>,
) -> Result<Vec<Job>, StoreError> {
    let (write, micros) = (store.write().await?, now.timestamp_micros());
    let mut taken = Vec::new();
    for (kind, limit) in free {
        for row in oldest(write.db(), kind, holder, micros, *limit).await? {
            row::Entity::update_many()
                .col_expr(row::Column::State, text(JobState::Running.as_str()))
                .col_expr(row::Column::Attempts, Expr::value(row.attempts + 1))
                .col_expr(row::Column::LeaseOwner, text(&holder.owner))
                .col_expr(row::Column::LeaseUntil, Expr::value(until(holder, now)))
                .col_expr(row::Column::StartedAt, Expr::value(micros))
                .filter(row::Column::Id.eq(row.id))
                .exec(write.db())
                .await
                .doing("taking a job")?;
            let job = Job::try_from(row)?;
            let attempts = job.attempts + 1;
            taken.push(Job { state: JobState::Running, attempts, started_at: Some(now), ..job });
        }
    }
    write.commit().await?;
    Ok(taken)
}

/// Renews the lease of a job. It fails to when another process has taken it.
pub(super) async fn renew(
    store: &Store,
    id: i64,
    holder: &Holder,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let write = store.write().await?;
    let renewed = row::Entity::update_many()
        .col_expr(row::Column::LeaseUntil, Expr::value(until(holder, now)))
        .filter(held(id, holder))
        .exec(write.db())
        .await
        .doing("renewing the lease of a job")?;
    write.commit().await?;
    Ok(renewed.rows_affected > 0)
}

/// What becomes of a job after an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ending {
    Done(Value),
    /// There was nothing to do: the job waits for this time.
    Idle(DateTime<Utc>),
    /// It failed, and is tried again at this time.
    Again(JobError, DateTime<Utc>),
    Failed(JobError),
}

/// Notes how an attempt ended, and enqueues what follows in the same transaction. It is nobody's business any more when
/// another process has taken the job.
pub(super) async fn end(
    store: &Store,
    id: i64,
    holder: &Holder,
    ending: &Ending,
    next: Option<&NewJob>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let write = store.write().await?;
    let (state, result, error, run_at) = match ending {
        Ending::Done(result) => (JobState::Done, Some(result.to_string()), None, None),
        Ending::Idle(at) => (JobState::Queued, None, None, Some(*at)),
        Ending::Again(error, at) => (JobState::Queued, None, Some(error.to_string()), Some(*at)),
        Ending::Failed(error) => (JobState::Failed, None, Some(error.to_string()), None),
    };
    let mut update = row::Entity::update_many()
        .col_expr(row::Column::State, text(state.as_str()))
        .col_expr(row::Column::LeaseOwner, Expr::value(None::<String>))
        .col_expr(row::Column::LeaseUntil, Expr::value(None::<i64>))
        .col_expr(row::Column::Result, Expr::value(result))
        .col_expr(row::Column::Error, Expr::value(error));
    update = match run_at {
        Some(at) => update.col_expr(row::Column::RunAt, Expr::value(at.timestamp_micros())),
        None => update.col_expr(row::Column::FinishedAt, Expr::value(now.timestamp_micros())),
    };
    let ended =
        update.filter(held(id, holder)).exec(write.db()).await.doing("noting the end of a job")?;
    if ended.rows_affected == 0 {
        return Ok(false);
    }
    if let Ending::Idle(_) = ending {
        row::Entity::update_many()
            .col_expr(row::Column::Attempts, Expr::value(0))
            .filter(row::Column::Id.eq(id))
            .exec(write.db())
            .await
            .doing("noting the end of a job")?;
    }
    if let Some(next) = next {
        enqueue(&write, next, now).await?;
    }
    write.commit().await?;
    Ok(true)
}

/// Sees to it that a repeating kind has one job that waits or runs, and that it does not wait longer than it has to.
pub(super) async fn ensure(
    store: &Store,
    first: &NewJob,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let write = store.write().await?;
    let open = [JobState::Queued.as_str(), JobState::Running.as_str()];
    let there = row::Entity::find()
        .filter(row::Column::Kind.eq(first.kind))
        .filter(row::Column::State.is_in(open))
        .one(write.db())
        .await
        .doing("looking for a repeating job")?;
    match there {
        None => drop(enqueue(&write, first, now).await?),
        Some(row) if row.run_at > first.run_at.timestamp_micros() => {
            row::Entity::update_many()
                .col_expr(row::Column::RunAt, Expr::value(first.run_at.timestamp_micros()))
                .filter(row::Column::Id.eq(row.id))
                .filter(row::Column::State.eq(JobState::Queued.as_str()))
                .exec(write.db())
                .await
                .doing("moving a repeating job")?;
        }
        Some(_) => return Ok(()),
    }
    write.commit().await
}

/// Makes the job of a repeating kind due now, if it waits.
pub(super) async fn hurry(
    store: &Store,
    kind: &'static str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let write = store.write().await?;
    row::Entity::update_many()
        .col_expr(row::Column::RunAt, Expr::value(now.timestamp_micros()))
        .filter(row::Column::Kind.eq(kind))
        .filter(row::Column::State.eq(JobState::Queued.as_str()))
        .filter(row::Column::RunAt.gt(now.timestamp_micros()))
        .exec(write.db())
        .await
        .doing("hurrying a job")?;
    write.commit().await
}

/// Gives back what this process took and does not finish, since it ends: others need not wait for its leases.
pub(super) async fn give_back(store: &Store, holder: &Holder) -> Result<(), StoreError> {
    let write = store.write().await?;
    row::Entity::update_many()
        .col_expr(row::Column::State, text(JobState::Queued.as_str()))
        .col_expr(row::Column::Attempts, Expr::col(row::Column::Attempts).sub(1))
        .col_expr(row::Column::LeaseOwner, Expr::value(None::<String>))
        .col_expr(row::Column::LeaseUntil, Expr::value(None::<i64>))
        .filter(row::Column::State.eq(JobState::Running.as_str()))
        .filter(row::Column::LeaseOwner.eq(holder.owner.as_str()))
        .exec(write.db())
        .await
        .doing("giving jobs back")?;
    write.commit().await
}

/// Jobs that ended are kept so long.
const KEPT: TimeDelta = TimeDelta::days(30);
/// Of a kind, so many that ended are kept.
const KEPT_OF_KIND: u64 = 1_000;

/// Forgets what ended long ago, and what is more than anybody reads.
pub(super) async fn forget(
    store: &Store,
    kinds: &[&'static str],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let ended = || {
        let states = [JobState::Done.as_str(), JobState::Failed.as_str()];
        Condition::all().add(row::Column::State.is_in(states))
    };
    let write = store.write().await?;
    let before = now.checked_sub_signed(KEPT).unwrap_or(now).timestamp_micros();
    row::Entity::delete_many()
        .filter(ended().add(row::Column::FinishedAt.lt(before)))
        .exec(write.db())
        .await
        .doing("forgetting old jobs")?;
    for kind in kinds {
        let of_kind = || ended().add(row::Column::Kind.eq(*kind));
        let last = row::Entity::find()
            .filter(of_kind())
            .order_by_desc(row::Column::Id)
            .offset(KEPT_OF_KIND)
            .one(write.db())
            .await
            .doing("looking for old jobs")?;
        if let Some(last) = last {
            row::Entity::delete_many()
                .filter(of_kind().add(row::Column::Id.lte(last.id)))
                .exec(write.db())
                .await
                .doing("forgetting old jobs")?;
        }
    }
    write.commit().await
}

fn held(id: i64, holder: &Holder) -> Condition {
    Condition::all()
        .add(row::Column::Id.eq(id))
        .add(row::Column::State.eq(JobState::Running.as_str()))
        .add(row::Column::LeaseOwner.eq(holder.owner.as_str()))
}

fn until(holder: &Holder, now: DateTime<Utc>) -> i64 {
    now.checked_add_signed(holder.lease).unwrap_or(now).timestamp_micros()
}

fn text(value: &str) -> Expr {
    Expr::value(value)
}

impl TryFrom<row::Model> for Job {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Damaged { table: "jobs", what };
        let json = |text: &str| {
            serde_json::from_str(text).map_err(|_| damaged("a payload or a result is not JSON"))
        };
        let time = |micros| time_of("jobs", micros);
        Ok(Self {
            id: row.id,
            state: row.state.parse().map_err(|_| damaged("an unknown state"))?,
            payload: json(&row.payload)?,
            result: row.result.as_deref().map(json).transpose()?,
            run_at: time(row.run_at)?,
            attempts: row.attempts.unsigned_abs(),
            created_at: time(row.created_at)?,
            started_at: row.started_at.map(time).transpose()?,
            finished_at: row.finished_at.map(time).transpose()?,
            kind: row.kind,
            dedup_key: row.dedup_key,
            error: row.error,
        })
    }
}
