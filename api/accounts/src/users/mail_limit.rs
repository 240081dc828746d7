//! How many mails strangers can make us send: to an address, and from a network.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{Quota, RateLimiter, middleware::NoOpMiddleware, state::keyed::DashMapStateStore};
use rest::principal::network_of;
use state::clock::Clock;

use super::{AccountError, Email};

const OF_ADDRESS_IN_AN_HOUR: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
/// Invitations, also those that are taken back.
const OF_ORGANIZATION_IN_AN_HOUR: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);
const OF_NETWORK_IN_AN_HOUR: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);
/// Beyond this many, those whose limits are refilled are forgotten.
const KEYS_MAX: usize = 10_000;

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, Clock, NoOpMiddleware<Duration>>;

/// Counts the mails that were asked for.
#[derive(Debug)]
pub(super) struct MailLimit {
    clock: Clock,
    by_address: Limiter<String>,
    by_network: Limiter<IpAddr>,
    by_organization: Limiter<String>,
}

impl MailLimit {
    pub(super) fn new(clock: &Clock) -> Self {
        let store = DashMapStateStore::default;
        Self {
            by_address: Limiter::new(
                Quota::per_hour(OF_ADDRESS_IN_AN_HOUR),
                store(),
                clock.clone(),
            ),
            by_network: Limiter::new(
                Quota::per_hour(OF_NETWORK_IN_AN_HOUR),
                DashMapStateStore::default(),
                clock.clone(),
            ),
            by_organization: Limiter::new(
                Quota::per_hour(OF_ORGANIZATION_IN_AN_HOUR),
                store(),
                clock.clone(),
            ),
            clock: clock.clone(),
        }
    }

    /// Counts a mail that a member of an organization has sent to somebody.
    pub(super) fn admit_of_organization(&self, organization_id: &str) -> Result<(), AccountError> {
        if self.by_organization.len() > KEYS_MAX {
            self.by_organization.retain_recent();
        }
        let admitted = self.by_organization.check_key(&organization_id.to_owned());
        admitted.map_err(|until| self.wait(&until))
    }

    fn wait(&self, until: &governor::NotUntil<Duration>) -> AccountError {
        let now = governor::clock::Clock::now(&self.clock);
        AccountError::TooManyAttempts { retry_after_s: until.wait_time_from(now).as_secs() + 1 }
    }

    /// Counts a mail to an address, asked for from an address of the network.
    pub(super) fn admit(&self, email: &Email, from: Option<IpAddr>) -> Result<(), AccountError> {
        let wait = |until| self.wait(&until);
        if self.by_address.len() > KEYS_MAX {
            self.by_address.retain_recent();
        }
        if self.by_network.len() > KEYS_MAX {
            self.by_network.retain_recent();
        }
        if let Some(from) = from {
            self.by_network.check_key(&network_of(from)).map_err(wait)?;
        }
        self.by_address.check_key(&email.as_str().to_owned()).map_err(wait)
    }
}

#[cfg(test)]
mod tests {
    use state::scratch::noon;

    use super::*;

    #[test]
    fn an_address_gets_five_mails_in_an_hour() {
        let clock = Clock::fixed(noon());
        let limit = MailLimit::new(&clock);
        let (ann, bob) =
            (Email::parse("ann@example.com").unwrap(), Email::parse("bob@example.com").unwrap());
        for _ in 0..5 {
            limit.admit(&ann, None).unwrap();
        }
        let refused = limit.admit(&ann, None);
        assert!(
            matches!(refused, Err(AccountError::TooManyAttempts { retry_after_s }) if retry_after_s <= 721)
        );
        limit.admit(&bob, Some("192.0.2.1".parse().unwrap())).unwrap();
        clock.advance(Duration::from_secs(721));
        limit.admit(&ann, None).unwrap();
    }
}
