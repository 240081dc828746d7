//! What is due on a day: what is owed for the billing periods that are over, and in advance for the one that begins, without
//! what was billed.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Months, NaiveDate};
use rust_decimal::Decimal;

use crate::{
    BillingError, Meter, PriceBook,
    accrual::{Accrual, accruals},
    decimal::Checked,
    meter::DailyUsage,
    rate::RatedLine,
    segment::{Segment, segments},
    subscription::{Subscription, SubscriptionStatus},
};

/// Names a charge of a segment among all that is billed of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineKey {
    /// The first day of the billing period.
    pub period_start: NaiveDate,
    /// The first day of the segment.
    pub from: NaiveDate,
    /// The plan.
    pub plan: String,
    /// The charge.
    pub charge: String,
}

/// What was billed of a charge of a segment: the sum of invoices and credit notes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Billed {
    /// Of what the charge counts.
    pub quantity: Decimal,
    /// The amount, without tax.
    pub amount: Decimal,
}

/// A line that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueLine {
    /// What it is for.
    pub key: LineKey,
    /// The first day after the segment.
    pub to: NaiveDate,
    /// The first day after the billing period.
    pub period_end: NaiveDate,
    /// Of the price.
    pub price_version: String,
    /// What the charge counts.
    pub meter: Option<Meter>,
    /// Names or globs of the models whose usage is counted; empty: all.
    pub models: Vec<String>,
    /// Without what was billed.
    pub quantity: Decimal,
    /// Without what was billed; never zero.
    pub amount: Decimal,
    /// Of a period that was billed before.
    pub is_adjustment: bool,
    /// How what is owed in all is made up.
    pub made_up: Vec<RatedLine>,
}

/// What is due on a day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// What is to be paid.
    pub lines: Vec<DueLine>,
    /// What was billed too much; amounts are negative.
    pub credits: Vec<DueLine>,
    /// Why it is not right yet, in words.
    pub problems: BTreeSet<String>,
}

/// Periods before the one that ended whose usage may still come.
pub const LATE_PERIODS: usize = 3;
/// They ended at most so many days ago.
const LATE_DAYS: i64 = 100;

/// The days on which something is billed, after one day and through another: when a paid phase or a billing period begins,
/// and when the subscription ends, and a month later.
pub fn billing_days(
    subscription: &Subscription,
    after: Option<NaiveDate>,
    through: NaiveDate,
) -> Vec<NaiveDate> {
    let mut days = Vec::new();
    let Some(mut day) = subscription.paid_from() else { return days };
    while day <= through {
        if after.is_none_or(|after| day > after) {
            days.push(day);
        }
        if subscription.status_on(day) == SubscriptionStatus::Canceled {
            // Usage that came late.
            let late = day.checked_add_months(Months::new(1)).filter(|late| *late <= through);
            days.extend(late.filter(|late| after.is_none_or(|after| *late > after)));
            break;
        }
        let Some((_, end)) = subscription.period_on(day) else { break };
        day = subscription.ends_on.map_or(end, |last| last.min(end));
    }
    days
}

/// A billing period that is over, or begins.
struct Period {
    start: NaiveDate,
    end: NaiveDate,
}

impl Period {
    fn on(subscription: &Subscription, day: NaiveDate) -> Option<Self> {
        subscription.period_on(day).map(|(start, end)| Self { start, end })
    }
}

/// The first day whose usage counts for what is due on a day.
pub fn reads_from(subscription: &Subscription, on: NaiveDate) -> NaiveDate {
    ended(subscription, on).last().map_or(on, |period| period.start.max(subscription.starts_on()))
}

/// The periods that are over on a day, the newest first: the last one, and those of which usage may still come. After its end,
/// a subscription has none.
fn ended(subscription: &Subscription, on: NaiveDate) -> Vec<Period> {
    let mut periods: Vec<Period> = Vec::new();
    let mut day = subscription.ends_on.map_or(on, |end| end.min(on));
    while let Some(last) = day.pred_opt().filter(|last| *last >= subscription.starts_on())
        && periods.len() <= LATE_PERIODS
        && let Some(period) = Period::on(subscription, last)
    {
        let is_late = periods.is_empty() || (on - day).num_days() <= LATE_DAYS;
        if !is_late {
            break;
        }
        day = period.start;
        periods.push(period);
    }
    periods
}

/// What is due on one of the [`billing_days`].
pub fn due(
    subscription: &Subscription,
    on: NaiveDate,
    (book, digits): (&PriceBook, u32),
    usage: &DailyUsage,
    billed: &BTreeMap<LineKey, Billed>,
) -> Result<Due, BillingError> {
    let mut due = Due::default();
    let mut left = billed.clone();
    let ended = ended(subscription, on);
    // Long after the end, all that comes is late.
    let is_final = subscription.ends_on.is_some_and(|end| end < on);
    let newest = ended.first().map(|period| period.start).filter(|_| !is_final);
    let mut known: BTreeSet<NaiveDate> = ended.iter().map(|period| period.start).collect();
    for period in ended.iter().rev() {
        let is_late = Some(period.start) != newest;
        for segment in segments(subscription, (period.start, period.end), book)? {
            for accrual in accruals(&segment, usage, &book.list, digits, on)? {
                due.add(&segment, period.end, accrual, is_late, &mut left)?;
            }
        }
    }
    let goes_on = subscription.status_on(on) != SubscriptionStatus::Canceled;
    if goes_on && let Some(period) = Period::on(subscription, on) {
        known.insert(period.start);
        for mut segment in segments(subscription, (period.start, period.end), book)? {
            segment.charges.retain(|charge| charge.in_advance);
            let first = segment.share.from;
            for accrual in accruals(&segment, usage, &book.list, digits, first)? {
                due.add(&segment, period.end, accrual, false, &mut left)?;
            }
        }
    }
    // What was billed for a price that does not hold any more.
    left.retain(|key, was| known.contains(&key.period_start) && !was.amount.is_zero());
    for (key, was) in left {
        due.credits.push(DueLine {
            to: key.from,
            period_end: key.period_start,
            price_version: String::new(),
            meter: None,
            models: Vec::new(),
            quantity: -was.quantity,
            amount: -was.amount,
            is_adjustment: true,
            made_up: Vec::new(),
            key,
        });
    }
    Ok(due)
}

impl Due {
    /// Adds the difference between what is owed and what was billed.
    fn add(
        &mut self,
        segment: &Segment,
        period_end: NaiveDate,
        accrual: Accrual,
        is_late: bool,
        billed: &mut BTreeMap<LineKey, Billed>,
    ) -> Result<(), BillingError> {
        let key = LineKey {
            period_start: segment.period_start,
            from: segment.share.from,
            plan: segment.plan.clone(),
            charge: accrual.charge.name.clone(),
        };
        let was = billed.remove(&key);
        let before = was.unwrap_or_default();
        let (quantity, amount) = accrual.total();
        let difference = amount.plus(-before.amount)?;
        self.problems.extend(accrual.problems);
        if difference.is_zero() {
            return Ok(());
        }
        let line = DueLine {
            key,
            to: segment.share.to,
            period_end,
            price_version: segment.price_version.clone(),
            meter: accrual.meter,
            models: accrual.charge.models.clone(),
            quantity: quantity.plus(-before.quantity)?,
            amount: difference,
            is_adjustment: is_late || was.is_some(),
            made_up: accrual.lines,
        };
        match difference.is_sign_negative() {
            true => self.credits.push(line),
            false => self.lines.push(line),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
