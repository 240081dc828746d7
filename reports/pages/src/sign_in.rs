//! The page where a person signs in.

use serde::Serialize;

use crate::{Error, Language, template::fill, words::Words};

/// What the sign-in page needs to know.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// The language of the page.
    pub language: Language,
    /// Why the last attempt failed, in the reader's language.
    pub error: Option<String>,
    /// Where to go afterwards, sent back with the form. The receiver must check that it is a path
    /// of its own.
    pub next: String,
    /// Whether everybody may register.
    pub can_register: bool,
}

#[derive(Serialize)]
struct Values<'a> {
    lang: &'static str,
    words: &'static Words,
    error: Option<&'a str>,
    next: &'a str,
    can_register: bool,
}

/// Renders a form that posts `email`, `password` and `next` to `/sign-in`.
pub fn sign_in_page(sign_in: &SignIn) -> Result<String, Error> {
    fill(
        &[],
        "sign_in.html",
        &Values {
            lang: sign_in.language.tag(),
            words: Words::of(sign_in.language),
            error: sign_in.error.as_deref(),
            next: &sign_in.next,
            can_register: sign_in.can_register,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_holds_what_was_typed_nowhere_but_in_next() {
        for language in Language::ALL {
            let html = sign_in_page(&SignIn {
                language,
                error: Some("<b>no</b>".to_owned()),
                next: "/dashboards/business?days=7&x=\"><script>".to_owned(),
                can_register: true,
            })
            .unwrap();
            assert!(html.contains("action=\"/sign-in\"") && html.contains("name=\"password\""));
            assert!(html.contains("&lt;b&gt;no") && html.contains("role=\"alert\""));
            assert!(!html.contains("<script") && !html.contains("<b>"));
        }
    }
}
