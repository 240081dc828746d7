//! The line in front of the workers: a task waits in it until its party's turn has come.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::share::{Full, Shares, Showed, Ticket};
use crate::Reach;

/// Those who wait and those who run. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Line(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    shares: Shares<Party>,
    called: HashMap<Ticket, oneshot::Sender<()>>,
}

/// An organization, or staff, who are one party.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Party(Option<String>);

/// A place in the line, and then the slot. It is given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    line: Line,
    ticket: Ticket,
    call: oneshot::Receiver<()>,
    /// When the slot came.
    since: Option<Instant>,
    /// What its question said of the party.
    showed: Showed,
}

/// A question that uses a slot for longer is not short. Most that are use a tenth of it.
const QUICK: Duration = Duration::from_millis(500);
/// One that holds it for longer is no example of a short one, whatever it waits for.
const HELD: Duration = Duration::from_secs(5);

impl Party {
    pub(super) fn of(reach: &Reach) -> Self {
        Self(match reach {
            Reach::Organization(id) => Some(id.clone()),
            Reach::Admin | Reach::Staff => None,
        })
    }
}

impl Line {
    pub(super) fn new(slots: usize, each_max: usize, all_max: usize) -> Self {
        let shares = Shares::new(slots, each_max, all_max);
        Self(Arc::new(Mutex::new(Inner { shares, called: HashMap::new() })))
    }

    pub(super) fn enter(&self, reach: &Reach) -> Result<Place, Full> {
        let mut inner = self.lock();
        let ticket = inner.shares.enter(Party::of(reach))?;
        let (sender, call) = oneshot::channel();
        inner.called.insert(ticket, sender);
        inner.call();
        Ok(Place { line: self.clone(), ticket, call, since: None, showed: Showed::Nothing })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn call(&mut self) {
        while let Some(ticket) = self.shares.turn() {
            if let Some(sender) = self.called.remove(&ticket) {
                // One that is gone gives its place back by itself.
                let _ = sender.send(());
            }
        }
    }
}

impl Place {
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
        self.showed = match time.unwrap_or(held).min(held) {
            time if time > QUICK => Showed::Long,
            _ if is_answered && held <= HELD => Showed::Short,
            _ => Showed::Nothing,
        };
    }

    /// Its question ended its worker.
    pub(super) fn lost(&mut self) {
        self.showed = Showed::Long;
    }

    /// Whether others wait.
    pub(super) fn is_crowded(&self) -> bool {
        self.line.lock().shares.is_crowded()
    }

    /// Whether its party is to leave the cores to others, where they want them.
    pub(super) fn gives_way(&self) -> bool {
        self.line.lock().shares.gives_way(self.ticket)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.line.lock();
        inner.called.remove(&self.ticket);
        inner.shares.end(self.ticket, self.showed);
        inner.call();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_that_is_given_up_goes_to_the_next() {
        let line = Line::new(1, 2, 2);
        let organization = |id: &str| Reach::Organization(id.to_owned());
        let mut first = line.enter(&organization("a")).unwrap();
        first.called().await;
        assert!(!first.is_crowded());
        let second = line.enter(&Reach::Staff).unwrap();
        assert!(first.is_crowded());
        let mut third = line.enter(&organization("b")).unwrap();
        assert_eq!(line.enter(&organization("c")).map(drop), Err(Full::All));
        assert!(third.call.try_recv().is_err());
        // The second is called, and gone before it heard of it.
        drop(first);
        drop(second);
        third.called().await;
        assert!(!third.is_crowded());
        assert!(line.lock().called.is_empty());
    }

    #[tokio::test]
    async fn what_a_question_used_says_whether_it_was_short() {
        let line = Line::new(1, 2, 2);
        let now = Instant::now();
        let ago = |time| now.checked_sub(time).unwrap();
        let slow = 2 * QUICK;
        for (held, time, is_answered, showed) in [
            (QUICK / 2, None, true, Showed::Short),
            (slow, None, true, Showed::Long),
            (slow, Some(QUICK / 9), true, Showed::Short),
            (slow, Some(QUICK / 9), false, Showed::Nothing),
            (slow, Some(9 * QUICK), false, Showed::Long),
            // Of several threads, in the time of one.
            (QUICK / 2, Some(slow), true, Showed::Short),
            (2 * HELD, Some(QUICK / 9), true, Showed::Nothing),
        ] {
            let mut place = line.enter(&Reach::Staff).unwrap();
            assert_eq!(place.showed, Showed::Nothing);
            place.since = Some(ago(held));
            place.used(time, is_answered);
            assert_eq!(place.showed, showed, "{held:?} {time:?} {is_answered}");
            place.lost();
            assert_eq!(place.showed, Showed::Long);
        }
    }
}
