//! The rows of the tables.

#![expect(unreachable_pub, reason = "the derive macro makes its types public")]

pub mod report {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "reports")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub report_id: String,
        pub scope: String,
        pub owner_id: String,
        pub title: String,
        /// What was sent, as JSON.
        pub definition: String,
        pub paused: bool,
        pub paused_reason: Option<String>,
        pub created_at: i64,
        pub updated_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod schedule {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "report_schedules")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub schedule_id: String,
        pub report_id: String,
        pub recurrence: String,
        pub missed: String,
        pub paused: bool,
        pub next_at: Option<i64>,
        pub created_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod run {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "report_runs")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub run_id: String,
        pub report_id: String,
        /// None: somebody asked for it.
        pub schedule_id: Option<String>,
        pub dedup_key: String,
        /// A test: it goes to this address only.
        pub only_to: Option<String>,
        pub fired_at: i64,
        pub period_from: i64,
        pub period_to: i64,
        pub state: String,
        /// Why it was skipped, or failed.
        pub reason: Option<String>,
        pub as_of: Option<String>,
        pub digest: Option<String>,
        /// The names of the files that are kept, as JSON.
        pub files: String,
        pub created_at: i64,
        pub finished_at: Option<i64>,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod unsubscribed {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "report_unsubscribed")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub report_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub address: String,
        pub created_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
