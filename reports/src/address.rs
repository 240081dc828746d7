//! The address of a page: what its links keep and change.

use std::{collections::BTreeMap, sync::LazyLock};

use chrono::{DateTime, SecondsFormat, Utc};
use pages::Vocabulary;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use query::metric::Grain;
use serde::Serialize;

use crate::{Language, Selection};

/// The words of this page.
pub(crate) static WORDS: LazyLock<Vocabulary> = LazyLock::new(|| {
    // A test reads the file; one that could not be read would show the names of the words.
    Vocabulary::read(include_str!("../words/dashboard.yaml")).unwrap_or_default()
});

/// The pairs of the address of a page, besides the language. A page without a server has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address(Vec<(String, String)>);

/// What says the period.
const PERIOD: [&str; 4] = ["days", "range", "from", "to"];

/// The ranges that the form offers.
const RANGES: [&str; 10] = [
    "last_7_days",
    "last_30_days",
    "last_90_days",
    "yesterday",
    "previous_week",
    "previous_month",
    "week_to_date",
    "month_to_date",
    "quarter_to_date",
    "year_to_date",
];
const GRAINS: [&str; 4] = ["hour", "day", "week", "month"];
const COMPARISONS: [&str; 3] = ["previous_period", "previous_year", "none"];
/// The dimensions that the form offers, where the reader has them.
const DIMENSIONS: [&str; 6] =
    ["organization_id", "organization_plan", "organization_kind", "model", "region", "feature"];

impl Address {
    /// The pairs as they were asked for.
    pub fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    fn without(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect())
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same page over another period.
    pub(crate) fn of_days(&self, days: u32) -> Self {
        self.without(&PERIOD).with("days", &days.to_string())
    }

    /// The same page of a span of time.
    pub(crate) fn of_span(&self, from: DateTime<Utc>, to: DateTime<Utc>, grain: Grain) -> Self {
        let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        self.without(&PERIOD)
            .without(&["grain"])
            .with("from", &text(from))
            .with("to", &text(to))
            .with("grain", grain.name())
    }

    /// The same page of one value of a dimension. None for a value that an address cannot say.
    pub(crate) fn of_value(&self, dimension: &str, value: &str) -> Option<Self> {
        // A filter takes a comma for the end of a value.
        if value.is_empty() || value.contains(',') || value.trim() != value {
            return None;
        }
        Some(self.without_filter(dimension).with("filter", &format!("{dimension}={value}")))
    }

    fn without_filter(&self, dimension: &str) -> Self {
        let is_other = |(name, text): &&(String, String)| {
            name != "filter" || !text.starts_with(&format!("{dimension}="))
        };
        Self(self.0.iter().filter(is_other).cloned().collect())
    }

    /// As a link that keeps the language.
    pub(crate) fn href(&self, language: Language) -> String {
        format!("?lang={}{}", language.tag(), self.rest())
    }

    /// The pairs, each with an `&` before it.
    pub(crate) fn rest(&self) -> String {
        self.0.iter().map(|(name, text)| format!("&{}={}", encoded(name), encoded(text))).collect()
    }
}

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encoded, for an address.
pub(crate) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, RESERVED).to_string()
}

/// The form of the head: what can be chosen, and what is.
#[derive(Debug, Serialize)]
pub(crate) struct FilterForm {
    say: BTreeMap<&'static str, &'static str>,
    ranges: Vec<(&'static str, bool)>,
    from: String,
    to: String,
    tz: String,
    comparisons: Vec<(&'static str, bool)>,
    grains: Vec<(&'static str, bool)>,
    fields: Vec<(&'static str, String)>,
    /// The conditions that hold, each with the address without it.
    chosen: Vec<(String, String)>,
    /// Everything as it was at first.
    clear: String,
    /// The form that sends this page by schedule.
    schedule: String,
}

impl FilterForm {
    pub(crate) fn new(
        address: &Address,
        selection: &Selection,
        dashboard: &str,
        language: Language,
    ) -> Self {
        let chosen = |name: &str, values: &[&'static str]| {
            let now = address.get(name).unwrap_or_default();
            values.iter().map(|value| (*value, *value == now)).collect()
        };
        let value_of = |dimension: &str| {
            let filter =
                |text: &str| text.strip_prefix(&format!("{dimension}=")).map(str::to_owned);
            selection.filters().find_map(filter).unwrap_or_default()
        };
        let fields = DIMENSIONS.into_iter().filter(|name| selection.has_dimension(name));
        let without = |text: &str| {
            let is_other = |(_, other): &&(String, String)| other != text;
            let rest = address.0.iter().filter(is_other).cloned().collect();
            (text.to_owned(), Address(rest).href(language))
        };
        // A page that names no period shows 30 days.
        let range = match (address.get("range"), address.get("days")) {
            (Some(range), _) => range.to_owned(),
            (None, Some(days)) => format!("last_{days}_days"),
            (None, None) if address.get("from").is_some() || address.get("to").is_some() => {
                String::new()
            }
            (None, None) => "last_30_days".to_owned(),
        };
        let text = |name: &str| address.get(name).unwrap_or_default().to_owned();
        let schedule: String =
            selection.filters().map(|filter| format!("&filter={}", encoded(filter))).collect();
        let (tag, zone) = (language.tag(), encoded(&selection.window.zone().to_string()));
        Self {
            say: WORDS.of(language),
            ranges: RANGES.map(|name| (name, name == range)).to_vec(),
            from: text("from"),
            to: text("to"),
            tz: text("tz"),
            comparisons: chosen("compare", &COMPARISONS),
            grains: chosen("grain", &GRAINS),
            fields: fields.map(|name| (name, value_of(name))).collect(),
            chosen: selection.filters().map(without).collect(),
            clear: Address::default().href(language),
            schedule: format!("/reports/new?lang={tag}&dashboard={dashboard}&tz={zone}{schedule}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there_in_both_languages() {
        let words = Vocabulary::read(include_str!("../words/dashboard.yaml")).unwrap();
        let known = words.of(Language::En);
        for name in RANGES.iter().chain(&GRAINS).chain(&COMPARISONS).chain(&DIMENSIONS) {
            assert!(known.contains_key(name), "{name}");
        }
    }

    #[test]
    fn links_keep_what_was_chosen_and_change_one_thing() {
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let address = Address::new(vec![
            pair("days", "7"),
            pair("tz", "Europe/Berlin"),
            pair("filter", "model=a&b"),
            pair("filter", "region=eu"),
        ]);
        let language = Language::En;
        assert_eq!(
            address.of_days(30).href(language),
            "?lang=en&tz=Europe%2FBerlin&filter=model%3Da%26b&filter=region%3Deu&days=30"
        );
        let other = address.of_value("model", "x y").unwrap();
        assert_eq!(
            other.href(language),
            "?lang=en&days=7&tz=Europe%2FBerlin&filter=region%3Deu&filter=model%3Dx%20y"
        );
        for odd in ["", "a,b", " a"] {
            assert_eq!(address.of_value("model", odd), None, "{odd}");
        }
    }
}
