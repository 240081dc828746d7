//! Words between the tiles.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TileContext;
use crate::Text;

/// A text: a blank line begins a new paragraph. Nothing in it is markup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextTile {
    pub title: Text,
    pub note: Text,
}

#[derive(Debug, Serialize)]
pub(crate) struct View {
    title: String,
    paragraphs: Vec<String>,
}

impl TextTile {
    pub(super) fn view(&self, scene: &TileContext<'_>) -> View {
        let text = self.note.of(scene.language);
        let paragraphs = text.split("\n\n").map(|part| part.trim().to_owned());
        View {
            title: self.title.of(scene.language).to_owned(),
            paragraphs: paragraphs.filter(|part| !part.is_empty()).collect(),
        }
    }
}
