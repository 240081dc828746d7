//! What a key may write: beginnings of sources, and types, separated by commas; nothing is no limit.

use std::pin::Pin;

use sea_orm_migration::{
    prelude::{ColumnDef, Table},
    sea_orm::DbErr,
    {MigrationName, MigrationTrait, SchemaManager},
};

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m0003_key_grants"
    }
}

impl MigrationTrait for Step {
    fn up<'step, 'manager, 'done>(
        &'step self,
        manager: &'manager SchemaManager<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<(), DbErr>> + Send + 'done>>
    where
        Self: 'done,
        'step: 'done,
        'manager: 'done,
    {
        Box::pin(async move {
            for column in ["write_sources", "write_types"] {
                let column = ColumnDef::new(column).text().take();
                let added = Table::alter().table("api_keys").add_column(column).to_owned();
                manager.alter_table(added).await?;
            }
            Ok(())
        })
    }
}
