//! The rows of the tables.

#![expect(unreachable_pub, reason = "the derive macro makes its types public")]

pub mod alert {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "alerts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub alert_id: String,
        pub scope: String,
        pub owner_id: String,
        pub title: String,
        /// What was sent, as JSON.
        pub definition: String,
        pub paused: bool,
        pub paused_reason: Option<String>,
        /// The end of the last interval that was looked at.
        pub evaluated_to: Option<i64>,
        /// Why the last look failed.
        pub error: Option<String>,
        pub created_at: i64,
        pub updated_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod standing {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "alert_standings")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub alert_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub series: String,
        pub met: i64,
        pub not_met: i64,
        /// The incident that is open.
        pub incident_id: Option<String>,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod incident {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "alert_incidents")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub incident_id: String,
        pub alert_id: String,
        pub series: String,
        /// The interval that was met last.
        pub interval_from: i64,
        pub value: Option<String>,
        pub limit_value: Option<String>,
        pub opened_at: i64,
        pub told_at: Option<i64>,
        pub acknowledged_at: Option<i64>,
        pub acknowledged_by: Option<String>,
        pub snoozed_until: Option<i64>,
        pub resolved_at: Option<i64>,
        /// None: the condition was not met any more.
        pub resolved_by: Option<String>,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod evaluation {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "alert_evaluations")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub alert_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub interval_from: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub series: String,
        pub value: Option<String>,
        pub limit_value: Option<String>,
        pub verdict: String,
        /// The series that this row stands for.
        pub watched: i64,
        pub evaluated_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod shipped {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "alert_shipped")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub created_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
