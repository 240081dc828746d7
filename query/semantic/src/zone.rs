//! Time zones: the clock that buckets, days and months of an answer follow.

use std::{fmt, str::FromStr};

use chrono::{
    DateTime, Days, FixedOffset, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta,
    TimeZone, Utc,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An IANA zone such as `Europe/Berlin`, or an offset such as `+02:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Zone {
    /// A zone of the IANA database; its clock may change, such as to summer time.
    Named(chrono_tz::Tz),
    /// A fixed offset from UTC, such as `+02:00`; this clock never changes.
    Offset(FixedOffset),
}

/// A text is no time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time zone; take a name such as Europe/Berlin")]
pub struct UnknownZone(pub String);

impl Zone {
    /// Coordinated Universal Time, the default.
    pub const UTC: Self = Self::Named(chrono_tz::UTC);

    /// A zone whose clock is always as far ahead of UTC. No zone is a day ahead.
    pub(crate) fn fixed(offset: TimeDelta) -> Self {
        let seconds = i32::try_from(offset.num_seconds()).ok();
        seconds.and_then(FixedOffset::east_opt).map_or(Self::UTC, Self::Offset)
    }

    /// Seconds that the clock of the zone is ahead of UTC at an instant.
    pub fn offset_at(self, at: DateTime<Utc>) -> TimeDelta {
        let offset = match self {
            Self::Named(zone) => zone.offset_from_utc_datetime(&at.naive_utc()).fix(),
            Self::Offset(offset) => offset,
        };
        TimeDelta::seconds(offset.local_minus_utc().into())
    }

    /// The clock of the zone at an instant.
    pub fn local(self, at: DateTime<Utc>) -> NaiveDateTime {
        at.naive_utc() + self.offset_at(at)
    }

    /// The first instant at which the clock of the zone shows a time. Where the clock skips it, the first instant after
    /// the gap.
    pub fn instant(self, local: NaiveDateTime) -> DateTime<Utc> {
        let earliest = match self {
            Self::Named(zone) => zone.from_local_datetime(&local).earliest().map(|at| at.to_utc()),
            Self::Offset(offset) => {
                offset.from_local_datetime(&local).earliest().map(|at| at.to_utc())
            }
        };
        earliest.unwrap_or_else(|| {
            // No zone is a day and a half away from UTC.
            let (before, after) = (local.and_utc() - Days::new(2), local.and_utc() + Days::new(2));
            first_second(before, after, |at| self.local(at) >= local)
        })
    }

    /// The first instant of a day.
    pub fn midnight(self, date: NaiveDate) -> DateTime<Utc> {
        self.instant(date.and_time(NaiveTime::MIN))
    }

    /// The same clock time some days earlier.
    pub fn days_before(self, at: DateTime<Utc>, days: u64) -> DateTime<Utc> {
        let local = self.local(at);
        let date = local.date().checked_sub_days(Days::new(days)).unwrap_or(NaiveDate::MIN);
        self.instant(date.and_time(local.time()))
    }

    /// The same date and time of day so many months before, or the last date of a shorter month.
    pub fn months_before(self, at: DateTime<Utc>, months: u32) -> DateTime<Utc> {
        let local = self.local(at);
        let date = local.date().checked_sub_months(Months::new(months)).unwrap_or(NaiveDate::MIN);
        self.instant(date.and_time(local.time()))
    }

    /// The first change of the clock in `(from, to]`.
    pub fn next_change(self, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if let Self::Offset(_) | Self::Named(chrono_tz::UTC) = self {
            return None;
        }
        let mut at = from;
        while at < to {
            // No clock changes twice in a day.
            let next = (at + Days::new(1)).min(to);
            let offset = self.offset_at(at);
            if self.offset_at(next) != offset {
                return Some(first_second(at, next, |at| self.offset_at(at) != offset));
            }
            at = next;
        }
        None
    }
}

/// The first whole second in `(low, high]` for which something holds that holds at `high`.
fn first_second(
    low: DateTime<Utc>,
    high: DateTime<Utc>,
    holds: impl Fn(DateTime<Utc>) -> bool,
) -> DateTime<Utc> {
    let (mut low, mut high) = (low.timestamp(), high.timestamp());
    let at =
        |seconds: i64| DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(at(middle)) { high = middle } else { low = middle }
    }
    at(high)
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(text: &str) -> Result<Self, UnknownZone> {
        if let Ok(zone) = text.parse() {
            return Ok(Self::Named(zone));
        }
        let unknown = || UnknownZone(text.to_owned());
        let (sign, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (1, rest),
            Some(("-", rest)) => (-1, rest),
            _ => return Err(unknown()),
        };
        let (hours, minutes) = match rest.split_once(':') {
            Some((hours, minutes)) => (hours, minutes),
            None => (rest.get(..2).ok_or_else(unknown)?, rest.get(2..).ok_or_else(unknown)?),
        };
        let number = |text: &str, max: i32| match text.len() {
            2 if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok().filter(|number: &i32| *number <= max)
            }
            _ => None,
        };
        let minutes = if minutes.is_empty() { Some(0) } else { number(minutes, 59) };
        let (Some(hours), Some(minutes)) = (number(hours, 15), minutes) else {
            return Err(unknown());
        };
        let offset = FixedOffset::east_opt(sign * (hours * 3_600 + minutes * 60));
        offset.map(Self::Offset).ok_or_else(unknown)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(zone) => f.write_str(zone.name()),
            Self::Offset(offset) => offset.fmt(f),
        }
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn zones_have_names_or_offsets() {
        for (zone, name) in [
            ("UTC", "UTC"),
            ("Europe/Berlin", "Europe/Berlin"),
            ("America/New_York", "America/New_York"),
            ("+05:30", "+05:30"),
            ("-0800", "-08:00"),
            ("+02", "+02:00"),
        ] {
            assert_eq!(zone.parse::<Zone>().unwrap().to_string(), name);
        }
        for other in [
            "",
            "Berlin",
            "utc'",
            "+99:00",
            "../../etc/localtime",
            "+1:00",
            "+05:60",
            "+0",
            "+05:30:10",
            "é",
        ] {
            assert!(other.parse::<Zone>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_day_begins_after_the_gap_where_the_clock_skips_midnight() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let zone = |text: &str| text.parse::<Zone>().unwrap();
        for (name, date, expected) in [
            ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z"),
            ("Europe/Berlin", "2026-03-30", "2026-03-29T22:00:00Z"),
            // 00:00 became 01:00.
            ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"),
            // 24:00 became 23:00: the day begins once.
            ("America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00:00Z"),
            // 01:00 became 00:00: the day begins the first time.
            ("Atlantic/Azores", "2026-10-25", "2026-10-25T00:00:00Z"),
            // The whole day was skipped.
            ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"),
            ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"),
            ("+05:30", "2026-01-01", "2025-12-31T18:30:00Z"),
        ] {
            assert_eq!(zone(name).midnight(day(date)), at(expected), "{name} {date}");
        }
    }

    #[test]
    fn changes_of_the_clock_are_found() {
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        let spring = berlin.next_change(from, to).unwrap();
        assert_eq!(spring, at("2026-03-29T01:00:00Z"));
        let autumn = berlin.next_change(spring, to).unwrap();
        assert_eq!(autumn, at("2026-10-25T01:00:00Z"));
        assert_eq!(berlin.next_change(autumn, to), None);
        assert_eq!(berlin.next_change(from, spring), Some(spring));
        assert_eq!(Zone::UTC.next_change(from, to), None);
    }
}
