//! `/v1/queries`: queries that run in the background and whose answers are fetched later, the history, and what
//! runs now.

use super::contract::QueryAnswer;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, post, web};
use chrono::TimeDelta;
use pipeline::Lakehouse;
use query::{
    Cost, QueryError, QueryMode, QuerySummary, Reason, Request,
    answer_store::{AnswerStore, Rights},
    pool::{FairPermit, FairSemaphore, WorkerMessage},
};
use rest::{
    body::Body,
    principal::{Ability, Authorized, Principal, RunSql},
    problem::{Code, Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use state::{
    clock::Clock,
    jobs::{JobError, JobKind, Repeat},
    store::{Store, StoreError},
};
use utoipa::{IntoParams, ToSchema};

use super::{
    BODY_BYTES_MAX, QueryBody,
    answer::respond,
    body::{AnswerOptions, Csv, Int64},
    history::{self, Entry, HistoryFilter, Status},
    problem, reach,
    running::{Runner, RunningQuery},
};
use crate::{Lake, persons};

/// Where queries in the background run and put their answers. Clones share them.
#[derive(Debug, Clone)]
pub struct Background {
    stored: AnswerStore,
    turns: FairSemaphore,
}

/// Answers are kept so long.
const KEPT: TimeDelta = TimeDelta::hours(24);
/// Queries that may wait for their turn: of one organization, and of all.
const WAITING_EACH: usize = 20;
const WAITING_ALL: usize = 200;
/// How often a query is begun anew when its cut is not readable any more, since it waited so long.
const ATTEMPTS: u32 = 3;
const LIMIT: u64 = 100;
const LIMIT_MAX: u64 = 1_000;
/// How often ended queries are written to the history, and how often it is tidied up: also after so many bytes.
const WRITE_EVERY: Duration = Duration::from_secs(1);
const TIDY_EVERY: Duration = Duration::from_secs(600);
const TIDY_BYTES: usize = 4 << 20;

/// Which queries, newest first.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParameters {
    pub status: Option<Status>,
    /// At most 1,000; 100 unless this says otherwise.
    pub limit: Option<u64>,
    /// `next` of the answer before.
    pub cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueryList {
    pub queries: Vec<Entry>,
    /// The `cursor` of the next page; null at the end.
    pub next: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultParameters {
    #[param(value_type = Option<String>)]
    pub format: Option<query::AnswerFormat>,
    pub csv: Option<Csv>,
    pub int64: Option<Int64>,
}

impl Background {
    /// At most `at_once` queries run in the background at once, so that the others find a worker.
    pub fn new(stored: AnswerStore, at_once: usize) -> Self {
        Self { stored, turns: FairSemaphore::new(at_once.max(1), WAITING_EACH, WAITING_ALL) }
    }

    /// Runs a query when its turn has come, and keeps its answer.
    async fn run(
        &self,
        turn: &mut FairPermit,
        running: &mut RunningQuery,
        mut request: Request,
        has_cut: bool,
        lakehouse: &Lakehouse,
        bytes_max: u64,
    ) -> Result<QuerySummary, QueryError> {
        tokio::select! {
            biased;
            () = running.stopped() => {
                return Err(QueryError::new(Reason::Canceled, "the query was stopped"));
            }
            () = turn.come() => {}
        }
        let mut attempt = 1;
        loop {
            // What is read is what is there when it is its turn; of an earlier cut, too, from the files of now.
            let (log, lsn) = (request.cut.log, request.cut.lsn);
            let newest = lakehouse.cut();
            let cut = if has_cut { newest.back_to(log, lsn) } else { Ok(newest) };
            request.cut =
                cut.map_err(|error| QueryError::new(Reason::Unavailable, error.to_string()))?;
            let erasures = lakehouse.changes().erasures();
            let mut outcome = self.attempt(running, request.clone(), bytes_max).await;
            if outcome.is_ok() && lakehouse.changes().erasures() != erasures {
                let message = "persons were erased while the query ran; ask again";
                let again = Err(QueryError::new(Reason::Unavailable, message));
                outcome = self.stored.remove(running.id()).await.and(again);
            }
            match &outcome {
                Err(error)
                    if matches!(error.reason, Reason::Unavailable | Reason::Busy)
                        && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                _ => return outcome,
            }
        }
    }

    async fn attempt(
        &self,
        running: &mut RunningQuery,
        request: Request,
        bytes_max: u64,
    ) -> Result<QuerySummary, QueryError> {
        let rights = Rights::of(&request);
        running.begin(request).await?;
        let mut keeping = self.stored.begin(running.id(), &rights, bytes_max).await?;
        let outcome = loop {
            match running.piece().await {
                WorkerMessage::Rows(rows) => {
                    if let Err(error) = keeping.write(rows).await {
                        break Err(error);
                    }
                }
                WorkerMessage::Progress(_) => {}
                WorkerMessage::Failed(error) => break Err(error),
                WorkerMessage::Ended(ended) => break Ok(ended),
            }
        };
        match outcome {
            Ok(ended) => keeping.close().await.map(|()| ended),
            Err(error) => {
                keeping.abort().await;
                Err(error)
            }
        }
    }
}

/// Writes what ended to the history, until the future is dropped.
pub(super) async fn keep(lake: &Lake) {
    let failed = |error: StoreError| {
        tracing::error!(error = &error as &dyn std::error::Error, "the history of queries");
    };
    loop {
        if lake.runner.has_written(TIDY_BYTES) {
            lake.state.jobs.hurry(TIDY.name).await.unwrap_or_else(failed);
        }
        tokio::time::sleep(WRITE_EVERY).await;
        lake.runner.write_ended(&lake.state.store).await.unwrap_or_else(failed);
    }
}

/// The job that removes what is old.
const TIDY: JobKind = JobKind::new("history_tidy");

/// Removes what is old from the history, again and again.
pub(super) fn register_tidy(lake: &Lake) {
    let shared = lake.clone();
    lake.state.jobs.repeat(TIDY, Repeat::Every(TIDY_EVERY), TIDY_EVERY, move |_| {
        let Lake { background, state, .. } = shared.clone();
        async move {
            let tidied = tidy(&background, &state.store, &state.clock).await;
            tidied.map(|()| Value::Null).map_err(|error| JobError::of(&error))
        }
    });
}

/// Answers that are kept too long, or that have no room in the history, go first; then the entries.
async fn tidy(background: &Background, store: &Store, clock: &Clock) -> Result<(), StoreError> {
    loop {
        let mut found = history::expired(store, clock.now()).await?;
        found.extend(history::kept_beyond_room(store).await?);
        let mut gone = Vec::new();
        for mut entry in found {
            if background.stored.remove(&entry.query_id).await.is_ok() {
                entry.kept_until = None;
                gone.push(entry);
            }
        }
        if gone.is_empty() {
            break;
        }
        history::write(store, &gone).await?;
    }
    history::prune(store, clock.now()).await
}

/// Starts a query in the background.
#[utoipa::path(
    operation_id = "start_background_query",
    tag = "query",
    request_body = QueryBody,
    responses(
        (status = 202, description = "It runs; `Location` says where to look.", body = Entry),
        (status = 400, body = Problem), Denied,
        (status = 429, description = "Too many of yours wait already; see `Retry-After`.", body = Problem),
        (status = 503, description = "Too many wait already; see `Retry-After`.", body = Problem),
    ),
)]
#[post("/v1/queries")]
pub(crate) async fn start_query(
    principal: Authorized<RunSql>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let body: QueryBody = body.json(&principal).await?;
    let has_cut = body.as_of.is_some();
    let deadline_ms = lake.limits.background_deadline_seconds * 1_000;
    let request = lake.question(&principal, body, deadline_ms, QueryMode::Rows).await?;
    let request = Request { gives_way: true, ..request };
    let mut turn = lake.background.turns.enter(&request.reach).map_err(problem)?;
    let mut running = lake.runner.admit(&principal, &request)?;
    let entry = running.entry();
    history::write(&lake.state.store, std::slice::from_ref(&entry)).await?;
    lake.runner.note_written(std::slice::from_ref(&entry));
    running.note_listed();
    let tasks = lake.runner.tasks.clone();
    tasks.run("query", async move {
        let bytes_max = lake.limits.result_mib << 20;
        let outcome = lake
            .background
            .run(&mut turn, &mut running, request, has_cut, &lake.lakehouse, bytes_max)
            .await;
        if outcome.is_ok() {
            running.keep_until(lake.state.clock.now() + KEPT);
        }
        running.end(outcome.as_ref());
    });
    let place = format!("/v1/queries/{}", entry.query_id);
    Ok(HttpResponse::Accepted().insert_header((header::LOCATION, place)).json(entry))
}

/// Queries that run or ran, newest first: the own ones, for administrators all.
#[utoipa::path(
    operation_id = "list_background_queries",
    tag = "query",
    params(ListParameters),
    responses(
        (status = 200, body = QueryList), (status = 400, body = Problem), Denied, (status = 429, body = Problem), (status = 503, body = Problem),
    ),
)]
#[get("/v1/queries")]
pub(crate) async fn list_queries(
    principal: Authorized<RunSql>,
    asked: Result<web::Query<ListParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let _place = lake
        .runner
        .lists
        .take((&*principal).into())
        .map_err(|full| full.problem("requests read the history", 1))?;
    let invalid = |detail: String| Problem::invalid_parameters(detail);
    let asked = parameters(asked)?;
    let limit = asked.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(invalid(format!("`limit` must be 1 to {LIMIT_MAX}")));
    }
    let after = asked.cursor.as_deref().map(|cursor| {
        let (at, id) = cursor.split_once('.')?;
        Some((at.parse().ok()?, id.to_owned()))
    });
    let after = after
        .map(|after| after.ok_or_else(|| invalid("`cursor` is not one of ours".into())))
        .transpose()?;
    lake.runner.write_ended(&lake.state.store).await?;
    let own = (!principal.may(Ability::Administer)).then(|| principal.id.clone());
    let first = after.is_none();
    let filter = HistoryFilter {
        principal_id: own.as_deref(),
        status: asked.status,
        after,
        limit: limit + 1,
    };
    let mut past = history::list(&lake.state.store, &filter).await?;
    let next = (past.len() as u64 > limit).then(|| {
        past.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        past.last()
            .map(|entry| format!("{}.{}", entry.started_at.timestamp_micros(), entry.query_id))
    });
    // Those in the background are in the history from their beginning.
    let mut queries = lake.runner.running(|entry| {
        first
            && own.as_deref().is_none_or(|own| own == entry.principal_id)
            && asked.status.is_none_or(|status| status == entry.status)
    });
    past.retain(|entry| !matches!(entry.status, Status::Queued | Status::Running));
    queries.append(&mut past);
    Ok(HttpResponse::Ok().json(QueryList { queries, next: next.flatten() }))
}

/// A query that one may see.
async fn visible(
    id: &str,
    principal: &Principal,
    runner: &Runner,
    store: &Store,
) -> Result<Entry, Problem> {
    let live = runner.running(|entry| entry.query_id == id).pop();
    let entry = match live {
        Some(entry) => Some(entry),
        None => {
            runner.write_ended(store).await?;
            history::find(store, id).await?
        }
    };
    let own =
        |entry: &Entry| entry.principal_id == principal.id || principal.may(Ability::Administer);
    entry.filter(own).ok_or_else(|| Problem::not_found("there is no such query"))
}

/// How a query goes, or went.
#[utoipa::path(
    operation_id = "get_background_query",
    tag = "query",
    params(("id" = String, Path)),
    responses(
        (status = 200, body = Entry), Denied,
        (status = 404, body = Problem),
    ),
)]
#[get("/v1/queries/{id}")]
pub(crate) async fn get_query_state(
    principal: Authorized<RunSql>,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(visible(&id, &principal, &lake.runner, &lake.state.store).await?))
}

/// Stops a query that runs; of one that is done, removes the kept answer.
#[utoipa::path(
    operation_id = "stop_background_query",
    tag = "query",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "It is stopped, or its answer is gone."),
        Denied, (status = 404, body = Problem),
    ),
)]
#[delete("/v1/queries/{id}")]
pub(crate) async fn stop_query(
    principal: Authorized<RunSql>,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let mut entry = visible(&id, &principal, &lake.runner, &lake.state.store).await?;
    if !lake.runner.stop(&id) && entry.kept_until.is_some() {
        lake.background.stored.remove(&id).await.map_err(problem)?;
        entry.kept_until = None;
        history::write(&lake.state.store, &[entry]).await?;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// The answer of a query that ran in the background, in any format, for 24 hours.
#[utoipa::path(
    operation_id = "get_background_query_result",
    tag = "query",
    params(("id" = String, Path), ResultParameters),
    responses(
        (status = 200, description = "The rows, in the form that was asked for.", content(
            (QueryAnswer = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
            (String = "application/vnd.apache.arrow.stream"), (String = "application/vnd.apache.parquet"))), Denied, (status = 404, description = "No such query, or no kept answer that one may see.", body = Problem),
        (status = 409, description = "It is not done yet, or failed: `query_not_done`, or the code of its failure.", body = Problem),
    ),
)]
#[get("/v1/queries/{id}/result")]
pub(crate) async fn get_result(
    principal: Authorized<RunSql>,
    request: HttpRequest,
    id: web::Path<String>,
    asked: Result<web::Query<ResultParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let entry = visible(&id, &principal, &lake.runner, &lake.state.store).await?;
    match entry.status {
        Status::Done => {}
        Status::Queued | Status::Running => {
            return Err(Problem::conflict(Code::QueryNotDone, "the query is not done yet"));
        }
        Status::Failed | Status::Canceled | Status::Abandoned => {
            let detail = entry.detail.clone().unwrap_or_default();
            let failed = Problem::conflict(Code::QueryFailed, detail);
            return Err(failed.with("query_code", entry.code.clone()));
        }
    }
    let gone = || {
        let detail =
            "the answer of this query is not kept, or holds more than you may see now: ask again";
        Problem::not_found(detail)
    };
    if entry.kept_until.is_none() {
        return Err(gone());
    }
    let ResultParameters { format, csv, int64 } = asked;
    let body = QueryBody { format, csv, int64, ..QueryBody::default() };
    let written: AnswerOptions = body.written(&request);
    let cost = Cost {
        rows_scanned: entry.rows_scanned,
        bytes_scanned: entry.bytes_scanned,
        memory_bytes: entry.memory_bytes,
        ..Cost::default()
    };
    let (rows, truncated) = (entry.rows, entry.truncated);
    let ended = QuerySummary { rows, truncated, cost, ..QuerySummary::default() };
    // A grant that was taken back, or another role, holds for what was computed before, too.
    let persons = persons::are_shown_to(&lake.state.store, &principal).await?;
    let reader = Rights { reach: reach(&principal), persons };
    let pieces = lake.background.stored.pieces(&id, &reader, ended).await.map_err(problem)?;
    let pieces = pieces.ok_or_else(gone)?;
    respond(written, lake.runner.replay(&principal, entry, pieces.into()), None).await
}
