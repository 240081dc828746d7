//! Which thresholds of quotas were told of: each once in a month.

use state::migration::{ColumnDef, DbErr, Index, SchemaManager, Table};

pub(crate) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("quota_notices")
        .col(ColumnDef::new("organization_id").string().not_null())
        .col(ColumnDef::new("month").string().not_null())
        .col(ColumnDef::new("unit").string().not_null())
        .col(ColumnDef::new("threshold").integer().not_null())
        .col(ColumnDef::new("told_at").big_integer().not_null())
        .primary_key(
            Index::create().col("organization_id").col("month").col("unit").col("threshold"),
        )
        .to_owned();
    manager.create_table(table).await
}
