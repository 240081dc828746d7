use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub api_key_id: String,
    pub organization_id: Option<String>,
    pub name: String,
    pub start: String,
    pub hash: Vec<u8>,
    pub scopes: String,
    pub created_by: String,
    pub created_at: i64,
    pub expires_at: Option<i64>,
    pub last_used_at: Option<i64>,
    pub revoked_at: Option<i64>,
    pub write_sources: Option<String>,
    pub write_types: Option<String>,
    pub models: Option<String>,
    pub networks: Option<String>,
    pub rotated_to: Option<String>,
    pub budget: Option<String>,
    pub project_id: Option<String>,
    pub notes: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
