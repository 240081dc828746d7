//! The page of anomalies.

use std::sync::LazyLock;

use pages::{Vocabulary, saved_query::Reader};
use serde::Serialize;

use crate::{Error, Language};

pub(crate) static WORDS: LazyLock<Vocabulary> = LazyLock::new(|| {
    // A test reads the file; one that could not be read would show the names of the words.
    Vocabulary::read(include_str!("../../words/anomalies.yaml")).unwrap_or_default()
});

const TEMPLATES: &[pages::Template] =
    &[("anomalies.html", include_str!("../../templates/anomalies.html"))];

/// What the page shows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AnomaliesPage {
    /// `open` or `every`.
    pub show: &'static str,
    pub rows: Vec<AnomalyRow>,
    /// When the metrics were looked at.
    pub looked: Option<String>,
    /// Whether the reader may confirm and dismiss.
    pub may_judge: bool,
}

/// An anomaly in words.
#[derive(Debug, Clone, Serialize)]
pub struct AnomalyRow {
    pub id: String,
    pub title: String,
    /// `high` or `low`.
    pub side: &'static str,
    /// `new`, `confirmed` or `dismissed`.
    pub state: &'static str,
    pub when: String,
    pub observed: String,
    pub expected: String,
    pub range: String,
    pub impact: String,
    pub cause: String,
    /// What has the same cause.
    pub also: Option<String>,
    /// The dashboard of that time.
    pub href: Option<String>,
    /// What somebody said of it.
    pub note: Option<String>,
}

/// A word of the page, with its places filled in.
pub fn anomaly_word(name: &str, places: &[(&str, &str)], language: Language) -> String {
    WORDS.filled(name, places, language)
}

/// The list of anomalies.
pub fn anomalies_page(reader: &Reader, page: &AnomaliesPage) -> Result<String, Error> {
    Ok(pages::framed(TEMPLATES, "anomalies.html", reader, &WORDS, page)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_its_words_and_strangers_stay_text() {
        Vocabulary::read(include_str!("../../words/anomalies.yaml")).unwrap();
        let hostile = "<script>alert(1)</script>{{ 7 * 7 }}";
        for language in Language::ALL {
            let reader =
                Reader { language, user: None, organization: Some(hostile.into()), asks_sql: true };
            let row = |state| AnomalyRow {
                id: "anomaly_1".into(),
                title: hostile.into(),
                side: "high",
                state,
                when: "now".into(),
                observed: "20".into(),
                expected: "1".into(),
                range: "0 to 2".into(),
                impact: "+19".into(),
                cause: hostile.into(),
                also: Some(hostile.into()),
                href: Some("/dashboards/usage".into()),
                note: Some(hostile.into()),
            };
            let page = AnomaliesPage {
                show: "every",
                rows: vec![row("new"), row("confirmed"), row("dismissed")],
                looked: None,
                may_judge: true,
            };
            let html = anomalies_page(&reader, &page).unwrap();
            assert!(!html.contains("<script>") && !html.contains("49"), "{html}");
            for word in ["confirm", "dismiss", "undo", "high", "not_yet"] {
                assert!(html.contains(&anomaly_word(word, &[], language)), "{word}");
            }
            let empty = anomalies_page(&reader, &AnomaliesPage::default()).unwrap();
            assert!(empty.contains(&anomaly_word("nothing", &[], language)));
        }
    }
}
