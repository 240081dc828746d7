//! What a key may be used for, and from where: globs of models and networks, separated by commas; nothing is no limit.
//! And the key that took its place.

use state::migration::{ColumnDef, DbErr, SchemaManager, Table};

pub(crate) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for column in ["models", "networks", "rotated_to"] {
        let column = ColumnDef::new(column).text().take();
        let added = Table::alter().table("api_keys").add_column(column).to_owned();
        manager.alter_table(added).await?;
    }
    Ok(())
}
