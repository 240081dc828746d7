//! The period a page shows: a half-open window `[from, to)`, on the clock of a zone.

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use query::{
    Zone,
    metric::{Compare, Grain, Window as MetricWindow, WindowRequest},
};

use crate::{Error, Language};

/// The lengths offered on the page.
pub const OFFERED_DAYS: [u32; 3] = [7, 30, 90];

/// The longest window: a year and a leap day.
pub const MOST_DAYS: i64 = 366;

/// The period shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    range: MetricWindow,
    /// What of it is over: its end, or the time when it is looked at.
    seen_to: DateTime<Utc>,
}

impl Window {
    /// A window of at least one moment and at most [`MOST_DAYS`], looked at `now`.
    pub fn of(range: MetricWindow, now: DateTime<Utc>) -> Result<Self, Error> {
        let MetricWindow { from, to, zone, .. } = range;
        if from >= to {
            return Err(Error::EmptyWindow { from, to });
        }
        // By the dates of the zone: a day of 25 hours is one day.
        let (first, last) = (zone.local(from), zone.local(to));
        if last - first > TimeDelta::days(MOST_DAYS) {
            return Err(Error::LongWindow { from, to, most_days: MOST_DAYS });
        }
        Ok(Self { range, seen_to: to.min(now) })
    }

    /// A window in UTC.
    pub fn new(from: DateTime<Utc>, to: DateTime<Utc>, now: DateTime<Utc>) -> Result<Self, Error> {
        Self::of(MetricWindow::new(from, to, Zone::UTC), now)
    }

    /// The last `days` complete UTC days before `now`.
    pub fn last_days(now: DateTime<Utc>, days: u32) -> Result<Self, Error> {
        Self::last_days_in(now, days, Zone::UTC)
    }

    /// The last `days` complete days of a zone before `now`.
    pub fn last_days_in(now: DateTime<Utc>, days: u32, zone: Zone) -> Result<Self, Error> {
        let to = Grain::Day.start(now, zone);
        let from = zone.days_before(to, u64::from(days));
        Self::of(MetricWindow::new(from, to, zone), now)
    }

    /// The window that two texts give, by the rule of metrics, in UTC.
    pub fn parse(now: DateTime<Utc>, from: Option<&str>, to: Option<&str>) -> Result<Self, Error> {
        Self::resolve(&WindowRequest { from, to, ..WindowRequest::default() }, now)
    }

    /// The window that is asked for, by the rule of metrics.
    pub fn resolve(request: &WindowRequest<'_>, now: DateTime<Utc>) -> Result<Self, Error> {
        let range = request.resolve(now).map_err(|error| Error::Window(error.to_string()))?;
        Self::of(range, now)
    }

    /// As metrics ask for it.
    pub fn range(&self) -> MetricWindow {
        self.range
    }

    pub fn from(&self) -> DateTime<Utc> {
        self.range.from
    }

    pub fn to(&self) -> DateTime<Utc> {
        self.range.to
    }

    /// The clock of its dates.
    pub fn zone(&self) -> Zone {
        self.range.zone
    }

    /// The first instant that is not seen: the end of the window, or the time when it is looked at.
    pub(crate) fn seen_to(&self) -> DateTime<Utc> {
        self.seen_to
    }

    /// That instant in words; of a whole day, the day.
    pub(crate) fn seen_until(&self, language: Language) -> String {
        let local = self.zone().local(self.seen_to);
        if local.time() == NaiveTime::MIN {
            return day_and_year(local.date() - TimeDelta::days(1), language);
        }
        format!("{} {}", day_and_year(local.date(), language), local.format("%H:%M"))
    }

    /// The end of the last whole day that is over, in the window or before it: what a forecast is learned from ends here.
    pub fn settled(&self) -> DateTime<Utc> {
        Grain::Day.start(self.seen_to, self.zone())
    }

    pub fn length(&self) -> TimeDelta {
        self.to() - self.from()
    }

    /// The window that this one is compared with. Of a window that is not over, it ends as early.
    pub fn compared(&self, compare: Compare) -> Self {
        let range = self.range.compared(compare, self.seen_to);
        Self { range, seen_to: range.to }
    }

    /// The grain that draws the window with about 30 to 120 points.
    pub fn grain(&self) -> Grain {
        match (self.local_to() - self.local_from()).num_days() {
            0..=3 => Grain::Hour,
            4..=120 => Grain::Day,
            _ => Grain::Week,
        }
    }

    /// The whole days of the window, if it is made of whole days of its zone.
    pub fn whole_days(&self) -> Option<i64> {
        let days = (self.local_to().date() - self.local_from().date()).num_days();
        self.range.is_of_whole_days().then_some(days)
    }

    /// Whether the window is one whole month.
    pub(crate) fn is_a_month(&self) -> bool {
        let (from, to) = (self.local_from(), self.local_to());
        let next = from.date().checked_add_months(Months::new(1)).map(NaiveDateTime::from);
        from.day() == 1 && from.time() == NaiveTime::MIN && next == Some(to)
    }

    fn local_from(&self) -> NaiveDateTime {
        self.zone().local(self.from())
    }

    fn local_to(&self) -> NaiveDateTime {
        self.zone().local(self.to())
    }

    /// The window in words: `Oct 24 – Nov 22, 2026`. Windows that do not begin and end at
    /// midnight are printed with their times.
    pub fn label(&self, language: Language) -> String {
        if self.whole_days().is_none() {
            let format = "%Y-%m-%d %H:%M";
            return format!(
                "{} – {}",
                self.local_from().format(format),
                self.local_to().format(format)
            );
        }
        let first = self.local_from().date();
        let last = self.local_to().date() - TimeDelta::days(1);
        let same_year = first.year() == last.year();
        if first == last {
            return day_and_year(last, language);
        }
        match language {
            Language::En if same_year => {
                format!("{} – {}", day(first, language), day_and_year(last, language))
            }
            Language::ZhCn if same_year => {
                format!("{} – {}", day_and_year(first, language), day(last, language))
            }
            _ => {
                format!("{} – {}", day_and_year(first, language), day_and_year(last, language))
            }
        }
    }

    /// The start of a bucket, as short as an axis needs it.
    pub(crate) fn tick(&self, at: DateTime<Utc>, grain: Grain, language: Language) -> String {
        tick(self.zone().local(at), grain, language)
    }

    /// The start of a bucket in full, for a data table.
    pub(crate) fn bucket(&self, at: DateTime<Utc>, grain: Grain) -> String {
        bucket(self.zone().local(at), grain)
    }
}

fn tick(at: NaiveDateTime, grain: Grain, language: Language) -> String {
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

fn bucket(at: NaiveDateTime, grain: Grain) -> String {
    match grain {
        Grain::Minute | Grain::Hour => at.format("%Y-%m-%d %H:%M").to_string(),
        Grain::Day | Grain::Week => at.format("%Y-%m-%d").to_string(),
        Grain::Month | Grain::Quarter => at.format("%Y-%m").to_string(),
        Grain::Year => at.format("%Y").to_string(),
    }
}

fn day(at: NaiveDate, language: Language) -> String {
    match language {
        Language::En => at.format("%b %-d").to_string(),
        Language::ZhCn => at.format("%-m月%-d日").to_string(),
    }
}

fn day_and_year(at: NaiveDate, language: Language) -> String {
    match language {
        Language::En => at.format("%b %-d, %Y").to_string(),
        Language::ZhCn => at.format("%Y年%-m月%-d日").to_string(),
    }
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
        let previous = window.compared(Compare::PreviousPeriod);
        assert_eq!(previous.to(), window.from());
        assert_eq!(previous.length(), window.length());
    }

    #[test]
    fn empty_and_endless_windows_are_refused() {
        let now = at("2026-11-23T00:00:00Z");
        assert!(matches!(Window::new(now, now, now), Err(Error::EmptyWindow { .. })));
        assert!(matches!(Window::last_days(now, 0), Err(Error::EmptyWindow { .. })));
        assert!(matches!(Window::last_days(now, 367), Err(Error::LongWindow { .. })));
        assert!(Window::last_days(now, u32::MAX).is_err());
        assert!(Window::new(DateTime::UNIX_EPOCH, now, now).is_err());
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
    fn days_are_those_of_the_zone() {
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        let window = Window::last_days_in(at("2026-10-26T08:00:00Z"), 2, berlin).unwrap();
        assert_eq!(window.from(), at("2026-10-23T22:00:00Z"));
        assert_eq!(window.to(), at("2026-10-25T23:00:00Z"));
        assert_eq!((window.whole_days(), window.length()), (Some(2), TimeDelta::hours(49)));
        assert_eq!(window.label(Language::En), "Oct 24 – Oct 25, 2026");
        assert_eq!(window.bucket(window.from(), Grain::Day), "2026-10-24");
        let previous = window.compared(Compare::PreviousPeriod);
        assert_eq!((previous.to(), previous.whole_days()), (window.from(), Some(2)));
    }

    #[test]
    fn a_month_is_a_whole_one() {
        let now = at("2026-11-23T00:00:00Z");
        let is_a_month = |from: &str, to: &str| {
            let at = |date: &str| format!("{date}T00:00:00Z").parse().unwrap();
            Window::new(at(from), at(to), now).unwrap().is_a_month()
        };
        assert!(is_a_month("2026-02-01", "2026-03-01"));
        assert!(!is_a_month("2026-02-01", "2026-02-28"));
        assert!(!is_a_month("2026-02-02", "2026-03-02"));
        assert!(!is_a_month("2026-02-01", "2026-04-01"));
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
