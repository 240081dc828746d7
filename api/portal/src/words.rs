//! What the pages of developers say.

use std::sync::LazyLock;

use accounts::Visit;
use pages::{Language, Vocabulary};

static WORDS: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::read(include_str!("../words/portal.yaml")).unwrap_or_default());

/// The pages of developers, in their order: addresses and words.
const TABS: [(&str, &str); 4] = [
    ("/developers", "overview"),
    ("/developers/requests", "requests"),
    ("/webhooks", "webhooks"),
    ("/developers/tester", "tester"),
];

/// All of them, for templates.
pub(crate) fn vocabulary() -> &'static Vocabulary {
    &WORDS
}

/// The words of a reader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Say(Language);

impl Say {
    pub(crate) fn of(visit: &Visit) -> Self {
        Self(visit.reader.language)
    }

    pub(crate) fn word(self, name: &str) -> String {
        WORDS.text(name, self.0).to_owned()
    }

    pub(crate) fn filled(self, name: &str, places: &[(&str, &str)]) -> String {
        WORDS.filled(name, places, self.0)
    }

    /// An address of ours in the language of the reader.
    pub(crate) fn to(self, path: &str) -> String {
        let mark = if path.contains('?') { '&' } else { '?' };
        format!("{path}{mark}lang={}", self.0.tag())
    }

    /// The way to the other pages of developers.
    pub(crate) fn tabs(self, here: &str) -> Vec<(String, String, bool)> {
        TABS.iter().map(|(path, name)| (self.to(path), self.word(name), *path == here)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_there_in_both_languages() {
        let read = Vocabulary::read(include_str!("../words/portal.yaml"));
        assert!(read.is_ok(), "{read:?}");
        for (_, name) in TABS {
            assert_ne!(WORDS.text(name, Language::ZhCn), name);
        }
    }
}
