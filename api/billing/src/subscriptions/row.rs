use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "subscriptions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub subscription_id: String,
    pub organization_id: String,
    pub currency: String,
    pub zone: String,
    /// In JSON.
    pub phases: String,
    pub ends_on: Option<String>,
    pub end_reason: Option<String>,
    /// What was said of it last, in JSON.
    pub announced: Option<String>,
    /// When its end was said.
    pub ended_at: Option<i64>,
    /// The last of its billing days that is done.
    pub billed_through: Option<String>,
    /// Nothing of it can be billed any more.
    pub is_closed: bool,
    /// The cut at which it was rated last.
    pub cut_log: Option<i64>,
    pub cut_lsn: Option<i64>,
    pub created_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
