//! What asks the lake, and what is sent to it: events, dead letters, SQL, metrics and forecasts, dashboards, imports, and
//! who sees persons. It is the only crate beside the binary that links the engine.

mod alerts;
pub mod analyses;
mod annotations;
mod anomalies;
pub mod as_of;
mod churn;
pub mod dashboards;
mod dead_letters;
pub mod events;
mod forecasts;
pub mod imports;
mod lake;
pub mod metrics;
mod own_dashboards;
pub mod persons;
pub mod queries;
pub mod reporting;
pub mod rollups;
mod usage;

pub use lake::Lake;

use rest::feature::Feature;

/// The features of this crate.
pub const FEATURES: &[Feature<Lake>] = &[
    queries::FEATURE,
    persons::FEATURE,
    metrics::FEATURE,
    usage::FEATURE,
    rollups::FEATURE,
    analyses::FEATURE,
    dashboards::FEATURE,
    reporting::FEATURE,
    alerts::FEATURE,
    anomalies::FEATURE,
    churn::FEATURE,
    forecasts::FEATURE,
    annotations::FEATURE,
    own_dashboards::FEATURE,
    dead_letters::FEATURE,
    imports::FEATURE,
    events::FEATURE,
];

/// A database with the tables of this crate.
#[cfg(test)]
async fn scratch() -> state::scratch::Scratch {
    let own = rest::feature::migrations(FEATURES);
    let all: Vec<_> = state::migration::MIGRATIONS.iter().copied().chain(own).collect();
    state::scratch::Scratch::new(&all).await
}
