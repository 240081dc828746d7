//! Prices, subscriptions, invoices and what was paid.

use state::migration::{ColumnDef, DbErr, ForeignKey, Index, SchemaManager, Table};

pub(crate) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    prices(manager).await?;
    customers(manager).await?;
    invoices(manager).await?;
    payments(manager).await
}

fn text(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string().not_null().to_owned()
}

fn long(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).text().not_null().to_owned()
}

fn number(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().to_owned()
}

/// A column that may be null.
fn optional_text(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string().to_owned()
}

fn optional_number(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().to_owned()
}

fn of_organization(table: &'static str) -> state::migration::ForeignKeyCreateStatement {
    ForeignKey::create()
        .from(table, "organization_id")
        .to("organizations", "organization_id")
        .to_owned()
}

async fn prices(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let versions = Table::create()
        .table("price_versions")
        .col(text("kind"))
        .col(text("name"))
        .col(ColumnDef::new("version").integer().not_null())
        .col(text("starts_on"))
        .col(long("definition"))
        .col(text("created_by"))
        .col(number("created_at"))
        .col(optional_number("used_at"))
        .primary_key(Index::create().col("kind").col("name").col("version"))
        .to_owned();
    manager.create_table(versions).await?;
    let mut key = of_organization("price_overrides");
    let overrides = Table::create()
        .table("price_overrides")
        .col(text("override_id").primary_key().to_owned())
        .col(text("organization_id"))
        .col(text("plan"))
        .col(long("charges"))
        .col(text("starts_on"))
        .col(optional_text("ends_on"))
        .col(long("note"))
        .col(text("created_by"))
        .col(number("created_at"))
        .foreign_key(&mut key)
        .to_owned();
    manager.create_table(overrides).await
}

async fn customers(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut key = of_organization("billing_customers");
    let customers = Table::create()
        .table("billing_customers")
        .col(text("organization_id").primary_key().to_owned())
        .col(long("profile"))
        .col(optional_number("suspended_at"))
        .col(number("updated_at"))
        .foreign_key(&mut key)
        .to_owned();
    manager.create_table(customers).await?;
    let mut key = of_organization("subscriptions");
    let subscriptions = Table::create()
        .table("subscriptions")
        .col(text("subscription_id").primary_key().to_owned())
        .col(text("organization_id"))
        .col(text("currency"))
        .col(text("zone"))
        .col(long("phases"))
        .col(optional_text("ends_on"))
        .col(ColumnDef::new("end_reason").text().to_owned())
        .col(ColumnDef::new("announced").text().to_owned())
        .col(optional_number("ended_at"))
        .col(optional_text("billed_through"))
        .col(ColumnDef::new("is_closed").boolean().not_null())
        .col(optional_number("cut_log"))
        .col(optional_number("cut_lsn"))
        .col(number("created_at"))
        .foreign_key(&mut key)
        .to_owned();
    manager.create_table(subscriptions).await?;
    let rated = Table::create()
        .table("rated_periods")
        .col(text("subscription_id"))
        .col(text("period_start"))
        .col(long("rated"))
        .primary_key(Index::create().col("subscription_id").col("period_start"))
        .to_owned();
    manager.create_table(rated).await?;
    let runs = Table::create()
        .table("billing_runs")
        .col(ColumnDef::new("run_id").big_integer().not_null().auto_increment().primary_key())
        .col(text("started_by"))
        .col(number("started_at"))
        .col(optional_number("finished_at"))
        .col(optional_text("cut"))
        .col(ColumnDef::new("report").text().to_owned())
        .to_owned();
    manager.create_table(runs).await
}

async fn invoices(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut key = of_organization("invoices");
    let invoices = Table::create()
        .table("invoices")
        .col(text("invoice_id").primary_key().to_owned())
        .col(text("organization_id"))
        .col(text("subscription_id"))
        .col(text("kind"))
        .col(text("status"))
        .col(ColumnDef::new("number").string().unique_key().to_owned())
        .col(optional_text("corrects_id"))
        .col(text("billed_on"))
        .col(text("currency"))
        .col(number("total"))
        .col(number("outstanding"))
        .col(number("created_at"))
        .col(optional_number("finalizes_at"))
        .col(optional_number("issued_at"))
        .col(optional_number("due_at"))
        .col(optional_number("reminded_at"))
        .col(long("cut"))
        .col(long("document"))
        .foreign_key(&mut key)
        .to_owned();
    manager.create_table(invoices).await?;
    for (name, columns) in [
        ("invoices_of_organization", ["organization_id", "created_at"]),
        ("invoices_of_subscription", ["subscription_id", "billed_on"]),
        ("invoices_by_status", ["status", "due_at"]),
    ] {
        let [first, second] = columns;
        let index = Index::create().name(name).table("invoices").col(first).col(second).to_owned();
        manager.create_index(index).await?;
    }
    let numbers = Table::create()
        .table("invoice_numbers")
        .col(text("series").primary_key().to_owned())
        .col(number("last"))
        .to_owned();
    manager.create_table(numbers).await
}

async fn payments(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut key = of_organization("credit_entries");
    let credit = Table::create()
        .table("credit_entries")
        .col(ColumnDef::new("entry_id").big_integer().not_null().auto_increment().primary_key())
        .col(text("organization_id"))
        .col(text("currency"))
        .col(number("amount"))
        .col(text("invoice_id"))
        .col(text("reason"))
        .col(number("created_at"))
        .foreign_key(&mut key)
        .to_owned();
    manager.create_table(credit).await?;
    let mut key = of_organization("payments");
    let payments = Table::create()
        .table("payments")
        .col(text("payment_id").primary_key().to_owned())
        .col(text("organization_id"))
        .col(text("invoice_id"))
        .col(text("provider"))
        .col(text("reference"))
        .col(text("status"))
        .col(text("currency"))
        .col(number("amount"))
        .col(number("refunded"))
        .col(long("detail"))
        .col(text("created_by"))
        .col(number("created_at"))
        .col(number("updated_at"))
        .foreign_key(&mut key)
        .to_owned();
    manager.create_table(payments).await?;
    let index = Index::create()
        .name("payments_by_reference")
        .table("payments")
        .col("provider")
        .col("reference")
        .unique()
        .to_owned();
    manager.create_index(index).await
}
