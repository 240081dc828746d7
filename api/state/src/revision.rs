//! Revisions: numbers that grow with each change of what processes remember. Who remembers something asks for its number,
//! and reads it anew when it grew.

use sea_orm::{ActiveValue::Set, EntityTrait, sea_query::OnConflict};

use crate::store::{Store, StoreContext, StoreError, Write};

mod row {
    #![expect(unreachable_pub, reason = "the derive macro makes its types public")]

    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "access_revision")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i32,
        pub revision: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What a revision is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remembered {
    /// Keys and organizations.
    Access = 1,
    /// Sessions that ended, and the users whose they are.
    Sessions = 2,
}

/// The revision of keys and organizations; 0 before the first change.
pub async fn read(store: &Store) -> Result<i64, StoreError> {
    read_of(store, Remembered::Access).await
}

/// A revision now; 0 before the first change.
pub async fn read_of(store: &Store, of: Remembered) -> Result<i64, StoreError> {
    let row = row::Entity::find_by_id(of as i32).one(store.db()).await;
    Ok(row.doing("reading a revision")?.map_or(0, |row| row.revision))
}

/// Says that keys or organizations change, in the transaction that changes them.
pub async fn bump(write: &Write) -> Result<(), StoreError> {
    bump_of(write, Remembered::Access).await
}

/// Says that something changes, in the transaction that changes it.
pub async fn bump_of(write: &Write, of: Remembered) -> Result<(), StoreError> {
    let doing = "changing a revision";
    let row = row::Entity::find_by_id(of as i32).one(write.db()).await.doing(doing)?;
    let revision = row.map_or(0, |row| row.revision) + 1;
    let replace =
        OnConflict::column(row::Column::Id).update_column(row::Column::Revision).to_owned();
    row::Entity::insert(row::ActiveModel { id: Set(of as i32), revision: Set(revision) })
        .on_conflict(replace)
        .exec_without_returning(write.db())
        .await
        .doing(doing)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{bump, read};
    use crate::{migration::MIGRATIONS, scratch::Scratch};

    #[tokio::test]
    async fn it_grows_with_what_is_committed() {
        let scratch = Scratch::new(MIGRATIONS).await;
        let (one, other) = (&scratch.store, scratch.opened_again(MIGRATIONS).await);
        assert_eq!(read(one).await.unwrap(), 0);
        for expected in 1..=2 {
            let write = one.write().await.unwrap();
            bump(&write).await.unwrap();
            write.commit().await.unwrap();
            assert_eq!(read(&other).await.unwrap(), expected);
        }
        let write = one.write().await.unwrap();
        bump(&write).await.unwrap();
        drop(write);
        assert_eq!(read(&other).await.unwrap(), 2);
    }
}
