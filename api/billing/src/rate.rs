//! Rating: what a quantity costs by a charge.

use ingest::money::round;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{
    BillingError,
    bill::invalid,
    charge::{Charge, ChargeModel, PackagePrice, Tier, UnitPrice},
    decimal::Checked,
};

/// What was billed of the same charge and period before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The quantity.
    pub before: Decimal,
    /// The amount, after discounts.
    pub billed: Decimal,
    /// Nothing follows in this period: the minimum is due.
    pub is_last: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { before: Decimal::ZERO, billed: Decimal::ZERO, is_last: true }
    }
}

/// A line: `gross − discount`, rounded once, without `capped` is `amount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RatedLine {
    /// The name of the charge.
    pub charge: String,
    /// What the line is.
    pub kind: LineKind,
    /// How much of the meter, without what is included.
    #[schema(value_type = String)]
    pub quantity: Decimal,
    /// The amount for a unit, or for `per` of them, or for a package.
    #[schema(value_type = Option<String>)]
    pub unit: Option<Decimal>,
    /// Before anything is taken off, exact.
    #[schema(value_type = String)]
    pub gross: Decimal,
    /// The discount in percent, exact.
    #[schema(value_type = String)]
    pub discount: Decimal,
    /// What is above the maximum.
    #[schema(value_type = String)]
    pub capped: Decimal,
    /// What is due for it, in the digits of the currency.
    #[schema(value_type = String)]
    pub amount: Decimal,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// A quantity at a price.
    Usage,
    /// An amount of its own: a flat charge, or that of a tier.
    Flat,
    /// What was billed before at the price of then, taken back: the price of all units has changed.
    Earlier,
    /// What is missing to the minimum.
    Minimum,
}

/// A part of what a quantity costs.
struct Part {
    kind: LineKind,
    quantity: Decimal,
    unit: Option<Decimal>,
    gross: Decimal,
}

/// Rates a quantity that comes after what was billed before. Fails for a quantity below zero, and for a charge that makes no
/// sense.
pub fn rate(
    charge: &Charge,
    quantity: Decimal,
    progress: &Progress,
    digits: u32,
) -> Result<Vec<RatedLine>, BillingError> {
    charge.check()?;
    let given = [("quantity", quantity), ("before", progress.before), ("billed", progress.billed)];
    if let Some((name, _)) = given.iter().find(|(_, value)| *value < Decimal::ZERO) {
        let reason = "is not negative".to_owned();
        return Err(BillingError::Invalid { name: format!("{name} of {}", charge.name), reason });
    }
    for (name, bound) in [("minimum", charge.minimum), ("maximum", charge.maximum)] {
        in_digits(&format!("{name} of {}", charge.name), bound.unwrap_or_default(), digits)?;
    }
    in_digits(&format!("billed {}", charge.name), progress.billed, digits)?;
    let mut lines = Vec::new();
    let mut taken_back = Decimal::ZERO;
    if let ChargeModel::Volume(_) = charge.price
        && !progress.is_first()
    {
        taken_back = progress.billed;
        lines.push(earlier(charge, progress));
    }
    let left = |most: Decimal| (most - progress.billed + taken_back).max(Decimal::ZERO);
    let mut left = charge.maximum.map(left);
    for part in parts(charge, quantity, progress)? {
        let percent = charge.discount_percent.over(Decimal::ONE_HUNDRED)?;
        let discount = part.gross.times(percent)?;
        let net = amount(part.gross - discount, digits);
        let capped = left.map_or(Decimal::ZERO, |left| (net - left).max(Decimal::ZERO));
        left = left.map(|left| left - (net - capped));
        lines.push(RatedLine {
            charge: charge.name.clone(),
            kind: part.kind,
            quantity: part.quantity,
            unit: part.unit,
            gross: part.gross,
            discount,
            capped,
            amount: net - capped,
        });
    }
    if let Some(least) = charge.minimum.filter(|_| progress.is_last) {
        let mut due = progress.billed;
        for line in &lines {
            due = due.plus(line.amount)?;
        }
        let missing = least - due;
        if missing > Decimal::ZERO {
            lines.push(RatedLine {
                charge: charge.name.clone(),
                kind: LineKind::Minimum,
                quantity: Decimal::ONE,
                unit: None,
                gross: missing,
                discount: Decimal::ZERO,
                capped: Decimal::ZERO,
                amount: amount(missing, digits),
            });
        }
    }
    Ok(lines)
}

impl Progress {
    /// Whether nothing was billed before.
    fn is_first(&self) -> bool {
        self.before.is_zero() && self.billed.is_zero()
    }
}

/// What was billed at the price of then, taken back.
fn earlier(charge: &Charge, progress: &Progress) -> RatedLine {
    RatedLine {
        charge: charge.name.clone(),
        kind: LineKind::Earlier,
        quantity: -progress.before,
        unit: None,
        gross: -progress.billed,
        discount: Decimal::ZERO,
        capped: Decimal::ZERO,
        amount: -progress.billed,
    }
}

/// Fails for an amount that the currency does not have: what is rounded would be more, or less, than was said.
pub(crate) fn in_digits(name: &str, value: Decimal, digits: u32) -> Result<(), BillingError> {
    match value.normalize().scale() <= digits {
        true => Ok(()),
        false => Err(invalid(name, "has more digits after the point than the currency")),
    }
}

/// An amount in the digits of its currency.
pub(crate) fn amount(exact: Decimal, digits: u32) -> Decimal {
    let mut amount = round(exact, digits);
    amount.rescale(digits);
    amount
}

/// The parts of the quantity between what was billed before and then, in the order of the tiers.
fn parts(
    charge: &Charge,
    quantity: Decimal,
    progress: &Progress,
) -> Result<Vec<Part>, BillingError> {
    let billable = |quantity: Decimal| (quantity - charge.included).max(Decimal::ZERO);
    let until = progress.before.plus(quantity)?;
    let (from, to) = (billable(progress.before), billable(until));
    Ok(match &charge.price {
        ChargeModel::Flat(amount) => {
            let kind = LineKind::Flat;
            vec![Part { kind, quantity, unit: Some(*amount), gross: quantity.times(*amount)? }]
        }
        ChargeModel::PerUnit(UnitPrice { amount, per }) => {
            let gross = (to - from).times(*amount)?.over(*per)?;
            vec![usage(to - from, *amount, gross)]
        }
        ChargeModel::Package(PackagePrice { amount, size }) => {
            let begun = to.over(*size)?.ceil() - from.over(*size)?.ceil();
            vec![usage(to - from, *amount, begun.times(*amount)?)]
        }
        ChargeModel::Graduated(tiers) => graduated(tiers, from, to, progress.is_first())?,
        ChargeModel::Volume(tiers) => volume(tiers, to)?,
    })
}

fn usage(quantity: Decimal, unit: Decimal, gross: Decimal) -> Part {
    Part { kind: LineKind::Usage, quantity, unit: Some(unit), gross }
}

fn flat(amount: Decimal) -> Part {
    Part { kind: LineKind::Flat, quantity: Decimal::ONE, unit: Some(amount), gross: amount }
}

/// A tier holds the quantities above the tier before, up to and with its own limit.
fn graduated(
    tiers: &[Tier],
    from: Decimal,
    to: Decimal,
    is_first: bool,
) -> Result<Vec<Part>, BillingError> {
    let mut parts = Vec::new();
    let mut low = Decimal::ZERO;
    for (place, tier) in tiers.iter().enumerate() {
        let high = tier.up_to.unwrap_or(Decimal::MAX);
        let quantity = (to.min(high) - from.max(low)).max(Decimal::ZERO);
        let is_entered = match place {
            0 => is_first,
            _ => from <= low && low < to,
        };
        if is_entered && !tier.flat.is_zero() {
            parts.push(flat(tier.flat));
        }
        if !quantity.is_zero() && !tier.unit.is_zero() {
            parts.push(usage(quantity, tier.unit, quantity.times(tier.unit)?));
        }
        low = high;
    }
    Ok(parts)
}

fn volume(tiers: &[Tier], quantity: Decimal) -> Result<Vec<Part>, BillingError> {
    let holds = |tier: &&Tier| tier.up_to.is_none_or(|up_to| quantity <= up_to);
    let Some(tier) = tiers.iter().find(holds) else { return Ok(Vec::new()) };
    let mut parts = Vec::new();
    if !tier.flat.is_zero() {
        parts.push(flat(tier.flat));
    }
    if !quantity.is_zero() && !tier.unit.is_zero() {
        parts.push(usage(quantity, tier.unit, quantity.times(tier.unit)?));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
