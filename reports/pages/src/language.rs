//! The two languages of every page.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A language a page can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    En,
    /// Chinese, in simplified characters.
    #[serde(rename = "zh-CN")]
    ZhCn,
}

impl Language {
    /// Every language, English first.
    pub const ALL: [Self; 2] = [Self::En, Self::ZhCn];

    /// The BCP 47 tag, as in `<html lang>` and `?lang=`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::ZhCn => "zh-CN",
        }
    }

    /// The language's own name.
    pub fn name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::ZhCn => "简体中文",
        }
    }

    /// Reads a tag exactly as [`Self::tag`] writes it; anything else is none.
    pub fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.tag() == tag)
    }

    /// The first language of an `Accept-Language` header that we speak, by its order in the
    /// header. Browsers list their languages by preference, so the weights are not read.
    pub fn preferred(accept_language: &str) -> Self {
        accept_language
            .split(',')
            .find_map(|range| {
                let tag = range.split(';').next().unwrap_or_default().trim();
                match tag.split('-').next().unwrap_or_default() {
                    primary if primary.eq_ignore_ascii_case("zh") => Some(Self::ZhCn),
                    primary if primary.eq_ignore_ascii_case("en") => Some(Self::En),
                    _ => None,
                }
            })
            .unwrap_or_default()
    }
}

/// A text in every language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Words)]
pub struct Text {
    /// The text in English.
    pub en: String,
    /// The text in Chinese, in simplified characters.
    #[serde(rename = "zh-CN")]
    pub zh_cn: String,
}

impl Text {
    /// The text in one language.
    pub fn of(&self, language: Language) -> &str {
        match language {
            Language::En => &self.en,
            Language::ZhCn => &self.zh_cn,
        }
    }

    /// Whether a language has nothing to show.
    pub fn lacks_words(&self) -> bool {
        Language::ALL.iter().any(|language| self.of(*language).trim().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_language_of_the_header_wins() {
        assert_eq!(Language::preferred("zh-TW,en;q=0.8"), Language::ZhCn);
        assert_eq!(Language::preferred("fr, en-GB;q=0.8, zh"), Language::En);
        assert_eq!(Language::preferred(""), Language::En);
    }

    #[test]
    fn a_tag_reads_back() {
        for language in Language::ALL {
            assert_eq!(Language::from_tag(language.tag()), Some(language));
        }
        assert_eq!(Language::from_tag("zh"), None);
    }
}
