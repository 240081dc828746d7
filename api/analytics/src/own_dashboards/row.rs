//! The rows of the tables.

#![expect(unreachable_pub, reason = "the derive macro makes its types public")]

pub mod dashboard {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "dashboards")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub dashboard_id: String,
        pub scope: String,
        pub name: String,
        pub owner_id: String,
        /// In all languages, as JSON: lists need not read the definition.
        pub title: String,
        /// YAML.
        pub definition: String,
        /// Roles, with commas.
        pub shared_with: String,
        pub version: i64,
        pub created_at: i64,
        pub updated_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod version {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "dashboard_versions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub dashboard_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub version: i64,
        pub definition: String,
        pub created_by: String,
        pub created_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod link {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "dashboard_links")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub link_id: String,
        pub dashboard_name: String,
        pub scope: String,
        pub owner_id: String,
        /// The pairs of the address, as JSON.
        pub parameters: String,
        pub expires_at: i64,
        pub created_at: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
