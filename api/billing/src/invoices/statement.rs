//! The statement of a month: what an organization owed at its beginning, what came, and what it owes at its end.

use accounts::plans::Currency;
use chrono::{DateTime, Months, NaiveDate, Utc};
use pages::Language;
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    sheet::{Sheet, SheetRow, filled, word},
    stored::{Invoice, InvoiceKind, InvoiceStatus},
};
use crate::{
    invoices::{Buyer, midnight},
    payments::Payment,
};

/// A month of an organization in one currency. Amounts above zero are owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Statement {
    /// The first day.
    #[schema(value_type = String, format = Date)]
    pub(crate) from: NaiveDate,
    /// The first day after it.
    #[schema(value_type = String, format = Date)]
    pub(crate) to: NaiveDate,
    /// ISO 4217.
    #[schema(value_type = String)]
    pub(crate) currency: Currency,
    /// What was owed at the beginning.
    #[schema(value_type = String)]
    pub(crate) opening: Decimal,
    /// What came, the oldest first.
    pub(crate) entries: Vec<Entry>,
    /// What is owed at the end.
    #[schema(value_type = String)]
    pub(crate) closing: Decimal,
}

/// An invoice, a credit note or a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = StatementEntry)]
pub(crate) struct Entry {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: DateTime<Utc>,
    /// `invoice`, `credit_note`, `payment` or `refund`.
    pub(crate) kind: &'static str,
    /// Of the document, or of the payment.
    pub(crate) number: String,
    /// Above zero for what is owed.
    #[schema(value_type = String)]
    pub(crate) amount: Decimal,
    /// What is owed after it.
    #[schema(value_type = String)]
    pub(crate) balance: Decimal,
}

/// The first day of a month such as `2026-02`, and the first day after it.
pub(crate) fn month(text: &str) -> Option<(NaiveDate, NaiveDate)> {
    let first: NaiveDate = format!("{text}-01").parse().ok().filter(|_| text.len() == 7)?;
    Some((first, first.checked_add_months(Months::new(1))?))
}

/// The statement over all documents and payments of an organization. What was canceled is left out.
pub(crate) fn statement(
    (from, to): (NaiveDate, NaiveDate),
    currency: Currency,
    invoices: &[Invoice],
    payments: &[Payment],
    refunds: &[(DateTime<Utc>, Decimal)],
) -> Statement {
    let zone = chrono_tz::Tz::UTC;
    let (begins, ends) = (midnight(from, zone), midnight(to, zone));
    let counts = |one: &&Invoice| {
        one.currency == currency
            && !matches!(one.status, InvoiceStatus::Draft | InvoiceStatus::Void)
    };
    let mut all: Vec<Entry> = Vec::new();
    for one in invoices.iter().filter(counts) {
        let Some(at) = one.issued_at else { continue };
        let kind = if one.kind == InvoiceKind::CreditNote { "credit_note" } else { "invoice" };
        let number = one.number.clone().unwrap_or_default();
        let amount = one.document.total;
        all.push(Entry { at, kind, number, amount, balance: Decimal::ZERO });
    }
    for one in payments.iter().filter(|one| one.currency == currency && one.is_paid()) {
        all.push(Entry {
            at: one.created_at,
            kind: "payment",
            number: one.reference.clone(),
            amount: -one.amount,
            balance: Decimal::ZERO,
        });
    }
    for (at, amount) in refunds.iter().copied() {
        let (kind, number) = ("refund", String::new());
        all.push(Entry { at, kind, number, amount, balance: Decimal::ZERO });
    }
    all.sort_by(|a, b| (a.at, &a.number).cmp(&(b.at, &b.number)));
    let mut opening = Decimal::new(0, crate::digits(currency).unwrap_or(2));
    let mut entries = Vec::new();
    let mut balance = opening;
    for mut entry in all.into_iter().take_while(|entry| entry.at < ends) {
        balance += entry.amount;
        entry.balance = balance;
        if entry.at < begins {
            opening = balance;
        } else {
            entries.push(entry);
        }
    }
    Statement { from, to, currency, opening, entries, closing: balance }
}

impl Statement {
    /// As people read it.
    pub(crate) fn sheet(
        &self,
        (seller, buyer): (&crate::Seller, &Buyer),
        language: Language,
    ) -> Sheet {
        let say = |name: &str| word(name, language);
        let money = |amount: Decimal| format!("{amount} {}", self.currency.as_str());
        let row = |entry: &Entry| SheetRow {
            cells: vec![
                format!("{} {}", say(entry.kind), entry.number).trim().to_owned(),
                entry.at.format("%Y-%m-%d").to_string(),
                entry.amount.to_string(),
                entry.balance.to_string(),
            ],
            notes: Vec::new(),
        };
        let lines = |name: &str, address: &str| {
            let all = name.lines().chain(address.lines());
            all.filter(|line| !line.trim().is_empty()).map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        let name = self.from.format("%Y-%m").to_string();
        Sheet {
            lang: language.tag(),
            title: format!("{} {name}", say("statement")),
            mark: None,
            parties: vec![
                (say("seller"), lines(&seller.name, &seller.address)),
                (say("buyer"), lines(&buyer.name, &buyer.address)),
            ],
            facts: vec![(say("opening"), money(self.opening))],
            head: vec![say("description"), say("issued"), say("amount"), say("balance")],
            rows: self.entries.iter().map(row).collect(),
            totals: vec![(say("closing"), money(self.closing))],
            notes: vec![filled("month", &[], language) + " · UTC"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::month;

    #[test]
    fn a_month_is_a_year_and_a_month() {
        let span = |text: &str| month(text).map(|(from, to)| (from.to_string(), to.to_string()));
        assert_eq!(span("2026-12"), Some(("2026-12-01".to_owned(), "2027-01-01".to_owned())));
        for wrong in ["2026-13", "2026-1", "2026", "", "2026-02-0"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
    }
}
