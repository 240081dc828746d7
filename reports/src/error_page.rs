//! The page that says what went wrong.

use serde::Serialize;

use crate::template::fill;
use crate::words::Words;
use crate::{Error, Language};

/// What an error page says, in the reader's language. It must hold no detail of our insides.
#[derive(Debug, Clone)]
pub struct ErrorPage {
    pub language: Language,
    /// The HTTP status.
    pub status: u16,
    pub title: String,
    pub message: String,
    /// The request's id, for the support.
    pub request_id: Option<String>,
}

#[derive(Serialize)]
struct Values<'a> {
    lang: &'static str,
    words: &'static Words,
    status: u16,
    title: &'a str,
    message: &'a str,
    request_id: Option<&'a str>,
}

pub fn error_page(page: &ErrorPage) -> Result<String, Error> {
    fill(
        "error.html",
        &Values {
            lang: page.language.tag(),
            words: Words::of(page.language),
            status: page.status,
            title: &page.title,
            message: &page.message,
            request_id: page.request_id.as_deref(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_happened_and_escapes_it() {
        let html = error_page(&ErrorPage {
            language: Language::En,
            status: 404,
            title: "Not found".to_owned(),
            message: "There is no dashboard <i>x</i>.".to_owned(),
            request_id: Some("req_1".to_owned()),
        })
        .unwrap();
        assert!(html.contains("404") && html.contains("req_1"));
        assert!(html.contains("&lt;i&gt;x") && !html.contains("<script"));
    }
}
