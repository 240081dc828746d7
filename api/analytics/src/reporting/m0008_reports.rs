//! Reports, their schedules and runs, and who does not want them any more.

use state::migration::{ColumnDef, DbErr, Index, SchemaManager, Table, TableCreateStatement};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for table in [reports(), schedules(), runs(), unsubscribed()] {
        manager.create_table(table).await?;
    }
    let once = Index::create()
        .name("report_runs_once")
        .table("report_runs")
        .col("dedup_key")
        .unique()
        .to_owned();
    manager.create_index(once).await?;
    let of_report = Index::create()
        .name("report_runs_of_report")
        .table("report_runs")
        .col("report_id")
        .col("created_at")
        .to_owned();
    manager.create_index(of_report).await
}

/// `scope` is an organization, or empty for staff.
fn reports() -> TableCreateStatement {
    Table::create()
        .table("reports")
        .col(ColumnDef::new("report_id").string().not_null().primary_key())
        .col(ColumnDef::new("scope").string().not_null())
        .col(ColumnDef::new("owner_id").string().not_null())
        .col(ColumnDef::new("title").string().not_null())
        .col(ColumnDef::new("definition").text().not_null())
        .col(ColumnDef::new("paused").boolean().not_null())
        .col(ColumnDef::new("paused_reason").text())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .col(ColumnDef::new("updated_at").big_integer().not_null())
        .to_owned()
}

fn schedules() -> TableCreateStatement {
    Table::create()
        .table("report_schedules")
        .col(ColumnDef::new("schedule_id").string().not_null().primary_key())
        .col(ColumnDef::new("report_id").string().not_null())
        .col(ColumnDef::new("recurrence").text().not_null())
        .col(ColumnDef::new("missed").string().not_null())
        .col(ColumnDef::new("paused").boolean().not_null())
        .col(ColumnDef::new("next_at").big_integer())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .to_owned()
}

fn runs() -> TableCreateStatement {
    Table::create()
        .table("report_runs")
        .col(ColumnDef::new("run_id").string().not_null().primary_key())
        .col(ColumnDef::new("report_id").string().not_null())
        .col(ColumnDef::new("schedule_id").string())
        .col(ColumnDef::new("dedup_key").string().not_null())
        .col(ColumnDef::new("only_to").string())
        .col(ColumnDef::new("fired_at").big_integer().not_null())
        .col(ColumnDef::new("period_from").big_integer().not_null())
        .col(ColumnDef::new("period_to").big_integer().not_null())
        .col(ColumnDef::new("state").string().not_null())
        .col(ColumnDef::new("reason").text())
        .col(ColumnDef::new("as_of").string())
        .col(ColumnDef::new("digest").string())
        .col(ColumnDef::new("files").text().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .col(ColumnDef::new("finished_at").big_integer())
        .to_owned()
}

fn unsubscribed() -> TableCreateStatement {
    Table::create()
        .table("report_unsubscribed")
        .col(ColumnDef::new("report_id").string().not_null())
        .col(ColumnDef::new("address").string().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .primary_key(Index::create().col("report_id").col("address"))
        .to_owned()
}
