//! Bounds how often passwords can be guessed: per network, and per user with a delay that grows, without locking
//! out the user.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use governor::{Quota, RateLimiter, middleware::NoOpMiddleware, state::keyed::DashMapStateStore};

use super::{Email, device::Device};
use crate::{clock::Clock, store::StoreError};

const PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// Failures in a row that cost no time: of strangers, and where the user was before. A person who looks for the
/// right password gets by with them.
const FREE_FOR_STRANGERS: u32 = 5;
const FREE: u32 = 10;
/// After them, one second, then twice as long each time, up to this: 96 guesses a day.
const DELAY_MAX: Duration = Duration::from_secs(15 * 60);
/// Failures are forgotten so long after the last one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// A user is known at a network for so long.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Beyond this many, the oldest are forgotten.
const KEYS_MAX: usize = 10_000;

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, Clock, NoOpMiddleware<Duration>>;

/// Twenty attempts a minute, refilled evenly, for a network, and for a user's known devices, right or wrong, since
/// each costs a hash; and for each lane of a user, some failures, then one attempt after each delay.
#[derive(Debug)]
pub struct Throttle {
    clock: Clock,
    by_network: Limiter<IpAddr>,
    /// All devices of a user together: a user may have any number.
    by_user: Limiter<Email>,
    memory: Mutex<Memory>,
}

/// Whose failures at signing in as a user are counted together. One lane does not slow down another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// A browser that the user has signed in with.
    Device(Device),
    /// A network that the user has signed in from.
    Network(Email, IpAddr),
    /// All the others.
    Strangers(Email),
}

#[derive(Debug, Default)]
struct Memory {
    failures: HashMap<Lane, Failures>,
    /// When a user signed in from a network.
    known: HashMap<(Email, IpAddr), Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Duration,
}

impl Throttle {
    pub fn new(clock: &Clock) -> Self {
        let quota = Quota::per_minute(PER_MINUTE);
        Self {
            by_network: RateLimiter::new(quota, DashMapStateStore::default(), clock.clone()),
            by_user: RateLimiter::new(quota, DashMapStateStore::default(), clock.clone()),
            memory: Mutex::default(),
            clock: clock.clone(),
        }
    }

    /// Counts an attempt as a failure until [`Throttle::succeeded`] says otherwise, so that many at once are no
    /// way around it; or refuses it with [`StoreError::TooManyAttempts`].
    pub(super) fn attempt(
        &self,
        email: &Email,
        ip: Option<IpAddr>,
        device: Option<Device>,
    ) -> Result<Lane, StoreError> {
        let network = ip.map(network_of);
        match (&device, network) {
            // Only the user has one: others in the network do not take its attempts away.
            (Some(_), _) => self.count(&self.by_user, email)?,
            (None, Some(network)) => self.count(&self.by_network, &network)?,
            (None, None) => {}
        }
        let now = self.now();
        let mut memory = self.lock();
        let lane = match (device, network.map(|network| (email.clone(), network))) {
            (Some(device), _) => Lane::Device(device),
            (None, Some(place)) if memory.knows(&place, now) => Lane::Network(place.0, place.1),
            (None, _) => Lane::Strangers(email.clone()),
        };
        memory.count(&lane, now)?;
        Ok(lane)
    }

    /// The password was right.
    pub(super) fn succeeded(&self, lane: &Lane, email: &Email, ip: Option<IpAddr>) {
        let now = self.now();
        let mut memory = self.lock();
        memory.failures.remove(lane);
        if let Some(ip) = ip {
            memory.known.insert((email.clone(), network_of(ip)), now);
            make_room(&mut memory.known, KNOWN_FOR, now, |at| *at);
        }
    }

    fn count<K: Hash + Eq + Clone>(&self, limiter: &Limiter<K>, key: &K) -> Result<(), StoreError> {
        if limiter.len() > KEYS_MAX {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|until| too_many(until.wait_time_from(self.now())))
    }

    fn now(&self) -> Duration {
        governor::clock::Clock::now(&self.clock)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // Every change is complete in itself: a panic elsewhere does not spoil it.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn knows(&self, place: &(Email, IpAddr), now: Duration) -> bool {
        self.known.get(place).is_some_and(|at| now.saturating_sub(*at) < KNOWN_FOR)
    }

    fn count(&mut self, lane: &Lane, now: Duration) -> Result<(), StoreError> {
        let failures = self.failures.get(lane).copied();
        let failures = failures.filter(|found| now.saturating_sub(found.last) < FORGOTTEN_AFTER);
        let failures = failures.unwrap_or(Failures { count: 0, last: now });
        let wait = (failures.last + lane.delay(failures.count)).saturating_sub(now);
        if !wait.is_zero() {
            return Err(too_many(wait));
        }
        let count = failures.count.saturating_add(1);
        self.failures.insert(lane.clone(), Failures { count, last: now });
        make_room(&mut self.failures, FORGOTTEN_AFTER, now, |failures| failures.last);
        Ok(())
    }
}

impl Lane {
    /// How long to wait after so many failures in a row.
    fn delay(&self, failures: u32) -> Duration {
        let free = match self {
            Self::Strangers(_) => FREE_FOR_STRANGERS,
            Self::Device(_) | Self::Network(..) => FREE,
        };
        match failures.checked_sub(free) {
            None => Duration::ZERO,
            Some(more) => Duration::from_secs(1 << more.min(16)).min(DELAY_MAX),
        }
    }
}

/// Forgets what is old, and when that is not enough, the older half.
fn make_room<K: Eq + Hash, V>(
    map: &mut HashMap<K, V>,
    age_max: Duration,
    now: Duration,
    at: impl Fn(&V) -> Duration,
) {
    if map.len() <= KEYS_MAX {
        return;
    }
    let mut times: Vec<_> = map.values().map(&at).collect();
    let middle = times.len() / 2;
    let (_, middle, _) = times.select_nth_unstable(middle);
    let oldest = now.saturating_sub(age_max).max(*middle);
    map.retain(|_, value| at(value) >= oldest);
    if map.len() > KEYS_MAX {
        // All came at the same moment.
        map.clear();
    }
}

fn too_many(wait: Duration) -> StoreError {
    StoreError::TooManyAttempts { retry_after_s: wait.as_secs() + 1 }
}

/// A household holds a whole IPv6 /64: counting its addresses one by one would bound nothing.
pub(crate) fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}
