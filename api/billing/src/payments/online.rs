//! Payments by a provider: pages on which customers pay, methods that are kept, what providers tell, and refunds.
//!
//! Our own invoice is the truth. A payment is recorded once for each reference of its provider, whatever tells of it and however
//! often; what exceeds its invoice becomes credit.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, sea_query::OnConflict};
use serde_json::{Value, json};
use state::{
    audit::{self, AuditAction, AuditOrigin},
    jobs::{self, JobKind, NewJob},
    store::{StoreContext, StoreError, Write},
};

use super::{
    Payment, by_reference,
    call::CallFault,
    hook_row, method_row,
    paypal::Capture,
    put, record,
    stripe::{Charged, Intent},
};
use crate::{
    Billing,
    fault::Fault,
    invoices::{self, Invoice, InvoiceStatus, major, minor, say},
};

pub(crate) const STRIPE: &str = "stripe";
pub(crate) const PAYPAL: &str = "paypal";
/// A page of a provider is offered again for so long.
const PAGE_HOURS: i64 = 12;
/// Charging a kept method.
pub(super) const CHARGE: JobKind =
    JobKind { backoff: pause, attempts_max: CALLS_MAX + 3, ..JobKind::new("billing_charge") };
/// About 20 hours of pauses: Stripe knows a key again for a day.
pub(super) const CALLS_MAX: u32 = 17;
const PAUSE_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// The pause after so many calls without a clear answer: from one minute to two hours.
pub(super) fn pause(calls: u32) -> Option<Duration> {
    (calls < CALLS_MAX)
        .then(|| Duration::from_secs(60 << calls.saturating_sub(1).min(7)).min(PAUSE_MAX))
}

/// A way in which an organization pays by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Method {
    pub(crate) customer: String,
    pub(crate) method: String,
    /// Such as `visa 4242`.
    pub(crate) label: String,
}

/// A payment that a provider tells of.
#[derive(Debug, Clone)]
pub(crate) struct Received<'a> {
    pub(crate) provider: &'a str,
    /// As the provider names it.
    pub(crate) reference: &'a str,
    pub(crate) invoice_id: &'a str,
    pub(crate) amount: Decimal,
    pub(crate) currency: &'a str,
}

pub(super) fn not_configured(provider: &str) -> Fault {
    Fault::PaymentsNotConfigured(format!("payments by {provider} are not configured here"))
}

pub(super) fn failed(fault: CallFault) -> Fault {
    match fault {
        CallFault::Refused { .. } => Fault::InvoiceState(fault.to_string()),
        CallFault::Unclear(_) | CallFault::Unreadable => Fault::ProviderAway(fault.to_string()),
    }
}

/// Who acts where a provider tells something.
fn provider(name: &str) -> AuditOrigin {
    AuditOrigin::local(name)
}

/// The method that an organization keeps.
pub(crate) async fn method(
    db: &impl ConnectionTrait,
    organization_id: &str,
) -> Result<Option<Method>, StoreError> {
    let found = method_row::Entity::find_by_id(organization_id).one(db).await;
    let found = found.doing("reading a payment method")?;
    Ok(found.map(|row| Method { customer: row.customer, method: row.method, label: row.label }))
}

/// Forgets the method of an organization.
pub(crate) async fn forget_method(
    write: &Write,
    organization_id: &str,
    (origin, now): (&AuditOrigin, DateTime<Utc>),
) -> Result<(), StoreError> {
    let removed = method_row::Entity::delete_by_id(organization_id).exec(write.db()).await;
    removed.doing("forgetting a payment method")?;
    let target = organization_id.to_owned();
    let act = AuditAction { action: "payment_method.removed", target, detail: json!({}) };
    audit::append(write, origin, act, now).await.map(drop)
}

/// Whether something that a provider told is new. It is not told again.
pub(super) async fn is_new(
    write: &Write,
    provider: &str,
    (event_id, kind): (&str, &str),
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let id = (provider.to_owned(), event_id.to_owned());
    let known = hook_row::Entity::find_by_id(id).one(write.db()).await.doing("reading calls")?;
    if known.is_some() {
        return Ok(false);
    }
    let row = hook_row::ActiveModel {
        provider: Set(provider.to_owned()),
        event_id: Set(event_id.to_owned()),
        kind: Set(kind.to_owned()),
        received_at: Set(now.timestamp_micros()),
    };
    let added = hook_row::Entity::insert(row).exec_without_returning(write.db()).await;
    added.doing("keeping a call")?;
    Ok(true)
}

impl Billing {
    /// An invoice that its organization may pay.
    async fn payable(&self, organization_id: &str, invoice_id: &str) -> Result<Invoice, Fault> {
        let found = invoices::get(self.state.store.db(), invoice_id).await?;
        let unknown = || Fault::Unknown(format!("invoice `{invoice_id}`"));
        let own = found.filter(|one| one.organization_id == organization_id);
        let invoice = own.filter(|one| one.status != InvoiceStatus::Draft).ok_or_else(unknown)?;
        match invoice.status {
            InvoiceStatus::Open | InvoiceStatus::Uncollectible => Ok(invoice),
            status => {
                let why = format!("the invoice is {}, and takes no payment", status.as_str());
                Err(Fault::InvoiceState(why))
            }
        }
    }

    /// Opens a page of a provider on which an invoice is paid, and gives its address. A page that was opened lately for the same
    /// amount is offered again.
    pub(crate) async fn pay_online(
        &self,
        organization_id: &str,
        invoice_id: &str,
        by: &str,
    ) -> Result<String, Fault> {
        let invoice = self.payable(organization_id, invoice_id).await?;
        let now = self.state.clock.now();
        let known = super::of_invoice(self.state.store.db(), invoice_id).await?;
        let is_open = |one: &&Payment| {
            one.provider == by
                && one.status == "pending"
                && one.amount == invoice.outstanding
                && one.created_at + TimeDelta::hours(PAGE_HOURS) > now
        };
        if let Some(url) = known.iter().find(is_open).and_then(|one| one.detail["url"].as_str()) {
            return Ok(url.to_owned());
        }
        let attempt = known.iter().filter(|one| one.provider == by).count();
        let key = format!("checkout:{invoice_id}:{}:{attempt}", invoice.outstanding);
        let number = invoice.number.clone().unwrap_or_default();
        let (id, url) = if by == STRIPE {
            let stripe = self.stripe.as_ref().ok_or_else(|| not_configured("Stripe"))?;
            let charged = charged(&invoice)?;
            let kept = method(self.state.store.db(), organization_id).await?;
            let customer = kept.as_ref().map(|kept| kept.customer.as_str());
            let back = self.courier.links.to(&format!("/billing/invoices/{invoice_id}"));
            let session = stripe.checkout(&charged, (customer, &back), &key).await;
            let session = session.map_err(failed)?;
            (session.id, session.url)
        } else if by == PAYPAL {
            let paypal = self.paypal.as_ref().ok_or_else(|| not_configured("PayPal"))?;
            let amount = (invoice.outstanding, invoice.currency.as_str());
            let back = self.courier.links.to("/billing/paypal");
            let order = paypal.order((invoice_id, &number), amount, &back, &key).await;
            order.map_err(failed)?
        } else {
            return Err(Fault::invalid("provider", "is stripe or paypal"));
        };
        let write = self.state.store.write().await?;
        let pending = Payment::new(&invoice, (by, &id), invoice.outstanding, now)?;
        let detail = json!({"url": url});
        put(&write, &Payment { status: "pending".into(), detail, ..pending }, "provider").await?;
        write.commit().await?;
        Ok(url)
    }

    /// Opens a page of Stripe on which an organization names a method for its later invoices.
    pub(crate) async fn set_up_method(&self, organization_id: &str) -> Result<String, Fault> {
        let stripe = self.stripe.as_ref().ok_or_else(|| not_configured("Stripe"))?;
        let kept = method(self.state.store.db(), organization_id).await?;
        let customer = kept.as_ref().map(|kept| kept.customer.as_str());
        let back = self.courier.links.to("/billing");
        let session = stripe.set_up(organization_id, (customer, &back)).await.map_err(failed)?;
        Ok(session.url)
    }

    /// Takes a payment that a provider tells of: once, and none of it is lost.
    pub(crate) async fn receive(
        &self,
        write: &Write,
        received: &Received<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), Fault> {
        let Received { provider: by, reference, invoice_id, amount, currency } = *received;
        let unknown = || Fault::Unknown(format!("invoice `{invoice_id}`"));
        let mut invoice = invoices::get(write.db(), invoice_id).await?.ok_or_else(unknown)?;
        if !invoice.currency.as_str().eq_ignore_ascii_case(currency) {
            let own = invoice.currency.as_str();
            let why = format!("the payment `{reference}` is in {currency}, the invoice in {own}");
            return Err(Fault::InvoiceState(why));
        }
        let names = (by, reference);
        let origin = provider(by);
        let Some(payment) = record(write, &invoice, names, amount, (&origin.actor, now)).await?
        else {
            return Ok(());
        };
        let takes = matches!(invoice.status, InvoiceStatus::Open | InvoiceStatus::Uncollectible);
        let applied = if takes { amount.min(invoice.outstanding) } else { Decimal::ZERO };
        if !applied.is_zero() {
            invoice.outstanding -= applied;
            if invoice.outstanding.is_zero() {
                invoice.status = InvoiceStatus::Paid;
            }
            invoices::put(write, &invoice).await?;
        }
        let (id, rest) = (&invoice.organization_id, (amount - applied, invoice.currency));
        invoices::enter(write, id, rest, (invoice_id, "overpaid"), now).await?;
        say(write, &invoice, "payment_succeeded", amount, None, now).await?;
        let detail = json!({"payment_id": payment.payment_id, "provider": by, "amount": amount});
        let act = AuditAction { action: "invoice.paid", target: invoice_id.to_owned(), detail };
        audit::append(write, &origin, act, now).await?;
        if invoice.status == InvoiceStatus::Paid {
            invoices::lift(write, &self.settings, &invoice.organization_id, now).await?;
        }
        Ok(())
    }

    /// Notes that a payment failed, and tells the customer.
    pub(super) async fn payment_failed(
        &self,
        write: &Write,
        invoice_id: &str,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Fault> {
        let Some(invoice) = invoices::get(write.db(), invoice_id).await? else { return Ok(()) };
        if invoice.status != InvoiceStatus::Open {
            return Ok(());
        }
        say(write, &invoice, "payment_failed", invoice.outstanding, Some(reason), now).await?;
        Ok(self.mail_invoice(write, &invoice, "declined", now).await?)
    }

    /// Keeps the method of a payment or of a page for later invoices.
    pub(super) async fn keep_method(
        &self,
        organization_id: &str,
        intent: &Intent,
    ) -> Result<(), Fault> {
        let (Some(stripe), Some((customer, method))) =
            (&self.stripe, intent.customer.as_ref().zip(intent.method.as_ref()))
        else {
            return Ok(());
        };
        let label = stripe.label(method).await.unwrap_or_default();
        let now = self.state.clock.now();
        let row = method_row::ActiveModel {
            organization_id: Set(organization_id.to_owned()),
            customer: Set(customer.clone()),
            method: Set(method.clone()),
            label: Set(label),
            updated_at: Set(now.timestamp_micros()),
        };
        use method_row::Column::{Customer, Label, Method, OrganizationId, UpdatedAt};
        let replace = OnConflict::column(OrganizationId)
            .update_columns([Customer, Method, Label, UpdatedAt])
            .to_owned();
        let write = self.state.store.write().await?;
        let kept = method_row::Entity::insert(row).on_conflict(replace);
        kept.exec_without_returning(write.db()).await.doing("keeping a payment method")?;
        Ok(write.commit().await?)
    }

    /// Has an invoice paid by the method that its organization keeps, if it keeps one.
    pub(crate) async fn charge_later(
        &self,
        write: &Write,
        invoice: &Invoice,
        attempt: i64,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let is_due = invoice.status == InvoiceStatus::Open && !invoice.outstanding.is_zero();
        if self.stripe.is_none()
            || !is_due
            || method(write.db(), &invoice.organization_id).await?.is_none()
        {
            return Ok(());
        }
        let job = NewJob {
            kind: CHARGE.name,
            dedup_key: format!("{}:{attempt}", invoice.invoice_id),
            payload: json!({"invoice_id": invoice.invoice_id, "attempt": attempt}),
            run_at: now,
        };
        jobs::enqueue(write, &job, now).await.map(drop)
    }

    /// Charges the kept method. It is repeated with the same key until the answer is clear.
    pub(super) async fn charge(&self, invoice_id: &str, attempt: i64) -> Result<Value, Fault> {
        let db = self.state.store.db();
        let Some(stripe) = &self.stripe else { return Ok(json!("not configured")) };
        let Some(invoice) = invoices::get(db, invoice_id).await? else { return Ok(Value::Null) };
        let Some(kept) = method(db, &invoice.organization_id).await? else {
            return Ok(json!("no method"));
        };
        if invoice.status != InvoiceStatus::Open {
            return Ok(json!(invoice.status.as_str()));
        }
        let charged = charged(&invoice)?;
        let key = format!("inv:{invoice_id}:{attempt}");
        let done = stripe.charge(&charged, (&kept.customer, &kept.method), &key).await;
        let now = self.state.clock.now();
        let (status, reason) = match done {
            Ok(intent) if intent.status == "succeeded" => {
                let write = self.state.store.write().await?;
                let received = Received {
                    provider: STRIPE,
                    reference: &intent.id,
                    invoice_id,
                    amount: major(charged.units, invoice.currency)?,
                    currency: invoice.currency.as_str(),
                };
                self.receive(&write, &received, now).await?;
                write.commit().await?;
                return Ok(json!("succeeded"));
            }
            // What is under way is told by a webhook.
            Ok(intent) if intent.status == "processing" => return Ok(json!("processing")),
            Ok(intent) => (intent.status, "the bank asks the customer".to_owned()),
            Err(CallFault::Refused { code, reason }) => (code, reason),
            Err(fault) => return Err(failed(fault)),
        };
        let write = self.state.store.write().await?;
        self.payment_failed(&write, invoice_id, &reason, now).await?;
        write.commit().await?;
        self.state.jobs.wake();
        Ok(json!(status))
    }

    /// Takes the money of an order that the customer approved.
    pub(crate) async fn capture(&self, order: &str) -> Result<Option<String>, Fault> {
        let paypal = self.paypal.as_ref().ok_or_else(|| not_configured("PayPal"))?;
        let db = self.state.store.db();
        // Only what was ordered here.
        let Some(pending) = by_reference(db, PAYPAL, order).await? else { return Ok(None) };
        let capture = paypal.capture(order).await.map_err(failed)?;
        self.receive_capture(&capture).await?;
        Ok(Some(pending.invoice_id))
    }

    /// Takes a capture that PayPal tells of.
    pub(super) async fn receive_capture(&self, capture: &Capture) -> Result<(), Fault> {
        if capture.status != "COMPLETED" {
            return Ok(());
        }
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let received = Received {
            provider: PAYPAL,
            reference: &capture.id,
            invoice_id: &capture.invoice_id,
            amount: capture.amount,
            currency: &capture.currency,
        };
        self.receive(&write, &received, now).await?;
        Ok(write.commit().await?)
    }
}

/// What is outstanding, in the units of Stripe.
fn charged(invoice: &Invoice) -> Result<Charged<'_>, Fault> {
    Ok(Charged {
        invoice_id: &invoice.invoice_id,
        number: invoice.number.as_deref().unwrap_or_default(),
        units: minor(invoice.outstanding, invoice.currency)?,
        currency: invoice.currency.as_str().to_ascii_lowercase(),
    })
}
