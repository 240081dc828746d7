//! What is agreed with single organizations, in the database.

use chrono::{DateTime, NaiveDate, Utc};
use ingest::control;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    sea_query::Expr,
};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    store::{Store, StoreContext, StoreError, Write},
};

use super::{override_row as row, read};
use crate::{
    Charge, PriceOverride,
    currency::digits,
    fault::Fault,
    prices::{Interval, PlanVersion},
};

const TABLE: &str = "price_overrides";
const NOTE_MAX: usize = 500;
/// Of one organization.
const OVERRIDES_MAX: usize = 200;

/// What is to be agreed.
#[derive(Debug, Clone)]
pub(crate) struct NewOverride {
    pub(crate) plan: String,
    pub(crate) charges: Vec<Charge>,
    pub(crate) starts_on: NaiveDate,
    pub(crate) ends_on: Option<NaiveDate>,
    pub(crate) note: String,
}

/// Agrees on prices with an organization, from today or later.
pub(crate) async fn agree(
    write: &Write,
    organization_id: &str,
    new: NewOverride,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<PriceOverride, Fault> {
    let list = read(write.db()).await?.list;
    let Some((_, version)) = list.plan_on(&new.plan, new.starts_on) else {
        return Err(Fault::invalid("plan", format!("`{}` has no price on that day", new.plan)));
    };
    let agreed = PlanVersion {
        from: new.starts_on,
        currency: version.currency,
        interval: Interval::Month,
        trial_days: 0,
        charges: new.charges.clone(),
    };
    digits(agreed.currency)?;
    agreed.check(&new.plan)?;
    if new.starts_on < now.date_naive() {
        return Err(Fault::invalid("starts_on", "is today or later: what was used is rated"));
    }
    if new.ends_on.is_some_and(|end| end <= new.starts_on) {
        return Err(Fault::invalid("ends_on", "is after `starts_on`"));
    }
    if new.note.chars().count() > NOTE_MAX || control::in_name(&new.note) {
        return Err(Fault::invalid("note", "is at most 500 characters without control characters"));
    }
    if found(write.db(), organization_id).await?.len() >= OVERRIDES_MAX {
        return Err(Fault::invalid("organization_id", "has 200 agreements already"));
    }
    let id: [u8; 16] = random_bytes()?;
    let one = PriceOverride {
        override_id: format!("price_{}", base62(&id, 22)),
        organization_id: organization_id.to_owned(),
        plan: new.plan,
        charges: new.charges,
        starts_on: new.starts_on,
        ends_on: new.ends_on,
        note: new.note,
    };
    let charges = serde_yaml_ng::to_string(&one.charges)
        .map_err(|_| StoreError::Damaged { table: TABLE, what: "charges do not encode" })?;
    let stored = row::ActiveModel {
        override_id: Set(one.override_id.clone()),
        organization_id: Set(one.organization_id.clone()),
        plan: Set(one.plan.clone()),
        charges: Set(charges.clone()),
        starts_on: Set(one.starts_on.to_string()),
        ends_on: Set(one.ends_on.map(|end| end.to_string())),
        note: Set(one.note.clone()),
        created_by: Set(origin.actor.clone()),
        created_at: Set(now.timestamp_micros()),
    };
    let inserted = row::Entity::insert(stored).exec_without_returning(write.db()).await;
    inserted.doing("storing an agreement").map_err(|error| match error {
        error if error.is_foreign_key_violation() => {
            Fault::Unknown(format!("organization `{organization_id}`"))
        }
        error => error.into(),
    })?;
    let detail = json!({
        "override_id": one.override_id, "plan": one.plan, "starts_on": one.starts_on,
        "ends_on": one.ends_on, "charges": charges, "note": one.note,
    });
    let target = organization_id.to_owned();
    let act = AuditAction { action: "organization.price_agreed", target, detail };
    audit::append(write, origin, act, now).await?;
    Ok(one)
}

/// Ends an agreement: today is not of it any more. One that has ended stays.
pub(crate) async fn end_agreement(
    write: &Write,
    organization_id: &str,
    override_id: &str,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let all = found(write.db(), organization_id).await?;
    let unknown = || Fault::Unknown(format!("agreement `{override_id}` of this organization"));
    let one = all.iter().find(|one| one.override_id == override_id).ok_or_else(unknown)?;
    let today = now.date_naive();
    if one.ends_on.is_some_and(|end| end <= today) {
        return Ok(());
    }
    // One that has not begun never counts.
    let ends_on = today.max(one.starts_on).to_string();
    row::Entity::update_many()
        .col_expr(row::Column::EndsOn, Expr::value(ends_on))
        .filter(row::Column::OverrideId.eq(override_id))
        .exec(write.db())
        .await
        .doing("ending an agreement")?;
    let detail = json!({"override_id": override_id});
    let target = organization_id.to_owned();
    let act = AuditAction { action: "organization.price_agreement_ended", target, detail };
    Ok(audit::append(write, origin, act, now).await.map(drop)?)
}

/// All agreements, the oldest first.
pub(super) async fn all(db: &impl ConnectionTrait) -> Result<Vec<PriceOverride>, StoreError> {
    let rows = ordered().all(db).await.doing("reading agreements")?;
    rows.into_iter().map(PriceOverride::try_from).collect()
}

/// The agreements with one organization, the oldest first.
pub(crate) async fn of_organization(
    store: &Store,
    organization_id: &str,
) -> Result<Vec<PriceOverride>, StoreError> {
    found(store.db(), organization_id).await
}

async fn found(
    db: &impl ConnectionTrait,
    organization_id: &str,
) -> Result<Vec<PriceOverride>, StoreError> {
    let of = row::Column::OrganizationId.eq(organization_id);
    let rows = ordered().filter(of).all(db).await.doing("reading agreements")?;
    rows.into_iter().map(PriceOverride::try_from).collect()
}

fn ordered() -> sea_orm::Select<row::Entity> {
    row::Entity::find().order_by_asc(row::Column::CreatedAt).order_by_asc(row::Column::OverrideId)
}

impl TryFrom<row::Model> for PriceOverride {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged =
            || StoreError::Damaged { table: TABLE, what: "an agreement that is not readable" };
        let day = |text: &str| text.parse().map_err(|_| damaged());
        Ok(Self {
            charges: serde_yaml_ng::from_str(&row.charges).map_err(|_| damaged())?,
            starts_on: day(&row.starts_on)?,
            ends_on: row.ends_on.as_deref().map(day).transpose()?,
            override_id: row.override_id,
            organization_id: row.organization_id,
            plan: row.plan,
            note: row.note,
        })
    }
}
