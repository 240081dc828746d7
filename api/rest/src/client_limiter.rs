//! Permits that organizations share, for what takes memory or a connection while it lasts: each has a few, and all
//! together have many more. Who is known and holds none always gets one, so that a few cannot take all of them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix_web::HttpRequest;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{
    principal::{Principal, Tenancy, client_ip, network_of},
    problem::Problem,
};

/// Who shares with others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientId {
    /// All users and keys of one organization together, by its id.
    Organization(String),
    /// Of staff, each on its own: a key of the platform, a user.
    Staff(String),
    /// Who did not sign in, by network.
    Address(Option<IpAddr>),
}

/// Some places. Clones share them.
#[derive(Debug, Clone)]
pub struct ClientLimiter {
    each_max: usize,
    all_max: usize,
    held: Arc<Mutex<HashMap<ClientId, usize>>>,
    freed: Arc<Notify>,
}

/// A place. It is given back when dropped.
#[derive(Debug)]
pub struct ClientPermit {
    places: ClientLimiter,
    client: ClientId,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    /// The client has as many as one may have.
    Own,
    /// All places are taken, by all clients together.
    All,
}

impl From<&Principal> for ClientId {
    fn from(principal: &Principal) -> Self {
        match &principal.reach {
            Tenancy::All => Self::Staff(principal.id.clone()),
            Tenancy::Organization(id) => Self::Organization(id.clone()),
        }
    }
}

impl ClientId {
    /// The client of a request without credentials: the network of its address, as far as it is known.
    pub fn stranger(request: &HttpRequest) -> Self {
        Self::Address(client_ip(request).map(network_of))
    }
}

impl ClientLimiter {
    /// `each_max` for one organization, half of all for one of staff.
    pub fn new(each_max: usize, all_max: usize) -> Self {
        Self { each_max, all_max, held: Arc::default(), freed: Arc::default() }
    }

    /// Takes a place without waiting. Fails when the client has as many as it may have, or when all are taken; the
    /// first place of an organization or of staff is given even then.
    pub fn take(&self, client: ClientId) -> Result<ClientPermit, LimitReached> {
        let own_max = match client {
            ClientId::Staff(_) => self.all_max / 2,
            ClientId::Organization(_) | ClientId::Address(_) => self.each_max,
        };
        let mut held = self.lock();
        let own = held.get(&client).copied().unwrap_or_default();
        if own >= own_max {
            return Err(LimitReached::Own);
        }
        // Of addresses one may have as many as one likes.
        let is_first = own == 0 && !matches!(client, ClientId::Address(_));
        if !is_first && held.values().sum::<usize>() >= self.all_max {
            return Err(LimitReached::All);
        }
        *held.entry(client.clone()).or_default() += 1;
        drop(held);
        Ok(ClientPermit { places: self.clone(), client })
    }

    /// The same for one who may wait until a place is given back.
    pub async fn take_within(
        &self,
        client: &ClientId,
        patience: Duration,
    ) -> Result<ClientPermit, LimitReached> {
        let until = Instant::now() + patience;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Before the look, so that a place that is given back after it is noticed.
            freed.as_mut().enable();
            match self.take(client.clone()) {
                Err(full) if timeout_at(until, freed).await.is_err() => return Err(full),
                Err(_) => {}
                Ok(place) => return Ok(place),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientId, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        let mut held = self.places.lock();
        if let Some(own) = held.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.client);
            }
        }
        drop(held);
        self.places.freed.notify_waiters();
    }
}

impl LimitReached {
    /// `what` says of what there is too much: "queries wait".
    pub fn problem(self, what: &str, retry_after_s: u64) -> Problem {
        match self {
            Self::Own => Problem::too_many_requests(retry_after_s)
                .explained(format!("too many of your {what} already")),
            Self::All => {
                Problem::unavailable(retry_after_s).explained(format!("too many {what} already"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_party_does_not_take_all_places() {
        let places = ClientLimiter::new(2, 5);
        let take = |id: &str| places.take(ClientId::Organization(id.into()));
        let held = [take("a").unwrap(), take("a").unwrap()];
        assert_eq!(take("a").unwrap_err(), LimitReached::Own);
        let others = [take("b").unwrap(), take("c").unwrap(), take("b").unwrap()];
        assert_eq!(take("c").unwrap_err(), LimitReached::All);
        // Whoever holds nothing finds room; of strangers nobody knows who they are.
        assert!(take("d").is_ok() && places.take(ClientId::Staff("key_2".into())).is_ok());
        assert_eq!(places.take(ClientId::Address(None)).unwrap_err(), LimitReached::All);
        drop(held);
        assert!(take("a").is_ok() && places.take(ClientId::Staff("key_1".into())).is_ok());
        drop(others);
        assert!(places.lock().is_empty());
        assert_eq!(LimitReached::Own.problem("queries wait", 1).status, 429);
        assert_eq!(LimitReached::All.problem("queries wait", 1).status, 503);
    }
    #[tokio::test]
    async fn who_waits_gets_what_is_given_back() {
        let places = ClientLimiter::new(1, 5);
        let client = ClientId::Organization("a".into());
        let place = places.take(client.clone()).unwrap();
        let patience = Duration::from_millis(200);
        assert_eq!(places.take_within(&client, patience).await.unwrap_err(), LimitReached::Own);
        let later = async {
            tokio::time::sleep(patience / 2).await;
            drop(place);
        };
        let (taken, ()) = tokio::join!(places.take_within(&client, patience), later);
        assert!(taken.is_ok());
    }
}
