//! Sessions: what a browser holds after sign-in. Only the SHA-256 of a token is kept.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, digest, random_bytes},
    store::{Store, StoreContext, Write},
};

use super::{AccountError, Accounts, User, session_row as row, user_row};

/// From sign-in, however much it is used.
pub(super) const LIFETIME: TimeDelta = TimeDelta::hours(12);
/// 32 random bytes in base 62.
const TOKEN_LENGTH: usize = 43;

/// The token of a session, safe in a URL and a cookie.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

impl SessionToken {
    /// The whole token: for the cookie and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// The user of a session that is not over. Disabled users, and the members of a disabled organization, have none.
pub async fn session_user(
    store: &Store,
    token: &str,
    now: DateTime<Utc>,
) -> Result<Option<User>, AccountError> {
    if token.len() != TOKEN_LENGTH {
        return Ok(None);
    }
    let session = row::Entity::find_by_id(digest(token).to_vec())
        .filter(row::Column::ExpiresAt.gt(now.timestamp_micros()))
        .one(store.db())
        .await
        .doing("looking up a session")?;
    let Some(session) = session else { return Ok(None) };
    let user = user_row::Entity::find_by_id(session.user_id)
        .one(store.db())
        .await
        .doing("looking up a session's user")?;
    let user = user.map(User::try_from).transpose()?;
    match user {
        Some(user) if user.may_sign_in(store.db()).await? => Ok(Some(user)),
        _ => Ok(None),
    }
}

impl Accounts {
    /// Ends a session. Unknown tokens are over already.
    pub async fn sign_out(
        &self,
        token: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let Some(user) = session_user(&self.store, token, now).await? else { return Ok(()) };
        let write = self.store.write().await?;
        row::Entity::delete_by_id(digest(token).to_vec())
            .exec(write.db())
            .await
            .doing("ending a session")?;
        let origin = AuditOrigin { actor: user.user_id.clone(), ..origin.clone() };
        let act =
            AuditAction { action: "user.signed_out", target: user.user_id, detail: json!({}) };
        audit::append(&write, &origin, act, now).await?;
        Ok(write.commit().await?)
    }
}

/// Begins a session, and forgets those that are over.
pub(super) async fn begin(
    write: &Write,
    user_id: &str,
    now: DateTime<Utc>,
) -> Result<SessionToken, AccountError> {
    row::Entity::delete_many()
        .filter(row::Column::ExpiresAt.lte(now.timestamp_micros()))
        .exec(write.db())
        .await
        .doing("forgetting old sessions")?;
    let token = base62(&random_bytes::<32>()?, TOKEN_LENGTH);
    let session = row::ActiveModel {
        token_hash: ActiveValue::Set(digest(&token).to_vec()),
        user_id: ActiveValue::Set(user_id.to_owned()),
        created_at: ActiveValue::Set(now.timestamp_micros()),
        expires_at: ActiveValue::Set((now + LIFETIME).timestamp_micros()),
    };
    row::Entity::insert(session)
        .exec_without_returning(write.db())
        .await
        .doing("beginning a session")?;
    Ok(SessionToken(token))
}

/// Ends the sessions of all users. The state is of an earlier time: some of them may have been ended since.
pub async fn end_all_sessions(
    store: &Store,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), AccountError> {
    let write = store.write().await?;
    let epoch = i64::from_le_bytes(random_bytes()?);
    user_row::Entity::update_many()
        .col_expr(user_row::Column::Epoch, Expr::value(epoch))
        .exec(write.db())
        .await
        .doing("forgetting the users' devices")?;
    let ended = row::Entity::delete_many().exec(write.db()).await.doing("ending all sessions")?;
    let detail = json!({"sessions": ended.rows_affected});
    let act = AuditAction { action: "state.restored", target: "all".to_owned(), detail };
    audit::append(&write, origin, act, now).await?;
    Ok(write.commit().await?)
}

/// Ends all sessions of a user, and gives how many there were. Where the user has signed in before is forgotten, too.
pub(super) async fn end_all(write: &Write, user_id: &str) -> Result<u64, AccountError> {
    let epoch = i64::from_le_bytes(random_bytes()?);
    let begun = user_row::Entity::update_many()
        .col_expr(user_row::Column::Epoch, Expr::value(epoch))
        .filter(user_row::Column::UserId.eq(user_id))
        .exec(write.db())
        .await;
    begun.doing("forgetting a user's devices")?;
    let ended = row::Entity::delete_many()
        .filter(row::Column::UserId.eq(user_id))
        .exec(write.db())
        .await
        .doing("ending a user's sessions")?;
    Ok(ended.rows_affected)
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}
