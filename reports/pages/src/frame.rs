//! What all pages of people have around them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    Error, Vocabulary,
    link::{Link, languages},
    saved_query::Reader,
    template::{Template, fill},
    words::Words,
};

#[derive(Serialize)]
struct Values<'a, T> {
    lang: &'static str,
    words: &'static Words,
    say: BTreeMap<&'a str, &'a str>,
    languages: Vec<Link>,
    user: Option<&'a str>,
    organization: &'a str,
    asks_sql: bool,
    page: &'a T,
}

/// Fills a template with what it is about (`page`), the words of its feature (`say`), and who reads it.
///
/// # Errors
/// When the template is not one, or lacks a value.
pub fn framed<T: Serialize>(
    templates: &'static [Template],
    template: &'static str,
    reader: &Reader,
    words_of_feature: &Vocabulary,
    page: &T,
) -> Result<String, Error> {
    let (language, words) = (reader.language, Words::of(reader.language));
    let values = Values {
        lang: language.tag(),
        words,
        say: words_of_feature.of(language),
        languages: languages(language, ""),
        user: reader.user.as_deref(),
        organization: reader.organization.as_deref().unwrap_or(words.all_organizations),
        asks_sql: reader.asks_sql,
        page,
    };
    fill(templates, template, &values)
}
