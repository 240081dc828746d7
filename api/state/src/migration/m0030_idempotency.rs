//! Answers to requests that carried an idempotency key.

use sea_orm_migration::{SchemaManager, sea_orm::DbErr};

use super::{ColumnDef, Index, Table};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("idempotency_keys")
        .col(ColumnDef::new("id").string().not_null().primary_key())
        .col(ColumnDef::new("owner").string().not_null())
        .col(ColumnDef::new("fingerprint").string().not_null())
        .col(ColumnDef::new("answer").text())
        .col(ColumnDef::new("begun_at").big_integer().not_null())
        .to_owned();
    manager.create_table(table).await?;
    let by_time = Index::create()
        .name("idempotency_keys_by_time")
        .table("idempotency_keys")
        .col("begun_at")
        .to_owned();
    manager.create_index(by_time).await?;
    let by_owner = Index::create()
        .name("idempotency_keys_by_owner")
        .table("idempotency_keys")
        .col("owner")
        .to_owned();
    manager.create_index(by_owner).await
}
