//! Queries of users who were disabled and of keys that were revoked while they ran.

use std::{collections::HashSet, time::Duration};

use super::Runner;
use crate::{
    accounts, keys,
    store::{Store, StoreError},
};

/// A command on the folder disables and revokes too, so the server looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Stops such queries until the future is dropped.
pub(crate) async fn run(runner: &Runner, store: &Store) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(error) = stop_departed(runner, store).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "cannot tell whose queries must stop");
        }
    }
}

/// Stops the queries, in the background or not, of those who may not ask any more.
pub(crate) async fn stop_departed(runner: &Runner, store: &Store) -> Result<(), StoreError> {
    let running = runner.running(|_| true);
    let of = |start: &str| -> HashSet<String> {
        let ids = running.iter().map(|entry| entry.principal_id.clone());
        ids.filter(|id| id.starts_with(start)).collect()
    };
    let (users, keys) = (of("user_"), of("key_"));
    let mut departed = HashSet::new();
    if !users.is_empty() {
        departed.extend(accounts::disabled_of(store, &users).await?);
    }
    if !keys.is_empty() {
        departed.extend(keys::revoked_of(store, &keys).await?);
    }
    for entry in running.iter().filter(|entry| departed.contains(&entry.principal_id)) {
        runner.stop(&entry.query_id);
    }
    Ok(())
}
