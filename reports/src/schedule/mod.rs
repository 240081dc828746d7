//! When a report is made, and of which period: rules without a clock.

mod cron_text;
mod period;

use std::fmt;

use chrono::{
    DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc, Weekday,
};
use query::Zone;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::cron_text::CronText;
pub use period::{OFFERED_PERIODS, Period, UnknownPeriod};

/// When something is made, again and again: as one of the presets, or as five fields of cron.
///
/// In JSON: `{"every": "day", "at": "08:00"}`, `{"every": "weekday", "at": "08:00"}`, `{"every": "week", "on": "monday",
/// "at": "08:00"}`, `{"every": "month", "on": "15", "at": "08:00"}` with `on` from 1 to 31, `last_day` or `first_weekday`,
/// or `{"cron": "0 8 * * 1"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RecurrenceText", into = "RecurrenceText")]
pub enum Recurrence {
    Daily(NaiveTime),
    /// Monday to Friday.
    Weekdays(NaiveTime),
    Weekly(Weekday, NaiveTime),
    Monthly(MonthDay, NaiveTime),
    Cron(CronText),
}

/// A day of each month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonthDay {
    /// 1 to 31; in a shorter month its last day.
    Day(u32),
    Last,
    /// The first of Monday to Friday.
    FirstWeekday,
}

/// A [`Recurrence`] as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecurrenceText {
    /// `day`, `weekday`, `week` or `month`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// Of a week its day, in English; of a month its day, `last_day` or `first_weekday`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// The time of day in the zone, `HH:MM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Minute, hour, day of the month, month, day of the week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
}

/// A text is no recurrence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRecurrence(String);

impl TryFrom<RecurrenceText> for Recurrence {
    type Error = BadRecurrence;

    fn try_from(text: RecurrenceText) -> Result<Self, BadRecurrence> {
        let bad = |text: &str| BadRecurrence(text.to_owned());
        let RecurrenceText { every, on, at, cron } = text;
        if let Some(cron) = cron {
            if every.is_some() || on.is_some() || at.is_some() {
                return Err(bad(
                    "`cron` stands for `every`, `on` and `at`: send the one or the others",
                ));
            }
            return CronText::parse(&cron).map(Self::Cron).map_err(BadRecurrence);
        }
        let every = every.ok_or_else(|| bad("`every` is missing: day, weekday, week or month"))?;
        let at = at.ok_or_else(|| bad("`at` is missing: a time of day such as 08:00"))?;
        let at =
            NaiveTime::parse_from_str(&at, "%H:%M").ok().filter(|_| at.len() == 5).ok_or_else(
                || BadRecurrence(format!("`at`: `{at}` is no time of day such as 08:00")),
            )?;
        let needs_on = |what| bad(&format!("`on` is missing: {what}"));
        match (every.as_str(), on.as_deref()) {
            ("day", None) => Ok(Self::Daily(at)),
            ("weekday", None) => Ok(Self::Weekdays(at)),
            ("day" | "weekday", Some(_)) => Err(bad("`on` is for `week` and `month` only")),
            ("week", None) => Err(needs_on("a day of the week")),
            ("week", Some(on)) => weekday(on)
                .map(|day| Self::Weekly(day, at))
                .ok_or_else(|| BadRecurrence(format!("`on`: `{on}` is no day of the week"))),
            ("month", None) => Err(needs_on("1 to 31, last_day or first_weekday")),
            ("month", Some(on)) => {
                MonthDay::parse(on).map(|day| Self::Monthly(day, at)).ok_or_else(|| {
                    BadRecurrence(format!("`on`: `{on}` is not 1 to 31, last_day or first_weekday"))
                })
            }
            (other, _) => {
                Err(BadRecurrence(format!("`every`: `{other}` is not day, weekday, week or month")))
            }
        }
    }
}

impl From<Recurrence> for RecurrenceText {
    fn from(recurrence: Recurrence) -> Self {
        let preset = |every: &str, on: Option<String>, at: NaiveTime| Self {
            every: Some(every.to_owned()),
            on,
            at: Some(at.format("%H:%M").to_string()),
            cron: None,
        };
        match recurrence {
            Recurrence::Daily(at) => preset("day", None, at),
            Recurrence::Weekdays(at) => preset("weekday", None, at),
            Recurrence::Weekly(day, at) => preset("week", Some(weekday_name(day).to_owned()), at),
            Recurrence::Monthly(day, at) => preset("month", Some(day.to_string()), at),
            Recurrence::Cron(cron) => Self { cron: Some(cron.to_string()), ..Self::default() },
        }
    }
}

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Mon),
    ("tuesday", Weekday::Tue),
    ("wednesday", Weekday::Wed),
    ("thursday", Weekday::Thu),
    ("friday", Weekday::Fri),
    ("saturday", Weekday::Sat),
    ("sunday", Weekday::Sun),
];

fn weekday(name: &str) -> Option<Weekday> {
    WEEKDAYS.iter().find(|(known, _)| *known == name).map(|(_, day)| *day)
}

/// The name in English, in lower case.
pub fn weekday_name(day: Weekday) -> &'static str {
    WEEKDAYS.iter().find(|(_, known)| *known == day).map_or("", |(name, _)| name)
}

impl MonthDay {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "last_day" => Some(Self::Last),
            "first_weekday" => Some(Self::FirstWeekday),
            _ => text.parse().ok().filter(|day| (1..=31).contains(day)).map(Self::Day),
        }
    }

    /// The date in the month of `date`.
    fn of(self, date: NaiveDate) -> NaiveDate {
        let first = date.with_day(1).unwrap_or(date);
        let last = first + Days::new(u64::from(first.num_days_in_month()) - 1);
        match self {
            Self::Day(day) => first.with_day(day).unwrap_or(last),
            Self::Last => last,
            Self::FirstWeekday => match first.weekday() {
                Weekday::Sat => first + Days::new(2),
                Weekday::Sun => first + Days::new(1),
                _ => first,
            },
        }
    }
}

impl fmt::Display for MonthDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(day) => write!(f, "{day}"),
            Self::Last => f.write_str("last_day"),
            Self::FirstWeekday => f.write_str("first_weekday"),
        }
    }
}

/// Runs that lie closer together than this are refused.
const CLOSEST: TimeDelta = TimeDelta::minutes(15);
/// So many runs are looked at for that.
const LOOKED_AT: usize = 50;
/// Days that are looked at for a preset: more than the longest month, twice.
const DAYS_AHEAD: u64 = 70;

impl Recurrence {
    /// The first time after `after`, on the clock of the zone. A local time that the clock skips is the first instant
    /// after the gap; one that comes twice is the first of the two. None when there is none any more.
    pub fn next(&self, after: DateTime<Utc>, zone: Zone) -> Option<DateTime<Utc>> {
        // A day before: what the clock skipped may lie after.
        let since = zone.local(after).checked_sub_days(Days::new(1))?;
        match self {
            Self::Cron(cron) => {
                cron.times_after(since).map(|local| zone.instant(local)).find(|at| *at > after)
            }
            _ => {
                let mut dates = since.date().iter_days().take(usize::try_from(DAYS_AHEAD).ok()?);
                dates.find_map(|date| {
                    let at = zone.instant(self.on(date)?);
                    (at > after).then_some(at)
                })
            }
        }
    }

    /// The time on a date, if it is one of the preset's.
    fn on(&self, date: NaiveDate) -> Option<NaiveDateTime> {
        let (is_day, time) = match self {
            Self::Daily(at) => (true, at),
            Self::Weekdays(at) => (date.weekday().number_from_monday() <= 5, at),
            Self::Weekly(day, at) => (date.weekday() == *day, at),
            Self::Monthly(day, at) => (day.of(date) == date, at),
            Self::Cron(_) => return None,
        };
        is_day.then(|| date.and_time(*time))
    }

    /// The next times after `after`, at most so many.
    pub fn upcoming(&self, after: DateTime<Utc>, zone: Zone, count: usize) -> Vec<DateTime<Utc>> {
        std::iter::successors(self.next(after, zone), |at| self.next(*at, zone))
            .take(count)
            .collect()
    }

    /// Why it cannot be a schedule, if so: there is no next time, or they are too close together.
    pub fn fault(&self, now: DateTime<Utc>, zone: Zone) -> Option<String> {
        let times = self.upcoming(now, zone, LOOKED_AT);
        if times.is_empty() {
            return Some("there is no time at which it would run".to_owned());
        }
        let close = times.windows(2).any(|pair| pair[1] - pair[0] < CLOSEST);
        close.then(|| format!("two runs lie less than {} minutes apart", CLOSEST.num_minutes()))
    }
}

#[cfg(test)]
mod tests;
