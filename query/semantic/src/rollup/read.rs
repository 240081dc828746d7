//! Questions about metrics that a rollup answers.

use chrono::{DateTime, Days, TimeDelta, Utc};

use super::{
    BUCKET, ROWS, Rollup, Rollups, SELF, between,
    expression::{Rewriter, columns_of},
    present_name, sum_name,
};
use crate::{
    Audience, Dimension, Grain, Metric, MetricKind, MetricRequest, Source, bucketed,
    context::{Key, StatementContext},
    kind,
};

/// What of a window a rollup has, and what of it the ledger is read for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RollupRead {
    rollup: &'static Rollup,
    /// The sums that are read.
    sums: Vec<usize>,
    window: (DateTime<Utc>, DateTime<Utc>),
    /// The whole hours or days in it.
    whole: (DateTime<Utc>, DateTime<Utc>),
    /// Whether the stored rows have all events of those.
    is_held: bool,
}

/// The statement that answers metrics which share one, from the first of some rollups that can.
pub(crate) fn answer(
    metrics: &[&Metric],
    context: &StatementContext<'_>,
    sources: &[Source],
    usable: &Rollups<'_>,
) -> Option<String> {
    let source = context.source;
    if source.query.is_some() {
        return Some(kind::select(metrics, &context.with_usage_of(sources, usable)?));
    }
    if source.is_history {
        return None;
    }
    let mut reads: Vec<_> = usable
        .list
        .iter()
        .filter(|rollup| rollup.source == source.name)
        .filter_map(|rollup| RollupRead::new(rollup, context.request, usable))
        .collect();
    // What has hours or days that are not whole comes last: events are read for them.
    reads.sort_by_key(RollupRead::has_edges);
    reads.into_iter().find_map(|read| {
        let can_split = context.needed_dimensions().all(|dimension| read.has(dimension));
        if can_split { select(metrics, context, read) } else { None }
    })
}

fn select(metrics: &[&Metric], context: &StatementContext<'_>, read: RollupRead) -> Option<String> {
    let rollup = read.rollup;
    if let [metric] = metrics
        && metric.kind == MetricKind::Percentile
    {
        let is_kept = rollup.histogram.as_ref() == Some(&metric.value);
        return is_kept.then(|| {
            let having = format!(" HAVING sum({ROWS}) <> 0");
            let rows = format!("sum({ROWS}) AS n");
            kind::percentile(metric, &context.over(read), BUCKET.to_owned(), &rows, &having)
        });
    }
    let is_key = |name: &str| rollup.keys.iter().any(|key| key == name);
    let mut rewriter = Rewriter::new(rollup, &is_key);
    let values = metrics.iter().map(|metric| match metric.kind {
        MetricKind::Aggregate | MetricKind::Distinct | MetricKind::Ratio => {
            rewriter.rewrite(&kind::expression(metric))
        }
        _ => None,
    });
    let values: Vec<_> = values.collect::<Option<_>>()?;
    let context = context.over(RollupRead { sums: rewriter.used.into_iter().collect(), ..read });
    let keys = context.keys();
    let names: Vec<_> = keys.iter().map(|key| key.name.clone()).collect();
    let mut inner = keys;
    let distinct = rewriter.distinct.into_iter().enumerate();
    inner.extend(distinct.map(|(i, expression)| Key { expression, name: format!("d{i}") }));
    let parts = rewriter.parts.iter().enumerate().map(|(i, part)| format!("{part} AS a{i}"));
    let parts = parts.chain([format!("sum({ROWS}) AS {ROWS}")]);
    let cells = context.select(&inner, parts, &context.within());
    let values = values.iter().enumerate().map(|(i, value)| format!("{value} AS value{i}"));
    let columns: Vec<_> = names.iter().cloned().chain(values).collect();
    // Rows that were taken back leave no group behind.
    let group = match names.is_empty() {
        true => String::new(),
        false => format!(" GROUP BY {} HAVING sum({ROWS}) > 0", names.join(", ")),
    };
    Some(format!("SELECT {} FROM ({cells}) AS cells{group}", columns.join(", ")))
}

/// The days of usage up to the end of a question's window, as rows with some columns: keys, and a price, of which a row has
/// the sum. Nothing if no rollup of days has them, or the window is not of whole days.
pub(crate) fn usage(
    request: &MetricRequest,
    audience: Audience,
    columns: &[&str],
    usable: &Rollups<'_>,
) -> Option<String> {
    usable.list.iter().find_map(|rollup| {
        if rollup.source != "usage_events" || rollup.grain != Grain::Day {
            return None;
        }
        // What they look back at is of whole days, too.
        let from = request.from.checked_sub_days(Days::new(LOOK_BACK_DAYS))?;
        let from = from.min(bucketed::before(request));
        let mut read = RollupRead::new(rollup, &MetricRequest { from, ..request.clone() }, usable)?;
        let is_key = |name: &str| rollup.keys.iter().any(|key| key == name);
        let (keys, sums): (Vec<&str>, Vec<&str>) =
            columns.iter().copied().partition(|name| is_key(name));
        let places = sums.iter().map(|name| rollup.place_of(&format!("sum({name})")));
        read.sums = places.collect::<Option<_>>()?;
        if read.has_edges() {
            return None;
        }
        let keys: String = keys.iter().map(|key| format!(", {key}")).collect();
        let named = sums.iter().zip(&read.sums);
        let amounts: String =
            named.map(|(name, place)| format!(", sum({}) AS {name}", sum_name(*place))).collect();
        // A row is there where a request was that has all of these.
        let there = read.sums.iter().map(|place| present_name(*place)).chain([ROWS.to_owned()]);
        let there: Vec<_> = there.map(|name| format!("sum({name}) > 0")).collect();
        let by_staff = match audience {
            Audience::Staff => format!(" WHERE {SELF} = 0"),
            Audience::Organization => String::new(),
        };
        Some(format!(
            "(SELECT occurred_at{keys}{amounts} FROM ({}) AS rolled{by_staff} GROUP BY occurred_at{keys} HAVING {}) \
             AS usage_events",
            read.rows(),
            there.join(" AND ")
        ))
    })
}

/// How far sources look back from the start of a window.
const LOOK_BACK_DAYS: u64 = 92;

impl RollupRead {
    /// Nothing if the hours or days of the rollup are not parts of the question's buckets.
    fn new(rollup: &'static Rollup, request: &MetricRequest, usable: &Rollups<'_>) -> Option<Self> {
        let MetricRequest { from, to, grain, zone, .. } = *request;
        let width = rollup.grain.seconds_min();
        if grain.is_some_and(|grain| grain < rollup.grain) {
            return None;
        }
        // A bucket begins on the clock of the zone.
        let is_on_grid = |at: DateTime<Utc>| zone.offset_at(at).num_seconds() % width == 0;
        let mut begin = from;
        loop {
            if !is_on_grid(begin) {
                return None;
            }
            match zone.next_change(begin, to) {
                Some(change) if change.timestamp() % width != 0 => return None,
                Some(change) if change < to => begin = change,
                _ => break,
            }
        }
        let floor = |at: DateTime<Utc>| Grain::start(rollup.grain, at, crate::Zone::UTC);
        let first = match floor(from) {
            start if start == from => start,
            start => start + TimeDelta::seconds(width),
        };
        let whole = (first, floor(to));
        let is_held = whole.0 < whole.1 && (usable.is_held)(rollup, whole.0, whole.1);
        let read = Self { rollup, sums: Vec::new(), window: (from, to), whole, is_held };
        let (whole, all) = (read.whole.1 - first, to - from);
        // Mostly events would be no shorter way.
        (whole > TimeDelta::zero() && all - whole <= whole).then_some(read)
    }

    fn has_edges(&self) -> bool {
        self.window != self.whole
    }

    /// Whether its rows can be split and filtered by a dimension.
    fn has(&self, dimension: &Dimension) -> bool {
        if dimension.of_organization.is_some() {
            return self.rollup.is_of_organizations();
        }
        let is_known = |name: &String| {
            self.rollup.keys.contains(name)
                // The day and the hour on a clock are the same for all of an hour.
                || (name == "occurred_at" && self.rollup.grain == Grain::Hour)
        };
        columns_of(dimension.sql()).is_some_and(|names| names.iter().all(is_known))
    }

    /// The rows of the window: those of whole hours or days that are stored, those of the ledger that came since, and those
    /// of the ledger at the edges of the window.
    pub(crate) fn rows(&self) -> String {
        let Self { rollup, sums, window: (from, to), whole: (first, last), is_held } = self;
        let names = rollup.names(sums);
        let whole = between(*first, *last);
        let mut rows = vec![format!("SELECT {names} FROM {} WHERE {whole}", rollup.stored())];
        if !is_held {
            rows.push(rollup.rows_of_buckets(&rollup.above(), &whole, sums));
        }
        let edges = [(*from, *first), (*last, *to)].into_iter().filter(|(from, to)| from < to);
        let edges: Vec<_> = edges.map(|(from, to)| format!("({})", between(from, to))).collect();
        if !edges.is_empty() {
            let edges = format!("({})", edges.join(" OR "));
            rows.push(rollup.rows(rollup.ledger().name(), &edges, sums));
        }
        rows.join(" UNION ALL ")
    }
}
