//! `/v1/erasures` and `aihub erase`: persons leave tables, log and dead letters, and what is sent or restored
//! later does not bring them back. What they used is still counted.

mod persons;
mod work;

use state::jobs::Job;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::header, post, web};
use ingest::erasure::{ErasedPersons, Person};
use rest::{
    body::Body,
    feature::Feature,
    principal::{Administer, Authorized},
    problem::{Denied, Problem},
};
use serde_json::json;
use state::{
    audit::{self, AuditOrigin},
    jobs::{self, JobError, JobKind, JobState, NewJob},
};

pub(crate) use persons::Persons;
pub(crate) use work::{Erasing, ErasureContext, grace, keep_away};

use crate::server::System;
use work::{EraseError, acts};

const BODY_BYTES_MAX: usize = 2 << 20;

/// Completes an erasure that was broken off when a process ended.
async fn run(system: &System) {
    if let Err(error) = site(system).resume().await {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "persons are not erased yet: run `aihub erase`");
    }
}

fn site(system: &System) -> ErasureContext<'_> {
    ErasureContext {
        config: &system.config,
        clock: &system.state.clock,
        lakehouse: &system.lake.lakehouse,
        engine: &system.lake.engine,
        program: &system.program,
        grace: grace(&system.config),
    }
}

/// Persons, erased.
pub(crate) const FEATURE: Feature<System> = Feature::new("erasure")
    .with_routes(|config, _| {
        config.service(erase_persons);
    })
    .with_tasks(|system| {
        register(system);
        let system = system.clone();
        system.state.tasks.clone().run("erasure", async move { run(&system).await });
    });

/// The job that erases those whose digests are its payload.
const JOB: JobKind = JobKind { backoff: pause, attempts_max: 20, ..JobKind::new("erasure") };
/// An answer is waited for so long; then it says where to look.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What was not erased is tried again for a day.
fn pause(attempts: u32) -> Option<Duration> {
    let minutes = u64::from(attempts.pow(2)).min(240);
    (attempts < 20).then(|| Duration::from_secs(60 * minutes))
}

fn register(system: &System) {
    let shared = system.clone();
    system.state.jobs.handle(JOB, move |job| {
        let system = shared.clone();
        async move {
            let [listed, persons] = ["listed", "persons"].map(|name| job.payload[name].clone());
            let unreadable = |_| JobError::permanent("the payload is not readable");
            let listed = ErasedPersons::parse(
                listed.to_string().as_bytes(),
                system.lake.lakehouse.pseudonyms(),
            );
            let listed = listed.map_err(|error| JobError::permanent(error.to_string()))?;
            let persons: usize = serde_json::from_value(persons).map_err(unreadable)?;
            let done = site(&system).erase_listed(listed, Some(persons)).await;
            let done = done.map_err(|error| JobError::of(&error))?;
            serde_json::to_value(done).map_err(unreadable)
        }
    });
}

/// Erases persons for good. An erasure takes as long as the longest query: the answer comes when nothing of them is left
/// in the data folder, or after 30 seconds with 202 and `Location`, the job to look at. What was accepted is done, also
/// after a restart.
#[utoipa::path(
    tag = "erasures",
    request_body = Persons,
    responses(
        (status = 200, description = "What was erased.", body = Erasing),
        (status = 202, description = "It takes longer: the job, whose `result` is what was erased.", body = Job),
        (status = 400, body = Problem), Denied,
        (status = 503, body = Problem),
    ),
)]
#[post("/v1/erasures")]
async fn erase_persons(
    admin: Authorized<Administer>,
    request: HttpRequest,
    system: web::Data<System>,
    body: Body<BODY_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    let body: Persons = body.json(&admin).await?;
    let persons = body.resolve(system.lake.lakehouse.pseudonyms())?;
    match body.dry_run {
        true => rehearse(system, persons).await,
        false => erase(&system, &persons, &admin.origin(&request)).await,
    }
}

async fn rehearse(
    system: web::Data<System>,
    persons: Vec<Person>,
) -> Result<HttpResponse, Problem> {
    let tasks = system.state.tasks.clone();
    let rehearsing = tasks.run("erasure", async move { site(&system).rehearse(&persons).await });
    match rehearsing.await {
        Ok(Some(Ok(done))) => Ok(HttpResponse::Ok().json(done)),
        Ok(Some(Err(EraseError::Busy))) => Err(Problem::unavailable(60)),
        Ok(Some(Err(error))) => {
            tracing::error!(error = &error as &dyn std::error::Error, "persons are not counted");
            Err(unfinished())
        }
        Ok(None) | Err(_) => Err(unfinished()),
    }
}

/// Writes down who is erased, as digests, and waits for the job a while.
async fn erase(
    system: &System,
    persons: &[Person],
    origin: &AuditOrigin,
) -> Result<HttpResponse, Problem> {
    let (store, now) = (&system.state.store, system.state.clock.now());
    let pseudonyms = system.lake.lakehouse.pseudonyms();
    let mut listed = ErasedPersons::nobody(pseudonyms);
    listed.add(persons, now.timestamp_micros(), pseudonyms);
    let write = store.write().await?;
    for act in acts(persons) {
        audit::append(&write, origin, act, now).await?;
    }
    let job = NewJob {
        kind: JOB.name,
        dedup_key: uuid::Uuid::new_v4().to_string(),
        payload: json!({"listed": listed, "persons": persons.len()}),
        run_at: now,
    };
    let id = jobs::enqueue(&write, &job, now).await?.ok_or_else(Problem::internal)?;
    write.commit().await?;
    system.state.jobs.wake();
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let job = jobs::find(store, id).await?.ok_or_else(Problem::internal)?;
        match job.state {
            JobState::Done => return Ok(HttpResponse::Ok().json(job.result)),
            JobState::Failed => return Err(unfinished()),
            JobState::Queued | JobState::Running if tokio::time::Instant::now() >= until => {
                let place = format!("/v1/admin/jobs/{id}");
                let mut accepted = HttpResponse::Accepted();
                return Ok(accepted.insert_header((header::LOCATION, place)).json(job));
            }
            JobState::Queued | JobState::Running => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn unfinished() -> Problem {
    Problem::unavailable(60).explained("the erasure was not completed; send it again")
}
