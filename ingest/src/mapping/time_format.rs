//! How a file writes its times.

use chrono::{
    NaiveTime,
    format::{Fixed, Item, Parsed, StrftimeItems, parse},
};

use super::Cell;
use crate::time::{self, Micros};

/// A format that was read and checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TimeFormat {
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

impl TimeFormat {
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn parse(format: &str) -> Result<Self, String> {
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

    pub(super) fn read(&self, cell: &Cell<'_>) -> Option<Micros> {
        let at = match (self, cell) {
            // A file that knows what a time is needs no format.
            (_, Cell::Time(at)) => *at,
            (Self::Rfc3339, Cell::Text(text)) => return time::parse_rfc3339(text.trim()),
            (Self::Unix(per_second), cell) => {
                let micros = i128::from(cell.count()?) * 1_000_000;
                Micros::try_from(micros.div_euclid((*per_second).into())).ok()?
            }
            (Self::Strftime(items), Cell::Text(text)) => strftime(items, text.trim())?,
            _ => return None,
        };
        time::in_range(at)
    }
}

/// A text with an offset is a time of its zone, one without is UTC. One without an hour is the first instant of its day.
fn strftime(items: &[Item<'_>], text: &str) -> Option<Micros> {
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
    local.and_utc().timestamp_micros().checked_sub(i64::from(offset) * 1_000_000)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn read(format: &str, text: &str) -> Option<String> {
        let format = TimeFormat::parse(format).unwrap();
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
