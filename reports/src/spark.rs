//! The small line in the corner of a tile: the shape of a series, without numbers.

use std::fmt::Write;

/// The width and height of the drawing; the page stretches it.
pub(crate) const WIDTH: f64 = 100.0;
pub(crate) const HEIGHT: f64 = 28.0;

// The stroke is as wide as this at the edges and would be cut there.
const INSET: f64 = 2.0;

// More points are a thicket. Days are drawn as weeks then, which also hides the weekends.
const MOST_POINTS: usize = 45;

/// The path through the values from the lowest at the bottom to the highest at the top; a missing
/// value leaves a gap. None if there is no line to draw.
pub(crate) fn path(values: &[Option<f64>]) -> Option<String> {
    let weeks: Vec<Option<f64>>;
    let values = if values.len() > MOST_POINTS {
        weeks = values.chunks(7).map(mean).collect();
        &weeks
    } else {
        values
    };
    let known = || values.iter().copied().flatten();
    if known().count() < 2 {
        return None;
    }
    let low = known().fold(f64::INFINITY, f64::min);
    let high = known().fold(f64::NEG_INFINITY, f64::max);
    let step = WIDTH / (values.len() - 1) as f64;
    let mut path = String::with_capacity(values.len() * 10);
    let mut pen_down = false;
    for (index, value) in values.iter().enumerate() {
        let Some(value) = value else {
            pen_down = false;
            continue;
        };
        let share = if high > low { (value - low) / (high - low) } else { 0.5 };
        let x = step * index as f64;
        let y = HEIGHT - INSET - share * (HEIGHT - 2.0 * INSET);
        let command = if pen_down { 'L' } else { 'M' };
        // Writing to a string cannot fail.
        let _ = write!(path, "{command}{x:.1} {y:.1}");
        pen_down = true;
    }
    Some(path)
}

fn mean(values: &[Option<f64>]) -> Option<f64> {
    let known = || values.iter().copied().flatten();
    let count = known().count();
    (count > 0).then(|| known().sum::<f64>() / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_spans_the_drawing_and_keeps_gaps() {
        let drawn = path(&[Some(1.0), Some(3.0), None, Some(2.0), Some(1.0)]);
        assert_eq!(drawn.as_deref(), Some("M0.0 26.0L25.0 2.0M75.0 14.0L100.0 26.0"));
    }

    #[test]
    fn many_days_are_drawn_as_weeks() {
        let quarter: Vec<Option<f64>> = (0..91).map(|day| Some(f64::from(day % 7))).collect();
        let drawn = path(&quarter).unwrap();
        assert_eq!(drawn.matches('L').count(), 12);
        assert!(drawn.starts_with("M0.0 14.0L8.3 14.0"), "{drawn}");
    }

    #[test]
    fn one_point_is_no_line() {
        assert_eq!(path(&[]), None);
        assert_eq!(path(&[None, Some(1.0)]), None);
        assert_eq!(path(&[Some(5.0), Some(5.0)]).as_deref(), Some("M0.0 14.0L100.0 14.0"));
    }
}
