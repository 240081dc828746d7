//! The one place that asks the machine what time it is. Rules take the time as a parameter.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, SubsecRound, Utc};

/// The time: of the system, or one that a test sets.
#[derive(Clone, Debug)]
pub struct Clock(ClockSource);

#[derive(Clone, Debug)]
enum ClockSource {
    System { started: Instant },
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self(ClockSource::System { started: Instant::now() })
    }

    /// A clock that stands still until [`Clock::advance`]. Clones share their time.
    pub fn fixed(at: DateTime<Utc>) -> Self {
        Self(ClockSource::Fixed(Arc::new(AtomicI64::new(at.timestamp_micros()))))
    }

    /// The time in UTC: of the machine, or the one that a test has set. In whole microseconds, as it is kept: an answer to
    /// what was just made says the same time as each later one.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            ClockSource::System { .. } => Utc::now().trunc_subsecs(6),
            ClockSource::Fixed(at) => {
                DateTime::from_timestamp_micros(at.load(Ordering::Acquire)).unwrap_or_default()
            }
        }
    }

    /// Moves a fixed clock forward. The system's clock moves by itself.
    pub fn advance(&self, by: Duration) {
        if let ClockSource::Fixed(at) = &self.0 {
            let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
            at.fetch_add(by, Ordering::AcqRel);
        }
    }
}

/// Throttles measure with the monotonic clock: a corrected wall clock must neither lock out nor let in.
impl governor::clock::Clock for Clock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        match &self.0 {
            ClockSource::System { started } => started.elapsed(),
            ClockSource::Fixed(at) => {
                Duration::from_micros(at.load(Ordering::Acquire).unsigned_abs())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_as_it_is_kept() {
        // Nanoseconds are left out; of three times by chance, one in a thousand million has none.
        for _ in 0..3 {
            assert_eq!(Clock::system().now().timestamp_subsec_nanos() % 1_000, 0);
        }
    }
}
