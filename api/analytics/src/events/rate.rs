//! How fast an organization may send. What was sent is charged afterwards, and who is ahead of the rate waits:
//! so the size of a request need not be known before it is read, and the rate holds in the long run.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use actix_web::http::header::{HeaderName, HeaderValue};
use ingest::{OrganizationId, time::Micros};
use rest::problem::Problem;

/// What one organization may send per second; 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rates {
    pub events_per_second: u64,
    pub bytes_per_second: u64,
}

/// An organization may be ahead of its rate by this much.
const BURST_SECONDS: Micros = 10;
const SECOND: Micros = 1_000_000;
/// Organizations that are remembered at once. One is forgotten when its time has caught up with what it sent.
const REMEMBERED_MAX: usize = 100_000;

/// The time at which what was sent would be due, at the rate.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    events: Micros,
    bytes: Micros,
}

/// Where an organization stands with one of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    name: &'static str,
    /// In ten seconds.
    quota: u64,
    remaining: u64,
    /// Until the whole quota is there again.
    full_in_s: u64,
    /// Until something may be sent; 0 when it may be sent now.
    pub wait_s: u64,
}

/// The limits of all organizations.
#[derive(Debug)]
pub(super) struct EventRateLimiter {
    rates: Rates,
    sent: Mutex<HashMap<OrganizationId, Sent>>,
}

impl EventRateLimiter {
    pub(super) fn new(rates: Rates) -> Self {
        Self { rates, sent: Mutex::default() }
    }

    /// Where an organization stands: one entry for each limit that is set.
    pub(super) fn allowances(&self, organization: &OrganizationId, now: Micros) -> Vec<Allowance> {
        let held = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.get(organization).copied();
        let is_full = held.len() >= REMEMBERED_MAX && known.is_none();
        let sent = known.unwrap_or_default();
        let limits = [
            ("events", self.rates.events_per_second, sent.events),
            ("bytes", self.rates.bytes_per_second, sent.bytes),
        ];
        limits
            .into_iter()
            .filter(|(_, rate, _)| *rate > 0)
            .map(|(name, rate, due)| Allowance::at(name, rate, due, now, is_full))
            .collect()
    }

    /// Counts what an organization sent.
    pub(super) fn charge(
        &self,
        organization: &OrganizationId,
        events: u64,
        bytes: u64,
        now: Micros,
    ) {
        if self.rates == Rates::default() {
            return;
        }
        let mut held = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= REMEMBERED_MAX {
            held.retain(|_, sent| sent.events.max(sent.bytes) > now);
        }
        let sent = held.entry(organization.clone()).or_default();
        sent.events = due(sent.events, events, self.rates.events_per_second, now);
        sent.bytes = due(sent.bytes, bytes, self.rates.bytes_per_second, now);
    }
}

fn due(before: Micros, amount: u64, rate: u64, now: Micros) -> Micros {
    let takes = (u128::from(amount) * SECOND.unsigned_abs() as u128)
        .checked_div(u128::from(rate))
        .unwrap_or(0);
    before.max(now).saturating_add(Micros::try_from(takes).unwrap_or(Micros::MAX))
}

impl Allowance {
    fn at(name: &'static str, rate: u64, due: Micros, now: Micros, is_full: bool) -> Self {
        let ahead = due.saturating_sub(now).max(0);
        let burst = BURST_SECONDS * SECOND;
        let left = u128::from((burst - ahead).max(0).unsigned_abs());
        let remaining = left * u128::from(rate) / u128::from(SECOND.unsigned_abs());
        let seconds = |time: Micros| time.max(0).unsigned_abs().div_ceil(SECOND.unsigned_abs());
        let wait_s = if remaining == 0 { seconds(ahead - burst).max(1) } else { 0 };
        Self {
            name,
            quota: rate.saturating_mul(BURST_SECONDS.unsigned_abs()),
            remaining: u64::try_from(remaining).unwrap_or(u64::MAX),
            full_in_s: seconds(ahead),
            wait_s: if is_full { wait_s.max(1) } else { wait_s },
        }
    }
}

/// The fields of an answer that tell a sender its limits: `RateLimit-Policy` and `RateLimit`.
pub(super) fn headers(allowances: &[Allowance]) -> Vec<(HeaderName, HeaderValue)> {
    if allowances.is_empty() {
        return Vec::new();
    }
    let list = |one: &dyn Fn(&Allowance) -> String| {
        HeaderValue::from_str(&allowances.iter().map(one).collect::<Vec<_>>().join(", ")).ok()
    };
    let policy = list(&|a| format!("\"{}\";q={};w={BURST_SECONDS}", a.name, a.quota));
    let standing = list(&|a| format!("\"{}\";r={};t={}", a.name, a.remaining, a.full_in_s));
    [("ratelimit-policy", policy), ("ratelimit", standing)]
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), value?)))
        .collect()
}

/// The answer to an organization that is too far ahead of a limit; `None` when it may send.
pub(super) fn exceeded(allowances: &[Allowance]) -> Option<Problem> {
    let slowest = allowances.iter().max_by_key(|allowance| allowance.wait_s)?;
    (slowest.wait_s > 0).then(|| {
        let rate = slowest.quota / BURST_SECONDS.unsigned_abs();
        let detail = format!("the organization may send {rate} {} per second", slowest.name);
        metrics::counter!("ingest_limited_requests_total", "limit" => slowest.name).increment(1);
        headers(allowances)
            .into_iter()
            .fold(Problem::too_many_requests(slowest.wait_s), |problem, (name, value)| {
                problem.with_header(name, value)
            })
            .explained(detail)
            .with("limit", slowest.name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_767_225_600_000_000;

    fn organization(id: &str) -> OrganizationId {
        OrganizationId::parse(id).unwrap()
    }

    fn limiter(events_per_second: u64, bytes_per_second: u64) -> EventRateLimiter {
        EventRateLimiter::new(Rates { events_per_second, bytes_per_second })
    }

    /// Remaining and wait of the limit on events.
    fn events(limiter: &EventRateLimiter, id: &str, now: Micros) -> (u64, u64) {
        let allowance = limiter.allowances(&organization(id), now)[0];
        (allowance.remaining, allowance.wait_s)
    }

    #[test]
    fn what_is_sent_comes_back_at_the_rate() {
        let limiter = limiter(100, 0);
        let a = organization("a");
        assert_eq!(events(&limiter, "a", NOW), (1000, 0));
        limiter.charge(&a, 400, 9_999_999, NOW);
        assert_eq!(events(&limiter, "a", NOW), (600, 0));
        assert_eq!(events(&limiter, "a", NOW + 2 * SECOND), (800, 0));
        assert_eq!(events(&limiter, "b", NOW), (1000, 0), "each has its own");
        limiter.charge(&a, 600, 0, NOW);
        assert_eq!(events(&limiter, "a", NOW), (0, 1));
        assert_eq!(events(&limiter, "a", NOW + 10_000), (1, 0));
        assert_eq!(
            events(&limiter, "a", NOW + 20 * SECOND),
            (1000, 0),
            "never more than the burst"
        );
    }

    #[test]
    fn a_large_request_is_paid_for_afterwards() {
        let limiter = limiter(100, 0);
        limiter.charge(&organization("a"), 10_000, 0, NOW);
        assert_eq!(events(&limiter, "a", NOW), (0, 90));
        assert_eq!(events(&limiter, "a", NOW + 89 * SECOND), (0, 1));
        assert_eq!(events(&limiter, "a", NOW + 91 * SECOND), (100, 0));
    }

    #[test]
    fn the_slower_limit_decides() {
        let limiter = limiter(100, 1000);
        let a = organization("a");
        assert!(exceeded(&limiter.allowances(&a, NOW)).is_none());
        limiter.charge(&a, 1, 12_000, NOW);
        let allowances = limiter.allowances(&a, NOW);
        let problem = exceeded(&allowances).unwrap();
        assert_eq!((problem.status, problem.members["limit"].as_str()), (429, Some("bytes")));
        let text = |(name, value): (HeaderName, HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let found: Vec<_> = headers(&allowances).into_iter().map(text).collect();
        assert_eq!(
            found,
            [
                "ratelimit-policy: \"events\";q=1000;w=10, \"bytes\";q=10000;w=10",
                "ratelimit: \"events\";r=999;t=1, \"bytes\";r=0;t=12",
            ]
        );
    }

    #[test]
    fn without_limits_nothing_is_kept() {
        let limiter = limiter(0, 0);
        limiter.charge(&organization("a"), 1_000_000, 1_000_000, NOW);
        assert!(limiter.allowances(&organization("a"), NOW).is_empty());
        assert!(limiter.sent.lock().unwrap().is_empty());
        assert!(headers(&[]).is_empty());
    }

    #[test]
    fn the_memory_for_organizations_is_bounded() {
        let limiter = limiter(1, 0);
        for i in 0..REMEMBERED_MAX {
            limiter.charge(&organization(&format!("o{i}")), 5, 0, NOW);
        }
        assert_eq!(events(&limiter, "one_more", NOW).1, 1, "no room to count it");
        assert_eq!(events(&limiter, "o7", NOW), (5, 0));
        let later = NOW + 6 * SECOND;
        limiter.charge(&organization("one_more"), 5, 0, later);
        assert_eq!(limiter.sent.lock().unwrap().len(), 1, "the others have caught up");
    }
}
