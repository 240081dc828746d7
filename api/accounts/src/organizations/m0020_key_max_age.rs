//! For how many days after its creation a key of an organization works; nothing is no limit.

use state::migration::{ColumnDef, DbErr, SchemaManager, Table};

pub(crate) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let column = ColumnDef::new("key_max_age_days").integer().take();
    let added = Table::alter().table("organizations").add_column(column).to_owned();
    manager.alter_table(added).await
}
