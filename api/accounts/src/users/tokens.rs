//! One-time tokens, which mails carry. Only their SHA-256 is kept; each says what is done when it comes back.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::{Serialize, de::DeserializeOwned};
use state::{
    ids::{base62, digest, random_bytes},
    store::{Store, StoreContext, StoreError, Write},
};
use strum::IntoStaticStr;

use super::{AccountError, token_row as row};

/// 32 random bytes in base 62.
const LENGTH: usize = 43;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Purpose {
    /// An organization and its first user wait for the address to be verified.
    Register,
    /// A new password.
    Reset,
    /// Another address.
    Email,
    /// A member of an organization, or of staff.
    Invitation,
    /// The password was right, and the second factor is missing.
    Challenge,
}

impl Purpose {
    pub(super) fn lifetime(self) -> TimeDelta {
        match self {
            Self::Register => TimeDelta::hours(24),
            Self::Reset => TimeDelta::hours(1),
            Self::Email => TimeDelta::hours(24),
            Self::Invitation => TimeDelta::days(7),
            Self::Challenge => TimeDelta::minutes(5),
        }
    }
}

/// A token that is to be made.
#[derive(Debug, Clone)]
pub(super) struct NewToken<'a> {
    pub(super) purpose: Purpose,
    pub(super) user_id: Option<&'a str>,
    pub(super) organization_id: Option<&'a str>,
    pub(super) email: &'a str,
    pub(super) created_by: &'a str,
}

/// Makes a token. Gives its secret, which cannot be had again, and its id.
pub(super) async fn issue(
    write: &Write,
    new: NewToken<'_>,
    payload: &impl Serialize,
    now: DateTime<Utc>,
) -> Result<(String, String), AccountError> {
    row::Entity::delete_many()
        .filter(row::Column::ExpiresAt.lte(now.timestamp_micros()))
        .exec(write.db())
        .await
        .doing("forgetting old tokens")?;
    let secret = base62(&random_bytes::<32>()?, LENGTH);
    let token_id = format!("token_{}", base62(&random_bytes::<16>()?, 22));
    let damaged = |_| StoreError::Damaged { table: "account_tokens", what: "no JSON" };
    let token = row::ActiveModel {
        token_hash: Set(digest(&secret).to_vec()),
        token_id: Set(token_id.clone()),
        purpose: Set(<&str>::from(new.purpose).to_owned()),
        user_id: Set(new.user_id.map(ToOwned::to_owned)),
        organization_id: Set(new.organization_id.map(ToOwned::to_owned)),
        email: Set(new.email.to_owned()),
        payload: Set(serde_json::to_string(payload).map_err(damaged)?),
        created_by: Set(new.created_by.to_owned()),
        created_at: Set(now.timestamp_micros()),
        expires_at: Set((now + new.purpose.lifetime()).timestamp_micros()),
    };
    let made = row::Entity::insert(token).exec_without_returning(write.db()).await;
    made.doing("making a token")?;
    Ok((secret, token_id))
}

/// A token that is good, without using it up.
pub(super) async fn find(
    store: &Store,
    purpose: Purpose,
    secret: &str,
    now: DateTime<Utc>,
) -> Result<Option<row::Model>, StoreError> {
    if secret.len() != LENGTH {
        return Ok(None);
    }
    let found = row::Entity::find_by_id(digest(secret).to_vec())
        .filter(row::Column::Purpose.eq(<&str>::from(purpose)))
        .filter(row::Column::ExpiresAt.gt(now.timestamp_micros()))
        .one(store.db())
        .await;
    found.doing("looking up a token")
}

/// Uses a token up. The write lock is held, so nobody else does meanwhile.
pub(super) async fn take<P: DeserializeOwned>(
    write: &Write,
    purpose: Purpose,
    secret: &str,
    now: DateTime<Utc>,
) -> Result<(row::Model, P), AccountError> {
    let found = row::Entity::find_by_id(digest(secret).to_vec())
        .filter(row::Column::Purpose.eq(<&str>::from(purpose)))
        .filter(row::Column::ExpiresAt.gt(now.timestamp_micros()))
        .one(write.db())
        .await
        .doing("looking up a token")?;
    let found = found.ok_or(AccountError::WrongToken)?;
    row::Entity::delete_by_id(found.token_hash.clone())
        .exec(write.db())
        .await
        .doing("using a token up")?;
    let damaged = |_| StoreError::Damaged { table: "account_tokens", what: "an unknown payload" };
    let payload = serde_json::from_str(&found.payload).map_err(damaged)?;
    Ok((found, payload))
}

/// Makes the tokens of a user useless.
pub(super) async fn forget_of_user(
    write: &Write,
    user_id: &str,
    purposes: &[Purpose],
) -> Result<(), StoreError> {
    let names = purposes.iter().map(|purpose| <&str>::from(*purpose));
    let forgotten = row::Entity::delete_many()
        .filter(row::Column::UserId.eq(user_id))
        .filter(row::Column::Purpose.is_in(names))
        .exec(write.db())
        .await;
    forgotten.map(drop).doing("forgetting the tokens of a user")
}

/// Makes all tokens of a user useless, and the invitations that the user sent: they would bring back whoever left.
pub(super) async fn forget_all_of_user(write: &Write, user_id: &str) -> Result<(), StoreError> {
    let forgotten =
        row::Entity::delete_many().filter(row::Column::UserId.eq(user_id)).exec(write.db()).await;
    forgotten.doing("forgetting the tokens of a user")?;
    forget_invitations_by(write, user_id).await
}

/// Takes back the invitations that a user sent.
pub(super) async fn forget_invitations_by(write: &Write, user_id: &str) -> Result<(), StoreError> {
    let forgotten = row::Entity::delete_many()
        .filter(row::Column::Purpose.eq(<&str>::from(Purpose::Invitation)))
        .filter(row::Column::CreatedBy.eq(user_id))
        .exec(write.db())
        .await;
    forgotten.map(drop).doing("taking invitations back")
}

/// Makes every token useless.
pub(super) async fn forget_all(write: &Write) -> Result<(), StoreError> {
    let forgotten = row::Entity::delete_many().exec(write.db()).await;
    forgotten.map(drop).doing("forgetting all tokens")
}

/// The invitations of an organization, or of staff, that are good, the newest first.
pub(super) async fn invitations(
    store: &Store,
    organization_id: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Vec<row::Model>, StoreError> {
    let of = match organization_id {
        Some(id) => row::Column::OrganizationId.eq(id),
        None => row::Column::OrganizationId.is_null(),
    };
    let found = row::Entity::find()
        .filter(row::Column::Purpose.eq(<&str>::from(Purpose::Invitation)))
        .filter(of)
        .filter(row::Column::ExpiresAt.gt(now.timestamp_micros()))
        .order_by_desc(row::Column::CreatedAt)
        .all(store.db())
        .await;
    found.doing("listing invitations")
}

/// Forgets the invitation that names nobody.
pub(super) async fn forget_first_invitation(write: &Write) -> Result<(), StoreError> {
    let forgotten = row::Entity::delete_many()
        .filter(row::Column::Purpose.eq(<&str>::from(Purpose::Invitation)))
        .filter(row::Column::Email.eq(""))
        .exec(write.db())
        .await;
    forgotten.map(drop).doing("forgetting an invitation")
}

/// Takes an invitation back; `false` where there is none of this id.
pub(super) async fn revoke_invitation(
    write: &Write,
    organization_id: Option<&str>,
    token_id: &str,
) -> Result<bool, StoreError> {
    let of = match organization_id {
        Some(id) => row::Column::OrganizationId.eq(id),
        None => row::Column::OrganizationId.is_null(),
    };
    let revoked = row::Entity::delete_many()
        .filter(row::Column::Purpose.eq(<&str>::from(Purpose::Invitation)))
        .filter(of)
        .filter(row::Column::TokenId.eq(token_id))
        .exec(write.db())
        .await
        .doing("taking an invitation back")?;
    Ok(revoked.rows_affected > 0)
}
