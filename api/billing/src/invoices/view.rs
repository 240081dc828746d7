//! Invoices as clients see them.

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    document::Document,
    stored::{Invoice, InvoiceKind, InvoiceStatus},
};
use crate::payments::Payment;

/// An invoice or a credit note. Amounts are decimals as text, in the digits of the currency.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct InvoiceView {
    /// `inv_…` or `cn_…`
    invoice_id: String,
    /// Given when it is finalized, without a gap.
    number: Option<String>,
    kind: InvoiceKind,
    status: InvoiceStatus,
    organization_id: String,
    subscription_id: String,
    /// Of a credit note, its invoice.
    corrects_id: Option<String>,
    /// The billing day.
    #[schema(value_type = String, format = Date)]
    billed_on: NaiveDate,
    /// ISO 4217.
    currency: String,
    #[schema(value_type = String)]
    subtotal: Decimal,
    #[schema(value_type = String)]
    tax: Decimal,
    #[schema(value_type = String)]
    total: Decimal,
    /// What is not paid yet.
    #[schema(value_type = String)]
    outstanding: Decimal,
    #[schema(value_type = String, format = DateTime)]
    created_at: DateTime<Utc>,
    /// Of a draft: when it is to be finalized.
    #[schema(value_type = Option<String>, format = DateTime)]
    finalizes_at: Option<DateTime<Utc>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    issued_at: Option<DateTime<Utc>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    due_at: Option<DateTime<Utc>>,
    /// What stands on it; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document>,
    /// What was paid; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    payments: Option<Vec<Payment>>,
}

impl InvoiceView {
    /// Without its document, for lists.
    pub(crate) fn row(of: &Invoice) -> Self {
        Self {
            invoice_id: of.invoice_id.clone(),
            number: of.number.clone(),
            kind: of.kind,
            status: of.status,
            organization_id: of.organization_id.clone(),
            subscription_id: of.subscription_id.clone(),
            corrects_id: of.corrects_id.clone(),
            billed_on: of.billed_on,
            currency: of.currency.as_str().to_owned(),
            subtotal: of.document.subtotal,
            tax: of.document.tax,
            total: of.document.total,
            outstanding: of.outstanding,
            created_at: of.created_at,
            finalizes_at: of.finalizes_at,
            issued_at: of.issued_at,
            due_at: of.due_at,
            document: None,
            payments: None,
        }
    }

    pub(crate) fn whole(of: Invoice, payments: Vec<Payment>) -> Self {
        let row = Self::row(&of);
        Self { document: Some(of.document), payments: Some(payments), ..row }
    }
}

/// A page of invoices, the newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct InvoiceList {
    pub(crate) invoices: Vec<InvoiceView>,
    /// How many there are in all.
    pub(crate) count: u64,
    /// `page` of the next page; nothing: this is the last.
    pub(crate) next_page: Option<u64>,
}
