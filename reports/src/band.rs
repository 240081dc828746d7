//! What a chart shows of a forecast.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

/// One point of a forecast: the bucket's start, the expected value, and the interval it should
/// fall into, all in the unit of the metric (a ratio is between 0 and 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    pub at: DateTime<Utc>,
    pub value: f64,
    pub lower: f64,
    pub upper: f64,
}

impl Band {
    fn finite(&self) -> bool {
        self.value.is_finite() && self.lower.is_finite() && self.upper.is_finite()
    }
}

/// The forecasts at hand, by metric and, for money, by currency. A metric that has none is drawn
/// without one: a young series cannot be forecast, and that is no error.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forecasts(BTreeMap<(String, Option<String>), Vec<Band>>);

impl Forecasts {
    /// Keeps the bands of a metric in order of time; those that are not finite are left out.
    pub fn insert(&mut self, metric: &str, currency: Option<&str>, mut bands: Vec<Band>) {
        bands.retain(Band::finite);
        bands.sort_by_key(|band| band.at);
        self.0.insert((metric.to_owned(), currency.map(str::to_owned)), bands);
    }

    pub fn get(&self, metric: &str, currency: Option<&str>) -> &[Band] {
        self.0.get(&(metric.to_owned(), currency.map(str::to_owned))).map_or(&[], Vec::as_slice)
    }
}
