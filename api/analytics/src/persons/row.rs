use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "person_grants")]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub role: String,
    pub granted_by: String,
    pub granted_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(super) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
