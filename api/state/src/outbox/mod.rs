//! Changes of relational rows on their way into the lake.
//!
//! A change of a mirrored row and its outbox row are one transaction: the lake can lag behind, but neither miss
//! a change nor see one that was rolled back. Whoever mirrors them takes [`peek`], makes them durable, and
//! then calls [`remove_through`]; after a crash in between it sees the same rows again. A row that cannot be mirrored
//! is set aside: it is kept, and those behind it go on.

mod row;

use chrono::{DateTime, SecondsFormat, Utc};
use sea_orm::{
    ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use serde_json::{Map, Value};
use strum::{EnumString, IntoStaticStr};

use crate::store::{Store, StoreContext, StoreError, Write};

/// What a row of the outbox is about: the tables that are mirrored, and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum MirroredTable {
    /// The customers, without the time when their rows were created.
    Organizations,
    /// The API keys, without their hashes.
    ApiKeys,
    /// What billing made of the usage of days.
    RatedUsageDaily,
    /// The lines of invoices.
    InvoiceLines,
    /// No table: events of our own, each as a CloudEvent whose type names the table.
    Events,
}

/// An event of our own.
#[derive(Clone, Debug)]
pub struct OwnEvent<'a> {
    /// Names it among the events of its source, for ever.
    pub id: &'a str,
    /// The part of the system where it happened, such as `/aihub/audit`.
    pub source: &'static str,
    /// Such as `billing.signed_up`.
    pub event_type: &'a str,
    /// The organization that it is about; `None` if it is about none.
    pub organization_id: Option<&'a str>,
    /// The columns of its row.
    pub data: Value,
}

/// One change: the whole row as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    /// The number of the change. Numbers rise in the order of the commits.
    pub id: i64,
    /// The table whose row has changed.
    pub table: MirroredTable,
    /// The row as it is now: one member for each column of the lake's table. An event: the event.
    pub payload: Map<String, Value>,
    /// The time of the change, in UTC.
    pub created_at: DateTime<Utc>,
}

/// The oldest changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboxBatch {
    /// The changes that can be mirrored, in the order of their commits.
    pub rows: Vec<OutboxRow>,
    /// The changes that cannot be read back, in the order of their commits.
    pub unreadable: Vec<Unreadable>,
}

/// A change that cannot be mirrored, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The number of the change in the outbox.
    pub id: i64,
    /// Why the change cannot be mirrored, in English.
    pub reason: String,
}

impl MirroredTable {
    /// The name of the table in the database and in the lake, such as `api_keys`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

/// The oldest changes that are not set aside, in the order of their commits, at most `limit`.
pub async fn peek(store: &Store, limit: u64) -> Result<OutboxBatch, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::SetAside.is_null())
        .order_by_asc(row::Column::Id)
        .limit(limit)
        .all(store.db())
        .await
        .doing("reading the outbox")?;
    let mut peeked = OutboxBatch::default();
    for row in rows {
        let id = row.id;
        match OutboxRow::try_from(row) {
            Ok(row) => peeked.rows.push(row),
            Err(error) => peeked.unreadable.push(Unreadable { id, reason: error.to_string() }),
        }
    }
    Ok(peeked)
}

/// Keeps rows that cannot be mirrored out of the way.
pub async fn set_aside(store: &Store, unreadable: &[Unreadable]) -> Result<(), StoreError> {
    let write = store.write().await?;
    for Unreadable { id, reason } in unreadable {
        row::Entity::update_many()
            .col_expr(row::Column::SetAside, Expr::value(reason.as_str()))
            .filter(row::Column::Id.eq(*id))
            .exec(write.db())
            .await
            .doing("setting a row of the outbox aside")?;
    }
    write.commit().await
}

/// Puts back what was set aside: a newer program may read it.
pub async fn try_again(store: &Store) -> Result<(), StoreError> {
    let write = store.write().await?;
    row::Entity::update_many()
        .col_expr(row::Column::SetAside, Expr::value(None::<String>))
        .filter(row::Column::SetAside.is_not_null())
        .exec(write.db())
        .await
        .doing("putting back rows of the outbox")?;
    write.commit().await
}

/// The rows that are set aside.
pub async fn held_back(store: &Store) -> Result<Vec<Unreadable>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::SetAside.is_not_null())
        .order_by_asc(row::Column::Id)
        .all(store.db())
        .await
        .doing("reading the outbox")?;
    let held =
        |row: row::Model| Unreadable { id: row.id, reason: row.set_aside.unwrap_or_default() };
    Ok(rows.into_iter().map(held).collect())
}

/// Forgets the changes up to and including `id`, but none that is set aside. They must be durable elsewhere.
pub async fn remove_through(store: &Store, id: i64) -> Result<(), StoreError> {
    let write = store.write().await?;
    row::Entity::delete_many()
        .filter(row::Column::Id.lte(id))
        .filter(row::Column::SetAside.is_null())
        .exec(write.db())
        .await
        .doing("emptying the outbox")?;
    write.commit().await
}

/// Adds a change to the outbox, in the transaction that makes the change. `payload` is the whole row as it is now.
pub async fn append(
    write: &Write,
    table: MirroredTable,
    payload: &Map<String, Value>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let payload = serde_json::to_string(payload)
        .map_err(|_| StoreError::Damaged { table: "outbox", what: "a payload does not encode" })?;
    let row = row::ActiveModel {
        id: ActiveValue::NotSet,
        table_name: ActiveValue::Set(table.name().to_owned()),
        payload: ActiveValue::Set(payload),
        created_at: ActiveValue::Set(now.timestamp_micros()),
        set_aside: ActiveValue::Set(None),
    };
    row::Entity::insert(row)
        .exec_without_returning(write.db())
        .await
        .doing("writing to the outbox")?;
    Ok(())
}

/// Adds an event of our own to the outbox, in the transaction of what happened.
pub async fn append_event(
    write: &Write,
    event: OwnEvent<'_>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut payload = Map::new();
    payload.insert("specversion".to_owned(), "1.0".into());
    payload.insert("id".to_owned(), event.id.into());
    payload.insert("source".to_owned(), event.source.into());
    payload.insert("type".to_owned(), event.event_type.into());
    if let Some(organization) = event.organization_id {
        payload.insert("subject".to_owned(), organization.into());
    }
    payload.insert("time".to_owned(), now.to_rfc3339_opts(SecondsFormat::Micros, true).into());
    payload.insert("data".to_owned(), event.data);
    append(write, MirroredTable::Events, &payload, now).await
}

impl TryFrom<row::Model> for OutboxRow {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Damaged { table: "outbox", what };
        Ok(Self {
            id: row.id,
            table: MirroredTable::parse(&row.table_name)
                .ok_or_else(|| damaged("an unknown table"))?,
            payload: serde_json::from_str(&row.payload)
                .map_err(|_| damaged("a payload is not a JSON object"))?,
            created_at: crate::store::time_of("outbox", row.created_at)?,
        })
    }
}
