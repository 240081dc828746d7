//! The one place that asks the machine what time it is. Rules take the time as a parameter.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

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

    /// The time in UTC: of the machine, or the one that a test has set.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            ClockSource::System { .. } => Utc::now(),
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
