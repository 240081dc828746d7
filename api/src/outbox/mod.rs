//! Changes of relational rows on their way into the lake.
//!
//! A change of a mirrored row and its outbox row are one transaction: the lake can lag behind, but neither miss
//! a change nor see one that was rolled back. Whoever mirrors them takes [`peek`], makes them durable, and
//! then calls [`remove_through`]; after a crash in between it sees the same rows again.

mod row;

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde_json::{Map, Value};

use crate::store::{Doing, Store, StoreError, Write};

/// The tables that are mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirrored {
    Organizations,
    ApiKeys,
}

/// One change: the whole row as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    pub id: i64,
    pub table: Mirrored,
    pub payload: Map<String, Value>,
    pub created_at: DateTime<Utc>,
}

impl Mirrored {
    pub fn name(self) -> &'static str {
        match self {
            Self::Organizations => "organizations",
            Self::ApiKeys => "api_keys",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Organizations, Self::ApiKeys].into_iter().find(|table| table.name() == name)
    }
}

/// The oldest changes, in the order of their commits, at most `limit`.
pub async fn peek(store: &Store, limit: u64) -> Result<Vec<OutboxRow>, StoreError> {
    let rows = row::Entity::find()
        .order_by_asc(row::Column::Id)
        .limit(limit)
        .all(store.db())
        .await
        .doing("reading the outbox")?;
    rows.into_iter().map(OutboxRow::try_from).collect()
}

/// Forgets the changes up to and including `id`. They must be durable elsewhere.
pub async fn remove_through(store: &Store, id: i64) -> Result<(), StoreError> {
    let write = store.write().await?;
    row::Entity::delete_many()
        .filter(row::Column::Id.lte(id))
        .exec(write.db())
        .await
        .doing("emptying the outbox")?;
    write.commit().await
}

pub(crate) async fn append(
    write: &Write,
    table: Mirrored,
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
    };
    row::Entity::insert(row)
        .exec_without_returning(write.db())
        .await
        .doing("writing to the outbox")?;
    Ok(())
}

impl TryFrom<row::Model> for OutboxRow {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Damaged { table: "outbox", what };
        Ok(Self {
            id: row.id,
            table: Mirrored::parse(&row.table_name).ok_or_else(|| damaged("an unknown table"))?,
            payload: serde_json::from_str(&row.payload)
                .map_err(|_| damaged("a payload is not a JSON object"))?,
            created_at: crate::store::time_of("outbox", row.created_at)?,
        })
    }
}
