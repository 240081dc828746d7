//! Queries of users who were disabled and of keys that were revoked while they ran.

use std::{collections::HashSet, time::Duration};

use rest::problem::Problem;

use crate::Lake;

/// A command on the folder disables and revokes too, so the server looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Stops such queries until the future is dropped.
pub(super) async fn run(lake: &Lake) {
    loop {
        let told = lake.state.departures.notified();
        let _ = tokio::time::timeout(LOOK_EVERY, told).await;
        if let Err(problem) = stop(lake).await {
            tracing::error!(%problem, "cannot tell whose queries must stop");
        }
    }
}

/// Stops the queries, in the background or not, of those who may not ask any more.
async fn stop(lake: &Lake) -> Result<(), Problem> {
    let running = lake.runner.running(|_| true);
    if running.is_empty() {
        return Ok(());
    }
    let ids: HashSet<_> = running.iter().map(|entry| entry.principal_id.clone()).collect();
    let departed = lake.authenticator.departed(&ids).await?;
    for entry in running.iter().filter(|entry| departed.contains(&entry.principal_id)) {
        lake.runner.stop(&entry.query_id);
    }
    Ok(())
}
