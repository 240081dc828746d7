//! What was sent, with its attempts, and sending it once more.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait},
};
use state::{
    jobs,
    store::{Store, StoreContext, StoreError, Write, time_of},
};

use super::{WebhookError, publish::job, row};
use crate::Courier;

/// Deliveries and their messages are kept so long.
const KEPT: TimeDelta = TimeDelta::days(90);
/// Of one replay.
const REPLAYED_MAX: u64 = 1_000;

/// A delivery of a message to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookDelivery {
    /// `whd_…`
    pub delivery_id: String,
    /// `msg_…`: the header `webhook-id` of all attempts.
    pub message_id: String,
    /// What it tells of.
    pub event_type: String,
    /// `queued`, `sent` or `failed`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    pub next_at: Option<DateTime<Utc>>,
    /// When it happened.
    pub created_at: DateTime<Utc>,
}

/// A place in the list of deliveries: the time and the id of one, as `micros:id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryCursor(i64, String);

impl WebhookDelivery {
    /// The place behind this delivery.
    pub fn cursor(&self) -> DeliveryCursor {
        DeliveryCursor(self.created_at.timestamp_micros(), self.delivery_id.clone())
    }
}

impl std::fmt::Display for DeliveryCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

impl std::str::FromStr for DeliveryCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (micros, id) = text.split_once(':').ok_or(())?;
        Ok(Self(micros.parse().map_err(|_| ())?, id.to_owned()))
    }
}

/// An attempt of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookAttempt {
    /// From 1.
    pub attempt: u32,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// How long it took.
    pub duration_ms: u32,
    /// The status of the answer; none without one.
    pub status: Option<u16>,
    /// The beginning of the answer.
    pub answer: Option<String>,
    /// Why there was none, or none that counts.
    pub error: Option<String>,
}

impl Courier {
    /// The deliveries of an endpoint, the newest first; before `before`, if it is given.
    ///
    /// # Errors
    /// When there is no such endpoint.
    pub async fn webhook_deliveries(
        &self,
        organization_id: &str,
        webhook_id: &str,
        (state, before, limit): (Option<&str>, Option<&DeliveryCursor>, u64),
    ) -> Result<Vec<WebhookDelivery>, WebhookError> {
        self.webhook(organization_id, webhook_id).await?;
        let mut query =
            row::delivery::Entity::find().filter(row::delivery::Column::WebhookId.eq(webhook_id));
        if let Some(state) = state {
            query = query.filter(row::delivery::Column::State.eq(state));
        }
        if let Some(before) = before {
            // Deliveries of one transaction have one time.
            let same = row::delivery::Column::CreatedAt
                .eq(before.0)
                .and(row::delivery::Column::DeliveryId.lt(before.1.as_str()));
            query = query.filter(row::delivery::Column::CreatedAt.lt(before.0).or(same));
        }
        let rows = query
            .order_by_desc(row::delivery::Column::CreatedAt)
            .order_by_desc(row::delivery::Column::DeliveryId)
            .limit(limit)
            .all(self.state.store.db())
            .await
            .doing("listing deliveries")?;
        Ok(rows.into_iter().map(WebhookDelivery::try_from).collect::<Result<_, _>>()?)
    }

    /// One delivery with its body and its attempts.
    ///
    /// # Errors
    /// When there is no such endpoint or delivery.
    pub async fn webhook_delivery(
        &self,
        organization_id: &str,
        webhook_id: &str,
        delivery_id: &str,
    ) -> Result<(WebhookDelivery, String, Vec<WebhookAttempt>), WebhookError> {
        self.webhook(organization_id, webhook_id).await?;
        let db = self.state.store.db();
        let unknown = || WebhookError::UnknownDelivery(delivery_id.to_owned());
        let found = row::delivery::Entity::find_by_id(delivery_id)
            .filter(row::delivery::Column::WebhookId.eq(webhook_id))
            .one(db)
            .await
            .doing("looking for a delivery")?
            .ok_or_else(unknown)?;
        let message = row::message::Entity::find_by_id(found.message_id.as_str()).one(db).await;
        let body = message.doing("reading a message")?.ok_or_else(unknown)?.body;
        let attempts = row::attempt::Entity::find()
            .filter(row::attempt::Column::DeliveryId.eq(delivery_id))
            .order_by_asc(row::attempt::Column::Attempt)
            .all(db)
            .await
            .doing("listing attempts")?;
        let attempts =
            attempts.into_iter().map(WebhookAttempt::try_from).collect::<Result<_, _>>()?;
        Ok((WebhookDelivery::try_from(found)?, body, attempts))
    }

    /// Sends a delivery once more, whether it arrived or not, with the same id.
    ///
    /// # Errors
    /// When there is none, or it is under way.
    pub async fn replay_delivery(
        &self,
        organization_id: &str,
        webhook_id: &str,
        delivery_id: &str,
    ) -> Result<(), WebhookError> {
        if !self.webhook(organization_id, webhook_id).await?.enabled {
            return Err(WebhookError::Off);
        }
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let found = row::delivery::Entity::find_by_id(delivery_id)
            .filter(row::delivery::Column::WebhookId.eq(webhook_id))
            .one(write.db())
            .await
            .doing("looking for a delivery")?;
        let found = found.ok_or_else(|| WebhookError::UnknownDelivery(delivery_id.to_owned()))?;
        if found.state == "queued" {
            return Err(WebhookError::UnderWay);
        }
        again(&write, &found, now).await?;
        write.commit().await?;
        self.state.jobs.wake();
        Ok(())
    }

    /// Sends once more what failed since a time, the oldest first, at most 1,000. Gives how many.
    ///
    /// # Errors
    /// When there is no such endpoint, or it is off.
    pub async fn replay_failed(
        &self,
        organization_id: &str,
        webhook_id: &str,
        since: DateTime<Utc>,
    ) -> Result<usize, WebhookError> {
        if !self.webhook(organization_id, webhook_id).await?.enabled {
            return Err(WebhookError::Off);
        }
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let failed = row::delivery::Entity::find()
            .filter(row::delivery::Column::WebhookId.eq(webhook_id))
            .filter(row::delivery::Column::State.eq("failed"))
            .filter(row::delivery::Column::CreatedAt.gte(since.timestamp_micros()))
            .order_by_asc(row::delivery::Column::CreatedAt)
            .limit(REPLAYED_MAX)
            .all(write.db())
            .await
            .doing("looking for failed deliveries")?;
        for delivery in &failed {
            again(&write, delivery, now).await?;
        }
        write.commit().await?;
        self.state.jobs.wake();
        Ok(failed.len())
    }
}

/// Begins another round of attempts.
async fn again(
    write: &Write,
    found: &row::delivery::Model,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    row::delivery::Entity::update_many()
        .col_expr(row::delivery::Column::State, Expr::value("queued"))
        .col_expr(row::delivery::Column::Round, Expr::value(0))
        .col_expr(row::delivery::Column::Parked, Expr::value(false))
        .col_expr(row::delivery::Column::NextAt, Expr::value(now.timestamp_micros()))
        .filter(row::delivery::Column::DeliveryId.eq(found.delivery_id.as_str()))
        .exec(write.db())
        .await
        .doing("sending a delivery once more")?;
    jobs::enqueue(write, &job(&found.delivery_id, found.attempts + 1, now), now).await?;
    Ok(())
}

/// Forgets the deliveries of an endpoint.
pub(super) async fn forget_of(write: &Write, webhook_id: &str) -> Result<(), StoreError> {
    let own = row::delivery::Entity::find()
        .select_only()
        .column(row::delivery::Column::DeliveryId)
        .filter(row::delivery::Column::WebhookId.eq(webhook_id))
        .into_query();
    row::attempt::Entity::delete_many()
        .filter(row::attempt::Column::DeliveryId.in_subquery(own))
        .exec(write.db())
        .await
        .doing("forgetting attempts")?;
    row::delivery::Entity::delete_many()
        .filter(row::delivery::Column::WebhookId.eq(webhook_id))
        .exec(write.db())
        .await
        .doing("forgetting deliveries")?;
    Ok(())
}

/// Forgets what ended long ago, and messages that no delivery is of any more.
pub(super) async fn forget(store: &Store, now: DateTime<Utc>) -> Result<(), StoreError> {
    let before = (now - KEPT).timestamp_micros();
    let write = store.write().await?;
    let old = row::delivery::Entity::find()
        .select_only()
        .column(row::delivery::Column::DeliveryId)
        .filter(row::delivery::Column::State.ne("queued"))
        .filter(row::delivery::Column::CreatedAt.lt(before))
        .into_query();
    row::attempt::Entity::delete_many()
        .filter(row::attempt::Column::DeliveryId.in_subquery(old))
        .exec(write.db())
        .await
        .doing("forgetting old attempts")?;
    row::delivery::Entity::delete_many()
        .filter(row::delivery::Column::State.ne("queued"))
        .filter(row::delivery::Column::CreatedAt.lt(before))
        .exec(write.db())
        .await
        .doing("forgetting old deliveries")?;
    // What was sent to several endpoints is of each of them.
    let used = row::delivery::Entity::find()
        .select_only()
        .column(row::delivery::Column::MessageId)
        .into_query();
    row::message::Entity::delete_many()
        .filter(row::message::Column::CreatedAt.lt(before))
        .filter(row::message::Column::MessageId.not_in_subquery(used))
        .exec(write.db())
        .await
        .doing("forgetting old messages")?;
    write.commit().await
}

impl TryFrom<row::delivery::Model> for WebhookDelivery {
    type Error = StoreError;

    fn try_from(row: row::delivery::Model) -> Result<Self, StoreError> {
        let time = |micros| time_of("webhook_deliveries", micros);
        Ok(Self {
            attempts: row.attempts.unsigned_abs(),
            next_at: row.next_at.map(time).transpose()?,
            created_at: time(row.created_at)?,
            delivery_id: row.delivery_id,
            message_id: row.message_id,
            event_type: row.event_type,
            state: row.state,
        })
    }
}

impl TryFrom<row::attempt::Model> for WebhookAttempt {
    type Error = StoreError;

    fn try_from(row: row::attempt::Model) -> Result<Self, StoreError> {
        Ok(Self {
            attempt: row.attempt.unsigned_abs(),
            began_at: time_of("webhook_attempts", row.began_at)?,
            duration_ms: row.duration_ms.unsigned_abs(),
            status: row.status.and_then(|status| u16::try_from(status).ok()),
            answer: row.answer,
            error: row.error,
        })
    }
}
