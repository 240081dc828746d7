//! What metrics there are.

use serde::de::DeserializeOwned;

use crate::{
    Audience, Dimension, Error, Groups, Metric, MetricKind, MetricRequest, Source, Statement, Unit,
    kind, statement::Part,
};

/// The metrics of a deployment.
#[derive(Debug, Clone)]
pub struct Catalog {
    sources: Vec<Source>,
    metrics: Vec<Metric>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    pub audience: Audience,
    /// Whether the one who asks sees what says something of a person.
    pub persons: bool,
}

/// A file of metrics is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct CatalogError {
    pub file: String,
    pub reason: String,
}

const SOURCES: &str = include_str!("../metrics/sources.yaml");
const BUILT_IN: [(&str, &str); 3] = [
    ("usage.yaml", include_str!("../metrics/usage.yaml")),
    ("revenue.yaml", include_str!("../metrics/revenue.yaml")),
    ("growth.yaml", include_str!("../metrics/growth.yaml")),
];

/// What stands in the place of a metric's name in addresses.
const RESERVED: [&str; 2] = ["query", "summary"];

/// Buckets of one answer.
const BUCKETS_MAX: i64 = 20_000;
/// Those of a source whose statement lists them.
const LISTED_BUCKETS_MAX: i64 = 400;
/// Dimensions that one question is split by.
const BY_MAX: usize = 3;
/// Groups that are told apart by name.
pub const GROUPS_MAX: usize = 100;

impl Catalog {
    /// The metrics that come with the program.
    ///
    /// # Errors
    /// When one of the files does not parse: a test keeps that from happening.
    pub fn built_in() -> Result<Self, CatalogError> {
        let mut metrics = Vec::new();
        for (file, text) in BUILT_IN {
            metrics.extend(parse::<Vec<Metric>>(file, text)?);
        }
        let catalog = Self { sources: parse("sources.yaml", SOURCES)?, metrics };
        catalog.metrics.iter().try_for_each(|metric| catalog.check_metric(metric))?;
        Ok(catalog)
    }

    /// The metrics that somebody may ask for.
    pub fn metrics(&self, audience: Audience) -> impl Iterator<Item = &Metric> {
        self.metrics.iter().filter(move |metric| metric.audience <= audience)
    }

    /// A metric by its name. One that is not for the audience is not there.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str, audience: Audience) -> Result<&Metric, Error> {
        self.metrics(audience).find(|metric| metric.name == name).ok_or_else(|| {
            let names = self.metrics(audience).map(|metric| metric.name.as_str());
            Error::UnknownMetric {
                name: name.to_owned(),
                hint: did_you_mean("metrics", name, names),
            }
        })
    }

    /// What a metric can be split by.
    pub fn dimensions(
        &self,
        metric: &Metric,
        audience: Audience,
    ) -> impl Iterator<Item = &Dimension> {
        let source = self.source(metric).into_iter().flat_map(|source| &source.dimensions);
        source.filter(move |dimension| dimension.audience <= audience)
    }

    fn source(&self, metric: &Metric) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == metric.source)
    }

    /// Turns questions into statements. Those that read the same rows in the same buckets share one. Staff's leave
    /// out what organizations say of themselves.
    ///
    /// # Errors
    /// When a question names what is not there or not for the viewer, or is too large.
    pub fn compile(
        &self,
        requests: &[MetricRequest],
        viewer: Viewer,
    ) -> Result<Vec<Statement>, Error> {
        let mut statements: Vec<Statement> = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let metric = self.get(&request.metric, viewer.audience)?;
            self.check_request(metric, request, viewer)?;
            let part = Part { index, metric: metric.clone(), request: request.clone() };
            match statements.iter_mut().find(|statement| statement.takes(metric, request)) {
                Some(statement) => statement.parts.push(part),
                None => statements.push(Statement::new(part)),
            }
        }
        for statement in &mut statements {
            let metric = statement.parts[0].metric.clone();
            let source = self
                .source(&metric)
                .ok_or_else(|| Error::Invalid(format!("there is no source `{}`", metric.source)))?;
            statement.write(source, &self.sources, viewer.audience)?;
        }
        Ok(statements)
    }

    fn check_request(
        &self,
        metric: &Metric,
        request: &MetricRequest,
        viewer: Viewer,
    ) -> Result<(), Error> {
        let refuse = |message: String| Err(Error::Invalid(message));
        if request.from >= request.to {
            return Err(Error::Window("`from` must lie before `to`".into()));
        }
        if request.by.len() > BY_MAX {
            return refuse(format!("a metric is split by at most {BY_MAX} dimensions"));
        }
        if let Some(twice) =
            request.by.iter().enumerate().find(|(i, by)| request.by[..*i].contains(by))
        {
            return refuse(format!("`by` names `{}` twice", twice.1));
        }
        let groups = match &request.groups {
            Groups::All => 0,
            Groups::Largest(count) => *count,
            Groups::These(groups) => groups.len(),
        };
        if groups > GROUPS_MAX {
            return refuse(format!("at most {GROUPS_MAX} groups are told apart"));
        }
        // The buckets of a query stand in its text.
        let is_listed = self.source(metric).is_some_and(|source| source.query.is_some());
        let buckets_max = if is_listed { LISTED_BUCKETS_MAX } else { BUCKETS_MAX };
        if let Some(grain) = request.grain
            && (request.to - request.from).num_seconds() / grain.seconds_min() > buckets_max
        {
            return Err(Error::Window(format!(
                "the window has more than {buckets_max} buckets of a {}",
                grain.name()
            )));
        }
        if let Some(filter) = &request.filter {
            filter.check()?;
        }
        let filters = request.filter.iter().flat_map(|filter| filter.conditions());
        for name in request.by.iter().chain(filters.map(|condition| &condition.dimension)) {
            let source = self.source(metric);
            let dimension =
                source.map(|source| source.dimension(&metric.name, name, viewer.audience));
            if let Some(dimension) = dimension
                && dimension?.is_personal()
                && !viewer.persons
            {
                return Err(self.hidden(metric, name, viewer.audience));
            }
        }
        Ok(())
    }

    /// A group is named by its value: what is null in SQL is no dimension either.
    fn hidden(&self, metric: &Metric, dimension: &str, audience: Audience) -> Error {
        let others = self.dimensions(metric, audience).filter(|dimension| !dimension.is_personal());
        let others: Vec<_> = others.map(|dimension| dimension.name.as_str()).collect();
        Error::Persons(format!(
            "`{dimension}` says something of persons, which your role does not see: ask an administrator to grant it \
             persons, or split `{}` by: {}",
            metric.name,
            others.join(", ")
        ))
    }

    /// Whether a metric says all that its kind needs, and nothing more.
    fn check_metric(&self, metric: &Metric) -> Result<(), CatalogError> {
        let refuse = |reason: &str| {
            let reason = format!("the metric `{}` {reason}", metric.name);
            Err(CatalogError { file: "metrics".into(), reason })
        };
        if self.source(metric).is_none() {
            return refuse(&format!("names the source `{}`, which is not there", metric.source));
        }
        if RESERVED.contains(&metric.name.as_str()) {
            return refuse("has a name that stands for something else");
        }
        if self.metrics.iter().filter(|other| other.name == metric.name).count() > 1 {
            return refuse("is there twice");
        }
        if (metric.kind == MetricKind::Ratio) != metric.over.is_some() {
            return refuse("needs `over` as a ratio, and has none otherwise");
        }
        if (metric.kind == MetricKind::Percentile) != metric.percentile.is_some() {
            return refuse("needs `percentile` as a percentile, and has none otherwise");
        }
        if metric.filter.is_some() && metric.kind != MetricKind::Distinct {
            return refuse("has a `filter`, which only a distinct count has");
        }
        let is_bucketed = self.source(metric).is_some_and(|source| source.query.is_some());
        if is_bucketed && !kind::shares(metric.kind) {
            return refuse(
                "is of a source with a query: it is an aggregate, a distinct count or a ratio",
            );
        }
        let fits = match metric.kind {
            MetricKind::Ratio => metric.unit != Unit::Count,
            MetricKind::Distinct => metric.unit == Unit::Count,
            _ => true,
        };
        if !fits {
            return refuse("has a unit that does not fit its kind");
        }
        Ok(())
    }
}

impl Source {
    /// A dimension by its name.
    pub(crate) fn dimension(
        &self,
        metric: &str,
        name: &str,
        audience: Audience,
    ) -> Result<&Dimension, Error> {
        let shown = || self.dimensions.iter().filter(|dimension| dimension.audience <= audience);
        shown().find(|dimension| dimension.name == name).ok_or_else(|| Error::UnknownDimension {
            metric: metric.to_owned(),
            dimension: name.to_owned(),
            hint: did_you_mean(
                "dimensions",
                name,
                shown().map(|dimension| dimension.name.as_str()),
            ),
        })
    }
}

/// The names that there are, the likeliest first if one is likely.
fn did_you_mean<'a>(what: &str, wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    let distance = |name: &&&str| strsim::damerau_levenshtein(wrong, name);
    let likely =
        known.iter().min_by_key(distance).filter(|name| distance(name) <= 2.max(wrong.len() / 3));
    let likely = likely.map(|name| format!("did you mean `{name}`? ")).unwrap_or_default();
    format!("{likely}{what}: {}", known.join(", "))
}

/// Merge keys (`<<`) spare the metrics of a family from repeating themselves.
fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, CatalogError> {
    let invalid = |error: serde_yaml_ng::Error| CatalogError {
        file: file.to_owned(),
        reason: error.to_string(),
    };
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(invalid)?;
    value.apply_merge().map_err(invalid)?;
    serde_yaml_ng::from_value(value).map_err(invalid)
}

#[cfg(test)]
mod tests;
