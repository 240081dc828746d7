//! A document as people read it: texts in the language of the customer, for HTML and PDF.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use pages::{Language, Template, Vocabulary};
use rust_decimal::Decimal;
use serde::Serialize;

use super::{
    document::InvoiceLine,
    stored::{Invoice, InvoiceKind, InvoiceStatus},
};
use crate::{LineKind, RatedLine, payments::Payment};

static WORDS: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::read(include_str!("../words/documents.yaml")).unwrap_or_default());
const TEMPLATES: &[Template] = &[("document.html", include_str!("../templates/document.html"))];

/// A document in texts.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Sheet {
    pub(crate) lang: &'static str,
    pub(crate) title: String,
    /// What stands out, such as that it was canceled.
    pub(crate) mark: Option<String>,
    /// Headings and lines.
    pub(crate) parties: Vec<(String, Vec<String>)>,
    /// Labels and values.
    pub(crate) facts: Vec<(String, String)>,
    /// The first column is wide; the others are numbers.
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<SheetRow>,
    /// Labels and amounts; the last stands out.
    pub(crate) totals: Vec<(String, String)>,
    /// Sentences below.
    pub(crate) notes: Vec<String>,
}

/// A row with what explains it.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct SheetRow {
    pub(crate) cells: Vec<String>,
    pub(crate) notes: Vec<String>,
}

pub(crate) fn word(name: &str, language: Language) -> String {
    WORDS.text(name, language).to_owned()
}

pub(crate) fn filled(name: &str, places: &[(&str, &str)], language: Language) -> String {
    WORDS.filled(name, places, language)
}

fn lines(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(ToOwned::to_owned)
}

fn date(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d").to_string()
}

impl Sheet {
    /// An invoice or a credit note. Without a language it is in that of the customer.
    pub(crate) fn of_invoice(
        of: &Invoice,
        payments: &[Payment],
        language: Option<Language>,
    ) -> Self {
        let document = &of.document;
        let own = Language::from_tag(&document.language).unwrap_or(Language::En);
        let language = language.unwrap_or(own);
        let say = |name: &str| word(name, language);
        let money = |amount: Decimal| format!("{amount} {}", of.currency.as_str());
        let kind = match (of.kind, of.status) {
            (InvoiceKind::CreditNote, _) => "credit_note",
            (InvoiceKind::Invoice, InvoiceStatus::Draft) => "draft",
            (InvoiceKind::Invoice, _) => "invoice",
        };
        let number = of.number.clone().unwrap_or_default();
        let mut facts = vec![(say("number"), number.clone())];
        let mut fact = |name: &str, value: Option<String>| {
            facts.extend(value.map(|value| (say(name), value)));
        };
        fact("issued", of.issued_at.map(date));
        if of.kind == InvoiceKind::Invoice {
            fact("due_date", of.due_at.map(date));
        }
        fact("corrects", document.corrects.clone());
        fact("reason", document.reason.as_deref().map(say));
        facts.retain(|(_, value)| !value.is_empty());
        let percent = document.tax_percent.normalize().to_string();
        let mut totals = vec![
            (say("subtotal"), money(document.subtotal)),
            (filled("tax", &[("percent", &percent)], language), money(document.tax)),
            (say("total"), money(document.total)),
        ];
        if !document.credit.is_zero() {
            totals.push((say("credit"), money(-document.credit)));
        }
        if of.kind == InvoiceKind::Invoice {
            let paid: Decimal =
                payments.iter().filter(|one| one.is_paid()).map(|one| one.amount).sum();
            if !paid.is_zero() {
                totals.push((say("paid"), money(-paid)));
            }
            let last = if paid.is_zero() { "due" } else { "outstanding" };
            totals.push((say(last), money(of.outstanding)));
        }
        let mut notes = Vec::new();
        if document.reverse_charge {
            notes.push(say("reverse_charge"));
        }
        if of.kind == InvoiceKind::Invoice && !document.seller.bank_account.is_empty() {
            let account: Vec<_> = lines(&document.seller.bank_account).collect();
            notes.push(format!("{}: {}", say("bank"), account.join(", ")));
        }
        let row = |line: &InvoiceLine| row(line, of, language);
        Self {
            lang: language.tag(),
            title: format!("{} {number}", say(kind)).trim().to_owned(),
            mark: (of.status == InvoiceStatus::Void).then(|| say("void_note")),
            parties: parties(of, language),
            facts,
            head: ["description", "period", "quantity", "amount"].map(say).to_vec(),
            rows: document.lines.iter().map(row).collect(),
            totals,
            notes,
        }
    }

    /// As a page that is complete in itself.
    pub(crate) fn html(&self) -> Result<String, pages::Error> {
        pages::fill(TEMPLATES, "document.html", self)
    }
}

fn parties(of: &Invoice, language: Language) -> Vec<(String, Vec<String>)> {
    let document = &of.document;
    let tax_id = |id: &str| {
        let line = filled("tax_id", &[("id", id)], language);
        (!id.is_empty()).then_some(line)
    };
    let (seller, buyer) = (&document.seller, &document.buyer);
    let mut from: Vec<String> = lines(&seller.name).chain(lines(&seller.address)).collect();
    from.extend(tax_id(&seller.tax_id));
    from.extend(lines(&seller.email));
    let mut to: Vec<String> = lines(&buyer.name).chain(lines(&buyer.address)).collect();
    to.extend(lines(&buyer.country));
    to.extend(tax_id(&buyer.tax_id));
    vec![(word("seller", language), from), (word("buyer", language), to)]
}

fn row(line: &InvoiceLine, of: &Invoice, language: Language) -> SheetRow {
    let charge = match line.is_adjustment && of.kind == InvoiceKind::Invoice {
        true => filled("adjustment", &[("charge", &line.charge)], language),
        false => line.charge.clone(),
    };
    let last = line.to.pred_opt().unwrap_or(line.to).max(line.from);
    let quantity = if line.meter.is_some() && !line.quantity.is_zero() {
        line.quantity.to_string()
    } else {
        String::new()
    };
    let mut notes = vec![filled("plan_of", &[("plan", &line.plan)], language)];
    // How a difference is made up is not said by what is owed in all.
    if !line.is_adjustment {
        notes.extend(line.made_up.iter().map(|part| made_up(part, language)));
    }
    let period = format!("{} – {last}", line.from);
    SheetRow { cells: vec![charge, period, quantity, line.amount.to_string()], notes }
}

/// How a part of a line comes to its amount.
fn made_up(part: &RatedLine, language: Language) -> String {
    let short = |amount: Decimal| amount.normalize().to_string();
    let amount = short(part.amount);
    let mut text = match part.kind {
        LineKind::Minimum => filled("part_minimum", &[("amount", &amount)], language),
        LineKind::Flat | LineKind::Earlier => filled("part_flat", &[("amount", &amount)], language),
        LineKind::Usage => {
            let unit = part.unit.map(short).unwrap_or_default();
            let quantity = short(part.quantity);
            filled("part", &[("quantity", &quantity), ("unit", &unit)], language)
        }
    };
    for (name, taken) in [("part_discount", part.discount), ("part_capped", part.capped)] {
        if !taken.is_zero() {
            text.push(' ');
            text += &filled(name, &[("amount", &short(taken))], language);
        }
    }
    text
}
