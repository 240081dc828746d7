//! The period a page shows: a half-open window `[from, to)` in UTC.

use chrono::{DateTime, Datelike, Days, TimeDelta, Timelike, Utc};
use query::metric::{Grain, WindowRequest};

use crate::{Error, Language};

/// The lengths offered on the page.
pub const OFFERED_DAYS: [u32; 3] = [7, 30, 90];

/// The longest window: a year and a leap day.
pub const MOST_DAYS: i64 = 366;

/// The period shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// The days before it are over, and in the window or before it.
    settled: DateTime<Utc>,
}

impl Window {
    /// A window of at least one moment and at most [`MOST_DAYS`], looked at `now`.
    pub fn new(from: DateTime<Utc>, to: DateTime<Utc>, now: DateTime<Utc>) -> Result<Self, Error> {
        if from >= to {
            return Err(Error::EmptyWindow { from, to });
        }
        if to - from > TimeDelta::days(MOST_DAYS) {
            return Err(Error::LongWindow { from, to, most_days: MOST_DAYS });
        }
        Ok(Self { from, to, settled: midnight(to.min(now)) })
    }

    /// The last `days` complete UTC days before `now`.
    pub fn last_days(now: DateTime<Utc>, days: u32) -> Result<Self, Error> {
        let to = midnight(now);
        let from = to.checked_sub_days(Days::new(u64::from(days))).ok_or(Error::TimeRange)?;
        Self::new(from, to, now)
    }

    /// The window that two texts give, by the rule of metrics, in UTC.
    pub fn parse(now: DateTime<Utc>, from: Option<&str>, to: Option<&str>) -> Result<Self, Error> {
        let request = WindowRequest { from, to, ..WindowRequest::default() };
        let window = request.resolve(now).map_err(|error| Error::Window(error.to_string()))?;
        Self::new(window.from, window.to, now)
    }

    pub fn from(&self) -> DateTime<Utc> {
        self.from
    }

    pub fn to(&self) -> DateTime<Utc> {
        self.to
    }

    /// The end of the last whole day that is over: what a forecast is learned from ends here.
    pub fn settled(&self) -> DateTime<Utc> {
        self.settled
    }

    pub fn length(&self) -> TimeDelta {
        self.to - self.from
    }

    /// The window of the same length directly before.
    pub fn previous(&self) -> Self {
        let from = self.from.checked_sub_signed(self.length()).unwrap_or(DateTime::<Utc>::MIN_UTC);
        Self { from, to: self.from, settled: midnight(self.from) }
    }

    /// The grain that draws the window with about 30 to 120 points.
    pub fn grain(&self) -> Grain {
        match self.length().num_days() {
            0..=3 => Grain::Hour,
            4..=120 => Grain::Day,
            _ => Grain::Week,
        }
    }

    /// The whole days of the window, if it is made of whole UTC days.
    pub fn whole_days(&self) -> Option<i64> {
        let whole = midnight(self.from) == self.from && midnight(self.to) == self.to;
        whole.then(|| self.length().num_days())
    }

    /// The window in words: `Oct 24 – Nov 22, 2026`. Windows that do not begin and end at
    /// midnight are printed with their times.
    pub fn label(&self, language: Language) -> String {
        if self.whole_days().is_none() {
            let format = "%Y-%m-%d %H:%M";
            return format!("{} – {}", self.from.format(format), self.to.format(format));
        }
        let last = self.to - TimeDelta::days(1);
        let same_year = self.from.year() == last.year();
        if self.from == last {
            return day_and_year(last, language);
        }
        match language {
            Language::En if same_year => {
                format!("{} – {}", day(self.from, language), day_and_year(last, language))
            }
            Language::ZhCn if same_year => {
                format!("{} – {}", day_and_year(self.from, language), day(last, language))
            }
            _ => {
                format!("{} – {}", day_and_year(self.from, language), day_and_year(last, language))
            }
        }
    }
}

/// The start of a bucket, as short as an axis needs it.
pub(crate) fn tick(at: DateTime<Utc>, grain: Grain, language: Language) -> String {
    match grain {
        Grain::Minute | Grain::Hour => at.format("%H:%M").to_string(),
        Grain::Day | Grain::Week => match language {
            Language::En => at.format("%b %-d").to_string(),
            Language::ZhCn => at.format("%-m/%-d").to_string(),
        },
        Grain::Month | Grain::Quarter => at.format("%Y-%m").to_string(),
        Grain::Year => at.format("%Y").to_string(),
    }
}

/// The start of a bucket in full, for a data table.
pub(crate) fn bucket(at: DateTime<Utc>, grain: Grain) -> String {
    match grain {
        Grain::Minute | Grain::Hour => at.format("%Y-%m-%d %H:%M").to_string(),
        Grain::Day | Grain::Week => at.format("%Y-%m-%d").to_string(),
        Grain::Month | Grain::Quarter => at.format("%Y-%m").to_string(),
        Grain::Year => at.format("%Y").to_string(),
    }
}

fn day(at: DateTime<Utc>, language: Language) -> String {
    match language {
        Language::En => at.format("%b %-d").to_string(),
        Language::ZhCn => at.format("%-m月%-d日").to_string(),
    }
}

fn day_and_year(at: DateTime<Utc>, language: Language) -> String {
    match language {
        Language::En => at.format("%b %-d, %Y").to_string(),
        Language::ZhCn => at.format("%Y年%-m月%-d日").to_string(),
    }
}

fn midnight(at: DateTime<Utc>) -> DateTime<Utc> {
    let since = TimeDelta::seconds(i64::from(at.num_seconds_from_midnight()))
        + TimeDelta::nanoseconds(i64::from(at.nanosecond() % 1_000_000_000));
    at.checked_sub_signed(since).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_default_is_thirty_complete_days() {
        let window = Window::parse(at("2026-11-23T07:05:41.5Z"), None, None).unwrap();
        assert_eq!(window.from(), at("2026-10-24T00:00:00Z"));
        assert_eq!(window.to(), at("2026-11-23T00:00:00Z"));
        assert_eq!(window, Window::last_days(at("2026-11-23T23:59:59Z"), 30).unwrap());
    }

    #[test]
    fn the_previous_window_touches_and_is_as_long() {
        let now = at("2026-11-23T00:00:00Z");
        let (from, to) = (at("2026-03-01T06:00:00Z"), at("2026-03-08T12:30:00Z"));
        let window = Window::new(from, to, now).unwrap();
        assert_eq!(window.settled(), at("2026-03-08T00:00:00Z"));
        assert_eq!(window.previous().to(), window.from());
        assert_eq!(window.previous().length(), window.length());
    }

    #[test]
    fn empty_and_endless_windows_are_refused() {
        let now = at("2026-11-23T00:00:00Z");
        assert!(matches!(Window::new(now, now, now), Err(Error::EmptyWindow { .. })));
        assert!(matches!(Window::last_days(now, 0), Err(Error::EmptyWindow { .. })));
        assert!(matches!(Window::last_days(now, 367), Err(Error::LongWindow { .. })));
        assert!(Window::last_days(now, u32::MAX).is_err());
        assert!(Window::new(DateTime::<Utc>::MIN_UTC, now, now).is_err());
    }

    #[test]
    fn the_label_names_the_last_day_shown() {
        let window = Window::last_days(at("2026-11-23T00:00:00Z"), 30).unwrap();
        assert_eq!(window.label(Language::En), "Oct 24 – Nov 22, 2026");
        assert_eq!(window.label(Language::ZhCn), "2026年10月24日 – 11月22日");
        let window = Window::last_days(at("2026-01-02T00:00:00Z"), 2).unwrap();
        assert_eq!(window.label(Language::En), "Dec 31, 2025 – Jan 1, 2026");
        let window = Window::last_days(at("2026-01-02T00:00:00Z"), 1).unwrap();
        assert_eq!(window.label(Language::ZhCn), "2026年1月1日");
        let (from, to) = (at("2026-01-02T06:00:00Z"), at("2026-01-02T09:30:00Z"));
        let window = Window::new(from, to, to).unwrap();
        assert_eq!(window.label(Language::En), "2026-01-02 06:00 – 2026-01-02 09:30");
    }

    #[test]
    fn the_grain_keeps_the_points_countable() {
        let now = at("2026-11-23T00:00:00Z");
        for (days, grain) in
            [(1, Grain::Hour), (7, Grain::Day), (90, Grain::Day), (365, Grain::Week)]
        {
            assert_eq!(Window::last_days(now, days).unwrap().grain(), grain);
        }
    }
}
