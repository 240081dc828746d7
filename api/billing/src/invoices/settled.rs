//! What becomes of invoices that are final: they are paid, or reminded of, or given up.

use chrono::{DateTime, TimeDelta, Utc};
use ingest::control;
use rust_decimal::Decimal;
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    store::Write,
};

use super::{
    issue::{say, tell_overdue},
    stored::{Invoice, InvoiceStatus, get, owing, put, unpaid},
};
use crate::{
    Billing,
    currency::digits,
    customers,
    desk::Settings,
    fault::Fault,
    payments::{self, Payment},
};

/// A payment that came in.
#[derive(Debug, Clone)]
pub(crate) struct PaidBy<'a> {
    /// Such as `bank_transfer`.
    pub(crate) provider: &'a str,
    /// Names the payment with its provider.
    pub(crate) reference: &'a str,
    /// None: all that is outstanding.
    pub(crate) amount: Option<Decimal>,
}

/// Records a payment of an invoice, once for each reference of a provider. What is paid in full lifts the suspension, unless
/// another invoice is overdue as long.
pub(crate) async fn pay(
    write: &Write,
    settings: &Settings,
    invoice_id: &str,
    paid: &PaidBy<'_>,
    (origin, now): (&AuditOrigin, DateTime<Utc>),
) -> Result<(Invoice, Option<Payment>), Fault> {
    let unknown = || Fault::Unknown(format!("invoice `{invoice_id}`"));
    let mut invoice = get(write.db(), invoice_id).await?.ok_or_else(unknown)?;
    if !matches!(invoice.status, InvoiceStatus::Open | InvoiceStatus::Uncollectible) {
        // The same payment may be told twice.
        let known = payments::of_invoice(write.db(), invoice_id).await?;
        if known.iter().any(|one| one.provider == paid.provider && one.reference == paid.reference)
        {
            return Ok((invoice, None));
        }
        let status = invoice.status.as_str();
        return Err(Fault::InvoiceState(format!("the invoice is {status}, and takes no payment")));
    }
    let amount = paid.amount.unwrap_or(invoice.outstanding);
    if amount <= Decimal::ZERO
        || amount > invoice.outstanding
        || amount.normalize().scale() > digits(invoice.currency)?
    {
        let reason =
            format!("is above 0 and at most {}, which is outstanding", invoice.outstanding);
        return Err(Fault::invalid("amount", reason));
    }
    let reference = paid.reference;
    if reference.is_empty() || reference.len() > 200 || control::in_name(reference) {
        let reason = "is 1 to 200 bytes without control characters";
        return Err(Fault::invalid("reference", reason));
    }
    let names = (paid.provider, reference);
    let by = (origin.actor.as_str(), now);
    let Some(payment) = payments::record(write, &invoice, names, amount, by).await? else {
        return Err(Fault::invalid("reference", "is that of another payment"));
    };
    invoice.outstanding -= amount;
    if invoice.outstanding.is_zero() {
        invoice.status = InvoiceStatus::Paid;
    }
    put(write, &invoice).await?;
    say(write, &invoice, "payment_succeeded", amount, None, now).await?;
    let detail = json!({
        "payment_id": payment.payment_id, "provider": paid.provider, "amount": amount,
    });
    let act = AuditAction { action: "invoice.paid", target: invoice_id.to_owned(), detail };
    audit::append(write, origin, act, now).await?;
    if invoice.status == InvoiceStatus::Paid {
        lift(write, settings, &invoice.organization_id, now).await?;
    }
    Ok((invoice, Some(payment)))
}

/// Lifts the suspension of an organization, unless an invoice is overdue for so long that it would be suspended again.
pub(crate) async fn lift(
    write: &Write,
    settings: &Settings,
    organization_id: &str,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let limit = TimeDelta::days(settings.suspend_days.into());
    let mut others = owing(write.db(), organization_id).await?.into_iter();
    let is_overdue = others.any(|one| one.due_at.is_some_and(|due| due + limit <= now));
    if !is_overdue {
        customers::lift(write, organization_id, now).await?;
    }
    Ok(())
}

/// Looks after the invoices that are overdue: each in a transaction of its own, and nothing twice. Gives how much was done.
pub(crate) async fn dun(billing: &Billing, now: DateTime<Utc>) -> Result<u64, Fault> {
    let (store, settings) = (&billing.state.store, &billing.settings);
    let mut done = 0;
    let days = |days: u32| TimeDelta::days(days.into());
    for invoice in unpaid(store.db()).await? {
        let Some(due_at) = invoice.due_at.filter(|due| *due <= now) else { continue };
        let write = store.write().await?;
        // Somebody may have paid meanwhile.
        let Some(mut invoice) = get(write.db(), &invoice.invoice_id).await? else { continue };
        if invoice.status != InvoiceStatus::Open {
            continue;
        }
        let id = invoice.organization_id.clone();
        let is_suspended = due_at + days(settings.suspend_days) <= now
            && customers::suspend(&write, &id, now).await?;
        let reminded = invoice.reminded_at.map(|last| last + days(settings.reminder_days));
        let told = if due_at + days(settings.uncollectible_days) <= now {
            invoice.status = InvoiceStatus::Uncollectible;
            say(&write, &invoice, "invoice_uncollectible", invoice.outstanding, None, now).await?;
            Some("given_up")
        } else if is_suspended {
            Some("suspended")
        } else if reminded.is_none_or(|next| next <= now) {
            Some("reminded")
        } else {
            None
        };
        if let Some(told) = told {
            done += 1;
            if invoice.reminded_at.is_none() {
                tell_overdue(&write, &invoice, now).await?;
            }
            invoice.reminded_at = Some(now);
            put(&write, &invoice).await?;
            let day = (now - due_at).num_days() + 1;
            billing.charge_later(&write, &invoice, day, now).await?;
            billing.mail_invoice(&write, &invoice, told, now).await?;
            write.commit().await?;
        }
    }
    Ok(done)
}
