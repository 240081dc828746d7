use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "invoices")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub invoice_id: String,
    pub organization_id: String,
    pub subscription_id: String,
    /// `invoice` or `credit_note`.
    pub kind: String,
    pub status: String,
    pub number: Option<String>,
    /// Of a credit note, its invoice.
    pub corrects_id: Option<String>,
    pub billed_on: String,
    pub currency: String,
    /// In minor units, as what is outstanding.
    pub total: i64,
    pub outstanding: i64,
    pub created_at: i64,
    pub finalizes_at: Option<i64>,
    pub issued_at: Option<i64>,
    pub due_at: Option<i64>,
    pub reminded_at: Option<i64>,
    pub cut: String,
    /// In JSON.
    pub document: String,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
