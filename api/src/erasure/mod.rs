//! `/v1/erasures` and `aihub erase`: persons leave tables, log and dead letters, and what is sent or restored
//! later does not bring them back. What they used is still counted.

mod persons;
mod work;

use actix_web::{HttpRequest, HttpResponse, post, web};
use rest::{
    body::Body,
    feature::Feature,
    principal::{Administer, Authorized},
    problem::{Denied, Problem},
};

pub(crate) use persons::Persons;
pub(crate) use work::{Erasing, ErasureContext, grace, keep_away};

use crate::server::System;
use work::EraseError;

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
        let system = system.clone();
        system.state.tasks.clone().run("erasure", async move { run(&system).await });
    });

/// Erases persons for good. The answer comes when nothing of them is left in the data folder, which takes as long
/// as the longest query. An erasure whose answer is not waited for goes on.
#[utoipa::path(
    tag = "erasures",
    request_body = Persons,
    responses(
        (status = 200, description = "What was erased.", body = Erasing),
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
    let (origin, dry_run) = (admin.origin(&request), body.dry_run);
    let tasks = system.state.tasks.clone();
    let erasing = tasks.run("erasure", async move {
        if dry_run {
            site(&system).rehearse(&persons).await
        } else {
            site(&system).erase(&persons, &system.state.store, &origin).await
        }
    });
    match erasing.await {
        Ok(Some(Ok(done))) => Ok(HttpResponse::Ok().json(done)),
        Ok(Some(Err(EraseError::Busy))) => Err(Problem::unavailable(60)),
        Ok(Some(Err(error))) => {
            tracing::error!(error = &error as &dyn std::error::Error, "persons are not erased yet");
            Err(unfinished())
        }
        Ok(None) | Err(_) => Err(unfinished()),
    }
}

fn unfinished() -> Problem {
    Problem::unavailable(60).explained("the erasure was not completed; send it again")
}
