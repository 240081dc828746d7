//! Counts the calls of organizations and keys (GCRA, by `governor`).

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use governor::{
    Quota, RateLimiter, clock::Clock as Monotonic, middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use serde::Serialize;
use state::clock::Clock;
use utoipa::ToSchema;

use super::Limits;

/// What a limit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PerSpan {
    /// 60 seconds.
    Minute,
    /// 86,400 seconds.
    Day,
}

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitScope {
    /// Of all keys of an organization together.
    Organization,
    /// Of one key.
    ApiKey,
}

impl PerSpan {
    /// Its length.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Day => 86_400,
        }
    }
}

/// A limit, and what is left of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RateLimit {
    /// `organization` or `api_key`.
    pub scope: LimitScope,
    /// `minute` or `day`.
    pub per: PerSpan,
    /// Calls in that time.
    pub limit: u32,
    /// Calls that are possible at once.
    pub remaining: u32,
}

type Counting = RateLimiter<String, DashMapStateStore<String>, Clock, StateInformationMiddleware>;

/// Those whose limits are used up and refilled are forgotten beyond this many.
const COUNTED_MAX: usize = 100_000;

/// One counter for each limit that is in use: who has the same limit is counted there separately.
#[derive(Debug)]
pub(super) struct Limiters {
    clock: Clock,
    by_limit: RwLock<HashMap<(PerSpan, NonZeroU32), Arc<Counting>>>,
}

/// Whose calls are limited, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limited<'a> {
    pub(crate) scope: LimitScope,
    /// The id of the organization or key.
    pub(crate) id: &'a str,
    pub(crate) limits: &'a Limits,
}

impl Limited<'_> {
    fn of(&self, span: PerSpan) -> Option<NonZeroU32> {
        match span {
            PerSpan::Minute => self.limits.requests_per_minute,
            PerSpan::Day => self.limits.requests_per_day,
        }
    }
}

impl Limiters {
    pub(super) fn new(clock: &Clock) -> Self {
        Self { clock: clock.clone(), by_limit: RwLock::default() }
    }

    fn counting(&self, span: PerSpan, limit: NonZeroU32) -> Arc<Counting> {
        let known = self.by_limit.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counting) = known.get(&(span, limit)) {
            return Arc::clone(counting);
        }
        drop(known);
        let each = Duration::from_secs(span.seconds()) / limit.get();
        // A period of zero is no quota.
        let quota = Quota::with_period(each.max(Duration::from_nanos(1)))
            .unwrap_or(Quota::per_minute(limit))
            .allow_burst(limit);
        let new = || Counting::new(quota, DashMapStateStore::default(), self.clock.clone());
        let mut known = self.by_limit.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry((span, limit)).or_insert_with(|| Arc::new(new())))
    }

    /// Counts a call. With it, what is left; without it, the seconds until one is possible.
    pub(super) fn admit(
        &self,
        limited: &Limited<'_>,
        span: PerSpan,
    ) -> Option<(RateLimit, Option<u64>)> {
        let limit = limited.of(span)?;
        let counting = self.counting(span, limit);
        if counting.len() > COUNTED_MAX {
            counting.retain_recent();
        }
        let found = |remaining| RateLimit {
            scope: limited.scope,
            per: span,
            limit: limit.get(),
            remaining,
        };
        Some(match counting.check_key(&limited.id.to_owned()) {
            Ok(left) => (found(left.remaining_burst_capacity()), None),
            Err(not_until) => {
                let wait = not_until.wait_time_from(Monotonic::now(&self.clock));
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                (found(0), Some(seconds.max(1)))
            }
        })
    }
}
