use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_hash: Vec<u8>,
    pub user_id: String,
    pub created_at: i64,
    pub expires_at: i64,
    /// `session_…`
    pub session_id: String,
    /// `browser`, or `program`: with refresh tokens.
    pub kind: String,
    /// What the browser or program calls itself.
    pub device: Option<String>,
    pub ip: Option<String>,
    /// To the minute.
    pub last_used_at: Option<i64>,
    /// When the user last gave password or second factor.
    pub confirmed_at: Option<i64>,
    /// The refresh token before the present one, and since when it is not the present one.
    pub previous_hash: Option<Vec<u8>>,
    pub rotated_at: Option<i64>,
    /// Of a view: `user_…`, `key_…` or `local`.
    pub viewed_by: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(super) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
