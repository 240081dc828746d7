//! Credit notes: of what was billed too much, and of what is given back though it was owed.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::{
    document::{Document, InvoiceLine, sum, tax_of},
    stored::{Invoice, InvoiceKind, InvoiceStatus, new_id},
};
use crate::{DueLine, currency::digits, decimal::Checked, fault::Fault};

/// What of an invoice is to be credited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToCredit {
    /// The place of the invoice.
    pub(crate) place: usize,
    /// Amounts are negative.
    pub(crate) lines: Vec<InvoiceLine>,
}

/// What is left of a line of an invoice after its credit notes.
fn left(invoices: &[Invoice], of: &Invoice, line: &InvoiceLine) -> Decimal {
    let notes = invoices.iter().filter(|note| note.corrects_id.as_deref() == Some(&of.invoice_id));
    let taken =
        notes.flat_map(|note| &note.document.lines).filter(|taken| taken.key() == line.key());
    line.amount + taken.map(|taken| taken.amount).sum::<Decimal>()
}

/// Which invoices billed what is too much: the newest first.
pub(crate) fn to_credit(credits: &[DueLine], invoices: &[Invoice]) -> Vec<ToCredit> {
    let mut found: Vec<ToCredit> = Vec::new();
    for credit in credits {
        let mut rest = -credit.amount;
        let mut quantity = credit.quantity;
        for (place, invoice) in invoices.iter().enumerate().rev() {
            let is_billed = invoice.kind == InvoiceKind::Invoice
                && !matches!(invoice.status, InvoiceStatus::Draft | InvoiceStatus::Void);
            let line = invoice.document.lines.iter().find(|line| line.key() == credit.key);
            let Some(line) = line.filter(|_| is_billed && rest > Decimal::ZERO) else { continue };
            let take = rest.min(left(invoices, invoice, line)).max(Decimal::ZERO);
            if take.is_zero() {
                continue;
            }
            rest -= take;
            let line = InvoiceLine {
                quantity: std::mem::take(&mut quantity).normalize(),
                amount: -take,
                is_adjustment: true,
                made_up: credit.made_up.clone(),
                ..line.clone()
            };
            match found.iter_mut().find(|one| one.place == place) {
                Some(one) => one.lines.push(line),
                None => found.push(ToCredit { place, lines: vec![line] }),
            }
        }
    }
    for one in &mut found {
        for (number, line) in (1..).zip(&mut one.lines) {
            line.line = number;
        }
    }
    found
}

/// The lines of an invoice with what is to be given back of them: line numbers and amounts above zero, or all that is left.
pub(crate) fn given_back(
    of: &Invoice,
    invoices: &[Invoice],
    wanted: &[(u32, Decimal)],
) -> Result<Vec<InvoiceLine>, Fault> {
    let digits = digits(of.currency)?;
    let mut lines = Vec::new();
    for line in &of.document.lines {
        let left = left(invoices, of, line);
        let amount = match wanted.iter().find(|(number, _)| *number == line.line) {
            None if wanted.is_empty() => left,
            None => continue,
            Some((_, amount)) => *amount,
        };
        if amount > left || amount < Decimal::ZERO || amount.normalize().scale() > digits {
            let number = line.line;
            return Err(Fault::invalid(
                "lines",
                format!("line {number} has {left} left to be credited"),
            ));
        }
        if !amount.is_zero() {
            let number = u32::try_from(lines.len() + 1).unwrap_or(u32::MAX);
            let mut amount = -amount;
            amount.rescale(digits);
            lines.push(InvoiceLine { line: number, amount, made_up: Vec::new(), ..line.clone() });
        }
    }
    let known = |number: &u32| of.document.lines.iter().any(|line| line.line == *number);
    if let Some((number, _)) = wanted.iter().find(|(number, _)| !known(number)) {
        return Err(Fault::invalid("lines", format!("the invoice has no line {number}")));
    }
    if lines.is_empty() {
        return Err(Fault::InvoiceState("nothing is left to be credited".to_owned()));
    }
    Ok(lines)
}

/// The credit note over some lines. Its tax and those of the notes before it add up to the tax of what they take back in all,
/// so that a note of everything is the invoice negated.
pub(crate) fn note(
    of: &Invoice,
    invoices: &[Invoice],
    lines: Vec<InvoiceLine>,
    cut: &str,
    now: DateTime<Utc>,
) -> Result<Invoice, Fault> {
    let digits = digits(of.currency)?;
    let subtotal = sum(&lines, digits)?;
    let before = invoices.iter().filter(|note| note.corrects_id.as_deref() == Some(&of.invoice_id));
    let (mut earlier, mut earlier_tax) = (Decimal::ZERO, Decimal::ZERO);
    for note in before {
        earlier = earlier.plus(note.document.subtotal)?;
        earlier_tax = earlier_tax.plus(note.document.tax)?;
    }
    let percent = of.document.tax_percent;
    let tax = tax_of(earlier.plus(subtotal)?, percent, digits)?.plus(-earlier_tax)?;
    let total = subtotal.plus(tax)?;
    let document = Document {
        lines,
        subtotal,
        tax,
        total,
        due: total,
        credit: Decimal::ZERO,
        problems: Vec::new(),
        corrects: of.number.clone(),
        reason: None,
        ..of.document.clone()
    };
    Ok(Invoice {
        invoice_id: new_id("cn")?,
        organization_id: of.organization_id.clone(),
        subscription_id: of.subscription_id.clone(),
        kind: InvoiceKind::CreditNote,
        status: InvoiceStatus::Draft,
        number: None,
        corrects_id: Some(of.invoice_id.clone()),
        billed_on: of.billed_on,
        currency: of.currency,
        outstanding: Decimal::ZERO,
        created_at: now,
        finalizes_at: None,
        issued_at: None,
        due_at: None,
        reminded_at: None,
        cut: cut.to_owned(),
        document,
    })
}
