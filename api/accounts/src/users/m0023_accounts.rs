//! What users say of themselves, their second factor, sessions that can be listed, one-time tokens that mails carry, and
//! the projects of organizations. The role `member` is `user` now.

use sea_orm::ConnectionTrait;
use state::migration::{
    ColumnDef, DbErr, ForeignKey, ForeignKeyAction, Index, SchemaManager, Table,
    TableCreateStatement,
};

pub(crate) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let db = manager.get_connection();
    db.execute_unprepared("UPDATE users SET role = 'user' WHERE role = 'member'").await?;
    // They last twelve hours, and lack what is listed now.
    db.execute_unprepared("DELETE FROM sessions").await?;
    for column in ["name", "language", "zone", "theme", "totp"] {
        add(manager, "users", ColumnDef::new(column).text().take()).await?;
    }
    for column in ["totp_confirmed_at", "totp_step"] {
        add(manager, "users", ColumnDef::new(column).big_integer().take()).await?;
    }
    let mails = ColumnDef::new("mails").boolean().not_null().default(true).take();
    add(manager, "users", mails).await?;
    let id = ColumnDef::new("session_id").string().not_null().default("").take();
    add(manager, "sessions", id).await?;
    for column in ["device", "ip"] {
        add(manager, "sessions", ColumnDef::new(column).text().take()).await?;
    }
    for column in ["last_used_at", "confirmed_at", "rotated_at"] {
        add(manager, "sessions", ColumnDef::new(column).big_integer().take()).await?;
    }
    add(manager, "sessions", ColumnDef::new("previous_hash").binary().take()).await?;
    let kind = ColumnDef::new("kind").string().not_null().default("browser").take();
    add(manager, "sessions", kind).await?;
    for table in [account_tokens(), recovery_codes(), projects(), signing_keys()] {
        manager.create_table(table).await?;
    }
    for (table, columns) in [
        ("sessions", ["user_id", "created_at"]),
        ("account_tokens", ["user_id", "purpose"]),
        ("account_tokens", ["organization_id", "created_at"]),
        ("projects", ["organization_id", "name"]),
    ] {
        let [first, second] = columns;
        let index = Index::create()
            .name(format!("{table}_by_{first}"))
            .table(table)
            .col(first)
            .col(second)
            .to_owned();
        manager.create_index(index).await?;
    }
    let by_id =
        Index::create().name("sessions_by_id").table("sessions").col("session_id").to_owned();
    manager.create_index(by_id).await
}

async fn add(
    manager: &SchemaManager<'_>,
    table: &'static str,
    column: ColumnDef,
) -> Result<(), DbErr> {
    manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await
}

/// `payload` is JSON: what is done when the token comes back.
fn account_tokens() -> TableCreateStatement {
    Table::create()
        .table("account_tokens")
        .col(ColumnDef::new("token_hash").binary().not_null().primary_key())
        .col(ColumnDef::new("token_id").string().not_null())
        .col(ColumnDef::new("purpose").string().not_null())
        .col(ColumnDef::new("user_id").string())
        .col(ColumnDef::new("organization_id").string())
        .col(ColumnDef::new("email").string().not_null())
        .col(ColumnDef::new("payload").text().not_null())
        .col(ColumnDef::new("created_by").string().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .col(ColumnDef::new("expires_at").big_integer().not_null())
        .to_owned()
}

fn recovery_codes() -> TableCreateStatement {
    Table::create()
        .table("recovery_codes")
        .col(ColumnDef::new("user_id").string().not_null())
        .col(ColumnDef::new("code_hash").binary().not_null())
        .primary_key(Index::create().col("user_id").col("code_hash"))
        .foreign_key(
            ForeignKey::create()
                .from("recovery_codes", "user_id")
                .to("users", "user_id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

fn projects() -> TableCreateStatement {
    Table::create()
        .table("projects")
        .col(ColumnDef::new("project_id").string().not_null().primary_key())
        .col(ColumnDef::new("organization_id").string().not_null())
        .col(ColumnDef::new("name").string().not_null())
        .col(ColumnDef::new("created_by").string().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .col(ColumnDef::new("archived_at").big_integer())
        .foreign_key(
            ForeignKey::create()
                .from("projects", "organization_id")
                .to("organizations", "organization_id"),
        )
        .to_owned()
}

/// `sealed` is the private key, which only a server with the secret of the data folder opens.
fn signing_keys() -> TableCreateStatement {
    Table::create()
        .table("signing_keys")
        .col(ColumnDef::new("key_id").string().not_null().primary_key())
        .col(ColumnDef::new("public").text().not_null())
        .col(ColumnDef::new("sealed").text().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .to_owned()
}
