//! How organizations pay by themselves, and which calls of payment providers were taken.

use state::migration::{ColumnDef, DbErr, ForeignKey, Index, SchemaManager, Table};

pub(crate) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let text = |name: &'static str| ColumnDef::new(name).string().not_null().to_owned();
    let methods = Table::create()
        .table("payment_methods")
        .col(text("organization_id").primary_key().to_owned())
        .col(text("customer"))
        .col(text("method"))
        .col(text("label"))
        .col(ColumnDef::new("updated_at").big_integer().not_null())
        .foreign_key(
            ForeignKey::create()
                .from("payment_methods", "organization_id")
                .to("organizations", "organization_id"),
        )
        .to_owned();
    manager.create_table(methods).await?;
    let hooks = Table::create()
        .table("payment_hooks")
        .col(text("provider"))
        .col(text("event_id"))
        .col(text("kind"))
        .col(ColumnDef::new("received_at").big_integer().not_null())
        .primary_key(Index::create().col("provider").col("event_id"))
        .to_owned();
    manager.create_table(hooks).await
}
