//! Saved queries in the state: each version is a row.

use chrono::{DateTime, Utc};
use rest::{
    principal::Principal,
    problem::{Code, Problem},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, sea_query::Expr,
};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    store::{Store, StoreContext, StoreError, Write},
};

use super::{NewQuery, SavedQuery, row, scope_of};

/// Versions of all queries that staff, or an organization, may have saved.
const VERSIONS_MAX: u64 = 10_000;
/// Bytes of the statements that an organization, or all staff, may save.
const BYTES_MAX: u64 = 8 << 20;

/// The newest version, or one that is asked for.
pub(super) async fn find(
    db: &impl ConnectionTrait,
    scope: &str,
    name: &str,
    version: Option<i32>,
) -> Result<Option<SavedQuery>, StoreError> {
    let mut found = row::Entity::find()
        .filter(row::Column::Scope.eq(scope))
        .filter(row::Column::Name.eq(name))
        .order_by_desc(row::Column::Version);
    if let Some(version) = version {
        found = found.filter(row::Column::Version.eq(version));
    }
    let row = found.one(db).await.doing("reading a saved query")?;
    row.map(SavedQuery::try_from).transpose()
}

/// The newest versions of a scope, by name.
pub(super) async fn newest(store: &Store, scope: &str) -> Result<Vec<SavedQuery>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::Scope.eq(scope))
        .order_by_asc(row::Column::Name)
        .order_by_desc(row::Column::Version)
        .all(store.db())
        .await
        .doing("listing saved queries")?;
    let mut queries: Vec<SavedQuery> =
        rows.into_iter().map(SavedQuery::try_from).collect::<Result<_, _>>()?;
    queries.dedup_by(|next, first| next.name == first.name);
    Ok(queries)
}

async fn check_room(write: &Write, scope: &str, sql: &str) -> Result<(), Problem> {
    let all = row::Entity::find().filter(row::Column::Scope.eq(scope)).select_only();
    let all = all
        .column_as(Expr::cust("count(*)"), "versions")
        .column_as(Expr::cust("coalesce(sum(octet_length(sql) + octet_length(parameters) + octet_length(description)), 0)"), "bytes");
    let taken: Option<(i64, i64)> =
        all.into_tuple().one(write.db()).await.doing("counting saved queries")?;
    let (versions, bytes) =
        taken.map_or((0, 0), |(n, bytes)| (n.unsigned_abs(), bytes.unsigned_abs()));
    let full = |what: String| {
        let detail = format!("{what} of queries are saved; remove a query first");
        Err(Problem::conflict(Code::TooManySavedQueries, detail))
    };
    if versions >= VERSIONS_MAX {
        return full(format!("{VERSIONS_MAX} versions"));
    }
    if bytes + sql.len() as u64 > BYTES_MAX {
        return full(format!("{} MiB", BYTES_MAX >> 20));
    }
    Ok(())
}

/// Adds a version.
pub(super) async fn add(
    store: &Store,
    who: &Principal,
    origin: &AuditOrigin,
    new: &NewQuery,
    now: DateTime<Utc>,
) -> Result<SavedQuery, Problem> {
    let scope = scope_of(who);
    let write = store.write().await?;
    // The write lock is held: nobody else takes this version.
    let before = find(write.db(), scope, &new.name, None).await?;
    if before.as_ref().is_some_and(|before| !before.may_change(who)) {
        let detail = format!("`{}` is saved by somebody else", new.name);
        return Err(Problem::conflict(Code::NameTaken, detail));
    }
    check_room(&write, scope, &new.sql).await?;
    let saved = SavedQuery {
        name: new.name.clone(),
        version: before.as_ref().map_or(1, |before| before.version + 1),
        description: new.description.clone(),
        sql: new.sql.clone(),
        parameters: new.parameters.clone(),
        shared_with: new.shared_with.clone(),
        owner_id: before.map_or_else(|| who.id.clone(), |before| before.owner_id),
        created_by: who.id.clone(),
        created_at: now,
    };
    row::Entity::insert(saved.row(scope))
        .exec_without_returning(write.db())
        .await
        .doing("saving a query")?;
    let detail = json!({"version": saved.version, "shared_with": saved.shared_with});
    let act = AuditAction { action: "saved_query.saved", target: saved.name.clone(), detail };
    audit::append(&write, origin, act, now).await?;
    write.commit().await?;
    Ok(saved)
}

impl SavedQuery {
    fn row(&self, scope: &str) -> row::ActiveModel {
        row::ActiveModel {
            scope: Set(scope.to_owned()),
            name: Set(self.name.clone()),
            version: Set(self.version),
            description: Set(self.description.clone()),
            sql: Set(self.sql.clone()),
            parameters: Set(json!(self.parameters).to_string()),
            shared_with: Set(self.shared_with.join(",")),
            owner_id: Set(self.owner_id.clone()),
            created_by: Set(self.created_by.clone()),
            created_at: Set(self.created_at.timestamp_micros()),
        }
    }
}
