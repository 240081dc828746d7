//! A number that another one takes the place of when a user's sessions are ended: what an earlier one marked is over.

use state::migration::{ColumnDef, DbErr, SchemaManager, Table};

pub(crate) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let column = ColumnDef::new("epoch").big_integer().not_null().default(0).take();
    let added = Table::alter().table("users").add_column(column).to_owned();
    manager.alter_table(added).await
}
