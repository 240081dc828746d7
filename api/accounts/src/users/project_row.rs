use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "projects")]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: String,
    pub organization_id: String,
    pub name: String,
    pub created_by: String,
    pub created_at: i64,
    pub archived_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(super) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
