//! How many persons stand behind a value, and whether the value would say something of a few of them.
//!
//! A question that is asked beside another one says something of those who are in one answer and not in the other. So
//! a value is looked at together with the questions that a part of its filter makes: without one condition, without one
//! value of a list, and of that value alone.

use crate::{
    Condition, Error, Filter, Metric, MetricKind, MetricRequest, Operator, TableRead,
    context::StatementContext, statement,
};

/// A statement that counts persons for each value of an answer.
#[derive(Debug, Clone)]
pub struct PersonCount {
    /// The text to run. A row has the keys of the answer's rows, and the counts `n0`, `n1` …
    pub sql: String,
    /// The rows that it depends on.
    pub reads: Vec<TableRead>,
    /// How many counts a row has.
    pub counts: usize,
    /// The counts of the persons in the value itself: of a ratio, above and below the line.
    own: Vec<usize>,
    checks: Vec<Check>,
}

/// Persons that must not be a few.
#[derive(Debug, Clone, Copy)]
enum Check {
    /// Those of a count.
    Count(usize),
    /// Those of one count who are not in another.
    Difference(usize, usize),
}

/// Counts of one statement.
const COUNTS_MAX: usize = 60;
/// Counts of one group, over all buckets.
const CELLS_MAX: i64 = 10_000;

impl PersonCount {
    /// The statement for the values of a question, whose rows are those of `context`.
    pub(crate) fn of_values(
        metric: &Metric,
        person: &str,
        context: StatementContext<'_>,
    ) -> Result<Self, Error> {
        let request = context.request;
        check_window(request)?;
        let reads = statement::reads(context.source, metric, request, &context);
        let sets = Sets::of(request.filter.as_ref(), &context)?;
        let context = context.without_filter();
        let (mut columns, mut own, mut checks) = (Vec::new(), Vec::new(), Vec::new());
        for filter in part_filters(metric) {
            let first = columns.len();
            own.push(first);
            for set in &sets.conditions {
                let filter = filter.iter().map(|filter| format!("({filter})"));
                let conditions: Vec<_> = filter.chain(set.clone()).collect();
                let conditions = match conditions.is_empty() {
                    true => String::new(),
                    false => format!(" FILTER (WHERE {})", conditions.join(" AND ")),
                };
                columns.push(format!("count(DISTINCT {person}){conditions} AS n{}", columns.len()));
            }
            checks.extend(sets.checks.iter().map(|check| match check {
                Check::Count(set) => Check::Count(first + set),
                Check::Difference(all, part) => Check::Difference(first + all, first + part),
            }));
        }
        // Who is below the line of a ratio and not above it shows in what is missing to one.
        if let [above, below] = own[..] {
            checks.push(Check::Difference(below, above));
        }
        let counts = columns.len();
        if counts > COUNTS_MAX {
            return Err(Error::Filter("a filter of persons has about ten values at most".into()));
        }
        let length = (request.to - request.from).num_seconds();
        let buckets = request.grain.map_or(1, |grain| length / grain.seconds_min() + 1);
        if buckets.saturating_mul(counts as i64) > CELLS_MAX {
            return Err(Error::TooLarge(
                "so many persons in so many buckets are not counted for you: take a longer grain, or fewer values in the \
                 filter"
                    .into(),
            ));
        }
        let sql = context.select(&context.keys(), columns, &context.within());
        Ok(Self { sql, reads, counts, own, checks })
    }

    /// The statement for the groups of a question, whatever of their persons the metric counts.
    pub(crate) fn of_groups(metric: &Metric, person: &str, context: &StatementContext<'_>) -> Self {
        let column = format!("count(DISTINCT {person}) AS n0");
        Self {
            sql: context.select(&context.keys(), [column], &context.within()),
            reads: statement::reads(context.source, metric, context.request, context),
            counts: 1,
            own: vec![0],
            checks: vec![Check::Count(0)],
        }
    }

    /// The persons in the value.
    pub fn persons(&self, counts: &[u64]) -> u64 {
        self.own.iter().filter_map(|own| counts.get(*own)).copied().max().unwrap_or_default()
    }

    /// Whether the value, or its difference to that of a question with a part of the filter, is of some persons but fewer
    /// than `min`: k-anonymity, with `min` as k.
    pub fn is_small(&self, counts: &[u64], min: u32) -> bool {
        let count = |at: usize| counts.get(at).copied().unwrap_or_default();
        self.checks.iter().any(|check| {
            let persons = match *check {
                Check::Count(at) => count(at),
                Check::Difference(all, part) => count(all).abs_diff(count(part)),
            };
            (1..u64::from(min)).contains(&persons)
        })
    }
}

/// Hours of a person's day say more than the day.
fn check_window(request: &MetricRequest) -> Result<(), Error> {
    if !request.is_of_whole_days() {
        return Err(Error::Window(format!(
            "`{}` counts persons, by whole days: take dates, and the grain day or a longer one",
            request.metric
        )));
    }
    Ok(())
}

/// The rows whose persons are counted: the first set is that of the question.
struct Sets {
    /// Each with the conditions that all hold.
    conditions: Vec<Vec<String>>,
    checks: Vec<Check>,
}

impl Sets {
    fn of(filter: Option<&Filter>, context: &StatementContext<'_>) -> Result<Self, Error> {
        let conditions = filter.map_or(Some(Vec::new()), Filter::all_of).ok_or_else(unsupported)?;
        let sql = |condition: &Condition| -> Result<String, Error> {
            Ok(format!(
                "coalesce({}, false)",
                condition.sql(context.dimension(&condition.dimension)?)?
            ))
        };
        let all: Vec<_> = conditions.iter().map(|c| sql(c)).collect::<Result<_, _>>()?;
        let mut sets = Self { conditions: vec![all.clone()], checks: vec![Check::Count(0)] };
        for (i, condition) in conditions.iter().enumerate() {
            if condition.operator == Operator::Contains {
                return Err(unsupported());
            }
            let others: Vec<_> =
                all.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, c)| c.clone()).collect();
            let with = |more: String| others.iter().cloned().chain([more]).collect::<Vec<_>>();
            let without = sets.push(others.clone());
            sets.checks.push(Check::Difference(without, 0));
            sets.push_checked(with(format!("NOT {}", all[i])));
            for (value, rest) in condition.each_value() {
                sets.push_checked(with(sql(&value)?));
                if let Some(rest) = rest {
                    let rest = sets.push(with(sql(&rest)?));
                    sets.checks.push(Check::Difference(rest, 0));
                }
            }
        }
        Ok(sets)
    }

    fn push(&mut self, conditions: Vec<String>) -> usize {
        self.conditions.push(conditions);
        self.conditions.len() - 1
    }

    fn push_checked(&mut self, conditions: Vec<String>) {
        let set = self.push(conditions);
        self.checks.push(Check::Count(set));
    }
}

fn unsupported() -> Error {
    Error::Filter(
        "persons are filtered by =, !=, in, not in, is null and is not null, which all hold: no `or`, no `contains`"
            .into(),
    )
}

/// Which rows each part of a metric counts or adds up: of a ratio those above and those below the line.
fn part_filters(metric: &Metric) -> Vec<Option<String>> {
    match metric.kind {
        MetricKind::Distinct | MetricKind::Percentile | MetricKind::Cumulative => {
            let is_there = format!("({}) IS NOT NULL", metric.value);
            let filter = metric.filter.iter().map(|filter| format!("({filter}) AND "));
            vec![Some(filter.collect::<String>() + &is_there)]
        }
        MetricKind::Aggregate
        | MetricKind::Ratio
        | MetricKind::Derived
        | MetricKind::Conversion => {
            let texts = [Some(&metric.value), metric.over.as_ref()].into_iter().flatten();
            // A file whose calls do not parse is refused.
            let filter = |text| split_filter(text).and_then(|(_, filter)| filter);
            texts
                .map(|text| filter(text).map(str::to_owned).or_else(|| metric.filter.clone()))
                .collect()
        }
    }
}

/// Whether the persons of a metric can be counted: each of its parts is one call, which may have a filter.
pub(crate) fn is_countable(metric: &Metric) -> bool {
    let parts = [Some(&metric.value), metric.over.as_ref()];
    metric.kind != MetricKind::Cumulative
        && parts.into_iter().flatten().all(|text| split_filter(text).is_some())
}

/// An aggregate call and the condition of its filter.
fn split_filter(text: &str) -> Option<(&str, Option<&str>)> {
    const FILTER: &str = " FILTER (WHERE ";
    let upper = text.to_ascii_uppercase();
    match upper.matches("FILTER").count() {
        0 => Some((text, None)),
        1 => {
            let at = upper.find(FILTER)?;
            let condition = text[at + FILTER.len()..].trim_end().strip_suffix(')')?;
            let mut depth = 0_i32;
            let is_balanced = condition.bytes().all(|byte| {
                depth += i32::from(byte == b'(') - i32::from(byte == b')');
                depth >= 0
            });
            (is_balanced && depth == 0).then_some((&text[..at], Some(condition)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_split_from_its_filter() {
        for (text, split) in [
            ("count(*)", Some(("count(*)", None))),
            ("sum(a) FILTER (WHERE b = (1))", Some(("sum(a)", Some("b = (1)")))),
            ("sum(a) FILTER (WHERE b) + sum(c)", None),
            ("sum(a) FILTER (WHERE b) + sum(c) FILTER (WHERE d)", None),
        ] {
            assert_eq!(split_filter(text), split, "{text}");
        }
    }

    #[test]
    fn nobody_is_no_few() {
        let count = PersonCount {
            sql: String::new(),
            reads: Vec::new(),
            counts: 2,
            own: vec![0],
            checks: vec![Check::Count(0), Check::Difference(1, 0)],
        };
        for (counts, few) in [
            ([0, 0], false),
            ([9, 9], true),
            ([10, 10], false),
            ([10, 19], true),
            ([10, 20], false),
            ([0, 5], true),
        ] {
            assert_eq!(count.is_small(&counts, 10), few, "{counts:?}");
        }
    }
}
