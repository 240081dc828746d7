//! Refresh tokens: how a program keeps its session. Each is used once, and its successor follows from it. The one before the
//! present is answered like the first time for 20 seconds, since answers get lost; an older one ends the session.

use chrono::{DateTime, TimeDelta, Utc};
use ring::hmac;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, digest},
    revision::{self, Remembered},
    store::{StoreContext, Write},
};

use super::{
    AccountError, Accounts, SessionKind, SignedInSession, User, access, mail::AccountMail,
    recovery::language_of, session::Session, session_row as row, user::by_id,
};

const PREFIX: &str = "aihub_rt_";
const GRACE: TimeDelta = TimeDelta::seconds(20);
/// From one use to the next, and in all.
pub(super) const IDLE: TimeDelta = TimeDelta::days(7);
const ABSOLUTE: TimeDelta = TimeDelta::days(30);
const SECRET_LENGTH: usize = 43;
const MAC_LENGTH: usize = 43;

/// What a program holds.
#[derive(Clone)]
pub struct TokenPair {
    /// For `Authorization: Bearer`.
    pub access_token: String,
    /// How long it works.
    pub expires_in: TimeDelta,
    /// For the next pair.
    pub refresh_token: String,
    /// Until when that works.
    pub refresh_expires_at: DateTime<Utc>,
}

/// A refresh token of ours, taken apart.
struct Refresh<'a> {
    session_id: String,
    secret: &'a str,
}

impl Accounts {
    /// The tokens of a session that has just begun.
    pub async fn tokens_of(
        &self,
        session: &SignedInSession,
        now: DateTime<Utc>,
    ) -> Result<TokenPair, AccountError> {
        let refresh_token = self.refresh_text(&session.session_id, session.token.reveal());
        let access_token =
            self.access.issue(&session.user.user_id, &session.session_id, now).await?;
        let refresh_expires_at = session.expires_at;
        Ok(TokenPair {
            access_token,
            expires_in: access::LIFETIME,
            refresh_token,
            refresh_expires_at,
        })
    }

    /// The next pair of tokens.
    pub async fn refresh(
        &self,
        token: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<TokenPair, AccountError> {
        let Refresh { session_id, secret } =
            self.parse_refresh(token).ok_or(AccountError::WrongRefresh)?;
        let write = self.store.write().await?;
        let found = row::Entity::find()
            .filter(row::Column::SessionId.eq(session_id.as_str()))
            .filter(row::Column::Kind.eq(<&str>::from(SessionKind::Program)))
            .filter(row::Column::ExpiresAt.gt(now.timestamp_micros()))
            .one(write.db())
            .await
            .doing("looking up a session")?;
        let found = found.ok_or(AccountError::WrongRefresh)?;
        let model = by_id(write.db(), &found.user_id).await?;
        let user = User::try_from(model.clone())?;
        if !user.may_sign_in(write.db()).await? {
            return Err(AccountError::WrongRefresh);
        }
        let hash = digest(secret).to_vec();
        let next = self.successor(&session_id, secret);
        let rotated_at = found.rotated_at.and_then(DateTime::from_timestamp_micros);
        let is_late = rotated_at.is_some_and(|at| now - at < GRACE);
        let expires_at = if hash == found.token_hash {
            rotate(&write, &found, &next, now).await?
        } else if found.previous_hash.as_ref() == Some(&hash) && is_late {
            Session::try_from(found)?.expires_at
        } else {
            // It was ours, and is not the last: somebody else has it, too.
            end(&write, &session_id, &user.user_id, origin, now).await?;
            let mail = AccountMail::of("reused", "/forgot");
            self.outgoing.send(&write, &model.email, language_of(&model), mail, now).await?;
            write.commit().await?;
            return Err(AccountError::WrongRefresh);
        };
        write.commit().await?;
        Ok(TokenPair {
            access_token: self.access.issue(&user.user_id, &session_id, now).await?,
            expires_in: access::LIFETIME,
            refresh_token: self.refresh_text(&session_id, &next),
            refresh_expires_at: expires_at,
        })
    }

    /// Ends the session of a refresh token. What is no token of ours has none.
    pub async fn revoke_refresh(
        &self,
        token: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let Some(Refresh { session_id, .. }) = self.parse_refresh(token) else { return Ok(()) };
        let write = self.store.write().await?;
        let found = row::Entity::find()
            .filter(row::Column::SessionId.eq(session_id.as_str()))
            .one(write.db())
            .await
            .doing("looking up a session")?;
        let Some(found) = found else { return Ok(()) };
        super::session::end_one(&write, &found.user_id, &session_id).await?;
        let user = by_id(write.db(), &found.user_id).await?;
        let origin = origin.by(&user.user_id, user.organization_id.as_deref());
        let detail = json!({"session_id": session_id});
        let act = AuditAction { action: "user.session_ended", target: found.user_id, detail };
        audit::append(&write, &origin, act, now).await?;
        Ok(write.commit().await?)
    }

    fn mac(&self, purpose: &str, session_id: &str, secret: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.vault.derived(purpose));
        let mac = hmac::sign(&key, format!("{session_id}\n{secret}").as_bytes());
        base62(mac.as_ref(), MAC_LENGTH)
    }

    /// The secret that follows another one. Only the server can tell.
    fn successor(&self, session_id: &str, secret: &str) -> String {
        self.mac("refresh successor", session_id, secret)
    }

    fn refresh_text(&self, session_id: &str, secret: &str) -> String {
        let mac = self.mac("refresh token", session_id, secret);
        format!("{PREFIX}{}.{secret}.{mac}", session_id.trim_start_matches("session_"))
    }

    /// Whoever knows the id of a session cannot end it: a token that we never made is no token.
    fn parse_refresh<'a>(&self, token: &'a str) -> Option<Refresh<'a>> {
        let mut parts = token.strip_prefix(PREFIX)?.split('.');
        let (id, secret, mac) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || id.len() != 22 || secret.len() != SECRET_LENGTH {
            return None;
        }
        let session_id = format!("session_{id}");
        // Digests are compared: how long that takes says nothing about the token.
        let is_ours = digest(&self.mac("refresh token", &session_id, secret)) == digest(mac);
        is_ours.then_some(Refresh { session_id, secret })
    }
}

async fn rotate(
    write: &Write,
    found: &row::Model,
    next: &str,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, AccountError> {
    let session = Session::try_from(found.clone())?;
    let expires_at = (now + IDLE).min(session.created_at + ABSOLUTE);
    row::Entity::update_many()
        .col_expr(row::Column::TokenHash, Expr::value(digest(next).to_vec()))
        .col_expr(row::Column::PreviousHash, Expr::value(found.token_hash.clone()))
        .col_expr(row::Column::RotatedAt, Expr::value(now.timestamp_micros()))
        .col_expr(row::Column::LastUsedAt, Expr::value(now.timestamp_micros()))
        .col_expr(row::Column::ExpiresAt, Expr::value(expires_at.timestamp_micros()))
        .filter(row::Column::SessionId.eq(found.session_id.as_str()))
        .exec(write.db())
        .await
        .doing("rotating a refresh token")?;
    revision::bump_of(write, Remembered::Sessions).await?;
    Ok(expires_at)
}

async fn end(
    write: &Write,
    session_id: &str,
    user_id: &str,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), AccountError> {
    super::session::end_one(write, user_id, session_id).await?;
    let detail = json!({"session_id": session_id});
    let act =
        AuditAction { action: "user.refresh_token_reused", target: user_id.to_owned(), detail };
    audit::append(write, origin, act, now).await.map(drop)?;
    Ok(())
}
