//! What is to be sent, and how it went.

mod row;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait, OnConflict},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::{
    ids::{base62, random_bytes},
    jobs::{self, NewJob},
    store::{Store, StoreContext, StoreError, Write, time_of},
};
use strum::{EnumString, IntoStaticStr};

use self::row::{content, delivery};
use crate::{Content, Personal, SendError};

/// The way that something is sent. In texts it is the name in lower case.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    IntoStaticStr,
    EnumString,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// A mail to an address.
    Mail,
    /// A POST of JSON to an address.
    Webhook,
    /// A POST of `{"text": …}`, as Slack and its like take it.
    Slack,
    /// Files in a folder of the archive.
    Folder,
}

/// How far a delivery is. In texts it is the name in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, IntoStaticStr, EnumString)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It waits for its first or its next attempt.
    Queued,
    /// An attempt began, and its end is not known.
    Sending,
    /// The other side has taken it.
    Sent,
    /// It was refused for good, or for too long.
    Failed,
}

/// Who is told, by mail, when a delivery fails for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The address of the one who is told.
    pub to: String,
    /// What failed, for the subject.
    pub subject: String,
    /// The page that shows it.
    pub link: String,
}

/// Something to send. Of one reference, each address of a channel gets one delivery.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// What it belongs to, such as a run of a report.
    pub reference: String,
    /// The way.
    pub channel: Channel,
    /// A mail address, a web address or a folder.
    pub address: String,
    /// The key of the content: deliveries of the same key share it.
    pub content_id: String,
    /// What differs from recipient to recipient.
    pub personal: Personal,
    /// Who is told of a failure.
    pub notice: Option<Notice>,
}

/// A delivery as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Delivery {
    /// `delivery_…`; also in the `Message-ID`.
    pub delivery_id: String,
    /// What it belongs to.
    pub reference: String,
    /// The way.
    pub channel: Channel,
    /// A mail address, a web address or a folder.
    pub address: String,
    /// How far it is.
    pub state: DeliveryState,
    /// Whether it may have arrived twice: an attempt ended before its result was known.
    pub uncertain: bool,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When the last attempt began.
    pub tried_at: Option<DateTime<Utc>>,
    /// When the next one is due, after a failure.
    pub next_at: Option<DateTime<Utc>>,
}

/// The kind of the jobs that send.
pub(crate) const JOB: &str = "delivery";

/// How the references of mails about accounts begin. Their content has the same id, and is forgotten once it is sent.
pub const ACCOUNT_MAIL: &str = "account:";
/// Contents beyond this are refused: a mail server would refuse them too.
const CONTENT_BYTES_MAX: usize = 20 << 20;
/// Of zstd.
const COMPRESSION: i32 = 3;

/// Adds a delivery, its content, and the job that sends it, in one transaction with what makes it necessary. Gives its
/// id, or none when the address gets one of the same reference already.
pub async fn enqueue(
    write: &Write,
    new: &NewDelivery,
    shared: &Content,
    now: DateTime<Utc>,
) -> Result<Option<String>, StoreError> {
    let known = delivery::Entity::find()
        .filter(delivery::Column::Reference.eq(new.reference.as_str()))
        .filter(delivery::Column::Channel.eq(<&str>::from(new.channel)))
        .filter(delivery::Column::Address.eq(new.address.as_str()))
        .one(write.db())
        .await
        .doing("looking for a delivery")?;
    if known.is_some() {
        return Ok(None);
    }
    keep_content(write, &new.content_id, shared, now).await?;
    let id = format!("delivery_{}", base62(&random_bytes::<16>()?, 22));
    let row = delivery::ActiveModel {
        delivery_id: Set(id.clone()),
        reference: Set(new.reference.clone()),
        channel: Set(<&str>::from(new.channel).to_owned()),
        address: Set(new.address.clone()),
        subject: Set(shared.subject.clone()),
        content_id: Set(new.content_id.clone()),
        personal: Set(json!(new.personal).to_string()),
        notice: Set(new.notice.as_ref().map(|notice| json!(notice).to_string())),
        state: Set(<&str>::from(DeliveryState::Queued).to_owned()),
        uncertain: Set(false),
        attempts: Set(0),
        error: Set(None),
        created_at: Set(now.timestamp_micros()),
        tried_at: Set(None),
        next_at: Set(None),
    };
    delivery::Entity::insert(row)
        .exec_without_returning(write.db())
        .await
        .doing("adding a delivery")?;
    jobs::enqueue(write, &job(&id, 0, now), now).await?;
    Ok(Some(id))
}

fn job(delivery_id: &str, round: i32, now: DateTime<Utc>) -> NewJob {
    NewJob {
        kind: JOB,
        dedup_key: format!("{delivery_id}:{round}"),
        payload: json!({"delivery_id": delivery_id}),
        run_at: now,
    }
}

async fn keep_content(
    write: &Write,
    id: &str,
    shared: &Content,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let damaged = |what| StoreError::Damaged { table: "delivery_contents", what };
    let text = serde_json::to_vec(shared).map_err(|_| damaged("a content does not encode"))?;
    if text.len() > CONTENT_BYTES_MAX {
        return Err(damaged("a content is larger than 20 MiB"));
    }
    let packed = zstd::encode_all(text.as_slice(), COMPRESSION)
        .map_err(|_| damaged("a content does not compress"))?;
    let row = content::ActiveModel {
        content_id: Set(id.to_owned()),
        content: Set(packed),
        created_at: Set(now.timestamp_micros()),
    };
    content::Entity::insert(row)
        .on_conflict(OnConflict::column(content::Column::ContentId).do_nothing().to_owned())
        .exec_without_returning(write.db())
        .await
        .doing("keeping the content of a delivery")?;
    Ok(())
}

/// Sends a delivery that failed, or was sent, once more. Says whether there was one.
pub async fn resend(write: &Write, id: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let ended = [DeliveryState::Sent, DeliveryState::Failed].map(<&str>::from);
    let row = delivery::Entity::find_by_id(id)
        .filter(delivery::Column::State.is_in(ended))
        .one(write.db())
        .await
        .doing("looking for a delivery")?;
    let Some(row) = row else { return Ok(false) };
    delivery::Entity::update_many()
        .col_expr(delivery::Column::State, state_text(DeliveryState::Queued))
        .col_expr(delivery::Column::Error, Expr::value(None::<String>))
        .filter(delivery::Column::DeliveryId.eq(id))
        .exec(write.db())
        .await
        .doing("sending a delivery once more")?;
    // The number of attempts only grows: no key comes twice.
    jobs::enqueue(write, &job(id, row.attempts, now), now).await?;
    Ok(true)
}

/// One delivery.
pub async fn find(store: &Store, id: &str) -> Result<Option<Delivery>, StoreError> {
    let row = delivery::Entity::find_by_id(id).one(store.db()).await;
    row.doing("looking for a delivery")?.map(Delivery::try_from).transpose()
}

/// When deliveries failed for good whose references begin so.
pub async fn failed_at(
    store: &Store,
    reference: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<DateTime<Utc>>, StoreError> {
    let rows = delivery::Entity::find()
        .filter(delivery::Column::Reference.starts_with(reference))
        .filter(delivery::Column::State.eq(<&str>::from(DeliveryState::Failed)))
        .filter(delivery::Column::TriedAt.gte(from.timestamp_micros()))
        .filter(delivery::Column::TriedAt.lt(to.timestamp_micros()))
        .all(store.db())
        .await
        .doing("looking for failed deliveries")?;
    rows.into_iter().filter_map(|row| row.tried_at).map(|at| time_of("deliveries", at)).collect()
}

/// The deliveries of some references, the oldest first.
pub async fn of_references(
    store: &Store,
    references: &[String],
) -> Result<Vec<Delivery>, StoreError> {
    let rows = delivery::Entity::find()
        .filter(delivery::Column::Reference.is_in(references))
        .order_by_asc(delivery::Column::CreatedAt)
        .order_by_asc(delivery::Column::Address)
        .all(store.db())
        .await
        .doing("listing deliveries")?;
    rows.into_iter().map(Delivery::try_from).collect()
}

/// A delivery that is about to be sent.
pub(crate) struct Attempt {
    pub(crate) delivery: Delivery,
    pub(crate) content: Content,
    pub(crate) personal: Personal,
    pub(crate) notice: Option<Notice>,
}

/// Writes down that a delivery is about to be sent. None where there is nothing to send any more.
pub(crate) async fn begin(
    store: &Store,
    id: &str,
    now: DateTime<Utc>,
) -> Result<Option<Attempt>, StoreError> {
    let write = store.write().await?;
    let row = delivery::Entity::find_by_id(id).one(write.db()).await.doing("taking a delivery")?;
    let Some(row) = row else { return Ok(None) };
    let before = row.state.clone();
    if before == <&str>::from(DeliveryState::Sent) || before == <&str>::from(DeliveryState::Failed)
    {
        return Ok(None);
    }
    let content = content::Entity::find_by_id(row.content_id.as_str())
        .one(write.db())
        .await
        .doing("reading the content of a delivery")?;
    let damaged = |what| StoreError::Damaged { table: "deliveries", what };
    let content = content.ok_or_else(|| damaged("its content is not there"))?;
    // A process ended between the intent and the result.
    let cut = before == <&str>::from(DeliveryState::Sending);
    delivery::Entity::update_many()
        .col_expr(delivery::Column::State, state_text(DeliveryState::Sending))
        .col_expr(delivery::Column::Uncertain, Expr::value(row.uncertain || cut))
        .col_expr(delivery::Column::Attempts, Expr::col(delivery::Column::Attempts).add(1))
        .col_expr(delivery::Column::TriedAt, Expr::value(now.timestamp_micros()))
        .col_expr(delivery::Column::NextAt, Expr::value(None::<i64>))
        .filter(delivery::Column::DeliveryId.eq(id))
        .exec(write.db())
        .await
        .doing("writing down what is about to be sent")?;
    write.commit().await?;
    let json = |text: &str| serde_json::from_str(text).map_err(|_| damaged("a member is not JSON"));
    let notice = row.notice.as_deref().map(serde_json::from_str).transpose();
    Ok(Some(Attempt {
        content: Content::try_from(content)?,
        personal: json(&row.personal)?,
        notice: notice.map_err(|_| damaged("a notice is not JSON"))?,
        delivery: Delivery::try_from(row)?,
    }))
}

impl TryFrom<content::Model> for Content {
    type Error = StoreError;

    fn try_from(row: content::Model) -> Result<Self, StoreError> {
        let text = zstd::decode_all(row.content.as_slice()).ok();
        text.and_then(|text| serde_json::from_slice(&text).ok()).ok_or(StoreError::Damaged {
            table: "delivery_contents",
            what: "a content is not readable",
        })
    }
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Outcome<'a> {
    Sent,
    /// It is tried again at this time.
    Again(&'a SendError, DateTime<Utc>),
    Failed(&'a SendError),
}

/// Writes down how an attempt ended.
pub(crate) async fn end(
    write: &Write,
    delivery: &Delivery,
    outcome: &Outcome<'_>,
) -> Result<(), StoreError> {
    let (state, error, next) = match outcome {
        Outcome::Sent => (DeliveryState::Sent, None, None),
        Outcome::Again(error, at) => (DeliveryState::Queued, Some(*error), Some(*at)),
        Outcome::Failed(error) => (DeliveryState::Failed, Some(*error), None),
    };
    let mut update = delivery::Entity::update_many()
        .col_expr(delivery::Column::State, state_text(state))
        .col_expr(delivery::Column::Error, Expr::value(error.map(|error| error.reason.clone())))
        .col_expr(delivery::Column::NextAt, Expr::value(next.map(|at| at.timestamp_micros())));
    if error.is_some_and(|error| error.may_have_arrived) {
        update = update.col_expr(delivery::Column::Uncertain, Expr::value(true));
    }
    update
        .filter(delivery::Column::DeliveryId.eq(delivery.delivery_id.as_str()))
        .exec(write.db())
        .await
        .doing("writing down how a delivery went")?;
    // It holds a link that is as good as a password, and is not for the list.
    let is_over = !matches!(outcome, Outcome::Again(..));
    if is_over && delivery.reference.starts_with(ACCOUNT_MAIL) {
        let forgotten = content::Entity::delete_by_id(delivery.reference.as_str());
        forgotten.exec(write.db()).await.doing("forgetting the content of a mail")?;
    }
    Ok(())
}

/// Deliveries that ended, and their contents, are kept so long: for their list, and to be sent once more.
const KEPT: TimeDelta = TimeDelta::days(90);

/// Forgets what ended long ago.
pub(crate) async fn forget(store: &Store, now: DateTime<Utc>) -> Result<(), StoreError> {
    let before = now.checked_sub_signed(KEPT).unwrap_or(now).timestamp_micros();
    let ended = [DeliveryState::Sent, DeliveryState::Failed].map(<&str>::from);
    let write = store.write().await?;
    delivery::Entity::delete_many()
        .filter(delivery::Column::State.is_in(ended))
        .filter(delivery::Column::CreatedAt.lt(before))
        .exec(write.db())
        .await
        .doing("forgetting old deliveries")?;
    let used =
        delivery::Entity::find().select_only().column(delivery::Column::ContentId).into_query();
    content::Entity::delete_many()
        .filter(content::Column::ContentId.not_in_subquery(used))
        .exec(write.db())
        .await
        .doing("forgetting old contents")?;
    write.commit().await
}

/// The ids of the contents that are kept.
#[cfg(test)]
pub(crate) async fn contents(store: &Store) -> Result<Vec<String>, StoreError> {
    let found = content::Entity::find()
        .order_by_asc(content::Column::ContentId)
        .all(store.db())
        .await
        .doing("listing contents")?;
    Ok(found.into_iter().map(|row| row.content_id).collect())
}

fn state_text(state: DeliveryState) -> Expr {
    Expr::value(<&str>::from(state))
}

impl TryFrom<delivery::Model> for Delivery {
    type Error = StoreError;

    fn try_from(row: delivery::Model) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Damaged { table: "deliveries", what };
        let time = |micros| time_of("deliveries", micros);
        Ok(Self {
            channel: row.channel.parse().map_err(|_| damaged("an unknown channel"))?,
            state: row.state.parse().map_err(|_| damaged("an unknown state"))?,
            attempts: row.attempts.unsigned_abs(),
            created_at: time(row.created_at)?,
            tried_at: row.tried_at.map(time).transpose()?,
            next_at: row.next_at.map(time).transpose()?,
            delivery_id: row.delivery_id,
            reference: row.reference,
            address: row.address,
            uncertain: row.uncertain,
            error: row.error,
        })
    }
}
