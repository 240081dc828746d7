//! Accrual: what the charges of a segment come to, day by day.

use chrono::NaiveDate;
use rust_decimal::Decimal;

use std::collections::BTreeSet;

use crate::{
    BillingError, Charge, Meter, PriceList, Progress,
    decimal::Checked,
    meter::{DailyUsage, Metered, counted},
    rate::{RatedLine, amount, rate},
    segment::Segment,
};

/// What a charge of a segment has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accrual {
    /// The charge, in proportion to the days of the segment.
    pub charge: Charge,
    /// What it counts.
    pub meter: Option<Meter>,
    /// The days on which quantity or amount changed.
    pub days: Vec<AccruedDay>,
    /// How the amount of the last day is made up.
    pub lines: Vec<RatedLine>,
    /// Why the amount is not right yet, in words.
    pub problems: BTreeSet<String>,
}

/// Quantity and amount of a charge from the first day of its segment through one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccruedDay {
    /// The day.
    pub day: NaiveDate,
    /// What was counted.
    pub quantity: Decimal,
    /// What it costs.
    pub amount: Decimal,
}

impl Accrual {
    /// Quantity and amount of all its days.
    pub fn total(&self) -> (Decimal, Decimal) {
        self.days.last().map_or((Decimal::ZERO, Decimal::ZERO), |day| (day.quantity, day.amount))
    }
}

/// What the charges of a segment come to through `today`. The days before it are over: what a charge costs at least is due on
/// the last day of the segment.
pub fn accruals(
    segment: &Segment,
    usage: &DailyUsage,
    list: &PriceList,
    digits: u32,
    today: NaiveDate,
) -> Result<Vec<Accrual>, BillingError> {
    let accrued = |charge| accrual(segment, charge, usage, list, digits, today);
    segment.charges.iter().map(accrued).collect()
}

fn accrual(
    segment: &Segment,
    charge: &Charge,
    usage: &DailyUsage,
    list: &PriceList,
    digits: u32,
    today: NaiveDate,
) -> Result<Accrual, BillingError> {
    let charge = segment.prorated(charge, digits)?;
    let meter = charge.meter.as_deref().and_then(Meter::parse);
    let (from, to) = (segment.share.from, segment.share.to);
    let mut accrual =
        Accrual { charge, meter, days: Vec::new(), lines: Vec::new(), problems: BTreeSet::new() };
    if today < from {
        return Ok(accrual);
    }
    let last_day = to.pred_opt().ok_or(BillingError::Overflow)?;
    // What does not depend on usage is due on the first day.
    let mut quantity = match meter {
        None => Decimal::ONE,
        Some(Meter::Seats) => segment.seats.into(),
        Some(_) => Decimal::ZERO,
    };
    let mut days: BTreeSet<NaiveDate> = usage.range(from..to).map(|(day, _)| *day).collect();
    days.extend([from, last_day]);
    for day in days.into_iter().take_while(|day| *day <= today) {
        if let (Some(meter), Some(used)) = (meter, usage.get(&day)) {
            let prices = (segment.currency, list);
            let Metered { quantity: more, problems } =
                counted(&accrual.charge, meter, (day, used), prices)?;
            quantity = quantity.plus(more)?;
            accrual.problems.extend(problems);
        }
        let is_last = day == last_day && day < today;
        let progress = Progress { is_last, ..Progress::default() };
        let lines = rate(&accrual.charge, quantity, &progress, digits)?;
        let mut sum = amount(Decimal::ZERO, digits);
        for line in &lines {
            sum = sum.plus(line.amount)?;
        }
        let changed =
            accrual.days.last().is_none_or(|last| (last.quantity, last.amount) != (quantity, sum));
        if changed {
            accrual.days.push(AccruedDay { day, quantity, amount: sum });
            accrual.lines = lines;
        }
    }
    Ok(accrual)
}
