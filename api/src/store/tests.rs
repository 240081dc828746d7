use std::path::PathBuf;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, Statement};
use tempfile::TempDir;

use super::{Store, base62, rfc3339};
use crate::{audit, audit::Origin};

/// A database in a folder of its own.
pub(crate) struct Scratch {
    pub(crate) store: Store,
    folder: TempDir,
}

impl Scratch {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).await.unwrap();
        Self { store, folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("state.db")
    }

    /// Runs SQL behind the back of the rules.
    pub(crate) async fn tamper(&self, sql: &str) {
        self.store.db().execute_unprepared(sql).await.unwrap();
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        let db = self.store.db();
        let statement = Statement::from_string(db.get_database_backend(), sql.to_owned());
        let row = db.query_one_raw(statement).await.unwrap().unwrap();
        row.try_get_by_index::<String>(0)
            .or_else(|_| row.try_get_by_index::<i64>(0).map(|number| number.to_string()))
            .unwrap()
    }

    /// All bytes of the database, its log included.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
        }
        bytes
    }

    pub(crate) fn holds(&self, text: &str) -> bool {
        self.bytes().windows(text.len()).any(|window| window == text.as_bytes())
    }
}

pub(crate) fn noon() -> DateTime<Utc> {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

pub(crate) fn tester() -> Origin {
    Origin::local("tester")
}

#[tokio::test]
async fn pragmas_are_set_on_every_connection() {
    let scratch = Scratch::new().await;
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
    let scratch = Scratch::new().await;
    audit_one(&scratch.store).await;
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let mode =
            std::fs::metadata(scratch.path().with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn many_openers_at_once_migrate_once_and_chain_one_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let openers = (0..4).map(|_| {
        let path = path.clone();
        tokio::spawn(async move {
            let store = Store::open(&path).await.unwrap();
            for _ in 0..10 {
                audit_one(&store).await;
            }
        })
    });
    for opener in openers.collect::<Vec<_>>() {
        opener.await.unwrap();
    }
    let store = Store::open(&path).await.unwrap();
    assert_eq!(audit::verify(&store).await.unwrap(), audit::Verdict::Intact { rows: 40 });
}

#[tokio::test]
async fn a_dropped_write_changes_nothing_and_releases_the_lock() {
    let scratch = Scratch::new().await;
    let write = scratch.store.write().await.unwrap();
    let act =
        audit::Act { action: "test.done", target: String::new(), detail: serde_json::json!({}) };
    audit::append(&write, &tester(), act, noon()).await.unwrap();
    drop(write);
    audit_one(&scratch.store).await;
    assert_eq!(audit::verify(&scratch.store).await.unwrap(), audit::Verdict::Intact { rows: 1 });
}

#[test]
fn base62_has_a_fixed_width() {
    assert_eq!(base62(&[0; 24], 33), "0".repeat(33));
    assert_eq!(base62(&[61], 2), "0z");
    assert_eq!(base62(&[62], 2), "10");
    assert_eq!(base62(&u32::MAX.to_be_bytes(), 6), "4gfFC3");
    // 33 digits hold 192 bits: the first digit of the largest number is not cut.
    assert_ne!(base62(&[255; 24], 33), base62(&[255; 24], 34)[..33]);
    assert!(base62(&[255; 24], 34).starts_with('0'));
    assert!(base62(&[255; 32], 44).starts_with('0'));
}

#[test]
fn times_are_written_with_microseconds_and_z() {
    assert_eq!(rfc3339(noon()), "2026-11-23T12:00:00.000000Z");
}

async fn audit_one(store: &Store) {
    let act =
        audit::Act { action: "test.done", target: String::new(), detail: serde_json::json!({}) };
    audit::record(store, &tester(), act, noon()).await.unwrap();
}
