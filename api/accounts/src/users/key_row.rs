use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_keys")]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: String,
    /// Base 64 without padding, as a JWK has it.
    pub public: String,
    pub sealed: String,
    pub created_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(super) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
