//! What a client is told when something is not done: RFC 9457 problem details with a stable `code`.

mod code;
mod denied;
mod page;
mod request_id;

use crate::schema::AnyObject;
use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    web,
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use code::Code;
pub use denied::Denied;
pub use request_id::{RequestId, stamp};

use state::store::StoreError;

/// The media type of a problem: JSON as RFC 9457 says it.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// An error as RFC 9457 says it. Members beside the standard ones (`position`, `hint`, `results` …) stand at
/// the top level.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:aihub:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub problem_type: Box<str>,
    #[schema(value_type = String)]
    pub title: &'static str,
    pub status: u16,
    /// Stable: programs decide by it.
    pub code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub detail: Option<Box<str>>,
    /// The request id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub instance: Option<Box<str>>,
    #[serde(flatten)]
    #[schema(value_type = AnyObject)]
    pub members: Map<String, Value>,
    #[serde(skip)]
    #[schema(ignore)]
    headers: Option<Box<Headers>>,
}

/// Headers of the answer. Boxed, since a problem is the error of most functions here, and should be small.
#[derive(Clone, Debug, Default, PartialEq)]
struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Problem {
    /// A problem without a detail. Its title is the standard phrase of the status, such as `Not Found`.
    pub fn new(status: StatusCode, code: Code) -> Self {
        Self {
            problem_type: format!("urn:aihub:problem:{}", code.as_str()).into(),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: None,
            instance: None,
            members: Map::new(),
            headers: None,
        }
    }

    /// 400
    pub fn bad_request(code: Code, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code).explained(detail)
    }

    /// 400, for the parameters of a request or of a query
    pub fn invalid_parameters(detail: impl Into<String>) -> Self {
        Self::bad_request(Code::InvalidParameters, detail)
    }

    /// 401, with `WWW-Authenticate: Bearer`
    pub fn unauthorized(code: Code, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code).explained(detail)
    }

    /// 403
    pub fn forbidden(code: Code, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code).explained(detail)
    }

    /// 404
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound).explained(detail)
    }

    /// 409
    pub fn conflict(code: Code, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code).explained(detail)
    }

    /// 413
    pub fn payload_too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::PayloadTooLarge).explained(detail)
    }

    /// 415
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::UnsupportedMediaType).explained(detail)
    }

    /// 429, with `Retry-After`
    pub fn too_many_requests(retry_after_s: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests).retried_after(retry_after_s)
    }

    /// 503, with `Retry-After`
    pub fn unavailable(retry_after_s: u64) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable).retried_after(retry_after_s)
    }

    /// 500. What happened is for the log, not for the client.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::InternalError)
    }

    /// Sets the detail: what exactly is wrong, in English.
    pub fn explained(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into().into());
        self
    }

    /// Adds a member beside the standard ones.
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.members.insert(member.to_owned(), value.into());
        self
    }

    /// Adds the header `Retry-After`: when to try again, in seconds from now.
    pub fn retried_after(self, seconds: u64) -> Self {
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds a header to the answer.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.get_or_insert_default().0.push((name, value));
        self
    }

    /// Sets `instance` to the id of the request.
    pub fn at(mut self, request: &RequestId) -> Self {
        self.instance = Some(request.as_str().into());
        self
    }
}

/// What is our fault is logged here, once, and the client learns only that it happened.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        if matches!(error, StoreError::Busy { .. }) {
            tracing::warn!(%detail, "relational state is busy");
            return Self::unavailable(1);
        }
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(%detail, %cause, "relational state failed");
        Self::internal()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.code.as_str())?;
        self.detail.iter().try_for_each(|detail| write!(f, ": {detail}"))
    }
}

/// For streams that fail midway.
impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        for header in self.headers.iter().flat_map(|headers| &headers.0) {
            response.insert_header(header.clone());
        }
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        let body = serde_json::to_vec(self).unwrap_or_default();
        response.content_type(CONTENT_TYPE).body(body)
    }
}

/// What stands behind the `?` of an address. A handler takes it as a `Result`, so that who asks is known first.
pub fn parameters<T>(asked: Result<web::Query<T>, actix_web::Error>) -> Result<T, Problem> {
    asked.map(web::Query::into_inner).map_err(|error| {
        let error = error.to_string();
        let reason = error.trim_start_matches("Query deserialize error: ");
        Problem::invalid_parameters(format!("a parameter of the address: {reason}"))
    })
}

#[cfg(test)]
mod tests;
