//! Places that organizations share, for what takes memory or a connection while it lasts: each has a few, and all
//! together have many more.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix_web::HttpRequest;

use crate::{
    accounts::network_of,
    principal::{Principal, Reach, client_ip},
    problem::Problem,
};

/// Who shares with others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Party {
    Organization(String),
    /// Of staff, each on its own: a key of the platform, a user.
    Staff(String),
    /// Who did not sign in, by network.
    Address(Option<IpAddr>),
}

/// Some places. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    each_max: usize,
    all_max: usize,
    held: Arc<Mutex<HashMap<Party, usize>>>,
}

/// A place. It is given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    party: Party,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The party has as many as one may have.
    Own,
    All,
}

impl From<&Principal> for Party {
    fn from(principal: &Principal) -> Self {
        match &principal.reach {
            Reach::All => Self::Staff(principal.id.clone()),
            Reach::Organization(id) => Self::Organization(id.clone()),
        }
    }
}

impl Party {
    pub(crate) fn stranger(request: &HttpRequest) -> Self {
        Self::Address(client_ip(request).map(network_of))
    }
}

impl Places {
    /// `each_max` for one organization, half of all for one of staff.
    pub(crate) fn new(each_max: usize, all_max: usize) -> Self {
        Self { each_max, all_max, held: Arc::default() }
    }

    pub(crate) fn take(&self, party: Party) -> Result<Place, Full> {
        let own_max = match party {
            Party::Staff(_) => self.all_max / 2,
            Party::Organization(_) | Party::Address(_) => self.each_max,
        };
        let mut held = self.lock();
        if held.get(&party).is_some_and(|own| *own >= own_max) {
            return Err(Full::Own);
        }
        if held.values().sum::<usize>() >= self.all_max {
            return Err(Full::All);
        }
        *held.entry(party.clone()).or_default() += 1;
        drop(held);
        Ok(Place { places: self.clone(), party })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Party, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.lock();
        if let Some(own) = held.get_mut(&self.party) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.party);
            }
        }
    }
}

impl Full {
    /// `what` says of what there is too much: "queries wait".
    pub(crate) fn problem(self, what: &str, retry_after_s: u64) -> Problem {
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
        let places = Places::new(2, 5);
        let take = |id: &str| places.take(Party::Organization(id.into()));
        let held = [take("a").unwrap(), take("a").unwrap()];
        assert_eq!(take("a").unwrap_err(), Full::Own);
        let others = [take("b").unwrap(), take("c").unwrap(), take("b").unwrap()];
        assert_eq!(take("c").unwrap_err(), Full::All);
        drop(held);
        assert!(take("a").is_ok() && places.take(Party::Staff("key_1".into())).is_ok());
        drop(others);
        assert!(places.lock().is_empty());
        assert_eq!(Full::Own.problem("queries wait", 1).status, 429);
        assert_eq!(Full::All.problem("queries wait", 1).status, 503);
    }
}
