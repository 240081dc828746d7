//! The row of the table.

#![expect(unreachable_pub, reason = "the derive macro makes its types public")]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "forecasts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub metric: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub grain: String,
    /// The start of the first bucket that is forecast.
    #[sea_orm(primary_key, auto_increment = false)]
    pub from_at: i64,
    pub made_at: i64,
    pub as_of: String,
    /// The answer of `GET /v1/forecasts/{metric}`, as JSON.
    pub forecast: String,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
