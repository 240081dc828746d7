//! What a key may use (JSON of limits), the project that it is for, and notes of whoever keeps it.

use state::migration::{ColumnDef, DbErr, SchemaManager, Table};

pub(crate) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for column in ["budget", "project_id", "notes"] {
        let column = ColumnDef::new(column).text().take();
        let added = Table::alter().table("api_keys").add_column(column).to_owned();
        manager.alter_table(added).await?;
    }
    Ok(())
}
