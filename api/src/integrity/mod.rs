//! Whether log, tables, index and counters agree: `aihub check`, and the same every night.
//!
//! A check reads the folder in a process of its own. Where a server runs, the cut, the counters and the index
//! are asked of it, since it alone may open the index.

mod nightly;
mod proof;
mod rollups;

use actix_web::{HttpResponse, web};
use bytes::Bytes;
use futures::stream;
use ingest::dedup::encode_entry;
use pipeline::{Cut, Lakehouse};
use rest::{
    feature::Feature,
    principal::{Administer, Authorized},
    problem::Problem,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub(crate) use nightly::{begin, register};
pub(crate) use proof::{CheckReport, ServerAccess, prove, worker, write_index};

use crate::server::System;

/// A cut, and what the server counted before it was taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServerCounts {
    pub(crate) cut: Cut,
    /// Events that were accepted since the start of the server.
    pub(crate) accepted_events: u64,
    /// The last LSN before that start.
    pub(crate) started_at_lsn: u64,
}

/// Bytes of the index that are sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// What `aihub check` and `aihub backup` ask, and the check of every night.
pub(crate) const FEATURE: Feature<System> = Feature::new("integrity").with_routes(|config, _| {
    config
        .route("/v1/integrity/cut", web::get().to(cut))
        .route("/v1/integrity/quotas", web::get().to(quotas))
        .route("/v1/integrity/identities", web::get().to(identities));
});

/// For `aihub check` and `aihub backup` on this machine; no part of the documented interface.
async fn cut(_: Authorized<Administer>, system: web::Data<System>) -> HttpResponse {
    let lakehouse = &system.lake.lakehouse;
    // Counted first: every event that was counted is in the cut.
    let (accepted_events, started_at_lsn) = lakehouse.accepted();
    let cut = lakehouse.cut();
    HttpResponse::Ok().json(ServerCounts { cut, accepted_events, started_at_lsn })
}

/// Compares the counters of quotas with the tables.
async fn quotas(
    _: Authorized<Administer>,
    system: web::Data<System>,
) -> Result<HttpResponse, Problem> {
    let found = system.metering.check(&system).await.map_err(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "counters are not compared");
        Problem::unavailable(1)
    })?;
    Ok(HttpResponse::Ok().json(found))
}

/// The index, 32 bytes for each identity, in the order of the keys.
async fn identities(
    _: Authorized<Administer>,
    system: web::Data<System>,
) -> Result<HttpResponse, Problem> {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, ingest::Error>>(4);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send_identities(&system.lake.lakehouse, &sender) {
            let _ = sender.blocking_send(Err(error));
        }
    });
    let pieces = stream::unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await?;
        let piece = piece.map_err(|error| std::io::Error::other(error.to_string()));
        Some((piece, receiver))
    });
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        // Digests do not get smaller.
        .insert_header(("Content-Encoding", "identity"))
        .streaming(Box::pin(pieces)))
}

/// Ends early when nobody receives any more.
fn send_identities(
    lakehouse: &Lakehouse,
    sender: &mpsc::Sender<Result<Bytes, ingest::Error>>,
) -> Result<(), ingest::Error> {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    for entry in lakehouse.entries()? {
        let (key, seen) = entry?;
        piece.extend_from_slice(&encode_entry(key, seen));
        if piece.len() >= PIECE_BYTES {
            let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES));
            if sender.blocking_send(Ok(full.into())).is_err() {
                return Ok(());
            }
        }
    }
    let _ = sender.blocking_send(Ok(piece.into()));
    Ok(())
}
