//! Who gets the next worker. A rule without clock or task: tickets in, the next ticket out.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
};

/// Fair queueing with two classes. A free slot goes to the tenant that holds the fewest; of those that hold as many, to
/// one that never held any, and then by turns. No tenant holds all slots. The last one is for interactive tenants: a
/// token bucket tells them from batch ones (a short question adds a token, a long one takes [`CREDIT`]). Beside a
/// single tenant the last slot is open to those as well of whom nothing is known, or that have tokens left.
#[derive(Debug)]
pub(super) struct FairQueue<K> {
    slots: usize,
    /// The most that may wait, of one tenant and of all.
    each_max: usize,
    all_max: usize,
    next: Ticket,
    running: BTreeMap<Ticket, K>,
    /// Every tenant that waits, the one that waits longest for its turn first.
    turns: VecDeque<K>,
    waiting: HashMap<K, VecDeque<Ticket>>,
    /// The bucket of each tenant that held a slot.
    tokens: HashMap<K, u32>,
}

/// How a tenant asks, by its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TenantClass {
    Interactive,
    /// It never held a slot, or has too few tokens.
    Unknown,
    Batch,
}

/// What a long question takes, and what makes a tenant interactive: it is more than somebody gets whose long ones are
/// among statements that are refused.
const CREDIT: u32 = 16;
/// Who always asked short ones may ask a few long ones.
const CREDIT_MAX: u32 = 4 * CREDIT;
/// Those that are remembered. When there are more, all start again.
const REMEMBERED: usize = 10_000;
pub(super) type Ticket = u64;

/// What a question said of the tenant that asked it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotUse {
    Short,
    Long,
    /// Neither: it got no slot, was stopped before it used much of it, or waited for the store.
    Nothing,
}

/// Why nobody else may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueFull {
    /// This tenant has as many waiting as one may have.
    Own,
    All,
}

impl<K: Clone + Eq + Hash> FairQueue<K> {
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

    /// A tenant asks for a slot.
    pub(super) fn enter(&mut self, tenant: K) -> Result<Ticket, QueueFull> {
        let own = self.waiting.get(&tenant).map_or(0, VecDeque::len);
        let all: usize = self.waiting.values().map(VecDeque::len).sum();
        // Who gets a slot at once does not wait.
        if self.running.len() >= self.slots || !self.may_hold(&tenant) {
            if own >= self.each_max {
                return Err(QueueFull::Own);
            }
            if all >= self.all_max {
                return Err(QueueFull::All);
            }
        }
        self.next += 1;
        if own == 0 {
            self.turns.push_back(tenant.clone());
        }
        self.waiting.entry(tenant).or_default().push_back(self.next);
        Ok(self.next)
    }

    /// The ticket that gets a slot now; it holds it until its end.
    pub(super) fn turn(&mut self) -> Option<Ticket> {
        if self.running.len() >= self.slots {
            return None;
        }
        let may = self.turns.iter().enumerate().filter(|(_, tenant)| self.may_hold(tenant));
        // The first of equals.
        let (place, _) =
            may.min_by_key(|(_, tenant)| (self.held(tenant), self.tokens.contains_key(*tenant)))?;
        let tenant = self.turns.remove(place)?;
        let tickets = self.waiting.get_mut(&tenant)?;
        let ticket = tickets.pop_front()?;
        if tickets.is_empty() {
            self.waiting.remove(&tenant);
        } else {
            self.turns.push_back(tenant.clone());
        }
        self.running.insert(ticket, tenant);
        Some(ticket)
    }

    fn held(&self, tenant: &K) -> usize {
        self.running.values().filter(|other| *other == tenant).count()
    }

    /// Whether anybody waits.
    pub(super) fn is_crowded(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the tenant that holds a slot with a ticket has more that wait, or held one before and is not interactive.
    pub(super) fn gives_way(&self, ticket: Ticket) -> bool {
        let is_known = |tenant| self.tokens.contains_key(tenant);
        self.running.get(&ticket).is_some_and(|tenant| {
            self.waiting.contains_key(tenant)
                || is_known(tenant) && self.class(tenant) != TenantClass::Interactive
        })
    }

    fn class(&self, tenant: &K) -> TenantClass {
        match self.tokens.get(tenant) {
            Some(CREDIT..) => TenantClass::Interactive,
            None | Some(1..) => TenantClass::Unknown,
            Some(0) => TenantClass::Batch,
        }
    }

    /// Whether a tenant may hold one more slot that is free.
    fn may_hold(&self, tenant: &K) -> bool {
        let is_interactive = |tenant: &K| self.class(tenant) == TenantClass::Interactive;
        let others = self.running.values().filter(|tenant| !is_interactive(tenant)).count();
        let is_last = others >= self.own_max();
        let may_last = match self.class(tenant) {
            TenantClass::Interactive => true,
            TenantClass::Unknown => self.is_one_party(),
            TenantClass::Batch => false,
        };
        self.held(tenant) < self.own_max() && (!is_last || may_last)
    }

    /// Whether nobody but one tenant holds a slot.
    fn is_one_party(&self) -> bool {
        let mut holders = self.running.values();
        holders.next().is_none_or(|first| holders.all(|other| other == first))
    }

    fn own_max(&self) -> usize {
        self.slots.saturating_sub(1).max(1)
    }

    /// A ticket is given back, whether it waits or holds a slot.
    pub(super) fn end(&mut self, ticket: Ticket, slot_use: SlotUse) {
        if let Some(tenant) = self.running.remove(&ticket) {
            if self.tokens.len() >= REMEMBERED && !self.tokens.contains_key(&tenant) {
                self.tokens.clear();
            }
            let tokens = self.tokens.entry(tenant).or_default();
            *tokens = match slot_use {
                SlotUse::Short => CREDIT_MAX.min(*tokens + 1),
                SlotUse::Long => tokens.saturating_sub(CREDIT),
                SlotUse::Nothing => *tokens,
            };
            return;
        }
        for tickets in self.waiting.values_mut() {
            tickets.retain(|other| *other != ticket);
        }
        self.waiting.retain(|_, tickets| !tickets.is_empty());
        self.turns.retain(|tenant| self.waiting.contains_key(tenant));
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::{SlotUse::*, *};

    fn enter(queue: &mut FairQueue<char>, tenants: &str) -> Vec<Ticket> {
        tenants.chars().map(|tenant| queue.enter(tenant).unwrap()).collect()
    }

    /// A queue that knows what tenants ask.
    fn knowing(mut queue: FairQueue<char>, habits: &[(&str, SlotUse)]) -> FairQueue<char> {
        for (tenants, slot_use) in habits {
            for tenant in tenants.chars() {
                for _ in 0..CREDIT_MAX {
                    let ticket = enter(&mut queue, &tenant.to_string())[0];
                    assert_eq!(queue.turn(), Some(ticket));
                    queue.end(ticket, *slot_use);
                }
            }
        }
        queue
    }

    /// `a` has more that wait, `q` asked short ones, `l` long ones, `b` both, and `n` nothing yet.
    #[test]
    fn who_has_more_waiting_or_too_few_tokens_gives_way() {
        let habits = [("qb", Short), ("l", Long)];
        let mut queue = knowing(FairQueue::new(9, 8, 16), &habits);
        queue.tokens.insert('b', CREDIT - 1);
        let tickets = enter(&mut queue, "aqlbn");
        while queue.turn().is_some() {}
        enter(&mut queue, "a");
        let giving: Vec<_> = tickets.iter().map(|ticket| queue.gives_way(*ticket)).collect();
        assert_eq!(giving, [true, false, true, true, false]);
    }

    #[test]
    fn who_holds_nothing_goes_first() {
        let mut queue = knowing(FairQueue::new(3, 8, 16), &[("abc", Short)]);
        let tickets = enter(&mut queue, "aaaab");
        let first = [0, 4, 1].map(|place: usize| Some(tickets[place]));
        assert_eq!([queue.turn(), queue.turn(), queue.turn()], first);
        assert_eq!(queue.turn(), None);
        // `c` came last, and holds nothing.
        let late = enter(&mut queue, "c")[0];
        queue.end(tickets[4], Nothing);
        assert_eq!((queue.turn(), queue.turn()), (Some(late), None));
        queue.end(tickets[0], Nothing);
        assert_eq!(queue.turn(), Some(tickets[2]));
    }

    #[test]
    fn one_slot_is_left_for_others() {
        let mut queue = knowing(FairQueue::new(3, 2, 2), &[("a", Short)]);
        let tickets = enter(&mut queue, "aaaa");
        assert_eq!((queue.turn(), queue.turn()), (Some(tickets[0]), Some(tickets[1])));
        assert_eq!((queue.turn(), queue.enter('a')), (None, Err(QueueFull::Own)));
        let other = enter(&mut queue, "b")[0];
        assert_eq!((queue.turn(), queue.turn()), (Some(other), None));
        // With one slot there is none to leave.
        let mut queue = FairQueue::new(1, 2, 2);
        let only = enter(&mut queue, "a")[0];
        assert_eq!(queue.turn(), Some(only));
    }

    #[test]
    fn beside_one_party_the_last_slot_is_for_everybody_else() {
        let mut queue = knowing(FairQueue::new(3, 8, 16), &[("abc", Long)]);
        let [_, first, n, m, b] = enter(&mut queue, "aanmb")[..] else { unreachable!() };
        assert_eq!((queue.turn(), queue.turn(), queue.turn()), (Some(n), Some(m), None));
        queue.end(n, Long);
        queue.end(m, Short);
        assert!(queue.turn().is_some() && queue.turn() == Some(b) && queue.turn().is_none());
        queue.end(b, Long);
        assert_eq!(queue.turn(), Some(first), "one tenant has two of three");
        let late = enter(&mut queue, "bm");
        assert_eq!((queue.turn(), queue.turn()), (Some(late[1]), None), "not for long ones");
    }

    /// `q` is known for short questions, the others for long ones, and `n` is new.
    #[test]
    fn one_slot_is_left_for_short_questions() {
        let habits = [("q", Short), ("abd", Long)];
        let mut queue = knowing(FairQueue::new(3, 8, 16), &habits);
        let [a, b, d, n] = enter(&mut queue, "abdn")[..] else { unreachable!() };
        assert_eq!((queue.turn(), queue.turn(), queue.turn()), (Some(n), Some(a), None));
        let q = enter(&mut queue, "q")[0];
        assert_eq!((queue.turn(), queue.turn()), (Some(q), None));
        queue.end(n, Short);
        assert_eq!((queue.turn(), queue.turn()), (Some(b), None));
        // Now and then a long one is no habit.
        let mut q = q;
        for _ in 0..CREDIT_MAX / CREDIT - 1 {
            queue.end(q, Long);
            q = enter(&mut queue, "q")[0];
            assert_eq!((queue.turn(), queue.turn()), (Some(q), None));
        }
        queue.end(q, Long);
        enter(&mut queue, "q");
        assert_eq!(queue.turn(), None, "all ask long ones now");
        queue.end(b, Long);
        assert_eq!((queue.turn(), queue.turn()), (Some(d), None));
    }

    #[test]
    fn who_was_stopped_soon_showed_nothing_and_is_not_new() {
        for (slot_use, may) in [(Nothing, false), (Short, true)] {
            let habits = [("ab", Long), ("q", slot_use)];
            let mut queue = knowing(FairQueue::new(3, 8, 16), &habits);
            enter(&mut queue, "ab");
            assert!(queue.turn().is_some() && queue.turn().is_some());
            let last = enter(&mut queue, "q")[0];
            assert_eq!(queue.turn(), may.then_some(last), "{slot_use:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut queue = FairQueue::new(1, 1, 1);
        for tenant in 0..=REMEMBERED {
            let ticket = queue.enter(tenant).unwrap();
            assert_eq!(queue.turn(), Some(ticket));
            queue.end(ticket, Short);
        }
        assert_eq!(queue.tokens.len(), 1);
    }

    #[test]
    fn parties_take_turns() {
        let mut queue = FairQueue::new(1, 8, 16);
        let tickets = enter(&mut queue, "aaabbc");
        let mut order = Vec::new();
        while let Some(ticket) = queue.turn() {
            order.push(ticket);
            queue.end(ticket, Nothing);
        }
        assert_eq!(order, [0, 3, 5, 1, 4, 2].map(|place: usize| tickets[place]));
    }

    #[test]
    fn one_party_or_all_of_them_are_too_many() {
        let mut queue = knowing(FairQueue::new(1, 2, 3), &[("ab", Short)]);
        let first = enter(&mut queue, "a")[0];
        assert_eq!(queue.turn(), Some(first));
        let waiting = enter(&mut queue, "aab");
        assert_eq!(
            (queue.enter('a'), queue.enter('b')),
            (Err(QueueFull::Own), Err(QueueFull::All))
        );
        // Who goes away makes room, and is not called.
        queue.end(waiting[0], Nothing);
        let last = enter(&mut queue, "b")[0];
        queue.end(first, Nothing);
        assert_eq!(queue.turn(), Some(waiting[1]));
        queue.end(waiting[1], Nothing);
        assert_eq!(queue.turn(), Some(waiting[2]));
        queue.end(waiting[2], Nothing);
        assert_eq!(queue.turn(), Some(last));
    }

    /// Parties that come and go at random, one of them a flood. Never more run than there are slots, no slot stays free
    /// that somebody who waits may hold, and one that may hold it and holds nothing waits at most for one turn of each
    /// other, and for one more where the other is new.
    #[test]
    fn nobody_starves() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let slots = random.random_range(1..=4);
            let tenants: u64 = random.random_range(2..=6);
            let mut queue = FairQueue::new(slots, 8, 40);
            let mut owner = HashMap::new();
            // Turns of others since a tenant waits with nothing running.
            let mut passed: HashMap<u64, u64> = HashMap::new();
            for _ in 0..500 {
                let tenant =
                    if random.random_bool(0.5) { 0 } else { random.random_range(0..tenants) };
                if let Ok(ticket) = queue.enter(tenant) {
                    owner.insert(ticket, tenant);
                }
                if random.random_bool(0.5) {
                    let tickets: Vec<_> = owner.keys().copied().collect();
                    let oldest = queue.running.keys().next().copied();
                    let gone = match oldest {
                        Some(oldest) if random.random_bool(0.8) => oldest,
                        _ => tickets[random.random_range(0..tickets.len())],
                    };
                    queue.end(gone, [Short, Long, Nothing][random.random_range(0..3)]);
                    owner.remove(&gone);
                    passed.retain(|tenant, _| queue.waiting.contains_key(tenant));
                }
                loop {
                    let may: Vec<_> = (0..tenants).map(|tenant| queue.may_hold(&tenant)).collect();
                    let is_passed = |tenant: &u64| {
                        let holds = queue.running.values().any(|other| other == tenant);
                        let waits = queue.waiting.contains_key(tenant);
                        (!holds && waits).then(|| may[*tenant as usize])
                    };
                    let before: Vec<_> = (0..tenants).map(|tenant| is_passed(&tenant)).collect();
                    let Some(ticket) = queue.turn() else { break };
                    let served = owner[&ticket];
                    assert!(may[served as usize], "seed {seed}");
                    for (tenant, before) in (0..tenants).zip(before) {
                        let count = passed.entry(tenant).or_default();
                        match before {
                            Some(may) if tenant != served => *count += u64::from(may),
                            _ => *count = 0,
                        }
                        assert!(
                            *count < 2 * tenants,
                            "seed {seed}: {tenant} waits for {count} turns"
                        );
                    }
                }
                assert!(queue.running.len() <= slots, "seed {seed}");
                let held = |tenant: &u64| queue.running.values().filter(|p| *p == tenant).count();
                let most = queue.running.values().map(held).max().unwrap_or(0);
                assert!(most <= queue.own_max(), "seed {seed}");
                let stuck = |tenant: &u64| !queue.may_hold(tenant);
                let idle = queue.running.len() < slots;
                assert!(!idle || queue.waiting.keys().all(stuck), "seed {seed}");
            }
        }
    }
}
