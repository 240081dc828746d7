//! A bill: lines, and what follows from their sum.

use accounts::plans::Currency;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{
    BillingError,
    decimal::{Checked, read},
    rate::{RatedLine, amount, in_digits},
};

/// What is taken off a whole bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Coupon {
    /// An amount, at most the whole.
    Amount(#[serde(deserialize_with = "read")] Decimal),
    /// Percent of the sum of the lines.
    Percent(#[serde(deserialize_with = "read")] Decimal),
}

/// Lines with their sum: the coupon comes off it, the tax is of what is left, and the credit pays a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bill {
    /// The currency of all amounts.
    pub currency: Currency,
    /// The lines, in the order of the charges.
    pub lines: Vec<RatedLine>,
    /// The sum of the lines.
    pub subtotal: Decimal,
    /// What the coupon takes off.
    pub coupon: Decimal,
    /// The tax in percent.
    pub tax_percent: Decimal,
    /// The tax, rounded once.
    pub tax: Decimal,
    /// `subtotal − coupon + tax`.
    pub total: Decimal,
    /// What credit pays.
    pub credit: Decimal,
    /// What is to be paid.
    pub due: Decimal,
}

/// What is done to a sum of lines.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Terms {
    pub(crate) coupon: Option<Coupon>,
    pub(crate) tax_percent: Decimal,
    pub(crate) credit: Decimal,
}

impl Bill {
    /// The bill of some lines.
    pub(crate) fn of(
        currency: Currency,
        lines: Vec<RatedLine>,
        terms: &Terms,
        digits: u32,
    ) -> Result<Self, BillingError> {
        in_digits("credit", terms.credit, digits)?;
        if let Some(Coupon::Amount(off)) = terms.coupon {
            in_digits("coupon", off, digits)?;
        }
        let percent = |name: &str, value: Decimal| match (Decimal::ZERO..=Decimal::ONE_HUNDRED)
            .contains(&value)
        {
            true => value.over(Decimal::ONE_HUNDRED),
            false => Err(invalid(name, "is 0 to 100")),
        };
        let mut subtotal = amount(Decimal::ZERO, digits);
        for line in &lines {
            subtotal = subtotal.plus(line.amount)?;
        }
        // What is taken back from an earlier price is no reason to take more off.
        let most = subtotal.max(Decimal::ZERO);
        let coupon = match terms.coupon {
            None => Decimal::ZERO,
            Some(Coupon::Amount(off)) if off < Decimal::ZERO => {
                return Err(invalid("coupon", "is not negative"));
            }
            Some(Coupon::Amount(off)) => off.min(most),
            Some(Coupon::Percent(off)) => most.times(percent("coupon", off)?)?,
        };
        if terms.credit < Decimal::ZERO {
            return Err(invalid("credit", "is not negative"));
        }
        let coupon = amount(coupon, digits);
        let taxed = subtotal - coupon;
        let tax = amount(taxed.times(percent("tax_percent", terms.tax_percent)?)?, digits);
        let total = taxed.plus(tax)?;
        let credit = amount(terms.credit.min(total.max(Decimal::ZERO)), digits);
        let tax_percent = terms.tax_percent;
        Ok(Self {
            currency,
            lines,
            subtotal,
            coupon,
            tax_percent,
            tax,
            total,
            credit,
            due: total - credit,
        })
    }
}

pub(crate) fn invalid(name: &str, reason: &str) -> BillingError {
    BillingError::Invalid { name: name.to_owned(), reason: reason.to_owned() }
}
