//! The scheduler of worker slots: a query waits until its tenant's turn has come.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::fair_queue::{FairQueue, QueueFull, SlotUse, Ticket};
use crate::RowAccess;

/// Those who wait and those who run. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Scheduler(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    queue: FairQueue<Tenant>,
    called: HashMap<Ticket, oneshot::Sender<()>>,
}

/// An organization, or staff, who are one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tenant(Option<String>);

/// A place in the queue, and then the slot. It is given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    scheduler: Scheduler,
    ticket: Ticket,
    call: oneshot::Receiver<()>,
    /// When the slot came.
    since: Option<Instant>,
    /// What its question said of the tenant.
    slot_use: SlotUse,
}

/// A question that uses a slot for longer is not short. Most that are use a tenth of it.
const QUICK: Duration = Duration::from_millis(500);
/// One that holds it for longer is no example of a short one, whatever it waits for.
const HELD: Duration = Duration::from_secs(5);

impl Tenant {
    pub(super) fn of(reach: &RowAccess) -> Self {
        Self(match reach {
            RowAccess::Organization(id) => Some(id.clone()),
            RowAccess::Admin | RowAccess::Staff => None,
        })
    }
}

impl Scheduler {
    pub(super) fn new(slots: usize, each_max: usize, all_max: usize) -> Self {
        let queue = FairQueue::new(slots, each_max, all_max);
        Self(Arc::new(Mutex::new(Inner { queue, called: HashMap::new() })))
    }

    pub(super) fn enter(&self, reach: &RowAccess) -> Result<Slot, QueueFull> {
        let mut inner = self.lock();
        let ticket = inner.queue.enter(Tenant::of(reach))?;
        let (sender, call) = oneshot::channel();
        inner.called.insert(ticket, sender);
        inner.call();
        Ok(Slot { scheduler: self.clone(), ticket, call, since: None, slot_use: SlotUse::Nothing })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn call(&mut self) {
        while let Some(ticket) = self.queue.turn() {
            if let Some(sender) = self.called.remove(&ticket) {
                // One that is gone gives its place back by itself.
                let _ = sender.send(());
            }
        }
    }
}

impl Slot {
    /// Completes when the slot is there.
    pub(super) async fn called(&mut self) {
        let _ = (&mut self.call).await;
        self.since = Some(Instant::now());
    }

    /// Its question is over, and used so much of the time that it had the slot. Who waited for the cores, or for the
    /// store, is not to blame for it: short questions that take long where others take the cores would lose their tokens,
    /// give way because of that, and take longer still.
    pub(super) fn used(&mut self, time: Option<Duration>, is_answered: bool) {
        let held = self.since.map(|since| since.elapsed()).unwrap_or_default();
        self.slot_use = match time.unwrap_or(held).min(held) {
            time if time > QUICK => SlotUse::Long,
            _ if is_answered && held <= HELD => SlotUse::Short,
            _ => SlotUse::Nothing,
        };
    }

    /// Its question ended its worker.
    pub(super) fn lost(&mut self) {
        self.slot_use = SlotUse::Long;
    }

    /// Whether others wait.
    pub(super) fn is_crowded(&self) -> bool {
        self.scheduler.lock().queue.is_crowded()
    }

    /// Whether its tenant is to leave the cores to others, where they want them.
    pub(super) fn gives_way(&self) -> bool {
        self.scheduler.lock().queue.gives_way(self.ticket)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inner = self.scheduler.lock();
        inner.called.remove(&self.ticket);
        inner.queue.end(self.ticket, self.slot_use);
        inner.call();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_that_is_given_up_goes_to_the_next() {
        let scheduler = Scheduler::new(1, 2, 2);
        let organization = |id: &str| RowAccess::Organization(id.to_owned());
        let mut first = scheduler.enter(&organization("a")).unwrap();
        first.called().await;
        assert!(!first.is_crowded());
        let second = scheduler.enter(&RowAccess::Staff).unwrap();
        assert!(first.is_crowded());
        let mut third = scheduler.enter(&organization("b")).unwrap();
        assert_eq!(scheduler.enter(&organization("c")).map(drop), Err(QueueFull::All));
        assert!(third.call.try_recv().is_err());
        // The second is called, and gone before it heard of it.
        drop(first);
        drop(second);
        third.called().await;
        assert!(!third.is_crowded());
        assert!(scheduler.lock().called.is_empty());
    }

    #[tokio::test]
    async fn what_a_question_used_says_whether_it_was_short() {
        let scheduler = Scheduler::new(1, 2, 2);
        let now = Instant::now();
        let ago = |time| now.checked_sub(time).unwrap();
        let slow = 2 * QUICK;
        for (held, time, is_answered, slot_use) in [
            (QUICK / 2, None, true, SlotUse::Short),
            (slow, None, true, SlotUse::Long),
            (slow, Some(QUICK / 9), true, SlotUse::Short),
            (slow, Some(QUICK / 9), false, SlotUse::Nothing),
            (slow, Some(9 * QUICK), false, SlotUse::Long),
            // Of several threads, in the time of one.
            (QUICK / 2, Some(slow), true, SlotUse::Short),
            (2 * HELD, Some(QUICK / 9), true, SlotUse::Nothing),
        ] {
            let mut place = scheduler.enter(&RowAccess::Staff).unwrap();
            assert_eq!(place.slot_use, SlotUse::Nothing);
            place.since = Some(ago(held));
            place.used(time, is_answered);
            assert_eq!(place.slot_use, slot_use, "{held:?} {time:?} {is_answered}");
            place.lost();
            assert_eq!(place.slot_use, SlotUse::Long);
        }
    }
}
