//! Alerts: metrics that are watched. A job looks at each alert when one of its intervals is over, notes what was found, and
//! hands messages to the outbox. What is worth a message is decided by the rules of `reports::alert`.

mod alert;
mod form;
mod incident;
mod m0009_alerts;
mod message;
mod pages;
pub(crate) mod reading;
mod routes;
mod row;
mod shipped;
mod taken;
mod trial;
mod view;
mod work;

use actix_web::web;
use rest::feature::Feature;
use state::migration::Migration;

use crate::Lake;

/// Bytes of a request.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Alerts and what they found.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("alerts")
    .with_routes(|config, _| {
        config
            .route("/alerts", web::get().to(pages::list))
            .route("/alerts/new", web::get().to(form::new_form))
            .route("/alerts/new", web::post().to(form::create))
            .route("/alerts/{id}", web::get().to(pages::one))
            .route("/alerts/{id}", web::post().to(pages::act))
            .route("/alerts/{id}/edit", web::get().to(form::edit_form))
            .route("/alerts/{id}/edit", web::post().to(form::edit))
            .service(routes::list_alerts)
            .service(routes::create_alert)
            .service(routes::try_alert)
            .service(routes::get_alert)
            .service(routes::change_alert)
            .service(routes::remove_alert)
            .service(routes::pause_alert)
            .service(routes::resume_alert)
            .service(routes::list_evaluations)
            .service(routes::list_incidents)
            .service(routes::acknowledge_incident)
            .service(routes::snooze_incident)
            .service(routes::resolve_incident);
    })
    .with_migrations(&[Migration { name: "m0009_alerts", up: |m| Box::pin(m0009_alerts::up(m)) }])
    .with_tasks(work::register);
