//! The words of a feature: a file of texts by name, each in all languages.

use std::collections::BTreeMap;

use crate::{Language, Text};

/// The texts of a feature, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary(BTreeMap<String, Text>);

/// A file of words cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    /// It is not what it should be, or lacks a language.
    #[error("a file of words is not readable")]
    Unreadable(#[from] serde_yaml_ng::Error),
    /// A text is empty in a language.
    #[error("`{0}` has no words in a language")]
    Empty(String),
}

impl Vocabulary {
    /// Reads a file. Every text must be there in every language.
    pub fn read(yaml: &str) -> Result<Self, VocabularyError> {
        let texts: BTreeMap<String, Text> = serde_yaml_ng::from_str(yaml)?;
        match texts.iter().find(|(_, text)| text.lacks_words()) {
            Some((name, _)) => Err(VocabularyError::Empty(name.clone())),
            None => Ok(Self(texts)),
        }
    }

    /// All texts in one language, for a template.
    pub fn of(&self, language: Language) -> BTreeMap<&str, &str> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.of(language))).collect()
    }

    /// One text; its name where there is none.
    pub fn text<'a>(&'a self, name: &'a str, language: Language) -> &'a str {
        self.0.get(name).map_or(name, |text| text.of(language))
    }

    /// One text with its places, such as `{name}`, filled in. What is filled in has no places itself.
    pub fn filled(&self, name: &str, places: &[(&str, &str)], language: Language) -> String {
        let mut rest = self.text(name, language);
        let mut filled = String::with_capacity(rest.len());
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let place = after.split_once('}').and_then(|(place, after)| {
                let (_, value) = places.iter().find(|(known, _)| *known == place)?;
                Some((value, after))
            });
            rest = match place {
                Some((value, after)) => {
                    filled.push_str(value);
                    after
                }
                None => {
                    filled.push('{');
                    after
                }
            };
        }
        filled + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_there_in_every_language() {
        let words = Vocabulary::read("a: {en: x, zh-CN: y}").unwrap();
        assert_eq!(words.of(Language::ZhCn)["a"], "y");
        assert_eq!(words.text("b", Language::En), "b");
        let words = Vocabulary::read("a: {en: '{n} of {m}, {}', zh-CN: y}").unwrap();
        let places = [("n", "{m}"), ("m", "2")];
        assert_eq!(words.filled("a", &places, Language::En), "{m} of 2, {}");
        assert!(Vocabulary::read("a: {en: x}").is_err());
        assert!(Vocabulary::read("a: {en: x, zh-CN: ' '}").is_err());
    }
}
