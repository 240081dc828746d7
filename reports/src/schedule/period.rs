//! The period of a report: always one that is over.

use std::fmt;

use chrono::{DateTime, Utc};
use query::{
    Zone,
    metric::{Window as MetricWindow, WindowRequest},
};
use serde::{Deserialize, Serialize};

/// A range of whole days that ended before the report is made, by its name: `yesterday`, `last_7_days`, `previous_week`,
/// `previous_month` and their like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(String);

/// A text is no name of a period that is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no period that is over; take yesterday, last_N_days, last_N_weeks, last_N_months, previous_week, \
         previous_month, previous_quarter or previous_year"
)]
pub struct UnknownPeriod(pub String);

/// The periods that forms offer.
pub const OFFERED_PERIODS: [&str; 7] = [
    "yesterday",
    "last_7_days",
    "last_30_days",
    "last_90_days",
    "previous_week",
    "previous_month",
    "previous_quarter",
];

impl Period {
    /// The window before an instant.
    pub fn window(&self, before: DateTime<Utc>, zone: Zone) -> MetricWindow {
        let request = WindowRequest { range: Some(&self.0), zone, ..WindowRequest::default() };
        // The name was checked: only a day beyond the calendar's end is left, which has no window.
        request.resolve(before).unwrap_or_else(|_| MetricWindow::new(before, before, zone))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Period {
    type Error = UnknownPeriod;

    fn try_from(name: String) -> Result<Self, UnknownPeriod> {
        let is_over =
            (name == "yesterday" || name.starts_with("previous_") || name.starts_with("last_"))
                && !name.ends_with("hour")
                && !name.ends_with("hours");
        // Any time: what is asked is whether the name is known, and the window not longer than a page shows.
        let now = DateTime::UNIX_EPOCH + chrono::TimeDelta::days(20_000);
        let request = WindowRequest { range: Some(&name), ..WindowRequest::default() };
        let window = request.resolve(now).ok().filter(|_| is_over);
        match window.and_then(|window| crate::Window::of(window, now).ok()) {
            Some(_) => Ok(Self(name)),
            None => Err(UnknownPeriod(name)),
        }
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
