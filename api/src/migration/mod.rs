//! The tables of the relational state, step by step. A step that was released is never edited: add the next.

mod m0001_first_tables;
mod m0002_queries;
mod m0003_key_grants;
mod m0004_user_epochs;

use sea_orm_migration::{MigrationTrait, MigratorTrait};

#[derive(Debug)]
pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first_tables::Step),
            Box::new(m0002_queries::Step),
            Box::new(m0003_key_grants::Step),
            Box::new(m0004_user_epochs::Step),
        ]
    }
}
