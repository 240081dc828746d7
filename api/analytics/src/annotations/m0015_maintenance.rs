//! Annotations that are maintenance windows.

use state::migration::{ColumnDef, DbErr, SchemaManager, Table};

/// `maintenance_until` is the end of the window, in microseconds; null for an annotation that is none.
pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::alter()
        .table("annotations")
        .add_column(ColumnDef::new("maintenance_until").big_integer())
        .to_owned();
    manager.alter_table(table).await
}
