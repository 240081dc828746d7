//! API keys: how programs say who they are. A secret is shown once; only its SHA-256 is kept.

mod changes;
mod error;
mod limits;
mod m0003_key_grants;
mod m0017_key_limits;
mod m0021_key_budgets;
mod ring;
mod rotation;
mod routes;
mod row;
mod secret;
mod stored;
mod trial;
mod verification;
mod verify_route;

use std::{collections::HashSet, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use delivery::webhooks::{self, EventType};
use ingest::{Grant, control};
use rest::{
    feature::Feature,
    principal::{Principal, PrincipalKind, Scope, Scopes, Tenancy},
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, sea_query::Expr};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    migration::Migration,
    outbox::{self, MirroredTable},
    revision,
    store::{Store, StoreContext, StoreError, Write, rfc3339},
};

pub use changes::{set_grant, set_limits, set_purpose};
pub use error::KeyError;
pub use limits::{KeyLimits, KeyPurpose};
pub use ring::KeyRing;
pub use rotation::{OVERLAP_MAX, rotate};
pub(crate) use routes::require_own_scopes;
pub use routes::{GrantBody, KeyList, KeyView, NewKeyBody, NewKeyView};
pub use secret::KeySecret;
pub(crate) use verification::KnownKey;
pub use verification::{Verdict, Verification};

use crate::{
    Directory,
    organizations::{self, OrganizationStatus},
    users,
};

/// API keys, as administrators handle them.
pub(crate) const FEATURE: Feature<Directory> =
    Feature::new("keys").with_routes(routes::routes).with_migrations(&[
        Migration { name: "m0003_key_grants", up: |m| Box::pin(m0003_key_grants::up(m)) },
        Migration { name: "m0017_key_limits", up: |m| Box::pin(m0017_key_limits::up(m)) },
        Migration { name: "m0021_key_budgets", up: |m| Box::pin(m0021_key_budgets::up(m)) },
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
    /// The models and networks that it is for, and what it may use.
    pub limits: KeyLimits,
    /// Its project, and notes.
    pub purpose: KeyPurpose,
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
    /// When it ends by itself: at its own end, or when it is as old as its organization lets keys become.
    pub(crate) fn ends_at(&self, max_age: Option<TimeDelta>) -> Option<DateTime<Utc>> {
        let of_policy = max_age.map(|max| self.created_at + max);
        [self.expires_at, of_policy].into_iter().flatten().min()
    }

    /// The principal of the key's requests.
    pub(crate) fn principal(self) -> Principal {
        Principal {
            kind: PrincipalKind::Key(self.scopes),
            grant: self.grant,
            reach: Tenancy::from(self.organization_id),
            id: self.api_key_id,
            name: self.name,
            session_id: None,
            restriction: None,
            needs_confirmation: false,
            language: None,
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
    /// The models and networks that it is for, and what it may use.
    pub limits: KeyLimits,
    /// Its project, and notes.
    pub purpose: KeyPurpose,
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
        purpose: new.purpose,
        created_by: origin.actor.clone(),
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
        revoked_at: None,
        rotated_to: None,
    };
    let write = store.write().await?;
    if let Some(id) = &key.organization_id
        && let Some(max) = organizations::key_max_age_of(write.db(), id).await?
        && key.expires_at.is_some_and(|at| at > now + max)
    {
        let reason = "is later than the policy of the organization allows";
        return Err(KeyError::Invalid { field: "expires_at", reason });
    }
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
        "budget": key.limits.budget(),
        "project_id": key.purpose.project_id(),
        "expires_at": key.expires_at.map(rfc3339),
    });
    let act = AuditAction { action: "key.created", target: key.api_key_id.clone(), detail };
    audit::append(write, origin, act, now).await?;
    tell(write, key, EventType::KeyCreated, now).await?;
    Ok(revision::bump(write).await?)
}

/// Tells the webhooks of the organization what happened to its key.
async fn tell(
    write: &Write,
    key: &ApiKey,
    event: EventType,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let Some(organization_id) = &key.organization_id else { return Ok(()) };
    let data = json!({
        "api_key_id": key.api_key_id, "name": key.name, "start": key.start,
        "expires_at": key.expires_at.map(rfc3339), "rotated_to": key.rotated_to,
    });
    webhooks::publish(write, organization_id, event, &data, now).await
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
    tell(&write, &key, EventType::KeyRevoked, now).await?;
    let act = AuditAction { action: "key.revoked", target: key.api_key_id, detail: json!({}) };
    audit::append(&write, origin, act, now).await?;
    revision::bump(&write).await?;
    Ok(write.commit().await?)
}

/// The key with an id, whether it works or not.
pub(crate) async fn find(store: &Store, api_key_id: &str) -> Result<Option<ApiKey>, KeyError> {
    let row = row::Entity::find_by_id(api_key_id).one(store.db()).await;
    row.doing("reading an API key")?.map(ApiKey::try_from).transpose()
}

/// The key with an id, if it works.
pub(crate) async fn find_working(
    store: &Store,
    api_key_id: &str,
    now: DateTime<Utc>,
) -> Result<Option<ApiKey>, KeyError> {
    let Some(key) = find(store, api_key_id).await? else { return Ok(None) };
    let (is_active, max_age) = match &key.organization_id {
        Some(id) => {
            let status = organizations::status_of(store.db(), id).await?;
            let max_age = organizations::key_max_age_of(store.db(), id).await?;
            (status == Some(OrganizationStatus::Active), max_age)
        }
        None => (true, None),
    };
    let works = key.revoked_at.is_none() && key.ends_at(max_age).is_none_or(|at| now < at);
    let is_barred = users::barred(store.db()).await?.contains(&key.created_by);
    Ok((works && is_active && !is_barred).then_some(key))
}

/// Those of the keys that do not work any more: they were revoked or have expired, or their organization or the user who
/// made them is suspended or disabled.
pub(crate) async fn departed_of(
    store: &Store,
    api_key_ids: &HashSet<String>,
    now: DateTime<Utc>,
) -> Result<HashSet<String>, StoreError> {
    let organizations = organizations::standings(store, now).await?;
    let barred = users::barred(store.db()).await?;
    let rows = row::Entity::find()
        .filter(row::Column::ApiKeyId.is_in(api_key_ids))
        .all(store.db())
        .await
        .doing("looking for API keys that do not work")?;
    let mut departed = HashSet::new();
    for row in rows {
        let id = row.api_key_id.clone();
        // A key that cannot be read does not work.
        let Ok(key) = ApiKey::try_from(row) else {
            departed.insert(id);
            continue;
        };
        let organization = match &key.organization_id {
            Some(owner) => match organizations.get(owner) {
                Some(standing) => Some(Arc::clone(standing)),
                None => {
                    departed.insert(id);
                    continue;
                }
            },
            None => None,
        };
        let is_barred = barred.contains(&key.created_by);
        if (KnownKey { key, organization, is_barred }).standing(now) != Verdict::Valid {
            departed.insert(id);
        }
    }
    Ok(departed)
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

/// A grant as it was asked for.
pub fn grant(sources: Vec<String>, types: Vec<String>) -> Result<Grant, KeyError> {
    Grant::new(sources, types)
        .map_err(|reason| KeyError::Invalid { field: "sources or types", reason })
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod verification_tests;
