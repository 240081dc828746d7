use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "price_overrides")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub override_id: String,
    pub organization_id: String,
    pub plan: String,
    /// In YAML.
    pub charges: String,
    pub starts_on: String,
    pub ends_on: Option<String>,
    pub note: String,
    pub created_by: String,
    pub created_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
