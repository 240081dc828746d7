//! A series in words, for those who do not see its picture.

use chrono::{DateTime, Utc};
use query::metric::{Grain, Unit};
use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;

use super::Point;
use crate::number::{Precision, print, print_or_absent};
use crate::{Band, Language, Window, words};

/// How the values of a panel are printed.
#[derive(Clone, Copy)]
pub(super) struct Print<'a> {
    pub(super) unit: Unit,
    pub(super) currency: Option<&'a str>,
    pub(super) language: Language,
    pub(super) window: &'a Window,
    pub(super) grain: Grain,
}

impl Print<'_> {
    /// The start of a bucket.
    pub(super) fn tick(self, at: DateTime<Utc>) -> String {
        self.window.tick(at, self.grain, self.language)
    }

    pub(super) fn value(self, value: Option<Decimal>, precision: Precision) -> String {
        print_or_absent(value, self.unit, self.currency, precision, self.language)
    }

    pub(super) fn float(self, value: f64) -> String {
        // Things are expected in whole numbers.
        let whole = self.unit == Unit::Count && value.abs() >= 10.0;
        let value = Decimal::from_f64(if whole { value.round() } else { value });
        value.map_or_else(String::new, |value| {
            print(value, self.unit, self.currency, Precision::Short, self.language)
        })
    }
}

/// The lowest, the highest and the last value, and the end of the forecast.
pub(super) fn write(title: &str, points: &[Point], bands: &[Band], print: Print<'_>) -> String {
    let known = || points.iter().filter(|point| point.value.is_some());
    let said = |point: &Point| {
        let at = print.tick(point.at);
        (print.value(point.value, Precision::Short), at)
    };
    let (Some(low), Some(high), Some(last)) = (
        known().min_by_key(|point| point.value).map(said),
        known().max_by_key(|point| point.value).map(said),
        known().next_back().map(said),
    ) else {
        return String::new();
    };
    let mut summary = words::summary(
        title,
        (&low.0, &low.1),
        (&high.0, &high.1),
        (&last.0, &last.1),
        print.language,
    );
    if let Some(band) = bands.last() {
        summary.push(' ');
        summary.push_str(&words::outlook(
            &print.tick(band.at),
            &print.float(band.value),
            &print.float(band.lower),
            &print.float(band.upper),
            print.language,
        ));
    }
    summary
}
