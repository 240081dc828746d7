//! Mirrors relational state into the lake: what an outbox row says, a change or an event, is written to the log, then the
//! row goes.

use std::time::Duration;

use ingest::{
    Table,
    decode::{self, Batch},
    identity::Pseudonyms,
};
use pipeline::Lakehouse;
use rest::feature::Feature;
use state::{
    outbox::{self, MirroredTable, OutboxBatch, OutboxRow, Unreadable},
    store::{Store, StoreError},
};

use crate::server::System;

/// Rows moved at once.
const BATCH: u64 = 1_000;
const PAUSE: Duration = Duration::from_millis(500);

/// The outbox.
pub(crate) const FEATURE: Feature<System> = Feature::new("relay").with_tasks(|system| {
    system.keep("relay", |system| async move {
        run(&system.state.store, &system.lake.lakehouse).await;
    });
});

/// Moves outbox rows as they come, until the future is dropped.
async fn run(store: &Store, lakehouse: &Lakehouse) {
    let again = async {
        outbox::try_again(store).await?;
        count(store).await
    };
    if let Err(error) = again.await {
        tracing::error!(error = &error as &dyn std::error::Error, "what was set aside stays so");
    }
    loop {
        if let Err(error) = drain(store, lakehouse).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the outbox waits");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("reading the outbox")]
    Store(#[from] StoreError),
    #[error("writing outbox rows to the log")]
    Lake(#[from] pipeline::Error),
    #[error("encoding outbox rows")]
    Ingest(#[from] ingest::Error),
    #[error("the log takes nothing now")]
    Refused(#[from] ingest::intake::Refused),
}

/// Moves everything that is in the outbox now. A row that is sent twice, since a crash came between, is stored
/// once: its id is its identity.
pub(crate) async fn drain(store: &Store, lakehouse: &Lakehouse) -> Result<(), RelayError> {
    loop {
        let OutboxBatch { rows, mut unreadable } = outbox::peek(store, BATCH).await?;
        if rows.is_empty() && unreadable.is_empty() {
            return Ok(());
        }
        let last = rows.last().map(|row| row.id);
        let mut batches = Vec::with_capacity(rows.len());
        for row in rows {
            let id = row.id;
            match batch(row, lakehouse.pseudonyms())? {
                Ok(batch) => batches.push(batch),
                Err(reason) => unreadable.push(Unreadable { id, reason }),
            }
        }
        if !unreadable.is_empty() {
            for Unreadable { id, reason } in &unreadable {
                tracing::error!(
                    id,
                    reason,
                    "a change of the state cannot be mirrored, and is kept"
                );
            }
            outbox::set_aside(store, &unreadable).await?;
            count(store).await?;
        }
        lakehouse.store(batches).await??;
        if let Some(last) = last {
            outbox::remove_through(store, last).await?;
        }
    }
}

/// The row of the lake that a change or an event makes, or why it makes none.
fn batch(
    mut row: OutboxRow,
    pseudonyms: &Pseudonyms,
) -> Result<Result<Batch, String>, ingest::Error> {
    // A change is of the time when it was made; what billing made of a day is of that day.
    let at = match row.table {
        MirroredTable::Events => None,
        _ => row.payload.remove("occurred_at"),
    };
    let at = match at.as_ref().map(|at| at.as_str().and_then(|at| at.parse().ok())) {
        Some(None) => return Ok(Err("`occurred_at` is no time".to_owned())),
        Some(Some(at)) => at,
        None => row.created_at,
    };
    let payload = serde_json::Value::Object(row.payload).to_string();
    let batch = match row.table {
        MirroredTable::Events => decode::own_event(&payload, pseudonyms)?,
        _ => {
            let name = row.table.name();
            let Some(table) = Table::parse(name) else {
                return Ok(Err(format!("there is no table `{name}`")));
            };
            decode::own_row(table, &row.id.to_string(), at.timestamp_micros(), &payload)?
        }
    };
    Ok(batch.map_err(|why| why.reason))
}

/// Shows how many changes are set aside.
async fn count(store: &Store) -> Result<(), StoreError> {
    let held = outbox::held_back(store).await?.len();
    metrics::gauge!("outbox_set_aside_rows").set(held as f64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, features, lake};
    use accounts::organizations::{Organization, OrganizationKind, upsert_many};
    use state::scratch::{Scratch, noon};

    fn organization(id: &str) -> Organization {
        Organization {
            organization_id: id.into(),
            name: id.into(),
            kind: OrganizationKind::Business,
            plan: "team".into(),
            country: "DE".into(),
            signed_up_at: noon(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_mirrored_is_kept_and_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { dir: dir.path().to_path_buf(), ..Config::default() };
        let lakehouse = lake::open(&config).await.unwrap();
        let scratch = Scratch::new(&features::migrations()).await;
        let store = &scratch.store;
        upsert_many(store, &[organization("org_a")], noon()).await.unwrap();
        let rows = "('nothing', '{}', 1), ('organizations', '[1]', 1), ('organizations', '{\"name\": 5}', 1)";
        let insert = format!("insert into outbox (table_name, payload, created_at) values {rows}");
        scratch.tamper(&insert).await;
        upsert_many(store, &[organization("org_b")], noon()).await.unwrap();
        for _ in 0..2 {
            drain(store, &lakehouse).await.unwrap();
            assert_eq!(outbox::peek(store, 9).await.unwrap(), OutboxBatch::default());
            assert_eq!(lakehouse.cut().lsn, 2, "both organizations");
            let held = outbox::held_back(store).await.unwrap();
            assert_eq!(held.iter().map(|held| held.id).collect::<Vec<_>>(), [2, 3, 4]);
            let reasons = held.iter().map(|held| held.reason.as_str());
            for (reason, part) in reasons.zip(["table", "JSON object", "expected text"]) {
                assert!(reason.contains(part), "{reason}");
            }
            // A start tries them again.
            outbox::try_again(store).await.unwrap();
            assert_eq!(outbox::peek(store, 9).await.unwrap().unreadable.len(), 2);
        }
        lakehouse.close().await.unwrap();
    }
}
