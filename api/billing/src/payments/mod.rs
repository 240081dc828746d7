//! Payments of invoices.

mod call;
mod hook_row;
mod hooks;
mod method_row;
mod online;
mod paypal;
mod refunds;
mod routes;
mod row;
mod stripe;

use accounts::plans::Currency;
use chrono::{DateTime, Utc};
use rest::feature::Feature;
use rust_decimal::Decimal;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    sea_query::OnConflict,
};
use serde::Serialize;
use serde_json::{Value, json};
use state::{
    migration::Migration,
    store::{StoreContext, StoreError, Write, time_of},
};
use utoipa::ToSchema;

pub(crate) use call::Call;
pub(crate) use online::{PAYPAL, STRIPE, forget_method, method};
pub(crate) use paypal::PayPal;
pub(crate) use stripe::Stripe;

use crate::{
    Billing,
    fault::Fault,
    invoices::{Invoice, minor, new_id},
    m0028_payments,
};

const TABLE: &str = "payments";
/// What staff records.
pub(crate) const BANK_TRANSFER: &str = "bank_transfer";

/// Payments.
pub(crate) const FEATURE: Feature<Billing> = Feature::new("payments")
    .with_routes(routes::routes)
    .with_migrations(&[Migration {
        name: "m0028_payments",
        up: |m| Box::pin(m0028_payments::up(m)),
    }])
    .with_tasks(routes::register);

/// A payment of an invoice.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Payment {
    /// `pay_…`
    pub(crate) payment_id: String,
    /// Who paid.
    pub(crate) organization_id: String,
    /// The invoice that it pays.
    pub(crate) invoice_id: String,
    /// `bank_transfer`, `stripe` or `paypal`.
    pub(crate) provider: String,
    /// Names the payment with its provider.
    pub(crate) reference: String,
    /// `succeeded`; or `pending`: a page of the provider is open.
    pub(crate) status: String,
    /// ISO 4217.
    #[schema(value_type = String)]
    pub(crate) currency: Currency,
    /// What was paid.
    #[schema(value_type = String)]
    pub(crate) amount: Decimal,
    /// What was given back of it.
    #[schema(value_type = String)]
    pub(crate) refunded: Decimal,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: DateTime<Utc>,
    #[serde(skip)]
    pub(crate) detail: Value,
}

impl Payment {
    /// A payment of an invoice that came now.
    pub(crate) fn new(
        of: &Invoice,
        (provider, reference): (&str, &str),
        amount: Decimal,
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            payment_id: new_id("pay")?,
            organization_id: of.organization_id.clone(),
            invoice_id: of.invoice_id.clone(),
            provider: provider.to_owned(),
            reference: reference.to_owned(),
            status: "succeeded".to_owned(),
            currency: of.currency,
            amount,
            refunded: Decimal::ZERO,
            created_at: now,
            detail: json!({}),
        })
    }

    /// Whether money has come.
    pub(crate) fn is_paid(&self) -> bool {
        self.status == "succeeded"
    }
}

/// Records a payment. Gives nothing where a payment of the provider has this reference.
pub(crate) async fn record(
    write: &Write,
    of: &Invoice,
    names: (&str, &str),
    amount: Decimal,
    (by, now): (&str, DateTime<Utc>),
) -> Result<Option<Payment>, Fault> {
    if by_reference(write.db(), names.0, names.1).await?.is_some() {
        return Ok(None);
    }
    let payment = Payment::new(of, names, amount, now)?;
    put(write, &payment, by).await?;
    Ok(Some(payment))
}

/// Writes a payment.
pub(crate) async fn put(write: &Write, payment: &Payment, by: &str) -> Result<(), Fault> {
    let row = row::ActiveModel {
        payment_id: Set(payment.payment_id.clone()),
        organization_id: Set(payment.organization_id.clone()),
        invoice_id: Set(payment.invoice_id.clone()),
        provider: Set(payment.provider.clone()),
        reference: Set(payment.reference.clone()),
        status: Set(payment.status.clone()),
        currency: Set(payment.currency.as_str().to_owned()),
        amount: Set(minor(payment.amount, payment.currency)?),
        refunded: Set(minor(payment.refunded, payment.currency)?),
        detail: Set(payment.detail.to_string()),
        created_by: Set(by.to_owned()),
        created_at: Set(payment.created_at.timestamp_micros()),
        updated_at: Set(payment.created_at.timestamp_micros()),
    };
    let replace = OnConflict::column(row::Column::PaymentId)
        .update_columns([row::Column::Status, row::Column::Refunded, row::Column::Detail])
        .to_owned();
    let written = row::Entity::insert(row).on_conflict(replace);
    Ok(written.exec_without_returning(write.db()).await.doing("recording a payment").map(drop)?)
}

/// The payment of an id.
pub(crate) async fn get(
    db: &impl ConnectionTrait,
    payment_id: &str,
) -> Result<Option<Payment>, StoreError> {
    let found = row::Entity::find_by_id(payment_id).one(db).await.doing("reading a payment")?;
    found.map(Payment::try_from).transpose()
}

/// The payment that a provider names.
pub(crate) async fn by_reference(
    db: &impl ConnectionTrait,
    provider: &str,
    reference: &str,
) -> Result<Option<Payment>, StoreError> {
    let found = row::Entity::find()
        .filter(row::Column::Provider.eq(provider))
        .filter(row::Column::Reference.eq(reference))
        .one(db)
        .await
        .doing("reading payments")?;
    found.map(Payment::try_from).transpose()
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
            refunded: Decimal::new(row.refunded, digits),
            detail: serde_json::from_str(&row.detail).map_err(|_| damaged())?,
            organization_id: row.organization_id,
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

#[cfg(test)]
mod tests;
