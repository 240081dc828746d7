use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "quota_notices")]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    /// `2026-11`
    #[sea_orm(primary_key, auto_increment = false)]
    pub month: String,
    /// What is counted, and the limit: `tokens:1000`
    #[sea_orm(primary_key, auto_increment = false)]
    pub unit: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub threshold: i32,
    pub told_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(super) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
