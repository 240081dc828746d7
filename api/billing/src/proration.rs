//! Proration: which part of its billing periods a span of days is. Days are local days, so that a change of the clocks makes
//! no difference.

use chrono::{Datelike, Months, NaiveDate};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{BillingError, decimal::Checked};

/// The billing periods of a subscription: they begin on the day of the month of its anchor, every so many months. In a month
/// that has no such day, on its last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillingDay {
    /// A day on which a period begins.
    pub anchor: NaiveDate,
    /// The length of a period in months, at least 1.
    pub months: u32,
}

/// A part of one billing period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The first day of the part.
    pub from: NaiveDate,
    /// The first day after it.
    pub to: NaiveDate,
    /// The days of the whole period.
    pub days_of_period: i64,
}

impl Share {
    /// The days of the part.
    pub fn days(&self) -> i64 {
        (self.to - self.from).num_days()
    }

    /// What the part costs, of the price of a whole period: exact.
    pub fn of(&self, price: Decimal) -> Result<Decimal, BillingError> {
        price.times(self.days().into())?.over(self.days_of_period.into())
    }
}

impl BillingDay {
    /// The first day of a period, counted from the one of the anchor.
    fn start(&self, period: i32) -> Option<NaiveDate> {
        let months = i64::from(period) * i64::from(self.months.max(1));
        let distance = Months::new(u32::try_from(months.abs()).ok()?);
        match months < 0 {
            true => self.anchor.checked_sub_months(distance),
            false => self.anchor.checked_add_months(distance),
        }
    }

    /// The period that holds a day: its first day, and the first day after it.
    pub fn period(&self, day: NaiveDate) -> Option<(NaiveDate, NaiveDate)> {
        let months = |date: NaiveDate| i64::from(date.year()) * 12 + i64::from(date.month0());
        let apart = months(day) - months(self.anchor);
        let guess = i32::try_from(apart.div_euclid(i64::from(self.months.max(1)))).ok()?;
        let period = if self.start(guess)? <= day { guess } else { guess - 1 };
        Some((self.start(period)?, self.start(period + 1)?))
    }

    /// The parts of the billing periods between two days, in their order. A whole period is a part, too.
    pub fn shares(&self, from: NaiveDate, to: NaiveDate) -> Result<Vec<Share>, BillingError> {
        let mut shares = Vec::new();
        let mut day = from;
        while day < to {
            let (start, end) = self.period(day).ok_or(BillingError::Overflow)?;
            let until = end.min(to);
            let days_of_period = (end - start).num_days();
            shares.push(Share { from: day, to: until, days_of_period });
            day = until;
        }
        Ok(shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn parts(anchor: &str, months: u32, from: &str, to: &str) -> Vec<(i64, i64)> {
        let cycle = BillingDay { anchor: day(anchor), months };
        let shares = cycle.shares(day(from), day(to)).unwrap();
        shares.iter().map(|share| (share.days(), share.days_of_period)).collect()
    }

    /// The first two are of Kill Bill's tests of proration, the third of Lago's.
    #[test]
    fn parts_are_of_whole_periods() {
        let double = parts("2011-01-15", 1, "2011-01-01", "2011-02-27");
        assert_eq!(double, [(14, 31), (31, 31), (12, 28)]);
        assert_eq!(parts("2011-02-13", 1, "2011-02-01", "2011-02-13"), [(12, 31)]);
        let quarter = BillingDay { anchor: day("2022-04-01"), months: 3 };
        let share = quarter.shares(day("2022-04-01"), day("2022-05-03")).unwrap()[0];
        assert_eq!((share.days(), share.days_of_period), (32, 91));
        assert_eq!(share.of("910.00".parse().unwrap()).unwrap(), Decimal::from(320));
        assert_eq!(parts("2026-01-01", 1, "2026-03-01", "2026-03-01"), []);
    }

    /// The 31st is the last day of a shorter month, and comes back.
    #[test]
    fn the_last_day_comes_back() {
        let cycle = BillingDay { anchor: day("2027-01-31"), months: 1 };
        let mut at = day("2027-01-31");
        let mut starts = Vec::new();
        for _ in 0..5 {
            let (start, end) = cycle.period(at).unwrap();
            assert_eq!(start, at);
            starts.push(start.to_string());
            at = end;
        }
        assert_eq!(starts, ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"]);
        assert_eq!(cycle.period(day("2026-12-30")).unwrap().0, day("2026-11-30"));
        let leap = BillingDay { anchor: day("2028-01-30"), months: 1 };
        assert_eq!(leap.period(day("2028-02-29")).unwrap().0, day("2028-02-29"));
    }

    /// Two parts of a period are the whole of it.
    #[test]
    fn parts_add_up() {
        let cycle = BillingDay { anchor: day("2026-01-31"), months: 1 };
        let (from, to) = cycle.period(day("2026-05-10")).unwrap();
        let mut middle = from.succ_opt().unwrap();
        while middle < to {
            let days: i64 = [cycle.shares(from, middle), cycle.shares(middle, to)]
                .into_iter()
                .flat_map(Result::unwrap)
                .map(|share| share.days())
                .sum();
            assert_eq!(days, (to - from).num_days());
            middle = middle.succ_opt().unwrap();
        }
    }
}
