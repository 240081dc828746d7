//! The page of churn.

use std::sync::LazyLock;

use pages::{Vocabulary, saved_query::Reader};
use serde::Serialize;

use super::Reason;
use crate::{Error, Language};

static WORDS: LazyLock<Vocabulary> = LazyLock::new(|| {
    // A test reads the file; one that could not be read would show the names of the words.
    Vocabulary::read(include_str!("../../words/churn.yaml")).unwrap_or_default()
});

const TEMPLATES: &[pages::Template] = &[("churn.html", include_str!("../../templates/churn.html"))];

/// What the page shows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChurnPage {
    pub rows: Vec<ChurnRow>,
    /// Sentences above the list, and below it.
    pub lead: Vec<String>,
    pub notes: Vec<String>,
    /// Why there is no list.
    pub empty: Option<String>,
    /// Of the survival curve: the days, the share, and its range.
    pub survival: Vec<[String; 3]>,
}

/// A customer in words.
#[derive(Debug, Clone, Serialize)]
pub struct ChurnRow {
    pub name: String,
    pub href: String,
    pub probability: String,
    /// `high` for one that is more likely to leave than not.
    pub side: &'static str,
    /// What of its revenue is at risk.
    pub money: String,
    pub reasons: Vec<String>,
}

/// A word of the page, with its places filled in.
pub fn churn_word(name: &str, places: &[(&str, &str)], language: Language) -> String {
    WORDS.filled(name, places, language)
}

/// A reason in words, such as "Last request 12 days ago".
pub fn reason_said(reason: &Reason, language: Language) -> String {
    let value = match reason.value.as_str() {
        kind @ ("subscription" | "usage") if reason.feature == "kind" => WORDS.text(kind, language),
        value => value,
    };
    let said = WORDS.filled(&reason.feature, &[("value", value)], language);
    match language {
        _ if reason.part > 0.0 => said,
        Language::En => format!("{said} ({})", WORDS.text("down", language)),
        Language::ZhCn => format!("{said}（{}）", WORDS.text("down", language)),
    }
}

/// The list of customers.
pub fn churn_page(reader: &Reader, page: &ChurnPage) -> Result<String, Error> {
    Ok(pages::framed(TEMPLATES, "churn.html", reader, &WORDS, page)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::churn::FEATURES;

    #[test]
    fn every_feature_has_a_sentence_in_both_languages() {
        for feature in FEATURES {
            let value = if feature == "kind" { "usage" } else { "7" };
            let reason = Reason { feature: feature.to_owned(), value: value.into(), part: 0.3 };
            for language in [Language::En, Language::ZhCn] {
                let said = reason_said(&reason, language);
                assert!(!said.contains('{') && !said.starts_with(feature), "{said}");
            }
        }
    }
}
