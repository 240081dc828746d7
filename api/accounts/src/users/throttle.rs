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
use rest::principal::network_of;
use state::clock::Clock;

use super::{AccountError, Email, device::Device};

const PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// For an IPv6 /48, which one customer holds, or a company with many networks.
const PER_MINUTE_OF_SITE: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);
/// For one who was there before, when others have used up what they share.
const PER_MINUTE_OF_LANE: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
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
/// Beyond this many, half of them are forgotten. Those that are counted for each user are not among them.
const KEYS_MAX: usize = 10_000;

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, Clock, NoOpMiddleware<Duration>>;

/// Twenty attempts a minute, refilled evenly, for a network, and for a user's known devices, right or wrong, since
/// each costs a hash; a few more for each of those that were there before; and for each lane of a user, some failures,
/// then one attempt after each delay.
#[derive(Debug)]
pub struct Throttle {
    clock: Clock,
    by_network: Limiter<IpAddr>,
    by_site: Limiter<IpAddr>,
    /// All devices of a user together: a user may have any number.
    by_user: Limiter<LoginTarget>,
    by_lane: Limiter<ThrottleKey>,
    memory: Mutex<FailureMemory>,
}

/// Whose password is tried. With another epoch, a user is another one here: nothing of before counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LoginTarget {
    pub(super) email: Email,
    /// `None` where there is no such user.
    pub(super) epoch: Option<i64>,
}

/// Whose failures at signing in as a user are counted together. One lane does not slow down another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ThrottleKey {
    /// A browser that the user has signed in with.
    Device(Device),
    /// A network that the user has signed in from.
    Network(LoginTarget, IpAddr),
    /// All the others.
    Strangers(LoginTarget),
}

/// An attempt that was let in, and is a failure unless something else is said of it.
#[derive(Debug)]
pub(super) struct Attempt {
    lane: ThrottleKey,
    guessed: LoginTarget,
    network: Option<IpAddr>,
    /// The last failure before it.
    last: Duration,
}

/// A flood in one of the maps pushes nothing out of the others.
#[derive(Debug, Default)]
struct FailureMemory {
    /// Of strangers to users: at most as many as there are users.
    of_users: HashMap<ThrottleKey, Failures>,
    /// Of strangers to addresses that no user has.
    of_nobody: HashMap<ThrottleKey, Failures>,
    /// Of devices and networks that are known.
    of_known: HashMap<ThrottleKey, Failures>,
    /// When a user signed in from a network.
    known: HashMap<(LoginTarget, IpAddr), Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Duration,
}

impl Throttle {
    /// A throttle that has counted no attempt yet, and measures time by `clock`.
    pub fn new(clock: &Clock) -> Self {
        Self {
            by_network: limiter(PER_MINUTE, clock),
            by_site: limiter(PER_MINUTE_OF_SITE, clock),
            by_user: limiter(PER_MINUTE, clock),
            by_lane: limiter(PER_MINUTE_OF_LANE, clock),
            memory: Mutex::default(),
            clock: clock.clone(),
        }
    }

    /// Counts an attempt as a failure until [`Throttle::succeeded`] says otherwise, so that many at once are no
    /// way around it; or refuses it with [`AccountError::TooManyAttempts`].
    pub(super) fn attempt(
        &self,
        guessed: &LoginTarget,
        ip: Option<IpAddr>,
        device: Option<Device>,
    ) -> Result<Attempt, AccountError> {
        let (now, network) = (self.now(), ip.map(network_of));
        let lane = match (device, network.map(|network| (guessed.clone(), network))) {
            (Some(device), _) => ThrottleKey::Device(device),
            (None, Some(place)) if self.lock().knows(&place, now) => {
                ThrottleKey::Network(place.0, place.1)
            }
            (None, _) => ThrottleKey::Strangers(guessed.clone()),
        };
        let shared = match (&lane, network) {
            // Only the user has one: others in the network do not take its attempts away.
            (ThrottleKey::Device(_), _) => self.count(&self.by_user, guessed),
            (_, Some(network)) => self.count(&self.by_network, &network).and_then(|()| {
                site_of(network).map_or(Ok(()), |site| self.count(&self.by_site, &site))
            }),
            (_, None) => Ok(()),
        };
        match &lane {
            ThrottleKey::Strangers(_) => shared,
            known => shared.or_else(|_| self.count(&self.by_lane, known)),
        }?;
        let last = self.lock().count(&lane, now)?;
        Ok(Attempt { lane, guessed: guessed.clone(), network, last })
    }

    /// The password was right.
    pub(super) fn succeeded(&self, attempt: &Attempt) {
        let now = self.now();
        let mut memory = self.lock();
        memory.failures(&attempt.lane).remove(&attempt.lane);
        if let Some(network) = attempt.network {
            memory.known.insert((attempt.guessed.clone(), network), now);
            make_room(&mut memory.known, |at| now.saturating_sub(*at) < KNOWN_FOR, |at| *at);
        }
    }

    /// The password was not looked at.
    pub(super) fn undo(&self, attempt: &Attempt) {
        let mut memory = self.lock();
        if let Some(failures) = memory.failures(&attempt.lane).get_mut(&attempt.lane) {
            failures.count = failures.count.saturating_sub(1);
            failures.last = attempt.last;
        }
    }

    fn count<K: Hash + Eq + Clone>(
        &self,
        limiter: &Limiter<K>,
        key: &K,
    ) -> Result<(), AccountError> {
        if limiter.len() > KEYS_MAX {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|until| too_many(until.wait_time_from(self.now())))
    }

    fn now(&self) -> Duration {
        governor::clock::Clock::now(&self.clock)
    }

    fn lock(&self) -> MutexGuard<'_, FailureMemory> {
        // Every change is complete in itself: a panic elsewhere does not spoil it.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// Whether who asks has signed in before.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self.lane, ThrottleKey::Strangers(_))
    }
}

impl FailureMemory {
    fn knows(&self, place: &(LoginTarget, IpAddr), now: Duration) -> bool {
        self.known.get(place).is_some_and(|at| now.saturating_sub(*at) < KNOWN_FOR)
    }

    fn failures(&mut self, lane: &ThrottleKey) -> &mut HashMap<ThrottleKey, Failures> {
        match lane {
            ThrottleKey::Strangers(guessed) if guessed.epoch.is_some() => &mut self.of_users,
            ThrottleKey::Strangers(_) => &mut self.of_nobody,
            ThrottleKey::Device(_) | ThrottleKey::Network(..) => &mut self.of_known,
        }
    }

    /// Gives the time of the failure before.
    fn count(&mut self, lane: &ThrottleKey, now: Duration) -> Result<Duration, AccountError> {
        let is_fresh = |found: &Failures| now.saturating_sub(found.last) < FORGOTTEN_AFTER;
        let is_of_user = matches!(lane, ThrottleKey::Strangers(guessed) if guessed.epoch.is_some());
        let map = self.failures(lane);
        let failures = map.get(lane).copied().filter(is_fresh);
        let failures = failures.unwrap_or(Failures { count: 0, last: now });
        let wait = (failures.last + lane.delay(failures.count)).saturating_sub(now);
        if !wait.is_zero() {
            return Err(too_many(wait));
        }
        let count = failures.count.saturating_add(1);
        map.insert(lane.clone(), Failures { count, last: now });
        match is_of_user {
            true if map.len() > KEYS_MAX => map.retain(|_, found| is_fresh(found)),
            true => {}
            false => make_room(map, is_fresh, |found| (found.count, found.last)),
        }
        Ok(failures.last)
    }
}

impl ThrottleKey {
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

/// Forgets what is old, and when that is not enough, the half that comes first in an order.
fn make_room<K: Eq + Hash + Clone, V, O: Ord>(
    map: &mut HashMap<K, V>,
    is_fresh: impl Fn(&V) -> bool,
    order: impl Fn(&V) -> O,
) {
    if map.len() <= KEYS_MAX {
        return;
    }
    map.retain(|_, value| is_fresh(value));
    if map.len() <= KEYS_MAX {
        return;
    }
    let mut keys: Vec<_> = map.iter().map(|(key, value)| (order(value), key.clone())).collect();
    let middle = keys.len() / 2;
    keys.select_nth_unstable_by(middle, |one, other| one.0.cmp(&other.0));
    for (_, key) in keys.drain(..middle) {
        map.remove(&key);
    }
}

fn limiter<K: Hash + Eq + Clone>(per_minute: NonZeroU32, clock: &Clock) -> Limiter<K> {
    let quota = Quota::per_minute(per_minute);
    RateLimiter::new(quota, DashMapStateStore::default(), clock.clone())
}

fn too_many(wait: Duration) -> AccountError {
    AccountError::TooManyAttempts { retry_after_s: wait.as_secs() + 1 }
}

/// Who holds many /64 has them from one /48.
fn site_of(network: IpAddr) -> Option<IpAddr> {
    match network {
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() >> 80 << 80).into()),
        IpAddr::V4(_) => None,
    }
}
