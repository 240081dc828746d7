//! Forecasts that are kept: once a day a job makes those of the main metrics, so that they can be compared with what came.

mod expected;
mod kept;
mod m0014_forecasts;
mod pages;
mod past;
mod row;
mod work;

pub(crate) use expected::table;

use actix_web::web;
use rest::feature::Feature;
use state::migration::Migration;

use crate::Lake;

/// Forecasts as a page, and how good they were.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("forecasts")
    .with_routes(|config, _| {
        config.route("/forecasts", web::get().to(pages::show)).service(past::get_past);
    })
    .with_migrations(&[Migration {
        name: "m0014_forecasts",
        up: |m| Box::pin(m0014_forecasts::up(m)),
    }])
    .with_tasks(work::register);
