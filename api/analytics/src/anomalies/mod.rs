//! Anomalies: each hour a job looks at the last weeks of the watched metrics anew, and keeps what is unusual. Late rows,
//! corrections and restarts change what is found, and nothing else: nothing but the anomalies and what people said of them
//! is kept.

mod anomaly;
mod m0012_anomalies;
mod pages;
mod routes;
mod row;
mod watch;
mod why;
mod why_page;
mod why_route;
mod work;

use actix_web::web;
use rest::feature::Feature;
use state::migration::Migration;

pub(crate) use pages::marks;

use crate::Lake;

/// Bytes of a request.
const BODY_BYTES_MAX: usize = 16 << 10;

/// Anomalies, and why a metric changed.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("anomalies")
    .with_routes(|config, _| {
        config
            .route("/anomalies", web::get().to(pages::list))
            .route("/anomalies", web::post().to(pages::act))
            .route("/why/{metric}", web::get().to(why_page::show))
            .service(routes::list_anomalies)
            .service(routes::get_anomaly)
            .service(routes::judge_anomaly)
            .service(why_route::why);
    })
    .with_migrations(&[Migration {
        name: "m0012_anomalies",
        up: |m| Box::pin(m0012_anomalies::up(m)),
    }])
    .with_tasks(work::register);
