//! Retention.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use query::{
    QueryError,
    analysis::{AnalysisScope, Retention, RetentionMode, RetentionValue},
    metric::Number,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AnalysisHead, AnalysisQuestion, ResultColumns,
    question::{Event, refused, word},
    rows::share,
};

/// Periods after the first.
const PERIODS: u32 = 12;

/// What is asked of retention.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct RetentionQuestion {
    /// What begins it, such as `activity.signed_up`.
    start: Event,
    /// What is a return, such as `usage.request`.
    #[serde(rename = "return")]
    again: Event,
    /// `day`, `week` (the default), `month`, `quarter` or `year`.
    #[serde(default)]
    period: Option<String>,
    /// How many periods after that of the start, 1 to 60; 12 without it.
    #[serde(default)]
    periods: Option<u32>,
    /// `on` (the default): a return counts in its own period. `on_or_after`: in its own and those before.
    #[serde(default)]
    mode: Option<String>,
    /// `first` (the default): a unit is in the period of its first start ever. `recurring`: in each period with a start.
    #[serde(default)]
    cohort: Option<String>,
    /// So many returns in a period count as one; 1 without it.
    #[serde(default)]
    at_least: Option<u32>,
    /// `list_price` of `usage.request`, or `amount` of billing events: it is added up beside the units.
    #[serde(default)]
    value: Option<String>,
}

/// Who came back.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RetentionView {
    #[serde(flatten)]
    head: AnalysisHead,
    #[schema(value_type = String)]
    period: query::metric::Grain,
    cohorts: Vec<Cohort>,
    /// Each period after the start, over all cohorts that are complete in it: weighted by their units.
    mean: Vec<MeanCell>,
}

/// Those who started in a period.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cohort {
    /// The start of the period.
    #[schema(value_type = String, format = DateTime)]
    at: DateTime<Utc>,
    /// Units. Null where they are too few to be shown.
    size: Option<u64>,
    /// Period 0 is that of the start. Periods that have not begun are not there.
    cells: Vec<RetentionCell>,
}

/// Those of a cohort who returned in a period.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RetentionCell {
    k: u32,
    /// Units. Null where they are too few to be shown.
    count: Option<u64>,
    /// Their share of the cohort.
    share: Option<f64>,
    /// What they paid, by currency, as decimal strings.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<BTreeMap<String, String>>,
    /// The same as a share of period 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_share: Option<BTreeMap<String, f64>>,
    /// The period is not over yet, or has just ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

/// The mean of a period.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MeanCell {
    k: u32,
    share: Option<f64>,
}

/// The units of a cell, and their amounts by currency.
type Found = BTreeMap<(usize, i64), (u64, BTreeMap<String, Number>)>;

impl AnalysisQuestion for RetentionQuestion {
    type Analysis = Retention;
    type View = RetentionView;

    fn resolve(self, scope: AnalysisScope) -> Result<Retention, QueryError> {
        let value = self.value.as_deref().map(str::parse::<RetentionValue>).transpose();
        let period = self.period.as_deref().unwrap_or("week");
        Ok(Retention {
            scope,
            period: crate::metrics::grain(period)?,
            periods: self.periods.unwrap_or(PERIODS),
            start: self.start.0,
            again: self.again.0,
            mode: word("mode", self.mode.as_deref(), "on, on_or_after")?,
            cohort: word("cohort", self.cohort.as_deref(), "first, recurring")?,
            at_least: self.at_least.unwrap_or(1),
            value: value.map_err(|_| refused("`value` is one of list_price, amount"))?,
        })
    }

    fn view(
        question: Retention,
        mut head: AnalysisHead,
        rows: &ResultColumns,
    ) -> Result<RetentionView, QueryError> {
        let (starts, end) = question.cohorts()?;
        head.from = starts.first().copied().unwrap_or(head.from);
        head.to = end;
        let found = found(&question, rows)?;
        let cohorts: Vec<_> =
            (0..).zip(&starts).map(|(n, at)| cohort(&question, n, *at, &found, rows)).collect();
        let mean = (0..=question.periods).map(|k| MeanCell { k, share: mean(&cohorts, k) });
        Ok(RetentionView { period: question.period, mean: mean.collect(), cohorts, head })
    }
}

/// The cells by cohort and period.
fn found(question: &Retention, rows: &ResultColumns) -> Result<Found, QueryError> {
    let mut found = Found::new();
    let keys = rows.counts("cohort")?.into_iter().zip(rows.integers("k")?);
    let amounts = rows.texts("currency")?.into_iter().zip(rows.texts("value")?);
    for (((cohort, k), count), (currency, value)) in keys.zip(rows.counts("n")?).zip(amounts) {
        let (n, amounts) = found.entry((cohort as usize, k.unwrap_or_default())).or_default();
        *n += count;
        if let (Some(currency), Some(value)) = (currency, value) {
            let value = value.parse().ok().and_then(Number::from_decimal).unwrap_or_default();
            amounts.insert(currency, value);
        }
    }
    if question.mode == RetentionMode::OnOrAfter {
        // Rows have the last period: who returns then, returns on or after each one before it.
        let mut later: BTreeMap<usize, u64> = BTreeMap::new();
        let mut all = Found::new();
        for ((cohort, k), (n, _)) in found.into_iter().rev() {
            if k < 0 {
                all.insert((cohort, k), (n, BTreeMap::new()));
                continue;
            }
            let sum = later.entry(cohort).or_default();
            *sum += n;
            all.insert((cohort, k), (*sum, BTreeMap::new()));
        }
        found = all;
    }
    Ok(found)
}

fn cohort(
    question: &Retention,
    n: usize,
    at: DateTime<Utc>,
    found: &Found,
    rows: &ResultColumns,
) -> Cohort {
    let size = found.get(&(n, -1)).map_or(0, |(size, _)| *size);
    let first = found.get(&(n, 0)).map(|(_, amounts)| amounts.clone()).unwrap_or_default();
    let mut cells = Vec::new();
    let mut start = at;
    for k in 0..=question.periods {
        let end = question.period.end(start, question.scope.window.zone);
        if start > question.scope.now {
            break;
        }
        let is_after = question.mode == RetentionMode::OnOrAfter;
        // Of returns on or after a period without any, the next period says how many there are.
        let cell = match is_after {
            true => found.range((n, i64::from(k))..=(n, i64::MAX)).next().map(|(_, cell)| cell),
            false => found.get(&(n, i64::from(k))),
        };
        let count = cell.map_or(0, |(count, _)| *count);
        let amounts = cell.map(|(_, amounts)| amounts.clone()).unwrap_or_default();
        let (count, has_value) = (rows.shown(count), question.value.is_some());
        cells.push(RetentionCell {
            k,
            count,
            share: share(count, rows.shown(size)),
            value: has_value.then(|| {
                amounts
                    .iter()
                    .map(|(currency, value)| (currency.clone(), value.to_string()))
                    .collect()
            }),
            value_share: has_value.then(|| shares(&amounts, &first)),
            incomplete: rows.is_incomplete(end),
        });
        start = end;
    }
    Cohort { at, size: rows.shown(size), cells }
}

/// Amounts as shares of those of the first period.
fn shares(
    amounts: &BTreeMap<String, Number>,
    first: &BTreeMap<String, Number>,
) -> BTreeMap<String, f64> {
    let shares =
        first.iter().filter(|(_, whole)| **whole != Number::ZERO).map(|(currency, whole)| {
            let part = amounts.get(currency).copied().unwrap_or_default();
            (currency.clone(), part.to_f64() / whole.to_f64())
        });
    shares.collect()
}

/// The share over the cohorts whose period is over, as far as they are shown.
fn mean(cohorts: &[Cohort], k: u32) -> Option<f64> {
    let cells = cohorts.iter().filter_map(|cohort| {
        let cell = cohort.cells.iter().find(|cell| cell.k == k && !cell.incomplete)?;
        Some((cell.count?, cohort.size?))
    });
    let (count, size) = cells.fold((0, 0), |(a, b), (count, size)| (a + count, b + size));
    share(Some(count), Some(size))
}
