//! What to generate: the seed, the size and the period.

use chrono::{Days, NaiveDate};

/// The longest period that can be generated, about three years.
pub const MAX_DAYS: u32 = 1_100;
/// Counts the changes of what a seed gives: a history of another generation cannot be continued.
pub const GENERATION: u32 = 2;
/// The largest number of organizations that can be generated.
pub const MAX_ORGANIZATIONS: u32 = 100_000;

/// The parameters of a generated business. The bytes are a function of these four numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The seed of all random numbers. Another seed gives another business of about the same size.
    pub seed: u64,
    /// The organizations that exist after 120 days: three in five before the start, the others sign up.
    pub organizations: u32,
    /// The first day, in UTC.
    pub start: NaiveDate,
    /// The length of the period in days, 1 to [`MAX_DAYS`].
    pub days: u32,
}

/// A profile that cannot be generated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The period has no day, or more than [`MAX_DAYS`].
    #[error("days is {days}, but must be between 1 and {MAX_DAYS}")]
    Days {
        /// The length that was asked for, in days.
        days: u32,
    },
    /// There is no organization, or there are more than [`MAX_ORGANIZATIONS`].
    #[error("organizations is {organizations}, but must be between 1 and {MAX_ORGANIZATIONS}")]
    Organizations {
        /// The number that was asked for.
        organizations: u32,
    },
    /// The first day of the period is before the first date that can be written.
    #[error("the period of {days} days ending on {end} lies outside the calendar")]
    Period {
        /// The length of the period, in days.
        days: u32,
        /// The first day after the period.
        end: NaiveDate,
    },
}

impl Profile {
    /// The profile of the `days` days before `end`; `end` itself is not generated.
    pub fn ending(seed: u64, organizations: u32, days: u32, end: NaiveDate) -> Result<Self, Error> {
        if !(1..=MAX_DAYS).contains(&days) {
            return Err(Error::Days { days });
        }
        if !(1..=MAX_ORGANIZATIONS).contains(&organizations) {
            return Err(Error::Organizations { organizations });
        }
        let start =
            end.checked_sub_days(Days::new(u64::from(days))).ok_or(Error::Period { days, end })?;
        Ok(Self { seed, organizations, start, days })
    }

    /// The first day after the period.
    pub fn end(&self) -> NaiveDate {
        self.date(self.days)
    }

    /// The same business for another number of days from the same start, for topping up.
    pub fn lasting(self, days: u32) -> Result<Self, Error> {
        let end = self.start.checked_add_days(Days::new(u64::from(days))).unwrap_or(NaiveDate::MAX);
        Self::ending(self.seed, self.organizations, days, end)
    }

    pub(crate) fn date(&self, day: u32) -> NaiveDate {
        self.start.checked_add_days(Days::new(u64::from(day))).unwrap_or(NaiveDate::MAX)
    }
}

impl Default for Profile {
    /// 300 organizations over the 120 days before 2026-01-01: about two million requests.
    fn default() -> Self {
        Self {
            seed: 1,
            organizations: 300,
            start: NaiveDate::from_ymd_opt(2025, 9, 3).unwrap_or_default(),
            days: 120,
        }
    }
}
