//! Five fields of cron: minute, hour, day of the month, month, day of the week.
//!
//! The `cron` crate wants seconds first, counts days of the week from 1 for Sunday, and asks for both days to match. Here
//! they count as everywhere: Sunday is 0 or 7, and where both days are restricted, either is enough.

use std::{collections::BTreeSet, fmt, str::FromStr};

use chrono::{NaiveDateTime, Utc};
use cron::Schedule;

/// A text of five fields that was understood.
#[derive(Debug, Clone)]
pub struct CronText {
    text: String,
    /// One, or two of which either is enough.
    schedules: Vec<Schedule>,
}

/// A text has at most so many bytes.
const BYTES_MAX: usize = 200;
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl CronText {
    /// Reads a text. Fails with the reason.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > BYTES_MAX {
            return Err(format!("`cron` is longer than {BYTES_MAX} bytes"));
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!(
                "`cron` has {} fields; five are needed: minute, hour, day of the month, month, day of the week",
                fields.len()
            ));
        };
        let weekdays = weekdays(weekday)?;
        let is_any = |field: &str| field.starts_with('*') || field == "?";
        let schedule = |day: &str, weekdays: &str| {
            let six = format!("0 {minute} {hour} {day} {month} {weekdays}");
            Schedule::from_str(&six).map_err(|error| format!("`cron`: `{text}`: {error}"))
        };
        let schedules = if is_any(day) || is_any(weekday) {
            vec![schedule(day, &weekdays)?]
        } else {
            vec![schedule(day, "*")?, schedule("*", &weekdays)?]
        };
        Ok(Self { text: fields.join(" "), schedules })
    }

    /// The local times after one, in their order.
    pub(super) fn times_after(&self, since: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
        // A local time is read as one of UTC, whose clock never changes.
        let since = since.and_utc();
        let mut rows: Vec<_> =
            self.schedules.iter().map(|schedule| schedule.after_owned(since).peekable()).collect();
        std::iter::from_fn(move || {
            let first = rows.iter_mut().filter_map(|row| row.peek().copied()).min()?;
            for row in &mut rows {
                row.next_if_eq(&first);
            }
            Some(first.with_timezone(&Utc).naive_utc())
        })
    }
}

/// The field of days of the week as the `cron` crate reads it: a list of names.
fn weekdays(field: &str) -> Result<String, String> {
    if field == "*" || field == "?" {
        return Ok("*".to_owned());
    }
    let bad = || format!("`cron`: `{field}` is no field of days of the week");
    let mut days = BTreeSet::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                (range, step.parse().ok().filter(|step| *step > 0).ok_or_else(bad)?)
            }
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (0, 6),
            Some((from, to)) => (weekday(from).ok_or_else(bad)?, weekday(to).ok_or_else(bad)?),
            // `5/2` means from there to the end.
            None if step > 1 => (weekday(range).ok_or_else(bad)?, 6),
            None => {
                let day = weekday(range).ok_or_else(bad)?;
                (day, day)
            }
        };
        // Friday to Sunday ends with the other name of Sunday.
        let to = if to < from { to + 7 } else { to };
        days.extend((from..=to).step_by(step).map(|day| day % 7));
    }
    let names: Vec<&str> = days.into_iter().map(|day| DAYS[day]).collect();
    Ok(names.join(","))
}

fn weekday(text: &str) -> Option<usize> {
    let number = text.parse().ok().filter(|day| *day <= 7);
    number.or_else(|| DAYS.iter().position(|name| name.eq_ignore_ascii_case(text)))
}

impl PartialEq for CronText {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CronText {}

impl fmt::Display for CronText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
