//! Refunds: credit that is paid out by the provider that took it.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use state::{
    audit::{self, AuditAction, AuditOrigin},
    jobs::{self, JobKind, NewJob},
};

use super::{
    PAYPAL, Payment, STRIPE,
    call::CallFault,
    online::{CALLS_MAX, failed, not_configured, pause},
    put,
};
use crate::{
    Billing,
    fault::Fault,
    invoices::{self, minor, say},
};

/// Paying credit out.
pub(super) const REFUND: JobKind =
    JobKind { backoff: pause, attempts_max: CALLS_MAX + 3, ..JobKind::new("billing_refund") };

/// What is to be paid out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Refund {
    pub(super) refund_id: String,
    pub(super) payment_id: String,
    pub(super) amount: Decimal,
    /// When it was asked for.
    pub(super) at: DateTime<Utc>,
}

impl Billing {
    /// Gives a part of a payment back, out of the credit of its organization.
    pub(crate) async fn refund(
        &self,
        payment_id: &str,
        amount: Option<Decimal>,
        origin: &AuditOrigin,
    ) -> Result<Payment, Fault> {
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let unknown = || Fault::Unknown(format!("payment `{payment_id}`"));
        let payment = super::get(write.db(), payment_id).await?.ok_or_else(unknown)?;
        if payment.status == "pending" || ![STRIPE, PAYPAL].contains(&payment.provider.as_str()) {
            let why = "only what a provider has taken is given back by it".to_owned();
            return Err(Fault::InvoiceState(why));
        }
        let id = payment.organization_id.clone();
        let balance = invoices::balance(write.db(), &id, payment.currency).await?;
        let left = payment.amount - payment.refunded;
        let amount = amount.unwrap_or(balance.min(left));
        if amount <= Decimal::ZERO || amount > balance.min(left) {
            let reason = format!(
                "is at most {left} of the payment and {balance} of credit: issue a credit note first"
            );
            return Err(Fault::invalid("amount", reason));
        }
        minor(amount, payment.currency)?;
        let taken = (-amount, payment.currency);
        invoices::enter(&write, &id, taken, (&payment.invoice_id, invoices::REFUND), now).await?;
        let total = payment.refunded + amount;
        let refunding = Payment { refunded: total, ..payment };
        put(&write, &refunding, &origin.actor).await?;
        let refund_id = invoices::new_id("ref")?;
        let refund = Refund {
            refund_id: refund_id.clone(),
            payment_id: payment_id.to_owned(),
            amount,
            at: now,
        };
        let payload = json!(refund);
        let job = NewJob { kind: REFUND.name, dedup_key: refund_id, payload, run_at: now };
        jobs::enqueue(&write, &job, now).await?;
        let detail = json!({"amount": amount});
        let act = AuditAction { action: "payment.refunded", target: payment_id.to_owned(), detail };
        audit::append(&write, origin, act, now).await?;
        write.commit().await?;
        self.state.jobs.wake();
        Ok(refunding)
    }

    /// Asks the provider for a refund. It is repeated with the same key until the answer is clear; a refusal gives the credit back.
    pub(super) async fn ask_refund(&self, refund: &Refund) -> Result<Value, Fault> {
        let db = self.state.store.db();
        let Refund { refund_id, payment_id, amount, at } = refund;
        let Some(payment) = super::get(db, payment_id).await? else { return Ok(Value::Null) };
        let amount = *amount;
        // The job may come once more: its end is not in the transaction of what was answered.
        let refused = format!("{}{refund_id}", invoices::REFUND_REFUSED);
        if invoices::has_entry(db, &payment.organization_id, &refused).await? {
            return Ok(json!("refused"));
        }
        let key = format!("refund:{refund_id}");
        let (reference, currency) = (payment.reference.as_str(), payment.currency);
        let done = match (payment.provider.as_str(), &self.stripe, &self.paypal) {
            (STRIPE, Some(stripe), _) => {
                stripe.refund(reference, minor(amount, currency)?, &key).await
            }
            (PAYPAL, _, Some(paypal)) => {
                paypal.refund(reference, (amount, currency.as_str()), &key).await
            }
            (by, ..) => return Err(not_configured(by)),
        };
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let Some(payment) = super::get(write.db(), payment_id).await? else {
            return Ok(Value::Null);
        };
        let unknown = || Fault::Unknown(format!("invoice `{}`", payment.invoice_id));
        let invoice = invoices::get(write.db(), &payment.invoice_id).await?.ok_or_else(unknown)?;
        let said = match done {
            Ok(()) => {
                // The same event where the job comes once more.
                say(&write, &invoice, "payment_refunded", amount, None, *at).await?;
                json!("refunded")
            }
            Err(CallFault::Refused { reason, .. }) => {
                let id = &payment.organization_id;
                let entry = (payment.invoice_id.as_str(), refused.as_str());
                invoices::enter(&write, id, (amount, currency), entry, now).await?;
                let refunded = payment.refunded - amount;
                put(&write, &Payment { refunded, ..payment.clone() }, STRIPE).await?;
                json!({"refused": reason})
            }
            Err(fault) => return Err(failed(fault)),
        };
        write.commit().await?;
        Ok(said)
    }
}
