//! What metrics there are.

use std::{collections::BTreeMap, fmt};

use serde::de::DeserializeOwned;

use crate::{
    Audience, Dimension, Error, Grain, Groups, Metric, MetricKind, MetricOption, MetricRequest,
    PersonCount, Rollups, Source, Statement, context::StatementContext, kind::conversion,
    statement::Part,
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
            let found = parse::<Vec<Metric>>(file, text)?.into_iter();
            metrics.extend(found.map(Metric::completed));
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
            let metric = metric.completed();
            let before = added.get(&metric.name).map(|(file, line)| format!("{file}:{line}"));
            let same = names.iter().find(|(name, _)| *name == metric.name);
            if let Some(before) = before.or_else(|| same.map(|(_, line)| format!("line {line}"))) {
                return Err(refuse(&format!("`{}` is there already: {before}", metric.name)));
            }
            names.push((metric.name.clone(), line));
            self.metrics.retain(|other| other.name != metric.name);
            self.metrics.push(metric);
        }
        // One that is derived may stand before what it is derived from.
        for (name, line) in &names {
            let metric = self.metrics.iter().find(|metric| metric.name == *name);
            let checked = metric.map_or(Ok(()), |metric| self.check_metric(metric));
            checked.map_err(|reason| CatalogError::of(file, Some(*line), &reason))?;
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
        // What is derived is split by what all of its metrics can be split by.
        let operands = self.operands(metric);
        let of = |metric| self.dimensions(metric, audience).collect::<Vec<_>>();
        let found = match operands.split_first() {
            Some((first, others)) => {
                let mut found = of(first);
                for other in others {
                    let names: Vec<_> = of(other).iter().map(|dimension| &dimension.name).collect();
                    found.retain(|dimension| names.contains(&&dimension.name));
                }
                found
            }
            None => self.source(metric).into_iter().flat_map(|source| &source.dimensions).collect(),
        };
        found.into_iter().filter(move |dimension| dimension.audience <= audience)
    }

    /// What a question about a metric may choose.
    pub fn options(&self, metric: &Metric) -> impl Iterator<Item = &MetricOption> {
        let options = self.source(metric).into_iter().flat_map(|source| &source.options);
        options.filter(|option| metric.options.contains(&option.name))
    }

    /// The shortest buckets of a metric, where there is a limit.
    pub fn finest_grain(&self, metric: &Metric) -> Option<Grain> {
        let operands = self.operands(metric);
        let of_operands = operands.into_iter().filter_map(|operand| self.finest_grain(operand));
        of_operands.chain(self.source(metric).and_then(|source| source.finest_grain)).max()
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
        self.compile_over(requests, viewer, &Rollups::none())
    }

    /// The same, where these rollups may be read, too.
    ///
    /// # Errors
    /// As for [`Catalog::compile`].
    pub fn compile_over(
        &self,
        requests: &[MetricRequest],
        viewer: Viewer,
        rollups: &Rollups<'_>,
    ) -> Result<Vec<Statement>, Error> {
        let rollups = rollups.of(viewer.audience);
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
            let Part { metric, request, .. } = statement.parts[0].clone();
            match metric.kind {
                MetricKind::Derived => {
                    self.write_derived(statement, &metric, &request, viewer, &rollups)?;
                }
                _ => {
                    let source = self.source_of(&metric, &request, viewer.audience)?;
                    statement.write(&source, &self.sources, viewer.audience, &rollups)?;
                }
            }
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
        if metric.kind == MetricKind::Derived {
            let operands = self.operands(metric).into_iter();
            let names = operands.map(|metric| metric.name.as_str()).collect::<Vec<_>>().join(", ");
            let name = &metric.name;
            return Err(Error::Invalid(format!(
                "`{name}` is computed from other metrics: ask for the rows of {names}"
            )));
        }
        let source = &self.source_of(metric, request, viewer.audience)?;
        StatementContext::new(
            source,
            &self.sources,
            request,
            metric.has_currency(),
            viewer.audience,
        )
        .map(|context| context.rows_of(metric, currency, limit))
    }

    /// The statement that counts the persons behind each value of a question; nothing where its rows are not of persons.
    ///
    /// # Errors
    /// As for [`Catalog::compile`]; and when the window is not of whole days, or the filter cannot be looked into.
    pub fn person_count(
        &self,
        request: &MetricRequest,
        viewer: Viewer,
    ) -> Result<Option<PersonCount>, Error> {
        self.of_persons(request, viewer, |metric, person, context| {
            PersonCount::of_values(metric, person, context)
        })
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
        let request = &MetricRequest { grain: None, ..request.clone() };
        self.of_persons(request, viewer, |metric, person, context| {
            Ok(PersonCount::of_groups(metric, person, &context))
        })
    }

    /// Counts persons in the rows of a question, if they are of persons.
    fn of_persons(
        &self,
        request: &MetricRequest,
        viewer: Viewer,
        count: impl FnOnce(&Metric, &str, StatementContext<'_>) -> Result<PersonCount, Error>,
    ) -> Result<Option<PersonCount>, Error> {
        let metric = self.get(&request.metric, viewer.audience)?;
        self.check_request(metric, request, viewer)?;
        let source = self.source_of(metric, request, viewer.audience)?;
        let Some(person) = &source.person else { return Ok(None) };
        let has_currency = metric.has_currency();
        let context =
            StatementContext::new(&source, &self.sources, request, has_currency, viewer.audience)?;
        count(metric, person, context).map(Some)
    }

    /// Whether a metric says what persons do.
    pub fn is_of_persons(&self, metric: &Metric) -> bool {
        self.source(metric).is_some_and(|source| source.person.is_some())
            || self.operands(metric).into_iter().any(|operand| self.is_of_persons(operand))
    }

    /// The source of a metric for a question: on its clock, and with its conversion.
    fn source_of(
        &self,
        metric: &Metric,
        request: &MetricRequest,
        audience: Audience,
    ) -> Result<Source, Error> {
        let missing = || Error::Invalid(format!("there is no source `{}`", metric.source));
        let mut source = self.source(metric).ok_or_else(missing)?.localized(request);
        if let Some(conversion) = &metric.conversion {
            let wrong = |reason| Error::Invalid(format!("the metric `{}` {reason}", metric.name));
            let template = source.query.take().unwrap_or_default();
            let query = conversion::query(&template, conversion, audience).map_err(wrong)?;
            source.query = Some(query);
            source.tables = conversion::tables(conversion);
            source.reads_after_days = conversion.within_days + 1;
        }
        Ok(source)
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
        for (name, value) in &request.options {
            self.check_option(metric, name, value)?;
        }
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
pub(crate) fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, CatalogError> {
    let invalid = |error: serde_yaml_ng::Error| CatalogError::of(file, None, &error);
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(invalid)?;
    value.apply_merge().map_err(invalid)?;
    serde_yaml_ng::from_value(value).map_err(invalid)
}

mod check;
mod derived;
#[cfg(test)]
mod tests;
