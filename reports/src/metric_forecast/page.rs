//! The page of forecasts.

use pages::saved_query::Reader;
use serde::Serialize;

use super::said::WORDS;
use crate::Error;

const TEMPLATES: &[pages::Template] =
    &[("forecasts.html", include_str!("../../templates/forecasts.html"))];

/// What the page shows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ForecastsPage {
    pub cards: Vec<ForecastCard>,
}

/// The forecast of a metric, in words.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ForecastCard {
    pub title: String,
    /// What is expected.
    pub lines: Vec<String>,
    /// How good such forecasts were.
    pub past: Vec<String>,
    /// What the forecast says of itself.
    pub notes: Vec<String>,
}

/// The forecasts of the main metrics.
pub fn forecasts_page(reader: &Reader, page: &ForecastsPage) -> Result<String, Error> {
    Ok(pages::framed(TEMPLATES, "forecasts.html", reader, &WORDS, page)?)
}

#[cfg(test)]
mod tests {
    use crate::Language;

    use super::*;

    #[test]
    fn the_page_says_what_is_expected_and_strangers_stay_text() {
        let hostile = "<script>alert(1)</script>";
        let card = ForecastCard {
            title: "Requests".into(),
            lines: vec![hostile.into()],
            past: vec!["off by 3 %".into()],
            notes: Vec::new(),
        };
        for (language, word) in [(Language::En, "Forecasts"), (Language::ZhCn, "预测")] {
            let reader = Reader { language, user: None, organization: None, asks_sql: true };
            let html =
                forecasts_page(&reader, &ForecastsPage { cards: vec![card.clone()] }).unwrap();
            assert!(html.contains(word) && html.contains("off by 3 %") && !html.contains(hostile));
            assert!(forecasts_page(&reader, &ForecastsPage::default()).unwrap().contains(word));
        }
    }
}
