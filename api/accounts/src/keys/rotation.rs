//! Rotation: a new secret for what an old one did, and time to change it everywhere.

use chrono::{DateTime, TimeDelta, Utc};
use delivery::webhooks::EventType;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    outbox::{self, MirroredTable},
    revision,
    store::{Store, StoreContext},
};

use super::{ApiKey, KeyError, KeySecret, insert, read, row, tell};
use crate::organizations;

/// Both secrets work for at most so long.
pub const OVERLAP_MAX: TimeDelta = TimeDelta::days(30);

/// Creates a key that may do what another one does, and ends that one after the overlap, if it does not end sooner by
/// itself. A key that does not work any more is refused. The secret cannot be had again.
pub async fn rotate(
    store: &Store,
    api_key_id: &str,
    overlap: TimeDelta,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(ApiKey, KeySecret), KeyError> {
    let invalid = |field, reason| Err(KeyError::Invalid { field, reason });
    if !(TimeDelta::zero()..=OVERLAP_MAX).contains(&overlap) {
        return invalid("overlap_seconds", "must be 0 to 2592000, which is 30 days");
    }
    let secret = KeySecret::generate()?;
    let write = store.write().await?;
    let old = read(&write, api_key_id).await?;
    let max_age = match &old.organization_id {
        Some(id) => organizations::key_max_age_of(write.db(), id).await?,
        None => None,
    };
    if old.revoked_at.is_some() || old.ends_at(max_age).is_some_and(|at| at <= now) {
        return invalid("api_key_id", "is of a key that was revoked or has expired");
    }
    if old.rotated_to.is_some() {
        // It ends with the overlap: what copies it would, too.
        return invalid("api_key_id", "is of a key that was rotated: rotate `rotated_to`");
    }
    let new = ApiKey {
        api_key_id: format!("key_{}", base62(&random_bytes::<16>()?, 22)),
        start: secret.start().to_owned(),
        created_by: origin.actor.clone(),
        created_at: now,
        last_used_at: None,
        ..old.clone()
    };
    insert(&write, &new, &secret, origin, now).await?;
    let ends = old.expires_at.map_or(now + overlap, |at| at.min(now + overlap));
    let rotated_to = Some(new.api_key_id.clone());
    let old = ApiKey { expires_at: Some(ends), rotated_to, ..old };
    tell(&write, &old, EventType::KeyRotated, now).await?;
    row::Entity::update_many()
        .col_expr(row::Column::ExpiresAt, Expr::value(ends.timestamp_micros()))
        .col_expr(row::Column::RotatedTo, Expr::value(new.api_key_id.as_str()))
        .filter(row::Column::ApiKeyId.eq(api_key_id))
        .exec(write.db())
        .await
        .doing("ending an API key")?;
    outbox::append(&write, MirroredTable::ApiKeys, &old.dimension(), now).await?;
    let detail = json!({"new_api_key_id": new.api_key_id, "expires_at": ends});
    let act = AuditAction { action: "key.rotated", target: old.api_key_id, detail };
    audit::append(&write, origin, act, now).await?;
    revision::bump(&write).await?;
    write.commit().await?;
    Ok((new, secret))
}
