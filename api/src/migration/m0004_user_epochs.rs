//! A number that another one takes the place of when a user's sessions are ended: what an earlier one marked is over.

use std::pin::Pin;

use sea_orm_migration::{
    prelude::{ColumnDef, Table},
    sea_orm::DbErr,
    {MigrationName, MigrationTrait, SchemaManager},
};

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m0004_user_epochs"
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
            let column = ColumnDef::new("epoch").big_integer().not_null().default(0).take();
            let added = Table::alter().table("users").add_column(column).to_owned();
            manager.alter_table(added).await?;
            Ok(())
        })
    }
}
