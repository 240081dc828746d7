pub(super) mod endpoint {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "webhook_endpoints")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub webhook_id: String,
        pub organization_id: String,
        pub url: String,
        pub description: String,
        /// A list in JSON; empty for all.
        pub events: String,
        /// Sealed.
        pub secret: String,
        pub previous_secret: Option<String>,
        pub previous_until: Option<i64>,
        pub enabled: bool,
        pub disabled_reason: Option<String>,
        /// Somebody was told that it was turned off.
        pub told: bool,
        pub failing_since: Option<i64>,
        pub created_by: String,
        pub created_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod message {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "webhook_messages")]
    pub(in crate::webhooks) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub message_id: String,
        pub event_type: String,
        /// As it is sent.
        pub body: String,
        pub created_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub(in crate::webhooks) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod delivery {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "webhook_deliveries")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub delivery_id: String,
        pub webhook_id: String,
        pub message_id: String,
        pub event_type: String,
        pub state: String,
        pub attempts: i32,
        /// Of the attempts of the present round of sending: a replay begins another one.
        pub round: i32,
        pub next_at: Option<i64>,
        /// It waits for others of its organization, without a job.
        pub parked: bool,
        pub created_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod attempt {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "webhook_attempts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub delivery_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub attempt: i32,
        pub began_at: i64,
        pub duration_ms: i32,
        pub status: Option<i32>,
        pub answer: Option<String>,
        pub error: Option<String>,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
