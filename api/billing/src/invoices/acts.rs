//! What staff does with invoices, and what the next one would be.

use rest::{principal::Principal, problem::Problem};
use rust_decimal::Decimal;
use serde_json::json;
use state::audit::{self, AuditAction};

use super::{
    credit_notes::{given_back, note},
    document::{InvoiceLine, InvoicePreview},
    issue::{credit_note, void},
    settled::{PaidBy, pay},
    stored::{Invoice, InvoiceKind, InvoiceStatus, get, of_subscription},
};
use crate::{Billing, fault::Fault, payments, reads_from, runs::RunScope, subscriptions};

impl Billing {
    /// Makes a draft final now.
    pub(crate) async fn finalize_draft(
        &self,
        draft: Invoice,
        origin: &audit::AuditOrigin,
    ) -> Result<Invoice, Fault> {
        if draft.status != InvoiceStatus::Draft {
            let status = draft.status.as_str();
            return Err(Fault::InvoiceState(format!("the invoice is {status}, and no draft")));
        }
        let scope = RunScope {
            subscription_id: Some(draft.subscription_id),
            finalizes: Some(draft.billed_on),
        };
        let (_, report) = Box::pin(self.run(&origin.actor, &scope)).await?;
        if let Some(failure) = report.failures.into_iter().next() {
            return Err(Fault::InvoiceState(failure.reason));
        }
        let gone = || Fault::InvoiceState("nothing is due any more, and the draft is gone".into());
        let invoice = get(self.state.store.db(), &draft.invoice_id).await?.ok_or_else(gone)?;
        if invoice.status == InvoiceStatus::Draft {
            let why = "another run is at work: try again".to_owned();
            return Err(Fault::InvoiceState(why));
        }
        let write = self.state.store.write().await?;
        let detail = json!({"number": invoice.number});
        let target = invoice.invoice_id.clone();
        let act = AuditAction { action: "invoice.finalized", target, detail };
        audit::append(&write, origin, act, self.state.clock.now()).await?;
        write.commit().await?;
        Ok(invoice)
    }

    /// Cancels an invoice.
    pub(crate) async fn void_invoice(
        &self,
        invoice_id: &str,
        origin: &audit::AuditOrigin,
    ) -> Result<Invoice, Fault> {
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let invoice = existing(&write, invoice_id).await?;
        let others = of_subscription(write.db(), &invoice.subscription_id).await?;
        let refuse = |why: &str| Err(Fault::InvoiceState(why.to_owned()));
        if invoice.kind != InvoiceKind::Invoice {
            return refuse("a credit note cannot be canceled");
        }
        let is_payable =
            matches!(invoice.status, InvoiceStatus::Open | InvoiceStatus::Uncollectible);
        // What credit paid as a whole can be given back.
        let is_of_credit = invoice.status == InvoiceStatus::Paid && invoice.document.due.is_zero();
        if !is_payable && !is_of_credit {
            return refuse("only an invoice that is final and not paid can be canceled");
        }
        if others.iter().any(|one| one.corrects_id.as_deref() == Some(invoice_id)) {
            return refuse("a part of the invoice was credited: credit the rest");
        }
        let paid = payments::of_invoice(write.db(), invoice_id).await?;
        if paid.iter().any(|one| one.is_paid()) {
            return refuse("a part of the invoice was paid: issue a credit note");
        }
        let ids = std::slice::from_ref(&invoice.subscription_id);
        let stored = subscriptions::of_ids(write.db(), ids).await?.pop();
        let oldest = stored.filter(|one| !one.is_closed).map(|one| {
            let today = one.today(now);
            let next = one.subscription.period_on(today).map_or(today, |(_, end)| end);
            reads_from(&one.subscription, next)
        });
        let is_late = |line: &InvoiceLine| oldest.is_none_or(|oldest| line.period_end <= oldest);
        if invoice.document.lines.iter().any(is_late) {
            return refuse("it is too late to bill its periods again: issue a credit note");
        }
        let invoice = void(&write, invoice, now).await?;
        let target = invoice_id.to_owned();
        let detail = json!({"number": invoice.number});
        let act = AuditAction { action: "invoice.voided", target, detail };
        audit::append(&write, origin, act, now).await?;
        super::settled::lift(&write, &self.settings, &invoice.organization_id, now).await?;
        write.commit().await?;
        Ok(invoice)
    }

    /// Gives back a part of an invoice.
    pub(crate) async fn give_back(
        &self,
        invoice_id: &str,
        lines: &[(u32, Decimal)],
        reason: &str,
        origin: &audit::AuditOrigin,
    ) -> Result<Invoice, Fault> {
        if reason.trim().is_empty()
            || reason.chars().count() > 500
            || ingest::control::in_name(reason)
        {
            let expected = "is 1 to 500 characters without control characters";
            return Err(Fault::invalid("reason", expected));
        }
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let mut of = existing(&write, invoice_id).await?;
        if of.kind != InvoiceKind::Invoice
            || matches!(of.status, InvoiceStatus::Draft | InvoiceStatus::Void)
        {
            let why = "only an invoice that is final is credited".to_owned();
            return Err(Fault::InvoiceState(why));
        }
        let others = of_subscription(write.db(), &of.subscription_id).await?;
        let lines = given_back(&of, &others, lines)?;
        let mut made = note(&of, &others, lines, &of.cut.clone(), now)?;
        made.document.reason = Some(reason.to_owned());
        made.document.is_goodwill = true;
        let made = credit_note(&write, made, &mut of, now).await?;
        let detail = json!({"credit_note": made.invoice_id, "amount": made.document.total});
        let target = invoice_id.to_owned();
        let act = AuditAction { action: "invoice.credited", target, detail };
        audit::append(&write, origin, act, now).await?;
        if of.status == InvoiceStatus::Paid {
            super::settled::lift(&write, &self.settings, &of.organization_id, now).await?;
        }
        self.mail_invoice(&write, &made, "issued", now).await?;
        write.commit().await?;
        self.state.jobs.wake();
        Ok(made)
    }

    /// Records a payment by bank transfer.
    pub(crate) async fn paid_by_transfer(
        &self,
        invoice_id: &str,
        amount: Option<Decimal>,
        reference: &str,
        origin: &audit::AuditOrigin,
    ) -> Result<Invoice, Fault> {
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let paid = PaidBy { provider: payments::BANK_TRANSFER, reference, amount };
        let (invoice, _) = pay(&write, &self.settings, invoice_id, &paid, (origin, now)).await?;
        write.commit().await?;
        Ok(invoice)
    }

    /// What the next invoice of an organization would be, if its period ended now.
    pub(crate) async fn preview_invoice(
        &self,
        organization_id: &str,
        who: &Principal,
    ) -> Result<InvoicePreview, Problem> {
        let next = Box::pin(self.next_bill(organization_id)).await?;
        let document = &next.document;
        let as_of = self.usage.token(&next.as_of, who)?;
        Ok(InvoicePreview {
            billed_on: next.billed_on,
            currency: next.currency.as_str().to_owned(),
            as_of,
            lines: document.lines.clone(),
            subtotal: document.subtotal,
            tax_percent: document.tax_percent,
            tax: document.tax,
            total: document.total,
            credit: document.credit,
            due: document.due,
            problems: document.problems.clone(),
            forecast_total: next.forecast,
        })
    }
}

async fn existing(write: &state::store::Write, invoice_id: &str) -> Result<Invoice, Fault> {
    let unknown = || Fault::Unknown(format!("invoice `{invoice_id}`"));
    get(write.db(), invoice_id).await?.ok_or_else(unknown)
}
