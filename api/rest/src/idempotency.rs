//! `Idempotency-Key`: a request that changes something is done once, however often it is sent.

use std::pin::Pin;

use actix_web::{
    Error, FromRequest, HttpResponse,
    body::{BoxBody, MessageBody, to_bytes_limited},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::{
        Method,
        header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION},
    },
    middleware::Next,
    rt,
    web::{Bytes, Data},
};
use futures::{Stream, stream};
use state::{
    State,
    idempotency::{Begun, IdempotencyKey, KeptAnswer},
    ids::digest,
};

use crate::{
    body::Body,
    principal::Gate,
    problem::{Code, Problem},
};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Beyond this a key is no key.
const KEY_BYTES_MAX: usize = 255;
/// Bodies beyond this carry no key.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Answers beyond this are not kept: the key is free again.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What is the same however often it is sent: events have ids of their own, and questions change nothing. Tokens are kept
/// nowhere.
const EXEMPT: [&str; 9] = [
    "/v1/events",
    "/v1/query",
    "/v1/metrics",
    "/v1/analyses",
    "/v1/auth",
    "/v1/hooks",
    "/v1/keys/verify",
    "/v1/quota",
    "/v1/alerts/trial",
];

type PayloadStream = Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

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
    let (Some(gate), Some(state)) =
        (request.app_data::<Data<Gate>>().cloned(), request.app_data::<Data<State>>().cloned())
    else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
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
    let (request, bytes) = match read(request, &principal).await {
        Ok(read) => read,
        Err((request, problem)) => return refused(request, problem),
    };
    let asked = format!("{} {}", request.method(), request.uri());
    let fingerprint: String = digest(&format!("{asked}\n{}", String::from_utf8_lossy(&bytes)))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let key = IdempotencyKey::new(&principal.id, word);
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
        Err(error) => return refused(request, error.into()),
    }
    // A client that goes away does not stop what it began: its next attempt finds the answer.
    let working = rt::spawn(async move { finish(next, request, &key, &state).await });
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
            free(key, state).await;
            return Err(error);
        }
    };
    // Another attempt may go better: nothing was done.
    let is_final = !matches!(response.status().as_u16(), 401 | 403 | 408 | 413 | 415 | 429 | 500..);
    if !is_final {
        free(key, state).await;
        return Ok(response);
    }
    let (request, response) = response.into_parts();
    // A refusal is written by others, outside of here.
    if let Some(problem) = response.error().and_then(|error| error.as_error::<Problem>()).cloned() {
        free(key, state).await;
        return Ok(ServiceResponse::new(request, HttpResponse::from_error(problem)));
    }
    let (response, body) = response.into_parts();
    let bytes = match to_bytes_limited(body, ANSWER_BYTES_MAX).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => {
            tracing::warn!(path = request.path(), "an answer is too large for its idempotency key");
            let detail = "it was done, but its answer is too large to be kept for an `Idempotency-Key`: ask without one";
            let problem = Problem::payload_too_large(detail);
            return Ok(ServiceResponse::new(request, HttpResponse::from_error(problem)));
        }
    };
    let header = |name: &HeaderName| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    let kept = KeptAnswer {
        status: response.status().as_u16(),
        headers: [CONTENT_TYPE, LOCATION].iter().filter_map(header).collect(),
        body: bytes.to_vec(),
    };
    if let Err(error) = key.end(&state.store, Some(&kept)).await {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "an answer is not kept for its idempotency key");
    }
    Ok(ServiceResponse::new(request, response.set_body(BoxBody::new(bytes))))
}

async fn free(key: &IdempotencyKey, state: &State) {
    if let Err(error) = key.end(&state.store, None).await {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "an idempotency key is not freed");
    }
}

fn again(answer: KeptAnswer) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(answer.status).unwrap_or_default();
    let mut response = HttpResponse::build(status);
    for (name, value) in answer.headers {
        response.insert_header((name, value));
    }
    response.insert_header((REPLAYED, "true")).body(answer.body)
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
