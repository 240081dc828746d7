//! What was used, and in which month.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, TimeZone, Utc};

use crate::plans::Currency;

/// A month of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(i32);

/// Requests, tokens and money at list price.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Requests, whatever their outcome.
    pub requests: i64,
    /// Tokens of input and output.
    pub tokens: i128,
    /// By currency, in units of 10⁻¹².
    pub spend: BTreeMap<Currency, i128>,
}

/// The use of a key in a month, or what is to be added to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Of the time when it occurred.
    pub month: Month,
    /// Whose use it is.
    pub organization_id: String,
    /// The key, where the events name one.
    pub api_key_id: Option<String>,
    /// How much.
    pub usage: Usage,
}

impl Month {
    /// The month of a time.
    pub fn of(at: DateTime<Utc>) -> Self {
        Self(at.year() * 12 + at.month0().cast_signed())
    }

    /// The month before it.
    pub fn previous(self) -> Self {
        Self(self.0 - 1)
    }

    /// Its first moment.
    pub fn start(self) -> DateTime<Utc> {
        let (year, month) = (self.0.div_euclid(12), self.0.rem_euclid(12) + 1);
        let start = Utc.with_ymd_and_hms(year, month.cast_unsigned(), 1, 0, 0, 0);
        start.single().unwrap_or_default()
    }

    /// The first moment after it.
    pub fn end(self) -> DateTime<Utc> {
        Self(self.0 + 1).start()
    }
}

impl Usage {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.tokens += other.tokens;
        for (currency, units) in &other.spend {
            *self.spend.entry(*currency).or_default() += units;
        }
    }

    /// Takes another one away.
    pub fn subtract(&mut self, other: &Self) {
        self.requests -= other.requests;
        self.tokens -= other.tokens;
        for (currency, units) in &other.spend {
            *self.spend.entry(*currency).or_default() -= units;
        }
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.requests == 0 && self.tokens == 0 && self.spend.values().all(|units| *units == 0)
    }

    pub(super) fn spent(&self, currency: Currency) -> i128 {
        self.spend.get(&currency).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_and_end_where_the_calendar_says() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        for (time, start, end) in [
            ("2026-11-30T23:59:59.999999Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2024-02-29T12:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-02-01T00:00:00Z"),
        ] {
            let month = Month::of(at(time));
            assert_eq!((month.start(), month.end()), (at(start), at(end)), "{time}");
        }
    }
}
