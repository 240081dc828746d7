//! Sessions: what a browser or a program holds after sign-in. Only the SHA-256 of a token is kept.

use std::{fmt, net::IpAddr};

use chrono::{DateTime, TimeDelta, Utc};
use ingest::control;
use rest::principal::Ability;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, sea_query::Expr};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, digest, random_bytes},
    revision::{self, Remembered},
    store::{Store, StoreContext, StoreError, Write, time_of},
};
use strum::{EnumString, IntoStaticStr};

use super::{AccountError, Accounts, User, session_row as row, tokens, user::by_id, user_row};
use crate::keys::{self, KeyError};

/// From sign-in, however much it is used.
pub(super) const LIFETIME: TimeDelta = TimeDelta::hours(12);
/// An administrator looks for so long.
pub(crate) const VIEW_LIFETIME: TimeDelta = TimeDelta::minutes(30);
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

/// What holds a session. In texts it is `browser`, `program` or `view`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum SessionKind {
    /// A cookie.
    #[default]
    Browser,
    /// Refresh tokens, and access tokens made from them.
    Program,
    /// The cookie of an administrator who looks at what the user sees.
    View,
}

/// A session as its user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `session_…`
    pub session_id: String,
    /// Whose it is.
    pub user_id: String,
    /// What holds it.
    pub kind: SessionKind,
    /// What the browser or program calls itself.
    pub device: Option<String>,
    /// Where it began.
    pub ip: Option<String>,
    /// When it began, in UTC.
    pub created_at: DateTime<Utc>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// To the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When the user last gave the password or the second factor.
    pub confirmed_at: DateTime<Utc>,
    /// Of a view: the administrator who looks.
    pub viewed_by: Option<String>,
}

/// A session that is to begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewSession<'a> {
    pub(super) user_id: &'a str,
    pub(super) kind: SessionKind,
    /// The header `User-Agent`.
    pub(super) agent: Option<&'a str>,
    pub(super) ip: Option<IpAddr>,
    pub(super) lifetime: TimeDelta,
    /// Of a view: who looks.
    pub(super) viewed_by: Option<&'a str>,
}

/// A browser names itself at length; so much is kept.
const AGENT_CHARS_MAX: usize = 200;
/// `last_used_at` is this coarse.
const LAST_USE_GRAIN: TimeDelta = TimeDelta::minutes(1);

impl TryFrom<row::Model> for Session {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let table = "sessions";
        let time = |at| time_of(table, at);
        let unknown = StoreError::Damaged { table, what: "an unknown kind" };
        Ok(Self {
            kind: row.kind.parse().map_err(|_| unknown)?,
            created_at: time(row.created_at)?,
            expires_at: time(row.expires_at)?,
            last_used_at: row.last_used_at.map(time).transpose()?,
            confirmed_at: time(row.confirmed_at.unwrap_or(row.created_at))?,
            session_id: row.session_id,
            user_id: row.user_id,
            device: row.device,
            ip: row.ip,
            viewed_by: row.viewed_by,
        })
    }
}

/// The user of a browser's session that is not over. Disabled users, and those of a disabled organization, have none.
pub async fn session_user(
    store: &Store,
    token: &str,
    now: DateTime<Utc>,
) -> Result<Option<User>, AccountError> {
    Ok(find(store, token, now).await?.map(|(user, _)| user))
}

/// The same, with the session.
pub(crate) async fn find(
    store: &Store,
    token: &str,
    now: DateTime<Utc>,
) -> Result<Option<(User, Session)>, AccountError> {
    if token.len() != TOKEN_LENGTH {
        return Ok(None);
    }
    let session = row::Entity::find_by_id(digest(token).to_vec())
        .filter(row::Column::ExpiresAt.gt(now.timestamp_micros()))
        .filter(row::Column::Kind.ne(<&str>::from(SessionKind::Program)))
        .one(store.db())
        .await
        .doing("looking up a session")?;
    let Some(session) = session.map(Session::try_from).transpose()? else { return Ok(None) };
    if let Some(by) = &session.viewed_by
        && !may_view(store, by, now).await?
    {
        return Ok(None);
    }
    let user = user_of(store, &session).await?;
    // Not worth failing a request for.
    if user.is_some()
        && let Err(error) = note_use(store, &session, now).await
    {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the use of a session is not noted"
        );
    }
    Ok(user.map(|user| (user, session)))
}

/// Whether who began a view administers still: a user, a key, or a command on this machine.
async fn may_view(store: &Store, id: &str, now: DateTime<Utc>) -> Result<bool, AccountError> {
    let principal = match id {
        "local" => return Ok(true),
        key if key.starts_with("key_") => {
            let found = keys::find_working(store, key, now).await.map_err(|error| match error {
                KeyError::Store(error) => error,
                _ => StoreError::Damaged { table: "api_keys", what: "a key that is not valid" },
            });
            found?.map(|key| key.principal())
        }
        user => {
            let row = user_row::Entity::find_by_id(user).one(store.db()).await;
            let user = row.doing("reading who looks")?.map(User::try_from).transpose()?;
            match user {
                Some(user) => user.admitted(store.db()).await?.map(User::principal),
                None => None,
            }
        }
    };
    Ok(principal.is_some_and(|principal| principal.may(Ability::Administer)))
}

/// The user of a session, who may sign in.
pub(super) async fn user_of(
    store: &Store,
    session: &Session,
) -> Result<Option<User>, AccountError> {
    let user = user_row::Entity::find_by_id(&session.user_id)
        .one(store.db())
        .await
        .doing("looking up a session's user")?;
    let user = user.map(User::try_from).transpose()?;
    let Some(user) = user else { return Ok(None) };
    Ok(user.admitted(store.db()).await?)
}

/// Notes the use of a session, once a minute.
async fn note_use(store: &Store, session: &Session, now: DateTime<Utc>) -> Result<(), StoreError> {
    if session.last_used_at.is_some_and(|at| now - at < LAST_USE_GRAIN) {
        return Ok(());
    }
    let write = store.write().await?;
    row::Entity::update_many()
        .col_expr(row::Column::LastUsedAt, Expr::value(now.timestamp_micros()))
        .filter(row::Column::SessionId.eq(session.session_id.as_str()))
        .exec(write.db())
        .await
        .doing("noting the use of a session")?;
    write.commit().await
}

/// Whether a session is not over.
pub(crate) async fn session_is_open(
    store: &Store,
    session_id: &str,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let found = row::Entity::find()
        .filter(row::Column::SessionId.eq(session_id))
        .filter(row::Column::ExpiresAt.gt(now.timestamp_micros()))
        .one(store.db())
        .await;
    Ok(found.doing("looking up a session")?.is_some())
}

/// The sessions of a user that are not over, the newest first.
pub async fn sessions_of(
    store: &Store,
    user_id: &str,
    now: DateTime<Utc>,
) -> Result<Vec<Session>, AccountError> {
    let rows = row::Entity::find()
        .filter(row::Column::UserId.eq(user_id))
        .filter(row::Column::ExpiresAt.gt(now.timestamp_micros()))
        .order_by_desc(row::Column::CreatedAt)
        .all(store.db())
        .await
        .doing("listing sessions")?;
    Ok(rows.into_iter().map(Session::try_from).collect::<Result<_, _>>()?)
}

impl Accounts {
    /// Ends a session. Unknown tokens are over already.
    pub async fn sign_out(
        &self,
        token: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let Some((user, session)) = find(&self.store, token, now).await? else { return Ok(()) };
        let write = self.store.write().await?;
        row::Entity::delete_by_id(digest(token).to_vec())
            .exec(write.db())
            .await
            .doing("ending a session")?;
        revision::bump_of(&write, Remembered::Sessions).await?;
        // Who looked at what the user sees is not the user.
        let origin = match &session.viewed_by {
            Some(by) => origin.by(by, None),
            None => origin.by(&user.user_id, user.organization_id.as_deref()),
        };
        let act =
            AuditAction { action: "user.signed_out", target: user.user_id, detail: json!({}) };
        audit::append(&write, &origin, act, now).await?;
        Ok(write.commit().await?)
    }
}

impl Accounts {
    /// Begins a view of what a customer's user sees.
    pub async fn begin_view(
        &self,
        user_id: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<SessionToken, AccountError> {
        let write = self.store.write().await?;
        let user = User::try_from(by_id(write.db(), user_id).await?)?;
        if !user.role.is_of_organization() {
            let reason = "is of staff: only customers' users are looked at";
            return Err(AccountError::Invalid { field: "user_id", reason });
        }
        let agent = format!("AI Hub staff ({})", origin.actor);
        let new = NewSession {
            user_id,
            kind: SessionKind::View,
            agent: Some(&agent),
            ip: None,
            lifetime: VIEW_LIFETIME,
            viewed_by: Some(&origin.actor),
        };
        let (token, session_id) = begin(&write, new, now).await?;
        let detail = json!({"session_id": session_id});
        let act = AuditAction { action: "user.viewed", target: user_id.to_owned(), detail };
        audit::append(&write, origin, act, now).await?;
        write.commit().await?;
        Ok(token)
    }

    /// Ends one session of a user.
    pub async fn end_session(
        &self,
        user_id: &str,
        session_id: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let write = self.store.write().await?;
        if !end_one(&write, user_id, session_id).await? {
            return Err(AccountError::UnknownSession);
        }
        let detail = json!({"session_id": session_id});
        let act = AuditAction { action: "user.session_ended", target: user_id.to_owned(), detail };
        audit::append(&write, origin, act, now).await?;
        Ok(write.commit().await?)
    }
}

/// Begins a session, and forgets those that are over.
pub(super) async fn begin(
    write: &Write,
    new: NewSession<'_>,
    now: DateTime<Utc>,
) -> Result<(SessionToken, String), AccountError> {
    row::Entity::delete_many()
        .filter(row::Column::ExpiresAt.lte(now.timestamp_micros()))
        .exec(write.db())
        .await
        .doing("forgetting old sessions")?;
    let token = base62(&random_bytes::<32>()?, TOKEN_LENGTH);
    let session_id = format!("session_{}", base62(&random_bytes::<16>()?, 22));
    let agent = new.agent.map(|agent| agent.chars().take(AGENT_CHARS_MAX).collect::<String>());
    let session = row::ActiveModel {
        token_hash: ActiveValue::Set(digest(&token).to_vec()),
        user_id: ActiveValue::Set(new.user_id.to_owned()),
        created_at: ActiveValue::Set(now.timestamp_micros()),
        expires_at: ActiveValue::Set((now + new.lifetime).timestamp_micros()),
        session_id: ActiveValue::Set(session_id.clone()),
        kind: ActiveValue::Set(<&str>::from(new.kind).to_owned()),
        device: ActiveValue::Set(agent.filter(|agent| !control::in_name(agent))),
        ip: ActiveValue::Set(new.ip.map(|ip| ip.to_string())),
        last_used_at: ActiveValue::Set(Some(now.timestamp_micros())),
        confirmed_at: ActiveValue::Set(Some(now.timestamp_micros())),
        previous_hash: ActiveValue::Set(None),
        rotated_at: ActiveValue::Set(None),
        viewed_by: ActiveValue::Set(new.viewed_by.map(ToOwned::to_owned)),
    };
    row::Entity::insert(session)
        .exec_without_returning(write.db())
        .await
        .doing("beginning a session")?;
    Ok((SessionToken(token), session_id))
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
    // Of some, the user may have used them up since.
    tokens::forget_all(&write).await?;
    let ended = row::Entity::delete_many().exec(write.db()).await.doing("ending all sessions")?;
    revision::bump_of(&write, Remembered::Sessions).await?;
    let detail = json!({"sessions": ended.rows_affected});
    let act = AuditAction { action: "state.restored", target: "all".to_owned(), detail };
    audit::append(&write, origin, act, now).await?;
    Ok(write.commit().await?)
}

/// Ends one session of a user; `false` where there is none of this id.
pub(super) async fn end_one(
    write: &Write,
    user_id: &str,
    session_id: &str,
) -> Result<bool, AccountError> {
    let ended = row::Entity::delete_many()
        .filter(row::Column::UserId.eq(user_id))
        .filter(row::Column::SessionId.eq(session_id))
        .exec(write.db())
        .await
        .doing("ending a session")?;
    revision::bump_of(write, Remembered::Sessions).await?;
    Ok(ended.rows_affected > 0)
}

/// Ends the sessions of a user but one, and gives how many there were.
pub(super) async fn end_others(
    write: &Write,
    user_id: &str,
    kept: Option<&str>,
) -> Result<u64, AccountError> {
    let ended = row::Entity::delete_many()
        .filter(row::Column::UserId.eq(user_id))
        .filter(row::Column::SessionId.ne(kept.unwrap_or_default()))
        .exec(write.db())
        .await
        .doing("ending a user's other sessions")?;
    revision::bump_of(write, Remembered::Sessions).await?;
    Ok(ended.rows_affected)
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
    end_views_by(write, user_id).await?;
    revision::bump_of(write, Remembered::Sessions).await?;
    Ok(ended.rows_affected)
}

/// Ends what an administrator began to look at.
pub(super) async fn end_views_by(write: &Write, user_id: &str) -> Result<(), StoreError> {
    let ended =
        row::Entity::delete_many().filter(row::Column::ViewedBy.eq(user_id)).exec(write.db()).await;
    ended.map(drop).doing("ending the views of a user")
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}
