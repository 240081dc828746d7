//! Requests that are done once: what was answered to an idempotency key, for a day.
//!
//! A row is written before the request is done, and its answer after it. Neither the key nor the answer can be read from
//! the database: the id is a digest, and the answer is sealed with a key that is made from what the client sends.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, sea_query::Expr,
};
use serde::{Deserialize, Serialize};

use crate::{
    store::{Store, StoreContext, StoreError},
    vault::Vault,
};

/// A key is known so long.
pub const KEPT: TimeDelta = TimeDelta::hours(24);

/// Keys of one principal that are known at once.
pub const KEYS_MAX: u64 = 10_000;

/// Who asks, with which key.
#[derive(Clone)]
pub struct IdempotencyKey {
    id: String,
    owner: String,
    vault: Vault,
}

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// The status.
    pub status: u16,
    /// The headers that are given again: names and values.
    pub headers: Vec<(String, String)>,
    /// The body, in base 64.
    pub body: String,
}

/// What is known of a key when a request comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Nothing: the request is to be done.
    New,
    /// It was done, with this answer.
    Done(KeptAnswer),
    /// It was another request.
    Other,
    /// It is under way, or was cut off.
    UnderWay,
    /// The principal has as many keys as it may have.
    TooMany,
}

impl IdempotencyKey {
    /// The key of a principal. The secret is one of the data folder: whoever has only the database guesses no key.
    pub fn new(secret: &[u8; 32], principal: &str, key: &str) -> Self {
        let text = format!("{}:{principal}:{key}", principal.len());
        let id = blake3::keyed_hash(secret, format!("id:{text}").as_bytes()).to_hex().to_string();
        let answers = blake3::keyed_hash(secret, format!("answer:{text}").as_bytes());
        let owner = blake3::keyed_hash(secret, format!("owner:{principal}").as_bytes());
        Self { id, owner: owner.to_hex().to_string(), vault: Vault::new(*answers.as_bytes()) }
    }

    /// Which request it is: its method, its address and its body.
    pub fn fingerprint(asked: &str, body: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(asked.as_bytes()).update(b"\n").update(body);
        hasher.finalize().to_hex().to_string()
    }

    /// Notes that a request begins, unless something is known of its key. The fingerprint says which request it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin(
        &self,
        store: &Store,
        fingerprint: &str,
        now: DateTime<Utc>,
    ) -> Result<Begun, StoreError> {
        let write = store.write().await?;
        row::Entity::delete_many()
            .filter(row::Column::BegunAt.lt((now - KEPT).timestamp_micros()))
            .exec(write.db())
            .await
            .doing("forgetting idempotency keys")?;
        let known = row::Entity::find_by_id(self.id.as_str()).one(write.db()).await;
        if let Some(known) = known.doing("looking for an idempotency key")? {
            write.commit().await?;
            if known.fingerprint != fingerprint {
                return Ok(Begun::Other);
            }
            let Some(sealed) = known.answer else { return Ok(Begun::UnderWay) };
            let open = self.vault.open(&self.id, &sealed);
            let answer = open.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            return answer.map(Begun::Done).ok_or(StoreError::Damaged {
                table: "idempotency_keys",
                what: "an answer is not readable",
            });
        }
        let own = row::Entity::find().filter(row::Column::Owner.eq(self.owner.as_str()));
        if own.count(write.db()).await.doing("counting idempotency keys")? >= KEYS_MAX {
            write.commit().await?;
            return Ok(Begun::TooMany);
        }
        let row = row::ActiveModel {
            id: Set(self.id.clone()),
            owner: Set(self.owner.clone()),
            fingerprint: Set(fingerprint.to_owned()),
            answer: Set(None),
            begun_at: Set(now.timestamp_micros()),
        };
        let added = row::Entity::insert(row).exec_without_returning(write.db()).await;
        added.doing("adding an idempotency key")?;
        write.commit().await?;
        Ok(Begun::New)
    }

    /// Keeps the answer; without one the key is free again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end(&self, store: &Store, answer: Option<&KeptAnswer>) -> Result<(), StoreError> {
        let write = store.write().await?;
        match answer {
            Some(answer) => {
                let bytes = serde_json::to_vec(answer).map_err(|_| StoreError::Damaged {
                    table: "idempotency_keys",
                    what: "an answer does not encode",
                })?;
                let sealed = self.vault.seal(&self.id, &bytes)?;
                row::Entity::update_many()
                    .col_expr(row::Column::Answer, Expr::value(sealed))
                    .filter(row::Column::Id.eq(self.id.as_str()))
                    .exec(write.db())
                    .await
                    .doing("keeping an answer")?;
            }
            None => {
                let freed = row::Entity::delete_by_id(self.id.as_str()).exec(write.db()).await;
                freed.doing("freeing an idempotency key")?;
            }
        }
        write.commit().await
    }
}

impl std::fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdempotencyKey(…)")
    }
}

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "idempotency_keys")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub owner: String,
        pub fingerprint: String,
        pub answer: Option<String>,
        pub begun_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{migration::MIGRATIONS, scratch};

    #[tokio::test]
    async fn an_answer_is_given_again_to_the_same_request_of_the_same_principal_for_a_day() {
        let scratch = scratch::Scratch::new(MIGRATIONS).await;
        let (store, now) = (&scratch.store, scratch::noon());
        let key = IdempotencyKey::new(&[1; 32], "user_1", "k");
        assert_eq!(key.begin(store, "f", now).await.unwrap(), Begun::New);
        assert_eq!(key.begin(store, "f", now).await.unwrap(), Begun::UnderWay);
        assert_eq!(key.begin(store, "g", now).await.unwrap(), Begun::Other);
        let answer = KeptAnswer {
            status: 201,
            headers: vec![("location".into(), "/x".into())],
            body: "c2VjcmV0".into(),
        };
        key.end(store, Some(&answer)).await.unwrap();
        let late = now + KEPT;
        assert_eq!(key.begin(store, "f", late).await.unwrap(), Begun::Done(answer));
        let rows = row::Entity::find().all(store.db()).await.unwrap();
        assert!(!format!("{rows:?}").contains("c2VjcmV0"), "{rows:?}");
        let elsewhere = IdempotencyKey::new(&[2; 32], "user_1", "k");
        assert_eq!(elsewhere.begin(store, "f", now).await.unwrap(), Begun::New);
        assert_ne!(
            IdempotencyKey::fingerprint("a", b"\xff"),
            IdempotencyKey::fingerprint("a", b"\xfe")
        );
        let other = IdempotencyKey::new(&[1; 32], "user_2", "k");
        assert_eq!(other.begin(store, "f", now).await.unwrap(), Begun::New);
        other.end(store, None).await.unwrap();
        assert_eq!(other.begin(store, "g", now).await.unwrap(), Begun::New);
        let gone = late + TimeDelta::microseconds(1);
        assert_eq!(key.begin(store, "f", gone).await.unwrap(), Begun::New);
    }

    #[tokio::test]
    async fn a_principal_has_a_number_of_keys_and_takes_none_from_another() {
        let scratch = scratch::Scratch::new(MIGRATIONS).await;
        let (store, now) = (&scratch.store, scratch::noon());
        let key = |principal, word| IdempotencyKey::new(&[1; 32], principal, word);
        let write = store.write().await.unwrap();
        let owner = key("user_1", "k").owner;
        for chunk in (0..KEYS_MAX).collect::<Vec<_>>().chunks(1_000) {
            let rows = chunk.iter().map(|n| row::ActiveModel {
                id: Set(n.to_string()),
                owner: Set(owner.clone()),
                fingerprint: Set(String::new()),
                answer: Set(None),
                begun_at: Set(now.timestamp_micros()),
            });
            row::Entity::insert_many(rows).exec_without_returning(write.db()).await.unwrap();
        }
        write.commit().await.unwrap();
        assert_eq!(key("user_1", "k").begin(store, "f", now).await.unwrap(), Begun::TooMany);
        assert_eq!(key("user_2", "k").begin(store, "f", now).await.unwrap(), Begun::New);
        let later = now + KEPT + TimeDelta::microseconds(1);
        assert_eq!(key("user_1", "k").begin(store, "f", later).await.unwrap(), Begun::New);
    }
}
