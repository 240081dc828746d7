//! What metrics there are.

use std::{collections::BTreeMap, fmt};

use serde::de::DeserializeOwned;

use crate::{
    Audience, Dimension, Error, Grain, Groups, Metric, MetricKind, MetricRequest, PersonCount,
    Source, Statement, Unit, context::StatementContext, kind, privacy, statement::Part,
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
    /// Which metrics and dimensions the viewer may ask for. Staff may ask for those of organizations as well.
    pub audience: Audience,
    /// Whether the one who asks sees what says something of a person.
    pub persons: bool,
}

/// A file of metrics is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct CatalogError {
    /// The file, and the line if it is known.
    pub place: String,
    /// What is wrong, in one line.
    pub reason: String,
}

impl CatalogError {
    /// What is wrong in a file, in one line.
    pub fn of(file: &str, line: Option<usize>, reason: &dyn fmt::Display) -> Self {
        let place = line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"));
        let reason = reason.to_string();
        Self { place, reason: reason.lines().collect::<Vec<_>>().join(" ") }
    }
}

const SOURCES: &str = include_str!("../metrics/sources.yaml");
const BUILT_IN: [(&str, &str); 3] = [
    ("usage.yaml", include_str!("../metrics/usage.yaml")),
    ("revenue.yaml", include_str!("../metrics/revenue.yaml")),
    ("growth.yaml", include_str!("../metrics/growth.yaml")),
];

/// What stands in the place of a metric's name in addresses.
const RESERVED: [&str; 3] = ["check", "query", "summary"];

/// Buckets of one answer.
const BUCKETS_MAX: i64 = 20_000;
/// Those of a source whose statement lists them.
const LISTED_BUCKETS_MAX: i64 = 400;
/// Dimensions that one question is split by.
const BY_MAX: usize = 3;
/// Groups that are shown separately.
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
        for metric in &catalog.metrics {
            catalog
                .check_metric(metric)
                .map_err(|reason| CatalogError::of("metrics", None, &reason))?;
        }
        Ok(catalog)
    }

    /// Adds the metrics of a file, or puts them in the place of those that come with the program. Gives their names,
    /// each with its line. `added` are those of files before it, which are not replaced.
    ///
    /// # Errors
    /// When the file is not YAML, or one of its metrics none.
    pub fn add(
        &mut self,
        file: &str,
        text: &str,
        added: &BTreeMap<String, (String, usize)>,
    ) -> Result<Vec<(String, usize)>, CatalogError> {
        let invalid = |error: serde_yaml_ng::Error| {
            CatalogError::of(file, error.location().map(|at| at.line()), &error)
        };
        let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(invalid)?;
        value.apply_merge().map_err(invalid)?;
        let entries: Vec<serde_yaml_ng::Value> =
            serde_yaml_ng::from_value(value).map_err(invalid)?;
        let lines: Vec<_> = lines_of_entries(text).collect();
        if lines.len() != entries.len() {
            let reason =
                "a file is a list whose entries begin with `- name:`, each on a line of its own";
            return Err(CatalogError::of(file, None, &reason));
        }
        let mut names: Vec<(String, usize)> = Vec::new();
        for (entry, line) in entries.into_iter().zip(lines) {
            let refuse = |reason: &dyn fmt::Display| CatalogError::of(file, Some(line), reason);
            let metric: Metric =
                serde_yaml_ng::from_value(entry).map_err(|error| refuse(&error))?;
            let before = added.get(&metric.name).map(|(file, line)| format!("{file}:{line}"));
            let same = names.iter().find(|(name, _)| *name == metric.name);
            if let Some(before) = before.or_else(|| same.map(|(_, line)| format!("line {line}"))) {
                return Err(refuse(&format!("`{}` is there already: {before}", metric.name)));
            }
            names.push((metric.name.clone(), line));
            self.metrics.retain(|other| other.name != metric.name);
            self.check_metric(&metric).map_err(|reason| refuse(&reason))?;
            self.metrics.push(metric);
        }
        Ok(names)
    }

    /// A metric, whoever it is for.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
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

    /// The shortest buckets of a metric, where there is a limit.
    pub fn finest_grain(&self, metric: &Metric) -> Option<Grain> {
        self.source(metric).and_then(|source| source.finest_grain)
    }

    /// Where rows come from.
    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
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
            let source = self.source_of(&statement.parts[0].metric)?;
            statement.write(source, &self.sources, viewer.audience)?;
        }
        Ok(statements)
    }

    /// The statement that gives the rows which a value comes from, the newest first.
    ///
    /// # Errors
    /// As for [`Catalog::compile`].
    pub fn rows(
        &self,
        request: &MetricRequest,
        currency: Option<&str>,
        viewer: Viewer,
        limit: usize,
    ) -> Result<String, Error> {
        let metric = self.get(&request.metric, viewer.audience)?;
        self.check_request(metric, request, viewer)?;
        let source = &self.source_of(metric)?.localized(request);
        StatementContext::new(
            source,
            &self.sources,
            request,
            metric.has_currency(),
            viewer.audience,
        )
        .map(|context| context.rows_of(metric, currency, limit))
    }

    /// The statement that counts the persons behind each value of a question; nothing where they are not shown.
    ///
    /// # Errors
    /// As for [`Catalog::compile`]; and when the window is not of whole days, or the filter cannot be looked into.
    pub fn person_count(
        &self,
        request: &MetricRequest,
        viewer: Viewer,
    ) -> Result<Option<PersonCount>, Error> {
        let metric = self.get(&request.metric, viewer.audience)?;
        self.check_request(metric, request, viewer)?;
        let source = self.source_of(metric)?.localized(request);
        PersonCount::new(metric, request, &source, &self.sources, viewer.audience)
    }

    /// The statement that counts the persons of each group over the window, whatever of them the metric counts.
    ///
    /// # Errors
    /// As for [`Catalog::compile`].
    pub fn person_groups(
        &self,
        request: &MetricRequest,
        viewer: Viewer,
    ) -> Result<Option<PersonCount>, Error> {
        let metric = self.get(&request.metric, viewer.audience)?;
        self.check_request(metric, request, viewer)?;
        let request = &MetricRequest { grain: None, ..request.clone() };
        let source = self.source_of(metric)?.localized(request);
        PersonCount::of_groups(metric, request, &source, &self.sources, viewer.audience)
    }

    /// Whether a metric says what persons do.
    pub fn is_of_persons(&self, metric: &Metric) -> bool {
        self.source(metric).is_some_and(|source| source.person.is_some())
    }

    fn source_of(&self, metric: &Metric) -> Result<&Source, Error> {
        let missing = || Error::Invalid(format!("there is no source `{}`", metric.source));
        self.source(metric).ok_or_else(missing)
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
            return refuse(format!("at most {GROUPS_MAX} groups are shown separately"));
        }
        if let (Some(finest), Some(grain)) = (self.finest_grain(metric), request.grain)
            && grain < finest
        {
            let (name, finest) = (&metric.name, finest.name());
            return Err(Error::Window(format!(
                "`{name}` is computed by {finest}: take that grain or a longer one"
            )));
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
        let Some(source) = self.source(metric) else { return Ok(()) };
        for name in request.by.iter().chain(filters.map(|condition| &condition.dimension)) {
            self.check_shown(source, &metric.name, name, viewer)?;
        }
        Ok(())
    }

    /// Whether a dimension is there, and not one of persons that the viewer does not see: a group is named by its value,
    /// so what is null in SQL is no dimension either.
    pub(crate) fn check_shown(
        &self,
        source: &Source,
        of: &str,
        name: &str,
        viewer: Viewer,
    ) -> Result<(), Error> {
        let dimension = source.dimension(of, name, viewer.audience)?;
        if viewer.persons || !dimension.is_personal() {
            return Ok(());
        }
        let others = source
            .dimensions
            .iter()
            .filter(|dimension| dimension.audience <= viewer.audience && !dimension.is_personal());
        let others: Vec<_> = others.map(|dimension| dimension.name.as_str()).collect();
        Err(Error::Persons(format!(
            "`{name}` says something of persons, which your role does not see: ask an administrator to grant it \
             persons, or split `{of}` by: {}",
            others.join(", ")
        )))
    }

    /// Whether a metric says all that its kind needs, and nothing more.
    fn check_metric(&self, metric: &Metric) -> Result<(), String> {
        let refuse = |reason: &str| Err(format!("the metric `{}` {reason}", metric.name));
        let is_letter =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if metric.name.is_empty() || metric.name.len() > 64 || !metric.name.bytes().all(is_letter) {
            return refuse("has a name that is not of a to z, 0 to 9 and _, up to 64 of them");
        }
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
        if metric.percentile.is_some_and(|rank| !(rank > 0.0 && rank <= 1.0)) {
            return refuse("has a `percentile` that is not above 0 and at most 1");
        }
        if metric.matures_days > 366 {
            return refuse("has `matures_days` above 366");
        }
        if metric.filter.is_some()
            && !matches!(metric.kind, MetricKind::Aggregate | MetricKind::Distinct)
        {
            return refuse("has a `filter`, which only an aggregate and a distinct count have");
        }
        if self.is_of_persons(metric) && !privacy::is_countable(metric) {
            return refuse(
                "is of persons, who must be countable: `value` and `over` are one call each, such as \
                 count(*) FILTER (WHERE …)",
            );
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

/// The lines on which the entries of a list begin, from 1.
fn lines_of_entries(text: &str) -> impl Iterator<Item = usize> {
    let indent =
        text.lines().find_map(|line| line.find("- ").filter(|at| line[..*at].trim().is_empty()));
    let is_entry =
        move |line: &str| line.find('-') == indent && line.trim_start().starts_with("- ");
    text.lines().enumerate().filter(move |(_, line)| is_entry(line)).map(|(number, _)| number + 1)
}

/// Merge keys (`<<`) spare the metrics of a family from repeating themselves.
fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, CatalogError> {
    let invalid = |error: serde_yaml_ng::Error| CatalogError::of(file, None, &error);
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(invalid)?;
    value.apply_merge().map_err(invalid)?;
    serde_yaml_ng::from_value(value).map_err(invalid)
}

#[cfg(test)]
mod tests;
