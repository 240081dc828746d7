//! How a file writes its times.

use chrono::{
    DateTime, NaiveDateTime, NaiveTime, Offset, TimeZone,
    format::{Fixed, Item, Parsed, StrftimeItems, parse},
};

use chrono_tz::Tz;

use super::Cell;
use crate::time::{self, Micros};

/// How times are written, and in which zone those are that name none.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Times {
    format: TimeFormat,
    zone: Tz,
}

/// A format that was read and checked.
#[derive(Debug, Clone, PartialEq)]
enum TimeFormat {
    Rfc3339,
    /// A whole number since 1970: so many are a second.
    Unix(i64),
    Strftime(Vec<Item<'static>>),
}

const WORDS: [(&str, TimeFormat); 5] = [
    ("rfc3339", TimeFormat::Rfc3339),
    ("unix_s", TimeFormat::Unix(1)),
    ("unix_ms", TimeFormat::Unix(1_000)),
    ("unix_us", TimeFormat::Unix(1_000_000)),
    ("unix_ns", TimeFormat::Unix(1_000_000_000)),
];

impl Times {
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn parse(format: &str, zone: Option<&str>) -> Result<Self, String> {
        let zone = zone.map_or(Ok(Tz::UTC), |name| {
            let unknown = || {
                format!("`zone = \"{name}\"` is no time zone; take a name such as Europe/Berlin")
            };
            name.parse().map_err(|_| unknown())
        })?;
        Ok(Self { format: TimeFormat::parse(format)?, zone })
    }

    pub(super) fn read(&self, cell: &Cell<'_>) -> Option<Micros> {
        let at = match (&self.format, cell) {
            // A file that knows what a time is needs no format.
            (_, Cell::Time(at)) => *at,
            (_, Cell::Clock(shown)) => {
                let shown = DateTime::from_timestamp_micros(*shown)?.naive_utc();
                instant(self.zone, shown)?
            }
            (TimeFormat::Rfc3339, Cell::Text(text)) => return time::parse_rfc3339(text.trim()),
            (TimeFormat::Unix(per_second), cell) => {
                let micros = i128::from(cell.count()?) * 1_000_000;
                Micros::try_from(micros.div_euclid((*per_second).into())).ok()?
            }
            (TimeFormat::Strftime(items), Cell::Text(text)) => {
                strftime(items, text.trim(), self.zone)?
            }
            _ => return None,
        };
        time::in_range(at)
    }
}

/// The instant at which the clock of a zone shows a time: of an hour that it shows twice the first, of one that it skips
/// none.
fn instant(zone: Tz, shown: NaiveDateTime) -> Option<Micros> {
    let offset = zone.offset_from_local_datetime(&shown).earliest()?.fix();
    shown.and_utc().timestamp_micros().checked_sub(i64::from(offset.local_minus_utc()) * 1_000_000)
}

impl TimeFormat {
    /// # Errors
    /// A sentence that says what is wrong.
    fn parse(format: &str) -> Result<Self, String> {
        if let Some((_, known)) = WORDS.into_iter().find(|(word, _)| *word == format) {
            return Ok(known);
        }
        if !format.contains('%') {
            let words = WORDS.map(|(word, _)| word).join(", ");
            return Err(format!(
                "`format = \"{format}\"` is none of {words}, and no strftime format"
            ));
        }
        let items = StrftimeItems::new(format).parse_to_owned();
        let items = items.map_err(|_| format!("`format = \"{format}\"` is no strftime format"))?;
        if items.contains(&Item::Fixed(Fixed::TimezoneName)) {
            return Err(
                "`%Z` in `format`: the name of a zone does not say which it is; use an offset (%z)"
                    .into(),
            );
        }
        Ok(Self::Strftime(items))
    }
}

/// A text with an offset is an instant, one without is what the clock of the zone shows. One without an hour is midnight.
fn strftime(items: &[Item<'_>], text: &str, zone: Tz) -> Option<Micros> {
    let mut parsed = Parsed::new();
    parse(&mut parsed, text, items.iter()).ok()?;
    let offset = parsed.offset().unwrap_or(0);
    let local = match parsed.to_naive_datetime_with_offset(offset) {
        Ok(local) => local,
        Err(_) if parsed.hour_div_12().is_none() && parsed.minute().is_none() => {
            parsed.to_naive_date().ok()?.and_time(NaiveTime::MIN)
        }
        Err(_) => return None,
    };
    // Seconds since 1970 are an instant as well.
    if parsed.offset().is_none() && parsed.timestamp().is_none() {
        return instant(zone, local);
    }
    local.and_utc().timestamp_micros().checked_sub(i64::from(offset) * 1_000_000)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn read(format: &str, text: &str) -> Option<String> {
        let format = Times::parse(format, None).unwrap();
        format.read(&Cell::Text(Cow::Borrowed(text))).map(time::to_rfc3339)
    }

    #[test]
    fn an_offset_is_used_and_none_is_utc() {
        let nine = Some("2026-01-31T09:00:00Z".to_owned());
        for (format, text) in [
            ("%Y-%m-%d %H:%M:%S", "2026-01-31 09:00:00"),
            ("%Y-%m-%d %H:%M:%S %z", "2026-01-31 11:00:00 +0200"),
            ("%Y-%m-%d %H:%M:%S %:z", "2026-01-31 11:00:00 +02:00"),
            ("%Y-%m-%d %H:%M:%S %#z", "2026-01-31 11:00:00 +02"),
            ("%Y-%m-%d %H:%M:%S%z", "2026-01-31 04:30:00-0430"),
            ("%+", "2026-01-31T11:00:00.000+02:00"),
            ("%d.%m.%Y %H:%M", "31.01.2026 09:00"),
            ("%m/%d/%y %I:%M %p", "01/31/26 09:00 AM"),
            ("%s", "1769850000"),
            ("rfc3339", "2026-01-31T11:00:00+02:00"),
            ("unix_s", "1769850000"),
            ("unix_ms", "1769850000000"),
            ("unix_us", "1769850000000000"),
            ("unix_ns", "1769850000000000000"),
        ] {
            assert_eq!(read(format, text), nine, "{format} {text}");
        }
        assert_eq!(read("%Y-%m-%d", "2026-01-31").as_deref(), Some("2026-01-31T00:00:00Z"));
        assert_eq!(read("unix_ns", "1769850000000000999"), nine);
        for (format, text) in [
            ("%Y-%m-%d %H:%M:%S", "2026-01-31 09:00:00 +0200"),
            ("%Y-%m-%d %H:%M:%S %z", "2026-01-31 09:00:00"),
            ("%Y-%m-%d", "2026-02-30"),
            ("%H:%M", "09:00"),
            ("%Y-%m", "2026-01"),
            ("unix_s", "99999999999999999"),
        ] {
            assert_eq!(read(format, text), None, "{format} {text}");
        }
    }

    #[test]
    fn a_clock_is_that_of_the_zone() {
        let berlin = |format: &str| Times::parse(format, Some("Europe/Berlin")).unwrap();
        let clock = berlin("%Y-%m-%d %H:%M");
        for (text, instant) in [
            ("2026-01-31 09:00", Some("2026-01-31T08:00:00Z")),
            ("2026-07-31 09:00", Some("2026-07-31T07:00:00Z")),
            // It shows this hour twice.
            ("2026-10-25 02:30", Some("2026-10-25T00:30:00Z")),
            // It skips this one.
            ("2026-03-29 02:30", None),
        ] {
            let at = clock.read(&Cell::Text(Cow::Borrowed(text))).map(time::to_rfc3339);
            assert_eq!(at.as_deref(), instant, "{text}");
            let shown = format!("{}:00Z", text.replace(' ', "T"));
            let shown = Cell::Clock(time::parse_rfc3339(&shown).unwrap());
            assert_eq!(berlin("rfc3339").read(&shown).map(time::to_rfc3339).as_deref(), instant);
        }
        for (format, text) in [
            ("%Y-%m-%d %H:%M %z", "2026-01-31 09:00 +0000"),
            ("rfc3339", "2026-01-31T09:00:00Z"),
            ("%s", "1769850000"),
            ("unix_s", "1769850000"),
        ] {
            let at = berlin(format).read(&Cell::Text(Cow::Borrowed(text))).map(time::to_rfc3339);
            assert_eq!(at.as_deref(), Some("2026-01-31T09:00:00Z"), "{format}");
        }
        let error = Times::parse("%F", Some("Berlin")).unwrap_err();
        assert!(error.contains("no time zone"), "{error}");
    }

    #[test]
    fn a_format_that_is_none_is_refused() {
        for (format, part) in [
            ("iso8601", "rfc3339, unix_s, unix_ms, unix_us, unix_ns"),
            ("", "is none of"),
            ("%Y-%Q", "no strftime format"),
            ("%Y-%m-%d %H:%M %Z", "use an offset"),
        ] {
            let error = TimeFormat::parse(format).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
