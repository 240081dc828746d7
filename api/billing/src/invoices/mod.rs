//! Invoices and credit notes: what is due as a document, its number, and what becomes of it.

mod acts;
mod credit;
mod credit_notes;
mod credit_row;
mod document;
mod document_routes;
mod issue;
mod letters;
mod number_row;
mod pdf;
mod routes;
mod row;
mod settled;
mod sheet;
mod statement;
mod stored;
mod tabular;
mod view;

#[cfg(test)]
mod document_tests;

use rest::feature::Feature;

pub(crate) use credit::{REFUND, REFUND_REFUSED, balance, balances, enter, has_entry};
pub(crate) use credit_notes::{note, to_credit};
pub use document::{Buyer, Document, InvoiceLine};
pub use issue::midnight;
pub(crate) use issue::{credit_note, finalize, object, parties, say};
pub(crate) use routes::visible;
pub(crate) use settled::{dun, lift};
pub use stored::{Invoice, InvoiceKind, InvoiceStatus};
pub(crate) use stored::{
    InvoiceFilter, billed, get, list, major, minor, new_id, of_subscription, put, remove,
};

use crate::Billing;

/// Invoices.
pub(crate) const FEATURE: Feature<Billing> = Feature::new("invoices").with_routes(routes::routes);
