//! One row that says when somebody's access changed: other processes look at it, and read anew what they remember.

use sea_orm_migration::{SchemaManager, sea_orm::DbErr};

use super::{ColumnDef, Table};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("access_revision")
        .col(ColumnDef::new("id").integer().not_null().primary_key())
        .col(ColumnDef::new("revision").big_integer().not_null())
        .to_owned();
    manager.create_table(table).await
}
