//! Limits of single organizations that differ from their plan, for a time.

use state::migration::{ColumnDef, DbErr, ForeignKey, Index, SchemaManager, Table};

pub(crate) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("limit_overrides")
        .col(ColumnDef::new("override_id").string().not_null().primary_key())
        .col(ColumnDef::new("organization_id").string().not_null())
        .col(ColumnDef::new("limits").text().not_null())
        .col(ColumnDef::new("starts_at").big_integer().not_null())
        .col(ColumnDef::new("ends_at").big_integer())
        .col(ColumnDef::new("note").text().not_null())
        .col(ColumnDef::new("created_by").string().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .foreign_key(
            ForeignKey::create()
                .from("limit_overrides", "organization_id")
                .to("organizations", "organization_id"),
        )
        .to_owned();
    manager.create_table(table).await?;
    let index = Index::create()
        .name("limit_overrides_of_organization")
        .table("limit_overrides")
        .col("organization_id")
        .col("created_at")
        .to_owned();
    manager.create_index(index).await
}
