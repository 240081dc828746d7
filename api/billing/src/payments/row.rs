#![expect(unreachable_pub, reason = "the derive macro makes its types public")]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "payments")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub payment_id: String,
    pub organization_id: String,
    pub invoice_id: String,
    /// Such as `bank_transfer`.
    pub provider: String,
    /// Names the payment with its provider.
    pub reference: String,
    pub status: String,
    pub currency: String,
    /// In minor units, as what was refunded of it.
    pub amount: i64,
    pub refunded: i64,
    /// In JSON.
    pub detail: String,
    pub created_by: String,
    pub created_at: i64,
    pub updated_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
