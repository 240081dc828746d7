//! Reports that are sent by themselves: dashboards of a period that is over, to recipients, at times.
//!
//! A schedule's time begins a run for each period that is due; a run asks the dashboard's questions with the owner's rights
//! of that moment, keeps its files, and hands a delivery for each recipient to the outbox. Each step is a job: a process
//! that ends leaves it to the next.

mod drawn;
mod files;
mod form;
mod m0008_reports;
mod pages;
mod report;
mod routes;
mod row;
mod run;
mod schedule;
mod schedule_routes;
mod unsubscribe;
mod view;
mod work;

use actix_web::web;
use reports::Recurrence;
use rest::{feature::Feature, principal::Principal, problem::Problem};
use serde::{Deserialize, Serialize};
use state::{audit::AuditOrigin, migration::Migration};

pub use files::{FOLDER, RunFiles};
pub(crate) use form::mendable;
pub(crate) use pages::{Asked, Fields, on_to, opened, page_of, posted, value};
pub use report::{NewReport, Recipient};
pub(crate) use run::failed_at;
pub(crate) use work::mail_address;

use schedule::Missed;

use crate::Lake;

/// Bytes of a request.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Reports and their schedules.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("reporting")
    .with_routes(|config, _| {
        config
            .route("/reports", web::get().to(pages::list))
            .route("/reports/new", web::get().to(form::new_form))
            .route("/reports/new", web::post().to(form::create))
            .route("/reports/{id}", web::get().to(pages::one))
            .route("/reports/{id}", web::post().to(pages::act))
            .route("/reports/{id}/edit", web::get().to(form::edit_form))
            .route("/reports/{id}/edit", web::post().to(form::edit))
            .route("/unsubscribe/{token}", web::get().to(unsubscribe::ask))
            .route("/unsubscribe/{token}", web::post().to(unsubscribe::leave))
            .service(routes::list_reports)
            .service(routes::create_report)
            .service(routes::get_report)
            .service(routes::change_report)
            .service(routes::remove_report)
            .service(routes::pause_report)
            .service(routes::resume_report)
            .service(routes::run_report)
            .service(routes::list_runs)
            .service(routes::get_run)
            .service(routes::send_run_again)
            .service(routes::get_run_file)
            .service(routes::preview_report)
            .service(schedule_routes::list_schedules)
            .service(schedule_routes::create_schedule)
            .service(schedule_routes::change_schedule)
            .service(schedule_routes::remove_schedule)
            .service(schedule_routes::next_times);
    })
    .with_migrations(&[Migration { name: "m0008_reports", up: |m| Box::pin(m0008_reports::up(m)) }])
    .with_tasks(work::register);

/// `[reports]`: who gets them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Domains whose addresses get reports though they are no users'.
    pub recipient_domains: Vec<String>,
}

/// What reports need besides the lake. Clones share it.
#[derive(Debug, Clone)]
pub struct Reporting {
    pub files: RunFiles,
    pub links: delivery::Links,
    /// In lower case.
    pub recipient_domains: Vec<String>,
}

/// Adds a report with its schedule, and makes it once at once.
///
/// # Errors
/// When the report or the schedule is refused.
pub async fn schedule_and_run(
    lake: &Lake,
    owner: &Principal,
    origin: &AuditOrigin,
    new: NewReport,
    recurrence: Recurrence,
) -> Result<(), Problem> {
    new.check(lake, owner).await?;
    schedule::check(&recurrence, lake, new.zone(lake))?;
    let report = report::create(lake, owner, origin, new).await?;
    schedule::create(lake, &report, recurrence, Missed::default()).await?;
    routes::run_now(lake, owner, &report, false).await.map(drop)
}
