//! Endpoints of customers, the messages for them, their deliveries and each attempt.

use state::migration::{ColumnDef, DbErr, Index, SchemaManager, Table};

pub(in crate::webhooks) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let endpoints = Table::create()
        .table("webhook_endpoints")
        .col(ColumnDef::new("webhook_id").string().not_null().primary_key())
        .col(ColumnDef::new("organization_id").string().not_null())
        .col(ColumnDef::new("url").text().not_null())
        .col(ColumnDef::new("description").text().not_null())
        .col(ColumnDef::new("events").text().not_null())
        .col(ColumnDef::new("secret").text().not_null())
        .col(ColumnDef::new("previous_secret").text())
        .col(ColumnDef::new("previous_until").big_integer())
        .col(ColumnDef::new("enabled").boolean().not_null())
        .col(ColumnDef::new("disabled_reason").string())
        .col(ColumnDef::new("told").boolean().not_null())
        .col(ColumnDef::new("failing_since").big_integer())
        .col(ColumnDef::new("created_by").string().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .to_owned();
    manager.create_table(endpoints).await?;
    let of_organization = Index::create()
        .name("webhook_endpoints_of_organization")
        .table("webhook_endpoints")
        .col("organization_id")
        .to_owned();
    manager.create_index(of_organization).await?;
    sent(manager).await
}

/// What was sent to them.
async fn sent(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let messages = Table::create()
        .table("webhook_messages")
        .col(ColumnDef::new("message_id").string().not_null().primary_key())
        .col(ColumnDef::new("event_type").string().not_null())
        .col(ColumnDef::new("body").text().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .to_owned();
    manager.create_table(messages).await?;
    let deliveries = Table::create()
        .table("webhook_deliveries")
        .col(ColumnDef::new("delivery_id").string().not_null().primary_key())
        .col(ColumnDef::new("webhook_id").string().not_null())
        .col(ColumnDef::new("message_id").string().not_null())
        .col(ColumnDef::new("event_type").string().not_null())
        .col(ColumnDef::new("state").string().not_null())
        .col(ColumnDef::new("attempts").integer().not_null())
        .col(ColumnDef::new("round").integer().not_null())
        .col(ColumnDef::new("next_at").big_integer())
        .col(ColumnDef::new("parked").boolean().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .to_owned();
    manager.create_table(deliveries).await?;
    let once = Index::create()
        .name("webhook_deliveries_once")
        .table("webhook_deliveries")
        .col("webhook_id")
        .col("message_id")
        .unique()
        .to_owned();
    manager.create_index(once).await?;
    let by_time = Index::create()
        .name("webhook_deliveries_by_time")
        .table("webhook_deliveries")
        .col("webhook_id")
        .col("created_at")
        .to_owned();
    manager.create_index(by_time).await?;
    for (name, column) in
        [("webhook_deliveries_of_message", "message_id"), ("webhook_deliveries_old", "created_at")]
    {
        let index = Index::create().name(name).table("webhook_deliveries").col(column).to_owned();
        manager.create_index(index).await?;
    }
    let attempts = Table::create()
        .table("webhook_attempts")
        .col(ColumnDef::new("delivery_id").string().not_null())
        .col(ColumnDef::new("attempt").integer().not_null())
        .col(ColumnDef::new("began_at").big_integer().not_null())
        .col(ColumnDef::new("duration_ms").integer().not_null())
        .col(ColumnDef::new("status").integer())
        .col(ColumnDef::new("answer").text())
        .col(ColumnDef::new("error").text())
        .primary_key(Index::create().col("delivery_id").col("attempt"))
        .to_owned();
    manager.create_table(attempts).await
}
