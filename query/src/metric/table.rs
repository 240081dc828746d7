//! Several metrics over one window, beside another window if asked, as one table.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use semantic::{
    Audience, Catalog, Compare, Fill, Filter, Grain, Group, Groups, Metric, MetricAnswer,
    MetricRequest, MetricRow, Number, ReadCost, Window,
};

use crate::{Engine, MetricContext, QueryError, Reason, metric};

/// Metrics over a window, asked at one cut.
#[derive(Debug, Clone)]
pub struct MetricQuery {
    pub metrics: Vec<String>,
    pub window: Window,
    pub grain: Option<Grain>,
    pub by: Vec<String>,
    pub filter: Option<Filter>,
    /// The window that each value is shown beside.
    pub compare: Option<Compare>,
    /// How many groups are shown separately: those with the largest values of the first metric over the whole window. The others
    /// are one, named `other`.
    pub limit: Option<usize>,
    pub order: Option<Order>,
    pub fill: Fill,
    /// The options of the metrics that have them, by name.
    pub options: BTreeMap<String, String>,
}

/// What the rows of a bucket are ordered by: the name of a metric or a dimension, or `at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub key: String,
    pub descending: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricTable {
    pub window: Window,
    pub compared: Option<Window>,
    pub grain: Option<Grain>,
    pub by: Vec<String>,
    /// The options that were chosen.
    pub options: BTreeMap<String, String>,
    pub columns: Vec<MetricColumn>,
    pub rows: Vec<TableRow>,
}

/// A metric of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricColumn {
    pub metric: Metric,
    /// The SQL that was run.
    pub sql: String,
    /// What it read, for staff who may see rows. An organization is not told of the files that it shares.
    pub read: Option<ReadCost>,
}

/// The values of a group in a bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRow {
    pub at: Option<DateTime<Utc>>,
    pub group: Group,
    pub other: bool,
    /// Of amounts. A row of a currency has only amounts, the row without one has the other metrics.
    pub currency: Option<String>,
    pub values: Vec<Option<Number>>,
    /// The values of the window that it is compared with.
    pub before: Option<Vec<Option<Number>>>,
    /// The columns that have no value here since it would say something of a few persons; and those before.
    pub suppressed: Vec<usize>,
    pub before_suppressed: Vec<usize>,
    /// More events may come: the bucket is not over, or has just ended.
    pub incomplete: bool,
}

/// Metrics of one question.
const METRICS_MAX: usize = 20;

impl Order {
    /// Reads the name of a key, with a `-` before it for the largest first.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix('-') {
            Some(key) => Self { key: key.to_owned(), descending: true },
            None => Self { key: text.to_owned(), descending: false },
        }
    }
}

impl MetricQuery {
    /// One metric as one number.
    pub fn new(metric: &str, window: Window) -> Self {
        Self {
            metrics: vec![metric.to_owned()],
            window,
            grain: None,
            by: Vec::new(),
            filter: None,
            compare: None,
            limit: None,
            order: None,
            fill: Fill::Auto,
            options: BTreeMap::new(),
        }
    }

    fn check(&self) -> Result<(), QueryError> {
        let refuse = |message: String| Err(QueryError::new(Reason::Parameters, message));
        if self.metrics.is_empty() || self.metrics.len() > METRICS_MAX {
            return refuse(format!("a question has 1 to {METRICS_MAX} metrics"));
        }
        let twice = |(i, name): &(usize, &String)| self.metrics[..*i].contains(name);
        if let Some((_, name)) = self.metrics.iter().enumerate().find(twice) {
            return refuse(format!("`metrics` names `{name}` twice"));
        }
        if self.limit == Some(0) || self.limit > Some(semantic::GROUPS_MAX) {
            return refuse(format!("`limit` is from 1 to {}", semantic::GROUPS_MAX));
        }
        if self.limit.is_some() && self.by.is_empty() {
            return refuse("`limit` is the number of groups: it needs `by`".into());
        }
        if let Some(Order { key, .. }) = &self.order {
            let known = self.metrics.iter().chain(&self.by).any(|name| name == key);
            if !known && (key != "at" || self.grain.is_none()) {
                return refuse(format!(
                    "`order` is one of the metrics, of `by`, or `at` with a grain; not `{key}`"
                ));
            }
        }
        Ok(())
    }

    /// Whether one of its metrics says what persons do.
    fn is_of_persons(&self, context: MetricContext<'_>) -> bool {
        let metrics = self.metrics.iter().filter_map(|name| context.catalog.metric(name));
        metrics.into_iter().any(|metric| context.catalog.is_of_persons(metric))
    }

    fn request(
        &self,
        metric: &str,
        window: &Window,
        groups: &Groups,
        catalog: &Catalog,
    ) -> MetricRequest {
        let has = |metric: &str, name: &str| {
            let options = catalog.metric(metric).into_iter().flat_map(|m| catalog.options(m));
            options.into_iter().any(|option| option.name == name)
        };
        // An option that none of the metrics has is the first one's, which refuses it.
        let is_of =
            |name: &str| has(metric, name) || !self.metrics.iter().any(|metric| has(metric, name));
        let options = self.options.iter().filter(|(name, _)| is_of(name));
        let options = options.map(|(name, value)| (name.clone(), value.clone())).collect();
        MetricRequest {
            options,
            grain: self.grain,
            zone: window.zone,
            by: self.by.clone(),
            filter: self.filter.clone(),
            groups: groups.clone(),
            fill: self.fill,
            ..MetricRequest::new(metric, window.from, window.to)
        }
    }
}

impl Engine {
    /// Answers a question about several metrics at one cut. `lateness`: events of a bucket are waited for so long.
    pub async fn metric_table(
        &self,
        query: &MetricQuery,
        lateness: TimeDelta,
        context: MetricContext<'_>,
    ) -> Result<MetricTable, QueryError> {
        query.check()?;
        let now = DateTime::from_timestamp_micros(context.now).unwrap_or_default();
        let audience = metric::audience(context.reach);
        let metrics: Vec<_> = query
            .metrics
            .iter()
            .map(|name| context.catalog.get(name, audience).cloned())
            .collect::<Result<_, _>>()?;
        let min_persons = context.min_persons.filter(|_| query.is_of_persons(context));
        let groups = match (min_persons, query.limit) {
            // The groups that are shown are the same for all metrics.
            (Some(min), limit) if !query.by.is_empty() => {
                let requests = query.metrics.iter();
                let requests: Vec<_> = requests
                    .map(|name| query.request(name, &query.window, &Groups::All, context.catalog))
                    .collect();
                let limit = limit.unwrap_or(semantic::GROUPS_MAX);
                Groups::These(self.large_groups(&requests, limit, min, context).await?)
            }
            (_, Some(limit)) => Groups::These(self.largest(query, limit, context).await?),
            (_, None) => Groups::All,
        };
        // A window that nothing can have happened in yet has none to be compared with.
        let compared = query.compare.map(|compare| query.window.compared(compare, now));
        // Few persons are hidden in whole days.
        let compared = compared.map(|window| match min_persons {
            Some(_) => window.of_whole_days(),
            None => window,
        });
        let compared = compared.filter(|window| window.from < window.to);
        let windows: Vec<_> = [Some(query.window), compared].into_iter().flatten().collect();
        let requests: Vec<_> = windows
            .iter()
            .flat_map(|window| {
                query
                    .metrics
                    .iter()
                    .map(|name| query.request(name, window, &groups, context.catalog))
            })
            .collect();
        let mut answers = self.metrics(&requests, context).await?;
        let before = answers.split_off(metrics.len().min(answers.len()));
        let columns = metrics.into_iter().zip(&answers);
        let columns = columns
            .map(|(metric, answer)| MetricColumn {
                metric,
                sql: answer.sql.clone(),
                // How much was read for a filter would say how many events it takes.
                read: (audience == Audience::Staff && context.min_persons.is_none())
                    .then_some(answer.read),
            })
            .collect();
        let mut table = MetricTable {
            window: query.window,
            compared,
            grain: query.grain,
            by: query.by.clone(),
            options: query.options.clone(),
            columns,
            rows: Vec::new(),
        };
        table.fill(answers, before, query.fill, now - lateness);
        table.order(query.order.as_ref(), &groups);
        Ok(table)
    }

    /// The groups with the largest values of the first metric over the whole window, the largest first.
    async fn largest(
        &self,
        query: &MetricQuery,
        limit: usize,
        context: MetricContext<'_>,
    ) -> Result<Vec<Group>, QueryError> {
        let request = query.request(
            &query.metrics[0],
            &query.window,
            &Groups::Largest(limit),
            context.catalog,
        );
        let request = MetricRequest { grain: None, fill: Fill::None, ..request };
        let mut answers = self.metrics(&[request], context).await?;
        let rows = answers.pop().map(|answer| answer.rows).unwrap_or_default();
        let mut groups = ranked(rows);
        groups.truncate(semantic::GROUPS_MAX);
        Ok(groups)
    }
}

/// Groups by their values, the largest first.
pub(crate) fn ranked(mut rows: Vec<MetricRow>) -> Vec<Group> {
    rows.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| names(&a.group).cmp(&names(&b.group))));
    // Amounts of different currencies have no order: their groups take turns.
    let mut ranks: BTreeMap<Option<String>, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, Group)> = Vec::new();
    for row in rows {
        let rank = ranks.entry(row.currency).or_default();
        ranked.push((*rank, row.group));
        *rank += 1;
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut groups: Vec<Group> = Vec::new();
    for (_, group) in ranked {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

/// Where a value stands: its bucket, whether it is of the others, its group, its currency.
type CellKey = (usize, bool, Group, Option<String>);

/// The values of a row, one per metric, and the metrics whose value is suppressed.
#[derive(Debug, Clone)]
struct Values {
    of: Vec<Option<Number>>,
    suppressed: Vec<usize>,
}

impl Values {
    fn put(&mut self, column: usize, row: &MetricRow) {
        self.of[column] = row.value;
        if row.suppressed {
            self.suppressed.push(column);
        }
    }
}

impl MetricTable {
    /// Puts the values of each metric, and of the other window, beside one another. A bucket that ended before `settled`
    /// is complete.
    fn fill(
        &mut self,
        now: Vec<MetricAnswer>,
        before: Vec<MetricAnswer>,
        fill: Fill,
        settled: DateTime<Utc>,
    ) {
        let own = self.window.buckets(self.grain);
        let others = self.compared.map(|window| window.buckets(self.grain)).unwrap_or_default();
        let mut rows: BTreeMap<CellKey, (Values, Values)> = BTreeMap::new();
        let place = |row: &MetricRow, buckets: &[Option<DateTime<Utc>>]| -> Option<CellKey> {
            let bucket =
                buckets.binary_search(&row.at).ok().filter(|bucket| *bucket < own.len())?;
            Some((bucket, row.other, row.group.clone(), row.currency.clone()))
        };
        for (column, answer) in now.into_iter().enumerate() {
            for row in answer.rows {
                if let Some(place) = place(&row, &own) {
                    rows.entry(place).or_insert_with(|| self.nothing(fill)).0.put(column, &row);
                }
            }
        }
        for (column, answer) in before.into_iter().enumerate() {
            for row in answer.rows {
                if let Some(place) = place(&row, &others) {
                    rows.entry(place).or_insert_with(|| self.nothing(fill)).1.put(column, &row);
                }
            }
        }
        let end = |at: Option<DateTime<Utc>>| match (at, self.grain) {
            (Some(at), Some(grain)) => grain.end(at, self.window.zone).min(self.window.to),
            _ => self.window.to,
        };
        let is_compared = self.compared.is_some();
        let matures = self.columns.iter().map(|column| column.metric.matures_days).max();
        let settled = settled - TimeDelta::days(matures.unwrap_or_default().into());
        self.rows = rows
            .into_iter()
            .map(|((bucket, other, group, currency), (mut values, mut before))| {
                // Amounts are in the rows of their currency, what is no amount is in the one without.
                for (column, (value, before)) in
                    self.columns.iter().zip(values.of.iter_mut().zip(&mut before.of))
                {
                    if column.metric.has_currency() != currency.is_some() {
                        (*value, *before) = (None, None);
                    }
                }
                let at = own[bucket];
                // A longer month's last days have none to be compared with.
                if bucket >= others.len() {
                    before.of.fill(None);
                    before.suppressed.clear();
                }
                TableRow {
                    at,
                    group,
                    other,
                    currency,
                    values: values.of,
                    before: is_compared.then_some(before.of),
                    suppressed: values.suppressed,
                    before_suppressed: before.suppressed,
                    incomplete: end(at) > settled,
                }
            })
            .collect();
    }

    /// What stands where no row was.
    fn nothing(&self, fill: Fill) -> (Values, Values) {
        let nothing = self.columns.iter().map(|column| match fill {
            Fill::Null => None,
            _ => column.metric.empty_value(),
        });
        let nothing = Values { of: nothing.collect(), suppressed: Vec::new() };
        (nothing.clone(), nothing)
    }

    /// Orders the rows by time, and those of a bucket as asked; else by the rank of their groups, or by name.
    fn order(&mut self, order: Option<&Order>, groups: &Groups) {
        let rank = |group: &Group| match groups {
            Groups::These(groups) => groups.iter().position(|other| other == group),
            Groups::All | Groups::Largest(_) => None,
        };
        let ranks: Vec<_> = self.rows.iter().map(|row| rank(&row.group)).collect();
        let mut rows: Vec<_> = std::mem::take(&mut self.rows).into_iter().zip(ranks).collect();
        let by_default = |(a, rank_a): &(TableRow, Option<usize>),
                          (b, rank_b): &(TableRow, Option<usize>)| {
            a.at.cmp(&b.at)
                .then(a.other.cmp(&b.other))
                .then(rank_a.cmp(rank_b))
                .then_with(|| names(&a.group).cmp(&names(&b.group)))
                .then_with(|| a.currency.cmp(&b.currency))
        };
        rows.sort_by(by_default);
        if let Some(Order { key, descending }) = order {
            let column = self.columns.iter().position(|column| column.metric.name == *key);
            let dimension = self.by.iter().position(|name| name == key);
            // A stable sort: what is equal keeps its order. What has no value comes last.
            rows.sort_by(|(a, _), (b, _)| {
                let turn =
                    |order: std::cmp::Ordering| if *descending { order.reverse() } else { order };
                match (column, dimension) {
                    (Some(column), _) => a.at.cmp(&b.at).then_with(|| {
                        let (a, b) = (a.values[column], b.values[column]);
                        a.is_none().cmp(&b.is_none()).then_with(|| turn(a.cmp(&b)))
                    }),
                    (None, Some(dimension)) => {
                        a.at.cmp(&b.at).then(a.other.cmp(&b.other)).then_with(|| {
                            let (a, b) = (&a.group[dimension], &b.group[dimension]);
                            a.is_none().cmp(&b.is_none()).then_with(|| turn(a.cmp(b)))
                        })
                    }
                    (None, None) => turn(a.at.cmp(&b.at)),
                }
            });
        }
        self.rows = rows.into_iter().map(|(row, _)| row).collect();
    }
}

/// Groups by name; one without a name comes last.
fn names(group: &Group) -> Vec<(bool, &str)> {
    group.iter().map(|name| (name.is_none(), name.as_deref().unwrap_or_default())).collect()
}
