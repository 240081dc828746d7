//! Who gets the next worker. A rule without clock or task: tickets in, the next ticket out.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
};

/// Slots that parties share. The one that holds the fewest goes first; of those that hold as many, they take turns.
/// No party holds the last slot besides all others, so that one is left for whoever else comes.
#[derive(Debug)]
pub(super) struct Shares<K> {
    slots: usize,
    /// The most that may wait, of one party and of all.
    each_max: usize,
    all_max: usize,
    next: Ticket,
    running: BTreeMap<Ticket, K>,
    /// Every party that waits, the one that waits longest for its turn first.
    turns: VecDeque<K>,
    waiting: HashMap<K, VecDeque<Ticket>>,
}

pub(super) type Ticket = u64;

/// Why nobody else may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// This party has as many waiting as one may have.
    Own,
    All,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    pub(super) fn new(slots: usize, each_max: usize, all_max: usize) -> Self {
        Self {
            slots,
            each_max,
            all_max,
            next: 0,
            running: BTreeMap::new(),
            turns: VecDeque::new(),
            waiting: HashMap::new(),
        }
    }

    /// A party asks for a slot.
    pub(super) fn enter(&mut self, party: K) -> Result<Ticket, Full> {
        let own = self.waiting.get(&party).map_or(0, VecDeque::len);
        let all: usize = self.waiting.values().map(VecDeque::len).sum();
        // Who gets a slot at once does not wait.
        if self.running.len() >= self.slots || self.held(&party) >= self.own_max() {
            if own >= self.each_max {
                return Err(Full::Own);
            }
            if all >= self.all_max {
                return Err(Full::All);
            }
        }
        self.next += 1;
        if own == 0 {
            self.turns.push_back(party.clone());
        }
        self.waiting.entry(party).or_default().push_back(self.next);
        Ok(self.next)
    }

    /// The ticket that gets a slot now; it holds it until its end.
    pub(super) fn turn(&mut self) -> Option<Ticket> {
        if self.running.len() >= self.slots {
            return None;
        }
        let held = self.turns.iter().map(|party| self.held(party)).enumerate();
        // The first of equals.
        let (place, _) =
            held.filter(|(_, held)| *held < self.own_max()).min_by_key(|(_, held)| *held)?;
        let party = self.turns.remove(place)?;
        let tickets = self.waiting.get_mut(&party)?;
        let ticket = tickets.pop_front()?;
        if tickets.is_empty() {
            self.waiting.remove(&party);
        } else {
            self.turns.push_back(party.clone());
        }
        self.running.insert(ticket, party);
        Some(ticket)
    }

    fn held(&self, party: &K) -> usize {
        self.running.values().filter(|other| *other == party).count()
    }

    fn own_max(&self) -> usize {
        self.slots.saturating_sub(1).max(1)
    }

    /// A ticket is given back, whether it runs or waits.
    pub(super) fn end(&mut self, ticket: Ticket) {
        if self.running.remove(&ticket).is_some() {
            return;
        }
        for tickets in self.waiting.values_mut() {
            tickets.retain(|other| *other != ticket);
        }
        self.waiting.retain(|_, tickets| !tickets.is_empty());
        self.turns.retain(|party| self.waiting.contains_key(party));
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    fn enter(shares: &mut Shares<char>, parties: &str) -> Vec<Ticket> {
        parties.chars().map(|party| shares.enter(party).unwrap()).collect()
    }

    #[test]
    fn who_holds_nothing_goes_first() {
        let mut shares = Shares::new(3, 8, 16);
        let tickets = enter(&mut shares, "aaaab");
        let first = [0, 4, 1].map(|place: usize| Some(tickets[place]));
        assert_eq!([shares.turn(), shares.turn(), shares.turn()], first);
        assert_eq!(shares.turn(), None);
        // `c` came last, and holds nothing; `a` goes on when there is nobody else.
        let late = enter(&mut shares, "c")[0];
        shares.end(tickets[4]);
        assert_eq!((shares.turn(), shares.turn()), (Some(late), None));
        shares.end(tickets[0]);
        assert_eq!(shares.turn(), Some(tickets[2]));
    }

    #[test]
    fn one_slot_is_left_for_others() {
        let mut shares = Shares::new(3, 2, 2);
        let tickets = enter(&mut shares, "aaaa");
        assert_eq!((shares.turn(), shares.turn()), (Some(tickets[0]), Some(tickets[1])));
        assert_eq!((shares.turn(), shares.enter('a')), (None, Err(Full::Own)));
        let other = enter(&mut shares, "b")[0];
        assert_eq!((shares.turn(), shares.turn()), (Some(other), None));
        // With one slot there is none to leave.
        let mut shares = Shares::new(1, 2, 2);
        let only = enter(&mut shares, "a")[0];
        assert_eq!(shares.turn(), Some(only));
    }

    #[test]
    fn parties_take_turns() {
        let mut shares = Shares::new(1, 8, 16);
        let tickets = enter(&mut shares, "aaabbc");
        let mut order = Vec::new();
        while let Some(ticket) = shares.turn() {
            order.push(ticket);
            shares.end(ticket);
        }
        assert_eq!(order, [0, 3, 5, 1, 4, 2].map(|place: usize| tickets[place]));
    }

    #[test]
    fn one_party_or_all_of_them_are_too_many() {
        let mut shares = Shares::new(1, 2, 3);
        let first = enter(&mut shares, "a")[0];
        assert_eq!(shares.turn(), Some(first));
        let waiting = enter(&mut shares, "aab");
        assert_eq!((shares.enter('a'), shares.enter('b')), (Err(Full::Own), Err(Full::All)));
        // Who goes away makes room, and is not called.
        shares.end(waiting[0]);
        let last = enter(&mut shares, "b")[0];
        shares.end(first);
        assert_eq!(shares.turn(), Some(waiting[1]));
        shares.end(waiting[1]);
        assert_eq!(shares.turn(), Some(waiting[2]));
        shares.end(waiting[2]);
        assert_eq!(shares.turn(), Some(last));
    }

    /// Parties that come and go at random, one of them a flood. Never more run than there are slots, no slot
    /// stays free while somebody waits, and one that holds nothing waits at most for one turn of each other.
    #[test]
    fn nobody_starves() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let slots = random.random_range(1..=4);
            let parties: u64 = random.random_range(2..=6);
            let mut shares = Shares::new(slots, 8, 40);
            let mut owner = HashMap::new();
            // Turns of others since a party waits with nothing running.
            let mut passed: HashMap<u64, u64> = HashMap::new();
            for _ in 0..500 {
                let party =
                    if random.random_bool(0.5) { 0 } else { random.random_range(0..parties) };
                if let Ok(ticket) = shares.enter(party) {
                    owner.insert(ticket, party);
                }
                if random.random_bool(0.5) {
                    let tickets: Vec<_> = owner.keys().copied().collect();
                    let oldest = shares.running.keys().next().copied();
                    let gone = match oldest {
                        Some(oldest) if random.random_bool(0.8) => oldest,
                        _ => tickets[random.random_range(0..tickets.len())],
                    };
                    shares.end(gone);
                    owner.remove(&gone);
                    passed.retain(|party, _| shares.waiting.contains_key(party));
                }
                while let Some(ticket) = shares.turn() {
                    let served = owner[&ticket];
                    for party in 0..parties {
                        let holds = shares.running.values().any(|other| *other == party);
                        let waits = shares.waiting.contains_key(&party);
                        let count = passed.entry(party).or_default();
                        *count = if waits && !holds && party != served { *count + 1 } else { 0 };
                        assert!(*count < parties, "seed {seed}: {party} waits for {count} turns");
                    }
                }
                assert!(shares.running.len() <= slots, "seed {seed}");
                let held = |party: &u64| shares.running.values().filter(|p| *p == party).count();
                let most = shares.running.values().map(held).max().unwrap_or(0);
                assert!(most <= shares.own_max(), "seed {seed}");
                let stuck = |party: &u64| held(party) == shares.own_max();
                let idle = shares.running.len() < slots;
                assert!(!idle || shares.waiting.keys().all(stuck), "seed {seed}");
            }
        }
    }
}
