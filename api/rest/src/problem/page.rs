//! What a browser shows when something is not done.

use actix_web::{HttpRequest, HttpResponse, ResponseError, http::header};
use pages::ErrorPage;

use super::Problem;
use crate::page::{html_page, language};

/// A problem as a page, where a person looks at the answer. Programs, and scripts of our own pages, do not ask for HTML.
pub(super) fn shown(request: &HttpRequest, problem: &Problem) -> Option<HttpResponse> {
    if !is_wanted(request) {
        return None;
    }
    let asked = url::form_urlencoded::parse(request.query_string().as_bytes())
        .find(|(name, _)| name == "lang")
        .map(|(_, lang)| lang.into_owned());
    // A form that was sent is not sent again by a link.
    let address = match request.method().is_safe() {
        true => request.uri().path_and_query().map_or("/", |address| address.as_str()),
        false => request.path(),
    };
    let plain = problem.error_response();
    let retry_after = plain.headers().get(header::RETRY_AFTER);
    let html = pages::error_page(&ErrorPage {
        language: language(request, asked.as_deref()),
        status: problem.status,
        code: problem.code.as_str(),
        detail: problem.detail.as_deref(),
        address,
        retry_after_s: retry_after.and_then(|seconds| seconds.to_str().ok()?.parse().ok()),
        request_id: problem.instance.as_deref(),
    });
    let html = html.inspect_err(|error| {
        tracing::error!(error = error as &dyn std::error::Error, "the page of an error");
    });
    let mut page = html_page(html.ok()?);
    *page.status_mut() = plain.status();
    for (name, value) in plain.headers() {
        if name != header::CONTENT_TYPE {
            page.headers_mut().insert(name.clone(), value.clone());
        }
    }
    page.headers_mut()
        .insert(header::VARY, header::HeaderValue::from_static("Accept, Accept-Language"));
    Some(page)
}

/// Whether HTML is named before JSON, as browsers do where a page is opened. Some programs name it by default, and send
/// a key.
fn is_wanted(request: &HttpRequest) -> bool {
    if request.headers().contains_key(header::AUTHORIZATION) {
        return false;
    }
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let first = accept.unwrap_or_default().split(',').find_map(|range| {
        match range.split(';').next().unwrap_or_default().trim() {
            "text/html" => Some(true),
            "application/json" | "application/problem+json" => Some(false),
            _ => None,
        }
    });
    first == Some(true)
}
