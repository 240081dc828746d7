//! The history of queries: who asked what, when, and what it took. Kept for thirty days.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::OnConflict,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::history_row as row;
use crate::store::{Doing, Store, StoreError, time_of};

const DAYS: i64 = 30;
const ROWS_MAX: u64 = 200_000;
/// Rows written by one statement: SQLite takes 32,766 values.
const BATCH: usize = 1_000;

/// A query that runs, or did.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Entry {
    pub(crate) query_id: String,
    /// `user_…`, `key_…` or `local`.
    pub(crate) principal_id: String,
    /// A user's e-mail address, a key's name.
    pub(crate) principal: String,
    pub(crate) organization_id: Option<String>,
    pub(crate) sql: String,
    pub(crate) as_of: String,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) duration_ms: i64,
    pub(crate) status: Status,
    /// Of one that failed.
    pub(crate) code: Option<String>,
    pub(crate) detail: Option<String>,
    /// Of the answer.
    pub(crate) rows: u64,
    /// Of the answer so far, as Arrow.
    pub(crate) bytes: u64,
    pub(crate) truncated: bool,
    pub(crate) rows_scanned: u64,
    /// Absent for an organization: others' rows are in the same files.
    pub(crate) bytes_scanned: Option<u64>,
    /// The most that sorts, joins and groups held at once.
    pub(crate) memory_bytes: u64,
    /// The answer can be fetched until then.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) kept_until: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Waits for its turn in the background.
    Queued,
    Running,
    Done,
    Failed,
    /// Stopped by somebody.
    Canceled,
    /// The client went away.
    Abandoned,
}

/// Which entries, newest first.
#[derive(Debug, Default)]
pub(crate) struct Filter<'a> {
    /// Only those of one principal.
    pub(crate) principal_id: Option<&'a str>,
    pub(crate) status: Option<Status>,
    /// Only those after this one in the list.
    pub(crate) after: Option<(i64, String)>,
    pub(crate) limit: u64,
}

impl Status {
    const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Canceled, Self::Abandoned];

    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Abandoned => "abandoned",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// Writes entries; one that is there already is replaced.
pub(crate) async fn write(store: &Store, entries: &[Entry]) -> Result<(), StoreError> {
    use row::Column::{
        AsOf, ByteCount, BytesScanned, Code, Detail, DurationMs, KeptUntil, MemoryBytes, QueryId,
        RowCount, RowsScanned, StartedAt, Status as State, Truncated,
    };
    if entries.is_empty() {
        return Ok(());
    }
    let write = store.write().await?;
    for entries in entries.chunks(BATCH) {
        let replace = OnConflict::column(QueryId)
            .update_columns([
                AsOf,
                StartedAt,
                DurationMs,
                State,
                Code,
                Detail,
                RowCount,
                ByteCount,
                Truncated,
                RowsScanned,
                BytesScanned,
                MemoryBytes,
                KeptUntil,
            ])
            .to_owned();
        row::Entity::insert_many(entries.iter().map(Entry::row))
            .on_conflict(replace)
            .exec_without_returning(write.db())
            .await
            .doing("writing the history of queries")?;
    }
    write.commit().await
}

pub(crate) async fn list(store: &Store, filter: &Filter<'_>) -> Result<Vec<Entry>, StoreError> {
    use row::Column::{PrincipalId, QueryId, StartedAt, Status as State};
    let mut found = row::Entity::find();
    if let Some(id) = filter.principal_id {
        found = found.filter(PrincipalId.eq(id));
    }
    if let Some(status) = filter.status {
        found = found.filter(State.eq(status.as_str()));
    }
    if let Some((at, id)) = &filter.after {
        let same = Condition::all().add(StartedAt.eq(*at)).add(QueryId.lt(id.as_str()));
        found = found.filter(Condition::any().add(StartedAt.lt(*at)).add(same));
    }
    let rows = found
        .order_by_desc(StartedAt)
        .order_by_desc(QueryId)
        .limit(filter.limit)
        .all(store.db())
        .await
        .doing("reading the history of queries")?;
    rows.into_iter().map(Entry::try_from).collect()
}

pub(crate) async fn find(store: &Store, query_id: &str) -> Result<Option<Entry>, StoreError> {
    let row = row::Entity::find_by_id(query_id).one(store.db()).await;
    row.doing("reading the history of queries")?.map(Entry::try_from).transpose()
}

/// After a start: what was under way when the process before ended is lost.
pub(crate) async fn give_up_unfinished(store: &Store) -> Result<(), StoreError> {
    use row::Column::{Code, Detail, Status as State};
    let write = store.write().await?;
    row::Entity::update_many()
        .col_expr(State, Status::Failed.as_str().into())
        .col_expr(Code, "query_lost".into())
        .col_expr(Detail, "the server ended before the query did".into())
        .filter(State.is_in([Status::Queued.as_str(), Status::Running.as_str()]))
        .exec(write.db())
        .await
        .doing("giving up unfinished queries")?;
    write.commit().await
}

/// Queries whose answers are kept no longer.
pub(crate) async fn expired(store: &Store, now: DateTime<Utc>) -> Result<Vec<Entry>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::KeptUntil.lte(now.timestamp_micros()))
        .limit(BATCH as u64)
        .all(store.db())
        .await
        .doing("finding answers that are kept no longer")?;
    rows.into_iter().map(Entry::try_from).collect()
}

/// Removes what is too old or too much. Entries with a kept answer stay until it is gone.
pub(crate) async fn prune(store: &Store, now: DateTime<Utc>) -> Result<(), StoreError> {
    use row::Column::{KeptUntil, StartedAt};
    let oldest = (now - TimeDelta::days(DAYS)).timestamp_micros();
    let doing = "pruning the history of queries";
    let beyond = row::Entity::find()
        .order_by_desc(StartedAt)
        .offset(ROWS_MAX)
        .limit(1)
        .one(store.db())
        .await
        .doing(doing)?;
    let oldest = beyond.map_or(oldest, |row| row.started_at.max(oldest));
    let write = store.write().await?;
    row::Entity::delete_many()
        .filter(StartedAt.lte(oldest))
        .filter(KeptUntil.is_null())
        .exec(write.db())
        .await
        .doing(doing)?;
    write.commit().await
}

impl Entry {
    fn row(&self) -> row::ActiveModel {
        let number = |n: u64| Set(i64::try_from(n).unwrap_or(i64::MAX));
        row::ActiveModel {
            query_id: Set(self.query_id.clone()),
            principal_id: Set(self.principal_id.clone()),
            principal: Set(self.principal.clone()),
            organization_id: Set(self.organization_id.clone()),
            sql: Set(self.sql.clone()),
            as_of: Set(self.as_of.clone()),
            started_at: Set(self.started_at.timestamp_micros()),
            duration_ms: Set(self.duration_ms),
            status: Set(self.status.as_str().to_owned()),
            code: Set(self.code.clone()),
            detail: Set(self.detail.clone()),
            row_count: number(self.rows),
            byte_count: number(self.bytes),
            truncated: Set(self.truncated),
            rows_scanned: number(self.rows_scanned),
            bytes_scanned: Set(self.bytes_scanned.map(|n| i64::try_from(n).unwrap_or(i64::MAX))),
            memory_bytes: number(self.memory_bytes),
            kept_until: Set(self.kept_until.map(|at| at.timestamp_micros())),
        }
    }
}

impl TryFrom<row::Model> for Entry {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged = StoreError::Damaged { table: "queries", what: "an unknown status" };
        Ok(Self {
            started_at: time_of("queries", row.started_at)?,
            kept_until: row.kept_until.map(|at| time_of("queries", at)).transpose()?,
            status: Status::parse(&row.status).ok_or(damaged)?,
            query_id: row.query_id,
            principal_id: row.principal_id,
            principal: row.principal,
            organization_id: row.organization_id,
            sql: row.sql,
            as_of: row.as_of,
            duration_ms: row.duration_ms,
            code: row.code,
            detail: row.detail,
            rows: row.row_count.unsigned_abs(),
            bytes: row.byte_count.unsigned_abs(),
            truncated: row.truncated,
            rows_scanned: row.rows_scanned.unsigned_abs(),
            bytes_scanned: row.bytes_scanned.map(i64::unsigned_abs),
            memory_bytes: row.memory_bytes.unsigned_abs(),
        })
    }
}
