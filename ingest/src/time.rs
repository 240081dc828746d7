//! Times are UTC microseconds inside; RFC 3339 text with a zone at the edge.

use chrono::{DateTime, NaiveDate, Utc};

use crate::{Rejection, RejectionCode};

/// Microseconds since 1970 in UTC.
pub type Micros = i64;

/// The times that a sender's events may name: late ones go to their own date, but not without end, so that the
/// past is not changed by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    oldest: Micros,
    latest: Micros,
}

const DAY: Micros = 86_400_000_000;
const AGE_DAYS_MAX: Micros = 35;
/// Clocks that disagree by more are wrong.
const AHEAD_MINUTES_MAX: Micros = 5;

impl Window {
    /// Everything that the tables hold.
    pub const ANY: Self = Self { oldest: Micros::MIN, latest: Micros::MAX };

    /// What is open at `now`: 35 days back and 5 minutes ahead.
    pub fn at(now: Micros) -> Self {
        let ahead = AHEAD_MINUTES_MAX * 60_000_000;
        Self { oldest: now.saturating_sub(AGE_DAYS_MAX * DAY), latest: now.saturating_add(ahead) }
    }

    /// The last moment that is open.
    pub fn latest(&self) -> Micros {
        self.latest
    }

    /// The same for a sender of history: as far back as the tables go.
    pub fn with_history(self) -> Self {
        Self { oldest: Micros::MIN, ..self }
    }

    /// Whether an event of this time may be sent.
    pub fn check(&self, at: Micros) -> Result<(), Rejection> {
        let refuse = |code, reason: String| Err(Rejection::new(code, "/time", reason));
        if at < self.oldest {
            let oldest = to_rfc3339(self.oldest);
            let reason = format!(
                "older than {AGE_DAYS_MAX} days (before {oldest}); a key with the scope backfill may send it"
            );
            return refuse(RejectionCode::TimeTooOld, reason);
        }
        if at > self.latest {
            let reason =
                format!("more than {AHEAD_MINUTES_MAX} minutes ahead of the server's clock");
            return refuse(RejectionCode::TimeInFuture, reason);
        }
        Ok(())
    }
}

/// Parses RFC 3339 with a zone. Finer than a microsecond is cut off. Years 1970 to 2261 only, so that no
/// reader of the tables overflows.
pub fn parse_rfc3339(text: &str) -> Option<Micros> {
    let at = DateTime::parse_from_rfc3339(text).ok()?;
    in_range(at.timestamp_micros())
}

/// `at` when it lies in the range that the tables hold.
pub fn in_range(at: Micros) -> Option<Micros> {
    const END_2261: Micros = 9_214_646_400_000_000;
    (0..END_2261).contains(&at).then_some(at)
}

/// RFC 3339 with Z, and as many fraction digits as needed.
pub fn to_rfc3339(at: Micros) -> String {
    match DateTime::<Utc>::from_timestamp_micros(at) {
        Some(at) => at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        // No calendar has it, and no other time stands for it.
        None => format!("{at} microseconds from 1970-01-01T00:00:00Z"),
    }
}

/// The UTC date of a time, as days since 1970: the partition of a row.
pub fn date_of(at: Micros) -> i32 {
    i32::try_from(at.div_euclid(DAY)).unwrap_or(i32::MAX)
}

/// `2026-01-31` for days since 1970.
pub fn date_text(days: i32) -> String {
    NaiveDate::from_epoch_days(days).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_at_the_microsecond() {
        let now = parse_rfc3339("2026-03-01T00:00:00Z").unwrap();
        let window = Window::at(now);
        let oldest = parse_rfc3339("2026-01-25T00:00:00Z").unwrap();
        let latest = parse_rfc3339("2026-03-01T00:05:00Z").unwrap();
        let code = |window: Window, at| window.check(at).err().map(|why| why.code);
        for (at, expected) in [
            (oldest, None),
            (oldest - 1, Some(RejectionCode::TimeTooOld)),
            (0, Some(RejectionCode::TimeTooOld)),
            (latest, None),
            (latest + 1, Some(RejectionCode::TimeInFuture)),
        ] {
            assert_eq!(code(window, at), expected, "{}", to_rfc3339(at));
            // History may be of any age, but nobody has seen the future.
            let history = expected.filter(|code| *code == RejectionCode::TimeInFuture);
            assert_eq!(code(window.with_history(), at), history, "{}", to_rfc3339(at));
            assert_eq!(code(Window::ANY, at), None);
        }
    }

    #[test]
    fn zones_and_fractions_are_normalized() {
        let at = parse_rfc3339("2026-01-31T10:15:00.1234569+01:00").unwrap();
        assert_eq!(to_rfc3339(at), "2026-01-31T09:15:00.123456Z");
        assert_eq!(date_text(date_of(at)), "2026-01-31");
        for bad in [
            "",
            "2026-01-31",
            "2026-01-31T10:15:00",
            "1969-12-31T23:59:59Z",
            "2999-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }
}
