//! Every request has an id, so that an answer, a log line and an audit row can be found by each other.

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{
    Error, FromRequest, HttpMessage, HttpRequest, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    middleware::Next,
};
use tracing::Instrument;
use uuid::Uuid;

use super::{Problem, page};

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const LENGTH_MAX: usize = 64;

/// The id of the request: the client's `X-Request-Id` where it is a plain word, else one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

/// Gives the request its id, the answer the same as `X-Request-Id`, and a [`Problem`] the same as `instance`; a browser
/// gets a page of it.
/// Every answer also says how it may be handled. For `App::wrap(middleware::from_fn(problem::stamp))`.
pub async fn stamp<B>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error>
where
    B: MessageBody + 'static,
{
    let id = RequestId::of(request.headers().get(HEADER));
    request.extensions_mut().insert(id.clone());
    let path = path_in_log(request.match_pattern(), request.path());
    let span = tracing::info_span!("request", id = id.as_str(), method = %request.method(), path);
    let response = next.call(request).instrument(span).await?.map_into_boxed_body();
    let problem =
        response.response().error().and_then(|error| error.as_error::<Problem>()).cloned();
    let mut response = match problem {
        Some(problem) => {
            let problem = problem.at(&id);
            let html = page::shown(response.request(), &problem);
            response.into_response(html.unwrap_or_else(|| problem.error_response()))
        }
        None => response,
    };
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HEADER, value);
    }
    guard(response.headers_mut());
    Ok(response)
}

/// The path of a request as the log has it: a token of a mail is a secret.
fn path_in_log(pattern: Option<String>, path: &str) -> String {
    let secret = pattern.filter(|pattern| pattern.contains("{token}"));
    secret.unwrap_or_else(|| path.to_owned())
}

/// What we say is of one principal and of this moment: it is kept nowhere, unless the answer itself says otherwise.
/// And it is what its type says: no browser looks for a script in it.
fn guard(headers: &mut HeaderMap) {
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

impl RequestId {
    /// The text in the header `X-Request-Id` and in `instance`: 1 to 64 letters, digits, hyphens, underscores or dots.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(header: Option<&HeaderValue>) -> Self {
        let plain = |text: &&str| {
            (1..=LENGTH_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        match header.and_then(|value| value.to_str().ok()).filter(plain) {
            Some(text) => Self(text.into()),
            None => Self(Uuid::now_v7().to_string().into()),
        }
    }
}

impl FromRequest for RequestId {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = request.extensions().get::<Self>().cloned();
        ready(Ok(id.unwrap_or_else(|| Self::of(request.headers().get(HEADER)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_mails_are_not_in_the_log() {
        let logged = |pattern: &str, path| path_in_log(Some(pattern.to_owned()), path);
        assert_eq!(logged("/reset/{token}", "/reset/abc"), "/reset/{token}");
        assert_eq!(logged("/v1/reports/{id}", "/v1/reports/report_1"), "/v1/reports/report_1");
        assert_eq!(path_in_log(None, "/x"), "/x");
    }
}
