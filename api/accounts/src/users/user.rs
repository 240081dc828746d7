//! Users: the people who sign in.

use chrono::{DateTime, Utc};
use ingest::Grant;
use pages::Language;
use rest::principal::{Principal, PrincipalKind, Restriction, Role, Tenancy};
use sea_orm::{ActiveValue, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    store::{Store, StoreContext, StoreError, Write, time_of},
};
use strum::{EnumString, IntoStaticStr};

use super::{
    AccountError, Accounts, Email, check_password, members::is_removed, registration::new_id,
    user_row as row,
};
use crate::organizations::{self, OrganizationStatus};

/// A person who has an account, without the password hash.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// `user_…`
    pub user_id: String,
    /// The address to sign in with. No two users have the same one.
    pub email: Email,
    /// What the user may do.
    pub role: Role,
    /// Of a customer's user; nobody else has one.
    pub organization_id: Option<String>,
    /// Whether the user can sign in.
    pub status: Status,
    /// The language of the user's pages and mails; `None`: as the browser prefers.
    pub language: Option<Language>,
    /// The time of creation, in UTC.
    pub created_at: DateTime<Utc>,
}

/// Whether a user can sign in. In texts it is `active`, `suspended` or `disabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    /// Can sign in with the right password.
    Active,
    /// Signs in and reads, and can do nothing else.
    Suspended,
    /// Cannot sign in, and is signed out everywhere.
    Disabled,
}

/// A user who is to be created, with [`Accounts::create_user`].
#[derive(Clone)]
pub struct NewUser {
    /// The address to sign in with. No other user may have it.
    pub email: Email,
    /// The first password, as plain text. Only its argon2id hash is stored.
    pub password: String,
    /// What the user may do.
    pub role: Role,
    /// The organization of a customer's user, who must have one; `None` for staff.
    pub organization_id: Option<String>,
}

impl Accounts {
    /// Creates an active user, and writes an audit row. Fails when a field is not allowed, the password is weak, the
    /// address is taken, or the organization is unknown.
    pub async fn create_user(
        &self,
        new: NewUser,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<User, AccountError> {
        new.check()?;
        let password_hash = self.hasher.hash(&new.password).await?;
        let user = User {
            user_id: new_id()?,
            email: new.email,
            role: new.role,
            organization_id: new.organization_id,
            status: Status::Active,
            language: None,
            created_at: now,
        };
        let write = self.store.write().await?;
        insert(&write, &user, &password_hash).await?;
        let detail = json!({"role": user.role.as_str(), "organization_id": user.organization_id});
        let act = AuditAction { action: "user.created", target: user.user_id.clone(), detail };
        audit::append(&write, origin, act, now).await?;
        write.commit().await?;
        Ok(user)
    }
}

/// Adds a user, in the transaction of what makes it necessary.
pub(super) async fn insert(
    write: &Write,
    user: &User,
    password_hash: &str,
) -> Result<(), AccountError> {
    let new = user.row(password_hash.to_owned());
    let inserted = row::Entity::insert(new).exec_without_returning(write.db()).await;
    let inserted = inserted.doing("creating a user").map(drop);
    inserted.map_err(|error| match &user.organization_id {
        _ if error.is_unique_violation() => AccountError::EmailTaken,
        Some(id) if error.is_foreign_key_violation() => {
            AccountError::UnknownOrganization { organization_id: id.clone() }
        }
        _ => error.into(),
    })
}

/// Whether any user administers. Removed ones do not.
pub(super) async fn has_administrator(write: &Write) -> Result<bool, StoreError> {
    let admins = row::Entity::find().filter(row::Column::Role.eq(Role::Admin.as_str()));
    let admins = admins.all(write.db()).await.doing("looking for an administrator")?;
    Ok(admins.iter().any(|admin| !is_removed(&admin.email)))
}

/// The row of a user.
pub(super) async fn by_id(
    db: &impl ConnectionTrait,
    user_id: &str,
) -> Result<row::Model, AccountError> {
    let found = row::Entity::find_by_id(user_id).one(db).await.doing("reading a user")?;
    found.ok_or_else(|| AccountError::UnknownUser { user_id: user_id.to_owned() })
}

/// The row of the user with an address.
pub(super) async fn by_email(
    db: &impl ConnectionTrait,
    email: &Email,
) -> Result<Option<row::Model>, StoreError> {
    let found = row::Entity::find().filter(row::Column::Email.eq(email.as_str())).one(db).await;
    found.doing("looking up a user")
}

/// All users by e-mail address, without those who were removed.
pub async fn list_users(store: &Store) -> Result<Vec<User>, AccountError> {
    let rows = row::Entity::find()
        .order_by_asc(row::Column::Email)
        .all(store.db())
        .await
        .doing("listing users")?;
    rows.into_iter().filter(|row| !is_removed(&row.email)).map(User::try_from).collect()
}

/// The user with this id or e-mail address.
pub async fn find_user(store: &Store, named: &str) -> Result<User, AccountError> {
    let of = match Email::parse(named) {
        Ok(email) => row::Column::Email.eq(email.as_str()),
        Err(_) => row::Column::UserId.eq(named),
    };
    let row = row::Entity::find().filter(of).one(store.db()).await.doing("looking up a user")?;
    let unknown = || AccountError::UnknownUser { user_id: named.to_owned() };
    row.ok_or_else(unknown).and_then(User::try_from)
}

impl User {
    /// The principal of the user's requests. A customer's user has one organization in reach, staff has all.
    pub fn principal(self) -> Principal {
        Principal {
            id: self.user_id,
            name: self.email.to_string(),
            kind: PrincipalKind::User(self.role),
            reach: Tenancy::from(self.organization_id),
            grant: Grant::ALL,
            session_id: None,
            restriction: (self.status == Status::Suspended).then_some(Restriction::Suspended),
            needs_confirmation: false,
            language: self.language,
        }
    }

    /// Whether neither the user nor the user's organization is disabled.
    pub(crate) async fn may_sign_in(&self, db: &impl ConnectionTrait) -> Result<bool, StoreError> {
        Ok(self.clone().admitted(db).await?.is_some())
    }

    /// The user, if neither the user nor the user's organization is disabled. Of a suspended organization, the user is
    /// suspended, too.
    pub(crate) async fn admitted(
        self,
        db: &impl ConnectionTrait,
    ) -> Result<Option<Self>, StoreError> {
        if self.status == Status::Disabled {
            return Ok(None);
        }
        let Some(id) = &self.organization_id else { return Ok(Some(self)) };
        Ok(match organizations::status_of(db, id).await? {
            Some(OrganizationStatus::Active) => Some(self),
            Some(OrganizationStatus::Suspended) => Some(Self { status: Status::Suspended, ..self }),
            Some(OrganizationStatus::Disabled) | None => None,
        })
    }

    fn row(&self, password_hash: String) -> row::ActiveModel {
        row::ActiveModel {
            user_id: ActiveValue::Set(self.user_id.clone()),
            email: ActiveValue::Set(self.email.to_string()),
            password_hash: ActiveValue::Set(password_hash),
            role: ActiveValue::Set(self.role.as_str().to_owned()),
            organization_id: ActiveValue::Set(self.organization_id.clone()),
            status: ActiveValue::Set(self.status.as_str().to_owned()),
            created_at: ActiveValue::Set(self.created_at.timestamp_micros()),
            epoch: ActiveValue::Set(0),
            name: ActiveValue::Set(None),
            language: ActiveValue::Set(self.language.map(|one| one.tag().to_owned())),
            zone: ActiveValue::Set(None),
            theme: ActiveValue::Set(None),
            mails: ActiveValue::Set(true),
            totp: ActiveValue::Set(None),
            totp_confirmed_at: ActiveValue::Set(None),
            totp_step: ActiveValue::Set(None),
        }
    }
}

impl Status {
    /// The text in the database and in answers.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Reads the text that [`Self::as_str`] gives; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl NewUser {
    /// A user without an organization would see every organization; staff with one would not see them.
    fn check(&self) -> Result<(), AccountError> {
        let invalid = |reason| Err(AccountError::Invalid { field: "organization_id", reason });
        match (self.role, &self.organization_id) {
            (role, None) if role.is_of_organization() => {
                return invalid("is required for `user` and `enterprise`");
            }
            (role, Some(_)) if !role.is_of_organization() => {
                return invalid("is for `user` and `enterprise` only");
            }
            _ => {}
        }
        check_password(&self.password, &self.email).map_err(AccountError::Password)
    }
}

impl TryFrom<row::Model> for User {
    type Error = AccountError;

    fn try_from(row: row::Model) -> Result<Self, AccountError> {
        let damaged = |what| StoreError::Damaged { table: "users", what };
        let role = Role::parse(&row.role).map_err(|_| damaged("an unknown role"))?;
        if role.is_of_organization() != row.organization_id.is_some() {
            return Err(damaged("a role that does not fit its organization").into());
        }
        Ok(Self {
            role,
            email: Email::stored(&row.email).map_err(|_| damaged("a malformed e-mail address"))?,
            status: Status::parse(&row.status).ok_or_else(|| damaged("an unknown status"))?,
            created_at: time_of("users", row.created_at)?,
            user_id: row.user_id,
            organization_id: row.organization_id,
            language: row.language.as_deref().and_then(Language::from_tag),
        })
    }
}
