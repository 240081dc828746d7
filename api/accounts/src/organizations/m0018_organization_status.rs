//! Whether an organization may use the platform.

use state::migration::{ColumnDef, DbErr, SchemaManager, Table};

pub(crate) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let column = ColumnDef::new("status").string().not_null().default("active").take();
    let added = Table::alter().table("organizations").add_column(column).to_owned();
    manager.alter_table(added).await
}
