//! Verifies secrets, and remembers for a moment those that were right.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use rest::principal::{Principal, PrincipalKind, Tenancy};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use state::store::{Store, StoreContext, time_of};

use super::{KeyError, KeySecret, row};

/// A revoked key is refused after at most this long in other processes; in the one that revoked it, at once.
const REMEMBERED: TimeDelta = TimeDelta::seconds(5);
const REMEMBERED_MAX: usize = 10_000;
/// `last_used_at` is this coarse: a write per request would cost more than the request.
const LAST_USE_GRAIN: TimeDelta = TimeDelta::minutes(1);

/// The keys that were found right within the last five seconds, at most 10,000.
#[derive(Debug)]
pub struct KeyRing {
    store: Store,
    remembered: Mutex<HashMap<[u8; 32], CachedPrincipal>>,
}

#[derive(Clone, Debug)]
struct CachedPrincipal {
    principal: Principal,
    verified_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
}

impl KeyRing {
    /// A ring that remembers no key yet, over the keys of `store`.
    pub fn new(store: Store) -> Self {
        Self { store, remembered: Mutex::default() }
    }

    /// The principal of a secret, or [`KeyError::WrongKey`] when it is malformed, unknown, expired or revoked.
    pub async fn verify(&self, secret: &str, now: DateTime<Utc>) -> Result<Principal, KeyError> {
        let hash = KeySecret::parse(secret).ok_or(KeyError::WrongKey)?.hash();
        if let Some(found) = self.lock().get(&hash).filter(|found| found.is_fresh(now)) {
            return Ok(found.principal.clone());
        }
        let row = row::Entity::find()
            .filter(row::Column::Hash.eq(hash.to_vec()))
            .one(self.store.db())
            .await
            .doing("looking up an API key")?
            .ok_or(KeyError::WrongKey)?;
        let expires_at = row.expires_at.map(|at| time_of("api_keys", at)).transpose()?;
        if row.revoked_at.is_some() || expires_at.is_some_and(|at| at <= now) {
            return Err(KeyError::WrongKey);
        }
        self.note_use(&row, now).await;
        let principal = Principal {
            kind: PrincipalKind::Key(row.scopes()?),
            grant: row.grant()?,
            reach: Tenancy::from(row.organization_id),
            id: row.api_key_id,
            name: row.name,
        };
        self.remember(
            hash,
            CachedPrincipal { principal: principal.clone(), verified_at: now, expires_at },
        );
        Ok(principal)
    }

    /// Makes the next use of every key ask the database.
    pub fn forget(&self) {
        self.lock().clear();
    }

    fn remember(&self, hash: [u8; 32], found: CachedPrincipal) {
        let mut remembered = self.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, old| old.is_fresh(found.verified_at));
        }
        if remembered.len() < REMEMBERED_MAX {
            remembered.insert(hash, found);
        }
    }

    /// Not worth failing a request for.
    async fn note_use(&self, row: &row::Model, now: DateTime<Utc>) {
        let now = now.timestamp_micros();
        let grain = LAST_USE_GRAIN.num_microseconds().unwrap_or(i64::MAX);
        if row.last_used_at.is_some_and(|last| now.saturating_sub(last) < grain) {
            return;
        }
        let noted = async {
            let write = self.store.write().await?;
            row::Entity::update_many()
                .col_expr(row::Column::LastUsedAt, Expr::value(now))
                .filter(row::Column::ApiKeyId.eq(&row.api_key_id))
                .exec(write.db())
                .await
                .doing("noting the use of an API key")?;
            write.commit().await
        };
        if let Err(error) = noted.await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                api_key_id = row.api_key_id,
                "could not note the use of an API key"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], CachedPrincipal>> {
        // Every change of the map is complete in itself: a panic elsewhere does not spoil it.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedPrincipal {
    fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        let age = now - self.verified_at;
        TimeDelta::zero() <= age && age < REMEMBERED && self.expires_at.is_none_or(|at| now < at)
    }
}
