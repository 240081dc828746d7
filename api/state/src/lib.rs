//! The relational state and what all rooms stand on: the database with its migrations, the audit log, the outbox to the
//! lake, ids and secrets, the clock, the tasks and jobs of the server, and the names of the files in the data folder. It knows
//! neither HTTP nor the lake.

#![warn(missing_docs)]

pub mod audit;
pub mod clock;
pub mod folder;
pub mod idempotency;
pub mod ids;
pub mod jobs;
pub mod migration;
pub mod outbox;
pub mod revision;
#[doc(hidden)]
pub mod scratch;
pub mod secret;
pub mod store;
pub mod tasks;
pub mod vault;

use std::sync::Arc;

use tokio::sync::Notify;

use clock::Clock;
use jobs::Jobs;
use store::Store;
use tasks::Tasks;

/// What every room needs. Clones share it.
#[derive(Debug, Clone)]
pub struct State {
    /// The database with users, keys, organizations and all else that is not in the lake.
    pub store: Store,
    /// The only source of the current time.
    pub clock: Clock,
    /// The background tasks of the server, and the sign that it ends.
    pub tasks: Tasks,
    /// The work that is done in the background at its time, and what does it.
    pub jobs: Jobs,
    /// Told when somebody was disabled or a key revoked: whoever works on behalf of others looks again.
    pub departures: Arc<Notify>,
}

impl State {
    /// With no task yet.
    pub fn new(store: Store, clock: Clock) -> Self {
        let jobs = Jobs::new(store.clone(), clock.clone());
        Self { store, clock, tasks: Tasks::default(), jobs, departures: Arc::default() }
    }
}
