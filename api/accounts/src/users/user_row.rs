use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    #[sea_orm(unique)]
    pub email: String,
    pub password_hash: String,
    pub role: String,
    pub organization_id: Option<String>,
    pub status: String,
    pub created_at: i64,
    pub epoch: i64,
    pub name: Option<String>,
    pub language: Option<String>,
    pub zone: Option<String>,
    pub theme: Option<String>,
    /// Whether the user gets mails that are not about the account itself.
    pub mails: bool,
    /// The sealed secret of the second factor.
    pub totp: Option<String>,
    pub totp_confirmed_at: Option<i64>,
    /// The last step that was used.
    pub totp_step: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
