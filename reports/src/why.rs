//! The page that says why a metric changed.

use pages::saved_query::Reader;
use serde::Serialize;

use crate::{Error, Language, address, anomaly};

const TEMPLATES: &[pages::Template] = &[("why.html", include_str!("../templates/why.html"))];

/// What the page shows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct WhyPage {
    pub title: String,
    /// Both windows, in words.
    pub period: String,
    /// The change, whether it is usual, and its cause.
    pub said: String,
    /// How the parts add up.
    pub note: String,
    /// The page of the metric.
    pub href: String,
    pub tables: Vec<WhyTable>,
}

/// A dimension, and the largest changes of its values.
#[derive(Debug, Clone, Default, Serialize)]
pub struct WhyTable {
    pub title: String,
    /// Of a ratio: what its parts changed is said as well.
    pub effects: bool,
    /// They have values before and after: movements are only changes.
    pub values: bool,
    pub rows: Vec<WhyRow>,
}

/// What a value of a dimension did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct WhyRow {
    pub name: String,
    pub before: String,
    pub after: String,
    pub change: String,
    pub mix: String,
    pub rate: String,
    /// The length of its bar, as a percentage of the longest.
    pub bar: u8,
}

/// Why a metric changed.
pub fn why_page(reader: &Reader, page: &WhyPage) -> Result<String, Error> {
    Ok(pages::framed(TEMPLATES, "why.html", reader, &anomaly::WORDS, page)?)
}

/// What a dimension is called.
pub fn dimension_title(name: &str, language: Language) -> String {
    match address::WORDS.text(name, language) {
        unknown if unknown == name => {
            let words = name.replace('_', " ");
            let mut letters = words.chars();
            letters
                .next()
                .map(|first| first.to_uppercase().chain(letters).collect())
                .unwrap_or_default()
        }
        title => title.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_why_and_strangers_stay_text() {
        let hostile = "<script>alert(1)</script>";
        let row = WhyRow { name: hostile.into(), bar: 100, ..WhyRow::default() };
        let table =
            WhyTable { title: "Model".into(), effects: false, values: true, rows: vec![row] };
        let page = WhyPage { title: "Requests".into(), tables: vec![table], ..WhyPage::default() };
        for (language, word) in [(Language::En, "Change"), (Language::ZhCn, "变化")] {
            let reader = Reader { language, user: None, organization: None, asks_sql: true };
            let html = why_page(&reader, &page).unwrap();
            assert!(html.contains(word) && html.contains("Requests") && !html.contains(hostile));
        }
    }

    #[test]
    fn a_dimension_has_a_title_or_its_name_in_words() {
        assert_eq!(dimension_title("organization_id", Language::ZhCn), "组织");
        assert_eq!(dimension_title("own_part", Language::En), "Own part");
    }
}
