//! A browser sends the session cookie also when another site makes it ask. What changes something is therefore
//! taken only from our own pages.

use actix_web::{
    HttpRequest,
    http::header::{HOST, ORIGIN},
};

use super::proxies::is_https;
use crate::problem::{Code, Problem};

/// What the browser says about where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FetchSite {
    Own,
    Other,
    /// No browser of this decade.
    Unsaid,
}

/// For requests that the cookie authenticates: unsafe methods must come from our own pages.
pub(super) fn require(request: &HttpRequest) -> Result<(), Problem> {
    if request.method().is_safe() || site_of(request) == FetchSite::Own {
        Ok(())
    } else {
        Err(refusal())
    }
}

/// For sign-in, which programs use too: refused only when a browser says that another site asks.
pub fn refuse_cross_site(request: &HttpRequest) -> Result<(), Problem> {
    if site_of(request) == FetchSite::Other { Err(refusal()) } else { Ok(()) }
}

fn refusal() -> Problem {
    Problem::forbidden(Code::CrossSiteRequest, "this request must come from the same origin")
}

fn site_of(request: &HttpRequest) -> FetchSite {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = header("sec-fetch-site") {
        // `none`: the person typed the address or followed a bookmark.
        return if matches!(site, "same-origin" | "none") {
            FetchSite::Own
        } else {
            FetchSite::Other
        };
    }
    if !request.headers().contains_key(ORIGIN) {
        return FetchSite::Unsaid;
    }
    // HTTP/2 names the host in the request's target.
    let target = request.head().uri.authority().map(|authority| authority.as_str());
    let host = header(HOST.as_str()).or(target);
    // A page that came without TLS may have been written by anybody on the way.
    let ours = if is_https(request) { "https" } else { "http" };
    let origin = header(ORIGIN.as_str()).and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((scheme, origin)), Some(host))
            if scheme.eq_ignore_ascii_case(ours) && origin.eq_ignore_ascii_case(host) =>
        {
            FetchSite::Own
        }
        _ => FetchSite::Other,
    }
}
