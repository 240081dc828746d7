//! Why an outbox row cannot be mirrored; it is kept, and others go before it.

use super::{ColumnDef, DbErr, SchemaManager, Table};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let column = ColumnDef::new("set_aside").text().take();
    manager.alter_table(Table::alter().table("outbox").add_column(column).to_owned()).await
}
