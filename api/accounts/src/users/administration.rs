//! What administrators do to users. Each act is in the audit log.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use rand::Rng;
use rest::principal::Role;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    sea_query::Expr,
};
use serde_json::{Value, json};
use state::{
    audit::{self, AuditAction, AuditOrigin},
    revision::{self, Remembered},
    store::{Store, StoreContext, StoreError, Write},
};

use super::{
    AccountError, Accounts, Status, User, check_password, members::is_removed, recovery, session,
    tokens, user::by_id, user_row as row,
};

/// 20 characters that are not mistaken for each other: 100 bits and more.
pub fn made_up_password() -> String {
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut random = rand::rng();
    (0..20).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

/// Those of the users who cannot sign in any more: they are disabled, or their organization is.
pub(crate) async fn departed_of(
    store: &Store,
    user_ids: &HashSet<String>,
) -> Result<HashSet<String>, AccountError> {
    let rows = row::Entity::find()
        .filter(row::Column::UserId.is_in(user_ids))
        .all(store.db())
        .await
        .doing("looking for users who cannot sign in")?;
    let mut departed = HashSet::new();
    for row in rows {
        let user = User::try_from(row)?;
        if !user.may_sign_in(store.db()).await? {
            departed.insert(user.user_id);
        }
    }
    Ok(departed)
}

/// The addresses of the users of an organization who can sign in, and want mails.
pub(crate) async fn addresses_of(
    store: &Store,
    organization_id: &str,
) -> Result<Vec<String>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::OrganizationId.eq(organization_id))
        .filter(row::Column::Status.eq(Status::Active.as_str()))
        .filter(row::Column::Mails.eq(true))
        .order_by_asc(row::Column::Email)
        .all(store.db())
        .await
        .doing("reading the users of an organization")?;
    Ok(rows.into_iter().map(|row| row.email).collect())
}

/// The addresses of the users who manage an organization, and can sign in.
pub async fn managers_of(
    db: &impl ConnectionTrait,
    organization_id: &str,
) -> Result<Vec<String>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::OrganizationId.eq(organization_id))
        .filter(row::Column::Status.eq(Status::Active.as_str()))
        .filter(row::Column::Role.eq(Role::Enterprise.as_str()))
        .order_by_asc(row::Column::Email)
        .all(db)
        .await
        .doing("reading who manages an organization")?;
    Ok(rows.into_iter().map(|row| row.email).collect())
}

/// The users of customers who are suspended or disabled. Those who were removed are not among them: what they made stays.
pub(crate) async fn barred(db: &impl ConnectionTrait) -> Result<HashSet<String>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::Status.ne(Status::Active.as_str()))
        .filter(row::Column::OrganizationId.is_not_null())
        .all(db)
        .await
        .doing("looking for users who are suspended")?;
    Ok(rows.into_iter().filter(|row| !is_removed(&row.email)).map(|row| row.user_id).collect())
}

impl Accounts {
    /// Disables a user, and ends the user's sessions; suspends a user, who only reads then; or lets the user do all again. A user of whom that is so
    /// already stays as it is. The last active administrator stays active.
    pub async fn set_status(
        &self,
        user_id: &str,
        status: Status,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let write = self.store.write().await?;
        let user = read(&write, user_id).await?;
        if user.status == status {
            return Ok(());
        }
        if status != Status::Active && user.role == Role::Admin {
            require_another_administrator(&write, user_id).await?;
        }
        update(&write, user_id, row::Column::Status, status.as_str().to_owned()).await?;
        let (action, detail) = match status {
            Status::Active => ("user.enabled", json!({})),
            Status::Suspended => {
                tokens::forget_invitations_by(&write, user_id).await?;
                session::end_views_by(&write, user_id).await?;
                ("user.suspended", json!({}))
            }
            Status::Disabled => {
                tokens::forget_all_of_user(&write, user_id).await?;
                ("user.disabled", json!({"sessions": session::end_all(&write, user_id).await?}))
            }
        };
        revision::bump_of(&write, Remembered::Sessions).await?;
        // The keys that the user made follow.
        revision::bump(&write).await?;
        record(write, action, user_id, detail, origin, now).await
    }

    /// Gives a user another password, and ends the user's sessions.
    pub async fn reset_password(
        &self,
        user: &User,
        password: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        not_oneself(&user.user_id, origin)?;
        check_password(password, &user.email).map_err(AccountError::Password)?;
        let hash = self.hasher.hash(password).await?;
        let write = self.store.write().await?;
        read(&write, &user.user_id).await?;
        recovery::set_password(&write, &user.user_id, hash).await?;
        let detail = json!({"sessions": session::end_all(&write, &user.user_id).await?});
        record(write, "user.password_reset", &user.user_id, detail, origin, now).await
    }

    /// Ends all sessions of a user, and gives how many there were.
    pub async fn end_sessions(
        &self,
        user_id: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<u64, AccountError> {
        let write = self.store.write().await?;
        read(&write, user_id).await?;
        let sessions = session::end_all(&write, user_id).await?;
        let detail = json!({"sessions": sessions});
        record(write, "user.sessions_ended", user_id, detail, origin, now).await?;
        Ok(sessions)
    }
}

/// Fails where administrators would get around what asks for their own password and code.
pub(super) fn not_oneself(user_id: &str, origin: &AuditOrigin) -> Result<(), AccountError> {
    let reason =
        "must be somebody else: your own password and second factor are on your account's page";
    match origin.actor == user_id {
        true => Err(AccountError::Invalid { field: "user_id", reason }),
        false => Ok(()),
    }
}

async fn read(write: &Write, user_id: &str) -> Result<User, AccountError> {
    let row = by_id(write.db(), user_id).await?;
    match is_removed(&row.email) {
        true => Err(AccountError::UnknownUser { user_id: user_id.to_owned() }),
        false => User::try_from(row),
    }
}

async fn update(
    write: &Write,
    user_id: &str,
    column: row::Column,
    value: String,
) -> Result<(), AccountError> {
    let updated = row::Entity::update_many()
        .col_expr(column, Expr::value(value))
        .filter(row::Column::UserId.eq(user_id))
        .exec(write.db())
        .await;
    Ok(updated.map(drop).doing("changing a user")?)
}

/// The write lock is held: no other process disables the other one meanwhile.
async fn require_another_administrator(write: &Write, user_id: &str) -> Result<(), AccountError> {
    let others = row::Entity::find()
        .filter(row::Column::Role.eq(Role::Admin.as_str()))
        .filter(row::Column::Status.eq(Status::Active.as_str()))
        .filter(row::Column::UserId.ne(user_id))
        .count(write.db())
        .await
        .doing("counting administrators")?;
    if others == 0 { Err(AccountError::LastAdministrator) } else { Ok(()) }
}

/// Writes down an act on a user, and commits it.
pub(super) async fn record(
    write: Write,
    action: &'static str,
    user_id: &str,
    detail: Value,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), AccountError> {
    let act = AuditAction { action, target: user_id.to_owned(), detail };
    audit::append(&write, origin, act, now).await?;
    Ok(write.commit().await?)
}
