//! One SQL statement that answers several metric questions, and the way back from its rows.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use ingest::Table;

use crate::{
    Audience, Error, Fill, Group, Groups, Metric, MetricAnswer, MetricKind, MetricRequest,
    MetricRow, Number, ReadCost, Rollups, Source, Window, context::StatementContext, kind, rollup,
};

/// A compiled statement.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The text to run. A row has `at`, `by0`, `by1`, `by2`, `other` and `currency` where the questions need them, and
    /// one column for each of the parts.
    pub sql: String,
    /// The same answer from rollups, where they have it.
    pub over_rollups: Option<String>,
    /// The rows that it depends on.
    pub reads: Vec<TableRead>,
    /// What it answers. The value of the n-th is in the column `value{n}`.
    pub parts: Vec<Part>,
}

/// Rows that a statement depends on: those of a table in `[from, to)`, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableRead {
    /// The stored table that the rows are in.
    pub table: Table,
    /// Without it, all rows before `to`.
    pub from: Option<i64>,
    /// The end, which is not included; `i64::MAX` where rows of any time count.
    pub to: i64,
}

/// One question of a statement.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its place among the questions.
    pub index: usize,
    /// The definition of the metric that is asked for.
    pub metric: Metric,
    /// The question as it was asked.
    pub request: MetricRequest,
}

/// Rows of one answer: more are an error.
pub const ROWS_MAX: u64 = 200_000;

impl Statement {
    pub(crate) fn new(part: Part) -> Self {
        Self { sql: String::new(), over_rollups: None, reads: Vec::new(), parts: vec![part] }
    }

    /// Whether a question can share this statement.
    pub(crate) fn takes(&self, metric: &Metric, request: &MetricRequest) -> bool {
        let Part { metric: first, request: asked, .. } = &self.parts[0];
        kind::shares(metric.kind)
            && !matches!(request.groups, Groups::Largest(_))
            && kind::shares(first.kind)
            && first.source == metric.source
            && first.conversion == metric.conversion
            && first.has_currency() == metric.has_currency()
            && *asked
                == MetricRequest {
                    metric: asked.metric.clone(),
                    fill: asked.fill,
                    ..request.clone()
                }
    }

    pub(crate) fn write(
        &mut self,
        source: &Source,
        sources: &[Source],
        audience: Audience,
        usable: &Rollups<'_>,
    ) -> Result<(), Error> {
        let Part { metric, request, .. } = &self.parts[0];
        let context =
            StatementContext::new(source, sources, request, metric.has_currency(), audience)?;
        let metrics: Vec<_> = self.parts.iter().map(|part| &part.metric).collect();
        self.sql = kind::select(&metrics, &context);
        self.over_rollups = rollup::answer(&metrics, &context, sources, usable);
        if let Groups::Largest(count) = request.groups {
            let keys = key_names(metric, request);
            self.sql = largest(&self.sql, &keys, count);
            self.over_rollups = self.over_rollups.as_ref().map(|sql| largest(sql, &keys, count));
        }
        self.reads = reads(source, metric, request, &context);
        Ok(())
    }
}

/// The rows that a question about a metric depends on.
pub(crate) fn reads(
    source: &Source,
    metric: &Metric,
    request: &MetricRequest,
    context: &StatementContext<'_>,
) -> Vec<TableRead> {
    let is_history =
        source.is_history || source.query.is_some() || metric.kind == MetricKind::Cumulative;
    let to = request.to + TimeDelta::days(source.reads_after_days.into());
    let tables = source.tables.iter().filter_map(|name| Table::parse(name));
    let joined = context.reads_organizations().then_some(Table::Organizations);
    let reads = tables.chain(joined).map(|table| match table.is_dimension() {
        // A record is read as it is at the cut, whatever its times are.
        true => TableRead { table, from: None, to: i64::MAX },
        false => TableRead {
            table,
            from: (!is_history).then(|| request.from.timestamp_micros()),
            to: to.timestamp_micros(),
        },
    });
    reads.collect()
}

/// The names of the keys of an answer's rows.
pub(crate) fn key_names(metric: &Metric, request: &MetricRequest) -> Vec<String> {
    let at = request.grain.map(|_| "at".to_owned());
    let groups = (0..request.by.len()).map(|i| format!("by{i}"));
    let other = matches!(request.groups, Groups::These(_)).then(|| "other".to_owned());
    let currency = metric.has_currency().then(|| "currency".to_owned());
    at.into_iter().chain(groups).chain(other).chain(currency).collect()
}

/// The rows with the largest values, of each currency. Of equal ones, the first by name.
pub(crate) fn largest(sql: &str, keys: &[String], count: usize) -> String {
    let (currency, names): (Vec<_>, Vec<_>) =
        keys.iter().map(String::as_str).partition(|name| *name == "currency");
    let partition = if currency.is_empty() { "" } else { "PARTITION BY currency " };
    let order: String = names.iter().map(|name| format!(", {name}")).collect();
    format!(
        "SELECT * FROM (SELECT *, row_number() OVER ({partition}ORDER BY value0 DESC NULLS LAST{order}) AS place \
         FROM ({sql}) AS groups) AS ranked WHERE place <= {count}"
    )
}

/// One group's values by bucket.
type Series = BTreeMap<Option<DateTime<Utc>>, Option<Number>>;

impl Part {
    /// The answer, from the rows of its column.
    ///
    /// # Errors
    /// When the groups have more buckets than an answer may have rows.
    pub fn answer(&self, rows: Vec<MetricRow>, sql: &str) -> Result<MetricAnswer, Error> {
        Ok(MetricAnswer {
            metric: self.metric.name.clone(),
            unit: self.metric.unit,
            grain: self.request.grain,
            by: self.request.by.clone(),
            rows: self.complete(rows)?,
            sql: sql.to_owned(),
            read: ReadCost::default(),
        })
    }

    /// Orders rows, and fills the buckets that no row fell into.
    fn complete(&self, rows: Vec<MetricRow>) -> Result<Vec<MetricRow>, Error> {
        let Self { metric, request, .. } = self;
        let is_stock = metric.kind == MetricKind::Cumulative;
        let mut groups: BTreeMap<(bool, Group, Option<String>), Series> = BTreeMap::new();
        for row in rows {
            // Rows without an amount have no currency either.
            if metric.has_currency() && row.currency.is_none() {
                continue;
            }
            groups
                .entry((row.other, row.group, row.currency))
                .or_default()
                .insert(row.at, row.value);
        }
        if groups.is_empty() && request.by.is_empty() && !metric.has_currency() {
            groups.insert((false, Vec::new(), None), Series::new());
        }
        let window = Window::new(request.from, request.to, request.zone);
        let buckets = window.buckets(request.grain);
        let nothing = metric.empty_value();
        let (fills, empty) = match request.fill {
            Fill::Auto => (request.by.is_empty() || is_stock, nothing),
            Fill::Zero => (true, nothing),
            Fill::Null => (true, None),
            Fill::None => (false, None),
        };
        let filled = if fills || is_stock { groups.len() * buckets.len() } else { 0 };
        if filled as u64 > ROWS_MAX {
            return Err(Error::TooLarge(format!(
                "{} groups in {} buckets are more than {ROWS_MAX} rows: take a longer grain, a `limit`, or `fill=none`",
                groups.len(),
                buckets.len()
            )));
        }
        let mut complete = Vec::new();
        for ((other, group, currency), series) in groups {
            // The stock at the start of the window.
            let mut stock = request
                .grain
                .and_then(|_| series.get(&None).copied().flatten())
                .unwrap_or_default();
            for at in &buckets {
                let value = match series.get(at).copied() {
                    found if is_stock => {
                        stock = found.flatten().unwrap_or(stock);
                        Some(stock)
                    }
                    Some(value) => value.or(nothing),
                    None if fills => empty,
                    None => continue,
                };
                let (group, currency) = (group.clone(), currency.clone());
                complete.push(MetricRow {
                    at: *at,
                    group,
                    other,
                    currency,
                    value,
                    suppressed: false,
                });
            }
        }
        complete.sort_by_key(|row| row.at);
        Ok(complete)
    }
}
