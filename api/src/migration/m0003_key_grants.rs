//! What a key may write: beginnings of sources, and types, separated by commas; nothing is no limit.

use sea_orm_migration::{
    SchemaManager,
    prelude::{ColumnDef, Table},
    sea_orm::DbErr,
};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for column in ["write_sources", "write_types"] {
        let column = ColumnDef::new(column).text().take();
        let added = Table::alter().table("api_keys").add_column(column).to_owned();
        manager.alter_table(added).await?;
    }
    Ok(())
}
