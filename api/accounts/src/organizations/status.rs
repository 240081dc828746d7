//! Whether an organization may use the platform.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use delivery::webhooks::{self, EventType};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    revision::{self, Remembered},
    store::{Store, StoreContext, StoreError, Write},
};
use strum::{EnumString, IntoStaticStr};

use super::{OrganizationError, row};
use crate::plans::{self, LimitOverride};

/// Whether an organization may use the platform. In texts it is `active`, `suspended` or `disabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum OrganizationStatus {
    /// Its keys work, and its members sign in.
    Active,
    /// Its members sign in, read and pay; its keys do not work.
    Suspended,
    /// Neither.
    Disabled,
}

impl OrganizationStatus {
    /// The text in the database and in answers.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Reads the text that [`Self::as_str`] gives; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    pub(super) fn of(row: &row::Model) -> Result<Self, StoreError> {
        let unknown = StoreError::Damaged { table: "organizations", what: "an unknown status" };
        Self::parse(&row.status).ok_or(unknown)
    }
}

/// Changes the status. It counts at once here, and within a second for other processes.
pub async fn set_status(
    store: &Store,
    organization_id: &str,
    status: OrganizationStatus,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), OrganizationError> {
    let write = store.write().await?;
    let unknown = || OrganizationError::Unknown { organization_id: organization_id.to_owned() };
    let former = status_of(write.db(), organization_id).await?.ok_or_else(unknown)?;
    if change_status(&write, organization_id, (former, status), origin, now).await? {
        write.commit().await?;
    }
    Ok(())
}

/// Changes one status to another, in the transaction of what makes it necessary. An organization of any other status stays as
/// it is.
pub async fn change_status(
    write: &Write,
    organization_id: &str,
    (former, status): (OrganizationStatus, OrganizationStatus),
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<bool, OrganizationError> {
    if former == status {
        return Ok(false);
    }
    let changed = row::Entity::update_many()
        .col_expr(row::Column::Status, Expr::value(status.as_str()))
        .filter(row::Column::OrganizationId.eq(organization_id))
        .filter(row::Column::Status.eq(former.as_str()))
        .exec(write.db())
        .await
        .doing("changing the status of an organization")?;
    if changed.rows_affected == 0 {
        return Ok(false);
    }
    let detail = json!({"from": former.as_str(), "to": status.as_str()});
    let target = organization_id.to_owned();
    let act = AuditAction { action: "organization.status_changed", target, detail };
    audit::append(write, origin, act, now).await?;
    let event = match status {
        OrganizationStatus::Active => EventType::OrganizationActivated,
        OrganizationStatus::Suspended => EventType::OrganizationSuspended,
        OrganizationStatus::Disabled => EventType::OrganizationDisabled,
    };
    let data = json!({"organization_id": organization_id, "status": status.as_str()});
    webhooks::publish(write, organization_id, event, &data, now).await?;
    revision::bump(write).await?;
    revision::bump_of(write, Remembered::Sessions).await?;
    Ok(true)
}

/// What an organization may do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standing {
    pub(crate) plan: String,
    pub(crate) status: OrganizationStatus,
    /// A key works for so long after its creation.
    pub(crate) key_max_age: Option<TimeDelta>,
    /// Those that did not end.
    pub(crate) overrides: Vec<LimitOverride>,
}

/// Plan, status, overrides and policy of every organization.
pub(crate) async fn standings(
    store: &Store,
    now: DateTime<Utc>,
) -> Result<HashMap<String, Arc<Standing>>, StoreError> {
    let mut overrides = plans::all_current(store, now).await?;
    let rows = row::Entity::find().all(store.db()).await.doing("reading all organizations")?;
    let standing = |row: row::Model| match OrganizationStatus::of(&row) {
        Ok(status) => {
            let overrides = overrides.remove(&row.organization_id).unwrap_or_default();
            let key_max_age = row.key_max_age_days.map(|days| TimeDelta::days(days.into()));
            let standing = Standing { plan: row.plan, status, key_max_age, overrides };
            Some((row.organization_id, Arc::new(standing)))
        }
        // Its keys are unknown: one damaged row is no reason to refuse everybody.
        Err(error) => {
            tracing::error!(%error, organization_id = row.organization_id, "an organization is not readable");
            None
        }
    };
    Ok(rows.into_iter().filter_map(standing).collect())
}

/// The status of one organization; none where there is none of this id.
pub(crate) async fn status_of(
    db: &impl ConnectionTrait,
    organization_id: &str,
) -> Result<Option<OrganizationStatus>, StoreError> {
    let row = row::Entity::find_by_id(organization_id).one(db).await;
    row.doing("reading an organization")?.map(|row| OrganizationStatus::of(&row)).transpose()
}
