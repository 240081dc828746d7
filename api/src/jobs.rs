//! `/v1/admin/jobs`: what is done in the background, and how it went.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use rest::{
    feature::Feature,
    principal::{Administer, Authorized},
    problem::{Code, Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::{
    audit::{self, AuditAction},
    jobs::{self, JobFilter, JobState},
};

use crate::server::System;
use state::jobs::Job;
use utoipa::ToSchema;

/// The jobs, as administrators see them.
pub(crate) const FEATURE: Feature<System> = Feature::new("jobs").with_routes(|config, _| {
    config.service(list_jobs).service(get_job).service(retry_job);
});

const LIMIT_DEFAULT: u64 = 100;
const LIMIT_MAX: u64 = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobParameters {
    kind: Option<String>,
    state: Option<String>,
    before: Option<i64>,
    limit: Option<u64>,
}

/// The jobs, the newest first. Those that ended are kept for 30 days, at most 1,000 of each kind.
#[utoipa::path(
    tag = "operation",
    params(
        ("kind" = Option<String>, Query, description = "Of this kind only."),
        ("state" = Option<String>, Query, description = "`queued`, `running`, `done` or `failed`."),
        ("before" = Option<i64>, Query, description = "With a smaller id: the next page."),
        ("limit" = Option<u64>, Query, description = "At most so many, to 1,000; 100 by default."),
    ),
    responses((status = 200, body = JobList), (status = 400, body = Problem), Denied),
)]
#[get("/v1/admin/jobs")]
async fn list_jobs(
    _: Authorized<Administer>,
    asked: Result<web::Query<JobParameters>, actix_web::Error>,
    system: web::Data<System>,
) -> Result<HttpResponse, Problem> {
    let JobParameters { kind, state, before, limit } = parameters(asked)?;
    let state = match state {
        Some(text) => Some(text.parse::<JobState>().map_err(|_| {
            let known: Vec<_> = JobState::ALL.iter().map(|state| state.as_str()).collect();
            Problem::invalid_parameters(format!("`state={text}` is not {}", known.join(", ")))
        })?),
        None => None,
    };
    let limit = limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let found = jobs::list(&system.state.store, &JobFilter { kind, state, before }, limit).await?;
    let kinds = system.state.jobs.kinds();
    Ok(HttpResponse::Ok().json(JobList { jobs: found, kinds }))
}

#[derive(Debug, Serialize, ToSchema)]
struct JobList {
    jobs: Vec<Job>,
    /// Those that this server does.
    kinds: Vec<&'static str>,
}

/// A job.
#[utoipa::path(
    tag = "operation",
    params(("id" = i64, Path)),
    responses((status = 200, body = Job), Denied, (status = 404, body = Problem)),
)]
#[get("/v1/admin/jobs/{id}")]
async fn get_job(
    _: Authorized<Administer>,
    id: web::Path<String>,
    system: web::Data<System>,
) -> Result<HttpResponse, Problem> {
    let job = match id.parse() {
        Ok(id) => jobs::find(&system.state.store, id).await?,
        Err(_) => None,
    };
    let absent = || Problem::not_found(format!("there is no job `{id}`"));
    Ok(HttpResponse::Ok().json(job.ok_or_else(absent)?))
}

/// Tries a failed job once more.
#[utoipa::path(
    tag = "operation",
    params(("id" = i64, Path)),
    responses((status = 202, body = Job), Denied, (status = 404, body = Problem), (status = 409, description = "It did not fail.", body = Problem)),
)]
#[post("/v1/admin/jobs/{id}/retry")]
async fn retry_job(
    principal: Authorized<Administer>,
    request: HttpRequest,
    id: web::Path<String>,
    system: web::Data<System>,
) -> Result<HttpResponse, Problem> {
    let absent = || Problem::not_found(format!("there is no job `{id}`"));
    let number: i64 = id.parse().map_err(|_| absent())?;
    let (store, now) = (&system.state.store, system.state.clock.now());
    let found = jobs::find(store, number).await?.ok_or_else(absent)?;
    let write = store.write().await?;
    if !jobs::retry(&write, number, now).await? {
        let detail =
            format!("the job is {}, and only a failed one is tried again", found.state.as_str());
        return Err(Problem::conflict(Code::JobNotFailed, detail));
    }
    let detail = json!({"kind": found.kind});
    let act = AuditAction { action: "job.retried", target: id.into_inner(), detail };
    audit::append(&write, &principal.origin(&request), act, now).await?;
    write.commit().await?;
    system.state.jobs.wake();
    Ok(HttpResponse::Accepted().json(jobs::find(store, number).await?))
}
