//! Links of a page's head.

use serde::Serialize;

use crate::Language;

/// A link of a page's head.
#[derive(Serialize)]
pub struct Link {
    /// What the reader clicks on, such as the name of a language.
    pub text: String,
    /// The address it leads to, relative to the page.
    pub href: String,
    /// The BCP 47 tag of the language of the text and of the page behind it.
    pub lang: &'static str,
    /// Whether it leads to what the page already shows.
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
