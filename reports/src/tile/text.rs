//! Words between the tiles.

use serde::{Deserialize, Serialize};

use super::TileContext;
use crate::Text;

/// A text: a blank line begins a new paragraph. Nothing in it is markup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextTile {
    pub title: Text,
    pub note: Text,
}

const LETTERS_MAX: usize = 2_000;

#[derive(Debug, Serialize)]
pub(crate) struct View {
    title: String,
    paragraphs: Vec<String>,
}

impl TextTile {
    pub(super) fn fault(&self) -> Option<String> {
        let texts = [&self.note.en, &self.note.zh_cn];
        let is_long = texts.iter().any(|text| text.chars().count() > LETTERS_MAX);
        is_long.then(|| format!("a text has at most {LETTERS_MAX} letters"))
    }

    pub(super) fn view(&self, scene: &TileContext<'_>) -> View {
        let text = self.note.of(scene.language);
        let paragraphs = text.split("\n\n").map(|part| part.trim().to_owned());
        View {
            title: self.title.of(scene.language).to_owned(),
            paragraphs: paragraphs.filter(|part| !part.is_empty()).collect(),
        }
    }
}
