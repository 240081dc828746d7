//! The buckets of a time axis.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;

use crate::Zone;

/// The width of one bucket, on the clock of a zone. Weeks begin on Monday.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
    ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Grain {
    /// One minute of the clock.
    Minute,
    /// One hour of the clock. An hour that occurs twice, when the clock goes back, is two buckets.
    Hour,
    /// One day from midnight to midnight: 23 or 25 hours in most zones when the clock changes.
    Day,
    /// Seven days from Monday.
    Week,
    /// One month of the calendar.
    Month,
    /// Three months of the calendar, from the first day of January, April, July or October.
    Quarter,
    /// One year of the calendar, from January 1.
    Year,
}

impl Grain {
    /// All grains, from the shortest to the longest.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name in requests and in SQL, in small letters, such as `minute`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The width of a bucket of seconds or days; a month has none.
    pub(crate) fn width(self) -> Option<TimeDelta> {
        match self {
            Self::Minute => Some(TimeDelta::minutes(1)),
            Self::Hour => Some(TimeDelta::hours(1)),
            Self::Day => Some(TimeDelta::days(1)),
            Self::Week => Some(TimeDelta::days(7)),
            Self::Month | Self::Quarter | Self::Year => None,
        }
    }

    /// No bucket is much shorter.
    pub(crate) fn seconds_min(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
            Self::Month => 28 * 86_400,
            Self::Quarter => 90 * 86_400,
            Self::Year => 365 * 86_400,
        }
    }

    /// The first day of the bucket that a day lies in; of a grain of days or more.
    pub(crate) fn first_day(self, date: NaiveDate) -> NaiveDate {
        match self {
            Self::Minute | Self::Hour | Self::Day => date,
            Self::Week => date - Days::new(date.weekday().num_days_from_monday().into()),
            Self::Month => date - Days::new(date.day0().into()),
            Self::Quarter => {
                let month = date - Days::new(date.day0().into());
                month - Months::new(month.month0() % 3)
            }
            Self::Year => date - Days::new(date.ordinal0().into()),
        }
    }

    /// The day that follows a bucket's last one.
    pub(crate) fn day_after(self, first: NaiveDate) -> NaiveDate {
        let next = match self {
            Self::Minute | Self::Hour | Self::Day => first.checked_add_days(Days::new(1)),
            Self::Week => first.checked_add_days(Days::new(7)),
            Self::Month => first.checked_add_months(Months::new(1)),
            Self::Quarter => first.checked_add_months(Months::new(3)),
            Self::Year => first.checked_add_months(Months::new(12)),
        };
        next.unwrap_or(NaiveDate::MAX)
    }

    /// The start of the bucket that `at` lies in. A bucket of minutes or hours begins anew where the clock changes
    /// within it.
    pub fn start(self, at: DateTime<Utc>, zone: Zone) -> DateTime<Utc> {
        match self {
            Self::Minute | Self::Hour => {
                let width = self.seconds_min();
                let offset = zone.offset_at(at);
                let past = (at.timestamp() + offset.num_seconds()).rem_euclid(width);
                let start = DateTime::from_timestamp(at.timestamp() - past, 0).unwrap_or(at);
                zone.next_change(start, at).unwrap_or(start)
            }
            _ => zone.midnight(self.first_day(zone.local(at).date())),
        }
    }

    /// The end of the bucket that begins at `start`.
    pub fn end(self, start: DateTime<Utc>, zone: Zone) -> DateTime<Utc> {
        match self {
            Self::Minute | Self::Hour => {
                let width = self.seconds_min();
                let past =
                    (start.timestamp() + zone.offset_at(start).num_seconds()).rem_euclid(width);
                let end = start + TimeDelta::seconds(width - past);
                zone.next_change(start, end).unwrap_or(end)
            }
            _ => {
                let mut next = self.day_after(self.first_day(zone.local(start).date()));
                // A day that the zone skipped takes no time.
                loop {
                    let end = zone.midnight(next);
                    if end > start {
                        return end;
                    }
                    next = self.day_after(next);
                }
            }
        }
    }

    /// The starts of the buckets that `[from, to)` touches.
    pub fn buckets(
        self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        zone: Zone,
    ) -> impl Iterator<Item = DateTime<Utc>> {
        let next = move |at: &DateTime<Utc>| Some(self.end(*at, zone));
        std::iter::successors(Some(self.start(from, zone)), next).take_while(move |at| *at < to)
    }

    /// The SQL expression that gives the start of a row's bucket, for rows in `[from, to)`.
    ///
    /// Between two changes of the clock a bucket is arithmetic on the number (`date_bin`), several times faster than a
    /// look into the calendar for every row; only months need that.
    pub(crate) fn sql(
        self,
        time: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        zone: Zone,
    ) -> String {
        let mut cases = Vec::new();
        let mut begin = from;
        loop {
            let end = zone.next_change(begin, to);
            let offset = zone.offset_at(begin);
            // The bucket in which the clock changed began before, or not on the new clock's grid.
            let start = self.start(begin, zone);
            if start != self.start(begin, Zone::fixed(offset)) {
                let first_end = self.end(start, zone);
                cases.push((Some(first_end), literal(start)));
            }
            cases.push((end, self.arithmetic(time, offset)));
            match end {
                Some(end) if end < to => begin = end,
                _ => break,
            }
        }
        let last = cases.pop().map(|(_, expression)| expression).unwrap_or_default();
        if cases.is_empty() {
            return last;
        }
        let cases: String = cases
            .into_iter()
            .filter_map(|(end, expression)| {
                Some(format!("WHEN {time} < {} THEN {expression} ", literal(end?)))
            })
            .collect();
        format!("CASE {cases}ELSE {last} END")
    }

    fn arithmetic(self, time: &str, offset: TimeDelta) -> String {
        let name = self.name();
        match self.width() {
            Some(_) => {
                let width = if self == Self::Week { "7 days".into() } else { format!("1 {name}") };
                // A Monday, on the clock of the zone.
                let origin = DateTime::from_timestamp(4 * 86_400, 0).unwrap_or_default() - offset;
                format!("date_bin(INTERVAL '{width}', {time}, {})", literal(origin))
            }
            None if offset.is_zero() => format!("date_trunc('{name}', {time})"),
            None => {
                let shift = format!("INTERVAL '{} seconds'", offset.num_seconds());
                format!("date_trunc('{name}', {time} + {shift}) - {shift}")
            }
        }
    }
}

/// The SQL expression of a time on the clock of a zone, for rows in `[from, to)`.
pub(crate) fn local_sql(time: &str, from: DateTime<Utc>, to: DateTime<Utc>, zone: Zone) -> String {
    let shifted = |at| match zone.offset_at(at).num_seconds() {
        0 => time.to_owned(),
        seconds => format!("{time} + INTERVAL '{seconds} seconds'"),
    };
    let (mut cases, mut begin) = (String::new(), from);
    while let Some(end) = zone.next_change(begin, to).filter(|end| *end < to) {
        cases += &format!("WHEN {time} < {} THEN {} ", literal(end), shifted(begin));
        begin = end;
    }
    match cases.is_empty() {
        true => shifted(begin),
        false => format!("CASE {cases}ELSE {} END", shifted(begin)),
    }
}

/// An instant in SQL.
pub(crate) fn literal(at: DateTime<Utc>) -> String {
    let at = at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    format!("arrow_cast('{at}', 'Timestamp(Microsecond, Some(\"UTC\"))')")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn zone(text: &str) -> Zone {
        text.parse().unwrap()
    }

    #[test]
    fn buckets_cover_the_window() {
        let days: Vec<_> = Grain::Day
            .buckets(at("2026-02-27T12:00:00Z"), at("2026-03-02T00:00:00Z"), Zone::UTC)
            .collect();
        assert_eq!(days.first(), Some(&at("2026-02-27T00:00:00Z")));
        assert_eq!(days.len(), 3);
        let months: Vec<_> = Grain::Month
            .buckets(at("2026-01-31T00:00:00Z"), at("2026-03-01T00:00:01Z"), Zone::UTC)
            .collect();
        assert_eq!(
            months,
            [at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"), at("2026-03-01T00:00:00Z")]
        );
        assert_eq!(
            Grain::Week.start(at("2026-11-22T23:59:59Z"), Zone::UTC),
            at("2026-11-16T00:00:00Z")
        );
        assert_eq!(
            Grain::Quarter.start(at("2026-11-22T23:59:59Z"), Zone::UTC),
            at("2026-10-01T00:00:00Z")
        );
        assert_eq!(
            Grain::Year.end(at("2026-01-01T00:00:00Z"), Zone::UTC),
            at("2027-01-01T00:00:00Z")
        );
    }

    #[test]
    fn the_days_on_which_the_clock_changes_have_23_and_25_hours() {
        let berlin = zone("Europe/Berlin");
        for (day, hours) in [("2026-03-29", 23), ("2026-03-30", 24), ("2026-10-25", 25)] {
            let start = berlin.midnight(day.parse().unwrap());
            let end = Grain::Day.end(start, berlin);
            assert_eq!((end - start).num_hours(), hours, "{day}");
            assert_eq!(Grain::Hour.buckets(start, end, berlin).count() as i64, hours);
            assert_eq!(Grain::Day.buckets(start, end, berlin).count(), 1);
        }
        // Half an hour back at 02:00: the hour from 01:30 is a bucket of its own.
        let island = zone("Australia/Lord_Howe");
        let start = island.midnight("2026-04-05".parse().unwrap());
        let hours: Vec<_> =
            Grain::Hour.buckets(start, start + TimeDelta::hours(4), island).collect();
        let local: Vec<_> =
            hours.iter().map(|at| island.local(*at).format("%H:%M").to_string()).collect();
        assert_eq!(local, ["00:00", "01:00", "01:30", "02:00", "03:00"]);
        // A day that was skipped is no bucket.
        let samoa = zone("Pacific/Apia");
        let (from, to) = (at("2011-12-29T10:00:00Z"), at("2012-01-01T10:00:00Z"));
        let days: Vec<_> = Grain::Day
            .buckets(from, to, samoa)
            .map(|at| samoa.local(at).date().to_string())
            .collect();
        assert_eq!(days, ["2011-12-29", "2011-12-31", "2012-01-01"]);
    }

    proptest::proptest! {
        /// Whatever the zone: buckets follow one another, and each instant lies in the one that it starts.
        #[test]
        fn buckets_tile_the_time(
            seconds in 0_i64..2_000_000_000, zone in 0..ZONES.len(), grain in 0..Grain::ALL.len(),
        ) {
            let (zone, grain) = (self::zone(ZONES[zone]), Grain::ALL[grain]);
            let at = DateTime::from_timestamp(seconds, 0).unwrap();
            let start = grain.start(at, zone);
            let end = grain.end(start, zone);
            proptest::prop_assert!(start <= at && at < end, "{start} {at} {end}");
            proptest::prop_assert_eq!(grain.start(start, zone), start);
            proptest::prop_assert_eq!(grain.start(end, zone), end);
            proptest::prop_assert_eq!(grain.start(end - TimeDelta::seconds(1), zone), start);
        }
    }

    const ZONES: [&str; 9] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Sao_Paulo",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Atlantic/Azores",
        "-03:30",
    ];
}
