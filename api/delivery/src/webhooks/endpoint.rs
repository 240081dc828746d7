//! Endpoints: where an organization wants to be told.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, sea_query::Expr,
};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    store::{Store, StoreContext, StoreError, Write, time_of},
    vault::Vault,
};

use super::{EventType, WebhookSecret, row::endpoint as row};
use crate::{Courier, HookAddress};

/// After a rotation the former secret signs beside the new one for so long.
const OVERLAP: TimeDelta = TimeDelta::days(1);
/// Former secrets that sign at once.
const FORMERS_MAX: usize = 3;
/// Of one organization.
const ENDPOINTS_MAX: u64 = 20;
const DESCRIPTION_MAX: usize = 200;

/// Why an endpoint is off.
pub(super) const GONE: &str = "gone";
pub(super) const FAILING: &str = "failing";

/// Where an organization wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookEndpoint {
    /// `wh_…`
    pub webhook_id: String,
    /// Whose events are sent.
    pub organization_id: String,
    /// Where to.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// What it is told of; empty for all.
    pub events: Vec<EventType>,
    /// Whether anything is sent.
    pub enabled: bool,
    /// Why not, where we turned it off: `gone` after an answer of 410, `failing` after five days without success.
    pub disabled_reason: Option<String>,
    /// Since then no attempt arrived.
    pub failing_since: Option<DateTime<Utc>>,
    /// Until then the former secret signs, too.
    pub previous_until: Option<DateTime<Utc>>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// An endpoint to make, or to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Where to.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// What it is told of; empty for all.
    pub events: Vec<EventType>,
    /// Whether anything is sent. None: a new one is on, another one stays as it is.
    pub enabled: Option<bool>,
}

/// Why something is not done to an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// A field has a value that is not possible.
    #[error("`{field}` {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// There is none, or it is of another organization.
    #[error("there is no webhook `{0}`")]
    Unknown(String),
    /// There is none of this endpoint.
    #[error("there is no delivery `{0}`")]
    UnknownDelivery(String),
    /// There are as many as there may be.
    #[error("an organization has at most {ENDPOINTS_MAX} webhooks")]
    TooMany,
    /// It waits for its next attempt anyway.
    #[error("the delivery is under way")]
    UnderWay,
    /// It has enough to do.
    #[error("too many deliveries wait for the webhook")]
    TooManyWaiting,
    /// The endpoint is off.
    #[error("the webhook is off: enable it first")]
    Off,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NewWebhook {
    fn check(&self, courier: &Courier) -> Result<(), WebhookError> {
        let invalid = |field, reason: String| Err(WebhookError::Invalid { field, reason });
        if let Err(reason) = HookAddress::parse(&self.url, &courier.hooks) {
            return invalid("url", reason);
        }
        if self.description.chars().count() > DESCRIPTION_MAX
            || self.description.chars().any(char::is_control)
        {
            let reason =
                format!("has at most {DESCRIPTION_MAX} characters, none a control character");
            return invalid("description", reason);
        }
        if self.events.contains(&EventType::WebhookTest) {
            return invalid("events", "cannot hold `webhook.test`".into());
        }
        Ok(())
    }

    fn events_text(&self) -> String {
        let mut events = self.events.clone();
        events.sort_unstable();
        events.dedup();
        serde_json::to_string(&events).unwrap_or_else(|_| "[]".into())
    }
}

impl Courier {
    /// Makes an endpoint. Its secret cannot be had again.
    ///
    /// # Errors
    /// When a field is not possible, or there are too many.
    pub async fn create_webhook(
        &self,
        organization_id: &str,
        new: NewWebhook,
        origin: &AuditOrigin,
    ) -> Result<(WebhookEndpoint, WebhookSecret), WebhookError> {
        new.check(self)?;
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let count = row::Entity::find()
            .filter(row::Column::OrganizationId.eq(organization_id))
            .count(write.db())
            .await
            .doing("counting webhooks")?;
        if count >= ENDPOINTS_MAX {
            return Err(WebhookError::TooMany);
        }
        let webhook_id = format!("wh_{}", base62(&random_bytes::<16>()?, 22));
        let secret = WebhookSecret::generate()?;
        let row = row::Model {
            secret: sealed(&self.vault, &webhook_id, &secret)?,
            organization_id: organization_id.to_owned(),
            events: new.events_text(),
            url: new.url,
            description: new.description,
            previous_secret: None,
            previous_until: None,
            enabled: new.enabled.unwrap_or(true),
            disabled_reason: None,
            told: true,
            failing_since: None,
            created_by: origin.actor.clone(),
            created_at: now.timestamp_micros(),
            webhook_id,
        };
        let added = row::Entity::insert(row::ActiveModel::from(row.clone()));
        added.exec_without_returning(write.db()).await.doing("adding a webhook")?;
        noted(&write, "webhook.created", &row.webhook_id, organization_id, origin, now).await?;
        write.commit().await?;
        Ok((WebhookEndpoint::try_from(row)?, secret))
    }

    /// Changes an endpoint. One that is enabled again begins anew.
    ///
    /// # Errors
    /// When there is none, or a field is not possible.
    pub async fn change_webhook(
        &self,
        organization_id: &str,
        webhook_id: &str,
        new: NewWebhook,
        origin: &AuditOrigin,
    ) -> Result<WebhookEndpoint, WebhookError> {
        new.check(self)?;
        let change = |row: &mut row::Model| {
            row.events = new.events_text();
            row.url = new.url;
            row.description = new.description;
            row.enabled = new.enabled.unwrap_or(row.enabled);
        };
        self.alter(organization_id, webhook_id, origin, change).await
    }

    /// Turns an endpoint on or off. One that is turned on again begins anew.
    ///
    /// # Errors
    /// When there is none.
    pub async fn switch_webhook(
        &self,
        organization_id: &str,
        webhook_id: &str,
        enabled: bool,
        origin: &AuditOrigin,
    ) -> Result<WebhookEndpoint, WebhookError> {
        self.alter(organization_id, webhook_id, origin, |row| row.enabled = enabled).await
    }

    async fn alter(
        &self,
        organization_id: &str,
        webhook_id: &str,
        origin: &AuditOrigin,
        change: impl FnOnce(&mut row::Model) + Send,
    ) -> Result<WebhookEndpoint, WebhookError> {
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let found = owned(&write, organization_id, webhook_id).await?;
        let mut row = found.clone();
        change(&mut row);
        if (row.enabled && !found.enabled) || row.url != found.url {
            row.disabled_reason = None;
            row.failing_since = None;
            row.told = true;
        }
        let changed = row::ActiveModel::from(row).reset_all();
        let row = row::Entity::update(changed).exec(write.db()).await;
        let row = row.doing("changing a webhook")?;
        noted(&write, "webhook.changed", webhook_id, organization_id, origin, now).await?;
        write.commit().await?;
        Ok(WebhookEndpoint::try_from(row)?)
    }

    /// Gives an endpoint another secret. The former one signs beside it for a day.
    ///
    /// # Errors
    /// When there is no such endpoint.
    pub async fn rotate_webhook(
        &self,
        organization_id: &str,
        webhook_id: &str,
        origin: &AuditOrigin,
    ) -> Result<(WebhookEndpoint, WebhookSecret), WebhookError> {
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let found = owned(&write, organization_id, webhook_id).await?;
        let secret = WebhookSecret::generate()?;
        // Former ones that still sign go on: who lost the secret that was shown once rotates again.
        let former = std::iter::once(found.secret.as_str())
            .chain(formers(&found, now))
            .take(FORMERS_MAX)
            .collect::<Vec<_>>()
            .join(" ");
        let mut changed = row::ActiveModel::from(found);
        changed.secret = Set(sealed(&self.vault, webhook_id, &secret)?);
        changed.previous_secret = Set(Some(former));
        changed.previous_until = Set(Some((now + OVERLAP).timestamp_micros()));
        let row = row::Entity::update(changed).exec(write.db()).await;
        let row = row.doing("rotating the secret of a webhook")?;
        noted(&write, "webhook.rotated", webhook_id, organization_id, origin, now).await?;
        write.commit().await?;
        Ok((WebhookEndpoint::try_from(row)?, secret))
    }

    /// Removes an endpoint with its deliveries.
    ///
    /// # Errors
    /// When there is no such endpoint.
    pub async fn remove_webhook(
        &self,
        organization_id: &str,
        webhook_id: &str,
        origin: &AuditOrigin,
    ) -> Result<(), WebhookError> {
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        owned(&write, organization_id, webhook_id).await?;
        super::log::forget_of(&write, webhook_id).await?;
        let removed = row::Entity::delete_by_id(webhook_id).exec(write.db()).await;
        removed.doing("removing a webhook")?;
        noted(&write, "webhook.removed", webhook_id, organization_id, origin, now).await?;
        write.commit().await?;
        Ok(())
    }

    /// The endpoints of an organization, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks(
        &self,
        organization_id: &str,
    ) -> Result<Vec<WebhookEndpoint>, StoreError> {
        let rows = row::Entity::find()
            .filter(row::Column::OrganizationId.eq(organization_id))
            .order_by_asc(row::Column::CreatedAt)
            .all(self.state.store.db())
            .await
            .doing("listing webhooks")?;
        rows.into_iter().map(WebhookEndpoint::try_from).collect()
    }

    /// One endpoint of an organization.
    ///
    /// # Errors
    /// When there is none.
    pub async fn webhook(
        &self,
        organization_id: &str,
        webhook_id: &str,
    ) -> Result<WebhookEndpoint, WebhookError> {
        let row = row::Entity::find_by_id(webhook_id)
            .filter(row::Column::OrganizationId.eq(organization_id))
            .one(self.state.store.db())
            .await
            .doing("looking for a webhook")?;
        let row = row.ok_or_else(|| WebhookError::Unknown(webhook_id.to_owned()))?;
        Ok(WebhookEndpoint::try_from(row)?)
    }
}

/// Endpoints that we turned off, and of which nobody was told.
///
/// # Errors
/// When the database fails.
pub async fn turned_off(store: &Store) -> Result<Vec<WebhookEndpoint>, StoreError> {
    let rows = row::Entity::find().filter(row::Column::Told.eq(false)).all(store.db()).await;
    rows.doing("looking for webhooks that are off")?
        .into_iter()
        .map(WebhookEndpoint::try_from)
        .collect()
}

/// Writes down that somebody was told.
///
/// # Errors
/// When the database fails.
pub async fn mark_told(write: &Write, webhook_id: &str) -> Result<(), StoreError> {
    row::Entity::update_many()
        .col_expr(row::Column::Told, Expr::value(true))
        .filter(row::Column::WebhookId.eq(webhook_id))
        .exec(write.db())
        .await
        .doing("writing down who was told")?;
    Ok(())
}

async fn owned(
    write: &Write,
    organization_id: &str,
    webhook_id: &str,
) -> Result<row::Model, WebhookError> {
    let found = row::Entity::find_by_id(webhook_id)
        .filter(row::Column::OrganizationId.eq(organization_id))
        .one(write.db())
        .await
        .doing("looking for a webhook")?;
    found.ok_or_else(|| WebhookError::Unknown(webhook_id.to_owned()))
}

async fn noted(
    write: &Write,
    action: &'static str,
    webhook_id: &str,
    organization_id: &str,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let detail = json!({"organization_id": organization_id});
    let act = AuditAction { action, target: webhook_id.to_owned(), detail };
    audit::append(write, origin, act, now).await
}

fn sealed(vault: &Vault, webhook_id: &str, secret: &WebhookSecret) -> Result<String, StoreError> {
    vault.seal(webhook_id, secret.reveal().as_bytes())
}

/// The former secrets that still sign, the newest first. Sealed, they hold no space.
fn formers(row: &row::Model, now: DateTime<Utc>) -> impl Iterator<Item = &str> {
    let holds = row.previous_until.is_some_and(|until| now.timestamp_micros() < until);
    row.previous_secret.as_deref().filter(|_| holds).into_iter().flat_map(|all| all.split(' '))
}

/// The secrets that sign now: the newest first.
pub(super) fn secrets(
    vault: &Vault,
    row: &row::Model,
    now: DateTime<Utc>,
) -> Result<Vec<WebhookSecret>, StoreError> {
    let open = |sealed: &str| {
        let bytes = vault.open(&row.webhook_id, sealed);
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        text.map(WebhookSecret::of).ok_or(StoreError::Damaged {
            table: "webhook_endpoints",
            what: "a secret does not open with the key of this folder",
        })
    };
    std::iter::once(row.secret.as_str()).chain(formers(row, now)).map(open).collect()
}

/// What an endpoint is told of.
pub(super) fn wants(row: &row::Model, event: EventType) -> bool {
    let events: Vec<EventType> = serde_json::from_str(&row.events).unwrap_or_default();
    events.is_empty() || events.contains(&event)
}

impl TryFrom<row::Model> for WebhookEndpoint {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Damaged { table: "webhook_endpoints", what };
        let time = |micros| time_of("webhook_endpoints", micros);
        Ok(Self {
            events: serde_json::from_str(&row.events)
                .map_err(|_| damaged("its events are not a list of ours"))?,
            failing_since: row.failing_since.map(time).transpose()?,
            previous_until: row.previous_until.map(time).transpose()?,
            created_at: time(row.created_at)?,
            webhook_id: row.webhook_id,
            organization_id: row.organization_id,
            url: row.url,
            description: row.description,
            enabled: row.enabled,
            disabled_reason: row.disabled_reason,
            created_by: row.created_by,
        })
    }
}
