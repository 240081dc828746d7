//! For the tests of all rooms. It is no feature of the package, since another choice of features builds everything
//! again.

#![expect(clippy::unwrap_used, reason = "a test that cannot begin fails")]

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, Database, Statement};
use tempfile::TempDir;

use crate::{
    audit::AuditOrigin,
    ids::{base62, random_bytes},
    migration::Migration,
    store::Store,
};

/// A database of its own: a file, or with `AIHUB_TEST_STATE=postgres` one of the PostgreSQL of `AIHUB_TEST_POSTGRES`.
pub struct Scratch {
    pub store: Store,
    place: Place,
}

/// Where it is.
pub enum Place {
    Folder(TempDir),
    Postgres(String),
}

impl Place {
    pub async fn new() -> Self {
        let variable = |wanted: &str| std::env::vars().find(|(name, _)| name == wanted);
        if variable("AIHUB_TEST_STATE").is_none_or(|(_, text)| text != "postgres") {
            return Self::Folder(tempfile::tempdir().unwrap());
        }
        let (_, server) = variable("AIHUB_TEST_POSTGRES").unwrap();
        let name = format!("scratch_{}", base62(&random_bytes::<16>().unwrap(), 22).to_lowercase());
        let db = Database::connect(&server).await.unwrap();
        db.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        let (server, _) = server.rsplit_once('/').unwrap();
        Self::Postgres(format!("{server}/{name}"))
    }

    pub async fn open(&self, migrations: &[Migration]) -> Store {
        match self {
            Self::Folder(folder) => Store::open(&folder.path().join("state.db"), migrations).await,
            Self::Postgres(url) => Store::connect(url, migrations).await,
        }
        .unwrap()
    }
}

impl Scratch {
    pub async fn new(migrations: &[Migration]) -> Self {
        let place = Place::new().await;
        Self { store: place.open(migrations).await, place }
    }

    /// The same database, as another process opens it.
    pub async fn opened_again(&self, migrations: &[Migration]) -> Store {
        self.place.open(migrations).await
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Folder(folder) => Some(folder.path().join("state.db")),
            Place::Postgres(_) => None,
        }
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

    /// All bytes of the database, its log included; of PostgreSQL, all rows as text.
    pub async fn bytes(&self) -> Vec<u8> {
        let Place::Folder(folder) = &self.place else {
            return self.text("SELECT database_to_xml(true, false, '')::text").await.into_bytes();
        };
        let mut bytes = Vec::new();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
        }
        bytes
    }

    pub async fn holds(&self, text: &str) -> bool {
        self.bytes().await.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

pub fn noon() -> DateTime<Utc> {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

pub fn tester() -> AuditOrigin {
    AuditOrigin::local("tester")
}
