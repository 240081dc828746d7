//! The audit log: security-relevant acts, each row sealed over the one before it.
//!
//! A row is appended in the transaction of the act it records: no row, no act. [`verify`] finds the first row
//! that was edited, removed or moved. Rows cut off at the end leave no trace inside the table: keep a copy of
//! [`head`] elsewhere to notice. Rows name users by id and hold no e-mail address, which could never be erased.

mod row;

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::store::{Doing, Store, StoreError, Write, time_of};

const ROWS_PER_QUERY: u64 = 1000;
/// Before the first row.
const NO_HASH: [u8; 32] = [0; 32];

/// Who asks, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A principal's id, or `anonymous`.
    pub actor: String,
    pub request_id: Option<String>,
    pub ip: Option<IpAddr>,
}

/// What was done. `action` is `noun.verb_in_past`, `target` the id of what it was done to.
#[derive(Clone, Debug)]
pub struct Act {
    pub action: &'static str,
    pub target: String,
    pub detail: Value,
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub origin: Origin,
    pub action: String,
    pub target: String,
    /// JSON.
    pub detail: String,
    pub hash: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Intact {
        rows: u64,
    },
    /// The first row that is not what was appended, or is missing.
    Broken {
        seq: i64,
    },
}

impl Origin {
    /// A command on this machine.
    pub fn local(actor: &str) -> Self {
        Self { actor: actor.to_owned(), request_id: None, ip: None }
    }
}

/// Appends a row as part of a change.
pub async fn append(
    write: &Write,
    origin: &Origin,
    act: Act,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    // The write lock is held since the transaction began, so no other process can take this place in the chain.
    let last = row::Entity::find()
        .order_by_desc(row::Column::Seq)
        .one(write.db())
        .await
        .doing("reading the end of the audit log")?;
    let (seq, prev_hash) = last.map_or((0, NO_HASH.to_vec()), |last| (last.seq, last.hash));
    let mut row = row::Model {
        seq: seq + 1,
        at: now.timestamp_micros(),
        actor: origin.actor.clone(),
        action: act.action.to_owned(),
        target: act.target,
        detail: act.detail.to_string(),
        request_id: origin.request_id.clone(),
        ip: origin.ip.map(|ip| ip.to_string()),
        prev_hash,
        hash: Vec::new(),
    };
    row.hash = seal(&row).to_vec();
    let row = row::ActiveModel {
        seq: ActiveValue::Set(row.seq),
        at: ActiveValue::Set(row.at),
        actor: ActiveValue::Set(row.actor),
        action: ActiveValue::Set(row.action),
        target: ActiveValue::Set(row.target),
        detail: ActiveValue::Set(row.detail),
        request_id: ActiveValue::Set(row.request_id),
        ip: ActiveValue::Set(row.ip),
        prev_hash: ActiveValue::Set(row.prev_hash),
        hash: ActiveValue::Set(row.hash),
    };
    row::Entity::insert(row)
        .exec_without_returning(write.db())
        .await
        .doing("appending to the audit log")?;
    Ok(())
}

/// Appends a row for an act that changes nothing else here.
pub async fn record(
    store: &Store,
    origin: &Origin,
    act: Act,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let write = store.write().await?;
    append(&write, origin, act, now).await?;
    write.commit().await
}

/// Walks the whole chain.
pub async fn verify(store: &Store) -> Result<Verdict, StoreError> {
    let (mut seq, mut prev_hash) = (0, NO_HASH.to_vec());
    loop {
        let rows = page(store, seq).await?;
        if rows.is_empty() {
            return Ok(Verdict::Intact { rows: seq.unsigned_abs() });
        }
        for row in rows {
            seq += 1;
            if row.seq != seq || row.prev_hash != prev_hash || row.hash != seal(&row) {
                return Ok(Verdict::Broken { seq });
            }
            prev_hash = row.hash;
        }
    }
}

/// The newest row's place and hash.
pub async fn head(store: &Store) -> Result<Option<(i64, [u8; 32])>, StoreError> {
    Ok(recent(store, 1).await?.first().map(|record| (record.seq, record.hash)))
}

/// The newest rows, newest first.
pub async fn recent(store: &Store, limit: u64) -> Result<Vec<Record>, StoreError> {
    let rows = row::Entity::find()
        .order_by_desc(row::Column::Seq)
        .limit(limit)
        .all(store.db())
        .await
        .doing("reading the audit log")?;
    rows.into_iter().map(Record::try_from).collect()
}

async fn page(store: &Store, after: i64) -> Result<Vec<row::Model>, StoreError> {
    row::Entity::find()
        .filter(row::Column::Seq.gt(after))
        .order_by_asc(row::Column::Seq)
        .limit(ROWS_PER_QUERY)
        .all(store.db())
        .await
        .doing("verifying the audit log")
}

/// SHA-256 over the previous hash and every other field, lengths first, so that no two rows encode alike.
fn seal(row: &row::Model) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"aihub audit 1");
    hasher.update(&row.prev_hash);
    hasher.update(row.seq.to_le_bytes());
    hasher.update(row.at.to_le_bytes());
    let required =
        [&row.actor, &row.action, &row.target, &row.detail].map(|text| Some(text.as_str()));
    for field in required.into_iter().chain([row.request_id.as_deref(), row.ip.as_deref()]) {
        hasher.update([u8::from(field.is_some())]);
        let text = field.unwrap_or_default();
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    hasher.finalize().into()
}

impl TryFrom<row::Model> for Record {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Damaged { table: "audit_log", what };
        let ip = row.ip.map(|ip| ip.parse()).transpose().map_err(|_| damaged("an address"))?;
        Ok(Self {
            seq: row.seq,
            at: time_of("audit_log", row.at)?,
            origin: Origin { actor: row.actor, request_id: row.request_id, ip },
            action: row.action,
            target: row.target,
            detail: row.detail,
            hash: row.hash.try_into().map_err(|_| damaged("a hash"))?,
        })
    }
}

#[cfg(test)]
mod tests;
