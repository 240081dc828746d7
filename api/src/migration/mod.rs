//! The tables of the relational state, step by step. A step that was released is never edited: add the next.

mod m0001_first_tables;
mod m0002_queries;
mod m0003_key_grants;
mod m0004_user_epochs;
mod m0005_outbox_set_aside;

use std::pin::Pin;

use sea_orm_migration::{
    MigrationName, MigrationTrait, MigratorTrait, SchemaManager, sea_orm::DbErr,
};

#[derive(Debug)]
pub(crate) struct Migrator;

type Done<'done> = Pin<Box<dyn Future<Output = Result<(), DbErr>> + Send + 'done>>;

struct Step {
    /// The state keeps it: it never changes.
    name: &'static str,
    up: for<'done> fn(&'done SchemaManager<'done>) -> Done<'done>,
}

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let steps = [
            Step { name: "m0001_first_tables", up: |m| Box::pin(m0001_first_tables::up(m)) },
            Step { name: "m0002_queries", up: |m| Box::pin(m0002_queries::up(m)) },
            Step { name: "m0003_key_grants", up: |m| Box::pin(m0003_key_grants::up(m)) },
            Step { name: "m0004_user_epochs", up: |m| Box::pin(m0004_user_epochs::up(m)) },
            Step {
                name: "m0005_outbox_set_aside",
                up: |m| Box::pin(m0005_outbox_set_aside::up(m)),
            },
        ];
        steps.into_iter().map(|step| Box::new(step) as Box<dyn MigrationTrait>).collect()
    }
}

impl MigrationName for Step {
    fn name(&self) -> &str {
        self.name
    }
}

impl MigrationTrait for Step {
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
