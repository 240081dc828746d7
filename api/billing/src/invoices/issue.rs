//! How invoices and credit notes become final: their numbers, their rows and events in the lake, and what is paid by credit.

use accounts::organizations;
use chrono::{DateTime, Days, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use delivery::webhooks::{self, EventType};
use rust_decimal::Decimal;
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, sea_query::OnConflict};
use serde_json::{Map, Value, json};
use state::{
    outbox::{self, MirroredTable, OwnEvent},
    store::{StoreContext, StoreError, Write, rfc3339},
};

use super::{
    credit,
    document::{Buyer, Document, Parties},
    number_row,
    stored::{Invoice, InvoiceKind, InvoiceStatus, put},
};
use crate::{
    customers::customer, desk::Settings, fault::Fault, rate::amount, subscriptions::SOURCE,
};

/// The parties of a document for an organization, as they are now.
pub(crate) async fn parties(
    db: &impl ConnectionTrait,
    settings: &Settings,
    organization_id: &str,
) -> Result<Parties, Fault> {
    let unknown = || Fault::Unknown(format!("organization `{organization_id}`"));
    let organization = organizations::find(db, organization_id).await?;
    let organization = organization.ok_or_else(unknown)?;
    let customer = customer(db, organization_id).await?;
    let name = Some(customer.name.clone()).filter(|name| !name.is_empty());
    let buyer = Buyer {
        name: name.unwrap_or(organization.name),
        address: customer.address.clone(),
        tax_id: customer.tax_id.clone(),
        country: organization.country,
    };
    Ok(Parties { seller: settings.seller(), buyer, customer })
}

/// The next number of a series: the row stays locked until the transaction ends, so that there is no gap.
async fn next_number(write: &Write, kind: InvoiceKind) -> Result<String, StoreError> {
    let (series, prefix) = match kind {
        InvoiceKind::Invoice => ("invoice", "INV"),
        InvoiceKind::CreditNote => ("credit_note", "CN"),
    };
    let doing = "taking the next number of an invoice";
    let found = number_row::Entity::find_by_id(series).one(write.db()).await.doing(doing)?;
    let next = found.map_or(1, |row| row.last + 1);
    let row = number_row::ActiveModel { series: Set(series.to_owned()), last: Set(next) };
    let replace = OnConflict::column(number_row::Column::Series)
        .update_column(number_row::Column::Last)
        .to_owned();
    let written = number_row::Entity::insert(row).on_conflict(replace);
    written.exec_without_returning(write.db()).await.doing(doing)?;
    Ok(format!("{prefix}-{next:06}"))
}

/// Makes a draft final. Credit pays what it can.
pub(crate) async fn finalize(
    write: &Write,
    settings: &Settings,
    draft: Invoice,
    now: DateTime<Utc>,
) -> Result<Invoice, Fault> {
    let (id, currency) = (draft.organization_id.clone(), draft.currency);
    let balance = credit::balance(write.db(), &id, currency).await?;
    let document = Document { problems: Vec::new(), ..draft.document.paid_by(balance) };
    let used = (-document.credit, currency);
    credit::enter(write, &id, used, (&draft.invoice_id, "used"), now).await?;
    let days = Days::new(settings.payment_days.into());
    let invoice = Invoice {
        status: if document.due.is_zero() { InvoiceStatus::Paid } else { InvoiceStatus::Open },
        number: Some(next_number(write, draft.kind).await?),
        outstanding: document.due,
        finalizes_at: None,
        issued_at: Some(now),
        due_at: now.checked_add_days(days),
        document,
        ..draft
    };
    put(write, &invoice).await?;
    mirror(write, &invoice, invoice.kind.as_str(), Decimal::ONE, now).await?;
    say(write, &invoice, "invoice_finalized", invoice.document.total, None, now).await?;
    Ok(invoice)
}

/// Stores a credit note, and gives what it takes back: first it is taken from what is outstanding of its invoice, the rest
/// becomes credit.
pub(crate) async fn credit_note(
    write: &Write,
    note: Invoice,
    of: &mut Invoice,
    now: DateTime<Utc>,
) -> Result<Invoice, Fault> {
    let note = Invoice {
        number: Some(next_number(write, InvoiceKind::CreditNote).await?),
        status: InvoiceStatus::Paid,
        issued_at: Some(now),
        outstanding: Decimal::ZERO,
        ..note
    };
    put(write, &note).await?;
    let given = -note.document.total;
    let is_open = matches!(of.status, InvoiceStatus::Open | InvoiceStatus::Uncollectible);
    let taken = if is_open { given.min(of.outstanding) } else { Decimal::ZERO };
    if !taken.is_zero() {
        of.outstanding -= taken;
        if of.outstanding.is_zero() {
            of.status = InvoiceStatus::Paid;
        }
        put(write, of).await?;
    }
    let (id, rest) = (&note.organization_id, (given - taken, note.currency));
    credit::enter(write, id, rest, (&note.invoice_id, "credit_note"), now).await?;
    // What was owed all the same stays rated.
    let kind = if note.document.is_goodwill { "goodwill" } else { note.kind.as_str() };
    mirror(write, &note, kind, Decimal::ONE, now).await?;
    say(write, &note, "credit_note_issued", given, note.document.reason.as_deref(), now).await?;
    Ok(note)
}

/// Cancels an invoice as a whole: its lines are owed again, and what credit paid is given back.
pub(crate) async fn void(
    write: &Write,
    invoice: Invoice,
    now: DateTime<Utc>,
) -> Result<Invoice, Fault> {
    let credited = (invoice.document.credit, invoice.currency);
    let entry = (invoice.invoice_id.as_str(), "void");
    credit::enter(write, &invoice.organization_id, credited, entry, now).await?;
    let invoice = Invoice { status: InvoiceStatus::Void, outstanding: Decimal::ZERO, ..invoice };
    put(write, &invoice).await?;
    mirror(write, &invoice, "void", -Decimal::ONE, now).await?;
    say(write, &invoice, "invoice_voided", invoice.document.total, None, now).await?;
    Ok(invoice)
}

/// The first time of a day in a zone; where a change of the clocks takes midnight away, the first time after it.
pub fn midnight(day: chrono::NaiveDate, zone: Tz) -> DateTime<Utc> {
    let local = day.and_time(NaiveTime::MIN);
    let found = (0..4)
        .find_map(|hours| (local + TimeDelta::hours(hours)).and_local_timezone(zone).earliest());
    found.map_or_else(|| local.and_utc(), |at| at.with_timezone(&Utc))
}

/// Stores the lines in the lake.
async fn mirror(
    write: &Write,
    invoice: &Invoice,
    kind: &str,
    sign: Decimal,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    for line in &invoice.document.lines {
        let day = |day: chrono::NaiveDate| rfc3339(midnight(day, Tz::UTC));
        let row = json!({
            "organization_id": invoice.organization_id,
            "occurred_at": rfc3339(now),
            "invoice_id": invoice.invoice_id,
            "number": invoice.number,
            "kind": kind,
            "line": line.line,
            "subscription_id": invoice.subscription_id,
            "period_start": day(line.period_start),
            "period_end": day(line.to),
            "plan": line.plan,
            "price_version": line.price_version,
            "charge": line.charge,
            "meter": line.meter,
            "quantity": amount(line.quantity * sign, 12).normalize().to_string(),
            "amount": (line.amount * sign).to_string(),
            "currency": invoice.currency.as_str(),
        });
        outbox::append(write, MirroredTable::InvoiceLines, &object(row), now).await?;
    }
    Ok(())
}

/// The members of a JSON object.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Says what happened to an invoice.
pub(crate) async fn say(
    write: &Write,
    invoice: &Invoice,
    kind: &str,
    amount: Decimal,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let id = format!("{}:{kind}:{}", invoice.invoice_id, now.timestamp_micros());
    let event_type = format!("billing.{kind}");
    let event = OwnEvent {
        id: &id,
        source: SOURCE,
        event_type: &event_type,
        organization_id: Some(&invoice.organization_id),
        data: json!({
            "subscription_id": invoice.subscription_id, "invoice_id": invoice.invoice_id,
            "amount": amount.to_string(), "currency": invoice.currency.as_str(), "reason": reason,
        }),
    };
    outbox::append_event(write, event, now).await?;
    tell(write, invoice, kind, amount, reason, now).await
}

/// Tells the webhooks of the organization the same.
async fn tell(
    write: &Write,
    invoice: &Invoice,
    kind: &str,
    amount: Decimal,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let is_paid = invoice.status == InvoiceStatus::Paid;
    let events: &[EventType] = match kind {
        "invoice_finalized" if is_paid => &[EventType::InvoiceIssued, EventType::InvoicePaid],
        "invoice_finalized" | "credit_note_issued" => &[EventType::InvoiceIssued],
        "invoice_voided" => &[EventType::InvoiceVoided],
        "payment_succeeded" if is_paid => &[EventType::PaymentSucceeded, EventType::InvoicePaid],
        "payment_succeeded" => &[EventType::PaymentSucceeded],
        "payment_failed" => &[EventType::PaymentFailed],
        "payment_refunded" => &[EventType::PaymentRefunded],
        "invoice_overdue" => &[EventType::InvoiceOverdue],
        _ => &[],
    };
    let data = json!({
        "invoice_id": invoice.invoice_id, "kind": invoice.kind.as_str(), "number": invoice.number,
        "status": invoice.status.as_str(), "amount": amount, "outstanding": invoice.outstanding,
        "total": invoice.document.total, "currency": invoice.currency.as_str(),
        "due_at": invoice.due_at.map(rfc3339), "reason": reason,
    });
    for event in events {
        webhooks::publish(write, &invoice.organization_id, *event, &data, now).await?;
    }
    Ok(())
}

/// Tells that an invoice was not paid in time: it is reminded of for the first time.
pub(super) async fn tell_overdue(
    write: &Write,
    invoice: &Invoice,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    tell(write, invoice, "invoice_overdue", invoice.outstanding, None, now).await
}
