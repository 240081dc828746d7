//! Jobs: work in the background, with its times and its leases.

use super::{ColumnDef, DbErr, Index, SchemaManager, Table};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let jobs = Table::create()
        .table("jobs")
        .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new("kind").string().not_null())
        .col(ColumnDef::new("dedup_key").string().not_null())
        .col(ColumnDef::new("payload").text().not_null())
        .col(ColumnDef::new("state").string().not_null())
        .col(ColumnDef::new("run_at").big_integer().not_null())
        .col(ColumnDef::new("attempts").integer().not_null())
        .col(ColumnDef::new("lease_owner").string())
        .col(ColumnDef::new("lease_until").big_integer())
        .col(ColumnDef::new("result").text())
        .col(ColumnDef::new("error").text())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .col(ColumnDef::new("started_at").big_integer())
        .col(ColumnDef::new("finished_at").big_integer())
        .to_owned();
    manager.create_table(jobs).await?;
    let once = Index::create()
        .name("jobs_once")
        .table("jobs")
        .col("kind")
        .col("dedup_key")
        .unique()
        .to_owned();
    manager.create_index(once).await?;
    let due =
        Index::create().name("jobs_by_state").table("jobs").col("state").col("run_at").to_owned();
    manager.create_index(due).await
}
