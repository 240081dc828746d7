//! What stands on an invoice or a credit note. It is fixed when the invoice is finalized, with the names and addresses of then.

use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    BillingError, Due, DueLine, LineKey, RatedLine, customers::Customer, decimal::Checked,
    desk::Seller, rate::amount,
};

/// What stands on an invoice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Who sells.
    pub seller: Seller,
    /// Who pays.
    pub buyer: Buyer,
    /// `en` or `zh-CN`.
    pub language: String,
    /// The lines, by period and charge.
    pub lines: Vec<InvoiceLine>,
    /// The sum of the lines.
    #[schema(value_type = String)]
    pub subtotal: Decimal,
    /// Percent.
    #[schema(value_type = String)]
    pub tax_percent: Decimal,
    /// Rounded once.
    #[schema(value_type = String)]
    pub tax: Decimal,
    /// `subtotal + tax`.
    #[schema(value_type = String)]
    pub total: Decimal,
    /// The customer owes the tax.
    pub reverse_charge: bool,
    /// What credit paid.
    #[schema(value_type = String)]
    pub credit: Decimal,
    /// `total − credit`.
    #[schema(value_type = String)]
    pub due: Decimal,
    /// Of a draft: why it cannot be finalized by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Of a credit note: the number of its invoice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrects: Option<String>,
    /// Of a credit note: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a credit note: what is credited was owed all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_goodwill: bool,
}

/// What the next invoice would be, with the usage of up to now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InvoicePreview {
    /// The billing day.
    pub(crate) billed_on: NaiveDate,
    /// ISO 4217; of all amounts.
    pub(crate) currency: String,
    /// The cut at which usage was read.
    pub(crate) as_of: String,
    pub(crate) lines: Vec<InvoiceLine>,
    pub(crate) subtotal: Decimal,
    /// Percent.
    pub(crate) tax_percent: Decimal,
    pub(crate) tax: Decimal,
    pub(crate) total: Decimal,
    /// What credit would pay.
    pub(crate) credit: Decimal,
    pub(crate) due: Decimal,
    /// Why it could not be finalized by itself.
    pub(crate) problems: Vec<String>,
    /// The total if the remaining days are like those before them.
    pub(crate) forecast_total: Decimal,
}

/// Who pays, as on the day of the invoice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Buyer {
    /// The legal name, or that of the organization.
    pub name: String,
    /// In lines.
    pub address: String,
    /// The tax id.
    pub tax_id: String,
    /// ISO 3166-1.
    pub country: String,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvoiceLine {
    /// From 1.
    pub line: u32,
    /// The first day of the billing period.
    #[schema(value_type = String, format = Date)]
    pub period_start: NaiveDate,
    /// The first day after it.
    #[schema(value_type = String, format = Date)]
    pub period_end: NaiveDate,
    /// The first day that is charged.
    #[schema(value_type = String, format = Date)]
    pub from: NaiveDate,
    /// The first day after the last that is charged.
    #[schema(value_type = String, format = Date)]
    pub to: NaiveDate,
    /// The plan.
    pub plan: String,
    /// Such as `pro@2`, or the id of an agreement.
    pub price_version: String,
    /// The charge.
    pub charge: String,
    /// What it counts; none for a flat charge.
    pub meter: Option<String>,
    /// Names or globs of the models whose usage is counted; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Of the meter.
    #[schema(value_type = String)]
    pub quantity: Decimal,
    /// Before tax, in the digits of the currency.
    #[schema(value_type = String)]
    pub amount: Decimal,
    /// Of a period that was billed before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_adjustment: bool,
    /// How what the charge comes to in all is made up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made_up: Vec<RatedLine>,
}

impl InvoiceLine {
    pub(crate) fn of(line: u32, due: &DueLine) -> Self {
        Self {
            line,
            period_start: due.key.period_start,
            period_end: due.period_end,
            from: due.key.from,
            to: due.to,
            plan: due.key.plan.clone(),
            price_version: due.price_version.clone(),
            charge: due.key.charge.clone(),
            meter: due.meter.map(|meter| meter.as_str().to_owned()),
            models: due.models.clone(),
            quantity: due.quantity.normalize(),
            amount: due.amount,
            is_adjustment: due.is_adjustment,
            made_up: due.made_up.clone(),
        }
    }

    /// What it is for.
    pub(crate) fn key(&self) -> LineKey {
        LineKey {
            period_start: self.period_start,
            from: self.from,
            plan: self.plan.clone(),
            charge: self.charge.clone(),
        }
    }
}

/// The parties of a document.
#[derive(Debug, Clone)]
pub(crate) struct Parties {
    pub(crate) seller: Seller,
    pub(crate) buyer: Buyer,
    pub(crate) customer: Customer,
}

impl Document {
    /// The document of what is due, without credit.
    pub(crate) fn of(due: &Due, parties: Parties, digits: u32) -> Result<Self, BillingError> {
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(&due.lines) {
            lines.push(InvoiceLine::of(number, line));
        }
        let percent = parties.customer.charged_tax();
        let subtotal = sum(&lines, digits)?;
        let tax = tax_of(subtotal, percent, digits)?;
        let problems = due.problems.iter().cloned().collect();
        Ok(Self { problems, ..Self::with(lines, subtotal, (percent, tax), parties)? })
    }

    pub(crate) fn with(
        lines: Vec<InvoiceLine>,
        subtotal: Decimal,
        (tax_percent, tax): (Decimal, Decimal),
        parties: Parties,
    ) -> Result<Self, BillingError> {
        let total = subtotal.plus(tax)?;
        let language = match parties.customer.language.as_str() {
            "" => "en".to_owned(),
            known => known.to_owned(),
        };
        Ok(Self {
            seller: parties.seller,
            buyer: parties.buyer,
            language,
            lines,
            subtotal,
            tax_percent,
            tax,
            total,
            reverse_charge: parties.customer.reverse_charge,
            credit: Decimal::ZERO,
            due: total,
            ..Self::default()
        })
    }

    /// The document with credit that pays a part of it.
    pub(crate) fn paid_by(self, balance: Decimal) -> Self {
        let credit = balance.min(self.total).max(Decimal::ZERO);
        Self { credit, due: self.total - credit, ..self }
    }
}

/// The sum of lines.
pub(crate) fn sum(lines: &[InvoiceLine], digits: u32) -> Result<Decimal, BillingError> {
    let zero = amount(Decimal::ZERO, digits);
    lines.iter().try_fold(zero, |sum, line| sum.plus(line.amount))
}

/// The tax of an amount.
pub(crate) fn tax_of(
    subtotal: Decimal,
    percent: Decimal,
    digits: u32,
) -> Result<Decimal, BillingError> {
    Ok(amount(subtotal.times(percent)?.over(Decimal::ONE_HUNDRED)?, digits))
}
