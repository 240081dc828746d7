//! `GET /v1/metrics/summary`: the numbers that everybody asks for first.

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use query::{
    MetricContext, QueryError, Zone,
    metric::{Compare, MetricQuery, MetricTable, WindowRequest},
};
use rest::{
    principal::{Authorized, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::view::{MetricView, RowView, WindowView};
use crate::{Lake, queries::problem};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SummaryParameters {
    /// The time zone of days and months. Left out: the setting `metrics.zone`.
    tz: Option<String>,
    /// An earlier answer's `as_of`.
    as_of: Option<String>,
}

/// Five metrics with their change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Summary {
    /// Individuals and businesses that signed up so far; `before` is that of 30 days ago, or of a month ago where the last 30
    /// days are a month.
    user_count: SummaryValue,
    /// Usage revenue at list price of this month so far, by currency, beside the same days of the month before.
    revenue_mtd: SummaryValue,
    /// Committed MRR now, by currency, beside that of a month ago.
    mrr: SummaryValue,
    /// The share that paid within 30 days, of those who signed up in the 30 days that ended 30 days ago.
    conversion_rate: SummaryValue,
    /// The share of paying organizations that left in the last 30 days.
    churn_rate: SummaryValue,
    tz: String,
    as_of: String,
}

/// One metric of the summary.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SummaryValue {
    metric: String,
    #[serde(flatten)]
    window: WindowView,
    /// One row, or one for each currency.
    rows: Vec<RowView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    null_reason: Option<String>,
}

/// The questions of the summary, in the order of its members.
fn questions(zone: Zone, now: DateTime<Utc>) -> Result<[MetricQuery; 5], QueryError> {
    let compared =
        |metric: &str, range: &str, today: bool, now: DateTime<Utc>| -> Result<_, QueryError> {
            let request =
                WindowRequest { range: Some(range), today, zone, ..WindowRequest::default() };
            let question = MetricQuery::new(metric, request.resolve(now)?);
            Ok(MetricQuery { compare: Some(Compare::PreviousPeriod), ..question })
        };
    Ok([
        compared("user_count", "last_30_days", true, now)?,
        compared("usage_revenue", "month_to_date", false, now)?,
        compared("mrr", "month_to_date", false, now)?,
        // Who signed up later has not had 30 days to pay.
        compared("paid_conversion", "last_30_days", false, zone.days_before(now, 30))?,
        compared("logo_churn_rate", "last_30_days", false, now)?,
    ])
}

/// Users, revenue, conversion and churn with their change, at one cut.
#[utoipa::path(
    operation_id = "get_metrics_summary",
    tag = "metrics",
    params(SummaryParameters),
    responses((status = 200, body = Summary), (status = 400, body = Problem), Denied))]
#[get("/v1/metrics/summary")]
pub(crate) async fn get_summary(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<SummaryParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let zone = asked.tz.as_deref().map(str::parse::<Zone>).transpose();
    let zone = zone.map_err(|error| problem(error.into()))?.unwrap_or(lake.metrics.zone);
    let questions = questions(zone, lake.state.clock.now()).map_err(problem)?;
    let ask = async |context: MetricContext<'_>, _: &str| {
        let mut tables = Vec::new();
        for question in &questions {
            tables.push(lake.engine.metric_table(question, lake.metrics.lateness, context).await?);
        }
        Ok(tables)
    };
    let (tables, as_of) = lake.at_cut(&principal, asked.as_of.as_deref(), ask).await?;
    let mut values = tables.into_iter().filter_map(SummaryValue::of);
    let mut next = || values.next().ok_or_else(Problem::internal);
    Ok(HttpResponse::Ok().json(Summary {
        user_count: next()?,
        revenue_mtd: next()?,
        mrr: next()?,
        conversion_rate: next()?,
        churn_rate: next()?,
        tz: zone.to_string(),
        as_of,
    }))
}

impl SummaryValue {
    fn of(table: MetricTable) -> Option<Self> {
        let view = MetricView::new(table, String::new())?;
        let MetricView { column, head, rows } = view;
        let (metric, null_reason) = (column.metric, column.null_reason);
        Some(Self { metric, window: head.window, rows, null_reason })
    }
}
