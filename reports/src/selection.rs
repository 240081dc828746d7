//! What a reader has chosen of a page: the period, what it is compared with, the grain, and the rows that count.

use std::collections::BTreeMap;

use query::metric::{Audience, Catalog, Compare, Filter, Grain, MetricRequest};

use crate::{Error, Window, metric_forecast};

/// What a reader has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub window: Window,
    /// None: nothing is compared.
    pub compare: Option<Compare>,
    /// None: the one that fits the window.
    pub grain: Option<Grain>,
    filters: Vec<PageFilter>,
    /// What each metric can be filtered by.
    dimensions: BTreeMap<String, Vec<String>>,
}

/// A condition on one dimension, as the address of the page says it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PageFilter {
    text: String,
    dimension: String,
    filter: Filter,
}

/// A page has at most so many filters.
const FILTERS_MAX: usize = 10;
/// A chart of more points is neither readable nor small.
const POINTS_MAX: i64 = 800;

impl Selection {
    /// A window, compared with the one before.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            compare: Some(Compare::PreviousPeriod),
            grain: None,
            filters: Vec::new(),
            dimensions: BTreeMap::new(),
        }
    }

    /// Compared with another window, or with none.
    pub fn compared_with(self, compare: Option<Compare>) -> Self {
        Self { compare, ..self }
    }

    /// With the rows that count: conditions such as `model=gpt-4o`, one for each dimension. A dimension that no metric of
    /// the catalog has is refused.
    pub fn with_filters(
        self,
        texts: &[String],
        catalog: &Catalog,
        audience: Audience,
    ) -> Result<Self, Error> {
        if texts.len() > FILTERS_MAX {
            return Err(Error::Filter(format!("a page has at most {FILTERS_MAX} filters")));
        }
        let dimensions: BTreeMap<String, Vec<String>> = catalog
            .metrics(audience)
            .map(|metric| {
                let names = catalog.dimensions(metric, audience).map(|known| known.name.clone());
                (metric.name.clone(), names.collect())
            })
            .collect();
        let mut filters: Vec<PageFilter> = Vec::new();
        for text in texts {
            let filter = Filter::parse(text).map_err(|error| Error::Filter(error.to_string()))?;
            let conditions = filter.conditions();
            let dimension = conditions.first().map(|condition| condition.dimension.clone());
            let dimension = dimension.unwrap_or_default();
            if !dimensions.values().any(|names| names.contains(&dimension)) {
                return Err(Error::Filter(format!("`{dimension}` is no dimension to filter by")));
            }
            if filters.iter().any(|other| other.dimension == dimension) {
                return Err(Error::Filter(format!("`{dimension}` is filtered twice")));
            }
            filters.push(PageFilter { text: text.clone(), dimension, filter });
        }
        Ok(Self { filters, dimensions, ..self })
    }

    /// With a grain of its own. One that would draw too many points is refused.
    pub fn with_grain(self, grain: Grain) -> Result<Self, Error> {
        let minutes = match grain {
            Grain::Minute => 1,
            Grain::Hour => 60,
            Grain::Day => 24 * 60,
            Grain::Week => 7 * 24 * 60,
            Grain::Month => 30 * 24 * 60,
            Grain::Quarter => 91 * 24 * 60,
            Grain::Year => 365 * 24 * 60,
        };
        if self.window.length().num_minutes() / minutes > POINTS_MAX {
            let name = grain.name();
            return Err(Error::Filter(format!(
                "a point for each {name} of the period is more than {POINTS_MAX} points"
            )));
        }
        Ok(Self { grain: Some(grain), ..self })
    }

    /// The grain of charts over time.
    pub fn grain(&self) -> Grain {
        self.grain.unwrap_or_else(|| self.window.grain())
    }

    /// The texts of the filters.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().map(|filter| filter.text.as_str())
    }

    /// The window that this one is compared with.
    pub fn compared(&self) -> Option<Window> {
        self.compare.map(|compare| self.window.compared(compare))
    }

    /// The days of the window, where the one that it is compared with has as many and ends where it begins.
    pub(crate) fn compared_days(&self) -> Option<i64> {
        let (days, compared) = (self.window.whole_days()?, self.compared()?);
        (compared.whole_days() == Some(days) && compared.to() == self.window.from()).then_some(days)
    }

    /// The dimensions of the filters that a metric does not have: its rows are not filtered by them.
    pub(crate) fn not_filtered(&self, metric: &str) -> impl Iterator<Item = &str> {
        let known = self.dimensions.get(metric);
        let lacks = move |filter: &&PageFilter| {
            !known.is_some_and(|names| names.contains(&filter.dimension))
        };
        self.filters.iter().filter(lacks).map(|filter| filter.dimension.as_str())
    }

    /// A metric over a window, as one number per group.
    pub(crate) fn totals(&self, metric: &str, window: &Window, by: &[&str]) -> MetricRequest {
        let request = MetricRequest::new(metric, window.from(), window.to()).split_by(by);
        MetricRequest { zone: window.zone(), filter: self.filter(metric), ..request }
    }

    /// A metric over time.
    pub(crate) fn course(&self, metric: &str) -> MetricRequest {
        self.totals(metric, &self.window, &[]).with_grain(self.grain())
    }

    /// The days of a metric that its forecast is made from.
    pub(crate) fn history(&self, metric: &str) -> MetricRequest {
        let history = metric_forecast::history(metric, Grain::Day, self.window.settled());
        MetricRequest { zone: self.window.zone(), filter: self.filter(metric), ..history }
    }

    fn filter(&self, metric: &str) -> Option<Filter> {
        let known = self.dimensions.get(metric)?;
        let mut filters: Vec<Filter> = self
            .filters
            .iter()
            .filter(|filter| known.contains(&filter.dimension))
            .map(|filter| filter.filter.clone())
            .collect();
        match filters.len() {
            0 => None,
            1 => filters.pop(),
            _ => Some(Filter::all(filters)),
        }
    }
}
