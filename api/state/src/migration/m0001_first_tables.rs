//! Organizations, users and their sessions, API keys, the audit log and the outbox.

use super::{
    ColumnDef, DbErr, ForeignKey, ForeignKeyAction, Index, SchemaManager, Table,
    TableCreateStatement,
};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for table in [organizations(), users(), sessions(), api_keys(), audit_log(), outbox()] {
        manager.create_table(table).await?;
    }
    let expiry =
        Index::create().name("sessions_by_expiry").table("sessions").col("expires_at").to_owned();
    manager.create_index(expiry).await?;
    let of_user =
        Index::create().name("sessions_by_user").table("sessions").col("user_id").to_owned();
    manager.create_index(of_user).await
}

fn organizations() -> TableCreateStatement {
    Table::create()
        .table("organizations")
        .col(ColumnDef::new("organization_id").string().not_null().primary_key())
        .col(ColumnDef::new("name").string().not_null())
        .col(ColumnDef::new("kind").string().not_null())
        .col(ColumnDef::new("plan").string().not_null())
        .col(ColumnDef::new("country").string().not_null())
        .col(ColumnDef::new("signed_up_at").big_integer().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .to_owned()
}

fn users() -> TableCreateStatement {
    Table::create()
        .table("users")
        .col(ColumnDef::new("user_id").string().not_null().primary_key())
        .col(ColumnDef::new("email").string().not_null().unique_key())
        .col(ColumnDef::new("password_hash").string().not_null())
        .col(ColumnDef::new("role").string().not_null())
        .col(ColumnDef::new("organization_id").string())
        .col(ColumnDef::new("status").string().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .foreign_key(
            ForeignKey::create()
                .from("users", "organization_id")
                .to("organizations", "organization_id"),
        )
        .to_owned()
}

fn sessions() -> TableCreateStatement {
    Table::create()
        .table("sessions")
        .col(ColumnDef::new("token_hash").binary_len(32).not_null().primary_key())
        .col(ColumnDef::new("user_id").string().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .col(ColumnDef::new("expires_at").big_integer().not_null())
        .foreign_key(
            ForeignKey::create()
                .from("sessions", "user_id")
                .to("users", "user_id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

fn api_keys() -> TableCreateStatement {
    Table::create()
        .table("api_keys")
        .col(ColumnDef::new("api_key_id").string().not_null().primary_key())
        .col(ColumnDef::new("organization_id").string())
        .col(ColumnDef::new("name").string().not_null())
        .col(ColumnDef::new("start").string().not_null())
        .col(ColumnDef::new("hash").binary_len(32).not_null().unique_key())
        .col(ColumnDef::new("scopes").string().not_null())
        .col(ColumnDef::new("created_by").string().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .col(ColumnDef::new("expires_at").big_integer())
        .col(ColumnDef::new("last_used_at").big_integer())
        .col(ColumnDef::new("revoked_at").big_integer())
        .foreign_key(
            ForeignKey::create()
                .from("api_keys", "organization_id")
                .to("organizations", "organization_id"),
        )
        .to_owned()
}

fn audit_log() -> TableCreateStatement {
    Table::create()
        .table("audit_log")
        .col(ColumnDef::new("seq").big_integer().not_null().primary_key())
        .col(ColumnDef::new("at").big_integer().not_null())
        .col(ColumnDef::new("actor").string().not_null())
        .col(ColumnDef::new("action").string().not_null())
        .col(ColumnDef::new("target").string().not_null())
        .col(ColumnDef::new("detail").text().not_null())
        .col(ColumnDef::new("request_id").string())
        .col(ColumnDef::new("ip").string())
        .col(ColumnDef::new("prev_hash").binary_len(32).not_null())
        .col(ColumnDef::new("hash").binary_len(32).not_null())
        .to_owned()
}

/// AUTOINCREMENT: an id is never given twice, also after the newest row was removed.
fn outbox() -> TableCreateStatement {
    Table::create()
        .table("outbox")
        .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new("table_name").string().not_null())
        .col(ColumnDef::new("payload").text().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .to_owned()
}
