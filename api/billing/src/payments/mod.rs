//! Payments of invoices.

mod row;

use accounts::plans::Currency;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
};
use serde::Serialize;
use state::store::{StoreContext, StoreError, Write, time_of};
use utoipa::ToSchema;

use crate::{
    fault::Fault,
    invoices::{Invoice, minor, new_id},
};

const TABLE: &str = "payments";

/// A payment of an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Payment {
    /// `pay_…`
    pub(crate) payment_id: String,
    /// The invoice that it pays.
    pub(crate) invoice_id: String,
    /// `bank_transfer`.
    pub(crate) provider: String,
    /// Names the payment with its provider.
    pub(crate) reference: String,
    /// `succeeded`.
    pub(crate) status: String,
    /// ISO 4217.
    #[schema(value_type = String)]
    pub(crate) currency: Currency,
    /// What was paid.
    #[schema(value_type = String)]
    pub(crate) amount: Decimal,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: DateTime<Utc>,
}

/// Records a payment. Gives nothing where a payment of the provider has this reference.
pub(crate) async fn record(
    write: &Write,
    of: &Invoice,
    (provider, reference): (&str, &str),
    amount: Decimal,
    (by, now): (&str, DateTime<Utc>),
) -> Result<Option<Payment>, Fault> {
    let known = row::Entity::find()
        .filter(row::Column::Provider.eq(provider))
        .filter(row::Column::Reference.eq(reference))
        .one(write.db())
        .await
        .doing("reading payments")?;
    if known.is_some() {
        return Ok(None);
    }
    let payment = row::Model {
        payment_id: new_id("pay")?,
        organization_id: of.organization_id.clone(),
        invoice_id: of.invoice_id.clone(),
        provider: provider.to_owned(),
        reference: reference.to_owned(),
        status: "succeeded".to_owned(),
        currency: of.currency.as_str().to_owned(),
        amount: minor(amount, of.currency)?,
        refunded: 0,
        detail: "{}".to_owned(),
        created_by: by.to_owned(),
        created_at: now.timestamp_micros(),
        updated_at: now.timestamp_micros(),
    };
    let row = row::ActiveModel {
        payment_id: Set(payment.payment_id.clone()),
        organization_id: Set(payment.organization_id.clone()),
        invoice_id: Set(payment.invoice_id.clone()),
        provider: Set(payment.provider.clone()),
        reference: Set(payment.reference.clone()),
        status: Set(payment.status.clone()),
        currency: Set(payment.currency.clone()),
        amount: Set(payment.amount),
        refunded: Set(0),
        detail: Set(payment.detail.clone()),
        created_by: Set(payment.created_by.clone()),
        created_at: Set(payment.created_at),
        updated_at: Set(payment.updated_at),
    };
    let added = row::Entity::insert(row).exec_without_returning(write.db()).await;
    added.doing("recording a payment")?;
    Ok(Some(payment.try_into()?))
}

/// The payments of an invoice, the oldest first.
pub(crate) async fn of_invoice(
    db: &impl ConnectionTrait,
    invoice_id: &str,
) -> Result<Vec<Payment>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::InvoiceId.eq(invoice_id))
        .order_by_asc(row::Column::CreatedAt)
        .order_by_asc(row::Column::PaymentId)
        .all(db)
        .await
        .doing("reading payments")?;
    rows.into_iter().map(Payment::try_from).collect()
}

/// The payments of an organization, the oldest first.
pub(crate) async fn of_organization(
    db: &impl ConnectionTrait,
    organization_id: &str,
) -> Result<Vec<Payment>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::OrganizationId.eq(organization_id))
        .order_by_asc(row::Column::CreatedAt)
        .order_by_asc(row::Column::PaymentId)
        .all(db)
        .await
        .doing("reading payments")?;
    rows.into_iter().map(Payment::try_from).collect()
}

impl TryFrom<row::Model> for Payment {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged =
            || StoreError::Damaged { table: TABLE, what: "a payment that is not readable" };
        let currency = Currency::parse(&row.currency).ok_or_else(damaged)?;
        let digits = crate::digits(currency).map_err(|_| damaged())?;
        Ok(Self {
            amount: Decimal::new(row.amount, digits),
            created_at: time_of(TABLE, row.created_at)?,
            payment_id: row.payment_id,
            invoice_id: row.invoice_id,
            provider: row.provider,
            reference: row.reference,
            status: row.status,
            currency,
        })
    }
}
