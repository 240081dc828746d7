//! Bounds how often passwords can be guessed: per address of the network, and per e-mail address.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use governor::{Quota, RateLimiter, middleware::NoOpMiddleware, state::keyed::DashMapStateStore};

use super::Email;
use crate::{clock::Clock, store::StoreError};

const PER_EMAIL_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
const PER_IP_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// Beyond this many, those that are full again are forgotten.
const KEYS_MAX: usize = 10_000;

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, Clock, NoOpMiddleware<Duration>>;

/// Five attempts a minute for an e-mail address, twenty for a network address, each refilled evenly.
#[derive(Debug)]
pub struct Throttle {
    clock: Clock,
    by_ip: Limiter<IpAddr>,
    by_email: Limiter<Email>,
}

impl Throttle {
    pub fn new(clock: &Clock) -> Self {
        let limiter = |per_minute| Quota::per_minute(per_minute);
        Self {
            by_ip: RateLimiter::new(
                limiter(PER_IP_MINUTE),
                DashMapStateStore::default(),
                clock.clone(),
            ),
            by_email: RateLimiter::new(
                limiter(PER_EMAIL_MINUTE),
                DashMapStateStore::default(),
                clock.clone(),
            ),
            clock: clock.clone(),
        }
    }

    /// Counts an attempt, or refuses it with [`StoreError::TooManyAttempts`].
    ///
    /// The network address is asked first: one client can then not fill the memory with e-mail addresses.
    pub fn attempt(&self, email: &Email, ip: Option<IpAddr>) -> Result<(), StoreError> {
        if let Some(ip) = ip {
            self.count(&self.by_ip, &network_of(ip))?;
        }
        self.count(&self.by_email, email)
    }

    fn count<K: Hash + Eq + Clone>(&self, limiter: &Limiter<K>, key: &K) -> Result<(), StoreError> {
        if limiter.len() > KEYS_MAX {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|until| {
            let wait: Duration = until.wait_time_from(governor::clock::Clock::now(&self.clock));
            StoreError::TooManyAttempts { retry_after_s: wait.as_secs() + 1 }
        })
    }
}

/// A household holds a whole IPv6 /64: counting its addresses one by one would bound nothing.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}
