use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "limit_overrides")]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub override_id: String,
    pub organization_id: String,
    /// JSON.
    pub limits: String,
    pub starts_at: i64,
    pub ends_at: Option<i64>,
    pub note: String,
    pub created_by: String,
    pub created_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(super) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
