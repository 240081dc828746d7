//! What a key may write: beginnings of sources, and types, separated by commas; nothing is no limit.

use state::migration::{ColumnDef, DbErr, SchemaManager, Table};

pub(crate) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for column in ["write_sources", "write_types"] {
        let column = ColumnDef::new(column).text().take();
        let added = Table::alter().table("api_keys").add_column(column).to_owned();
        manager.alter_table(added).await?;
    }
    Ok(())
}
