//! What a reader has chosen of a page: the period, what it is compared with, the grain, and the rows that count.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use query::metric::{
    Audience, Catalog, Compare, Filter, Goal, GoalPeriod, Grain, MetricAnswer, MetricRequest,
    MetricRow,
};

use rust_decimal::{Decimal, prelude::FromPrimitive};

use crate::{Error, Window, metric_forecast};

/// What a reader has chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    pub window: Window,
    /// None: nothing is compared.
    pub compare: Option<Compare>,
    /// None: the one that fits the window.
    pub grain: Option<Grain>,
    filters: Vec<PageFilter>,
    /// What each metric can be filtered by.
    dimensions: BTreeMap<String, Vec<String>>,
    /// What each metric should be.
    goals: BTreeMap<String, Goal>,
    data: Data,
}

/// Where the data begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Data {
    /// Nobody asked: it covers every window.
    Unknown,
    /// It covers no window that is compared.
    None,
    From(DateTime<Utc>),
}

/// A condition on one dimension, as the address of the page says it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PageFilter {
    text: String,
    dimension: String,
    filter: Filter,
}

/// Every event of usage counts in it, and every reader may ask for it.
const COVERAGE_METRIC: &str = "requests";
/// A window is compared with one whose first days have no data, up to this part of it.
const UNCOVERED_MAX: f64 = 0.1;

/// The changes that say how large a usual change is, and the fewest that do.
const CHANGES: usize = 8;
pub(crate) const CHANGES_MIN: usize = 4;
/// Over more days, the data is looked for by months.
const COVERAGE_DAYS_MAX: i64 = 800;

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
            goals: BTreeMap::new(),
            data: Data::Unknown,
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
        // The goals are of the whole business, not of one organization.
        let goals = catalog
            .metrics(audience)
            .filter(|_| audience == Audience::Staff)
            .filter_map(|metric| Some((metric.name.clone(), metric.goal?)))
            .collect();
        Ok(Self { filters, dimensions, goals, ..self })
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

    /// Whether some metric can be filtered by a dimension.
    pub(crate) fn has_dimension(&self, name: &str) -> bool {
        self.dimensions.values().any(|names| names.iter().any(|known| known == name))
    }

    /// The dimensions of the filters.
    pub(crate) fn dimensions_of_filters(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().map(|filter| filter.dimension.as_str())
    }

    /// The value that a dimension is filtered to, where that is one.
    pub(crate) fn filtered_to(&self, dimension: &str) -> Option<&str> {
        let filter = self.filters.iter().find(|filter| filter.dimension == dimension)?;
        match filter.filter.conditions().as_slice() {
            [condition] => condition.equal_to(),
            _ => None,
        }
    }

    /// The start of each bucket of a chart, and whether the window, or the time until now, has only a part of it.
    pub(crate) fn buckets(&self) -> Vec<(DateTime<Utc>, bool)> {
        let (grain, zone) = (self.grain(), self.window.zone());
        let first = grain.start(self.window.from(), zone);
        std::iter::successors(Some(first), |at| Some(grain.end(*at, zone)))
            .take_while(|at| *at < self.window.to())
            .map(|at| (at, self.is_partial(at)))
            .collect()
    }

    /// Whether the window, or the time until now, has only a part of the bucket that begins then.
    pub(crate) fn is_partial(&self, at: DateTime<Utc>) -> bool {
        let end = self.grain().end(at, self.window.zone());
        at < self.window.from() || end > self.window.seen_to()
    }

    /// The texts of the filters.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().map(|filter| filter.text.as_str())
    }

    /// What the value of a metric over the window should be. A goal of a month is for whole months, and none is for a part
    /// of the rows.
    pub(crate) fn goal(&self, metric: &str) -> Option<Decimal> {
        let goal = self.goals.get(metric).filter(|_| self.filters_of(metric).next().is_none())?;
        let is_for_it = goal.per == GoalPeriod::Window || self.window.is_a_month();
        is_for_it.then(|| Decimal::from_f64(goal.value)).flatten()
    }

    /// What every point of a chart of a metric should be.
    pub(crate) fn goal_of_points(&self, metric: &str) -> Option<f64> {
        let goal = self.goals.get(metric).filter(|_| self.filters_of(metric).next().is_none())?;
        let is_for_it = goal.per == GoalPeriod::Window || self.grain() == Grain::Month;
        is_for_it.then_some(goal.value)
    }

    /// The window that this one is compared with. None where the data does not cover it: that the data begins is no reason
    /// to say that everything grew.
    pub fn compared(&self) -> Option<Window> {
        self.earlier().next()
    }

    /// The windows before this one that the data covers, the last first: each is what the one after it is compared with.
    fn earlier(&self) -> impl Iterator<Item = Window> {
        self.all_earlier().take_while(|window| self.is_covered(window))
    }

    /// The windows before the compared one whose changes say how large a usual change is: none where there are too few.
    pub fn history_of_changes(&self) -> Vec<Window> {
        let windows: Vec<Window> = self.earlier().skip(1).collect();
        // With the compared one, each has a window before it but the last.
        if windows.len() < CHANGES_MIN { Vec::new() } else { windows }
    }

    /// Whether the answer to a question is of the window, or of the one that it is compared with. The others say what
    /// changes are usual, or what is expected.
    pub fn shows(&self, request: &MetricRequest) -> bool {
        [Some(self.window), self.compared()]
            .into_iter()
            .flatten()
            .any(|window| (request.from, request.to) == (window.from(), window.to()))
    }

    fn all_earlier(&self) -> impl Iterator<Item = Window> {
        let before = move |window: &Window| self.compare.map(|compare| window.compared(compare));
        std::iter::successors(before(&self.window), before).take(1 + CHANGES)
    }

    /// The question whose answer says where the data begins: the course of all requests over every window before this one
    /// that may be looked at.
    pub fn coverage(&self) -> Option<MetricRequest> {
        let windows = || self.all_earlier();
        let (last, first) = (windows().next()?, windows().last()?);
        let request = MetricRequest::new(COVERAGE_METRIC, first.from(), last.to());
        let days = (last.to() - first.from()).num_days();
        let grain = if days > COVERAGE_DAYS_MAX { Grain::Month } else { Grain::Day };
        Some(MetricRequest { zone: first.zone(), ..request }.with_grain(grain))
    }

    /// Knows where the data begins, by the answer to [`Self::coverage`].
    pub fn with_coverage(self, answer: &MetricAnswer) -> Self {
        let has_value =
            |row: &&MetricRow| row.value.is_some_and(|value| !value.to_decimal().is_zero());
        let first = answer.rows.iter().find(has_value).and_then(|row| row.at);
        Self { data: first.map_or(Data::None, Data::From), ..self }
    }

    fn is_covered(&self, window: &Window) -> bool {
        match self.data {
            Data::Unknown => true,
            Data::None => false,
            Data::From(first) => {
                let missing = (first - window.from()).num_seconds().max(0) as f64;
                missing <= window.length().num_seconds() as f64 * UNCOVERED_MAX
            }
        }
    }

    /// The days of the window, where the one that it is compared with has as many and ends where it begins.
    pub(crate) fn compared_days(&self) -> Option<i64> {
        let (days, compared) = (self.window.whole_days()?, self.compared()?);
        (compared.whole_days() == Some(days) && compared.to() == self.window.from()).then_some(days)
    }

    /// The texts of the filters that a metric's rows are filtered by.
    pub(crate) fn filters_of(&self, metric: &str) -> impl Iterator<Item = &str> {
        let known = self.dimensions.get(metric);
        let has = move |filter: &&PageFilter| {
            known.is_some_and(|names| names.contains(&filter.dimension))
        };
        self.filters.iter().filter(has).map(|filter| filter.text.as_str())
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

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use query::metric::Unit;

    use super::*;

    fn selection() -> Selection {
        let now: DateTime<Utc> = "2026-11-23T07:05:41Z".parse().unwrap();
        Selection::new(Window::last_days(now, 30).unwrap())
    }

    fn filtered(texts: &[&str]) -> Result<Selection, Error> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let catalog = Catalog::built_in().unwrap();
        selection().with_filters(&texts, &catalog, Audience::Staff)
    }

    #[test]
    fn a_filter_is_for_the_metrics_that_have_its_dimension() {
        let selection = filtered(&["model=m1", "region=eu,us"]).unwrap();
        let request = selection.course("requests");
        let both = ["model=m1", "region=eu,us"].map(|text| Filter::parse(text).unwrap());
        assert_eq!(request.filter, Some(Filter::all(both.to_vec())));
        assert_eq!(selection.not_filtered("requests").count(), 0);
        assert_eq!(selection.course("mrr").filter, None);
        assert_eq!(selection.not_filtered("mrr").collect::<Vec<_>>(), ["model", "region"]);
    }

    #[test]
    fn what_cannot_be_a_filter_is_refused() {
        for texts in [&["model"][..], &["password=x"], &["model=a", "model=b"], &["=x"]] {
            assert!(matches!(filtered(texts), Err(Error::Filter(_))), "{texts:?}");
        }
        let many = vec!["model=a"; FILTERS_MAX + 1];
        assert!(filtered(&many).is_err());
        assert!(selection().with_grain(Grain::Minute).is_err());
        assert!(selection().with_grain(Grain::Hour).is_ok());
    }

    #[test]
    fn a_window_before_the_data_is_not_compared() {
        let selection = selection();
        let window = selection.compared().unwrap();
        let answer = |first_day: i64| MetricAnswer {
            metric: "requests".into(),
            unit: Unit::Count,
            grain: Some(Grain::Day),
            by: Vec::new(),
            rows: (0..30)
                .map(|day| MetricRow {
                    at: Some(window.from() + TimeDelta::days(day)),
                    group: Vec::new(),
                    other: false,
                    currency: None,
                    value: Some(i64::from(day >= first_day).into()),
                    suppressed: false,
                })
                .collect(),
            sql: String::new(),
            read: Default::default(),
        };
        let compared = |first_day| selection.clone().with_coverage(&answer(first_day)).compared();
        assert_eq!(compared(0), Some(window));
        assert_eq!(compared(3), Some(window));
        assert_eq!((compared(4), compared(30)), (None, None));
        let alone = selection.compared_with(None);
        assert!(alone.coverage().is_none() && alone.compared().is_none());
    }

    #[test]
    fn usual_changes_are_those_of_up_to_eight_windows_that_the_data_covers() {
        let selection = selection();
        let all = selection.history_of_changes();
        assert_eq!(all.len(), 8);
        let coverage = selection.coverage().unwrap();
        assert_eq!(coverage.from, all[7].from());
        assert_eq!(coverage.to, selection.window.from());
        let from =
            |window: &Window| Selection { data: Data::From(window.from()), ..selection.clone() };
        assert_eq!(from(&all[3]).history_of_changes(), all[..4]);
        assert_eq!(from(&all[2]).history_of_changes(), []);
    }
}
