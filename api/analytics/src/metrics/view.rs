//! Answers of metrics in JSON.

use rest::schema::Quantity;
use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use query::metric::{
    Audience, Catalog, Dimension, Goal, Grain, Metric, MetricColumn, MetricOption, MetricTable,
    Number, ReadCost, ReadSource, TableRow, Unit, Window,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// One metric, as it is declared.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetricDefinition {
    pub name: String,
    /// In English; `titles` and `descriptions` have all languages of the pages.
    pub title: String,
    pub description: String,
    #[schema(value_type = pages::Text)]
    pub titles: query::metric::Text,
    #[schema(value_type = pages::Text)]
    pub descriptions: query::metric::Text,
    /// `count`, `number`, `ratio`, `milliseconds` or `money`.
    #[schema(value_type = String)]
    pub unit: Unit,
    /// `aggregate`, `distinct`, `ratio`, `percentile`, `cumulative`, `conversion` or `derived`.
    #[schema(value_type = String)]
    pub kind: query::metric::MetricKind,
    /// `up` where more is good, `down` where less is, else `neutral`.
    #[schema(value_type = String)]
    pub direction: query::metric::Direction,
    /// What the business wants it to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    /// It says what persons do: fewer of them than the setting `metrics.min_persons` are not shown to those who may not
    /// run SQL. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub of_persons: bool,
    /// The shortest grain, where it is not a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub finest_grain: Option<Grain>,
    /// What a question may choose; the first value is the default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<OptionView>,
    /// Where the formula comes from.
    pub formula: String,
    /// The table or view that it reads; empty for a derived metric, which reads those of the metrics it is made of.
    pub source: String,
    /// What it can be split by and filtered by.
    pub dimensions: Vec<String>,
    #[serde(flatten)]
    pub additive: Additive,
}

/// A choice where there is more than one usual way to compute a metric.
#[derive(Debug, Serialize, ToSchema)]
pub struct OptionView {
    pub name: String,
    pub description: String,
    pub values: Vec<String>,
}

/// Whether parts of an answer add up to the whole.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Additive {
    /// The values of groups add up to the value of all.
    pub additive_by_group: bool,
    /// The values of buckets add up to the value of the window.
    pub additive_by_time: bool,
}

/// A window in UTC: `from` is included, `to` is not.
#[derive(Debug, Serialize, ToSchema)]
pub struct WindowView {
    #[schema(value_type = String, format = DateTime)]
    pub from: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    pub to: DateTime<Utc>,
}

/// What was asked, and the cut that it was read at.
#[derive(Debug, Serialize, ToSchema)]
pub struct AnswerHead {
    #[serde(flatten)]
    pub window: WindowView,
    pub tz: String,
    #[schema(value_type = Option<String>)]
    pub grain: Option<Grain>,
    pub by: Vec<String>,
    /// The options that were chosen; absent if there are none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// The window that the values are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare: Option<WindowView>,
    /// The buckets that more events may come for.
    #[schema(value_type = Vec<String>)]
    pub incomplete: Vec<DateTime<Utc>>,
    /// The cut it was read at: asking again at this cut gives the same answer.
    pub as_of: String,
}

/// A metric's values.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetricView {
    #[serde(flatten)]
    pub column: ColumnView,
    #[serde(flatten)]
    pub head: AnswerHead,
    pub rows: Vec<RowView>,
}

/// One value of a metric.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowView {
    #[serde(flatten)]
    pub cell: CellView,
    /// A number; for money a decimal string. Null where there is nothing to divide, and where it is suppressed.
    #[schema(value_type = Quantity)]
    pub value: Value,
    /// There is no value since it would say something of a few persons; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suppressed: bool,
    /// Its part of all groups in the bucket (of its currency), where groups add up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The value of the window that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Quantity)]
    pub before: Option<Value>,
    /// The same of `before`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub before_suppressed: bool,
    /// How much of `before` it is more or less: 0.1 is 10 % more. Null where `before` is 0 or null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub change: Option<Value>,
}

/// Where a value stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct CellView {
    /// The start of the bucket; null without a grain.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<DateTime<Utc>>,
    /// One value per dimension of `by`; null where the event has none.
    pub group: Vec<Option<String>>,
    /// All groups beyond `limit`, as one; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub other: bool,
    /// ISO 4217, for money only: amounts of different currencies are never added.
    pub currency: Option<String>,
    /// The bucket is not over yet, or has just ended; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

/// Several metrics at one cut.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetricTableView {
    #[serde(flatten)]
    pub head: AnswerHead,
    /// The metrics, in the order asked.
    pub metrics: Vec<ColumnView>,
    pub rows: Vec<TableRowView>,
}

/// A metric of an answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ColumnView {
    pub metric: String,
    pub title: String,
    /// `count`, `ratio`, `milliseconds`, `money` or `number`.
    #[schema(value_type = String)]
    pub unit: Unit,
    #[serde(flatten)]
    pub additive: Additive,
    /// Why a value of this metric is null, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null_reason: Option<String>,
    /// The SQL that was run.
    pub sql: String,
    /// What it read, for staff who may run SQL. Metrics that share a statement share what it read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<ReadView>,
}

/// What a statement read.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReadView {
    /// `raw`: the events themselves; `rollup`: sums that are kept of them, and the events that are not summed yet.
    #[schema(value_type = String)]
    pub source: ReadSource,
    pub rows: u64,
    pub bytes: u64,
    pub files: u64,
}

/// The values of a group in a bucket, one per metric. A row of a currency has only amounts; the row without one has the
/// other metrics.
#[derive(Debug, Serialize, ToSchema)]
pub struct TableRowView {
    #[serde(flatten)]
    pub cell: CellView,
    #[schema(value_type = Vec<Quantity>)]
    pub values: Vec<Value>,
    /// The metrics that have no value here since it would say something of a few persons; absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suppressed: Vec<String>,
    /// The same of `before`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before_suppressed: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Quantity>>)]
    pub before: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<f64>>)]
    pub change: Option<Vec<Value>>,
}

impl MetricDefinition {
    /// A metric as somebody of an audience sees it.
    pub fn new(metric: &Metric, catalog: &Catalog, audience: Audience) -> Self {
        let name = |dimension: &Dimension| dimension.name.clone();
        Self {
            name: metric.name.clone(),
            title: metric.title.en.clone(),
            description: metric.description.en.clone(),
            titles: metric.title.clone(),
            descriptions: metric.description.clone(),
            unit: metric.unit,
            kind: metric.kind,
            direction: metric.direction,
            goal: metric.goal,
            of_persons: catalog.is_of_persons(metric),
            finest_grain: catalog.finest_grain(metric),
            options: catalog.options(metric).map(OptionView::of).collect(),
            formula: metric.formula.clone(),
            source: metric.source.clone(),
            dimensions: catalog.dimensions(metric, audience).map(name).collect(),
            additive: Additive::of(metric),
        }
    }
}

impl OptionView {
    fn of(option: &MetricOption) -> Self {
        Self {
            name: option.name.clone(),
            description: option.description.en.clone(),
            values: option.values.iter().map(|value| value.name.clone()).collect(),
        }
    }
}

impl Additive {
    fn of(metric: &Metric) -> Self {
        Self {
            additive_by_group: metric.additive_by_group(),
            additive_by_time: metric.additive_by_time(),
        }
    }
}

impl From<Window> for WindowView {
    fn from(window: Window) -> Self {
        Self { from: window.from, to: window.to }
    }
}

impl AnswerHead {
    fn of(table: &MetricTable, as_of: String) -> Self {
        Self {
            window: table.window.into(),
            tz: table.window.zone.to_string(),
            grain: table.grain,
            by: table.by.clone(),
            options: table.options.clone(),
            compare: table.compared.map(Into::into),
            incomplete: incomplete(table),
            as_of,
        }
    }
}

impl MetricView {
    /// The answer about one metric.
    pub fn new(table: MetricTable, as_of: String) -> Option<Self> {
        let head = AnswerHead::of(&table, as_of);
        let (column, shares) = (ColumnView::all(&table).into_iter().next()?, shares(&table));
        let unit = column.unit;
        let rows = table.rows.into_iter().zip(shares).map(|(row, share)| {
            let cell = CellView::of(&row);
            let (value, before) = (row.values.first().copied().flatten(), row.before);
            let before = before.map(|before| before.first().copied().flatten());
            RowView {
                cell,
                value: number(value, unit),
                suppressed: !row.suppressed.is_empty(),
                before_suppressed: !row.before_suppressed.is_empty(),
                share,
                before: before.map(|before| number(before, unit)),
                change: before.map(|before| change(value, before)),
            }
        });
        Some(Self { rows: rows.collect(), column, head })
    }
}

impl MetricTableView {
    pub fn new(table: MetricTable, as_of: String) -> Self {
        let (head, metrics) = (AnswerHead::of(&table, as_of), ColumnView::all(&table));
        let units: Vec<_> = table.columns.iter().map(|column| column.metric.unit).collect();
        let names: Vec<_> = metrics.iter().map(|column| column.metric.clone()).collect();
        let named = |columns: &[usize]| columns.iter().map(|i| names[*i].clone()).collect();
        let rows = table.rows.into_iter().map(|row| {
            let cell = CellView::of(&row);
            let numbers = |values: &[Option<Number>]| -> Vec<Value> {
                values.iter().zip(&units).map(|(value, unit)| number(*value, *unit)).collect()
            };
            let changes = |before: &Vec<Option<Number>>| -> Vec<Value> {
                row.values
                    .iter()
                    .zip(before)
                    .map(|(value, before)| change(*value, *before))
                    .collect()
            };
            TableRowView {
                cell,
                values: numbers(&row.values),
                suppressed: named(&row.suppressed),
                before_suppressed: named(&row.before_suppressed),
                before: row.before.as_ref().map(|before| numbers(before)),
                change: row.before.as_ref().map(changes),
            }
        });
        Self { rows: rows.collect(), head, metrics }
    }
}

impl ColumnView {
    /// The metrics of an answer.
    fn all(table: &MetricTable) -> Vec<Self> {
        let columns = table.columns.iter().enumerate();
        let view = |(i, MetricColumn { metric, sql, read }): (usize, &MetricColumn)| Self {
            metric: metric.name.clone(),
            title: metric.title.en.clone(),
            unit: metric.unit,
            additive: Additive::of(metric),
            null_reason: null_reason(table, i),
            sql: sql.clone(),
            read: read.map(|ReadCost { source, rows, bytes, files }| ReadView {
                source,
                rows,
                bytes,
                files,
            }),
        };
        columns.map(view).collect()
    }
}

/// Why a value of a metric is null, if one is that has no other metric's row.
fn null_reason(table: &MetricTable, column: usize) -> Option<String> {
    let metric = &table.columns[column].metric;
    let is_own = |row: &&TableRow| metric.has_currency() == row.currency.is_some();
    let is_null = table
        .rows
        .iter()
        .filter(is_own)
        .any(|row| row.values[column].is_none() && !row.suppressed.contains(&column));
    let reason = metric.null_reason.as_ref().filter(|_| is_null);
    reason.map(|reason| reason.en.clone())
}

impl CellView {
    fn of(row: &TableRow) -> Self {
        Self {
            at: row.at,
            group: row.group.clone(),
            other: row.other,
            currency: row.currency.clone(),
            incomplete: row.incomplete,
        }
    }
}

/// What part of all groups of its bucket and currency each row is, where groups add up.
fn shares(table: &MetricTable) -> Vec<Option<f64>> {
    let value = |row: &TableRow| row.values.first().copied().flatten().map(Number::to_f64);
    let is_split = !table.by.is_empty()
        && table.columns.first().is_some_and(|column| column.metric.additive_by_group());
    if !is_split {
        return vec![None; table.rows.len()];
    }
    // Nothing is a part of a whole that is not shown.
    let mut totals: HashMap<(Option<DateTime<Utc>>, Option<&str>), f64> = HashMap::new();
    for row in &table.rows {
        *totals.entry((row.at, row.currency.as_deref())).or_default() += match row.suppressed[..] {
            [] => value(row).unwrap_or_default(),
            [..] => f64::NAN,
        };
    }
    let share = |row: &TableRow| {
        let total =
            totals.get(&(row.at, row.currency.as_deref())).copied().filter(|total| *total > 0.0)?;
        Some(value(row)? / total)
    };
    table.rows.iter().map(share).collect()
}

/// The buckets that more events may come for.
fn incomplete(table: &MetricTable) -> Vec<DateTime<Utc>> {
    let mut buckets: Vec<_> =
        table.rows.iter().filter(|row| row.incomplete).filter_map(|row| row.at).collect();
    buckets.sort_unstable();
    buckets.dedup();
    buckets
}

/// Money is text, since a JSON number is a float to most readers; counts and shares are numbers.
fn number(value: Option<Number>, unit: Unit) -> Value {
    let Some(value) = value else { return Value::Null };
    match unit {
        Unit::Money => value.to_string().into(),
        Unit::Count => value.to_i64().map_or_else(|| value.to_string().into(), Into::into),
        Unit::Ratio | Unit::Milliseconds | Unit::Number => value.to_f64().into(),
    }
}

/// The difference as a share of what it was before.
fn change(value: Option<Number>, before: Option<Number>) -> Value {
    match (value, before) {
        (Some(value), Some(before)) if before != Number::ZERO => {
            let (value, before) = (value.to_f64(), before.to_f64());
            ((value - before) / before.abs()).into()
        }
        _ => Value::Null,
    }
}
