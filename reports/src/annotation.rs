//! Sentences about points of time, on every chart of time.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{Selection, Window};

/// What is said of a point of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    pub id: String,
    pub at: DateTime<Utc>,
    pub text: String,
    /// Whether the reader may remove it.
    pub may_remove: bool,
}

/// Something unusual of a metric, to be marked on its charts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnomalyMark {
    pub metric: String,
    pub currency: Option<String>,
    pub at: DateTime<Utc>,
    pub text: String,
}

/// A mark on a chart, in pixels from the left.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Mark {
    x: String,
    text: String,
}

/// An annotation in the list of a page.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    id: String,
    day: String,
    text: String,
    may_remove: bool,
}

impl Annotation {
    /// When it is, and what it says.
    pub(crate) fn point(&self) -> (DateTime<Utc>, String) {
        (self.at, self.text.clone())
    }
}

impl Listed {
    pub(crate) fn new(annotation: &Annotation, window: &Window) -> Self {
        let local = window.zone().local(annotation.at);
        Self {
            id: annotation.id.clone(),
            day: local.format("%Y-%m-%d").to_string(),
            text: annotation.text.clone(),
            may_remove: annotation.may_remove,
        }
    }
}

/// The marks on a chart whose first and last of so many labels are at these pixels: each at the bucket that it falls in.
pub(crate) fn marks(
    points: impl IntoIterator<Item = (DateTime<Utc>, String)>,
    selection: &Selection,
    labels: usize,
    extent: (f32, f32),
) -> Vec<Mark> {
    let buckets = selection.buckets();
    let (from, to) = (f64::from(extent.0), f64::from(extent.1));
    #[expect(clippy::cast_precision_loss, reason = "a chart has few labels")]
    let step = if labels > 1 { (to - from) / (labels - 1) as f64 } else { 0.0 };
    points
        .into_iter()
        .filter_map(|(at, text)| {
            let after = buckets.partition_point(|(start, _)| *start <= at);
            let place = after.checked_sub(1)?;
            let window = &selection.window;
            let is_within = (window.from()..window.to()).contains(&at);
            #[expect(clippy::cast_precision_loss, reason = "a chart has few buckets")]
            is_within.then(|| Mark {
                x: format!("{:.0}", from + step * place as f64),
                text: format!("{} {text}", window.bucket(at, query::metric::Grain::Day)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_mark_stands_at_its_bucket_and_none_outside() {
        let now = "2026-11-23T07:05:41Z".parse().unwrap();
        let selection = Selection::new(Window::last_days(now, 7).unwrap());
        let start = selection.window.from();
        let at = |hours: i64| Annotation {
            id: String::new(),
            at: start + TimeDelta::hours(hours),
            text: "x".into(),
            may_remove: false,
        };
        let all = [at(-1), at(0), at(30), at(7 * 24)];
        let points = || all.iter().map(Annotation::point);
        let found = marks(points(), &selection, 7, (100.0, 160.0));
        let places: Vec<&str> = found.iter().map(|mark| mark.x.as_str()).collect();
        assert_eq!(places, ["100", "110"]);
        assert_eq!(found[1].text, "2026-11-17 x");
    }
}
