//! The runner of migrations, and those of this crate. A migration that was released is never edited: add the next.

mod m0001_first_tables;
mod m0005_outbox_set_aside;
mod m0006_jobs;
mod m0016_access_revision;
mod m0030_idempotency;
mod m0031_jobs_due;

use std::pin::Pin;

use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTraitSelf};
pub use sea_orm_migration::{
    SchemaManager,
    prelude::{
        ColumnDef, ForeignKey, ForeignKeyAction, ForeignKeyCreateStatement, Index, Table,
        TableCreateStatement,
    },
    sea_orm::DbErr,
};

/// The first tables, of users and keys too, what came to the outbox, and the jobs.
pub const MIGRATIONS: &[Migration] = &[
    Migration { name: "m0001_first_tables", up: |m| Box::pin(m0001_first_tables::up(m)) },
    Migration { name: "m0005_outbox_set_aside", up: |m| Box::pin(m0005_outbox_set_aside::up(m)) },
    Migration { name: "m0006_jobs", up: |m| Box::pin(m0006_jobs::up(m)) },
    Migration { name: "m0016_access_revision", up: |m| Box::pin(m0016_access_revision::up(m)) },
    Migration { name: "m0030_idempotency", up: |m| Box::pin(m0030_idempotency::up(m)) },
    Migration { name: "m0031_jobs_due", up: |m| Box::pin(m0031_jobs_due::up(m)) },
];

/// The work of a migration. It fails with the database's error.
pub type Done<'done> = Pin<Box<dyn Future<Output = Result<(), DbErr>> + Send + 'done>>;

/// A step of the tables. Rooms export theirs, and the binary puts them in one list.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Unique across all rooms. The database keeps it: it never changes.
    pub name: &'static str,
    /// Changes the tables. It runs once for each database, in the same transaction as the other new migrations.
    pub up: for<'done> fn(&'done SchemaManager<'done>) -> Done<'done>,
}

/// Runs those migrations of a list that the database has not had yet, in the order of the list.
#[derive(Debug)]
pub struct Migrator(pub(crate) Vec<Migration>);

impl MigratorTraitSelf for Migrator {
    fn migrations(&self) -> Vec<Box<dyn MigrationTrait>> {
        self.0.iter().map(|step| Box::new(*step) as Box<dyn MigrationTrait>).collect()
    }
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        self.name
    }
}

impl MigrationTrait for Migration {
    // `async_trait` cannot spell the hidden lifetime of the manager, and the lints want it spelled.
    fn up<'step, 'manager, 'done>(&'step self, manager: &'manager SchemaManager<'_>) -> Done<'done>
    where
        Self: 'done,
        'step: 'done,
        'manager: 'done,
    {
        (self.up)(manager)
    }
}
