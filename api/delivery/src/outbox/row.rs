pub(super) mod delivery {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "deliveries")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub delivery_id: String,
        /// What it belongs to, such as a run of a report.
        pub reference: String,
        pub channel: String,
        pub address: String,
        pub subject: String,
        pub content_id: String,
        pub personal: String,
        pub notice: Option<String>,
        pub state: String,
        pub uncertain: bool,
        pub attempts: i32,
        pub error: Option<String>,
        pub created_at: i64,
        /// When the last attempt began.
        pub tried_at: Option<i64>,
        /// When the next one is due.
        pub next_at: Option<i64>,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod content {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "delivery_contents")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub content_id: String,
        /// JSON, compressed.
        pub content: Vec<u8>,
        pub created_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
