//! When a repeating job runs.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use cron::Schedule;

/// The times of a repeating job. While it works, its next time does not come: the next is counted from its end.
#[derive(Debug, Clone)]
pub enum Repeat {
    /// So long after each end.
    Every(Duration),
    /// At the times of a schedule, in UTC.
    At(Box<Schedule>),
}

impl Repeat {
    /// Each day at this hour, in UTC.
    pub fn daily_at(hour: u8) -> Self {
        // `cron` wants seconds first. Hours beyond 23 are refused where the configuration is read.
        let text = format!("0 0 {} * * *", hour % 24);
        text.parse().map_or(Self::Every(DAY), |schedule| Self::At(Box::new(schedule)))
    }

    /// The first time after this one.
    pub fn next(&self, after: DateTime<Utc>) -> DateTime<Utc> {
        let far = || after.checked_add_signed(TimeDelta::days(1)).unwrap_or(after);
        match self {
            Self::Every(pause) => TimeDelta::from_std(*pause)
                .ok()
                .and_then(|pause| after.checked_add_signed(pause))
                .unwrap_or_else(far),
            Self::At(schedule) => schedule.after(&after).next().unwrap_or_else(far),
        }
    }
}

const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_after_this_one() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let daily = Repeat::daily_at(3);
        assert_eq!(daily.next(at("2026-02-28T02:59:59.5Z")), at("2026-02-28T03:00:00Z"));
        assert_eq!(daily.next(at("2026-02-28T03:00:00Z")), at("2026-03-01T03:00:00Z"));
        let minutely = Repeat::Every(Duration::from_secs(60));
        assert_eq!(minutely.next(at("2026-02-28T23:59:30Z")), at("2026-03-01T00:00:30Z"));
    }
}
