//! Keys that wait until there are enough of them for a file of the index. Few large files are merged less often than
//! many small ones: with a file for every flush it was a quarter of the time of an import of fifty million rows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{AcceptedEvent, place};
use crate::{identity::Key, log::Lsn};

/// Keys, of which 16 MiB wait.
const KEYS_MAX: usize = 512 << 10;
/// Or so many flushes, since the log keeps their rows meanwhile.
const RUNS_MAX: usize = 8;

/// The keys of one flush, in their order, each once.
pub(super) type KeyRun = Arc<[(Key, AcceptedEvent)]>;

/// What waits. It is found like all that is in the index.
#[derive(Debug, Default)]
pub(super) struct PendingKeys {
    waiting: RwLock<Waiting>,
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The oldest first.
    runs: Vec<KeyRun>,
    /// With them, the index reaches up to here.
    through: Lsn,
}

impl PendingKeys {
    /// Adds the keys of a flush up to `through`, unless they wait already. `true` when all that waits should be written.
    pub(super) fn push(&self, run: KeyRun, through: Lsn) -> bool {
        let mut waiting = self.change();
        if through > waiting.through {
            waiting.runs.push(run);
            waiting.through = through;
        }
        let keys: usize = waiting.runs.iter().map(|run| run.len()).sum();
        keys >= KEYS_MAX || waiting.runs.len() >= RUNS_MAX
    }

    /// The last LSN of what waits or was written. A flush that could not be indexed comes again, and with more.
    pub(super) fn through(&self) -> Lsn {
        self.waiting().through
    }

    pub(super) fn get(&self, key: Key) -> Option<AcceptedEvent> {
        let waiting = self.waiting();
        waiting.runs.iter().rev().find_map(|run| {
            let found = run.binary_search_by_key(&place(key), |(key, _)| place(*key));
            found.ok().map(|at| run[at].1)
        })
    }

    /// What waits, the oldest first, and how far it reaches. While the guard is held, nobody else writes it.
    pub(super) fn begin(&self) -> (MutexGuard<'_, ()>, Vec<KeyRun>, Lsn) {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.waiting();
        (writing, waiting.runs.clone(), waiting.through)
    }

    /// The oldest `runs` are written.
    pub(super) fn forget(&self, runs: usize) {
        self.change().runs.drain(..runs);
    }

    fn waiting(&self) -> RwLockReadGuard<'_, Waiting> {
        self.waiting.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Waiting> {
        self.waiting.write().unwrap_or_else(PoisonError::into_inner)
    }
}
