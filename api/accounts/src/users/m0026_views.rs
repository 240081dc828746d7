//! Who looks at what somebody else sees.

use state::migration::{ColumnDef, DbErr, SchemaManager, Table};

pub(crate) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let column = ColumnDef::new("viewed_by").text().take();
    manager.alter_table(Table::alter().table("sessions").add_column(column).to_owned()).await
}
