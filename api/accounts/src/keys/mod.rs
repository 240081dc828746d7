//! API keys: how programs say who they are. A secret is shown once; only its SHA-256 is kept.

mod error;
mod limits;
mod m0003_key_grants;
mod m0017_key_limits;
mod ring;
mod rotation;
mod routes;
mod row;
mod secret;
mod verification;
mod verify_route;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use ingest::{Grant, control};
use rest::{
    feature::Feature,
    principal::{Principal, PrincipalKind, Scope, Scopes, Tenancy},
};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, sea_query::Expr};
use serde_json::{Map, Value, json};
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    migration::Migration,
    outbox::{self, MirroredTable},
    revision,
    store::{Store, StoreContext, StoreError, Write, rfc3339, time_of},
};

pub use error::KeyError;
pub use limits::KeyLimits;
pub use ring::KeyRing;
pub use rotation::{OVERLAP_MAX, rotate};
pub use routes::{GrantBody, KeyList, KeyView, NewKeyBody, NewKeyView};
pub use secret::KeySecret;
pub use verification::{Verdict, Verification};

use crate::{
    Directory,
    organizations::{self, OrganizationStatus},
};

/// API keys, as administrators handle them.
pub(crate) const FEATURE: Feature<Directory> =
    Feature::new("keys").with_routes(routes::routes).with_migrations(&[
        Migration { name: "m0003_key_grants", up: |m| Box::pin(m0003_key_grants::up(m)) },
        Migration { name: "m0017_key_limits", up: |m| Box::pin(m0017_key_limits::up(m)) },
    ]);

/// An API key as the database holds it, without the secret and its hash.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// `key_…`
    pub api_key_id: String,
    /// None: a platform key, which sends for every organization.
    pub organization_id: Option<String>,
    /// What the key is for, in its creator's words: 1 to 100 characters, not unique.
    pub name: String,
    /// The first characters of the secret.
    pub start: String,
    /// What the key may do: some of read, write, backfill and admin.
    pub scopes: Scopes,
    /// What it may write, as far as it was narrowed.
    pub grant: Grant,
    /// The models and networks that it is for.
    pub limits: KeyLimits,
    /// The id of the principal that created it.
    pub created_by: String,
    /// The time of creation, in UTC.
    pub created_at: DateTime<Utc>,
    /// The time from which on the key is refused; `None` for a key that does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// To the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The time of revocation; `None` for a key that was not revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The id of the key that took its place.
    pub rotated_to: Option<String>,
}

impl ApiKey {
    /// The principal of the key's requests.
    pub(crate) fn principal(self) -> Principal {
        Principal {
            kind: PrincipalKind::Key(self.scopes),
            grant: self.grant,
            reach: Tenancy::from(self.organization_id),
            id: self.api_key_id,
            name: self.name,
        }
    }
}

/// A key that is to be created. [`create`] checks the fields and fails with [`KeyError::Invalid`].
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What the key is for: 1 to 100 characters, not only spaces, without control characters.
    pub name: String,
    /// The only organization that the key works for; `None` for a platform key, which works for all.
    pub organization_id: Option<String>,
    /// What the key may do. An organization's key cannot hold `admin`.
    pub scopes: Scopes,
    /// The sources and event types that the key may write. A limit is only for keys with the scope `write`, and a limit
    /// of the sources only for platform keys.
    pub grant: Grant,
    /// The models and networks that it is for.
    pub limits: KeyLimits,
    /// The time from which on the key is refused. It lies in the future; `None` for a key that does not expire.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Creates a key. Its secret cannot be had again.
pub async fn create(
    store: &Store,
    new: NewKey,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(ApiKey, KeySecret), KeyError> {
    new.check(now)?;
    let secret = KeySecret::generate()?;
    let key = ApiKey {
        api_key_id: format!("key_{}", base62(&random_bytes::<16>()?, 22)),
        organization_id: new.organization_id,
        name: new.name,
        start: secret.start().to_owned(),
        scopes: new.scopes,
        grant: new.grant,
        limits: new.limits,
        created_by: origin.actor.clone(),
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
        revoked_at: None,
        rotated_to: None,
    };
    let write = store.write().await?;
    insert(&write, &key, &secret, origin, now).await?;
    write.commit().await?;
    Ok((key, secret))
}

/// Adds a key, in the transaction of what it is for.
async fn insert(
    write: &Write,
    key: &ApiKey,
    secret: &KeySecret,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), KeyError> {
    let inserted =
        row::Entity::insert(key.row(secret.hash())).exec_without_returning(write.db()).await;
    inserted.doing("creating an API key").map_err(|error| match &key.organization_id {
        Some(id) if error.is_foreign_key_violation() => {
            KeyError::UnknownOrganization { organization_id: id.clone() }
        }
        _ => error.into(),
    })?;
    outbox::append(write, MirroredTable::ApiKeys, &key.dimension(), now).await?;
    let detail = json!({
        "organization_id": key.organization_id,
        "scopes": key.scopes.to_string(),
        "sources": key.grant.sources(),
        "types": key.grant.types(),
        "models": key.limits.models(),
        "networks": key.limits.networks(),
        "expires_at": key.expires_at.map(rfc3339),
    });
    let act = AuditAction { action: "key.created", target: key.api_key_id.clone(), detail };
    audit::append(write, origin, act, now).await?;
    Ok(revision::bump(write).await?)
}

/// All keys, newest first, also the revoked ones.
pub async fn list(store: &Store) -> Result<Vec<ApiKey>, KeyError> {
    let rows = row::Entity::find()
        .order_by_desc(row::Column::CreatedAt)
        .order_by_asc(row::Column::ApiKeyId)
        .all(store.db())
        .await
        .doing("listing API keys")?;
    rows.into_iter().map(ApiKey::try_from).collect()
}

/// Revokes a key. One that is revoked already stays as it is. Another
/// process may honor it a second more (see [`KeyRing`]).
pub async fn revoke(
    store: &Store,
    api_key_id: &str,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), KeyError> {
    let write = store.write().await?;
    let mut key = read(&write, api_key_id).await?;
    if key.revoked_at.is_some() {
        return Ok(());
    }
    key.revoked_at = Some(now);
    row::Entity::update_many()
        .col_expr(row::Column::RevokedAt, Expr::value(now.timestamp_micros()))
        .filter(row::Column::ApiKeyId.eq(api_key_id))
        .exec(write.db())
        .await
        .doing("revoking an API key")?;
    outbox::append(&write, MirroredTable::ApiKeys, &key.dimension(), now).await?;
    let act = AuditAction { action: "key.revoked", target: key.api_key_id, detail: json!({}) };
    audit::append(&write, origin, act, now).await?;
    revision::bump(&write).await?;
    Ok(write.commit().await?)
}

/// The key with an id, if it works.
pub(crate) async fn find_working(
    store: &Store,
    api_key_id: &str,
    now: DateTime<Utc>,
) -> Result<Option<ApiKey>, KeyError> {
    let row =
        row::Entity::find_by_id(api_key_id).one(store.db()).await.doing("reading an API key")?;
    let Some(key) = row.map(ApiKey::try_from).transpose()? else { return Ok(None) };
    let is_active = match &key.organization_id {
        Some(id) => {
            let status = organizations::status_of(store.db(), id).await?;
            status == Some(OrganizationStatus::Active)
        }
        None => true,
    };
    let works =
        key.revoked_at.is_none() && key.expires_at.is_none_or(|expires_at| now < expires_at);
    Ok((works && is_active).then_some(key))
}

/// Those of the keys that do not work any more: they were revoked or have expired, or their organization is suspended or
/// disabled.
pub(crate) async fn departed_of(
    store: &Store,
    api_key_ids: &HashSet<String>,
    now: DateTime<Utc>,
) -> Result<HashSet<String>, StoreError> {
    let organizations = organizations::standings(store).await?;
    let rows = row::Entity::find()
        .filter(row::Column::ApiKeyId.is_in(api_key_ids))
        .all(store.db())
        .await
        .doing("looking for API keys that do not work")?;
    let is_active = |id: &String| {
        organizations.get(id).is_some_and(|(_, status)| *status == OrganizationStatus::Active)
    };
    let works = |row: &row::Model| {
        row.revoked_at.is_none()
            && row.expires_at.is_none_or(|at| now.timestamp_micros() < at)
            && row.organization_id.as_ref().is_none_or(is_active)
    };
    Ok(rows.into_iter().filter(|row| !works(row)).map(|row| row.api_key_id).collect())
}

/// Changes what a key may write. Another process may honor the former grant a second more.
pub async fn set_grant(
    store: &Store,
    api_key_id: &str,
    grant: Grant,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<ApiKey, KeyError> {
    let write = store.write().await?;
    let key = ApiKey { grant, ..read(&write, api_key_id).await? };
    check_grant(&key.grant, key.organization_id.as_deref(), key.scopes)?;
    row::Entity::update_many()
        .col_expr(row::Column::WriteSources, Expr::value(joined(key.grant.sources())))
        .col_expr(row::Column::WriteTypes, Expr::value(joined(key.grant.types())))
        .filter(row::Column::ApiKeyId.eq(api_key_id))
        .exec(write.db())
        .await
        .doing("changing what an API key may write")?;
    let detail = json!({"sources": key.grant.sources(), "types": key.grant.types()});
    let act = AuditAction { action: "key.granted", target: key.api_key_id.clone(), detail };
    audit::append(&write, origin, act, now).await?;
    revision::bump(&write).await?;
    write.commit().await?;
    Ok(key)
}

/// Changes the models and networks that a key is for.
pub async fn set_limits(
    store: &Store,
    api_key_id: &str,
    limits: KeyLimits,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<ApiKey, KeyError> {
    let write = store.write().await?;
    let key = ApiKey { limits, ..read(&write, api_key_id).await? };
    row::Entity::update_many()
        .col_expr(row::Column::Models, Expr::value(joined(&key.limits.models())))
        .col_expr(row::Column::Networks, Expr::value(joined(&key.limits.networks())))
        .filter(row::Column::ApiKeyId.eq(api_key_id))
        .exec(write.db())
        .await
        .doing("changing the limits of an API key")?;
    let detail = json!({"models": key.limits.models(), "networks": key.limits.networks()});
    let act = AuditAction { action: "key.limited", target: key.api_key_id.clone(), detail };
    audit::append(&write, origin, act, now).await?;
    revision::bump(&write).await?;
    write.commit().await?;
    Ok(key)
}

async fn read(write: &Write, api_key_id: &str) -> Result<ApiKey, KeyError> {
    let row =
        row::Entity::find_by_id(api_key_id).one(write.db()).await.doing("reading an API key")?;
    let unknown = || KeyError::UnknownKey { api_key_id: api_key_id.to_owned() };
    row.ok_or_else(unknown).and_then(ApiKey::try_from)
}

/// An organization's key has its own source, and one that writes nothing needs no grant.
fn check_grant(
    grant: &Grant,
    organization_id: Option<&str>,
    scopes: Scopes,
) -> Result<(), KeyError> {
    let invalid = |field, reason| Err(KeyError::Invalid { field, reason });
    if organization_id.is_some() && !grant.sources().is_empty() {
        return invalid("sources", "are for keys of the platform; an organization's has its own");
    }
    if *grant != Grant::ALL && !scopes.contains(Scope::Write) {
        return invalid("scopes", "must hold write beside what may be written");
    }
    Ok(())
}

impl NewKey {
    fn check(&self, now: DateTime<Utc>) -> Result<(), KeyError> {
        let invalid = |field, reason| Err(KeyError::Invalid { field, reason });
        if self.name.trim().is_empty() || self.name.chars().count() > 100 {
            return invalid("name", "must be 1 to 100 characters long");
        }
        if control::in_name(&self.name) {
            return invalid("name", "must not hold control characters");
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return invalid("expires_at", "must be in the future");
        }
        if self.organization_id.is_some() && self.scopes.contains(Scope::Admin) {
            return invalid("scopes", "cannot hold admin for one organization's key");
        }
        if self.organization_id.is_some() && self.scopes.contains(Scope::Verify) {
            return invalid("scopes", "cannot hold verify for one organization's key");
        }
        check_grant(&self.grant, self.organization_id.as_deref(), self.scopes)
    }
}

impl ApiKey {
    /// The row of the lake's table: never the hash.
    fn dimension(&self) -> Map<String, Value> {
        [
            ("api_key_id", json!(self.api_key_id)),
            ("organization_id", json!(self.organization_id)),
            ("name", json!(self.name)),
            ("start", json!(self.start)),
            ("scopes", json!(self.scopes.to_string())),
            ("created_at", json!(rfc3339(self.created_at))),
            ("expires_at", json!(self.expires_at.map(rfc3339))),
            ("revoked_at", json!(self.revoked_at.map(rfc3339))),
        ]
        .into_iter()
        .map(|(column, value)| (column.to_owned(), value))
        .collect()
    }

    fn row(&self, hash: [u8; 32]) -> row::ActiveModel {
        let micros =
            |at: Option<DateTime<Utc>>| ActiveValue::Set(at.map(|at| at.timestamp_micros()));
        row::ActiveModel {
            api_key_id: ActiveValue::Set(self.api_key_id.clone()),
            organization_id: ActiveValue::Set(self.organization_id.clone()),
            name: ActiveValue::Set(self.name.clone()),
            start: ActiveValue::Set(self.start.clone()),
            hash: ActiveValue::Set(hash.to_vec()),
            scopes: ActiveValue::Set(self.scopes.to_string()),
            created_by: ActiveValue::Set(self.created_by.clone()),
            created_at: ActiveValue::Set(self.created_at.timestamp_micros()),
            expires_at: micros(self.expires_at),
            last_used_at: micros(self.last_used_at),
            revoked_at: micros(self.revoked_at),
            write_sources: ActiveValue::Set(joined(self.grant.sources())),
            write_types: ActiveValue::Set(joined(self.grant.types())),
            models: ActiveValue::Set(joined(&self.limits.models())),
            networks: ActiveValue::Set(joined(&self.limits.networks())),
            rotated_to: ActiveValue::Set(self.rotated_to.clone()),
        }
    }
}

impl TryFrom<row::Model> for ApiKey {
    type Error = KeyError;

    fn try_from(row: row::Model) -> Result<Self, KeyError> {
        let time = |at| time_of("api_keys", at);
        Ok(Self {
            grant: row.grant()?,
            limits: row.limits()?,
            scopes: row.scopes()?,
            created_at: time(row.created_at)?,
            expires_at: row.expires_at.map(time).transpose()?,
            last_used_at: row.last_used_at.map(time).transpose()?,
            revoked_at: row.revoked_at.map(time).transpose()?,
            api_key_id: row.api_key_id,
            organization_id: row.organization_id,
            name: row.name,
            start: row.start,
            created_by: row.created_by,
            rotated_to: row.rotated_to,
        })
    }
}

impl row::Model {
    fn scopes(&self) -> Result<Scopes, StoreError> {
        Scopes::parse(&self.scopes)
            .map_err(|_| StoreError::Damaged { table: "api_keys", what: "unknown scopes" })
    }

    fn limits(&self) -> Result<KeyLimits, KeyError> {
        let damaged = StoreError::Damaged { table: "api_keys", what: "unknown limits" };
        KeyLimits::new(&split(&self.models), &split(&self.networks)).map_err(|_| damaged.into())
    }

    fn grant(&self) -> Result<Grant, KeyError> {
        Grant::new(split(&self.write_sources), split(&self.write_types))
            .map_err(|_| StoreError::Damaged { table: "api_keys", what: "an unknown grant" }.into())
    }
}

fn split(text: &Option<String>) -> Vec<String> {
    text.iter().flat_map(|text| text.split(',')).map(str::to_owned).collect()
}

fn joined(entries: &[String]) -> Option<String> {
    (!entries.is_empty()).then(|| entries.join(","))
}

/// A grant as it was asked for.
pub fn grant(sources: Vec<String>, types: Vec<String>) -> Result<Grant, KeyError> {
    Grant::new(sources, types)
        .map_err(|reason| KeyError::Invalid { field: "sources or types", reason })
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod verification_tests;
