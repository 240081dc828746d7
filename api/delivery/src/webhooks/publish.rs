//! Telling: one message, and a delivery of it for each endpoint that wants it.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use serde_json::{Value, json};
use state::{
    ids::{base62, random_bytes},
    jobs::{self, NewJob},
    store::{StoreContext, StoreError, Write, rfc3339},
};

use super::{EventType, WebhookError, endpoint, row};
use crate::Courier;

/// An endpoint for which so many deliveries wait is not tested.
const WAITING_MAX: u64 = 100;

/// The kind of the jobs that send.
pub(super) const JOB: &str = "webhook";

/// Tells the endpoints of an organization that something happened, in the transaction of what happened. Ids and numbers
/// only: an endpoint that wants to know more asks the API.
///
/// # Errors
/// When the database fails.
pub async fn publish(
    write: &Write,
    organization_id: &str,
    event: EventType,
    data: &Value,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    // Boxed: it is a part of many functions that are large already.
    Box::pin(tell_all(write, organization_id, event, data, now)).await
}

async fn tell_all(
    write: &Write,
    organization_id: &str,
    event: EventType,
    data: &Value,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let endpoints = row::endpoint::Entity::find()
        .filter(row::endpoint::Column::OrganizationId.eq(organization_id))
        .filter(row::endpoint::Column::Enabled.eq(true))
        .all(write.db())
        .await
        .doing("looking for webhooks")?;
    let wanted: Vec<_> = endpoints
        .into_iter()
        .filter(|row| endpoint::wants(row, event))
        .map(|row| row.webhook_id)
        .collect();
    tell(write, &wanted, event, data, now).await
}

async fn tell(
    write: &Write,
    webhook_ids: &[String],
    event: EventType,
    data: &Value,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if webhook_ids.is_empty() {
        return Ok(());
    }
    let message_id = format!("msg_{}", base62(&random_bytes::<16>()?, 22));
    let body = json!({"type": event, "timestamp": rfc3339(now), "data": data}).to_string();
    let message = row::message::Model {
        message_id: message_id.clone(),
        event_type: event.as_str().to_owned(),
        body,
        created_at: now.timestamp_micros(),
    };
    let added = row::message::Entity::insert(row::message::ActiveModel::from(message));
    added.exec_without_returning(write.db()).await.doing("adding a message")?;
    for webhook_id in webhook_ids {
        let delivery = row::delivery::Model {
            delivery_id: format!("whd_{}", base62(&random_bytes::<16>()?, 22)),
            webhook_id: webhook_id.clone(),
            message_id: message_id.clone(),
            event_type: event.as_str().to_owned(),
            state: "queued".to_owned(),
            attempts: 0,
            round: 0,
            next_at: Some(now.timestamp_micros()),
            parked: false,
            created_at: now.timestamp_micros(),
        };
        jobs::enqueue(write, &job(&delivery.delivery_id, 1, now), now).await?;
        let added = row::delivery::Entity::insert(row::delivery::ActiveModel::from(delivery));
        added.exec_without_returning(write.db()).await.doing("adding a delivery")?;
    }
    Ok(())
}

/// A job of an attempt. There may be several of one: the number says which attempts were made already.
pub(super) fn job(delivery_id: &str, attempt: i32, run_at: DateTime<Utc>) -> NewJob {
    NewJob {
        kind: JOB,
        dedup_key: format!("{delivery_id}:{attempt}:{:016x}", rand::random::<u64>()),
        payload: json!({"delivery_id": delivery_id, "attempt": attempt}),
        run_at,
    }
}

impl Courier {
    /// Sends a test to one endpoint.
    ///
    /// # Errors
    /// When there is no such endpoint, or it is off.
    pub async fn test_webhook(
        &self,
        organization_id: &str,
        webhook_id: &str,
    ) -> Result<(), WebhookError> {
        let found = self.webhook(organization_id, webhook_id).await?;
        if !found.enabled {
            return Err(WebhookError::Off);
        }
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let waiting = row::delivery::Entity::find()
            .filter(row::delivery::Column::WebhookId.eq(webhook_id))
            .filter(row::delivery::Column::State.eq("queued"))
            .count(write.db())
            .await
            .doing("counting what waits")?;
        if waiting >= WAITING_MAX {
            return Err(WebhookError::TooManyWaiting);
        }
        let data = json!({"webhook_id": webhook_id});
        tell(&write, &[found.webhook_id], EventType::WebhookTest, &data, now).await?;
        write.commit().await?;
        self.state.jobs.wake();
        Ok(())
    }
}
