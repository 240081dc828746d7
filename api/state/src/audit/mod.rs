//! The audit log: security-relevant acts, each row sealed over the one before it.
//!
//! A row is appended in the transaction of the act it records: no row, no act. So is an event for the lake. [`verify`] finds the first row
//! that was edited, removed or moved. Rows cut off at the end leave no trace inside the table: keep a copy of
//! [`head`] elsewhere to notice. Rows name users by id and hold no e-mail address, which could never be erased.

mod row;

use std::{fmt, net::IpAddr};

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    outbox,
    store::{Store, StoreContext, StoreError, Write},
};

const ROWS_PER_QUERY: u64 = 1000;
/// The ids of users begin with it.
const USER_PREFIX: &str = "user_";
/// Before the first row.
const NO_HASH: [u8; 32] = [0; 32];
/// The source of the events of acts in the lake.
const EVENT_SOURCE: &str = "/aihub/audit";

/// Who asks, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditOrigin {
    /// A principal's id, or `anonymous`.
    pub actor: String,
    /// The organization of a customer's user or key. The log does not hold it; the event of the act names it.
    pub organization_id: Option<String>,
    /// The id of the HTTP request; `None` for a command on this machine.
    pub request_id: Option<String>,
    /// The client's network address; `None` for a command on this machine, and where it is not known.
    pub ip: Option<IpAddr>,
}

/// What was done. `action` is `noun.verb_in_past`, `target` the id of what it was done to.
#[derive(Clone, Debug)]
pub struct AuditAction {
    /// What was done, as `noun.verb_in_past`, such as `key.revoked`.
    pub action: &'static str,
    /// The id of what it was done to, such as a key's or a user's.
    pub target: String,
    /// What else is worth knowing: a JSON object, without e-mail addresses.
    pub detail: Value,
}

/// A row of the log, as it is: who edited it may have left anything there.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The place of the row in the log, counted from 1 without gaps.
    pub seq: i64,
    /// Microseconds since 1970.
    pub at: i64,
    /// Without what is not a network address.
    pub origin: AuditOrigin,
    /// The client's network address as the row has it, even where it is none; `None` for null.
    pub ip: Option<String>,
    /// What was done, as `noun.verb_in_past`.
    pub action: String,
    /// The id of what it was done to.
    pub target: String,
    /// JSON.
    pub detail: String,
    /// SHA-256 over the row and the hash of the row before it: 32 bytes. Empty where the row cannot be read.
    pub hash: Vec<u8>,
}

/// Which rows.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only the acts of this principal's id, of `anonymous` or of `command-line`; `None` for all.
    pub actor: Option<String>,
    /// Only the acts with this name, such as `user.disabled`; `None` for all.
    pub action: Option<String>,
    /// Only what was done to the thing with this id; `None` for all.
    pub target: Option<String>,
    /// Only rows older than this one.
    pub before: Option<i64>,
    /// Only what was done from then on.
    pub from: Option<DateTime<Utc>>,
    /// Only what was done before then.
    pub to: Option<DateTime<Utc>>,
}

/// What the walk through the whole log found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainState {
    /// Each row is the one that was appended, and none is missing in between.
    Intact {
        /// How many rows the log has.
        rows: u64,
    },
    /// The first row that is not what was appended, or is missing.
    Broken {
        /// The place of this row in the log. It is below 1 for a row that was put before the first.
        seq: i64,
    },
}

/// The place and the hash of a row: `seq:hash` in hexadecimal digits. Kept elsewhere, it shows whether the rows up
/// to it are still the same, and none is missing at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The place of the row in the log, counted from 1.
    pub seq: i64,
    /// The SHA-256 hash of the row.
    pub hash: [u8; 32],
}

impl ChainHead {
    /// Reads `seq:hash`, with 64 hexadecimal digits; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, digits) = text.split_once(':')?;
        let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
        let plain = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        plain.then_some(Self { seq, hash })
    }
}

impl fmt::Display for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.seq)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl AuditOrigin {
    /// A command on this machine.
    pub fn local(actor: &str) -> Self {
        Self { actor: actor.to_owned(), organization_id: None, request_id: None, ip: None }
    }

    /// The same request, by who turned out to have sent it.
    pub fn by(&self, actor: &str, organization_id: Option<&str>) -> Self {
        let organization_id = organization_id.map(ToOwned::to_owned);
        Self { actor: actor.to_owned(), organization_id, ..self.clone() }
    }

    /// The user, if a user of a customer acts.
    fn customer(&self) -> Option<&str> {
        let is_user = self.organization_id.is_some() && self.actor.starts_with(USER_PREFIX);
        is_user.then_some(self.actor.as_str())
    }
}

/// Appends a row as part of a change, and the event of the act for the lake.
pub async fn append(
    write: &Write,
    origin: &AuditOrigin,
    act: AuditAction,
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
    let hash = row.hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let event = outbox::OwnEvent {
        id: &hash,
        source: EVENT_SOURCE,
        event_type: &event_type(act.action),
        organization_id: origin.organization_id.as_deref(),
        data: json!({"user_id": origin.customer()}),
    };
    outbox::append_event(write, event, now).await?;
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

/// The type of the event of an act: `key.created` is `activity.key_created`. Two acts have the names that analyses of
/// products know.
fn event_type(action: &str) -> String {
    let action = match action {
        "user.signed_in" => "login",
        "user.registered" => "signed_up",
        action => &action.replace('.', "_"),
    };
    format!("activity.{action}")
}

/// Appends a row for an act that changes nothing else here.
pub async fn record(
    store: &Store,
    origin: &AuditOrigin,
    act: AuditAction,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let write = store.write().await?;
    append(&write, origin, act, now).await?;
    write.commit().await
}

/// Walks the whole chain.
pub async fn verify(store: &Store) -> Result<ChainState, StoreError> {
    verify_against(store, None).await
}

/// The same; with a head that was kept, the row at its place must be the one of then.
pub async fn verify_against(
    store: &Store,
    kept: Option<ChainHead>,
) -> Result<ChainState, StoreError> {
    let (mut seq, mut prev_hash) = (0, NO_HASH.to_vec());
    // From the very beginning: there is no place below the first.
    let mut from = i64::MIN;
    loop {
        let rows = page(store, from).await?;
        if rows.is_empty() {
            return Ok(match kept {
                Some(kept) if kept.seq > seq => ChainState::Broken { seq: seq + 1 },
                _ => ChainState::Intact { rows: seq.unsigned_abs() },
            });
        }
        for row in rows {
            seq += 1;
            let row = match row {
                Ok(row) => row,
                Err(unreadable) => return Ok(ChainState::Broken { seq: unreadable.min(seq) }),
            };
            let is_other = kept.is_some_and(|kept| kept.seq == seq && kept.hash[..] != row.hash);
            let is_sealed = row.prev_hash == prev_hash && row.hash == seal(&row);
            if row.seq != seq || !is_sealed || is_other {
                return Ok(ChainState::Broken { seq: row.seq.min(seq) });
            }
            prev_hash = row.hash;
            from = seq + 1;
        }
    }
}

/// The newest row's place and hash.
pub async fn head(store: &Store) -> Result<Option<ChainHead>, StoreError> {
    Ok(recent(store, 1).await?.first().and_then(Record::head))
}

/// The newest rows, newest first.
pub async fn recent(store: &Store, limit: u64) -> Result<Vec<Record>, StoreError> {
    list(store, &AuditFilter::default(), limit).await
}

/// Rows as the filter says, newest first.
pub async fn list(
    store: &Store,
    filter: &AuditFilter,
    limit: u64,
) -> Result<Vec<Record>, StoreError> {
    let mut rows = row::Entity::find().order_by_desc(row::Column::Seq).limit(limit);
    for (column, wanted) in [
        (row::Column::Actor, &filter.actor),
        (row::Column::Action, &filter.action),
        (row::Column::Target, &filter.target),
    ] {
        if let Some(wanted) = wanted {
            rows = rows.filter(column.eq(wanted));
        }
    }
    if let Some(seq) = filter.before {
        rows = rows.filter(row::Column::Seq.lt(seq));
    }
    if let Some(from) = filter.from {
        rows = rows.filter(row::Column::At.gte(from.timestamp_micros()));
    }
    if let Some(to) = filter.to {
        rows = rows.filter(row::Column::At.lt(to.timestamp_micros()));
    }
    let rows = read(store, rows).await?.into_iter();
    Ok(rows.map(|row| row.map_or_else(Record::unreadable, Record::from)).collect())
}

async fn page(store: &Store, from: i64) -> Result<Vec<Result<row::Model, i64>>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::Seq.gte(from))
        .order_by_asc(row::Column::Seq)
        .limit(ROWS_PER_QUERY);
    read(store, rows).await
}

/// Rows; of those in which there is something that no row has, the places.
async fn read(
    store: &Store,
    rows: Select<row::Entity>,
) -> Result<Vec<Result<row::Model, i64>>, StoreError> {
    let doing = "reading the audit log";
    if let Ok(rows) = rows.clone().all(store.db()).await {
        return Ok(rows.into_iter().map(Ok).collect());
    }
    let places = rows.select_only().column(row::Column::Seq).into_tuple::<i64>();
    let mut found = Vec::new();
    for seq in places.all(store.db()).await.doing(doing)? {
        match row::Entity::find_by_id(seq).one(store.db()).await.doing(doing) {
            Err(busy @ StoreError::Busy { .. }) => return Err(busy),
            Ok(Some(row)) => found.push(Ok(row)),
            Ok(None) | Err(_) => found.push(Err(seq)),
        }
    }
    Ok(found)
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

impl Record {
    /// None where the hash is none.
    pub fn head(&self) -> Option<ChainHead> {
        let hash = self.hash.as_slice().try_into().ok()?;
        Some(ChainHead { seq: self.seq, hash })
    }

    fn unreadable(seq: i64) -> Self {
        let nothing = || "(unreadable)".to_owned();
        Self {
            seq,
            at: 0,
            origin: AuditOrigin::local(&nothing()),
            ip: None,
            action: nothing(),
            target: nothing(),
            detail: "null".to_owned(),
            hash: Vec::new(),
        }
    }
}

impl From<row::Model> for Record {
    fn from(row: row::Model) -> Self {
        let ip = row.ip.as_ref().and_then(|ip| ip.parse().ok());
        Self {
            seq: row.seq,
            at: row.at,
            origin: AuditOrigin {
                actor: row.actor,
                organization_id: None,
                request_id: row.request_id,
                ip,
            },
            ip: row.ip,
            action: row.action,
            target: row.target,
            detail: row.detail,
            hash: row.hash,
        }
    }
}

#[cfg(test)]
mod tests;
