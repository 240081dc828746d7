//! Who gets the next worker. A rule without clock or task: tickets in, the next ticket out.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
};

/// Fair queueing with two classes. A free slot goes to the party that holds the fewest; of those that hold as many, to
/// one that never held any, and then by turns. No party holds all slots. The last one is for interactive parties: a
/// token bucket tells them from batch ones (a short question adds a token, a long one takes [`CREDIT`]). Beside a
/// single party the last slot is open to those as well of whom nothing is known, or that have tokens left.
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
    /// The bucket of each party that held a slot.
    tokens: HashMap<K, u32>,
}

/// How a party asks, by its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Interactive,
    /// It never held a slot, or has too few tokens.
    Unknown,
    Batch,
}

/// What a long question takes, and what makes a party interactive: it is more than somebody gets whose long ones are
/// among statements that are refused.
const CREDIT: u32 = 16;
/// Who always asked short ones may ask a few long ones.
const CREDIT_MAX: u32 = 4 * CREDIT;
/// Those that are remembered. When there are more, all start again.
const REMEMBERED: usize = 10_000;
pub(super) type Ticket = u64;

/// What a question said of the party that asked it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Showed {
    Short,
    Long,
    /// Neither: it got no slot, was stopped before it used much of it, or waited for the store.
    Nothing,
}

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
            tokens: HashMap::new(),
        }
    }

    /// A party asks for a slot.
    pub(super) fn enter(&mut self, party: K) -> Result<Ticket, Full> {
        let own = self.waiting.get(&party).map_or(0, VecDeque::len);
        let all: usize = self.waiting.values().map(VecDeque::len).sum();
        // Who gets a slot at once does not wait.
        if self.running.len() >= self.slots || !self.may_hold(&party) {
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
        let may = self.turns.iter().enumerate().filter(|(_, party)| self.may_hold(party));
        // The first of equals.
        let (place, _) =
            may.min_by_key(|(_, party)| (self.held(party), self.tokens.contains_key(*party)))?;
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

    /// Whether anybody waits.
    pub(super) fn is_crowded(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the party that holds a slot with a ticket has more that wait, or held one before and is not interactive.
    pub(super) fn gives_way(&self, ticket: Ticket) -> bool {
        let is_known = |party| self.tokens.contains_key(party);
        self.running.get(&ticket).is_some_and(|party| {
            self.waiting.contains_key(party)
                || is_known(party) && self.class(party) != Class::Interactive
        })
    }

    fn class(&self, party: &K) -> Class {
        match self.tokens.get(party) {
            Some(CREDIT..) => Class::Interactive,
            None | Some(1..) => Class::Unknown,
            Some(0) => Class::Batch,
        }
    }

    /// Whether a party may hold one more slot that is free.
    fn may_hold(&self, party: &K) -> bool {
        let is_interactive = |party: &K| self.class(party) == Class::Interactive;
        let others = self.running.values().filter(|party| !is_interactive(party)).count();
        let is_last = others >= self.own_max();
        let may_last = match self.class(party) {
            Class::Interactive => true,
            Class::Unknown => self.is_one_party(),
            Class::Batch => false,
        };
        self.held(party) < self.own_max() && (!is_last || may_last)
    }

    /// Whether nobody but one party holds a slot.
    fn is_one_party(&self) -> bool {
        let mut holders = self.running.values();
        holders.next().is_none_or(|first| holders.all(|other| other == first))
    }

    fn own_max(&self) -> usize {
        self.slots.saturating_sub(1).max(1)
    }

    /// A ticket is given back, whether it waits or holds a slot.
    pub(super) fn end(&mut self, ticket: Ticket, showed: Showed) {
        if let Some(party) = self.running.remove(&ticket) {
            if self.tokens.len() >= REMEMBERED && !self.tokens.contains_key(&party) {
                self.tokens.clear();
            }
            let tokens = self.tokens.entry(party).or_default();
            *tokens = match showed {
                Showed::Short => CREDIT_MAX.min(*tokens + 1),
                Showed::Long => tokens.saturating_sub(CREDIT),
                Showed::Nothing => *tokens,
            };
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

    use super::{Showed::*, *};

    fn enter(shares: &mut Shares<char>, parties: &str) -> Vec<Ticket> {
        parties.chars().map(|party| shares.enter(party).unwrap()).collect()
    }

    /// Shares that know what parties ask.
    fn knowing(mut shares: Shares<char>, habits: &[(&str, Showed)]) -> Shares<char> {
        for (parties, showed) in habits {
            for party in parties.chars() {
                for _ in 0..CREDIT_MAX {
                    let ticket = enter(&mut shares, &party.to_string())[0];
                    assert_eq!(shares.turn(), Some(ticket));
                    shares.end(ticket, *showed);
                }
            }
        }
        shares
    }

    /// `a` has more that wait, `q` asked short ones, `l` long ones, `b` both, and `n` nothing yet.
    #[test]
    fn who_has_more_waiting_or_too_few_tokens_gives_way() {
        let habits = [("qb", Short), ("l", Long)];
        let mut shares = knowing(Shares::new(9, 8, 16), &habits);
        shares.tokens.insert('b', CREDIT - 1);
        let tickets = enter(&mut shares, "aqlbn");
        while shares.turn().is_some() {}
        enter(&mut shares, "a");
        let giving: Vec<_> = tickets.iter().map(|ticket| shares.gives_way(*ticket)).collect();
        assert_eq!(giving, [true, false, true, true, false]);
    }

    #[test]
    fn who_holds_nothing_goes_first() {
        let mut shares = knowing(Shares::new(3, 8, 16), &[("abc", Short)]);
        let tickets = enter(&mut shares, "aaaab");
        let first = [0, 4, 1].map(|place: usize| Some(tickets[place]));
        assert_eq!([shares.turn(), shares.turn(), shares.turn()], first);
        assert_eq!(shares.turn(), None);
        // `c` came last, and holds nothing.
        let late = enter(&mut shares, "c")[0];
        shares.end(tickets[4], Nothing);
        assert_eq!((shares.turn(), shares.turn()), (Some(late), None));
        shares.end(tickets[0], Nothing);
        assert_eq!(shares.turn(), Some(tickets[2]));
    }

    #[test]
    fn one_slot_is_left_for_others() {
        let mut shares = knowing(Shares::new(3, 2, 2), &[("a", Short)]);
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
    fn beside_one_party_the_last_slot_is_for_everybody_else() {
        let mut shares = knowing(Shares::new(3, 8, 16), &[("abc", Long)]);
        let [_, first, n, m, b] = enter(&mut shares, "aanmb")[..] else { unreachable!() };
        assert_eq!((shares.turn(), shares.turn(), shares.turn()), (Some(n), Some(m), None));
        shares.end(n, Long);
        shares.end(m, Short);
        assert!(shares.turn().is_some() && shares.turn() == Some(b) && shares.turn().is_none());
        shares.end(b, Long);
        assert_eq!(shares.turn(), Some(first), "one party has two of three");
        let late = enter(&mut shares, "bm");
        assert_eq!((shares.turn(), shares.turn()), (Some(late[1]), None), "not for long ones");
    }

    /// `q` is known for short questions, the others for long ones, and `n` is new.
    #[test]
    fn one_slot_is_left_for_short_questions() {
        let habits = [("q", Short), ("abd", Long)];
        let mut shares = knowing(Shares::new(3, 8, 16), &habits);
        let [a, b, d, n] = enter(&mut shares, "abdn")[..] else { unreachable!() };
        assert_eq!((shares.turn(), shares.turn(), shares.turn()), (Some(n), Some(a), None));
        let q = enter(&mut shares, "q")[0];
        assert_eq!((shares.turn(), shares.turn()), (Some(q), None));
        shares.end(n, Short);
        assert_eq!((shares.turn(), shares.turn()), (Some(b), None));
        // Now and then a long one is no habit.
        let mut q = q;
        for _ in 0..CREDIT_MAX / CREDIT - 1 {
            shares.end(q, Long);
            q = enter(&mut shares, "q")[0];
            assert_eq!((shares.turn(), shares.turn()), (Some(q), None));
        }
        shares.end(q, Long);
        enter(&mut shares, "q");
        assert_eq!(shares.turn(), None, "all ask long ones now");
        shares.end(b, Long);
        assert_eq!((shares.turn(), shares.turn()), (Some(d), None));
    }

    #[test]
    fn who_was_stopped_soon_showed_nothing_and_is_not_new() {
        for (showed, may) in [(Nothing, false), (Short, true)] {
            let habits = [("ab", Long), ("q", showed)];
            let mut shares = knowing(Shares::new(3, 8, 16), &habits);
            enter(&mut shares, "ab");
            assert!(shares.turn().is_some() && shares.turn().is_some());
            let last = enter(&mut shares, "q")[0];
            assert_eq!(shares.turn(), may.then_some(last), "{showed:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut shares = Shares::new(1, 1, 1);
        for party in 0..=REMEMBERED {
            let ticket = shares.enter(party).unwrap();
            assert_eq!(shares.turn(), Some(ticket));
            shares.end(ticket, Short);
        }
        assert_eq!(shares.tokens.len(), 1);
    }

    #[test]
    fn parties_take_turns() {
        let mut shares = Shares::new(1, 8, 16);
        let tickets = enter(&mut shares, "aaabbc");
        let mut order = Vec::new();
        while let Some(ticket) = shares.turn() {
            order.push(ticket);
            shares.end(ticket, Nothing);
        }
        assert_eq!(order, [0, 3, 5, 1, 4, 2].map(|place: usize| tickets[place]));
    }

    #[test]
    fn one_party_or_all_of_them_are_too_many() {
        let mut shares = knowing(Shares::new(1, 2, 3), &[("ab", Short)]);
        let first = enter(&mut shares, "a")[0];
        assert_eq!(shares.turn(), Some(first));
        let waiting = enter(&mut shares, "aab");
        assert_eq!((shares.enter('a'), shares.enter('b')), (Err(Full::Own), Err(Full::All)));
        // Who goes away makes room, and is not called.
        shares.end(waiting[0], Nothing);
        let last = enter(&mut shares, "b")[0];
        shares.end(first, Nothing);
        assert_eq!(shares.turn(), Some(waiting[1]));
        shares.end(waiting[1], Nothing);
        assert_eq!(shares.turn(), Some(waiting[2]));
        shares.end(waiting[2], Nothing);
        assert_eq!(shares.turn(), Some(last));
    }

    /// Parties that come and go at random, one of them a flood. Never more run than there are slots, no slot stays free
    /// that somebody who waits may hold, and one that may hold it and holds nothing waits at most for one turn of each
    /// other, and for one more where the other is new.
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
                    shares.end(gone, [Short, Long, Nothing][random.random_range(0..3)]);
                    owner.remove(&gone);
                    passed.retain(|party, _| shares.waiting.contains_key(party));
                }
                loop {
                    let may: Vec<_> = (0..parties).map(|party| shares.may_hold(&party)).collect();
                    let is_passed = |party: &u64| {
                        let holds = shares.running.values().any(|other| other == party);
                        let waits = shares.waiting.contains_key(party);
                        (!holds && waits).then(|| may[*party as usize])
                    };
                    let before: Vec<_> = (0..parties).map(|party| is_passed(&party)).collect();
                    let Some(ticket) = shares.turn() else { break };
                    let served = owner[&ticket];
                    assert!(may[served as usize], "seed {seed}");
                    for (party, before) in (0..parties).zip(before) {
                        let count = passed.entry(party).or_default();
                        match before {
                            Some(may) if party != served => *count += u64::from(may),
                            _ => *count = 0,
                        }
                        assert!(
                            *count < 2 * parties,
                            "seed {seed}: {party} waits for {count} turns"
                        );
                    }
                }
                assert!(shares.running.len() <= slots, "seed {seed}");
                let held = |party: &u64| shares.running.values().filter(|p| *p == party).count();
                let most = shares.running.values().map(held).max().unwrap_or(0);
                assert!(most <= shares.own_max(), "seed {seed}");
                let stuck = |party: &u64| !shares.may_hold(party);
                let idle = shares.running.len() < slots;
                assert!(!idle || shares.waiting.keys().all(stuck), "seed {seed}");
            }
        }
    }
}
