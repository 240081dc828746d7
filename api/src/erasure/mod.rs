//! `/v1/erasures` and `aihub erase`: persons leave tables, log and dead letters, and what is sent or restored
//! later does not bring them back. What they used is still counted.

mod persons;
mod work;

use actix_web::{HttpRequest, HttpResponse, web};

pub(crate) use persons::Persons;
use work::EraseError;
pub(crate) use work::{Erasing, Site, grace, keep_away};

use crate::{
    body::{Body, BodyLimit},
    principal::{Administer, Authorized},
    problem::Problem,
    server::State,
};

const BODY_BYTES_MAX: usize = 2 << 20;

/// Completes an erasure that was broken off when a process ended.
pub(crate) async fn run(state: &State) {
    if let Err(error) = site(state).resume().await {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "persons are not erased yet: run `aihub erase`");
    }
}

fn site(state: &State) -> Site<'_> {
    Site {
        config: &state.config,
        clock: &state.clock,
        lakehouse: &state.lakehouse,
        program: &state.program,
        grace: grace(&state.config),
    }
}

pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/v1/erasures")
            .app_data(BodyLimit(BODY_BYTES_MAX))
            .route(web::post().to(erase_persons)),
    );
}

/// Erases persons for good. The answer comes when nothing of them is left in the data folder, which takes as long
/// as the longest query. An erasure whose answer is not waited for goes on.
#[utoipa::path(
    post,
    path = "/v1/erasures",
    tag = "erasures",
    request_body = Persons,
    responses(
        (status = 200, description = "What was erased.", body = Erasing),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 503, body = Problem),
    ),
)]
pub(crate) async fn erase_persons(
    admin: Authorized<Administer>,
    request: HttpRequest,
    state: web::Data<State>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let body: Persons = body.json(&admin).await?;
    let persons = body.resolve(state.lakehouse.pseudonyms())?;
    let (origin, dry_run) = (admin.origin(&request), body.dry_run);
    let tasks = state.tasks.clone();
    let erasing = tasks.run("erasure", async move {
        if dry_run {
            site(&state).rehearse(&persons).await
        } else {
            site(&state).erase(&persons, &state.store, &origin).await
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
