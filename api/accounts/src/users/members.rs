//! The members of an organization, and what of them can be changed by who manages them.

use chrono::{DateTime, Utc};
use rest::principal::Role;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, sea_query::Expr};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    revision::{self, Remembered},
    store::{Store, StoreContext, Write, time_of},
};

use super::{
    AccountError, Accounts, Status, User, administration::made_up_password, second_factor, session,
    tokens, user::by_id, user_row as row,
};

/// A member.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The user.
    pub user: User,
    /// The name that people see.
    pub name: Option<String>,
    /// Whether a second factor is asked for.
    pub has_second_factor: bool,
    /// When the account began, in UTC.
    pub joined_at: DateTime<Utc>,
}

/// The members of an organization, by address.
pub async fn members_of(store: &Store, organization_id: &str) -> Result<Vec<Member>, AccountError> {
    let rows = row::Entity::find()
        .filter(row::Column::OrganizationId.eq(organization_id))
        .order_by_asc(row::Column::Email)
        .all(store.db())
        .await
        .doing("listing members")?;
    let member = |row: row::Model| {
        Ok(Member {
            name: row.name.clone(),
            has_second_factor: row.totp_confirmed_at.is_some(),
            joined_at: time_of("users", row.created_at)?,
            user: User::try_from(row)?,
        })
    };
    rows.into_iter().filter(|row| !is_removed(&row.email)).map(member).collect()
}

/// Where removed users are: the domain is reserved (RFC 2606), so nobody has such an address.
const REMOVED: &str = "@removed.invalid";

/// Whether an address is that of a removed user.
pub(super) fn is_removed(email: &str) -> bool {
    email.ends_with(REMOVED)
}

impl Accounts {
    /// Changes the role of a user: of a customer's users between `user` and `enterprise`, of staff between its roles. The
    /// last one who manages an organization keeps the role, and so does the last administrator.
    pub async fn set_role(
        &self,
        organization_id: Option<&str>,
        user_id: &str,
        role: Role,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let write = self.store.write().await?;
        let row = member(&write, organization_id, user_id).await?;
        let user = User::try_from(row)?;
        if role.is_of_organization() != user.role.is_of_organization() {
            let reason =
                "must be user or enterprise for a customer's user, and a role of staff for staff";
            return Err(AccountError::Invalid { field: "role", reason });
        }
        if user.role == role {
            return Ok(());
        }
        require_another(&write, &user).await?;
        row::Entity::update_many()
            .col_expr(row::Column::Role, Expr::value(role.as_str()))
            .filter(row::Column::UserId.eq(user_id))
            .exec(write.db())
            .await
            .doing("changing a role")?;
        tokens::forget_invitations_by(&write, user_id).await?;
        session::end_views_by(&write, user_id).await?;
        revision::bump_of(&write, Remembered::Sessions).await?;
        let detail = json!({"from": user.role.as_str(), "to": role.as_str()});
        let act = AuditAction { action: "user.role_changed", target: user.user_id, detail };
        audit::append(&write, origin, act, now).await?;
        Ok(write.commit().await?)
    }

    /// Removes a member: ends the sessions, and frees the address for another account. What the user made stays, under the
    /// id.
    pub async fn remove_member(
        &self,
        organization_id: Option<&str>,
        user_id: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        // Nobody knows it.
        let hash = self.hasher.hash(&made_up_password()).await?;
        let write = self.store.write().await?;
        let user = User::try_from(member(&write, organization_id, user_id).await?)?;
        // Who was suspended would have the keys back.
        if organization_id.is_some() && user.status != Status::Active {
            let reason = "must be active: we have suspended or disabled this user";
            return Err(AccountError::Invalid { field: "user_id", reason });
        }
        require_another(&write, &user).await?;
        session::end_all(&write, user_id).await?;
        tokens::forget_all_of_user(&write, user_id).await?;
        second_factor::forget_codes(&write, user_id).await?;
        row::Entity::update_many()
            .col_expr(row::Column::Status, Expr::value(Status::Disabled.as_str()))
            .col_expr(
                row::Column::Email,
                Expr::value(format!("{}{REMOVED}", user_id.to_lowercase())),
            )
            .col_expr(row::Column::PasswordHash, Expr::value(hash))
            .col_expr(row::Column::Name, Expr::value(None::<String>))
            .col_expr(row::Column::Totp, Expr::value(None::<String>))
            .col_expr(row::Column::TotpConfirmedAt, Expr::value(None::<i64>))
            .filter(row::Column::UserId.eq(user_id))
            .exec(write.db())
            .await
            .doing("removing a member")?;
        let target = user_id.to_owned();
        let act = AuditAction { action: "user.removed", target, detail: json!({}) };
        audit::append(&write, origin, act, now).await?;
        Ok(write.commit().await?)
    }
}

/// A user, if the organization is the user's.
async fn member(
    write: &Write,
    organization_id: Option<&str>,
    user_id: &str,
) -> Result<row::Model, AccountError> {
    let row = by_id(write.db(), user_id).await?;
    let is_own = organization_id.is_none() || row.organization_id.as_deref() == organization_id;
    match is_own && !is_removed(&row.email) {
        true => Ok(row),
        false => Err(AccountError::UnknownUser { user_id: user_id.to_owned() }),
    }
}

/// Fails for the last one of an organization, or of all, in a role that manages. The write lock is held.
async fn require_another(write: &Write, user: &User) -> Result<(), AccountError> {
    if !matches!(user.role, Role::Admin | Role::Enterprise) {
        return Ok(());
    }
    let of = match &user.organization_id {
        Some(id) => row::Column::OrganizationId.eq(id.as_str()),
        None => row::Column::OrganizationId.is_null(),
    };
    let others = row::Entity::find()
        .filter(row::Column::Role.eq(user.role.as_str()))
        .filter(row::Column::Status.eq(Status::Active.as_str()))
        .filter(of)
        .filter(row::Column::UserId.ne(user.user_id.as_str()))
        .count(write.db())
        .await
        .doing("counting those who manage")?;
    if others == 0 { Err(AccountError::LastAdministrator) } else { Ok(()) }
}
