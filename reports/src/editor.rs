//! The page that edits a dashboard.

use std::sync::LazyLock;

use pages::{Vocabulary, saved_query::Reader};
use serde::Serialize;

use crate::Error;

static WORDS: LazyLock<Vocabulary> = LazyLock::new(|| {
    // A test reads the file; one that could not be read would show the names of the words.
    Vocabulary::read(include_str!("../words/editor.yaml")).unwrap_or_default()
});

const TEMPLATES: &[pages::Template] = &[("editor.html", include_str!("../templates/editor.html"))];

/// The script of the page: it checks what is written while it is written.
pub const EDITOR_SCRIPT: &str = include_str!("../templates/editor.js");

/// The kinds of tiles that the form adds; the others are written as YAML.
pub const NEW_KINDS: [&str; 6] = ["kpi", "series", "stacked", "ranking", "heatmap", "query"];

/// What the page shows.
#[derive(Debug, Clone, Serialize)]
pub struct EditorPage {
    pub name: String,
    pub title: String,
    pub version: i64,
    /// Why something was not saved, in English.
    pub failure: Option<String>,
    pub tiles: Vec<EditedTile>,
    pub kinds: Vec<&'static str>,
    /// Names and titles.
    pub metrics: Vec<(String, String)>,
    /// Names of saved queries.
    pub queries: Vec<String>,
    /// The whole definition.
    pub yaml: String,
    /// Roles, and whether they see it.
    pub roles: Vec<(&'static str, bool)>,
    /// The newest first.
    pub versions: Vec<EditorVersion>,
    /// Id, address and end of each link.
    pub links: Vec<(String, String, String)>,
}

/// A tile of the dashboard.
#[derive(Debug, Clone, Serialize)]
pub struct EditedTile {
    pub title: String,
    pub kind: &'static str,
    pub yaml: String,
}

/// An earlier version, or that of now.
#[derive(Debug, Clone, Serialize)]
pub struct EditorVersion {
    pub version: i64,
    pub by: String,
    pub at: String,
}

/// The page that edits a dashboard.
pub fn editor_page(reader: &Reader, editor: &EditorPage) -> Result<String, Error> {
    Ok(pages::framed(TEMPLATES, "editor.html", reader, &WORDS, editor)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Language;

    #[test]
    fn every_word_is_there_in_both_languages() {
        Vocabulary::read(include_str!("../words/editor.yaml")).unwrap();
    }

    #[test]
    fn what_strangers_wrote_stays_text() {
        let hostile = "<script>alert(1)</script></textarea>{{ 7 * 7 }}";
        for language in Language::ALL {
            let reader =
                Reader { language, user: None, organization: Some(hostile.into()), asks_sql: true };
            let editor = EditorPage {
                name: "mine".into(),
                title: hostile.into(),
                version: 3,
                failure: Some(hostile.into()),
                tiles: vec![EditedTile {
                    title: hostile.into(),
                    kind: "kpi",
                    yaml: hostile.into(),
                }],
                kinds: NEW_KINDS.to_vec(),
                metrics: vec![("requests".into(), hostile.into())],
                queries: vec![hostile.into()],
                yaml: hostile.into(),
                roles: vec![("analyst", true)],
                versions: vec![EditorVersion { version: 3, by: hostile.into(), at: "now".into() }],
                links: vec![("link_1".into(), hostile.into(), "soon".into())],
            };
            let html = editor_page(&reader, &editor).unwrap();
            let html = html.replace("<script src=\"/dashboard-editor.js\" defer></script>", "");
            assert!(!html.contains("<script") && !html.contains("49"), "{html}");
            assert_eq!(html.matches("</textarea>").count(), 2, "{html}");
        }
    }
}
