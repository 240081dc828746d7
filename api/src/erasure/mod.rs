//! `/v1/erasures` and `aihub erase`: persons leave tables, log and dead letters, and what is sent or restored
//! later does not bring them back. What they used is still counted.

mod persons;
mod work;

use std::sync::Arc;

use actix_web::{HttpRequest, web};
use tokio::sync::Mutex;

pub(crate) use persons::Persons;
pub(crate) use work::{EraseError, Erasing, Site, grace, save};

use crate::{
    principal::{Administer, Authorized},
    problem::{Problem, json_config},
    server::State,
};

const BODY_BYTES_MAX: usize = 2 << 20;

/// Erases beside a running server, one erasure at a time.
#[derive(Debug)]
pub(crate) struct Eraser {
    state: State,
    turn: Arc<Mutex<()>>,
}

impl Eraser {
    pub(crate) fn new(state: State) -> Self {
        Self { state, turn: Arc::default() }
    }
}

pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/v1/erasures")
            .app_data(json_config(BODY_BYTES_MAX))
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
        (status = 409, description = "Another erasure is at work.", body = Problem),
        (status = 503, body = Problem),
    ),
)]
pub(crate) async fn erase_persons(
    admin: Authorized<Administer>,
    request: HttpRequest,
    eraser: web::Data<Eraser>,
    body: web::Json<Persons>,
) -> Result<web::Json<Erasing>, Problem> {
    let state = eraser.state.clone();
    let persons = body.resolve(state.lakehouse.pseudonyms())?;
    let Ok(turn) = Arc::clone(&eraser.turn).try_lock_owned() else {
        return Err(Problem::conflict("erasure_at_work", "another erasure is at work"));
    };
    let (origin, dry_run) = (admin.origin(&request), body.dry_run);
    let erasing = actix_web::rt::spawn(async move {
        let _turn = turn;
        let site = Site {
            config: &state.config,
            clock: &state.clock,
            lakehouse: &state.lakehouse,
            program: Some(&state.program),
            grace: grace(&state.config),
        };
        if dry_run {
            site.rehearse(&persons).await
        } else {
            site.erase(&persons, &state.store, &origin).await
        }
    });
    match erasing.await {
        Ok(Ok(done)) => Ok(web::Json(done)),
        Ok(Err(EraseError::Busy)) => Err(Problem::unavailable(60)),
        Ok(Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "persons are not erased yet");
            Err(unfinished())
        }
        Err(_) => Err(unfinished()),
    }
}

fn unfinished() -> Problem {
    Problem::unavailable(60).explained("the erasure was not completed; send it again")
}
