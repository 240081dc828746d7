//! The history of queries, queries that are saved under a name, and who sees persons in them.

use state::migration::{ColumnDef, DbErr, Index, SchemaManager, Table, TableCreateStatement};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager.create_table(queries()).await?;
    manager.create_table(saved_queries()).await?;
    manager.create_table(person_grants()).await?;
    for (name, column) in [
        ("queries_by_start", "started_at"),
        ("queries_by_principal", "principal_id"),
        ("queries_by_expiry", "kept_until"),
    ] {
        let index = Index::create().name(name).table("queries").col(column).to_owned();
        manager.create_index(index).await?;
    }
    Ok(())
}

fn queries() -> TableCreateStatement {
    Table::create()
        .table("queries")
        .col(ColumnDef::new("query_id").string().not_null().primary_key())
        .col(ColumnDef::new("principal_id").string().not_null())
        .col(ColumnDef::new("principal").string().not_null())
        .col(ColumnDef::new("organization_id").string())
        .col(ColumnDef::new("sql").text().not_null())
        .col(ColumnDef::new("as_of").string().not_null())
        .col(ColumnDef::new("started_at").big_integer().not_null())
        .col(ColumnDef::new("duration_ms").big_integer().not_null())
        .col(ColumnDef::new("status").string().not_null())
        .col(ColumnDef::new("code").string())
        .col(ColumnDef::new("detail").text())
        .col(ColumnDef::new("row_count").big_integer().not_null())
        .col(ColumnDef::new("byte_count").big_integer().not_null())
        .col(ColumnDef::new("truncated").boolean().not_null())
        .col(ColumnDef::new("rows_scanned").big_integer().not_null())
        .col(ColumnDef::new("bytes_scanned").big_integer())
        .col(ColumnDef::new("memory_bytes").big_integer().not_null())
        .col(ColumnDef::new("kept_until").big_integer())
        .to_owned()
}

/// Each version is a row. `scope` is an organization, or empty for staff.
fn saved_queries() -> TableCreateStatement {
    Table::create()
        .table("saved_queries")
        .col(ColumnDef::new("scope").string().not_null())
        .col(ColumnDef::new("name").string().not_null())
        .col(ColumnDef::new("version").integer().not_null())
        .col(ColumnDef::new("description").text().not_null())
        .col(ColumnDef::new("sql").text().not_null())
        .col(ColumnDef::new("parameters").text().not_null())
        .col(ColumnDef::new("shared_with").string().not_null())
        .col(ColumnDef::new("owner_id").string().not_null())
        .col(ColumnDef::new("created_by").string().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .primary_key(Index::create().col("scope").col("name").col("version"))
        .to_owned()
}

fn person_grants() -> TableCreateStatement {
    Table::create()
        .table("person_grants")
        .col(ColumnDef::new("role").string().not_null().primary_key())
        .col(ColumnDef::new("granted_by").string().not_null())
        .col(ColumnDef::new("granted_at").big_integer().not_null())
        .to_owned()
}
