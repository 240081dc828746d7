//! What metrics there are.

use ingest::Table;
use serde::{Deserialize, Serialize};

use super::{MetricRequest, Statement, Unit};
use crate::{QueryError, Reason, RowAccess};

/// The metrics of a deployment.
#[derive(Debug, Clone)]
pub struct Catalog {
    metrics: Vec<Metric>,
}

/// One metric, as declared.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    pub name: String,
    pub title: String,
    pub description: String,
    pub unit: Unit,
    pub kind: MetricKind,
    /// A table or view of the session.
    pub source: String,
    /// The column that places a row in time.
    pub time: String,
    /// An SQL aggregate over the rows of a bucket; for a percentile the column.
    pub value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentile: Option<f64>,
    /// What it can be split by.
    pub dimensions: Vec<String>,
}

/// How a metric's value comes from rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// An aggregate over the rows of each bucket.
    Aggregate,
    /// A percentile over the rows of each bucket, from a histogram of log-wide buckets.
    Percentile,
    /// The sum of everything up to the end of each bucket: a stock, such as MRR.
    Cumulative,
}

const BUILT_IN: [&str; 2] =
    [include_str!("../../metrics/usage.yaml"), include_str!("../../metrics/commercial.yaml")];

/// Buckets of one answer, and rows of it.
const BUCKETS_MAX: i64 = 20_000;

impl Catalog {
    /// The metrics that come with the program.
    ///
    /// # Errors
    /// When one of the files does not parse: a test keeps that from happening.
    pub fn built_in() -> Result<Self, QueryError> {
        let mut metrics = Vec::new();
        for text in BUILT_IN {
            metrics.extend(parse(text)?);
        }
        Ok(Self { metrics })
    }

    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    pub fn get(&self, name: &str) -> Result<&Metric, QueryError> {
        self.metrics
            .iter()
            .find(|metric| metric.name == name)
            .ok_or_else(|| QueryError::new(Reason::Invalid, format!("there is no metric `{name}`")))
    }

    /// Turns questions into statements. Those that read the same rows in the same buckets share one. Staff's leave
    /// out what organizations say of themselves. `persons`: whether the one who asks sees what says something of a
    /// person.
    pub fn compile(
        &self,
        requests: &[MetricRequest],
        reach: &RowAccess,
        persons: bool,
    ) -> Result<Vec<Statement>, QueryError> {
        let mut statements: Vec<Statement> = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let metric = self.get(&request.metric)?;
            check(metric, request)?;
            if !persons {
                check_persons(metric, request)?;
            }
            match statements.iter_mut().find(|statement| statement.takes(metric, request)) {
                Some(statement) => statement.add(index, metric, request),
                None => statements.push(Statement::new(index, metric, request)),
            }
        }
        for statement in &mut statements {
            statement.write(reach);
        }
        Ok(statements)
    }
}

/// Merge keys (`<<`) spare the metrics of a family from repeating themselves.
fn parse(text: &str) -> Result<Vec<Metric>, QueryError> {
    let invalid = |error: serde_yaml_ng::Error| QueryError::new(Reason::Invalid, error.to_string());
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(invalid)?;
    value.apply_merge().map_err(invalid)?;
    serde_yaml_ng::from_value(value).map_err(invalid)
}

fn check(metric: &Metric, request: &MetricRequest) -> Result<(), QueryError> {
    let refuse = |message: String| Err(QueryError::new(Reason::Invalid, message));
    if request.from >= request.to {
        return refuse("`from` must lie before `to`".into());
    }
    if let Some(dimension) = request.by.iter().find(|by| !metric.dimensions.contains(by)) {
        let known = metric.dimensions.join(", ");
        return refuse(format!("`{}` cannot be split by `{dimension}`; by: {known}", metric.name));
    }
    if let Some(grain) = request.grain
        && (request.to - request.from).num_seconds() / grain.seconds() > BUCKETS_MAX
    {
        return refuse(format!(
            "the window has more than {BUCKETS_MAX} buckets of a {}",
            grain.name()
        ));
    }
    Ok(())
}

/// A group is named by its value: what is null in SQL is no dimension either.
fn check_persons(metric: &Metric, request: &MetricRequest) -> Result<(), QueryError> {
    let Some(dimension) = request.by.iter().find(|by| is_personal(by)) else { return Ok(()) };
    let others: Vec<_> =
        metric.dimensions.iter().filter(|by| !is_personal(by)).map(String::as_str).collect();
    let message = format!(
        "`{dimension}` says something of persons, which your role does not see: ask an administrator to grant it \
         persons, or split `{}` by: {}",
        metric.name,
        others.join(", ")
    );
    Err(QueryError::new(Reason::Persons, message))
}

fn is_personal(dimension: &str) -> bool {
    let mut columns = Table::ALL.iter().flat_map(|table| table.columns());
    columns.any(|column| column.is_personal && column.name == dimension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_masked_is_no_dimension() {
        let catalog = Catalog::built_in().unwrap();
        let at = |text: &str| text.parse().unwrap();
        for metric in catalog.metrics() {
            for by in &metric.dimensions {
                let request = MetricRequest {
                    metric: metric.name.clone(),
                    from: at("2026-01-01T00:00:00Z"),
                    to: at("2026-01-02T00:00:00Z"),
                    grain: None,
                    by: vec![by.clone()],
                };
                let requests = std::slice::from_ref(&request);
                assert!(catalog.compile(requests, &RowAccess::Staff, true).is_ok());
                let refused = catalog
                    .compile(requests, &RowAccess::Staff, false)
                    .err()
                    .map(|error| error.reason);
                let expected = (by == "referrer").then_some(Reason::Persons);
                assert_eq!(refused, expected, "{} by {by}", metric.name);
            }
        }
    }

    #[test]
    fn the_built_in_metrics_parse_and_have_different_names() {
        let catalog = Catalog::built_in().unwrap();
        let mut names: Vec<_> = catalog.metrics().iter().map(|m| m.name.as_str()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        for wanted in [
            "requests",
            "tokens",
            "error_rate",
            "p95_latency",
            "active_organizations",
            "usage_revenue",
            "mrr",
        ] {
            assert!(catalog.get(wanted).is_ok(), "{wanted}");
        }
    }
}
