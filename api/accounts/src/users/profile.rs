//! What users say of themselves, and how they want to be spoken to.

use chrono::{DateTime, Utc};
use ingest::control;
use pages::Language;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde::{Deserialize, Deserializer, Serialize};
use state::{
    audit::AuditOrigin,
    store::{Store, StoreContext},
};
use utoipa::ToSchema;

use super::{AccountError, Accounts, recovery::record, user::by_id, user_row as row};

const NAME_CHARS_MAX: usize = 100;
const THEMES: [&str; 3] = ["system", "light", "dark"];

/// What a user says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Profile {
    /// The name that people see.
    pub name: Option<String>,
    /// `en` or `zh-CN`; null: what the browser prefers.
    pub language: Option<String>,
    /// A time zone, such as `Europe/Berlin`; null: that of the server.
    pub zone: Option<String>,
    /// `system`, `light` or `dark`; null: `system`.
    pub theme: Option<String>,
    /// Whether the user gets mails that are not about the account itself.
    pub mails: bool,
}

/// What is to be changed. What is left out stays; null removes.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileChange {
    /// The name that people see: at most 100 characters.
    #[serde(deserialize_with = "named")]
    #[schema(value_type = Option<String>)]
    pub name: Option<Option<String>>,
    /// `en` or `zh-CN`.
    #[serde(deserialize_with = "named")]
    #[schema(value_type = Option<String>)]
    pub language: Option<Option<String>>,
    /// A time zone, such as `Europe/Berlin`.
    #[serde(deserialize_with = "named")]
    #[schema(value_type = Option<String>)]
    pub zone: Option<Option<String>>,
    /// `system`, `light` or `dark`.
    #[serde(deserialize_with = "named")]
    #[schema(value_type = Option<String>)]
    pub theme: Option<Option<String>>,
    /// Whether the user gets mails that are not about the account itself.
    pub mails: Option<bool>,
}

/// Null is a value, and not what was left out.
fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

impl ProfileChange {
    fn check(&self) -> Result<(), AccountError> {
        let invalid = |field, reason| Err(AccountError::Invalid { field, reason });
        let named = |value: &Option<Option<String>>| value.clone().flatten();
        if named(&self.name).is_some_and(|name| {
            name.trim().is_empty()
                || name.chars().count() > NAME_CHARS_MAX
                || control::in_name(&name)
        }) {
            return invalid("name", "must be 1 to 100 characters without control characters");
        }
        if named(&self.language)
            .is_some_and(|tag| !Language::ALL.into_iter().any(|language| language.tag() == tag))
        {
            return invalid("language", "must be en or zh-CN");
        }
        if named(&self.zone).is_some_and(|zone| zone.parse::<chrono_tz::Tz>().is_err()) {
            return invalid("zone", "must be a time zone such as Europe/Berlin");
        }
        if named(&self.theme).is_some_and(|theme| !THEMES.contains(&theme.as_str())) {
            return invalid("theme", "must be system, light or dark");
        }
        Ok(())
    }
}

impl From<&row::Model> for Profile {
    fn from(row: &row::Model) -> Self {
        Self {
            name: row.name.clone(),
            language: row.language.clone(),
            zone: row.zone.clone(),
            theme: row.theme.clone(),
            mails: row.mails,
        }
    }
}

/// What a user says.
pub async fn profile_of(store: &Store, user_id: &str) -> Result<Profile, AccountError> {
    Ok(Profile::from(&by_id(store.db(), user_id).await?))
}

impl Accounts {
    /// Changes what a user says.
    pub async fn change_profile(
        &self,
        user_id: &str,
        change: ProfileChange,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<Profile, AccountError> {
        change.check()?;
        let write = self.store.write().await?;
        let texts = [
            (row::Column::Name, change.name),
            (row::Column::Language, change.language),
            (row::Column::Zone, change.zone),
            (row::Column::Theme, change.theme),
        ];
        let mut update = row::Entity::update_many().filter(row::Column::UserId.eq(user_id));
        let mut is_changed = false;
        for (column, value) in texts {
            if let Some(value) = value {
                update = update.col_expr(column, Expr::value(value));
                is_changed = true;
            }
        }
        if let Some(mails) = change.mails {
            update = update.col_expr(row::Column::Mails, Expr::value(mails));
            is_changed = true;
        }
        if is_changed {
            update.exec(write.db()).await.doing("changing a profile")?;
            record(write, "user.profile_changed", user_id, origin, now).await?;
        } else {
            drop(write);
        }
        profile_of(&self.store, user_id).await
    }
}
