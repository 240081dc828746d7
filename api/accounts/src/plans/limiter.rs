//! Counts the calls of each organization (GCRA, by `governor`).

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter, clock::Clock as Monotonic, middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use serde::Serialize;
use state::clock::Clock;
use utoipa::ToSchema;

/// What a limit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PerSpan {
    /// 60 seconds.
    Minute,
    /// 86,400 seconds.
    Day,
}

impl PerSpan {
    fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Day => 86_400,
        }
    }
}

/// A limit of an organization, and what is left of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RateLimit {
    /// `minute` or `day`.
    pub per: PerSpan,
    /// Calls in that time.
    pub limit: u32,
    /// Calls that are possible at once.
    pub remaining: u32,
}

type Counting = RateLimiter<String, DashMapStateStore<String>, Clock, StateInformationMiddleware>;

/// One limit of a plan.
#[derive(Debug)]
pub(super) struct Limiter {
    span: PerSpan,
    limit: NonZeroU32,
    clock: Clock,
    counting: Counting,
}

impl Limiter {
    pub(super) fn new(span: PerSpan, limit: NonZeroU32, clock: &Clock) -> Self {
        let each = Duration::from_secs(span.seconds()) / limit.get();
        // A quota has a period of more than nothing: the day has fewer nanoseconds than no number of calls.
        let quota = Quota::with_period(each.max(Duration::from_nanos(1)))
            .unwrap_or(Quota::per_minute(limit))
            .allow_burst(limit);
        let counting = Counting::new(quota, DashMapStateStore::default(), clock.clone());
        Self { span, limit, clock: clock.clone(), counting }
    }

    /// Counts a call. With it, what is left; without it, the seconds until one is possible.
    pub(super) fn admit(&self, organization_id: &str) -> (RateLimit, Option<u64>) {
        let limit = |remaining| RateLimit { per: self.span, limit: self.limit.get(), remaining };
        match self.counting.check_key(&organization_id.to_owned()) {
            Ok(left) => (limit(left.remaining_burst_capacity()), None),
            Err(not_until) => {
                let wait = not_until.wait_time_from(Monotonic::now(&self.clock));
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                (limit(0), Some(seconds.max(1)))
            }
        }
    }
}
