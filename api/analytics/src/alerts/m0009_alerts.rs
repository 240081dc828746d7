//! Alerts, how their series stand, what opened, and what was found of each interval.

use state::migration::{ColumnDef, DbErr, Index, SchemaManager, Table, TableCreateStatement};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for table in [alerts(), standings(), incidents(), evaluations(), shipped()] {
        manager.create_table(table).await?;
    }
    let of_alert = Index::create()
        .name("alert_incidents_of_alert")
        .table("alert_incidents")
        .col("alert_id")
        .col("opened_at")
        .to_owned();
    manager.create_index(of_alert).await?;
    let old = Index::create()
        .name("alert_evaluations_old")
        .table("alert_evaluations")
        .col("evaluated_at")
        .to_owned();
    manager.create_index(old).await
}

/// `scope` is an organization, or empty for staff.
fn alerts() -> TableCreateStatement {
    Table::create()
        .table("alerts")
        .col(ColumnDef::new("alert_id").string().not_null().primary_key())
        .col(ColumnDef::new("scope").string().not_null())
        .col(ColumnDef::new("owner_id").string().not_null())
        .col(ColumnDef::new("title").string().not_null())
        .col(ColumnDef::new("definition").text().not_null())
        .col(ColumnDef::new("paused").boolean().not_null())
        .col(ColumnDef::new("paused_reason").text())
        .col(ColumnDef::new("evaluated_to").big_integer())
        .col(ColumnDef::new("error").text())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .col(ColumnDef::new("updated_at").big_integer().not_null())
        .to_owned()
}

/// `series` is the value of the dimension and the currency, as JSON.
fn standings() -> TableCreateStatement {
    Table::create()
        .table("alert_standings")
        .col(ColumnDef::new("alert_id").string().not_null())
        .col(ColumnDef::new("series").string().not_null())
        .col(ColumnDef::new("met").big_integer().not_null())
        .col(ColumnDef::new("not_met").big_integer().not_null())
        .col(ColumnDef::new("incident_id").string())
        .primary_key(Index::create().col("alert_id").col("series"))
        .to_owned()
}

fn incidents() -> TableCreateStatement {
    Table::create()
        .table("alert_incidents")
        .col(ColumnDef::new("incident_id").string().not_null().primary_key())
        .col(ColumnDef::new("alert_id").string().not_null())
        .col(ColumnDef::new("series").string().not_null())
        .col(ColumnDef::new("interval_from").big_integer().not_null())
        .col(ColumnDef::new("value").string())
        .col(ColumnDef::new("limit_value").string())
        .col(ColumnDef::new("opened_at").big_integer().not_null())
        .col(ColumnDef::new("told_at").big_integer())
        .col(ColumnDef::new("acknowledged_at").big_integer())
        .col(ColumnDef::new("acknowledged_by").string())
        .col(ColumnDef::new("snoozed_until").big_integer())
        .col(ColumnDef::new("resolved_at").big_integer())
        .col(ColumnDef::new("resolved_by").string())
        .to_owned()
}

fn evaluations() -> TableCreateStatement {
    Table::create()
        .table("alert_evaluations")
        .col(ColumnDef::new("alert_id").string().not_null())
        .col(ColumnDef::new("interval_from").big_integer().not_null())
        .col(ColumnDef::new("series").string().not_null())
        .col(ColumnDef::new("value").string())
        .col(ColumnDef::new("limit_value").string())
        .col(ColumnDef::new("verdict").string().not_null())
        .col(ColumnDef::new("watched").big_integer().not_null())
        .col(ColumnDef::new("evaluated_at").big_integer().not_null())
        .primary_key(Index::create().col("alert_id").col("interval_from").col("series"))
        .to_owned()
}

/// The alerts that came with the program once: one that was removed does not come again.
fn shipped() -> TableCreateStatement {
    Table::create()
        .table("alert_shipped")
        .col(ColumnDef::new("name").string().not_null().primary_key())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .to_owned()
}
