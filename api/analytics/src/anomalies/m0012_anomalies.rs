//! What was unusual, what people said of it, and when it was looked for.

use state::migration::{ColumnDef, DbErr, Index, SchemaManager, Table};

/// Amounts are texts, as they are printed exactly. `same_as` is the anomaly that stands for those of one cause.
pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let anomalies = Table::create()
        .table("anomalies")
        .col(ColumnDef::new("anomaly_id").string().not_null().primary_key())
        .col(ColumnDef::new("metric").string().not_null())
        .col(ColumnDef::new("dimension").string())
        .col(ColumnDef::new("value").string())
        .col(ColumnDef::new("currency").string())
        .col(ColumnDef::new("from_at").big_integer().not_null())
        .col(ColumnDef::new("to_at").big_integer().not_null())
        .col(ColumnDef::new("is_high").boolean().not_null())
        .col(ColumnDef::new("observed").double().not_null())
        .col(ColumnDef::new("expected").double().not_null())
        .col(ColumnDef::new("lower").double().not_null())
        .col(ColumnDef::new("upper").double().not_null())
        .col(ColumnDef::new("p_value").double().not_null())
        .col(ColumnDef::new("same_as").string())
        .col(ColumnDef::new("cause").text())
        .col(ColumnDef::new("verdict").string())
        .col(ColumnDef::new("note").text())
        .col(ColumnDef::new("judged_by").string())
        .col(ColumnDef::new("judged_at").big_integer())
        .col(ColumnDef::new("found_at").big_integer().not_null())
        .to_owned();
    manager.create_table(anomalies).await?;
    let by_time =
        Index::create().name("anomalies_by_time").table("anomalies").col("from_at").to_owned();
    manager.create_index(by_time).await?;
    let looks = Table::create()
        .table("anomaly_looks")
        .col(ColumnDef::new("grain").string().not_null().primary_key())
        .col(ColumnDef::new("looked_at").big_integer().not_null())
        .col(ColumnDef::new("until_at").big_integer().not_null())
        .to_owned();
    manager.create_table(looks).await
}
