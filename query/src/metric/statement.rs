//! One SQL statement that answers several metric questions, and the way back from its rows.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray},
    compute::{self, CastOptions},
    datatypes::{
        DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    },
};
use chrono::{DateTime, Datelike, Days, Duration, Months, NaiveTime, Utc};
use ingest::{Table, grant::SELF_REPORTED, money};
use rust_decimal::{Decimal, prelude::FromPrimitive};

use super::{Grain, Metric, MetricAnswer, MetricKind, MetricRequest, MetricRow, Number, Unit};
use crate::{QueryError, Reason, ResultSet, RowAccess, cache::TableRange, session::NET};

/// The width of a histogram's buckets, as a factor: a percentile is at most 2 % too high.
const BUCKET_FACTOR: &str = "1.02";

/// A compiled statement.
#[derive(Debug, Clone)]
pub struct Statement {
    pub sql: String,
    /// More rows than this are an error: too many groups.
    pub rows_max: u64,
    asked: Vec<(usize, Metric, MetricRequest)>,
}

impl Statement {
    pub(super) fn new(index: usize, metric: &Metric, request: &MetricRequest) -> Self {
        let asked = vec![(index, metric.clone(), request.clone())];
        Self { sql: String::new(), rows_max: 200_000, asked }
    }

    /// Whether a question can share this statement.
    pub(super) fn takes(&self, metric: &Metric, request: &MetricRequest) -> bool {
        let (_, first, asked) = &self.asked[0];
        metric.kind == MetricKind::Aggregate
            && first.kind == MetricKind::Aggregate
            && (&first.source, &first.time) == (&metric.source, &metric.time)
            && (asked.from, asked.to, asked.grain, &asked.by)
                == (request.from, request.to, request.grain, &request.by)
            && (first.unit == Unit::Money) == (metric.unit == Unit::Money)
    }

    pub(super) fn add(&mut self, index: usize, metric: &Metric, request: &MetricRequest) {
        self.asked.push((index, metric.clone(), request.clone()));
    }

    pub(super) fn write(&mut self, reach: &RowAccess) {
        let (_, metric, request) = &self.asked[0];
        let values: Vec<_> =
            self.asked.iter().map(|(_, metric, _)| metric.value.as_str()).collect();
        let only = match (reach, metric.source.as_str()) {
            (RowAccess::Admin | RowAccess::Staff, NET | "activity_events") => {
                format!(" AND source NOT LIKE '{SELF_REPORTED}%'")
            }
            _ => String::new(),
        };
        self.sql = match metric.kind {
            MetricKind::Aggregate => aggregate(metric, request, &values, &only),
            MetricKind::Cumulative => cumulative(metric, request, &only),
            MetricKind::Percentile => percentile(metric, request, &only),
        };
    }

    /// The rows that the statement depends on. What an organization's movement of MRR is follows from all before it.
    pub(crate) fn scopes(&self) -> Vec<TableRange> {
        let (_, metric, request) = &self.asked[0];
        let from = request.from.timestamp_micros();
        let (table, from) = match metric.source.as_str() {
            NET => (Some(Table::UsageLedger), Some(from)),
            "mrr_movements" => (Some(Table::BillingEvents), None),
            name => (Table::parse(name), Some(from)),
        };
        let from = if metric.kind == MetricKind::Cumulative { None } else { from };
        let to = request.to.timestamp_micros();
        match table {
            Some(table) if metric.time == table.time_column() => {
                vec![TableRange { table, from, to }]
            }
            _ => TableRange::of(&self.sql),
        }
    }

    /// The answer to each question, by its place.
    pub(crate) fn answers(
        &self,
        rows: &ResultSet,
    ) -> Result<Vec<(usize, MetricAnswer)>, QueryError> {
        let mut answers = Vec::new();
        for (column, (index, metric, request)) in self.asked.iter().enumerate() {
            let found = read(rows, metric, request, column)?;
            answers.push((
                *index,
                MetricAnswer {
                    metric: metric.name.clone(),
                    title: metric.title.clone(),
                    unit: metric.unit,
                    grain: request.grain,
                    by: request.by.clone(),
                    rows: complete(metric, request, found)?,
                    sql: self.sql.clone(),
                },
            ));
        }
        Ok(answers)
    }
}

fn aggregate(metric: &Metric, request: &MetricRequest, values: &[&str], only: &str) -> String {
    let keys = keys(metric, request, bucket(metric, request));
    let values = values.iter().enumerate().map(|(i, value)| format!("{value} AS value{i}"));
    select(metric, &keys, values, &(within(metric, request) + only))
}

/// Everything before the window lands in a bucket without a time: the opening balance.
fn cumulative(metric: &Metric, request: &MetricRequest, only: &str) -> String {
    let bucket = bucket(metric, request).map(|bucket| {
        format!("CASE WHEN {} >= {} THEN {bucket} END", metric.time, literal(request.from))
    });
    let keys = keys(metric, request, bucket);
    let value = [format!("{} AS value0", metric.value)];
    select(metric, &keys, value, &format!("{} < {}{only}", metric.time, literal(request.to)))
}

fn percentile(metric: &Metric, request: &MetricRequest, only: &str) -> String {
    let keys = keys(metric, request, bucket(metric, request));
    let names: Vec<_> = keys.iter().map(|(_, name)| name.as_str()).collect();
    let names = names.join(", ");
    let comma = if names.is_empty() { "" } else { ", " };
    let partition = if names.is_empty() { String::new() } else { format!("PARTITION BY {names} ") };
    let mut inner = keys.clone();
    inner.push((
        format!("ceil(ln(greatest(CAST({} AS DOUBLE), 1)) / ln({BUCKET_FACTOR}))", metric.value),
        "bucket".into(),
    ));
    let filter = format!("{}{only} AND {} IS NOT NULL", within(metric, request), metric.value);
    let histogram = select(metric, &inner, ["count(*) AS n".to_owned()], &filter);
    let share = metric.percentile.unwrap_or(0.5);
    let group = if names.is_empty() { String::new() } else { format!(" GROUP BY {names}") };
    format!(
        "WITH histogram AS ({histogram}), running AS (SELECT {names}{comma}bucket, \
         sum(n) OVER ({partition}ORDER BY bucket) AS below, \
         sum(n) OVER ({partition}) AS total FROM histogram) \
         SELECT {names}{comma}power({BUCKET_FACTOR}, min(bucket)) AS value0 FROM running \
         WHERE CAST(below AS DOUBLE) >= {share} * CAST(total AS DOUBLE){group}"
    )
}

fn select(
    metric: &Metric,
    keys: &[(String, String)],
    values: impl IntoIterator<Item = String>,
    filter: &str,
) -> String {
    let columns: Vec<_> =
        keys.iter().map(|(expr, name)| format!("{expr} AS {name}")).chain(values).collect();
    let group: Vec<_> = keys.iter().map(|(expr, _)| expr.as_str()).collect();
    let group =
        if group.is_empty() { String::new() } else { format!(" GROUP BY {}", group.join(", ")) };
    format!("SELECT {} FROM {} WHERE {filter}{group}", columns.join(", "), metric.source)
}

/// The expressions that rows are grouped by, with the names of their columns.
fn keys(metric: &Metric, request: &MetricRequest, bucket: Option<String>) -> Vec<(String, String)> {
    let mut keys: Vec<_> = bucket.into_iter().map(|bucket| (bucket, "at".to_owned())).collect();
    let dimensions = request.by.iter().enumerate();
    keys.extend(dimensions.map(|(i, name)| (dimension(name).to_owned(), format!("by{i}"))));
    if metric.unit == Unit::Money {
        keys.push(("currency".into(), "currency".into()));
    }
    keys
}

/// What rows are split by. A request that failed without a code is told by its status.
fn dimension(name: &str) -> &str {
    match name {
        "error_code" => {
            "coalesce(error_code, CASE WHEN status_code >= 400 THEN CAST(status_code AS VARCHAR) END)"
        }
        name => name,
    }
}

/// `date_bin` is arithmetic on the number, several times faster than `date_trunc`, which asks the calendar for
/// every row; only months need that. Its origin is a Monday, so that weeks begin on one.
fn bucket(metric: &Metric, request: &MetricRequest) -> Option<String> {
    let grain = request.grain?;
    let name = grain.name();
    Some(match grain {
        Grain::Month => format!("date_trunc('{name}', {})", metric.time),
        _ => {
            let width = if grain == Grain::Week { "7 days".into() } else { format!("1 {name}") };
            format!("date_bin(INTERVAL '{width}', {}, {ORIGIN})", metric.time)
        }
    })
}

const ORIGIN: &str = "arrow_cast('1970-01-05T00:00:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))')";

fn within(metric: &Metric, request: &MetricRequest) -> String {
    let (from, to) = (literal(request.from), literal(request.to));
    format!("{time} >= {from} AND {time} < {to}", time = metric.time)
}

fn literal(at: DateTime<Utc>) -> String {
    let at = at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    format!("arrow_cast('{at}', 'Timestamp(Microsecond, Some(\"UTC\"))')")
}

fn read(
    answer: &ResultSet,
    metric: &Metric,
    request: &MetricRequest,
    column: usize,
) -> Result<Vec<MetricRow>, QueryError> {
    let mut rows = Vec::new();
    for batch in &answer.batches {
        let unreadable = |_| QueryError::new(Reason::Failed, "the metric's rows are not readable");
        let named = |name: &str| batch.column_by_name(name);
        let text = |name: &str| {
            named(name).map(|c| compute::cast(c, &DataType::Utf8)).transpose().map_err(unreadable)
        };
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let at = named("at").map(|c| compute::cast(c, &time)).transpose().map_err(unreadable)?;
        let groups = (0..request.by.len())
            .map(|i| text(&format!("by{i}")))
            .collect::<Result<Vec<_>, _>>()?;
        let currency = if metric.unit == Unit::Money { text("currency")? } else { None };
        let values = numbers(batch.column_by_name(&format!("value{column}")), metric.unit)
            .map_err(|_| out_of_range())?;
        for (row, value) in values.into_iter().enumerate() {
            let text = |column: &Option<arrow::array::ArrayRef>| {
                let column = column.as_ref()?.as_string::<i32>();
                column.is_valid(row).then(|| column.value(row).to_owned())
            };
            let at = at.as_ref().and_then(|at| {
                let at = at.as_primitive::<TimestampMicrosecondType>();
                at.is_valid(row).then(|| DateTime::from_timestamp_micros(at.value(row)))?
            });
            let group = groups.iter().map(text).collect();
            rows.push(MetricRow { at, group, currency: text(&currency), value });
        }
    }
    Ok(rows)
}

/// A share or a latency is a double in SQL; twelve digits of it are kept.
fn numbers(
    column: Option<&arrow::array::ArrayRef>,
    unit: Unit,
) -> Result<Vec<Option<Number>>, arrow::error::ArrowError> {
    let Some(column) = column else { return Ok(Vec::new()) };
    Ok(match column.data_type() {
        DataType::Float64 => {
            let digits = if unit == Unit::Milliseconds { 3 } else { 12 };
            let read = |value: Option<f64>| {
                Number::from_decimal(money::round(Decimal::from_f64(value?)?, digits))
            };
            column.as_primitive::<Float64Type>().iter().map(read).collect()
        }
        DataType::Int64 => {
            column.as_primitive::<Int64Type>().iter().map(|v| v.map(Number::from)).collect()
        }
        _ => {
            let kind = DataType::Decimal128(money::PRECISION, money::SCALE);
            let options = CastOptions { safe: false, ..CastOptions::default() };
            let values = compute::cast_with_options(column, &kind, &options)?;
            let read = |value: Option<i128>| value.map(Number::from_unscaled);
            values.as_primitive::<Decimal128Type>().iter().map(read).collect()
        }
    })
}

fn out_of_range() -> QueryError {
    QueryError::new(Reason::OutOfRange, "a metric has more than 26 digits before the point")
}

/// One group's values by bucket.
type Series = BTreeMap<Option<DateTime<Utc>>, Option<Number>>;

/// Orders rows, adds up stocks, and fills the buckets that no row fell into.
fn complete(
    metric: &Metric,
    request: &MetricRequest,
    rows: Vec<MetricRow>,
) -> Result<Vec<MetricRow>, QueryError> {
    let mut groups: BTreeMap<(Vec<Option<String>>, Option<String>), Series> = BTreeMap::new();
    for row in rows {
        groups.entry((row.group, row.currency)).or_default().insert(row.at, row.value);
    }
    if groups.is_empty() && request.by.is_empty() && metric.unit != Unit::Money {
        groups.insert((Vec::new(), None), Series::new());
    }
    let buckets: Vec<_> = match request.grain {
        Some(grain) => grain.buckets(request.from, request.to).map(Some).collect(),
        None => vec![None],
    };
    let empty = match metric.unit {
        Unit::Count | Unit::Money => Some(Number::ZERO),
        Unit::Ratio | Unit::Milliseconds => None,
    };
    let fill = request.by.is_empty() || metric.kind == MetricKind::Cumulative;
    let mut complete = Vec::new();
    for ((group, currency), series) in groups {
        let mut stock = match request.grain {
            Some(_) => series.get(&None).copied().flatten().unwrap_or_default(),
            None => Number::ZERO,
        };
        for at in &buckets {
            let found = series.get(at).copied();
            let value = match (metric.kind, found) {
                (MetricKind::Cumulative, found) => {
                    let change = found.flatten().unwrap_or_default();
                    stock = stock.checked_add(change).ok_or_else(out_of_range)?;
                    Some(stock)
                }
                (_, Some(value)) => value.or(empty),
                (_, None) if fill => empty,
                (_, None) => continue,
            };
            complete.push(MetricRow {
                at: *at,
                group: group.clone(),
                currency: currency.clone(),
                value,
            });
        }
    }
    complete.sort_by_key(|a| a.at);
    Ok(complete)
}

impl Grain {
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// At least so long is a bucket.
    pub(super) fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
            Self::Month => 28 * 86_400,
        }
    }

    /// The start of the bucket that `at` lies in.
    pub fn start(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let midnight = at.date_naive().and_time(NaiveTime::MIN).and_utc();
        match self {
            Self::Minute | Self::Hour => {
                let past = at.timestamp().rem_euclid(self.seconds());
                DateTime::from_timestamp(at.timestamp() - past, 0).unwrap_or(at)
            }
            Self::Day => midnight,
            Self::Week => midnight - Days::new(at.weekday().num_days_from_monday().into()),
            Self::Month => midnight - Days::new(at.day0().into()),
        }
    }

    /// The end of the bucket that begins at `at`.
    pub fn end(self, at: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Month => at.checked_add_months(Months::new(1)),
            _ => at.checked_add_signed(Duration::seconds(self.seconds())),
        }
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The starts of the buckets that `[from, to)` touches.
    pub fn buckets(
        self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> impl Iterator<Item = DateTime<Utc>> {
        let next = move |at: &DateTime<Utc>| Some(self.end(*at));
        std::iter::successors(Some(self.start(from)), next).take_while(move |at| *at < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn buckets_cover_the_window() {
        let days: Vec<_> =
            Grain::Day.buckets(at("2026-02-27T12:00:00Z"), at("2026-03-02T00:00:00Z")).collect();
        assert_eq!(days.first(), Some(&at("2026-02-27T00:00:00Z")));
        assert_eq!(days.len(), 3);
        let months: Vec<_> =
            Grain::Month.buckets(at("2026-01-31T00:00:00Z"), at("2026-03-01T00:00:01Z")).collect();
        assert_eq!(
            months,
            [at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"), at("2026-03-01T00:00:00Z")]
        );
        assert_eq!(Grain::Week.start(at("2026-11-22T23:59:59Z")), at("2026-11-16T00:00:00Z"));
    }
}
