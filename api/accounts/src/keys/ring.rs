//! All keys in memory, as they are in the database up to half a second ago.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use rest::principal::Principal;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use state::{
    revision,
    store::{Store, StoreContext, StoreError},
};
use tokio::sync::Mutex;

use super::{ApiKey, KeyError, KeySecret, Verdict, row, verification::KnownKey};
use crate::{
    organizations::{self, Standing},
    users,
};

/// How old what is remembered may be. A change of this process is seen at once; one of another, after this and the time
/// that reading takes.
const FRESH: TimeDelta = TimeDelta::milliseconds(500);
/// `last_used_at` is this coarse: a write per request would cost more than the request.
const LAST_USE_GRAIN: TimeDelta = TimeDelta::minutes(1);
const WRITTEN_AFTER: Duration = Duration::from_secs(1);

/// The keys of the database, remembered. Who asks when they are old looks at the revision of access, and reads them
/// anew when it grew.
#[derive(Debug)]
pub struct KeyRing {
    store: Store,
    remembered: RwLock<Remembered>,
    /// One reads, and all others wait for it.
    reading: Mutex<()>,
    /// Grows with each change of this process.
    changes: AtomicU64,
    uses: Arc<Uses>,
}

/// When keys were used, as far as it is not written yet.
#[derive(Debug, Default)]
struct Uses {
    last: std::sync::Mutex<HashMap<String, DateTime<Utc>>>,
    unwritten: std::sync::Mutex<HashMap<String, DateTime<Utc>>>,
    /// Somebody is about to write them.
    is_awaited: AtomicBool,
}

/// Keys by the hashes of their secrets, and organizations by their ids.
#[derive(Debug, Default)]
struct Known {
    keys: HashMap<[u8; 32], Arc<KnownKey>>,
    by_id: HashMap<String, Arc<KnownKey>>,
    organizations: HashMap<String, Arc<Standing>>,
}

#[derive(Debug, Clone, Default)]
struct Remembered {
    known: Arc<Known>,
    revision: i64,
    /// None where somebody changed something.
    checked_at: Option<DateTime<Utc>>,
}

impl KeyRing {
    /// A ring that remembers no key yet, over the keys of `store`.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            remembered: RwLock::default(),
            reading: Mutex::default(),
            changes: AtomicU64::default(),
            uses: Arc::default(),
        }
    }

    /// The principal of a secret that is used from an address. [`KeyError::WrongKey`] when it is malformed, unknown, expired
    /// or revoked; [`KeyError::Disabled`] when its organization is, or the address is not one of its networks.
    pub async fn verify(
        &self,
        secret: &str,
        from: Option<IpAddr>,
        now: DateTime<Utc>,
    ) -> Result<Principal, KeyError> {
        let known = self.find(secret, now).await?.ok_or(KeyError::WrongKey)?;
        match known.standing(now) {
            Verdict::Valid if known.key.limits.allows_address(from) => {}
            Verdict::Valid => return Err(KeyError::Disabled),
            Verdict::Disabled if known.key.revoked_at.is_none() => return Err(KeyError::Disabled),
            _ => return Err(KeyError::WrongKey),
        }
        self.note_use(&known.key, now);
        Ok(known.key.clone().principal())
    }

    /// The key of a secret, whether it works or not; none for what is no secret of ours.
    pub(crate) async fn find(
        &self,
        secret: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<KnownKey>>, KeyError> {
        let Some(secret) = KeySecret::parse(secret) else { return Ok(None) };
        let hash = secret.hash();
        if let Some(known) = self.known(now).await?.keys.get(&hash) {
            return Ok(Some(Arc::clone(known)));
        }
        // It may be younger than what is remembered.
        let row = row::Entity::find()
            .filter(row::Column::Hash.eq(hash.to_vec()))
            .one(self.store.db())
            .await
            .doing("looking up an API key")?;
        if row.is_none() {
            return Ok(None);
        }
        self.forget();
        Ok(self.known(now).await?.keys.get(&hash).map(Arc::clone))
    }

    /// Whether the key with an id works.
    pub(crate) async fn works(
        &self,
        api_key_id: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        let known = self.known(now).await?;
        let key = known.by_id.get(api_key_id);
        Ok(key.is_some_and(|key| key.standing(now) == Verdict::Valid))
    }

    /// The key of an organization with an id, whether it works or not.
    pub(crate) async fn find_own(
        &self,
        api_key_id: &str,
        organization_id: &str,
        now: DateTime<Utc>,
    ) -> Result<Arc<KnownKey>, KeyError> {
        let known = self.known(now).await?.by_id.get(api_key_id).map(Arc::clone);
        let own =
            known.filter(|known| known.key.organization_id.as_deref() == Some(organization_id));
        own.ok_or_else(|| KeyError::UnknownKey { api_key_id: api_key_id.to_owned() })
    }

    /// What an organization may do.
    pub(crate) async fn organization(
        &self,
        organization_id: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<Standing>>, KeyError> {
        Ok(self.known(now).await?.organizations.get(organization_id).map(Arc::clone))
    }

    /// Makes the next use of a key look for changes.
    pub fn forget(&self) {
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        self.changes.fetch_add(1, Ordering::AcqRel);
        remembered.checked_at = None;
    }

    fn remembered(&self) -> Remembered {
        self.remembered.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn known(&self, now: DateTime<Utc>) -> Result<Arc<Known>, KeyError> {
        let found = self.remembered();
        if found.is_fresh(now) {
            return Ok(found.known);
        }
        let _reading = self.reading.lock().await;
        let mut found = self.remembered();
        if found.is_fresh(now) {
            return Ok(found.known);
        }
        // The revision first: what changes while the keys are read is read once more.
        let changes = self.changes.load(Ordering::Acquire);
        let revision = revision::read(&self.store).await?;
        if revision != found.revision || found.known.keys.is_empty() {
            let known = Arc::new(self.read(now).await?);
            found = Remembered { known, revision, checked_at: None };
        }
        let known = Arc::clone(&found.known);
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        // What this process changed meanwhile is looked for by the next who asks.
        let is_whole = self.changes.load(Ordering::Acquire) == changes;
        *remembered = Remembered { checked_at: is_whole.then_some(now), ..found };
        Ok(known)
    }

    async fn read(&self, now: DateTime<Utc>) -> Result<Known, KeyError> {
        let organizations = organizations::standings(&self.store, now).await?;
        let barred = users::barred(self.store.db()).await?;
        let rows = row::Entity::find().all(self.store.db()).await.doing("reading all API keys")?;
        let known = |row: row::Model| {
            let damaged = |what| KeyError::from(StoreError::Damaged { table: "api_keys", what });
            let hash =
                row.hash.as_slice().try_into().map_err(|_| damaged("a hash is not whole"))?;
            let key = ApiKey::try_from(row)?;
            let organization = match &key.organization_id {
                Some(id) => {
                    let found = organizations.get(id).cloned();
                    Some(found.ok_or_else(|| damaged("a key of no organization"))?)
                }
                None => None,
            };
            let is_barred = barred.contains(&key.created_by);
            Ok::<_, KeyError>((hash, Arc::new(KnownKey { key, organization, is_barred })))
        };
        let (mut keys, mut by_id) = (HashMap::with_capacity(rows.len()), HashMap::new());
        for row in rows {
            let id = row.api_key_id.clone();
            match known(row) {
                Ok((hash, known)) => {
                    by_id.insert(id, Arc::clone(&known));
                    keys.insert(hash, known);
                }
                // One damaged row is no reason to refuse everybody: that key is unknown.
                Err(error) => {
                    tracing::error!(%error, api_key_id = id, "an API key is not readable")
                }
            }
        }
        Ok(Known { keys, by_id, organizations })
    }

    /// Notes the use of a key, in the background: not worth failing a request for. The uses of a second are written
    /// together.
    pub(crate) fn note_use(&self, key: &ApiKey, now: DateTime<Utc>) {
        let mut last = self.uses.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.get(&key.api_key_id).copied().max(key.last_used_at);
        if known.is_some_and(|known| now - known < LAST_USE_GRAIN) {
            return;
        }
        last.insert(key.api_key_id.clone(), now);
        drop(last);
        let (store, uses) = (self.store.clone(), Arc::clone(&self.uses));
        uses.add(key.api_key_id.clone(), now);
        if uses.is_awaited.swap(true, Ordering::AcqRel) {
            return;
        }
        tokio::spawn(async move {
            tokio::time::sleep(WRITTEN_AFTER).await;
            // Before they are taken: who comes after it waits for the next time.
            uses.is_awaited.store(false, Ordering::Release);
            let taken = uses.take();
            if let Err(error) = write_uses(&store, &taken).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, keys = taken.len(), "could not note the use of API keys");
            }
        });
    }
}

impl Uses {
    fn add(&self, api_key_id: String, at: DateTime<Utc>) {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).insert(api_key_id, at);
    }

    fn take(&self) -> HashMap<String, DateTime<Utc>> {
        std::mem::take(&mut *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn write_uses(
    store: &Store,
    uses: &HashMap<String, DateTime<Utc>>,
) -> Result<(), StoreError> {
    let write = store.write().await?;
    for (api_key_id, at) in uses {
        row::Entity::update_many()
            .col_expr(row::Column::LastUsedAt, Expr::value(at.timestamp_micros()))
            .filter(row::Column::ApiKeyId.eq(api_key_id))
            .exec(write.db())
            .await
            .doing("noting the use of an API key")?;
    }
    write.commit().await
}

impl Remembered {
    fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        self.checked_at.is_some_and(|at| (TimeDelta::zero()..FRESH).contains(&(now - at)))
    }
}
