//! Churn: once a day a job learns who is likely to leave. Only what was found last is kept.

mod found;
mod m0013_churn;
mod pages;
mod routes;
mod row;
mod work;

use actix_web::web;
use rest::feature::Feature;
use state::migration::Migration;

use crate::Lake;

/// Who is likely to leave.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("churn")
    .with_routes(|config, _| {
        config.route("/churn", web::get().to(pages::show)).service(routes::get_churn);
    })
    .with_migrations(&[Migration { name: "m0013_churn", up: |m| Box::pin(m0013_churn::up(m)) }])
    .with_tasks(work::register);
