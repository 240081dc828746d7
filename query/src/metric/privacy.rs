//! Values that would say something of a few persons are not shown to those who see no rows.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray},
    datatypes::Int64Type,
};
use chrono::{DateTime, Utc};
use semantic::{
    Filter, GROUPS_MAX, Grain, Group, Groups, MetricAnswer, MetricRequest, MetricRow, PersonCount,
    ROWS_MAX, Zone,
};

use super::rows::{RowKey, keys};
use crate::{Engine, MetricContext, QueryError, Reason};

/// The counts of persons by cell.
type Counts = BTreeMap<RowKey, Vec<u64>>;

/// How many persons stand behind a value, and whether it is suppressed for them alone.
#[derive(Debug, Clone, Copy, Default)]
struct Persons {
    number: u64,
    is_small: bool,
}

impl Engine {
    /// Answers questions without the values that are of fewer persons than `min`.
    pub(crate) async fn metrics_of_many(
        &self,
        requests: &[MetricRequest],
        min: u32,
        asking: MetricContext<'_>,
    ) -> Result<Vec<MetricAnswer>, QueryError> {
        let requests = self.fold_small_groups(requests, min, asking).await?;
        let mut answers = self.metrics_of_all(&requests, asking).await?;
        for (request, answer) in requests.iter().zip(&mut answers) {
            self.suppress(request, answer, min, asking).await?;
        }
        Ok(answers)
    }

    /// The questions, with groups of few persons in `other`.
    async fn fold_small_groups(
        &self,
        requests: &[MetricRequest],
        min: u32,
        asking: MetricContext<'_>,
    ) -> Result<Vec<MetricRequest>, QueryError> {
        let mut folded = requests.to_vec();
        for request in &mut folded {
            if is_of_persons(request, asking) && !request.by.is_empty() {
                let limit = match request.groups {
                    Groups::These(_) => continue,
                    Groups::Largest(limit) => limit,
                    Groups::All => GROUPS_MAX,
                };
                let shown = self.large_groups(std::slice::from_ref(request), limit, min, asking);
                request.groups = Groups::These(shown.await?);
            }
        }
        Ok(folded)
    }

    /// The groups that are shown separately: those of at least `min` persons, and of these at most `limit`, the largest
    /// by the first question. Others are together `min` persons too, or nobody: else the smallest group is one of them.
    pub(crate) async fn large_groups(
        &self,
        requests: &[MetricRequest],
        limit: usize,
        min: u32,
        asking: MetricContext<'_>,
    ) -> Result<Vec<Group>, QueryError> {
        let plain = |groups: Groups| {
            move |request: &MetricRequest| MetricRequest {
                grain: None,
                groups: groups.clone(),
                ..request.clone()
            }
        };
        let of_persons: Vec<_> =
            requests.iter().flat_map(|request| asking.catalog.components(request)).collect();
        let of_persons: Vec<_> =
            of_persons.iter().filter(|request| is_of_persons(request, asking)).collect();
        // The persons of the metric in which a group has the fewest.
        let mut sizes: BTreeMap<Group, u64> = BTreeMap::new();
        for (i, request) in of_persons.iter().enumerate() {
            let found = self.sizes(&plain(Groups::All)(request), asking).await?;
            let found: BTreeMap<Group, u64> =
                found.into_iter().map(|(key, number)| (key.group, number)).collect();
            if i == 0 {
                sizes = found;
            } else {
                sizes.retain(|group, _| found.contains_key(group));
                for (group, size) in &mut sizes {
                    *size = (*size).min(found.get(group).copied().unwrap_or_default());
                }
            }
        }
        sizes.retain(|_, size| *size >= u64::from(min));
        let mut shown = match requests.first().map(plain(Groups::All)) {
            Some(request) => self.ranked(&request, min, asking).await?,
            None => Vec::new(),
        };
        shown.retain(|group| sizes.contains_key(group));
        // What the first metric has no value of comes last.
        let others: Vec<_> = sizes.keys().filter(|group| !shown.contains(group)).cloned().collect();
        shown.extend(others);
        shown.truncate(limit.min(GROUPS_MAX));
        for request in of_persons {
            let request = plain(Groups::These(shown.clone()))(request);
            let others = self.sizes(&request, asking).await?;
            let others = others.iter().filter(|(key, _)| key.other).map(|(_, number)| *number);
            if (1..u64::from(min)).contains(&others.max().unwrap_or_default())
                && let Some(smallest) = shown.iter().min_by_key(|group| (sizes.get(*group), *group))
            {
                let smallest = smallest.clone();
                shown.retain(|group| *group != smallest);
            }
        }
        Ok(shown)
    }

    /// The groups of a question, the largest first; those whose value is of few persons last, by name.
    async fn ranked(
        &self,
        request: &MetricRequest,
        min: u32,
        asking: MetricContext<'_>,
    ) -> Result<Vec<Group>, QueryError> {
        let answers = self.metrics_of_all(std::slice::from_ref(request), asking).await?;
        let Some(mut answer) = answers.into_iter().next() else { return Ok(Vec::new()) };
        for component in asking.catalog.components(request) {
            self.suppress_small_cells(&component, &mut answer, min, asking).await?;
        }
        Ok(super::table::ranked(answer.rows))
    }

    /// How many persons each group of a question has.
    async fn sizes(
        &self,
        request: &MetricRequest,
        asking: MetricContext<'_>,
    ) -> Result<Vec<(RowKey, u64)>, QueryError> {
        let count = asking.catalog.person_groups(request, asking.viewer())?;
        let Some(count) = count else { return Ok(Vec::new()) };
        let counts = self.persons(request, &count, asking).await?;
        Ok(counts.into_iter().map(|(key, counts)| (key, count.persons(&counts))).collect())
    }

    /// Takes the values out of an answer that would say something of a few persons.
    async fn suppress(
        &self,
        request: &MetricRequest,
        answer: &mut MetricAnswer,
        min: u32,
        asking: MetricContext<'_>,
    ) -> Result<(), QueryError> {
        // What is derived says of persons what each of its metrics does.
        for component in asking.catalog.components(request) {
            self.suppress_small_cells(&component, answer, min, asking).await?;
            if self.filters_folded_value(&component, min, asking).await? {
                for row in &mut answer.rows {
                    (row.value, row.suppressed) = (None, true);
                }
            }
        }
        Ok(())
    }

    /// Whether a filter names a value that would not be shown separately, were the question split by its dimension.
    async fn filters_folded_value(
        &self,
        request: &MetricRequest,
        min: u32,
        asking: MetricContext<'_>,
    ) -> Result<bool, QueryError> {
        let Some(filter) = &request.filter else { return Ok(false) };
        if !is_of_persons(request, asking) {
            return Ok(false);
        }
        for (others, dimension, values) in filter.each_condition() {
            let split = MetricRequest {
                grain: None,
                by: vec![dimension],
                filter: (!others.is_empty()).then(|| Filter::all(others)),
                groups: Groups::All,
                ..request.clone()
            };
            let shown = self.large_groups(&[split], GROUPS_MAX, min, asking).await?;
            if values.into_iter().any(|value| !shown.contains(&vec![value])) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes out the values of few persons, and others so that none of them is a total minus the rest (complementary
    /// suppression).
    async fn suppress_small_cells(
        &self,
        request: &MetricRequest,
        answer: &mut MetricAnswer,
        min: u32,
        asking: MetricContext<'_>,
    ) -> Result<(), QueryError> {
        let Some(count) = asking.catalog.person_count(request, asking.viewer())? else {
            return Ok(());
        };
        let counts = self.persons(request, &count, asking).await?;
        let metric = asking.catalog.metric(&request.metric);
        let has_currency = metric.is_some_and(semantic::Metric::has_currency);
        let persons = |row: &MetricRow| {
            let MetricRow { at, group, other, currency, .. } = row.clone();
            let currency = currency.filter(|_| has_currency);
            let counts = counts.get(&RowKey { at, group, other, currency });
            counts.map_or_else(Persons::default, |counts| Persons {
                number: count.persons(counts),
                is_small: count.is_small(counts, min),
            })
        };
        let persons: Vec<_> = answer.rows.iter().map(persons).collect();
        let cells = Cells {
            rows: &answer.rows,
            persons: &persons,
            folded: &self.folded(request, &count, asking).await?,
            time: request.grain.map(|grain| (grain, request.zone)),
            min: min.into(),
        };
        let suppressed = cells.suppressed();
        for (row, suppressed) in answer.rows.iter_mut().zip(suppressed) {
            if suppressed {
                (row.value, row.suppressed) = (None, true);
            }
        }
        Ok(())
    }

    /// The cells in `other` that a question with a dimension less has in a total of its own, each with its persons.
    async fn folded(
        &self,
        request: &MetricRequest,
        count: &PersonCount,
        asking: MetricContext<'_>,
    ) -> Result<Vec<(RowKey, u64)>, QueryError> {
        let Groups::These(shown) = &request.groups else { return Ok(Vec::new()) };
        if request.by.len() < 2 {
            return Ok(Vec::new());
        }
        let all = MetricRequest { groups: Groups::All, ..request.clone() };
        let Some(of_all) = asking.catalog.person_count(&all, asking.viewer())? else {
            return Ok(Vec::new());
        };
        let counts = self.persons(&all, &of_all, asking).await?.into_iter();
        let counts = counts.filter(|(key, _)| !shown.contains(&key.group));
        Ok(counts.map(|(key, counts)| (key, count.persons(&counts))).collect())
    }

    async fn persons(
        &self,
        request: &MetricRequest,
        count: &PersonCount,
        asking: MetricContext<'_>,
    ) -> Result<Counts, QueryError> {
        let rows = self.rows_of_metrics(&count.sql, &count.reads, ROWS_MAX, asking).await?;
        let unreadable = || QueryError::new(Reason::Failed, "the persons cannot be counted");
        let metric = asking.catalog.metric(&request.metric).ok_or_else(unreadable)?;
        let mut counts = Counts::new();
        for batch in &rows.batches {
            let columns = (0..count.counts).map(|i| {
                let column = batch.column_by_name(&format!("n{i}"));
                column.and_then(|column| column.as_primitive_opt::<Int64Type>())
            });
            let columns = columns.collect::<Option<Vec<_>>>().ok_or_else(unreadable)?;
            for (row, key) in keys(batch, request, metric.has_currency())?.into_iter().enumerate() {
                let of_row = columns.iter().map(|column| match column.is_valid(row) {
                    true => u64::try_from(column.value(row)).unwrap_or_default(),
                    false => 0,
                });
                counts.insert(key, of_row.collect());
            }
        }
        Ok(counts)
    }
}

fn is_of_persons(request: &MetricRequest, asking: MetricContext<'_>) -> bool {
    let metric = asking.catalog.metric(&request.metric);
    metric.is_some_and(|metric| asking.catalog.is_of_persons(metric))
}

/// The cells of an answer.
struct Cells<'a> {
    rows: &'a [MetricRow],
    persons: &'a [Persons],
    /// Cells that the row `other` stands for.
    folded: &'a [(RowKey, u64)],
    /// The buckets, and their clock.
    time: Option<(Grain, Zone)>,
    min: u64,
}

/// A total that somebody may ask for: that of a bucket, of a group over the window or a longer bucket, or of the groups that
/// differ in one dimension only.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Total {
    Bucket(RowKey),
    Group(Option<Grain>, RowKey),
    Without(usize, RowKey),
}

/// The cells of a total.
#[derive(Debug, Default)]
struct Line {
    rows: Vec<usize>,
    /// The persons of the folded cell that has the most.
    folded: u64,
}

impl Cells<'_> {
    /// Which rows have no value: those of few persons, and as many more as it takes that nothing which is missing is a
    /// total minus the other values (primary and complementary suppression).
    fn suppressed(&self) -> Vec<bool> {
        let mut suppressed: Vec<_> = self.persons.iter().map(|persons| persons.is_small).collect();
        let lines = self.lines();
        let mut again = true;
        while again {
            again = false;
            for line in lines.values() {
                let (hidden, open): (Vec<usize>, Vec<usize>) =
                    line.rows.iter().partition(|i| suppressed[**i]);
                let most = hidden.iter().map(|i| self.persons[*i].number).max();
                let most = most.unwrap_or_default().max(line.folded);
                let is_alone = hidden.len() == 1 && line.folded == 0;
                let is_safe = most == 0 || (most >= self.min && !is_alone);
                let smallest = open
                    .into_iter()
                    .min_by_key(|i| (self.persons[*i].number, &self.rows[*i].group));
                if let Some(smallest) = smallest.filter(|_| !is_safe) {
                    suppressed[smallest] = true;
                    again = true;
                }
            }
        }
        suppressed
    }

    /// The window, and each longer bucket that a bucket is a part of. Persons who do something once add up.
    fn longer_buckets(
        &self,
        at: Option<DateTime<Utc>>,
    ) -> Vec<(Option<Grain>, Option<DateTime<Utc>>)> {
        let Some(((grain, zone), at)) = self.time.zip(at) else { return Vec::new() };
        let longer = Grain::ALL.iter().copied().filter(|longer| *longer > grain);
        let longer = longer.map(|longer| (Some(longer), Some(longer.start(at, zone))));
        longer.chain([(None, None)]).collect()
    }

    /// Every total with its cells. A cell of nobody is in none.
    fn lines(&self) -> BTreeMap<Total, Line> {
        let mut lines: BTreeMap<Total, Line> = BTreeMap::new();
        for (i, row) in self.rows.iter().enumerate().filter(|(i, _)| self.persons[*i].number > 0) {
            let MetricRow { at, group, other, currency, .. } = row.clone();
            let key = RowKey { at, group, other, currency };
            let bucket = RowKey { group: Vec::new(), other: false, ..key.clone() };
            lines.entry(Total::Bucket(bucket)).or_default().rows.push(i);
            for (length, at) in self.longer_buckets(key.at) {
                let group = RowKey { at, ..key.clone() };
                lines.entry(Total::Group(length, group)).or_default().rows.push(i);
            }
            if !other {
                for total in totals_without_one(&key) {
                    lines.entry(total).or_default().rows.push(i);
                }
            }
        }
        for (key, number) in self.folded {
            for total in totals_without_one(key) {
                let line = lines.entry(total).or_default();
                line.folded = line.folded.max(*number);
            }
        }
        lines
    }
}

/// The totals of a cell in the questions with one dimension less, where more than one is asked for.
fn totals_without_one(key: &RowKey) -> impl Iterator<Item = Total> {
    let dimensions = if key.group.len() > 1 { key.group.len() } else { 0 };
    (0..dimensions).map(move |without| {
        let mut key = key.clone();
        key.group.remove(without);
        Total::Without(without, key)
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn hidden(cells: &[(i64, &str, u64)], by_day: bool) -> Vec<(i64, String)> {
        let rows: Vec<_> = cells
            .iter()
            .map(|(at, group, _)| MetricRow {
                at: DateTime::from_timestamp(*at * 86_400, 0),
                group: vec![Some((*group).to_owned())],
                other: false,
                currency: None,
                value: None,
                suppressed: false,
            })
            .collect();
        let persons: Vec<_> = cells
            .iter()
            .map(|(_, _, number)| Persons { number: *number, is_small: (1..10).contains(number) })
            .collect();
        let time = by_day.then_some((Grain::Day, Zone::UTC));
        let all = Cells { rows: &rows, persons: &persons, folded: &[], time, min: 10 };
        let suppressed = all.suppressed();
        cells
            .iter()
            .zip(suppressed)
            .filter(|(_, suppressed)| *suppressed)
            .map(|((at, group, _), _)| (*at, (*group).to_owned()))
            .collect()
    }

    #[test]
    fn a_missing_value_is_never_the_only_one_of_its_total() {
        let day = |at: i64, group: &str| (at, group.to_owned());
        // The smallest of the others is missing too.
        assert_eq!(
            hidden(&[(0, "a", 50), (0, "b", 20), (0, "c", 5)], false),
            [day(0, "b"), day(0, "c")]
        );
        // Two small ones may be the same persons.
        assert_eq!(
            hidden(&[(0, "a", 50), (0, "b", 6), (0, "c", 5)], false),
            [day(0, "a"), day(0, "b"), day(0, "c")]
        );
        // Nobody is in no total, and one group is its own.
        assert_eq!(hidden(&[(0, "a", 50), (0, "b", 0)], false), []);
        assert_eq!(hidden(&[(0, "a", 5), (1, "a", 50)], false), [day(0, "a")]);
        // Days that add up are parts of a total too.
        assert_eq!(
            hidden(&[(0, "a", 5), (1, "a", 50), (2, "a", 40)], true),
            [day(0, "a"), day(2, "a")]
        );
        let all = hidden(&[(0, "a", 5), (0, "b", 50), (1, "a", 20), (1, "b", 30)], true);
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_folded_cell_is_no_difference_of_two_totals() {
        let row = |country: &str, device: &str| MetricRow {
            at: None,
            group: vec![Some(country.to_owned()), Some(device.to_owned())],
            other: false,
            currency: None,
            value: None,
            suppressed: false,
        };
        let rows = [row("a", "mobile"), row("a", "desktop"), row("b", "mobile")];
        let persons = [95, 40, 60].map(|number| Persons { number, is_small: false });
        let tablet = RowKey {
            at: None,
            group: vec![Some("a".to_owned()), Some("tablet".to_owned())],
            other: false,
            currency: None,
        };
        for (few, hidden) in [(5, [true; 3]), (12, [false; 3])] {
            let folded = [(tablet.clone(), few)];
            let cells =
                Cells { rows: &rows, persons: &persons, folded: &folded, time: None, min: 10 };
            // Of `a`, the desktop is missing too; so that it is not the only one of all, `b` is; and so on.
            assert_eq!(cells.suppressed(), hidden, "{few}");
        }
    }
}
