//! The relational state: one SQLite file or one database of PostgreSQL, opened by the server and by the commands beside it.
//!
//! Times are `i64` microseconds since 1970 in UTC: they sort, compare and round-trip exactly, on every
//! database. Every change goes through [`Store::write`], so that writers of all processes stand in one line: audit rows
//! chain, and outbox ids are in the order of commit. In SQLite it is an immediate transaction, in PostgreSQL one that holds
//! an advisory lock.

mod error;

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait,
    sqlx::{
        postgres::PgConnectOptions,
        sqlite::{SqliteJournalMode, SqliteSynchronous},
    },
};
use sea_orm_migration::MigratorTraitSelf;
use tokio::sync::{Mutex, OwnedMutexGuard};

pub use error::StoreContext;
pub use error::StoreError;

use crate::migration::{Migration, Migrator};

/// How long a writer waits for the writer before it, in this process or another.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long somebody waits before he asks again, where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Readers do not block each other in WAL mode; a few threads serve them all.
const CONNECTIONS_MAX: u32 = 4;
/// A connection to PostgreSQL is a process of its own there.
const POSTGRES_CONNECTIONS_MAX: u32 = 10;

/// A handle on the database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    db: DatabaseConnection,
    /// The writers of this process wait here, and not each on a connection that readers need.
    writers: Arc<Mutex<()>>,
}

/// The advisory lock of writers in PostgreSQL. It is of one database, so no other program has to know the number.
const WRITERS: i64 = 471_104;

/// A transaction that holds the lock of writers from its beginning. Dropped, it is rolled back.
#[derive(Debug)]
pub struct Write {
    // Dropped first: the next writer of this process comes after it.
    transaction: DatabaseTransaction,
    _alone: OwnedMutexGuard<()>,
}

impl Store {
    /// Opens the file, creates it (mode 0600) where it is missing, and brings its tables up to date. A file that holds a
    /// migration which is not on the list is refused, so everybody opens it with the list of all rooms.
    pub async fn open(path: &Path, migrations: &[Migration]) -> Result<Self, StoreError> {
        make_private(path).map_err(|source| StoreError::File { path: path.to_owned(), source })?;
        let opened = |source| StoreError::Open { path: path.to_owned(), source };
        let mut options = ConnectOptions::new("sqlite:");
        let file = path.to_owned();
        options
            .min_connections(1)
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(BUSY_TIMEOUT * 2)
            .sqlx_logging(false)
            .map_sqlx_sqlite_opts(move |sqlite| {
                // FULL: with NORMAL a power loss may roll back a committed transaction in WAL mode.
                sqlite
                    .filename(&file)
                    .create_if_missing(true)
                    .busy_timeout(BUSY_TIMEOUT)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
            });
        let store = Self::over(connect(options).await.map_err(opened)?);
        store.migrate(migrations).await?;
        Ok(store)
    }

    /// Opens a database of PostgreSQL by its URL, `postgres://user:password@host/database`, and brings its tables up to date.
    pub async fn connect(url: &str, migrations: &[Migration]) -> Result<Self, StoreError> {
        let connected = |source| StoreError::Connect { source };
        let unusable = |why: String| connected(DbErr::Custom(why));
        if !["postgres://", "postgresql://"].iter().any(|known| url.starts_with(known)) {
            return Err(unusable("the URL does not begin with postgres://".to_owned()));
        }
        // What cannot be read would be said whole, with its password.
        url.parse::<PgConnectOptions>().map_err(|error| unusable(error.to_string()))?;
        let mut options = ConnectOptions::new(url);
        options
            .min_connections(1)
            .max_connections(POSTGRES_CONNECTIONS_MAX)
            .acquire_timeout(BUSY_TIMEOUT * 2)
            .sqlx_logging(false);
        let store = Self::over(Database::connect(options).await.map_err(connected)?);
        store.migrate(migrations).await?;
        Ok(store)
    }

    fn over(db: DatabaseConnection) -> Self {
        Self { db, writers: Arc::default() }
    }

    /// Whether it is a file of its own.
    pub fn is_file(&self) -> bool {
        self.db.get_database_backend() == DbBackend::Sqlite
    }

    /// Asks the database for an answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.db.ping().await.doing("asking the database for an answer")
    }

    /// Begins a change. Waits for other writers at most five seconds, then it is [`StoreError::Busy`].
    pub async fn write(&self) -> Result<Write, StoreError> {
        let doing = "waiting to write";
        let waiting = tokio::time::timeout(BUSY_TIMEOUT, Arc::clone(&self.writers).lock_owned());
        let alone = waiting.await.map_err(|_| StoreError::Busy { doing })?;
        Ok(Write { transaction: self.begin_alone().await.doing(doing)?, _alone: alone })
    }

    /// Writes a consistent copy of a database that is a file to a file that does not exist yet.
    pub async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let path = path.display().to_string().replace('\'', "''");
        let copied = self.db.execute_unprepared(&format!("VACUUM INTO '{path}'")).await;
        copied.map(drop).doing("copying the database")
    }

    /// The connections, for reading. Changes need [`Store::write`].
    pub fn db(&self) -> &DatabaseConnection {
        &self.db
    }

    /// One transaction around all migrations: two processes that start at once cannot interleave theirs.
    async fn migrate(&self, migrations: &[Migration]) -> Result<(), StoreError> {
        let migrated = |source| StoreError::Migrate { source };
        let transaction = self.begin_alone().await.map_err(migrated)?;
        Migrator(migrations.to_vec()).up(&transaction, None).await.map_err(migrated)?;
        transaction.commit().await.map_err(migrated)
    }

    /// Begins a transaction that no other writer is in at the same time.
    async fn begin_alone(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = self.db.begin_with_options(options).await?;
        if !self.is_file() {
            let wait = BUSY_TIMEOUT.as_millis();
            transaction.execute_unprepared(&format!("SET LOCAL lock_timeout = {wait}")).await?;
            let lock = format!("SELECT pg_advisory_xact_lock({WRITERS})");
            transaction.execute_unprepared(&lock).await?;
        }
        Ok(transaction)
    }
}

impl Write {
    /// Makes the change durable, and lets the next writer in. Fails when the database fails.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await.doing("committing a change")
    }

    /// The transaction, for the statements of the change.
    pub fn db(&self) -> &DatabaseTransaction {
        &self.transaction
    }
}

/// Connects, and waits for others who do: SQLite does not wait when two switch a new file to WAL at once.
async fn connect(options: ConnectOptions) -> Result<DatabaseConnection, DbErr> {
    for _ in 0..BUSY_TIMEOUT.as_millis() / BUSY_PAUSE.as_millis() {
        match Database::connect(options.clone()).await {
            Err(error) if error::is_busy(&error) => tokio::time::sleep(BUSY_PAUSE).await,
            connected => return connected,
        }
    }
    Database::connect(options).await
}

/// The time of a column that holds microseconds.
pub fn time_of(table: &'static str, micros: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_micros(micros)
        .ok_or(StoreError::Damaged { table, what: "a time is out of range" })
}

/// The time as RFC 3339 text with microseconds, such as `2026-01-31T09:30:00.000000Z`.
pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// SQLite gives its `-wal` and `-shm` files the mode of the database. The file is never opened here once it
/// exists: closing it would drop the locks that SQLite holds on it in this process.
fn make_private(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            #[cfg(unix)]
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            Ok(())
        }
        created => created.map(drop),
    }
}

#[cfg(test)]
mod tests;
