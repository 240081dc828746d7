//! How good forecasts of the past were, now that it is known what came.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Point;

/// How good forecasts of some days ahead were.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct PastAccuracy {
    /// Buckets ahead: 1 is the first one of a forecast.
    pub ahead: usize,
    /// How many forecasts so far ahead can be compared.
    pub count: usize,
    /// The mean of what they were off, in the unit of the metric.
    pub mean_error: f64,
    /// The sum of what they were off over the sum of what came; none where nothing came.
    pub relative_error: Option<f64>,
    /// The share of what came inside of the widest interval.
    pub coverage: f64,
}

/// Compares forecasts with what came, by how far ahead they looked.
pub fn past_accuracy(
    forecasts: &[Vec<Point>],
    came: &BTreeMap<DateTime<Utc>, f64>,
) -> Vec<PastAccuracy> {
    let longest = forecasts.iter().map(Vec::len).max().unwrap_or_default();
    let of = |ahead: usize| {
        let mut all = (0_usize, 0.0, 0.0, 0_usize);
        for point in forecasts.iter().filter_map(|points| points.get(ahead - 1)) {
            let Some(value) = came.get(&point.at) else { continue };
            let inside = point
                .intervals
                .last()
                .is_some_and(|widest| widest.lower <= *value && *value <= widest.upper);
            all.0 += 1;
            all.1 += (point.value - value).abs();
            all.2 += value.abs();
            all.3 += usize::from(inside);
        }
        let (count, off, sum, inside) = all;
        (count > 0).then(|| PastAccuracy {
            ahead,
            count,
            mean_error: off / count as f64,
            relative_error: (sum > 0.0).then(|| off / sum),
            coverage: inside as f64 / count as f64,
        })
    };
    (1..=longest).filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::metric_forecast::Interval;

    #[test]
    fn forecasts_are_compared_by_how_far_they_looked() {
        let day = |number: i64| DateTime::UNIX_EPOCH + TimeDelta::days(number);
        let made = |first: i64, values: &[f64]| -> Vec<Point> {
            let point = |(at, value): (i64, &f64)| Point {
                at: day(at),
                value: *value,
                intervals: vec![Interval { level: 0.95, lower: value - 2.0, upper: value + 2.0 }],
            };
            (first..).zip(values).map(point).collect()
        };
        let came = (0..3).map(|number| (day(number), 10.0)).collect();
        let forecasts = [made(0, &[9.0, 14.0]), made(1, &[11.0, 10.0]), made(2, &[13.0, 10.0])];
        let found = past_accuracy(&forecasts, &came);
        assert_eq!((found[0].count, found[0].mean_error), (3, 5.0 / 3.0));
        assert_eq!((found[0].relative_error, found[0].coverage), (Some(5.0 / 30.0), 2.0 / 3.0));
        assert_eq!((found[1].count, found[1].mean_error), (2, 2.0), "the third day is to come");
        assert_eq!(past_accuracy(&forecasts, &BTreeMap::new()), []);
    }
}
