//! `Idempotency-Key`: a request that changes something is done once, however often it is sent.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use actix_web::{
    Error, FromRequest, HttpResponse,
    body::{BodySize, BoxBody, MessageBody, to_bytes_limited},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::{
        Method,
        header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, SET_COOKIE},
    },
    middleware::Next,
    rt,
    web::{Bytes, Data},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{Stream, stream};
use state::{
    State,
    idempotency::{Begun, IdempotencyKey, KEYS_MAX, KeptAnswer},
};

use crate::{
    body::Body,
    principal::Gate,
    problem::{Code, Problem},
};

/// Before the end of a request is written down once more.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
];

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Beyond this a key is no key.
const KEY_BYTES_MAX: usize = 255;
/// Bodies beyond this carry no key.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Answers beyond this are not kept: the key is free again.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Requests with a key that one principal has under way: each costs two writes of the database.
const PARALLEL_OF_ONE: usize = 8;
/// Where a principal has too many keys: some of them are forgotten by then.
const TOO_MANY_RETRY_S: u64 = 3_600;

/// What is the same however often it is sent: events have ids of their own, and questions change nothing. Tokens are kept
/// nowhere.
const EXEMPT: [&str; 12] = [
    "/v1/events",
    "/v1/query",
    "/v1/metrics",
    "/v1/analyses",
    "/v1/auth",
    "/v1/hooks",
    "/v1/keys/verify",
    "/v1/quota",
    "/v1/alerts/trial",
    "/v1/admin/prices/preview",
    "/v1/dashboards/check",
    "/v1/schedules/next",
];

type PayloadStream = Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

/// What ids and answers are sealed with, and who has requests with a key under way.
#[derive(Debug)]
pub struct IdempotencySecret([u8; 32], Mutex<HashMap<String, usize>>);

/// A request that is under way; it ends when it is dropped.
struct Place(Data<IdempotencySecret>, String);

impl IdempotencySecret {
    /// With a secret of the data folder.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret, Mutex::default())
    }
}

/// A place of a principal; none where all are taken.
fn enter(secret: &Data<IdempotencySecret>, principal: &str) -> Option<Place> {
    let mut all = secret.1.lock().unwrap_or_else(PoisonError::into_inner);
    let count = all.entry(principal.to_owned()).or_default();
    if *count >= PARALLEL_OF_ONE {
        return None;
    }
    *count += 1;
    Some(Place(secret.clone(), principal.to_owned()))
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.0.1.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.1);
            }
        }
    }
}

/// Gives the first answer again to a request with the same key. For `App::wrap(middleware::from_fn(…))`, inside of all
/// others.
///
/// # Errors
/// Those of the handler.
pub async fn once<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let is_change = matches!(*request.method(), Method::POST | Method::PATCH);
    let is_exempt = EXEMPT.iter().any(|path| request.path().starts_with(path));
    let header = request.headers().get(HEADER).filter(|_| is_change && !is_exempt).cloned();
    let Some(header) = header.filter(|_| request.path().starts_with("/v1/")) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let (Some(gate), Some(state), Some(secret)) = (
        request.app_data::<Data<Gate>>().cloned(),
        request.app_data::<Data<State>>().cloned(),
        request.app_data::<Data<IdempotencySecret>>().cloned(),
    ) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    // What leads nowhere is not noted.
    if !request.request().resource_map().has_resource(request.path()) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    // Whoever is not known is told so by the handler, and nothing is kept for them.
    let Ok(principal) = gate.admit(request.request()).await else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let refused = |request: ServiceRequest, problem: Problem| {
        Ok(request.into_response(HttpResponse::from_error(problem)))
    };
    let Some(word) = key_of(&header) else {
        let detail = "`Idempotency-Key` is 1 to 255 visible characters";
        return refused(request, Problem::bad_request(Code::InvalidHeader, detail));
    };
    let Some(place) = enter(&secret, &principal.id) else {
        return refused(request, Problem::too_many_requests(1));
    };
    let (request, bytes) = match read(request, &principal).await {
        Ok(read) => read,
        Err((request, problem)) => return refused(request, problem),
    };
    let asked = format!("{} {}", request.method(), request.uri());
    let fingerprint = IdempotencyKey::fingerprint(&asked, &bytes);
    let key = IdempotencyKey::new(&secret.0, &principal.id, word);
    match key.begin(&state.store, &fingerprint, state.clock.now()).await {
        Ok(Begun::New) => {}
        Ok(Begun::Done(answer)) => return Ok(request.into_response(again(answer))),
        Ok(Begun::Other) => {
            let status = actix_web::http::StatusCode::UNPROCESSABLE_ENTITY;
            let detail = "this `Idempotency-Key` was used for another request";
            let problem = Problem::new(status, Code::IdempotencyKeyReused).explained(detail);
            return refused(request, problem);
        }
        Ok(Begun::UnderWay) => {
            let detail = "a request with this `Idempotency-Key` is under way, or was cut off, so that its outcome is not known";
            let problem = Problem::conflict(Code::RequestInProgress, detail).retried_after(1);
            return refused(request, problem);
        }
        Ok(Begun::TooMany) => {
            let detail = format!("at most {KEYS_MAX} keys are known at once, each for 24 hours");
            let problem = Problem::too_many_requests(TOO_MANY_RETRY_S).explained(detail);
            return refused(request, problem);
        }
        Err(error) => return refused(request, error.into()),
    }
    // A client that goes away does not stop what it began: its next attempt finds the answer.
    let working = rt::spawn(async move {
        let _place = place;
        finish(next, request, &key, &state).await
    });
    working.await.unwrap_or_else(|_| Err(Problem::internal().into()))
}

/// Reads the body, and puts it back.
async fn read(
    request: ServiceRequest,
    principal: &crate::principal::Principal,
) -> Result<(ServiceRequest, Bytes), (ServiceRequest, Problem)> {
    let (request, mut payload) = request.into_parts();
    let body = Body::<BODY_BYTES_MAX>::from_request(&request, &mut payload).await;
    let read = match body {
        Ok(body) => body.packed(principal, BODY_BYTES_MAX).await,
        Err(problem) => Err(problem),
    };
    match read {
        Ok(bytes) => {
            let pieces = stream::iter([Ok(bytes.clone())]);
            let payload = Payload::from(Box::pin(pieces) as PayloadStream);
            Ok((ServiceRequest::from_parts(request, payload), bytes))
        }
        Err(problem) => Err((ServiceRequest::from_parts(request, Payload::None), problem)),
    }
}

/// Does the request, and keeps its answer.
async fn finish<B: MessageBody + 'static>(
    next: Next<B>,
    request: ServiceRequest,
    key: &IdempotencyKey,
    state: &State,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let done = next.call(request).await;
    let response = match done {
        Ok(response) => response.map_into_boxed_body(),
        Err(error) => {
            if is_known(error.as_response_error().status_code().as_u16()) {
                free(key, state).await;
            }
            return Err(error);
        }
    };
    let status = response.status();
    if !status.is_success() {
        if is_known(status.as_u16()) {
            free(key, state).await;
        }
        return Ok(response);
    }
    let is_small = matches!(
        response.response().body().size(),
        BodySize::None | BodySize::Sized(..)
    ) && !matches!(response.response().body().size(), BodySize::Sized(bytes) if bytes > ANSWER_BYTES_MAX as u64);
    // A session is not given out again.
    if !is_small || response.headers().contains_key(SET_COOKIE) {
        free(key, state).await;
        return Ok(response);
    }
    let (request, response) = response.into_parts();
    let (response, body) = response.into_parts();
    let bytes = match to_bytes_limited(body, ANSWER_BYTES_MAX).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(Problem::internal().into()),
    };
    let header = |name: &HeaderName| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    let kept = KeptAnswer {
        status: response.status().as_u16(),
        headers: [CONTENT_TYPE, LOCATION].iter().filter_map(header).collect(),
        body: STANDARD.encode(&bytes),
    };
    ended(key, state, Some(&kept)).await;
    Ok(ServiceResponse::new(request, response.set_body(BoxBody::new(bytes))))
}

/// Whether a status says that nothing was done. An error of ours says nothing: the key stays taken.
fn is_known(status: u16) -> bool {
    status < 500 || status == 503
}

async fn free(key: &IdempotencyKey, state: &State) {
    ended(key, state, None).await;
}

/// Writes down how it ended, and tries that again where the database is busy.
async fn ended(key: &IdempotencyKey, state: &State, answer: Option<&KeptAnswer>) {
    for pause in PAUSES {
        match key.end(&state.store, answer).await {
            Ok(()) => return,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the end of a request with an idempotency key");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

fn again(answer: KeptAnswer) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(answer.status).unwrap_or_default();
    let mut response = HttpResponse::build(status);
    for (name, value) in answer.headers {
        response.insert_header((name, value));
    }
    let body = STANDARD.decode(answer.body).unwrap_or_default();
    response.insert_header((REPLAYED, "true")).body(body)
}

/// The key in a header: a text in double quotes, as the draft of the IETF writes it, or without them.
fn key_of(header: &HeaderValue) -> Option<&str> {
    let text = header.to_str().ok()?.trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let fits = (1..=KEY_BYTES_MAX).contains(&bare.len())
        && bare.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    fits.then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_visible_characters_with_or_without_quotes() {
        let key = |text| key_of(&HeaderValue::from_str(text).unwrap()).map(str::to_owned);
        assert_eq!(key("\"a-1\"").as_deref(), Some("a-1"));
        assert_eq!(key("a-1").as_deref(), Some("a-1"));
        let long = "x".repeat(256);
        for wrong in ["", "\"\"", "a b", "\"a", "ä", long.as_str()] {
            let header = HeaderValue::from_bytes(wrong.as_bytes()).unwrap();
            assert_eq!(key_of(&header), None, "{wrong}");
        }
    }
}
