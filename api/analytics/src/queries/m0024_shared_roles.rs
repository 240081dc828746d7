//! The role `member` is `user` now, in what is shared with it and granted to it.

use sea_orm::ConnectionTrait;
use state::migration::{DbErr, SchemaManager};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let db = manager.get_connection();
    let shared = "UPDATE saved_queries SET shared_with = replace(shared_with, 'member', 'user')";
    db.execute_unprepared(shared).await?;
    db.execute_unprepared("UPDATE person_grants SET role = 'user' WHERE role = 'member'").await?;
    Ok(())
}
