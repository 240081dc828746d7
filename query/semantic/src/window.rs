//! The window of a question: from it is said, or by the name of a range, to the instants of it, and the window that it is
//! compared with.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::{Error, Grain, Zone};

/// A half-open window `[from, to)`, on the clock of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The first instant of the window.
    pub from: DateTime<Utc>,
    /// The first instant after the window.
    pub to: DateTime<Utc>,
    /// The clock that the dates and months of the window follow.
    pub zone: Zone,
    /// The unit that a window to date, or a whole one, is of.
    unit: Option<Grain>,
}

/// A window as it is asked for. Everything is optional; without anything it is the last 30 days.
#[derive(Debug, Clone, Default)]
pub struct WindowRequest<'a> {
    /// RFC 3339, or a date of the zone.
    pub from: Option<&'a str>,
    /// The end, which is not included: RFC 3339, or a date of the zone. `None`: the start of today, or
    /// its end if `today` is set or `from` is not before today. It is `None` too where `range` is set.
    pub to: Option<&'a str>,
    /// The name of a range, instead of both.
    pub range: Option<&'a str>,
    /// Whether a range of whole days ends with today, as far as it is.
    pub today: bool,
    /// The clock that dates and ranges are read on; UTC by default.
    pub zone: Zone,
}

/// What the values of a window are compared with.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Compare {
    /// The window of the same length directly before. To date: the same days of the unit before.
    PreviousPeriod,
    /// The same dates of the year before.
    PreviousYear,
}

/// The days of a window that nobody asked for.
const DEFAULT_DAYS: u64 = 30;

/// Days of `last_N_days`, and its like.
const LAST_MAX: u64 = 3_660;

/// The names of ranges, for a refusal and the docs.
pub(crate) const RANGES: &str = "today, yesterday, last_N_hours, last_N_days, last_N_weeks, last_N_months, week_to_date, \
    month_to_date, quarter_to_date, year_to_date, previous_week, previous_month, previous_quarter, previous_year";

impl WindowRequest<'_> {
    /// The instants of the window, for a request of `now`.
    ///
    /// # Errors
    /// When a text is no time or no range, or the window is empty.
    pub fn resolve(&self, now: DateTime<Utc>) -> Result<Window, Error> {
        let window = match self.range {
            Some(_) if self.from.is_some() || self.to.is_some() => {
                return Err(Error::Window(
                    "`range` stands for `from` and `to`: send the one or the others".into(),
                ));
            }
            Some(range) => self.named(range, now)?,
            None => self.explicit(now)?,
        };
        if window.from >= window.to {
            return Err(Error::Window("`from` must lie before `to`".into()));
        }
        Ok(window)
    }

    fn explicit(&self, now: DateTime<Utc>) -> Result<Window, Error> {
        let Self { zone, .. } = *self;
        let today = zone.local(now).date();
        let from = self.from.map(|text| instant("from", text, zone)).transpose()?;
        // Who begins today wants to see it, as far as it is.
        let is_with_today = self.today || from.is_some_and(|from| from >= zone.midnight(today));
        let end = zone.midnight(if is_with_today { after(today, 1) } else { today });
        let to = self.to.map_or(Ok(end), |text| instant("to", text, zone))?;
        let first = || {
            let last = zone.local(to);
            zone.instant(before(last.date(), DEFAULT_DAYS).and_time(last.time()))
        };
        Ok(Window { from: from.unwrap_or_else(first), to, zone, unit: None })
    }

    fn named(&self, range: &str, now: DateTime<Utc>) -> Result<Window, Error> {
        let Self { zone, .. } = *self;
        let unknown = || Error::Range(range.to_owned());
        let today = zone.local(now).date();
        let end = if self.today { after(today, 1) } else { today };
        let days = |from, to| Window {
            from: zone.midnight(from),
            to: zone.midnight(to),
            zone,
            unit: None,
        };
        match range {
            "today" => return Ok(days(today, after(today, 1))),
            "yesterday" => return Ok(days(before(today, 1), today)),
            _ => {}
        }
        if let Some(unit) = range.strip_suffix("_to_date").and_then(unit) {
            let window = days(unit.first_day(today), after(today, 1));
            return Ok(Window { unit: Some(unit), ..window });
        }
        if let Some(unit) = range.strip_prefix("previous_").and_then(unit) {
            let to = unit.first_day(today);
            let window = days(unit.first_day(before(to, 1)), to);
            return Ok(Window { unit: Some(unit), ..window });
        }
        let (count, unit) = range
            .strip_prefix("last_")
            .and_then(|rest| rest.split_once('_'))
            .ok_or_else(unknown)?;
        let count: u64 = count.parse().map_err(|_| unknown())?;
        if count == 0 || count > LAST_MAX {
            return Err(Error::Window(format!("`{range}`: the number is from 1 to {LAST_MAX}")));
        }
        let months = |count: u64| Months::new(u32::try_from(count).unwrap_or(u32::MAX));
        Ok(match unit {
            "hour" | "hours" => {
                let to = if self.today {
                    Grain::Hour.end(Grain::Hour.start(now, zone), zone)
                } else {
                    Grain::Hour.start(now, zone)
                };
                let hours = TimeDelta::hours(i64::try_from(count).unwrap_or(i64::MAX));
                Window { from: to - hours, to, zone, unit: None }
            }
            "day" | "days" => days(before(end, count), end),
            "week" | "weeks" => days(before(end, 7 * count), end),
            "month" | "months" => {
                let first = end.checked_sub_months(months(count)).ok_or_else(unknown)?;
                days(first, end)
            }
            _ => return Err(unknown()),
        })
    }
}

impl Window {
    /// A window of two instants.
    pub fn new(from: DateTime<Utc>, to: DateTime<Utc>, zone: Zone) -> Self {
        Self { from, to, zone, unit: None }
    }

    /// The starts of its buckets; without a grain it is one, which has none.
    pub fn buckets(&self, grain: Option<Grain>) -> Vec<Option<DateTime<Utc>>> {
        match grain {
            Some(grain) => grain.buckets(self.from, self.to, self.zone).map(Some).collect(),
            None => vec![None],
        }
    }

    /// Whether it begins and ends at midnight.
    pub fn is_of_whole_days(&self) -> bool {
        [self.from, self.to].into_iter().all(|at| Grain::Day.start(at, self.zone) == at)
    }

    /// The window up to the last midnight in it.
    pub fn of_whole_days(self) -> Self {
        Self { to: Grain::Day.start(self.to, self.zone), ..self }
    }

    /// The window that this one is compared with. Of a window that is not over, it ends as early: half a day is not
    /// compared with a whole one.
    pub fn compared(&self, compare: Compare, now: DateTime<Utc>) -> Self {
        let from = self.shifted(self.from, compare);
        let mut to = self.shifted(self.to.min(now.max(self.from)), compare);
        if let (Some(unit), Compare::PreviousPeriod) = (self.unit, compare) {
            // The 31st of a month has no like in a shorter one.
            to = to.min(unit.end(from, self.zone));
        }
        Self { from, to: to.max(from), ..*self }
    }

    /// An instant of this window, in the other.
    fn shifted(&self, at: DateTime<Utc>, compare: Compare) -> DateTime<Utc> {
        let zone = self.zone;
        let local = |at| zone.local(at);
        let by_months = |months: u32| zone.months_before(at, months);
        match (compare, self.unit) {
            (Compare::PreviousYear, _) | (_, Some(Grain::Year)) => by_months(12),
            (_, Some(unit)) => {
                let first = unit.first_day(local(self.from).date());
                let before = unit.first_day(first - Days::new(1));
                // The end of the unit is that of the one before, which may be longer.
                if at == zone.midnight(unit.day_after(first)) {
                    return zone.midnight(first);
                }
                // By days, so that a longer month's last days follow a shorter one's.
                let at = local(at);
                let days = u64::try_from((at.date() - first).num_days()).unwrap_or_default();
                zone.instant(after(before, days).and_time(at.time()))
            }
            (_, None) => match self.months() {
                Some(months) => by_months(months),
                None => match self.days() {
                    Some(days) => {
                        let at = local(at);
                        zone.instant(before(at.date(), days).and_time(at.time()))
                    }
                    None => at - (self.to - self.from),
                },
            },
        }
    }

    /// The days of the window, if it begins and ends at midnight.
    fn days(&self) -> Option<u64> {
        let (from, to) = (self.zone.local(self.from).date(), self.zone.local(self.to).date());
        let whole = self.zone.midnight(from) == self.from && self.zone.midnight(to) == self.to;
        whole.then(|| u64::try_from((to - from).num_days()).ok())?
    }

    /// The months of the window, if it begins and ends with one.
    fn months(&self) -> Option<u32> {
        self.days()?;
        let (from, to) = (self.zone.local(self.from).date(), self.zone.local(self.to).date());
        let count = |date: NaiveDate| 12 * date.year() + date.month0().cast_signed();
        let whole = from.day() == 1 && to.day() == 1;
        whole.then(|| u32::try_from(count(to) - count(from)).ok())?
    }
}

/// The time that a parameter gives: RFC 3339, or a date of the zone. `name` is for the refusal.
///
/// # Errors
/// When the text is neither, or is outside the years 1970 to 2261.
fn instant(name: &str, text: &str, zone: Zone) -> Result<DateTime<Utc>, Error> {
    let date =
        || text.parse::<NaiveDate>().ok().filter(|date| (1969..=2261).contains(&date.year()));
    let exact = DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc());
    let at = exact.or_else(|| Some(zone.instant(date()?.and_time(NaiveTime::MIN))));
    // The years that an event may be of; a window may begin before the first.
    at.filter(|at| (1969..=2261).contains(&at.year())).ok_or_else(|| {
        Error::Window(format!(
            "`{name}` is neither an RFC 3339 time nor a date of the years 1970 to 2261"
        ))
    })
}

/// The unit of a range, by its name.
fn unit(name: &str) -> Option<Grain> {
    match name {
        "week" => Some(Grain::Week),
        "month" => Some(Grain::Month),
        "quarter" => Some(Grain::Quarter),
        "year" => Some(Grain::Year),
        _ => None,
    }
}

fn after(date: NaiveDate, days: u64) -> NaiveDate {
    date.checked_add_days(Days::new(days)).unwrap_or(NaiveDate::MAX)
}

fn before(date: NaiveDate, days: u64) -> NaiveDate {
    date.checked_sub_days(Days::new(days)).unwrap_or(NaiveDate::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-23T15:00:00Z";

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn range(name: &str, zone: &str, now: &str) -> Window {
        let request = WindowRequest {
            range: Some(name),
            zone: zone.parse().unwrap(),
            ..WindowRequest::default()
        };
        request.resolve(at(now)).unwrap()
    }

    fn days(window: &Window) -> String {
        let day = |at| window.zone.local(at).format("%m-%dT%H");
        format!("{} {}", day(window.from), day(window.to))
    }

    #[test]
    fn windows_default_to_complete_days() {
        let resolve =
            |from, to| WindowRequest { from, to, ..WindowRequest::default() }.resolve(at(NOW));
        let window = resolve(None, None).unwrap();
        assert_eq!(days(&window), "10-24T00 11-23T00");
        let window = resolve(Some("2026-11-23T01:00:00Z"), None).unwrap();
        assert_eq!(days(&window), "11-23T01 11-24T00");
        let window = resolve(Some("2026-01-01"), Some("2026-02-01T00:00:00+01:00")).unwrap();
        assert_eq!(days(&window), "01-01T00 01-31T23");
        for odd in ["yesterday", "-262143-01-15", "+262142-12-31", "0000-01-01"] {
            assert!(resolve(Some(odd), None).is_err(), "{odd}");
            assert!(resolve(None, Some(odd)).is_err(), "{odd}");
        }
        assert!(resolve(Some("2026-02-01"), Some("2026-02-01")).is_err());
        let today =
            WindowRequest { today: true, ..WindowRequest::default() }.resolve(at(NOW)).unwrap();
        assert_eq!(days(&today), "10-25T00 11-24T00");
    }

    #[test]
    fn ranges_are_of_the_zone() {
        // In Auckland it is the 24th already.
        for (name, utc, auckland) in [
            ("today", "11-23T00 11-24T00", "11-24T00 11-25T00"),
            ("yesterday", "11-22T00 11-23T00", "11-23T00 11-24T00"),
            ("last_2_hours", "11-23T13 11-23T15", "11-24T02 11-24T04"),
            ("last_7_days", "11-16T00 11-23T00", "11-17T00 11-24T00"),
            ("last_2_weeks", "11-09T00 11-23T00", "11-10T00 11-24T00"),
            ("last_1_month", "10-23T00 11-23T00", "10-24T00 11-24T00"),
            ("week_to_date", "11-23T00 11-24T00", "11-23T00 11-25T00"),
            ("month_to_date", "11-01T00 11-24T00", "11-01T00 11-25T00"),
            ("quarter_to_date", "10-01T00 11-24T00", "10-01T00 11-25T00"),
            ("year_to_date", "01-01T00 11-24T00", "01-01T00 11-25T00"),
            ("previous_week", "11-16T00 11-23T00", "11-16T00 11-23T00"),
            ("previous_month", "10-01T00 11-01T00", "10-01T00 11-01T00"),
            ("previous_quarter", "07-01T00 10-01T00", "07-01T00 10-01T00"),
            ("previous_year", "01-01T00 01-01T00", "01-01T00 01-01T00"),
        ] {
            assert_eq!(days(&range(name, "UTC", NOW)), utc, "{name}");
            assert_eq!(days(&range(name, "Pacific/Auckland", NOW)), auckland, "{name}");
        }
        for odd in [
            "",
            "last_0_days",
            "last_9999_days",
            "last_-1_days",
            "last_days",
            "last_3_years",
            "next_week",
            "day_to_date",
        ] {
            let request = WindowRequest { range: Some(odd), ..WindowRequest::default() };
            assert!(request.resolve(at(NOW)).is_err(), "{odd}");
        }
        let both = WindowRequest {
            range: Some("today"),
            from: Some("2026-01-01"),
            ..WindowRequest::default()
        };
        assert!(both.resolve(at(NOW)).is_err());
    }

    #[test]
    fn windows_are_compared_with_those_before() {
        let compared = |name: &str, zone: &str, now: &str, compare| {
            days(&range(name, zone, now).compared(compare, at(now)))
        };
        let period = |name: &str, now: &str| compared(name, "UTC", now, Compare::PreviousPeriod);
        assert_eq!(period("last_7_days", NOW), "11-09T00 11-16T00");
        assert_eq!(period("previous_month", NOW), "09-01T00 10-01T00");
        assert_eq!(period("previous_quarter", NOW), "04-01T00 07-01T00");
        let march = |name: &str| period(name, "2026-03-10T15:00:00Z");
        assert_eq!(march("previous_month"), "01-01T00 02-01T00");
        let april = |name: &str| period(name, "2026-04-10T15:00:00Z");
        assert_eq!(
            (april("previous_month"), april("previous_quarter")),
            ("02-01T00 03-01T00".into(), "10-01T00 01-01T00".into())
        );
        // As far as today is.
        assert_eq!(period("today", NOW), "11-22T00 11-22T15");
        assert_eq!(period("month_to_date", NOW), "10-01T00 10-23T15");
        assert_eq!(period("week_to_date", "2026-11-25T06:00:00Z"), "11-16T00 11-18T06");
        assert_eq!(period("quarter_to_date", NOW), "07-01T00 08-23T15");
        assert_eq!(period("year_to_date", NOW), "01-01T00 11-23T15");
        // February ends before the 31st.
        assert_eq!(period("month_to_date", "2026-03-31T12:00:00Z"), "02-01T00 03-01T00");
        let year =
            |name: &str, zone: &str, now: &str| compared(name, zone, now, Compare::PreviousYear);
        assert_eq!(year("month_to_date", "UTC", NOW), "11-01T00 11-23T15");
        assert_eq!(year("last_7_days", "Europe/Berlin", NOW), "11-16T00 11-23T00");
        // A year and a day of the clock's change: days are days.
        let spring = range("last_2_days", "Europe/Berlin", "2026-03-30T12:00:00Z");
        assert_eq!((spring.to - spring.from).num_hours(), 47);
        assert_eq!(
            days(&spring.compared(Compare::PreviousPeriod, at("2026-03-30T12:00:00Z"))),
            "03-26T00 03-28T00"
        );
        let months = Window::new(at("2026-03-01T00:00:00Z"), at("2026-04-01T00:00:00Z"), Zone::UTC);
        assert_eq!(days(&months.compared(Compare::PreviousPeriod, at(NOW))), "02-01T00 03-01T00");
        let hours = Window::new(at("2026-03-01T06:00:00Z"), at("2026-03-01T12:00:00Z"), Zone::UTC);
        assert_eq!(days(&hours.compared(Compare::PreviousPeriod, at(NOW))), "03-01T00 03-01T06");
    }
}
