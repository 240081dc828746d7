//! The fonts of documents in PDF: that of the configuration, and those of the system.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use fontdb::{Database, ID};
use krilla::text::Font;
use ttf_parser::Face;

use crate::fault::Fault;

/// Fonts that are taken first, if they are there.
const PREFERRED: [&str; 9] = [
    "Noto Sans",
    "DejaVu Sans",
    "Liberation Sans",
    "Arial",
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
];

/// A font with its widths.
#[derive(Clone)]
pub(crate) struct LoadedFont {
    pub(crate) font: Font,
    data: Arc<Vec<u8>>,
    index: u32,
}

/// The fonts of one configuration.
#[derive(Clone)]
pub(crate) struct Letters {
    database: Arc<Database>,
    loaded: Arc<Mutex<BTreeMap<ID, Option<LoadedFont>>>>,
    /// In the order in which they are tried.
    order: Arc<Vec<ID>>,
}

/// Reading the fonts of a system takes a tenth of a second.
static KNOWN: LazyLock<Mutex<BTreeMap<PathBuf, Letters>>> = LazyLock::new(Mutex::default);

impl LoadedFont {
    fn has(&self, letter: char) -> bool {
        let face = Face::parse(&self.data, self.index).ok();
        face.is_some_and(|face| face.glyph_index(letter).is_some())
    }

    /// How wide a text is in a size.
    pub(crate) fn width(&self, text: &str, size: f32) -> f32 {
        let Ok(face) = Face::parse(&self.data, self.index) else { return 0.0 };
        let advance = |letter| {
            let glyph = face.glyph_index(letter)?;
            face.glyph_hor_advance(glyph).map(f32::from)
        };
        let sum: f32 = text.chars().filter_map(advance).sum();
        sum * size / f32::from(face.units_per_em())
    }
}

impl Letters {
    /// The font of a configuration, if it names one, and those of the system.
    pub(crate) fn of(configured: &Path) -> Result<Self, Fault> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(letters) = known.get(configured) {
            return Ok(letters.clone());
        }
        let letters = Self::read(configured)?;
        known.insert(configured.to_owned(), letters.clone());
        Ok(letters)
    }

    fn read(configured: &Path) -> Result<Self, Fault> {
        let mut database = Database::new();
        if !configured.as_os_str().is_empty() {
            database.load_font_file(configured).map_err(|error| {
                let file = configured.display();
                Fault::FontMissing(format!(
                    "the font {file} of `billing.font` is not readable: {error}"
                ))
            })?;
        }
        let own = database.len();
        database.load_system_fonts();
        let rank = |face: &fontdb::FaceInfo| {
            let name = face.families.first().map(|(name, _)| name.as_str()).unwrap_or_default();
            let place = PREFERRED.iter().position(|preferred| *preferred == name);
            let is_plain = face.style == fontdb::Style::Normal
                && face.weight == fontdb::Weight::NORMAL
                && face.stretch == fontdb::Stretch::Normal;
            (place.unwrap_or(PREFERRED.len()), !is_plain)
        };
        let mut faces: Vec<_> = database.faces().enumerate().collect();
        // That of the configuration is the first.
        faces.sort_by_key(|(place, face)| (*place >= own, rank(face)));
        let order = faces.into_iter().map(|(_, face)| face.id).collect();
        Ok(Self { database: Arc::new(database), loaded: Arc::default(), order: Arc::new(order) })
    }

    fn loaded(&self, id: ID) -> Option<LoadedFont> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || {
            let (data, index) =
                self.database.with_face_data(id, |data, index| (Arc::new(data.to_vec()), index))?;
            let bytes: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::<Vec<u8>>::clone(&data) as _;
            Some(LoadedFont { font: Font::new(bytes.into(), index)?, data, index })
        };
        loaded.entry(id).or_insert_with(read).clone()
    }

    /// A text in parts, each in one font that has its letters.
    pub(crate) fn parts(&self, text: &str) -> Result<Vec<(LoadedFont, String)>, Fault> {
        let mut parts: Vec<(LoadedFont, String)> = Vec::new();
        for letter in text.chars() {
            if let Some((font, part)) = parts.last_mut()
                && (letter == ' ' || font.has(letter))
            {
                part.push(letter);
                continue;
            }
            let found =
                self.order.iter().filter_map(|id| self.loaded(*id)).find(|font| font.has(letter));
            let font = found.ok_or_else(|| missing(letter))?;
            parts.push((font, letter.to_string()));
        }
        Ok(parts)
    }

    /// How wide a text is in a size.
    pub(crate) fn width(&self, text: &str, size: f32) -> Result<f32, Fault> {
        Ok(self.parts(text)?.iter().map(|(font, part)| font.width(part, size)).sum())
    }
}

fn missing(letter: char) -> Fault {
    Fault::FontMissing(format!(
        "no font has the letter `{letter}`: install one (Debian: fonts-dejavu-core, for Chinese fonts-noto-cjk), or name \
         one in `billing.font`"
    ))
}
