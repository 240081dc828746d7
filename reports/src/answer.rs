//! Answers, and finding the one a tile needs.

use query::metric::{MetricAnswer, MetricRequest, MetricRow, Number};
use rust_decimal::Decimal;

use crate::{AnalysisResult, Error, Forecasts, QueryResults, SystemTables};

/// A question with its answer.
#[derive(Debug, Clone)]
pub struct MetricResult {
    pub request: MetricRequest,
    pub answer: MetricAnswer,
}

/// The answers to all questions of a dashboard.
#[derive(Debug, Clone, Default)]
pub struct DashboardAnswers {
    /// To [`crate::Dashboard::requests`], in any order. One that is missing is an error.
    pub metrics: Vec<MetricResult>,
    /// To [`crate::Dashboard::analyses`].
    pub analyses: Vec<AnalysisResult>,
    /// How the server does, for those who operate it.
    pub system: SystemTables,
    /// To [`crate::Dashboard::saved_queries`].
    pub queries: QueryResults,
    /// One that is missing is not drawn.
    pub forecasts: Forecasts,
}

/// The answers at hand, looked up by the question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answers<'a>(pub(crate) &'a [MetricResult]);

impl<'a> Answers<'a> {
    pub(crate) fn get(&self, request: &MetricRequest) -> Result<&'a MetricAnswer, Error> {
        self.0
            .iter()
            .find(|answered| answered.request == *request)
            .map(|answered| &answered.answer)
            .ok_or_else(|| Error::Unanswered {
                metric: request.metric.clone(),
                from: request.from,
                to: request.to,
            })
    }
}

/// The currencies of the rows, each once, in order. Not a metric of money: the one `None`.
pub(crate) fn currencies(rows: &[MetricRow]) -> Vec<Option<&str>> {
    let mut currencies: Vec<_> = rows.iter().map(|row| row.currency.as_deref()).collect();
    currencies.sort_unstable();
    currencies.dedup();
    // A row of no currency beside rows of money is a bucket without any amount.
    if currencies.len() > 1 {
        currencies.retain(Option::is_some);
    }
    currencies
}

/// The value of the one row of a currency, in an answer without grain and group.
pub(crate) fn total(answer: &MetricAnswer, currency: Option<&str>) -> Option<Decimal> {
    answer
        .rows
        .iter()
        .find(|row| row.currency.as_deref() == currency)
        .and_then(|row| row.value)
        .map(Number::to_decimal)
}
