//! Documents as PDF: A4, as many pages as there are lines.

use krilla::{
    Document as Pdf,
    color::rgb,
    geom::{PathBuilder, Point},
    metadata::Metadata,
    num::NormalizedF32,
    page::PageSettings,
    paint::{Fill, Stroke},
    surface::Surface,
    text::TextDirection,
};

use super::{
    letters::Letters,
    sheet::{Sheet, filled},
};
use crate::fault::Fault;

/// Points: 72 are an inch.
const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const MARGIN: f32 = 50.0;
const BOTTOM: f32 = HEIGHT - 60.0;
const RIGHT: f32 = WIDTH - MARGIN;
const DARK: u8 = 27;
const GRAY: u8 = 96;
const SIZE: f32 = 9.5;
const SMALL: f32 = 8.0;
/// Where columns begin, or where they end if they are numbers.
const COLUMNS: [f32; 4] = [MARGIN, 230.0, 470.0, RIGHT];
/// The width of the first column.
const NAMES: f32 = 170.0;

/// One thing on a page.
enum Mark {
    Text {
        x: f32,
        y: f32,
        size: f32,
        gray: u8,
        text: String,
    },
    /// A thin line from the left to the right.
    Rule {
        y: f32,
        from: f32,
    },
}

/// The pages as they are filled.
struct Layout<'a> {
    letters: &'a Letters,
    pages: Vec<Vec<Mark>>,
    y: f32,
}

impl Layout<'_> {
    fn mark(&mut self, mark: Mark) {
        if let Some(page) = self.pages.last_mut() {
            page.push(mark);
        }
    }

    fn text(&mut self, x: f32, size: f32, gray: u8, text: &str) {
        let mark = Mark::Text { x, y: self.y, size, gray, text: text.to_owned() };
        self.mark(mark);
    }

    fn text_to(&mut self, right: f32, size: f32, gray: u8, text: &str) -> Result<(), Fault> {
        let width = self.letters.width(text, size)?;
        self.text(right - width, size, gray, text);
        Ok(())
    }

    fn rule(&mut self, from: f32) {
        let mark = Mark::Rule { y: self.y, from };
        self.mark(mark);
    }

    /// Begins a page where not so much is left.
    fn need(&mut self, height: f32) -> bool {
        if self.y + height <= BOTTOM {
            return false;
        }
        self.pages.push(Vec::new());
        self.y = MARGIN + 10.0;
        true
    }

    /// A text in lines of a width, broken between words, or between letters where a word is too long.
    fn broken(&self, text: &str, size: f32, width: f32) -> Result<Vec<String>, Fault> {
        let mut lines = vec![String::new()];
        for word in pieces(text) {
            let line = lines.last().cloned().unwrap_or_default();
            let longer = format!("{line}{word}");
            if self.letters.width(longer.trim_end(), size)? <= width || line.is_empty() {
                lines.pop();
                lines.push(longer);
            } else {
                lines.push(word.trim_start().to_owned());
            }
        }
        Ok(lines)
    }

    /// Writes a text in lines, and goes below them.
    fn paragraph(
        &mut self,
        x: f32,
        size: f32,
        gray: u8,
        (text, width): (&str, f32),
    ) -> Result<(), Fault> {
        for line in self.broken(text, size, width)? {
            self.need(size * 1.4);
            self.text(x, size, gray, line.trim_end());
            self.y += size * 1.4;
        }
        Ok(())
    }
}

/// Words with the space behind them; of other scripts, and of long words, some letters each.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut piece = String::new();
    for letter in text.chars() {
        piece.push(letter);
        let is_wide = u32::from(letter) >= 0x2e80;
        if letter == ' ' || is_wide || piece.chars().count() >= 24 {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    pieces.push(piece);
    pieces
}

/// Draws a document.
pub(crate) fn pdf(sheet: &Sheet, letters: &Letters) -> Result<Vec<u8>, Fault> {
    let mut layout = Layout { letters, pages: vec![Vec::new()], y: MARGIN + 20.0 };
    layout.text(MARGIN, 20.0, DARK, &sheet.title);
    layout.y += 28.0;
    if let Some(mark) = &sheet.mark {
        layout.paragraph(MARGIN, 12.0, DARK, (mark, RIGHT - MARGIN))?;
    }
    heads(&mut layout, sheet)?;
    table(&mut layout, sheet)?;
    layout.y += 10.0;
    for (place, (label, amount)) in sheet.totals.iter().enumerate() {
        layout.need(18.0);
        if place + 1 == sheet.totals.len() {
            layout.y += 2.0;
            layout.rule(330.0);
            layout.y += 4.0;
        }
        let size = if place + 1 == sheet.totals.len() { 11.0 } else { SIZE };
        layout.y += size;
        layout.text(330.0, size, DARK, label);
        layout.text_to(RIGHT, size, DARK, amount)?;
        layout.y += 6.0;
    }
    layout.y += 20.0;
    for note in &sheet.notes {
        layout.paragraph(MARGIN, SIZE, GRAY, (note, RIGHT - MARGIN))?;
    }
    written(sheet, &layout.pages, letters)
}

/// Who sells and who pays, side by side, and the facts below.
fn heads(layout: &mut Layout<'_>, sheet: &Sheet) -> Result<(), Fault> {
    let top = layout.y;
    let mut lowest = top;
    let parties = sheet.parties.iter().filter(|(_, lines)| !lines.is_empty());
    for ((heading, lines), x) in parties.zip([MARGIN, 300.0]) {
        layout.y = top;
        layout.text(x, SMALL, GRAY, heading);
        layout.y += 14.0;
        for line in lines {
            layout.paragraph(x, SIZE, DARK, (line, 230.0))?;
        }
        lowest = lowest.max(layout.y);
    }
    layout.y = lowest + 12.0;
    for (label, value) in &sheet.facts {
        layout.text(MARGIN, SIZE, GRAY, label);
        layout.paragraph(180.0, SIZE, DARK, (value, RIGHT - 180.0))?;
    }
    layout.y += 18.0;
    Ok(())
}

fn head(layout: &mut Layout<'_>, sheet: &Sheet) -> Result<(), Fault> {
    for (place, (title, x)) in sheet.head.iter().zip(COLUMNS).enumerate() {
        match place < 2 {
            true => layout.text(x, SMALL, GRAY, title),
            false => layout.text_to(x, SMALL, GRAY, title)?,
        }
    }
    layout.y += 6.0;
    layout.rule(MARGIN);
    layout.y += 14.0;
    Ok(())
}

fn table(layout: &mut Layout<'_>, sheet: &Sheet) -> Result<(), Fault> {
    head(layout, sheet)?;
    for row in &sheet.rows {
        let name = row.cells.first().map(String::as_str).unwrap_or_default();
        let lines = layout.broken(name, SIZE, NAMES)?;
        let height = SIZE.mul_add(1.4, 12.0) * lines.len() as f32;
        if layout.need(height + 12.0 * row.notes.len() as f32) {
            head(layout, sheet)?;
        }
        for (place, (cell, x)) in row.cells.iter().zip(COLUMNS).enumerate().skip(1) {
            match place < 2 {
                true => layout.text(x, SIZE, DARK, cell),
                false => layout.text_to(x, SIZE, DARK, cell)?,
            }
        }
        layout.paragraph(MARGIN, SIZE, DARK, (name, NAMES))?;
        for note in &row.notes {
            layout.paragraph(MARGIN, SMALL, GRAY, (note, 400.0))?;
        }
        layout.y -= 2.0;
        layout.rule(MARGIN);
        layout.y += 14.0;
    }
    Ok(())
}

fn written(sheet: &Sheet, pages: &[Vec<Mark>], letters: &Letters) -> Result<Vec<u8>, Fault> {
    let mut pdf = Pdf::new();
    pdf.set_metadata(Metadata::new().title(sheet.title.clone()).language(sheet.lang.to_owned()));
    let size = PageSettings::from_wh(WIDTH, HEIGHT).ok_or_else(unwritable)?;
    let language = pages::Language::from_tag(sheet.lang).unwrap_or(pages::Language::En);
    for (number, marks) in (1..).zip(pages) {
        let mut page = pdf.start_page_with(size.clone());
        let mut surface = page.surface();
        for mark in marks {
            draw(&mut surface, mark, letters)?;
        }
        if pages.len() > 1 {
            let (number, count) = (number.to_string(), pages.len().to_string());
            let text = filled("page", &[("page", &number), ("pages", &count)], language);
            let foot = Mark::Text { x: MARGIN, y: HEIGHT - 30.0, size: SMALL, gray: GRAY, text };
            draw(&mut surface, &foot, letters)?;
        }
        surface.finish();
        page.finish();
    }
    pdf.finish().map_err(|_| unwritable())
}

fn draw(surface: &mut Surface<'_>, mark: &Mark, letters: &Letters) -> Result<(), Fault> {
    match mark {
        Mark::Text { x, y, size, gray, text } => {
            let paint = rgb::Color::new(*gray, *gray, *gray).into();
            let fill = Fill { paint, opacity: NormalizedF32::ONE, rule: Default::default() };
            surface.set_stroke(None);
            surface.set_fill(Some(fill));
            let mut x = *x;
            for (font, part) in letters.parts(text)? {
                let at = Point::from_xy(x, *y);
                let direction = TextDirection::Auto;
                surface.draw_text(at, font.font.clone(), *size, &part, false, direction);
                x += font.width(&part, *size);
            }
        }
        Mark::Rule { y, from } => {
            let mut path = PathBuilder::new();
            path.move_to(*from, *y);
            path.line_to(RIGHT, *y);
            let paint = rgb::Color::new(208, 215, 222).into();
            surface.set_fill(None);
            surface.set_stroke(Some(Stroke { paint, width: 0.7, ..Stroke::default() }));
            surface.draw_path(&path.finish().ok_or_else(unwritable)?);
        }
    }
    Ok(())
}

fn unwritable() -> Fault {
    Fault::FontMissing("the document cannot be drawn with the fonts of this system".to_owned())
}
