//! Sentences about points of time.

use state::migration::{ColumnDef, DbErr, Index, SchemaManager, Table};

/// `scope` is an organization, or empty for staff.
pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("annotations")
        .col(ColumnDef::new("annotation_id").string().not_null().primary_key())
        .col(ColumnDef::new("scope").string().not_null())
        .col(ColumnDef::new("at").big_integer().not_null())
        .col(ColumnDef::new("sentence").text().not_null())
        .col(ColumnDef::new("created_by").string().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .to_owned();
    manager.create_table(table).await?;
    let by_time = Index::create()
        .name("annotations_by_time")
        .table("annotations")
        .col("scope")
        .col("at")
        .to_owned();
    manager.create_index(by_time).await
}
