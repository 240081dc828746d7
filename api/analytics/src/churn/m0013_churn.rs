//! Who is likely to leave, as it was found last.

use state::migration::{ColumnDef, DbErr, SchemaManager, Table};

/// One row: all of it is found anew each time.
pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let churn = Table::create()
        .table("churn")
        .col(ColumnDef::new("id").integer().not_null().primary_key())
        .col(ColumnDef::new("made_at").big_integer().not_null())
        .col(ColumnDef::new("as_of").text().not_null())
        .col(ColumnDef::new("found").text().not_null())
        .to_owned();
    manager.create_table(churn).await
}
