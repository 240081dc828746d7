//! Access tokens for programs: JWTs (RFC 9068) signed with Ed25519, for ten minutes. A token names its session, which is
//! looked up at each request: ended, its tokens end, too.

use std::sync::{Arc, PoisonError, RwLock};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use state::{
    ids::{base62, random_bytes},
    store::{Store, StoreContext, StoreError, time_of},
};

use super::{AccountError, Vault, key_row as row};

/// RFC 9068.
const TOKEN_TYPE: &str = "at+jwt";
const AUDIENCE: &str = "aihub";
/// How long an access token works.
pub(super) const LIFETIME: TimeDelta = TimeDelta::minutes(10);
/// A key signs for so long, and is known a day longer.
const KEY_SIGNS_FOR: TimeDelta = TimeDelta::days(30);
const KEY_KNOWN_FOR: TimeDelta = TimeDelta::days(31);
/// Clocks of servers differ.
const LEEWAY: TimeDelta = TimeDelta::seconds(5);
/// Nothing of ours is longer.
const BYTES_MAX: usize = 2_000;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    iss: String,
    aud: String,
    /// The user.
    sub: String,
    /// The session.
    pub(super) sid: String,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// A key that signs, or has signed.
#[derive(Clone)]
struct SigningKey {
    key_id: String,
    public: String,
    created_at: DateTime<Utc>,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// Signs access tokens, and reads them. Clones share the keys.
#[derive(Clone)]
pub(super) struct AccessTokens {
    store: Store,
    vault: Vault,
    issuer: String,
    known: Arc<RwLock<Arc<Vec<SigningKey>>>>,
}

impl AccessTokens {
    pub(super) fn new(store: Store, vault: Vault, issuer: String) -> Self {
        Self { store, vault, issuer, known: Arc::default() }
    }

    /// A token of a session.
    pub(super) async fn issue(
        &self,
        user_id: &str,
        session_id: &str,
        now: DateTime<Utc>,
    ) -> Result<String, AccountError> {
        let key = self.signing_key(now).await?;
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub: user_id.to_owned(),
            sid: session_id.to_owned(),
            jti: base62(&random_bytes::<16>()?, 22),
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp: (now + LIFETIME).timestamp(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some(key.key_id.clone());
        encode(&header, &claims, &key.encoding).map_err(|_| failed("a token is not signed"))
    }

    /// What a token of ours says that is not over; nothing for every other text.
    pub(super) async fn read(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Claims>, AccountError> {
        if token.len() > BYTES_MAX {
            return Ok(None);
        }
        let Ok(header) = decode_header(token) else { return Ok(None) };
        let is_ours = header.alg == Algorithm::EdDSA && header.typ.as_deref() == Some(TOKEN_TYPE);
        let Some(key_id) = header.kid.filter(|_| is_ours) else { return Ok(None) };
        let Some(key) = self.key(&key_id, now).await? else { return Ok(None) };
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_audience(&[AUDIENCE]);
        rules.set_issuer(&[&self.issuer]);
        rules.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        // By our clock, below.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        let Ok(found) = decode::<Claims>(token, &key.decoding, &rules) else { return Ok(None) };
        let (at, leeway) = (now.timestamp(), LEEWAY.num_seconds());
        let claims = found.claims;
        let is_now = claims.nbf <= at + leeway && claims.iat <= at + leeway && at < claims.exp;
        // Signed by us, it lives no longer than ours do.
        let is_short = claims.exp - claims.iat <= LIFETIME.num_seconds();
        Ok((is_now && is_short).then_some(claims))
    }

    /// The public keys, as RFC 7517 writes them.
    pub(super) async fn jwks(&self, now: DateTime<Utc>) -> Result<Value, AccountError> {
        self.signing_key(now).await?;
        let keys = self
            .held()
            .iter()
            .filter(|key| key.is_known(now))
            .map(SigningKey::jwk)
            .collect::<Vec<_>>();
        Ok(json!({"keys": keys}))
    }

    fn held(&self) -> Arc<Vec<SigningKey>> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key that signs now. Where none is young enough, one is made; another process that does the same waits, and finds
    /// it.
    async fn signing_key(&self, now: DateTime<Utc>) -> Result<SigningKey, AccountError> {
        let signs = |keys: &[SigningKey]| {
            keys.iter().find(|key| now - key.created_at < KEY_SIGNS_FOR).cloned()
        };
        if let Some(key) = signs(&self.held()) {
            return Ok(key);
        }
        if let Some(key) = signs(&self.reload(now).await?) {
            return Ok(key);
        }
        let write = self.store.write().await?;
        // Another process may have made one. One that does not open, of another secret, does not count.
        if signs(&self.reload(now).await?).is_none() {
            let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
                .map_err(|_| failed("a signing key is not made"))?;
            let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref())
                .map_err(|_| failed("a signing key is not made"))?;
            let key_id = base62(&random_bytes::<8>()?, 11);
            let new = row::ActiveModel {
                sealed: Set(self.vault.seal(&key_id, pkcs8.as_ref())?),
                key_id: Set(key_id),
                public: Set(URL_SAFE_NO_PAD.encode(pair.public_key().as_ref())),
                created_at: Set(now.timestamp_micros()),
            };
            let kept = row::Entity::insert(new).exec_without_returning(write.db()).await;
            kept.doing("keeping a signing key")?;
            let old = (now - KEY_KNOWN_FOR).timestamp_micros();
            row::Entity::delete_many()
                .filter(row::Column::CreatedAt.lt(old))
                .exec(write.db())
                .await
                .doing("forgetting old signing keys")?;
            write.commit().await?;
        } else {
            drop(write);
        }
        signs(&self.reload(now).await?).ok_or_else(|| failed("no key signs"))
    }

    /// The key of an id. One that is not known may be younger than what is remembered.
    async fn key(
        &self,
        key_id: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<SigningKey>, AccountError> {
        let find = |keys: &[SigningKey]| {
            keys.iter().find(|key| key.key_id == key_id && key.is_known(now)).cloned()
        };
        if let Some(key) = find(&self.held()) {
            return Ok(Some(key));
        }
        // Only an id that looks like one of ours costs a look.
        let is_id = key_id.len() == 11 && key_id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_id {
            return Ok(None);
        }
        Ok(find(&self.reload(now).await?))
    }

    async fn reload(&self, now: DateTime<Utc>) -> Result<Arc<Vec<SigningKey>>, AccountError> {
        let rows = row::Entity::find()
            .order_by_desc(row::Column::CreatedAt)
            .all(self.store.db())
            .await
            .doing("reading signing keys")?;
        let key = |row: row::Model| {
            let damaged =
                || StoreError::Damaged { table: "signing_keys", what: "a key does not open" };
            let pkcs8 = self.vault.open(&row.key_id, &row.sealed).ok_or_else(damaged)?;
            Ok::<_, StoreError>(SigningKey {
                encoding: EncodingKey::from_ed_der(&pkcs8),
                decoding: DecodingKey::from_ed_components(&row.public).map_err(|_| damaged())?,
                created_at: time_of("signing_keys", row.created_at)?,
                key_id: row.key_id,
                public: row.public,
            })
        };
        let keys = rows.into_iter().filter_map(|row| match key(row) {
            Ok(key) => Some(key),
            // Of another secret: its tokens are unknown.
            Err(error) => {
                tracing::error!(%error, "a signing key is not usable");
                None
            }
        });
        let keys: Vec<_> = keys.filter(|key| key.is_known(now)).collect();
        let keys = Arc::new(keys);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&keys);
        Ok(keys)
    }
}

impl SigningKey {
    fn is_known(&self, now: DateTime<Utc>) -> bool {
        now - self.created_at < KEY_KNOWN_FOR
    }

    fn jwk(&self) -> Value {
        json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.key_id, "x": self.public,
        })
    }
}

fn failed(reason: &str) -> AccountError {
    AccountError::Hash { reason: reason.to_owned() }
}

impl std::fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessTokens").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
