use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "queries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub query_id: String,
    pub principal_id: String,
    pub principal: String,
    pub organization_id: Option<String>,
    pub sql: String,
    pub as_of: String,
    pub started_at: i64,
    pub duration_ms: i64,
    pub status: String,
    pub code: Option<String>,
    pub detail: Option<String>,
    pub row_count: i64,
    pub byte_count: i64,
    pub truncated: bool,
    pub rows_scanned: i64,
    pub bytes_scanned: Option<i64>,
    pub memory_bytes: i64,
    pub kept_until: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
