//! The outbox of what leaves the house: deliveries, and the contents that they share.

use state::migration::{ColumnDef, DbErr, Index, SchemaManager, Table};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let contents = Table::create()
        .table("delivery_contents")
        .col(ColumnDef::new("content_id").string().not_null().primary_key())
        .col(ColumnDef::new("content").blob().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .to_owned();
    manager.create_table(contents).await?;
    let deliveries = Table::create()
        .table("deliveries")
        .col(ColumnDef::new("delivery_id").string().not_null().primary_key())
        .col(ColumnDef::new("reference").string().not_null())
        .col(ColumnDef::new("channel").string().not_null())
        .col(ColumnDef::new("address").text().not_null())
        .col(ColumnDef::new("subject").text().not_null())
        .col(ColumnDef::new("content_id").string().not_null())
        .col(ColumnDef::new("personal").text().not_null())
        .col(ColumnDef::new("notice").text())
        .col(ColumnDef::new("state").string().not_null())
        .col(ColumnDef::new("uncertain").boolean().not_null())
        .col(ColumnDef::new("attempts").integer().not_null())
        .col(ColumnDef::new("error").text())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .col(ColumnDef::new("tried_at").big_integer())
        .col(ColumnDef::new("next_at").big_integer())
        .to_owned();
    manager.create_table(deliveries).await?;
    let once = Index::create()
        .name("deliveries_once")
        .table("deliveries")
        .col("reference")
        .col("channel")
        .col("address")
        .unique()
        .to_owned();
    manager.create_index(once).await?;
    let of_content = Index::create()
        .name("deliveries_of_content")
        .table("deliveries")
        .col("content_id")
        .to_owned();
    manager.create_index(of_content).await
}
