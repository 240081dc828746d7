//! Forecasts as they were made, to compare them with what came.

use state::migration::{ColumnDef, DbErr, Index, SchemaManager, Table};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let forecasts = Table::create()
        .table("forecasts")
        .col(ColumnDef::new("metric").string().not_null())
        .col(ColumnDef::new("grain").string().not_null())
        .col(ColumnDef::new("from_at").big_integer().not_null())
        .col(ColumnDef::new("made_at").big_integer().not_null())
        .col(ColumnDef::new("as_of").text().not_null())
        .col(ColumnDef::new("forecast").text().not_null())
        .primary_key(Index::create().col("metric").col("grain").col("from_at"))
        .to_owned();
    manager.create_table(forecasts).await
}
