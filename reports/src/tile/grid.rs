//! What several kinds of tiles look like: a table whose cells may be shaded, and whose rows may have a bar.

use serde::Serialize;

use super::TileLink;

#[derive(Debug, Serialize)]
pub(crate) struct View {
    pub(super) title: String,
    pub(super) note: String,
    pub(super) links: Vec<TileLink>,
    pub(super) wide: bool,
    /// The heads of the columns, that of the first among them.
    pub(super) heads: Vec<String>,
    /// One table, or one per currency; none if there is nothing to show.
    pub(super) tables: Vec<GridTable>,
    /// Many narrow columns.
    pub(super) dense: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct GridTable {
    pub(super) currency: Option<String>,
    pub(super) rows: Vec<GridRow>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct GridRow {
    pub(super) name: String,
    pub(super) bar: Option<Bar>,
    pub(super) cells: Vec<GridCell>,
    /// It sums up the others.
    pub(super) total: bool,
}

/// A bar in percent of the width.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Bar {
    left: String,
    width: String,
    class: &'static str,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct GridCell {
    pub(super) text: String,
    /// The value in full.
    pub(super) exact: String,
    /// How dark it is, from 0 to 100.
    pub(super) shade: Option<u8>,
    /// It is no number.
    pub(super) is_text: bool,
}

impl Bar {
    /// From one share of the width to another.
    pub(super) fn new(from: f64, to: f64, class: &'static str) -> Self {
        let bounded = |share: f64| if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        let (from, to) = (bounded(from), bounded(to));
        let (left, right) = (from.min(to), from.max(to));
        // One that is there is seen.
        let width = (right - left).max(0.005).min(1.0 - left);
        Self { left: format!("{:.1}", left * 100.0), width: format!("{:.1}", width * 100.0), class }
    }
}

impl GridCell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Shaded by a share of the largest value.
    pub(super) fn shaded(text: String, exact: String, share: Option<f64>) -> Self {
        let shade = share.filter(|share| share.is_finite()).map(|share| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is from 0 to 100"
            )]
            let shade = (share.clamp(0.0, 1.0) * 100.0).round() as u8;
            shade
        });
        Self { text, exact, shade, is_text: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_shades_stay_within_their_cells() {
        let bar = |from, to| {
            let bar = Bar::new(from, to, "up");
            (bar.left, bar.width)
        };
        assert_eq!(bar(0.25, 0.75), ("25.0".into(), "50.0".into()));
        assert_eq!(bar(0.75, 0.25), ("25.0".into(), "50.0".into()));
        assert_eq!(bar(-1.0, 9.0), ("0.0".into(), "100.0".into()));
        assert_eq!(bar(0.5, 0.5), ("50.0".into(), "0.5".into()));
        assert_eq!(bar(f64::NAN, 1.0), ("0.0".into(), "100.0".into()));
        let shade = |share| GridCell::shaded(String::new(), String::new(), share).shade;
        assert_eq!((shade(Some(0.556)), shade(Some(7.0))), (Some(56), Some(100)));
        assert_eq!((shade(None), shade(Some(f64::NAN))), (None, None));
    }
}
