use std::sync::Arc;

use super::{Store, rfc3339};
use crate::{
    audit,
    migration::MIGRATIONS,
    scratch::{Place, Scratch, noon, tester},
};

#[tokio::test]
async fn pragmas_are_set_on_every_connection() {
    let scratch = Scratch::new(MIGRATIONS).await;
    if !scratch.store.is_file() {
        return;
    }
    let held = scratch.store.write().await.unwrap();
    for (pragma, value) in [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("foreign_keys", "1"),
        ("busy_timeout", "5000"),
    ] {
        assert_eq!(scratch.text(&format!("PRAGMA {pragma}")).await, value, "{pragma}");
    }
    drop(held);
    scratch.store.ping().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new(MIGRATIONS).await;
    let Some(path) = scratch.path() else { return };
    audit_one(&scratch.store).await;
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let mode = std::fs::metadata(path.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn many_openers_at_once_migrate_once_and_chain_one_log() {
    let place = Arc::new(Place::new().await);
    let openers = (0..4).map(|_| {
        let place = Arc::clone(&place);
        tokio::spawn(async move {
            let store = place.open(MIGRATIONS).await;
            for _ in 0..10 {
                audit_one(&store).await;
            }
        })
    });
    for opener in openers.collect::<Vec<_>>() {
        opener.await.unwrap();
    }
    let store = place.open(MIGRATIONS).await;
    assert_eq!(audit::verify(&store).await.unwrap(), audit::ChainState::Intact { rows: 40 });
}

#[tokio::test]
async fn a_dropped_write_changes_nothing_and_releases_the_lock() {
    let scratch = Scratch::new(MIGRATIONS).await;
    let write = scratch.store.write().await.unwrap();
    let act = audit::AuditAction {
        action: "test.done",
        target: String::new(),
        detail: serde_json::json!({}),
    };
    audit::append(&write, &tester(), act, noon()).await.unwrap();
    drop(write);
    audit_one(&scratch.store).await;
    assert_eq!(audit::verify(&scratch.store).await.unwrap(), audit::ChainState::Intact { rows: 1 });
}

#[test]
fn times_are_written_with_microseconds_and_z() {
    assert_eq!(rfc3339(noon()), "2026-11-23T12:00:00.000000Z");
}

async fn audit_one(store: &Store) {
    let act = audit::AuditAction {
        action: "test.done",
        target: String::new(),
        detail: serde_json::json!({}),
    };
    audit::record(store, &tester(), act, noon()).await.unwrap();
}
