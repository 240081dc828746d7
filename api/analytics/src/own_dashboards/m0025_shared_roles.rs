//! The role `member` is `user` now, in what is shared with it.

use sea_orm::ConnectionTrait;
use state::migration::{DbErr, SchemaManager};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let shared = "UPDATE dashboards SET shared_with = replace(shared_with, 'member', 'user')";
    manager.get_connection().execute_unprepared(shared).await.map(drop)
}
