//! Times are UTC microseconds inside; RFC 3339 text with a zone at the edge.

use chrono::{DateTime, NaiveDate, Utc};

/// Microseconds since 1970 in UTC.
pub type Micros = i64;

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
    let at = DateTime::<Utc>::from_timestamp_micros(at).unwrap_or_default();
    at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// The UTC date of a time, as days since 1970: the partition of a row.
pub fn date_of(at: Micros) -> i32 {
    const DAY: Micros = 86_400_000_000;
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
