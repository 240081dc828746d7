#![expect(unreachable_pub, reason = "the derive macro makes its types public")]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "credit_entries")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub entry_id: i64,
    pub organization_id: String,
    pub currency: String,
    /// In minor units: above zero it is the customer's, below zero it was used.
    pub amount: i64,
    /// The invoice or credit note that it comes from, or went into.
    pub invoice_id: String,
    pub reason: String,
    pub created_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
