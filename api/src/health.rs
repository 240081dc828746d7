//! `/healthz`, `/readyz`, `/metrics`: for those who watch the process.

use actix_web::{HttpRequest, HttpResponse, route, web};
use metrics::gauge;
use rest::{
    feature::Feature,
    principal::{Ability, Gate, bearer_token},
    problem::{Code, Denied, Problem},
};
use state::ids::digest;

use crate::{config, server::System};

/// What those ask who watch the process.
pub(crate) const FEATURE: Feature<System> = Feature::new("health").with_routes(|config, _| {
    config.service(alive).service(ready).service(measurements);
});

/// The process runs.
#[utoipa::path(operation_id = "get_health", get, path = "/healthz", tag = "operation", responses((status = 200, description = "Alive.", body = String, content_type = "text/plain")))]
#[route("/healthz", method = "GET", method = "HEAD")]
async fn alive() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("ok\n")
}

/// The process can do its work: its state answers, its log can be written, and all of its tasks run.
#[utoipa::path(operation_id = "get_readiness", get, path = "/readyz", tag = "operation",
    responses((status = 200, description = "Ready.", body = String, content_type = "text/plain"), (status = 503, body = Problem)))]
#[route("/readyz", method = "GET", method = "HEAD")]
async fn ready(system: web::Data<System>) -> Result<HttpResponse, Problem> {
    system.state.store.ping().await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "not ready");
        Problem::unavailable(1)
    })?;
    if system.lake.lakehouse.is_broken() {
        return Err(Problem::unavailable(5).explained("the log cannot be written"));
    }
    let down = system.state.tasks.down();
    if !down.is_empty() {
        let detail = format!("begun again after a failure: {}", down.join(", "));
        return Err(Problem::unavailable(5).explained(detail));
    }
    Ok(HttpResponse::Ok().content_type("text/plain").body("ready\n"))
}

/// Counters and gauges in the Prometheus text format, for administrators and for who has `metrics.token`; for
/// everybody when `metrics.open` is set.
#[utoipa::path(operation_id = "get_prometheus_metrics", get, path = "/metrics", tag = "operation",
    responses(
        (status = 200, description = "Prometheus text format.", body = String, content_type = "text/plain"), Denied,
    ))]
#[route("/metrics", method = "GET", method = "HEAD")]
async fn measurements(
    request: HttpRequest,
    gate: web::Data<Gate>,
    system: web::Data<System>,
) -> Result<HttpResponse, Problem> {
    admit(&request, &gate, &system.config.metrics).await?;
    let standing = system.lake.lakehouse.standing();
    gauge!("ingest_lag_rows").set(standing.lag_rows as f64);
    gauge!("ingest_lag_seconds").set(standing.lag.as_secs_f64());
    gauge!("ingest_pending_bytes").set(standing.pending_bytes as f64);
    gauge!("ingest_arriving_bytes").set(standing.arriving_bytes as f64);
    gauge!("ingest_log_bytes").set(standing.log_bytes as f64);
    for (table, (files, bytes)) in standing.files {
        gauge!("lake_table_files", "table" => table.name()).set(files as f64);
        gauge!("lake_table_bytes", "table" => table.name()).set(bytes as f64);
    }
    let text = system.recorder.render();
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text))
}

async fn admit(
    request: &HttpRequest,
    gate: &Gate,
    settings: &config::Metrics,
) -> Result<(), Problem> {
    // Digests are compared: how long that takes says nothing about the token.
    let is_theirs = |token: &str| {
        let theirs = settings.token.reveal();
        !theirs.is_empty() && digest(token) == digest(theirs)
    };
    if settings.open || bearer_token(request).is_some_and(is_theirs) {
        return Ok(());
    }
    let principal = gate.admit(request).await?;
    if principal.may(Ability::Administer) {
        return Ok(());
    }
    let name = Ability::Administer.name();
    let detail = format!("this needs the permission `{name}`, or `metrics.token`");
    Err(Problem::forbidden(Code::Forbidden, detail).with("permission", name))
}
