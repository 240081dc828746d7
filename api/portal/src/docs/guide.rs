//! Guides: Markdown files, each in both languages. The code is in the English file only; the other one says where it stands.

use std::{collections::HashMap, sync::LazyLock};

use pages::Language;
use pulldown_cmark::{
    CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html,
};
use serde::Serialize;

use crate::sdk::SdkLanguage;

/// A guide, and where it stands in the list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guide {
    /// The word in its address.
    pub(super) name: &'static str,
    en: &'static str,
    zh_cn: &'static str,
}

macro_rules! guide {
    ($name:literal) => {
        Guide {
            name: $name,
            en: include_str!(concat!("../../guides/", $name, ".md")),
            zh_cn: include_str!(concat!("../../guides/", $name, ".zh-CN.md")),
        }
    };
}

/// All guides, in the order of reading.
pub(super) const GUIDES: [Guide; 8] = [
    guide!("quick-start"),
    guide!("authentication"),
    guide!("events"),
    guide!("sql"),
    guide!("metrics"),
    guide!("webhooks"),
    guide!("errors"),
    guide!("rate-limits"),
];

/// A guide as it is shown.
#[derive(Debug, Clone, Serialize)]
pub(super) struct GuideText {
    pub(super) title: String,
    pub(super) html: String,
}

type Shown = HashMap<(&'static str, &'static str), GuideText>;

/// Made once.
static SHOWN: LazyLock<Shown> = LazyLock::new(|| {
    let of = |guide: &'static Guide| {
        Language::ALL
            .iter()
            .map(move |&language| ((guide.name, language.tag()), guide.render(language)))
    };
    GUIDES.iter().flat_map(of).collect()
});

impl Guide {
    /// The guide in a language.
    pub(super) fn text(&self, language: Language) -> &'static GuideText {
        static NONE: GuideText = GuideText { title: String::new(), html: String::new() };
        SHOWN.get(&(self.name, language.tag())).unwrap_or(&NONE)
    }

    fn render(&self, language: Language) -> GuideText {
        let groups = groups(self.en);
        let text = match language {
            Language::En => self.en,
            Language::ZhCn => self.zh_cn,
        };
        let mut title = String::new();
        let mut events = Vec::new();
        let (mut in_title, mut shown, mut in_code) = (false, 0, false);
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match &event {
                Event::Start(Tag::Heading { level: HeadingLevel::H1, .. }) => in_title = true,
                Event::End(TagEnd::Heading(HeadingLevel::H1)) => in_title = false,
                Event::Text(part) | Event::Code(part) if in_title => title.push_str(part),
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    // The first of a group stands for all; `code` stands for the next group of the English text.
                    in_code = true;
                    let first = groups.get(shown).and_then(|group| group.first());
                    let begins = info.as_ref() == "code"
                        || first.is_some_and(|(language, _)| *language == info.as_ref());
                    if begins && let Some(group) = groups.get(shown) {
                        let name = format!("{}-{shown}", self.name);
                        events.push(Event::Html(CowStr::from(tabs(&name, group))));
                        shown += 1;
                    }
                }
                Event::End(TagEnd::CodeBlock) => in_code = false,
                _ if in_code => {}
                _ => events.push(event),
            }
        }
        let mut rendered = String::new();
        html::push_html(&mut rendered, events.into_iter());
        GuideText { title, html: rendered }
    }
}

/// Neighboring code blocks, one for each language.
type Group = Vec<(String, String)>;

/// The groups of a text. A block of a language that the group has begins the next group.
fn groups(text: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let (mut open, mut is_apart) = (None, true);
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                open = Some((info.to_string(), String::new()));
            }
            Event::Text(part) if open.is_some() => {
                if let Some((_, code)) = &mut open {
                    code.push_str(&part);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                let Some(block) = open.take() else { continue };
                match groups.last_mut() {
                    Some(group)
                        if !is_apart && group.iter().all(|(language, _)| *language != block.0) =>
                    {
                        group.push(block);
                    }
                    _ => groups.push(vec![block]),
                }
                is_apart = false;
            }
            _ => is_apart = true,
        }
    }
    groups
}

/// One block shows at a time, without a script: radio buttons choose.
fn tabs(name: &str, group: &Group) -> String {
    let title = |word: &str| {
        word.parse::<SdkLanguage>()
            .map_or_else(|_| word.to_owned(), |known| known.title().to_owned())
    };
    if let [(_, code)] = group.as_slice() {
        return format!(
            "<pre class=\"block\" tabindex=\"0\"><code>{}</code></pre>\n",
            escaped(code)
        );
    }
    let (mut heads, mut bodies) = (String::new(), String::new());
    for (at, (language, code)) in group.iter().enumerate() {
        let id = format!("{name}-{at}");
        let checked = if at == 0 { " checked" } else { "" };
        heads.push_str(&format!(
            "<input type=\"radio\" name=\"{name}\" id=\"{id}\" class=\"tab{at}\"{checked}><label for=\"{id}\">{}</label>",
            escaped(&title(language))
        ));
        bodies.push_str(&format!(
            "<pre class=\"block body{at}\" tabindex=\"0\"><code>{}</code></pre>",
            escaped(code)
        ));
    }
    format!("<div class=\"code-tabs\">{heads}{bodies}</div>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guide_is_whole_in_both_languages() {
        for guide in &GUIDES {
            let count = groups(guide.en).len();
            assert!(count > 0, "{} has no code", guide.name);
            for language in Language::ALL {
                let text = guide.text(language);
                assert!(!text.title.is_empty(), "{}", guide.name);
                let shown = text.html.matches("class=\"code-tabs\"").count()
                    + text.html.matches("<pre class=\"block\" ").count();
                assert_eq!(shown, count, "{} {}", guide.name, language.tag());
                assert!(!text.html.contains("<script"), "{}", guide.name);
            }
            for group in groups(guide.en) {
                let languages: Vec<_> = group.iter().map(|(name, _)| name.as_str()).collect();
                let all = ["curl", "python", "javascript", "php"];
                assert!(languages == all || languages.len() == 1, "{}: {languages:?}", guide.name);
            }
        }
    }

    #[test]
    fn neighbors_are_one_group_and_stand_once() {
        let text = "# T\n\n```curl\na <b>\n```\n\n```python\nc\n```\n\nText.\n\n```curl\nd\n```\n";
        let found = groups(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0][0], ("curl".to_owned(), "a <b>\n".to_owned()));
        let guide =
            Guide {
                name: "t", en: text, zh_cn: "# 题\n\n```code\n```\n\n文。\n\n```code\n```\n"
            };
        let html = guide.render(Language::ZhCn).html;
        assert!(
            html.contains("a &lt;b&gt;") && html.contains("文。") && html.contains("<code>d\n")
        );
        assert_eq!(guide.render(Language::En).html.matches("<pre").count(), 3);
    }
}
