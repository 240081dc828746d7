//! Mirrors relational state into the lake: what an outbox row says is written to the log, then the row goes.

use std::time::Duration;

use ingest::{Table, decode};
use pipeline::Lakehouse;

use crate::{
    outbox,
    store::{Store, StoreError},
};

/// Rows moved at once.
const BATCH: u64 = 1_000;
const PAUSE: Duration = Duration::from_millis(500);

/// Moves outbox rows as they come, until the future is dropped.
pub(crate) async fn run(store: &Store, lakehouse: &Lakehouse) {
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
        let rows = outbox::peek(store, BATCH).await?;
        let Some(last) = rows.last().map(|row| row.id) else { return Ok(()) };
        let mut batches = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(table) = Table::parse(row.table.name()) else { continue };
            let payload = serde_json::Value::Object(row.payload).to_string();
            let at = row.created_at.timestamp_micros();
            match decode::dimension(table, &row.id.to_string(), at, &payload)? {
                Ok(batch) => batches.push(batch),
                Err(why) => tracing::error!(
                    id = row.id,
                    reason = why.reason,
                    "an outbox row is not readable"
                ),
            }
        }
        lakehouse.store(batches).await??;
        outbox::remove_through(store, last).await?;
    }
}
