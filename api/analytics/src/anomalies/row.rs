//! The rows of the tables.

#![expect(unreachable_pub, reason = "the derive macro makes its types public")]

pub mod anomaly {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "anomalies")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub anomaly_id: String,
        pub metric: String,
        /// None for everything.
        pub dimension: Option<String>,
        pub value: Option<String>,
        pub currency: Option<String>,
        pub from_at: i64,
        pub to_at: i64,
        pub is_high: bool,
        pub observed: f64,
        pub expected: f64,
        pub lower: f64,
        pub upper: f64,
        pub p_value: f64,
        /// The anomaly that stands for those of one cause.
        pub same_as: Option<String>,
        /// As JSON; none as long as nobody looked for it.
        pub cause: Option<String>,
        /// `confirmed` or `dismissed`.
        pub verdict: Option<String>,
        pub note: Option<String>,
        pub judged_by: Option<String>,
        pub judged_at: Option<i64>,
        pub found_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod look {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "anomaly_looks")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub grain: String,
        pub looked_at: i64,
        /// The end of the last bucket.
        pub until_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
