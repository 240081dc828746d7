//! Links of a page's head.

use serde::Serialize;

use crate::Language;

/// A link of a page's head.
#[derive(Serialize)]
pub struct Link {
    pub text: String,
    pub href: String,
    pub lang: &'static str,
    pub current: bool,
}

/// Links to the same page in each language; `rest` is the rest of the address.
pub fn languages(current: Language, rest: &str) -> Vec<Link> {
    let link = |language: Language| Link {
        text: language.name().to_owned(),
        href: format!("?lang={}{rest}", language.tag()),
        lang: language.tag(),
        current: language == current,
    };
    Language::ALL.into_iter().map(link).collect()
}
