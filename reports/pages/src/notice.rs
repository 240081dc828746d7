//! A page that says one thing, and perhaps asks for one click.

use serde::Serialize;

use crate::{Error, Language, template::fill, words::Words};

/// What the page says.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The language of the page.
    pub language: Language,
    /// The heading.
    pub title: String,
    /// The sentence under it.
    pub text: String,
    /// The label of the one button, which posts to the page's own address.
    pub button: Option<String>,
}

#[derive(Serialize)]
struct Values<'a> {
    lang: &'static str,
    words: &'static Words,
    title: &'a str,
    text: &'a str,
    button: Option<&'a str>,
}

/// Renders the page.
pub fn notice_page(notice: &Notice) -> Result<String, Error> {
    let values = Values {
        lang: notice.language.tag(),
        words: Words::of(notice.language),
        title: &notice.title,
        text: &notice.text,
        button: notice.button.as_deref(),
    };
    fill(&[], "notice.html", &values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_its_words_as_text_and_has_a_button_if_asked() {
        for button in [None, Some("Go <on>".to_owned())] {
            let language = Language::ZhCn;
            let notice = Notice { language, title: "<b>".into(), text: "a & b".into(), button };
            let html = notice_page(&notice).unwrap();
            assert!(
                html.contains("&lt;b&gt;") && html.contains("a &amp; b") && !html.contains("<b>")
            );
            assert_eq!(html.contains("Go &lt;on&gt;"), notice.button.is_some());
        }
    }
}
