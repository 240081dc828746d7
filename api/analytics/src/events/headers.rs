//! From an HTTP request to a delivery: media type and compression, and what is said where nothing is taken.

use actix_web::{
    HttpRequest,
    http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
};
use ingest::{
    decode::{Coding, EventFormat},
    intake::Refused,
};
use rest::{body::unsupported_coding, problem::Problem};
use serde_json::{Map, Value};

use super::binary;

/// What the headers say of a body.
#[derive(Debug, PartialEq)]
pub(super) struct BodyFormat {
    pub(super) form: EventFormat,
    pub(super) coding: Coding,
    pub(super) members: Option<Map<String, Value>>,
}

pub(super) fn body_format(request: &HttpRequest) -> Result<BodyFormat, Problem> {
    let headers = request.headers();
    let media_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    let coding = headers.get(CONTENT_ENCODING).map_or(Ok(""), HeaderValue::to_str);
    let coding = coding.ok().and_then(Coding::parse).ok_or_else(unsupported_coding)?;
    // The media type of the data says nothing of the mode: headers with the members do.
    let structured =
        media_type.as_deref().is_some_and(|name| name.starts_with("application/cloudevents"));
    let members = if structured { None } else { binary::members(headers)? };
    let form = match (&members, media_type.as_deref()) {
        // The last is what curl sends with -d and no header.
        (
            Some(_),
            None | Some("application/json" | "text/json" | "application/x-www-form-urlencoded"),
        ) => EventFormat::Json,
        (Some(_), Some(other)) if other.ends_with("+json") => EventFormat::Json,
        (Some(_), Some(other)) => {
            return Err(Problem::unsupported_media_type(format!(
                "the data of an event is application/json, not `{other}`"
            )));
        }
        (None, media_type) => form(media_type)?,
    };
    Ok(BodyFormat { form, coding, members })
}

fn form(media_type: Option<&str>) -> Result<EventFormat, Problem> {
    match media_type {
        None
        | Some(
            "application/json"
            | "application/cloudevents+json"
            | "application/cloudevents-batch+json"
            // What curl sends with -d and no header.
            | "application/x-www-form-urlencoded",
        ) => Ok(EventFormat::Json),
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => Ok(EventFormat::Ndjson),
        Some(other) => Err(Problem::unsupported_media_type(format!(
            "`{other}` is not one of application/json, application/x-ndjson, \
             application/cloudevents+json, application/cloudevents-batch+json"
        ))),
    }
}

/// Too much waits, or nothing can be written: the sender is told when to come back.
pub fn refused(refused: Refused) -> Problem {
    let problem = match refused {
        Refused::Busy => Problem::too_many_requests(1),
        Refused::Overloaded | Refused::Broken => Problem::unavailable(2),
        Refused::DiskFull | Refused::LogFull => Problem::unavailable(10),
    };
    problem.explained(refused.to_string()).with("reason", refused.as_str())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HttpRequest {
        pairs.iter().fold(TestRequest::post(), |r, pair| r.insert_header(*pair)).to_http_request()
    }

    #[test]
    fn headers_say_what_a_body_is() {
        for (pairs, form, coding, is_binary) in [
            (&[][..], EventFormat::Json, Coding::Identity, false),
            (
                &[("content-type", "application/x-ndjson")],
                EventFormat::Ndjson,
                Coding::Identity,
                false,
            ),
            (
                &[
                    ("content-type", "Application/JSON; charset=utf-8"),
                    ("content-encoding", "zstd"),
                ],
                EventFormat::Json,
                Coding::Zstd,
                false,
            ),
            (&[("ce-id", "1")], EventFormat::Json, Coding::Identity, true),
            (
                &[("ce-id", "1"), ("content-type", "application/vnd.x+json")],
                EventFormat::Json,
                Coding::Identity,
                true,
            ),
            // A structured event beside stray headers is still structured.
            (
                &[("ce-id", "1"), ("content-type", "application/cloudevents+json")],
                EventFormat::Json,
                Coding::Identity,
                false,
            ),
        ] {
            let found = body_format(&headers(pairs)).unwrap();
            assert_eq!((found.form, found.coding), (form, coding), "{pairs:?}");
            assert_eq!(found.members.is_some(), is_binary, "{pairs:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_415() {
        for pairs in [
            &[("content-type", "text/xml")][..],
            &[("ce-id", "1"), ("content-type", "text/plain")],
            &[("ce-id", "1"), ("content-type", "application/x-ndjson")],
            &[("content-encoding", "br")],
        ] {
            assert_eq!(body_format(&headers(pairs)).unwrap_err().status, 415, "{pairs:?}");
        }
    }
}
