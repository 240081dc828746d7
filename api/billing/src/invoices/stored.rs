//! Invoices and credit notes in the database.

use std::collections::BTreeMap;

use accounts::plans::Currency;
use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, sea_query::OnConflict,
};
use serde::{Deserialize, Serialize};
use state::{
    ids::{base62, random_bytes},
    store::{StoreContext, StoreError, Write, time_of},
};
use utoipa::ToSchema;

use super::{document::Document, row};
use crate::{Billed, BillingError, LineKey, currency::digits};

const TABLE: &str = "invoices";

/// An invoice or a credit note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// `inv_…` or `cn_…`
    pub invoice_id: String,
    /// Who pays.
    pub organization_id: String,
    /// What it is for.
    pub subscription_id: String,
    /// What it is.
    pub kind: InvoiceKind,
    /// How it stands.
    pub status: InvoiceStatus,
    /// Given when it is finalized, without a gap.
    pub number: Option<String>,
    /// Of a credit note, its invoice.
    pub corrects_id: Option<String>,
    /// The billing day.
    pub billed_on: NaiveDate,
    /// Of all amounts.
    pub currency: Currency,
    /// What is not paid yet.
    pub outstanding: Decimal,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Of a draft: when it is to be finalized.
    pub finalizes_at: Option<DateTime<Utc>>,
    /// When it was finalized.
    pub issued_at: Option<DateTime<Utc>>,
    /// Until when it is to be paid.
    pub due_at: Option<DateTime<Utc>>,
    /// The last reminder.
    pub reminded_at: Option<DateTime<Utc>>,
    /// The events that were read, as `as_of`.
    pub cut: String,
    /// What stands on it.
    pub document: Document,
}

/// What a document is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    ToSchema,
    strum::IntoStaticStr,
    strum::EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum InvoiceKind {
    /// It is to be paid.
    Invoice,
    /// It takes back a part of an invoice; its amounts are negative.
    CreditNote,
}

/// How an invoice stands. In texts it is the name in lower case.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    ToSchema,
    strum::IntoStaticStr,
    strum::EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum InvoiceStatus {
    /// It may change.
    Draft,
    /// It is final, and not paid.
    Open,
    /// It is paid; a credit note is settled.
    Paid,
    /// It was canceled as a whole.
    Void,
    /// It was given up.
    Uncollectible,
}

impl InvoiceKind {
    /// The text in the database and in answers.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl InvoiceStatus {
    /// The text in the database and in answers.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether its lines count as billed.
    fn is_billed(self) -> bool {
        matches!(self, Self::Open | Self::Paid | Self::Uncollectible)
    }
}

/// Which invoices are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct InvoiceFilter {
    pub(crate) organization_id: Option<String>,
    pub(crate) status: Option<InvoiceStatus>,
    /// Drafts are for staff.
    pub(crate) without_drafts: bool,
    /// Made in this span.
    pub(crate) issued: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

/// An id of its own.
pub(crate) fn new_id(prefix: &str) -> Result<String, StoreError> {
    Ok(format!("{prefix}_{}", base62(&random_bytes::<16>()?, 22)))
}

/// An amount in minor units, such as cents.
pub(crate) fn minor(amount: Decimal, currency: Currency) -> Result<i64, BillingError> {
    let scale = Decimal::from(10_i64.pow(digits(currency)?));
    let units = amount.checked_mul(scale).filter(|units| units.fract().is_zero());
    units.and_then(|units| units.to_i64()).ok_or(BillingError::Overflow)
}

/// An amount of so many minor units.
pub(crate) fn major(units: i64, currency: Currency) -> Result<Decimal, BillingError> {
    Ok(Decimal::new(units, digits(currency)?))
}

/// The invoice of an id.
pub(crate) async fn get(
    db: &impl ConnectionTrait,
    invoice_id: &str,
) -> Result<Option<Invoice>, StoreError> {
    let row = row::Entity::find_by_id(invoice_id).one(db).await.doing("reading an invoice")?;
    row.map(Invoice::try_from).transpose()
}

/// Invoices, the newest first, and how many there are.
pub(crate) async fn list(
    db: &impl ConnectionTrait,
    filter: &InvoiceFilter,
    (skip, limit): (u64, u64),
) -> Result<(Vec<Invoice>, u64), StoreError> {
    let mut wanted = Condition::all();
    if let Some(id) = &filter.organization_id {
        wanted = wanted.add(row::Column::OrganizationId.eq(id.as_str()));
    }
    if let Some(status) = filter.status {
        wanted = wanted.add(row::Column::Status.eq(status.as_str()));
    }
    if filter.without_drafts {
        wanted = wanted.add(row::Column::Status.ne(InvoiceStatus::Draft.as_str()));
    }
    if let Some((from, to)) = filter.issued {
        wanted = wanted.add(row::Column::IssuedAt.gte(from.timestamp_micros()));
        wanted = wanted.add(row::Column::IssuedAt.lt(to.timestamp_micros()));
    }
    let all = row::Entity::find().filter(wanted);
    let count = all.clone().count(db).await.doing("counting invoices")?;
    let rows = all
        .order_by_desc(row::Column::CreatedAt)
        .order_by_desc(row::Column::Number)
        .order_by_desc(row::Column::InvoiceId)
        .offset(skip)
        .limit(limit)
        .all(db)
        .await
        .doing("listing invoices")?;
    Ok((rows.into_iter().map(Invoice::try_from).collect::<Result<_, _>>()?, count))
}

/// Those of a subscription, the oldest first.
pub(crate) async fn of_subscription(
    db: &impl ConnectionTrait,
    subscription_id: &str,
) -> Result<Vec<Invoice>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::SubscriptionId.eq(subscription_id))
        .order_by_asc(row::Column::CreatedAt)
        .order_by_asc(row::Column::InvoiceId)
        .all(db)
        .await
        .doing("reading invoices")?;
    rows.into_iter().map(Invoice::try_from).collect()
}

/// Those that are to be paid, the oldest first.
pub(crate) async fn unpaid(db: &impl ConnectionTrait) -> Result<Vec<Invoice>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::Status.eq(InvoiceStatus::Open.as_str()))
        .order_by_asc(row::Column::DueAt)
        .order_by_asc(row::Column::InvoiceId)
        .all(db)
        .await
        .doing("reading invoices")?;
    rows.into_iter().map(Invoice::try_from).collect()
}

/// Those of an organization that are not paid, also those that were given up.
pub(crate) async fn owing(
    db: &impl ConnectionTrait,
    organization_id: &str,
) -> Result<Vec<Invoice>, StoreError> {
    let statuses = [InvoiceStatus::Open, InvoiceStatus::Uncollectible].map(InvoiceStatus::as_str);
    let rows = row::Entity::find()
        .filter(row::Column::OrganizationId.eq(organization_id))
        .filter(row::Column::Status.is_in(statuses))
        .all(db)
        .await
        .doing("reading invoices")?;
    rows.into_iter().map(Invoice::try_from).collect()
}

/// What was billed of each charge: invoices, and what credit notes took back since it was not owed.
pub(crate) fn billed(invoices: &[Invoice]) -> Result<BTreeMap<LineKey, Billed>, BillingError> {
    let mut billed: BTreeMap<LineKey, Billed> = BTreeMap::new();
    for invoice in invoices {
        if !invoice.status.is_billed() || invoice.document.is_goodwill {
            continue;
        }
        for line in &invoice.document.lines {
            let sum = billed.entry(line.key()).or_default();
            sum.quantity += line.quantity;
            sum.amount = sum.amount.checked_add(line.amount).ok_or(BillingError::Overflow)?;
        }
    }
    Ok(billed)
}

/// Writes an invoice.
pub(crate) async fn put(write: &Write, invoice: &Invoice) -> Result<(), crate::Fault> {
    let document = serde_json::to_string(&invoice.document)
        .map_err(|_| StoreError::Damaged { table: TABLE, what: "a document does not encode" })?;
    let at = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_micros());
    let row = row::ActiveModel {
        invoice_id: Set(invoice.invoice_id.clone()),
        organization_id: Set(invoice.organization_id.clone()),
        subscription_id: Set(invoice.subscription_id.clone()),
        kind: Set(invoice.kind.as_str().to_owned()),
        status: Set(invoice.status.as_str().to_owned()),
        number: Set(invoice.number.clone()),
        corrects_id: Set(invoice.corrects_id.clone()),
        billed_on: Set(invoice.billed_on.to_string()),
        currency: Set(invoice.currency.as_str().to_owned()),
        total: Set(minor(invoice.document.total, invoice.currency)?),
        outstanding: Set(minor(invoice.outstanding, invoice.currency)?),
        created_at: Set(invoice.created_at.timestamp_micros()),
        finalizes_at: Set(at(invoice.finalizes_at)),
        issued_at: Set(at(invoice.issued_at)),
        due_at: Set(at(invoice.due_at)),
        reminded_at: Set(at(invoice.reminded_at)),
        cut: Set(invoice.cut.clone()),
        document: Set(document),
    };
    use row::Column::{
        Cut, Document, DueAt, FinalizesAt, InvoiceId, IssuedAt, Number, Outstanding, RemindedAt,
        Status, Total,
    };
    let replace = OnConflict::column(InvoiceId)
        .update_columns([
            Status,
            Number,
            Total,
            Outstanding,
            FinalizesAt,
            IssuedAt,
            DueAt,
            RemindedAt,
            Cut,
            Document,
        ])
        .to_owned();
    let written = row::Entity::insert(row).on_conflict(replace);
    Ok(written.exec_without_returning(write.db()).await.doing("storing an invoice").map(drop)?)
}

/// Removes a draft.
pub(crate) async fn remove(write: &Write, invoice_id: &str) -> Result<(), StoreError> {
    let removed = row::Entity::delete_many()
        .filter(row::Column::InvoiceId.eq(invoice_id))
        .filter(row::Column::Status.eq(InvoiceStatus::Draft.as_str()))
        .exec(write.db())
        .await;
    removed.doing("removing a draft").map(drop)
}

impl TryFrom<row::Model> for Invoice {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged =
            || StoreError::Damaged { table: TABLE, what: "an invoice that is not readable" };
        let at = |at: Option<i64>| at.map(|at| time_of(TABLE, at)).transpose();
        let currency = Currency::parse(&row.currency).ok_or_else(damaged)?;
        Ok(Self {
            kind: row.kind.parse().map_err(|_| damaged())?,
            status: row.status.parse().map_err(|_| damaged())?,
            billed_on: row.billed_on.parse().map_err(|_| damaged())?,
            outstanding: major(row.outstanding, currency).map_err(|_| damaged())?,
            created_at: time_of(TABLE, row.created_at)?,
            finalizes_at: at(row.finalizes_at)?,
            issued_at: at(row.issued_at)?,
            due_at: at(row.due_at)?,
            reminded_at: at(row.reminded_at)?,
            document: serde_json::from_str(&row.document).map_err(|_| damaged())?,
            invoice_id: row.invoice_id,
            organization_id: row.organization_id,
            subscription_id: row.subscription_id,
            number: row.number,
            corrects_id: row.corrects_id,
            currency,
            cut: row.cut,
        })
    }
}
