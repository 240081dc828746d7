//! For the tests of all rooms. It is no feature of the package, since another choice of features builds everything
//! again.

#![expect(clippy::unwrap_used, reason = "a test that cannot begin fails")]

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, Statement};
use tempfile::TempDir;

use crate::{audit::AuditOrigin, migration::Migration, store::Store};

/// A database in a folder of its own.
pub struct Scratch {
    pub store: Store,
    folder: TempDir,
}

impl Scratch {
    pub async fn new(migrations: &[Migration]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db"), migrations).await.unwrap();
        Self { store, folder }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("state.db")
    }

    /// Runs SQL behind the back of the rules.
    pub async fn tamper(&self, sql: &str) {
        self.store.db().execute_unprepared(sql).await.unwrap();
    }

    pub async fn text(&self, sql: &str) -> String {
        let db = self.store.db();
        let statement = Statement::from_string(db.get_database_backend(), sql.to_owned());
        let row = db.query_one_raw(statement).await.unwrap().unwrap();
        row.try_get_by_index::<String>(0)
            .or_else(|_| row.try_get_by_index::<i64>(0).map(|number| number.to_string()))
            .unwrap()
    }

    /// All bytes of the database, its log included.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
        }
        bytes
    }

    pub fn holds(&self, text: &str) -> bool {
        self.bytes().windows(text.len()).any(|window| window == text.as_bytes())
    }
}

pub fn noon() -> DateTime<Utc> {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

pub fn tester() -> AuditOrigin {
    AuditOrigin::local("tester")
}
