//! Own dashboards, their earlier versions, and links to them for people outside.

use state::migration::{ColumnDef, DbErr, Index, SchemaManager, Table, TableCreateStatement};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for table in [dashboards(), versions(), links()] {
        manager.create_table(table).await?;
    }
    let by_name = Index::create()
        .name("dashboards_by_name")
        .table("dashboards")
        .col("scope")
        .col("name")
        .unique()
        .to_owned();
    manager.create_index(by_name).await
}

/// `scope` is an organization, or empty for staff.
fn dashboards() -> TableCreateStatement {
    Table::create()
        .table("dashboards")
        .col(ColumnDef::new("dashboard_id").string().not_null().primary_key())
        .col(ColumnDef::new("scope").string().not_null())
        .col(ColumnDef::new("name").string().not_null())
        .col(ColumnDef::new("owner_id").string().not_null())
        .col(ColumnDef::new("title").text().not_null())
        .col(ColumnDef::new("definition").text().not_null())
        .col(ColumnDef::new("shared_with").string().not_null())
        .col(ColumnDef::new("version").big_integer().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .col(ColumnDef::new("updated_at").big_integer().not_null())
        .to_owned()
}

fn versions() -> TableCreateStatement {
    Table::create()
        .table("dashboard_versions")
        .col(ColumnDef::new("dashboard_id").string().not_null())
        .col(ColumnDef::new("version").big_integer().not_null())
        .col(ColumnDef::new("definition").text().not_null())
        .col(ColumnDef::new("created_by").string().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .primary_key(Index::create().col("dashboard_id").col("version"))
        .to_owned()
}

/// `parameters` are those of the address that it shows.
fn links() -> TableCreateStatement {
    Table::create()
        .table("dashboard_links")
        .col(ColumnDef::new("link_id").string().not_null().primary_key())
        .col(ColumnDef::new("dashboard_name").string().not_null())
        .col(ColumnDef::new("scope").string().not_null())
        .col(ColumnDef::new("owner_id").string().not_null())
        .col(ColumnDef::new("parameters").text().not_null())
        .col(ColumnDef::new("expires_at").big_integer().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .to_owned()
}
