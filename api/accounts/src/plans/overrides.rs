//! Limits of single organizations that differ from their plan, for a time.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use ingest::control;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, sea_query::Expr,
};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    revision,
    store::{Store, StoreContext, StoreError, rfc3339, time_of},
};

use super::{Limits, override_row as row};
use crate::organizations::OrganizationError;

/// Limits that count instead of those of the plan, as far as they are named. Of several the last that was made counts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LimitOverride {
    /// `override_…`
    pub(crate) override_id: String,
    /// Whose limits they are.
    pub(crate) organization_id: String,
    /// What differs from the plan.
    pub(crate) limits: Limits,
    /// From then on.
    pub(crate) starts_at: DateTime<Utc>,
    /// Until then; nothing: for good.
    pub(crate) ends_at: Option<DateTime<Utc>>,
    /// Why.
    pub(crate) note: String,
    /// The id of the principal that made it.
    pub(crate) created_by: String,
    /// The time of creation, in UTC.
    pub(crate) created_at: DateTime<Utc>,
}

/// An override that is to be made.
#[derive(Debug, Clone)]
pub(super) struct NewOverride {
    /// What differs from the plan.
    pub(super) limits: Limits,
    /// From then on.
    pub(super) starts_at: DateTime<Utc>,
    /// Until then; nothing: for good.
    pub(super) ends_at: Option<DateTime<Utc>>,
    /// Why: at most 500 characters.
    pub(super) note: String,
}

const NOTE_MAX: usize = 500;
/// Of one organization that did not end.
const CURRENT_MAX: usize = 50;

impl LimitOverride {
    /// Whether it counts at a time.
    pub(crate) fn holds_at(&self, now: DateTime<Utc>) -> bool {
        self.starts_at <= now && self.ends_at.is_none_or(|end| now < end)
    }
}

impl NewOverride {
    fn check(&self, now: DateTime<Utc>) -> Result<(), OrganizationError> {
        let invalid = |field, reason| Err(OrganizationError::Invalid { field, reason });
        if self.limits.is_unlimited() {
            return invalid("limits", "must name at least one limit");
        }
        if self.ends_at.is_some_and(|end| end <= self.starts_at || end <= now) {
            return invalid("ends_at", "must be after `starts_at`, and in the future");
        }
        if self.note.chars().count() > NOTE_MAX || control::in_name(&self.note) {
            return invalid("note", "must be at most 500 characters without control characters");
        }
        Ok(())
    }
}

/// Makes an override. It counts at once here, and within a second for other processes.
pub(super) async fn create(
    store: &Store,
    organization_id: &str,
    new: NewOverride,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<LimitOverride, OrganizationError> {
    new.check(now)?;
    let made = LimitOverride {
        override_id: format!(
            "override_{}",
            base62(&random_bytes::<16>().map_err(OrganizationError::from)?, 22)
        ),
        organization_id: organization_id.to_owned(),
        limits: new.limits,
        starts_at: new.starts_at,
        ends_at: new.ends_at,
        note: new.note,
        created_by: origin.actor.clone(),
        created_at: now,
    };
    let write = store.write().await?;
    let known = row::Entity::find()
        .filter(row::Column::OrganizationId.eq(organization_id))
        .filter(current(now))
        .all(write.db())
        .await
        .doing("reading limits")?;
    if known.len() >= CURRENT_MAX {
        let reason = "has 50 overrides that did not end: end one";
        return Err(OrganizationError::Invalid { field: "organization_id", reason });
    }
    let limits = serde_json::to_string(&made.limits).unwrap_or_default();
    let row = row::ActiveModel {
        override_id: Set(made.override_id.clone()),
        organization_id: Set(made.organization_id.clone()),
        limits: Set(limits),
        starts_at: Set(made.starts_at.timestamp_micros()),
        ends_at: Set(made.ends_at.map(|end| end.timestamp_micros())),
        note: Set(made.note.clone()),
        created_by: Set(made.created_by.clone()),
        created_at: Set(now.timestamp_micros()),
    };
    let inserted = row::Entity::insert(row).exec_without_returning(write.db()).await;
    inserted.doing("overriding limits").map_err(|error| match error {
        error if error.is_foreign_key_violation() => {
            OrganizationError::Unknown { organization_id: organization_id.to_owned() }
        }
        error => error.into(),
    })?;
    let detail = json!({
        "override_id": made.override_id, "limits": made.limits, "starts_at": rfc3339(made.starts_at),
        "ends_at": made.ends_at.map(rfc3339), "note": made.note,
    });
    let action = "organization.limits_overridden";
    let act = AuditAction { action, target: organization_id.to_owned(), detail };
    audit::append(&write, origin, act, now).await?;
    revision::bump(&write).await?;
    write.commit().await?;
    Ok(made)
}

/// Ends an override now. One that has ended stays as it is.
pub(super) async fn end(
    store: &Store,
    organization_id: &str,
    override_id: &str,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), OrganizationError> {
    let write = store.write().await?;
    let found = row::Entity::find_by_id(override_id)
        .filter(row::Column::OrganizationId.eq(organization_id))
        .one(write.db())
        .await
        .doing("reading limits")?;
    let unknown = || OrganizationError::UnknownOverride { override_id: override_id.to_owned() };
    let found = found.ok_or_else(unknown)?;
    if found.ends_at.is_some_and(|end| end <= now.timestamp_micros()) {
        return Ok(());
    }
    row::Entity::update_many()
        .col_expr(row::Column::EndsAt, Expr::value(now.timestamp_micros()))
        .filter(row::Column::OverrideId.eq(override_id))
        .exec(write.db())
        .await
        .doing("ending an override")?;
    let detail = json!({"override_id": override_id});
    let action = "organization.override_ended";
    let act = AuditAction { action, target: organization_id.to_owned(), detail };
    audit::append(&write, origin, act, now).await?;
    revision::bump(&write).await?;
    Ok(write.commit().await?)
}

/// Those of one organization, also those that ended, the newest first.
pub(super) async fn of_organization(
    store: &Store,
    organization_id: &str,
) -> Result<Vec<LimitOverride>, OrganizationError> {
    let rows = row::Entity::find()
        .filter(row::Column::OrganizationId.eq(organization_id))
        .order_by_desc(row::Column::CreatedAt)
        .order_by_asc(row::Column::OverrideId)
        .all(store.db())
        .await
        .doing("reading limits")?;
    Ok(rows.into_iter().map(LimitOverride::try_from).collect::<Result<_, _>>()?)
}

/// Those of all organizations that did not end, the oldest first.
pub(crate) async fn all_current(
    store: &Store,
    now: DateTime<Utc>,
) -> Result<HashMap<String, Vec<LimitOverride>>, StoreError> {
    let rows = row::Entity::find()
        .filter(current(now))
        .order_by_asc(row::Column::CreatedAt)
        .order_by_asc(row::Column::OverrideId)
        .all(store.db())
        .await
        .doing("reading limits")?;
    let mut found: HashMap<String, Vec<LimitOverride>> = HashMap::new();
    for row in rows {
        let override_id = row.override_id.clone();
        let one = match LimitOverride::try_from(row) {
            Ok(one) => one,
            // One damaged row is no reason to refuse everybody: it does not count.
            Err(error) => {
                tracing::error!(%error, override_id, "an override is not readable");
                continue;
            }
        };
        found.entry(one.organization_id.clone()).or_default().push(one);
    }
    Ok(found)
}

fn current(now: DateTime<Utc>) -> Condition {
    Condition::any()
        .add(row::Column::EndsAt.is_null())
        .add(row::Column::EndsAt.gt(now.timestamp_micros()))
}

impl TryFrom<row::Model> for LimitOverride {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let table = "limit_overrides";
        let damaged = |_| StoreError::Damaged { table, what: "limits that are not readable" };
        Ok(Self {
            limits: serde_json::from_str(&row.limits).map_err(damaged)?,
            starts_at: time_of(table, row.starts_at)?,
            ends_at: row.ends_at.map(|end| time_of(table, end)).transpose()?,
            created_at: time_of(table, row.created_at)?,
            override_id: row.override_id,
            organization_id: row.organization_id,
            note: row.note,
            created_by: row.created_by,
        })
    }
}
