//! Mails about invoices, in the transaction of what they tell.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use delivery::{Channel, Content, NewDelivery, Personal, enqueue};
use pages::{Language, Vocabulary};
use state::store::{StoreError, Write};

use crate::{
    Billing,
    customers::customer,
    invoices::{Invoice, InvoiceKind},
};

static WORDS: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::read(include_str!("words/mails.yaml")).unwrap_or_default());

impl Billing {
    /// Tells a customer of an invoice: `issued`, `reminded`, `suspended` or `given_up`.
    pub(crate) async fn mail_invoice(
        &self,
        write: &Write,
        invoice: &Invoice,
        what: &str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if !self.courier.sends_mail() {
            return Ok(());
        }
        let customer = customer(write.db(), &invoice.organization_id).await?;
        let addresses = match customer.email.as_str() {
            "" => accounts::managers_of(write.db(), &invoice.organization_id).await?,
            address => vec![address.to_owned()],
        };
        let language = Language::from_tag(&customer.language).unwrap_or(Language::En);
        let link = self.courier.links.to(&format!("/billing/invoices/{}", invoice.invoice_id));
        let content = content(invoice, what, &link, language);
        let reference = format!("invoice:{}:{what}:{}", invoice.invoice_id, now.timestamp_micros());
        for address in addresses {
            let new = NewDelivery {
                reference: reference.clone(),
                channel: Channel::Mail,
                address,
                content_id: reference.clone(),
                personal: Personal::new(),
                notice: None,
            };
            enqueue(write, &new, &content, now).await?;
        }
        Ok(())
    }
}

fn content(invoice: &Invoice, what: &str, link: &str, language: Language) -> Content {
    let what = match invoice.kind {
        InvoiceKind::CreditNote => "credited",
        InvoiceKind::Invoice => what,
    };
    let money = |amount: rust_decimal::Decimal| format!("{amount} {}", invoice.currency.as_str());
    let (amount, outstanding) = (money(invoice.document.total.abs()), money(invoice.outstanding));
    let due = invoice.due_at.map(|at| at.format("%Y-%m-%d").to_string()).unwrap_or_default();
    let places = [
        ("number", invoice.number.as_deref().unwrap_or_default()),
        ("amount", &amount),
        ("outstanding", &outstanding),
        ("due", &due),
        ("link", link),
    ];
    let text = |name: &str| WORDS.filled(&format!("{what}_{name}"), &places, language);
    Content { subject: text("subject"), text: text("text") + "\n", ..Content::default() }
}
