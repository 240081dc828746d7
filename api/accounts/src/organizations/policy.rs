//! What an organization demands of its keys.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    revision,
    store::{Store, StoreContext, StoreError},
};

use super::{OrganizationError, row};

/// Ten years.
const DAYS_MAX: u16 = 3_650;

/// Changes for how many days after its creation a key works; nothing: for as long as its own end says. Keys that are older
/// end at once here, and within a second for other processes.
pub async fn set_key_max_age(
    store: &Store,
    organization_id: &str,
    days: Option<u16>,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), OrganizationError> {
    if days.is_some_and(|days| !(1..=DAYS_MAX).contains(&days)) {
        let reason = "must be 1 to 3650, or null";
        return Err(OrganizationError::Invalid { field: "key_max_age_days", reason });
    }
    let write = store.write().await?;
    let changed = row::Entity::update_many()
        .col_expr(row::Column::KeyMaxAgeDays, Expr::value(days.map(i32::from)))
        .filter(row::Column::OrganizationId.eq(organization_id))
        .exec(write.db())
        .await
        .doing("changing the policy of an organization")?;
    if changed.rows_affected == 0 {
        return Err(OrganizationError::Unknown { organization_id: organization_id.to_owned() });
    }
    let action = "organization.key_policy_changed";
    let detail = json!({"key_max_age_days": days});
    let act = AuditAction { action, target: organization_id.to_owned(), detail };
    audit::append(&write, origin, act, now).await?;
    revision::bump(&write).await?;
    Ok(write.commit().await?)
}

/// For how long after its creation a key of an organization works.
pub async fn key_max_age_of(
    db: &impl ConnectionTrait,
    organization_id: &str,
) -> Result<Option<TimeDelta>, StoreError> {
    let row = row::Entity::find_by_id(organization_id).one(db).await;
    let days = row.doing("reading an organization")?.and_then(|row| row.key_max_age_days);
    Ok(days.map(|days| TimeDelta::days(days.into())))
}
