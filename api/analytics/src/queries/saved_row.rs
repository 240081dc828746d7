use sea_orm::entity::prelude::*;
use state::store::{StoreError, time_of};

use super::saved::SavedQuery;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "saved_queries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i32,
    pub description: String,
    pub sql: String,
    pub parameters: String,
    pub shared_with: String,
    pub owner_id: String,
    pub created_by: String,
    pub created_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for SavedQuery {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let damaged = |_| StoreError::Damaged { table: "saved_queries", what: "its parameters" };
        let roles = row.shared_with.split(',').filter(|role| !role.is_empty());
        Ok(Self {
            parameters: serde_json::from_str(&row.parameters).map_err(damaged)?,
            shared_with: roles.map(str::to_owned).collect(),
            created_at: time_of("saved_queries", row.created_at)?,
            name: row.name,
            version: row.version,
            description: row.description,
            sql: row.sql,
            owner_id: row.owner_id,
            created_by: row.created_by,
        })
    }
}
