//! What is due is found without reading what was done.

use sea_orm_migration::{SchemaManager, sea_orm::DbErr};

use super::Index;

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let due = Index::create()
        .name("jobs_due")
        .table("jobs")
        .col("kind")
        .col("state")
        .col("run_at")
        .to_owned();
    manager.create_index(due).await
}
