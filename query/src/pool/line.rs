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
    /// What the answer said.
    showed: Option<Showed>,
}

/// A question that uses a slot for longer is not short. Most that are use a tenth of it.
const QUICK: Duration = Duration::from_millis(500);

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
        Ok(Place { line: self.clone(), ticket, call, since: None, showed: None })
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

    /// Its question was answered, and used so much of the time that it had the slot. Who waited for the cores, or for the
    /// store, is not to blame for it: short questions that take long where others take the cores would lose their credit,
    /// give way because of that, and take longer still.
    pub(super) fn answered(&mut self, used: Duration) {
        self.showed = Some(if used > QUICK { Showed::Long } else { Showed::Short });
    }

    /// Its question cost us the worker.
    pub(super) fn lost(&mut self) {
        self.showed = Some(Showed::Long);
    }

    /// How long it has the slot.
    pub(super) fn held(&self) -> Duration {
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// What a question says that is stopped now. Whose time came just before its deadline did not show anything.
    fn stopped(&self) -> Showed {
        if self.held() > QUICK { Showed::Long } else { Showed::Nothing }
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
        inner.shares.end(self.ticket, self.showed.unwrap_or_else(|| self.stopped()));
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
        let second = line.enter(&Reach::Staff).unwrap();
        let mut third = line.enter(&organization("b")).unwrap();
        assert_eq!(line.enter(&organization("c")).map(drop), Err(Full::All));
        assert!(third.call.try_recv().is_err());
        // The second is called, and gone before it heard of it.
        drop(first);
        drop(second);
        third.called().await;
        assert!(line.lock().called.is_empty());
    }
}
