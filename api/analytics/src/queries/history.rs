//! The history of queries: who asked what, when, and what it took. Kept for thirty days, as far as its bytes go: what
//! one organization asks takes no room from the others. A statement that was refused never ran: it is counted, and
//! not kept.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    Statement,
    sea_query::{self, Expr, OnConflict},
};
use serde::{Deserialize, Serialize};
use state::store::{Store, StoreContext, StoreError, time_of};
use strum::{EnumString, IntoStaticStr};
use utoipa::ToSchema;

use super::history_row as row;

const DAYS: i64 = 30;
/// Bytes of a statement that are kept, and of a failure's text.
const SQL_BYTES_MAX: usize = 8 << 10;
const DETAIL_BYTES_MAX: usize = 1 << 10;
/// What an entry takes beside its texts, about.
const ENTRY_BYTES: usize = 512;
/// Bytes of all entries, and of those of one organization.
const BYTES_MAX: usize = 64 << 20;
const ORGANIZATION_BYTES_MAX: usize = 8 << 20;
/// Rows written by one statement: SQLite takes 32,766 values.
const BATCH: usize = 1_000;

/// A query that runs, or did.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = HistoryEntry)]
pub struct Entry {
    pub query_id: String,
    /// `user_…`, `key_…` or `local`.
    pub principal_id: String,
    /// A user's e-mail address, a key's name.
    pub principal: String,
    pub organization_id: Option<String>,
    pub sql: String,
    pub as_of: String,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: DateTime<Utc>,
    pub duration_ms: i64,
    pub status: Status,
    /// Of one that failed.
    pub code: Option<String>,
    pub detail: Option<String>,
    /// Of the answer.
    pub rows: u64,
    /// Of the answer so far, as Arrow.
    pub bytes: u64,
    pub truncated: bool,
    /// Null of an organization's query, as the two after it: others' rows are in the same files.
    pub rows_scanned: Option<u64>,
    pub bytes_scanned: Option<u64>,
    /// The most that sorts, joins and groups held at once.
    pub memory_bytes: Option<u64>,
    /// The answer can be fetched until then.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub kept_until: Option<DateTime<Utc>>,
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoStaticStr, EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Status {
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
pub(super) struct HistoryFilter<'a> {
    /// Only those of one principal.
    pub principal_id: Option<&'a str>,
    pub status: Option<Status>,
    /// Only those after this one in the list.
    pub after: Option<(i64, String)>,
    pub limit: u64,
}

impl Status {
    fn as_str(self) -> &'static str {
        self.into()
    }

    fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

/// Writes entries; one that is there already is replaced.
pub(super) async fn write(store: &Store, entries: &[Entry]) -> Result<(), StoreError> {
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

pub(super) async fn list(
    store: &Store,
    filter: &HistoryFilter<'_>,
) -> Result<Vec<Entry>, StoreError> {
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

/// The queries that ended in a way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QueryCounts {
    pub(crate) status: String,
    pub(crate) count: u64,
    pub(crate) mean_ms: f64,
    pub(crate) longest_ms: f64,
}

/// The queries since an instant, by how they ended.
pub(crate) async fn counts_since(
    store: &Store,
    since: DateTime<Utc>,
) -> Result<Vec<QueryCounts>, StoreError> {
    let found: Vec<(String, i64, i64, i64)> = row::Entity::find()
        .select_only()
        .column(row::Column::Status)
        .column_as(row::Column::QueryId.count(), "queries")
        // A sum is wider than what is added, and PostgreSQL says so.
        .column_as(sea_query::ExprTrait::cast_as(row::Column::DurationMs.sum(), "bigint"), "total")
        .column_as(row::Column::DurationMs.max(), "longest")
        .filter(row::Column::StartedAt.gte(since.timestamp_micros()))
        .group_by(row::Column::Status)
        .order_by_asc(row::Column::Status)
        .into_tuple()
        .all(store.db())
        .await
        .doing("counting queries")?;
    #[expect(clippy::cast_precision_loss, reason = "they are shown with one decimal")]
    let of = |(status, count, total, longest): (String, i64, i64, i64)| QueryCounts {
        status,
        count: count.unsigned_abs(),
        mean_ms: total as f64 / count.max(1) as f64,
        longest_ms: longest as f64,
    };
    Ok(found.into_iter().map(of).collect())
}

pub(super) async fn find(store: &Store, query_id: &str) -> Result<Option<Entry>, StoreError> {
    let row = row::Entity::find_by_id(query_id).one(store.db()).await;
    row.doing("reading the history of queries")?.map(Entry::try_from).transpose()
}

/// After a start: what was under way when the process before ended is lost.
pub async fn give_up_unfinished(store: &Store) -> Result<(), StoreError> {
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
pub(super) async fn expired(store: &Store, now: DateTime<Utc>) -> Result<Vec<Entry>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::KeptUntil.lte(now.timestamp_micros()))
        .limit(BATCH as u64)
        .all(store.db())
        .await
        .doing("finding answers that are kept no longer")?;
    rows.into_iter().map(Entry::try_from).collect()
}

/// Removes what is too old, and the oldest of what is too much. Entries with a kept answer stay until it is gone.
pub(super) async fn prune(store: &Store, now: DateTime<Utc>) -> Result<(), StoreError> {
    prune_to(store, now, BYTES_MAX, ORGANIZATION_BYTES_MAX).await
}

async fn prune_to(
    store: &Store,
    now: DateTime<Utc>,
    bytes_max: usize,
    organization_bytes_max: usize,
) -> Result<(), StoreError> {
    use row::Column::{KeptUntil, StartedAt};
    let doing = "pruning the history of queries";
    let oldest = (now - TimeDelta::days(DAYS)).timestamp_micros();
    let write = store.write().await?;
    row::Entity::delete_many()
        .filter(StartedAt.lte(oldest))
        .filter(KeptUntil.is_null())
        .exec(write.db())
        .await
        .doing(doing)?;
    let sql = format!(
        "DELETE FROM queries WHERE kept_until IS NULL AND query_id IN ({})",
        beyond_room("", bytes_max, organization_bytes_max)
    );
    let statement = Statement::from_string(write.db().get_database_backend(), sql);
    write.db().execute_raw(statement).await.doing(doing)?;
    write.commit().await
}

/// Queries with a kept answer that have no room any more among all such, some of them. What is asked besides does not
/// count: it takes no answer away before its time.
pub(super) async fn kept_beyond_room(store: &Store) -> Result<Vec<Entry>, StoreError> {
    kept_beyond(store, BYTES_MAX, ORGANIZATION_BYTES_MAX).await
}

async fn kept_beyond(
    store: &Store,
    bytes_max: usize,
    organization_bytes_max: usize,
) -> Result<Vec<Entry>, StoreError> {
    let beyond = beyond_room("WHERE kept_until IS NOT NULL", bytes_max, organization_bytes_max);
    let rows = row::Entity::find()
        .filter(Expr::cust(format!("query_id IN ({beyond})")))
        .limit(BATCH as u64)
        .all(store.db())
        .await
        .doing("finding answers that have no room")?;
    rows.into_iter().map(Entry::try_from).collect()
}

/// Newest first, of some entries: the ids of what lies beyond the room of its organization, or of all.
fn beyond_room(which: &str, bytes_max: usize, organization_bytes_max: usize) -> String {
    format!(
        "SELECT query_id FROM (SELECT query_id, organization_id, \
         sum(bytes) OVER (PARTITION BY organization_id ORDER BY started_at DESC, query_id) AS own, \
         sum(bytes) OVER (ORDER BY started_at DESC, query_id) AS all_bytes FROM (SELECT query_id, organization_id, \
         started_at, {ENTRY_BYTES} + octet_length(sql) + octet_length(coalesce(detail, '')) AS bytes FROM queries {which}) \
         AS entries) AS summed WHERE all_bytes > {bytes_max} \
         OR organization_id IS NOT NULL AND own > {organization_bytes_max}"
    )
}

/// A text cut to so many bytes; one that was cut ends with `…`.
fn cut(text: &str, bytes_max: usize) -> String {
    // PostgreSQL has no texts with this character.
    let text = &text.replace('\0', "\u{fffd}");
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes_max)])
}

/// As much of a statement as the history keeps.
pub(super) fn kept_sql(sql: &str) -> String {
    cut(sql, SQL_BYTES_MAX)
}

/// As much of a failure's text as the history keeps.
pub(super) fn kept_detail(detail: &str) -> String {
    cut(detail, DETAIL_BYTES_MAX)
}

impl Entry {
    /// About what it takes, in memory and in the database.
    pub(super) fn bytes(&self) -> usize {
        ENTRY_BYTES + self.sql.len() + self.detail.as_ref().map_or(0, String::len)
    }

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
            rows_scanned: number(self.rows_scanned.unwrap_or(0)),
            bytes_scanned: Set(self.bytes_scanned.map(|n| i64::try_from(n).unwrap_or(i64::MAX))),
            memory_bytes: number(self.memory_bytes.unwrap_or(0)),
            kept_until: Set(self.kept_until.map(|at| at.timestamp_micros())),
        }
    }
}

impl TryFrom<row::Model> for Entry {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged = StoreError::Damaged { table: "queries", what: "an unknown status" };
        let is_staff = row.organization_id.is_none();
        // Before tokens were sealed, one of an organization's was kept as it was.
        let as_of = Some(row.as_of).filter(|token| is_staff || !token.contains('.'));
        let told = |n: Option<i64>| n.filter(|_| is_staff).map(i64::unsigned_abs);
        Ok(Self {
            started_at: time_of("queries", row.started_at)?,
            kept_until: row.kept_until.map(|at| time_of("queries", at)).transpose()?,
            status: Status::parse(&row.status).ok_or(damaged)?,
            query_id: row.query_id,
            principal_id: row.principal_id,
            principal: row.principal,
            organization_id: row.organization_id,
            sql: row.sql,
            as_of: as_of.unwrap_or_default(),
            duration_ms: row.duration_ms,
            code: row.code,
            detail: row.detail,
            rows: row.row_count.unsigned_abs(),
            bytes: row.byte_count.unsigned_abs(),
            truncated: row.truncated,
            rows_scanned: told(Some(row.rows_scanned)),
            bytes_scanned: told(row.bytes_scanned),
            memory_bytes: told(Some(row.memory_bytes)),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use state::scratch::{Scratch, noon};

    pub(in crate::queries) fn entry(id: usize, organization: Option<&str>, sql: &str) -> Entry {
        Entry {
            query_id: format!("qry_{id:05}"),
            principal_id: "key_1".into(),
            principal: "k".into(),
            organization_id: organization.map(str::to_owned),
            sql: kept_sql(sql),
            as_of: "a.b".into(),
            started_at: noon() + TimeDelta::milliseconds(i64::try_from(id).unwrap()),
            duration_ms: 1,
            status: Status::Done,
            code: None,
            detail: None,
            rows: 0,
            bytes: 0,
            truncated: false,
            rows_scanned: None,
            bytes_scanned: None,
            memory_bytes: None,
            kept_until: None,
        }
    }

    async fn ids(store: &Store) -> Vec<String> {
        let filter = HistoryFilter { limit: 10_000, ..HistoryFilter::default() };
        let entries = list(store, &filter).await.unwrap();
        entries.into_iter().rev().map(|entry| entry.query_id).collect()
    }

    #[tokio::test]
    async fn what_one_organization_asks_takes_no_room_from_others() {
        let Scratch { store, .. } = &crate::scratch().await;
        let long = "x".repeat(1_000_000);
        let mut entries: Vec<_> = (0..40).map(|id| entry(id, Some("org_a"), &long)).collect();
        entries.extend((40..44).map(|id| entry(id, Some("org_b"), "select 1")));
        entries.extend((44..48).map(|id| entry(id, None, "select 1")));
        entries[0].kept_until = Some(noon());
        write(store, &entries).await.unwrap();
        // Room for four long statements of one organization.
        prune_to(store, noon(), 1 << 20, 5 * SQL_BYTES_MAX).await.unwrap();
        let expected = [0].into_iter().chain(36..48).map(|id| entry(id, None, "").query_id);
        assert_eq!(ids(store).await, expected.collect::<Vec<_>>());
        // Room for the newest of all.
        prune_to(store, noon(), 6 * ENTRY_BYTES, 1 << 20).await.unwrap();
        let expected = [0].into_iter().chain(43..48).map(|id| entry(id, None, "").query_id);
        assert_eq!(ids(store).await, expected.collect::<Vec<_>>());
        prune_to(store, noon() + TimeDelta::days(31), 1 << 20, 1 << 20).await.unwrap();
        assert_eq!(ids(store).await, ["qry_00000"]);
    }

    #[tokio::test]
    async fn a_kept_answer_makes_room_only_for_others_that_are_kept() {
        let Scratch { store, .. } = &crate::scratch().await;
        let mut entries: Vec<_> = (0..20).map(|id| entry(id, Some("org_a"), "select 1")).collect();
        entries.iter_mut().take(4).for_each(|entry| entry.kept_until = Some(noon()));
        write(store, &entries).await.unwrap();
        let each = entries[0].bytes();
        let gone = async |room| {
            let found = kept_beyond(store, 1 << 20, room).await.unwrap();
            let mut ids: Vec<_> = found.into_iter().map(|entry| entry.query_id).collect();
            ids.sort();
            ids
        };
        assert!(gone(4 * each).await.is_empty());
        assert_eq!(gone(2 * each).await, ["qry_00000", "qry_00001"]);
    }

    #[tokio::test]
    async fn queries_are_counted_by_how_they_ended() {
        let Scratch { store, .. } = &crate::scratch().await;
        let mut entries: Vec<_> = (0..3).map(|id| entry(id, None, "select '\0'")).collect();
        entries[1].duration_ms = 5;
        entries[2].status = Status::Failed;
        write(store, &entries).await.unwrap();
        let done = QueryCounts { status: "done".into(), count: 2, mean_ms: 3.0, longest_ms: 5.0 };
        let failed =
            QueryCounts { status: "failed".into(), count: 1, mean_ms: 1.0, longest_ms: 1.0 };
        assert_eq!(counts_since(store, noon()).await.unwrap(), [done, failed]);
    }

    #[test]
    fn texts_are_cut_between_letters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("a\0", 9), "a\u{fffd}");
        assert_eq!(cut("aбв", 4), "aб…");
        assert_eq!(kept_sql(&"д".repeat(100_000)).len(), SQL_BYTES_MAX + "…".len());
    }
}
