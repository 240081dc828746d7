//! Organizations: the tenants. Their rows are mirrored into the lake.

mod country;
mod error;
mod m0018_organization_status;
mod m0020_key_max_age;
mod policy;
mod routes;
mod row;
mod status;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, sea_query::OnConflict,
};
use serde_json::{Map, Value, json};
use strum::{EnumString, IntoStaticStr};

use ingest::control;

pub use error::OrganizationError;
pub use policy::{key_max_age_of, set_key_max_age};
pub use status::{OrganizationStatus, change_status, set_status};
pub(crate) use status::{Standing, standings, status_of};

use rest::feature::Feature;

use crate::Directory;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    migration::Migration,
    outbox::{self, MirroredTable},
    revision,
    store::{Store, StoreContext, StoreError, Write, rfc3339, time_of},
};

/// Organizations, as administrators handle them.
pub(crate) const FEATURE: Feature<Directory> =
    Feature::new("organizations").with_routes(routes::routes).with_migrations(&[
        Migration {
            name: "m0018_organization_status",
            up: |m| Box::pin(m0018_organization_status::up(m)),
        },
        Migration { name: "m0020_key_max_age", up: |m| Box::pin(m0020_key_max_age::up(m)) },
    ]);

/// SQLite takes 32,766 parameters; a query of this many ids stays far below.
const IDS_PER_QUERY: usize = 1000;
const TEXT_LENGTH_MAX: usize = 200;

/// A tenant: a customer of the platform. Its users and keys see the rows of this organization only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// `[A-Za-z0-9_-]{1,64}`
    pub organization_id: String,
    /// The name that people see: 1 to 200 bytes without control characters, not unique.
    pub name: String,
    /// Whether the customer is one person or a business.
    pub kind: OrganizationKind,
    /// The name of the subscription plan, such as `free`: 1 to 200 bytes. It is not checked against a list of plans.
    pub plan: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// The time when the customer signed up, in UTC. The row may have been created later.
    pub signed_up_at: DateTime<Utc>,
}

/// The kind of a customer. In texts it is `individual` or `business`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum OrganizationKind {
    /// One person.
    Individual,
    /// A company or another body of several people.
    Business,
}

impl OrganizationKind {
    /// The text in the database and in the lake: `individual` or `business`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Reads the text that [`Self::as_str`] gives; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// Writes new and changed rows, all or none, each with its outbox row. Gives the number of rows written: a row
/// that is already so is left alone, so that a repeated import adds nothing to the lake.
pub async fn upsert_many(
    store: &Store,
    organizations: &[Organization],
    now: DateTime<Utc>,
) -> Result<usize, OrganizationError> {
    for organization in organizations {
        organization.check()?;
    }
    let write = store.write().await?;
    let mut present = HashMap::new();
    for chunk in organizations.chunks(IDS_PER_QUERY) {
        let ids = chunk.iter().map(|organization| organization.organization_id.as_str());
        let rows = row::Entity::find()
            .filter(row::Column::OrganizationId.is_in(ids))
            .all(write.db())
            .await
            .doing("reading organizations")?;
        for row in rows {
            let organization = Organization::try_from(row)?;
            present.insert(organization.organization_id.clone(), organization);
        }
    }
    let mut written = 0;
    for organization in organizations {
        if present.get(&organization.organization_id) == Some(organization) {
            continue;
        }
        upsert(&write, organization, now).await?;
        // Limits hang on the plan.
        if let Some(former) = present.get(&organization.organization_id)
            && former.plan != organization.plan
        {
            let act = AuditAction {
                action: "organization.plan_changed",
                target: organization.organization_id.clone(),
                detail: json!({"from": former.plan, "to": organization.plan}),
            };
            audit::append(&write, &AuditOrigin::local("command-line"), act, now).await?;
        }
        present.insert(organization.organization_id.clone(), organization.clone());
        written += 1;
    }
    if written > 0 {
        revision::bump(&write).await?;
    }
    write.commit().await?;
    Ok(written)
}

/// Gives an organization another plan, in the transaction of what makes it necessary.
pub async fn set_plan(
    write: &Write,
    organization_id: &str,
    plan: &str,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), OrganizationError> {
    let unknown = || OrganizationError::Unknown { organization_id: organization_id.to_owned() };
    let former = find(write.db(), organization_id).await?.ok_or_else(unknown)?;
    if former.plan == plan {
        return Ok(());
    }
    let detail = json!({"from": former.plan, "to": plan});
    insert(write, &Organization { plan: plan.to_owned(), ..former }, now).await?;
    let target = organization_id.to_owned();
    let act = AuditAction { action: "organization.plan_changed", target, detail };
    audit::append(write, origin, act, now).await?;
    Ok(revision::bump(write).await?)
}

/// An organization with its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The organization.
    pub organization: Organization,
    /// Whether it may use the platform.
    pub status: OrganizationStatus,
}

/// Organizations whose id or name holds a text, whatever its case, by id.
pub async fn search(
    store: &Store,
    text: &str,
    limit: u64,
) -> Result<Vec<Found>, OrganizationError> {
    let text = text.to_lowercase();
    // The program compares: databases differ in what case means beyond ASCII.
    let holds = |row: &row::Model| {
        [&row.organization_id, &row.name].iter().any(|held| held.to_lowercase().contains(&text))
    };
    let rows = row::Entity::find()
        .order_by_asc(row::Column::OrganizationId)
        .all(store.db())
        .await
        .doing("searching organizations")?;
    let found = |row: row::Model| {
        let status = OrganizationStatus::of(&row)?;
        Ok(Found { organization: Organization::try_from(row)?, status })
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    rows.into_iter().filter(holds).take(limit).map(found).collect()
}

/// How many organizations there are.
pub async fn count(store: &Store) -> Result<u64, StoreError> {
    row::Entity::find().count(store.db()).await.doing("counting organizations")
}

/// All organizations by id.
pub async fn list(store: &Store) -> Result<Vec<Organization>, OrganizationError> {
    let rows = row::Entity::find()
        .order_by_asc(row::Column::OrganizationId)
        .all(store.db())
        .await
        .doing("listing organizations")?;
    rows.into_iter().map(Organization::try_from).collect()
}

/// The organization with this id, or `None` when there is none. Fails when the database fails or the row is damaged.
pub async fn get(
    store: &Store,
    organization_id: &str,
) -> Result<Option<Organization>, OrganizationError> {
    find(store.db(), organization_id).await
}

/// As [`get`], in a transaction.
pub async fn find(
    db: &impl ConnectionTrait,
    organization_id: &str,
) -> Result<Option<Organization>, OrganizationError> {
    let row = row::Entity::find_by_id(organization_id).one(db).await;
    row.doing("reading an organization")?.map(Organization::try_from).transpose()
}

impl Organization {
    pub(crate) fn check(&self) -> Result<(), OrganizationError> {
        if !is_id(&self.organization_id) {
            let reason = "must be 1 to 64 letters, digits, underscores or hyphens";
            return Err(OrganizationError::Invalid { field: "organization_id", reason });
        }
        if !country::is_country(&self.country) {
            let reason = "must be a country's code of two letters (ISO 3166-1), such as DE or CN";
            return Err(OrganizationError::Invalid { field: "country", reason });
        }
        for (field, text) in [("name", &self.name), ("plan", &self.plan)] {
            if text.is_empty() || text.len() > TEXT_LENGTH_MAX {
                return Err(OrganizationError::Invalid {
                    field,
                    reason: "must be 1 to 200 bytes long",
                });
            }
            if control::in_name(text) {
                let reason = "must not hold control characters";
                return Err(OrganizationError::Invalid { field, reason });
            }
        }
        Ok(())
    }

    /// The row of the lake's table.
    fn dimension(&self) -> Map<String, Value> {
        [
            ("organization_id", json!(self.organization_id)),
            ("name", json!(self.name)),
            ("kind", json!(self.kind.as_str())),
            ("plan", json!(self.plan)),
            ("country", json!(self.country)),
            ("signed_up_at", json!(rfc3339(self.signed_up_at))),
        ]
        .into_iter()
        .map(|(column, value)| (column.to_owned(), value))
        .collect()
    }
}

/// Writes an organization, in the transaction of what makes it necessary.
pub(crate) async fn insert(
    write: &Write,
    organization: &Organization,
    now: DateTime<Utc>,
) -> Result<(), OrganizationError> {
    organization.check()?;
    upsert(write, organization, now).await
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

async fn upsert(
    write: &Write,
    organization: &Organization,
    now: DateTime<Utc>,
) -> Result<(), OrganizationError> {
    use row::Column::{Country, Kind, Name, OrganizationId, Plan, SignedUpAt};
    let row = row::ActiveModel {
        organization_id: ActiveValue::Set(organization.organization_id.clone()),
        name: ActiveValue::Set(organization.name.clone()),
        kind: ActiveValue::Set(organization.kind.as_str().to_owned()),
        plan: ActiveValue::Set(organization.plan.clone()),
        country: ActiveValue::Set(organization.country.clone()),
        signed_up_at: ActiveValue::Set(organization.signed_up_at.timestamp_micros()),
        created_at: ActiveValue::Set(now.timestamp_micros()),
        status: ActiveValue::Set(OrganizationStatus::Active.as_str().to_owned()),
        key_max_age_days: ActiveValue::Set(None),
    };
    let replace = OnConflict::column(OrganizationId)
        .update_columns([Name, Kind, Plan, Country, SignedUpAt])
        .to_owned();
    row::Entity::insert(row)
        .on_conflict(replace)
        .exec_without_returning(write.db())
        .await
        .doing("writing an organization")?;
    Ok(outbox::append(write, MirroredTable::Organizations, &organization.dimension(), now).await?)
}

impl TryFrom<row::Model> for Organization {
    type Error = OrganizationError;

    fn try_from(row: row::Model) -> Result<Self, OrganizationError> {
        let unknown = StoreError::Damaged { table: "organizations", what: "an unknown kind" };
        Ok(Self {
            kind: OrganizationKind::parse(&row.kind).ok_or(unknown)?,
            signed_up_at: time_of("organizations", row.signed_up_at)?,
            organization_id: row.organization_id,
            name: row.name,
            plan: row.plan,
            country: row.country,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
