//! `POST /v1/metrics/{name}/why`.

use actix_web::{HttpResponse, post, web};
use chrono::{DateTime, Utc};
use query::metric::{Compare, Window, audience};
use rest::{
    body::Body,
    principal::{Authorized, ReadMetrics},
    problem::{Denied, Problem},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    BODY_BYTES_MAX,
    anomaly::KeptCause,
    why::{Question, answer, dimensions},
};
use crate::{
    Lake,
    alerts::reading::Reader,
    metrics::{MetricQueryBody, parse_filter},
    queries::{problem, reach},
};

/// A change to explain.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhyBody {
    /// The window, as in `POST /v1/metrics/query`.
    from: Option<String>,
    to: Option<String>,
    range: Option<String>,
    #[serde(default)]
    today: bool,
    tz: Option<String>,
    /// `previous_period` (the default) or `previous_year`: the window that it is compared with.
    compare: Option<String>,
    /// Or any other: RFC 3339, or a date.
    before_from: Option<String>,
    before_to: Option<String>,
    /// `model=gpt-4o` and the like, joined by `;`.
    filter: Option<String>,
    /// Left out: all that the metric can be split by.
    dimensions: Option<Vec<String>>,
    /// Of an amount; left out: the one with the largest amount.
    currency: Option<String>,
}

/// Why a metric changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WhyView {
    pub(super) metric: String,
    pub(super) currency: Option<String>,
    pub(super) before: WhyWindow,
    pub(super) after: WhyWindow,
    /// `after` less `before`.
    pub(super) change: f64,
    /// Whether the change is no larger than usual: within two standard deviations, by the median absolute deviation of the
    /// changes between the windows before, at most eight. Null where less than four are known, or the windows were given.
    pub(super) usual: Option<bool>,
    /// `additive`: the changes of the values of a dimension add up to `change`. `ratio`: their `mix` and `rate` do.
    /// `groups`: they are listed, and add up to nothing.
    pub(super) method: &'static str,
    /// `kind`: `everywhere`, `in` (with `dimension`, `values` and `share`), `shows` (the same without a share) or `unknown`.
    pub(super) cause: KeptCause,
    pub(super) dimensions: Vec<WhyDimension>,
    /// The same in words: `en` and `zh-CN`.
    #[schema(value_type = pages::Text)]
    pub(super) said: Value,
    pub(super) as_of: String,
}

/// The value of a window.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct WhyWindow {
    #[schema(value_type = String, format = DateTime)]
    pub(super) from: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    pub(super) to: DateTime<Utc>,
    pub(super) value: Option<f64>,
}

/// A dimension, and the largest changes of its values.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WhyDimension {
    pub(super) dimension: String,
    pub(super) parts: Vec<WhyPart>,
}

/// What a value of a dimension did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WhyPart {
    /// `*` are all others.
    pub(super) value: Option<String>,
    pub(super) before: Option<f64>,
    pub(super) after: Option<f64>,
    pub(super) change: f64,
    /// Of a ratio: what came from another share of the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mix: Option<f64>,
    /// Of a ratio: what came from its own ratio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate: Option<f64>,
}

impl WhyBody {
    /// The window, the one that it is compared with, and how that was found.
    fn windows(&self, lake: &Lake) -> Result<(Window, Window, Option<Compare>), Problem> {
        let now = lake.state.clock.now();
        let of = |from: &Option<String>, to: &Option<String>, range: &Option<String>| {
            let asked = MetricQueryBody {
                from: from.clone(),
                to: to.clone(),
                range: range.clone(),
                today: self.today,
                tz: self.tz.clone(),
                ..MetricQueryBody::default()
            };
            asked.resolve(lake.metrics.zone, now).map(|query| query.window).map_err(problem)
        };
        let window = of(&self.from, &self.to, &self.range)?;
        let before = match (&self.before_from, &self.before_to, self.compare.as_deref()) {
            (None, None, None | Some("previous_period")) => {
                (window.compared(Compare::PreviousPeriod, now), Some(Compare::PreviousPeriod))
            }
            (None, None, Some("previous_year")) => {
                (window.compared(Compare::PreviousYear, now), Some(Compare::PreviousYear))
            }
            (Some(_), Some(_), None) => (of(&self.before_from, &self.before_to, &None)?, None),
            _ => {
                return Err(Problem::invalid_parameters(
                    "send `compare` (previous_period, previous_year), or `before_from` and `before_to`",
                ));
            }
        };
        Ok((window, before.0, before.1))
    }
}

/// Explains the change of a metric from one window to another: which values of which dimension it comes from.
///
/// Additive metrics: the changes of a dimension's values add up to the change. Ratios: a value adds its `mix` (its share of
/// the whole changed) and its `rate` (its own ratio changed). MRR: its movements. Everything else: the groups are listed.
#[utoipa::path(
    operation_id = "explain_metric_change",
    tag = "anomalies",
    params(("name" = String, Path)),
    request_body = WhyBody,
    responses(
        (status = 200, body = WhyView), (status = 400, body = Problem), Denied, (status = 404, body = Problem),
    ),
)]
#[post("/v1/metrics/{name}/why")]
pub(super) async fn why(
    principal: Authorized<ReadMetrics>,
    name: web::Path<String>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let body: WhyBody = body.json(&principal).await?;
    let metric = lake.known(&principal, &name)?;
    let reader = Reader::of(&lake, &principal).await?;
    let (window, before, compare) = body.windows(&lake)?;
    let audience = audience(&reach(&principal));
    let known = dimensions(&lake, metric, audience, None);
    let asked = body.dimensions.clone().unwrap_or_else(|| known.clone());
    let all: Vec<&str> =
        lake.catalog.dimensions(metric, audience).map(|known| known.name.as_str()).collect();
    if let Some(other) = asked.iter().find(|name| !all.contains(&name.as_str())) {
        let detail = format!("`{}` is not split by `{other}`", metric.name);
        return Err(Problem::invalid_parameters(detail));
    }
    let filter = match body.filter.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => Some(parse_filter(text).map_err(problem)?),
        None => None,
    };
    let cut = lake.lakehouse.cut();
    let as_of = lake.cut_cipher.token(&cut, &principal)?;
    let question = Question {
        metric,
        filter,
        window: (window.from, window.to),
        before: (before.from, before.to),
        earlier: Vec::new(),
        cut,
        zone: window.zone,
        currency: body.currency.clone(),
        dimensions: asked,
    };
    let view = Box::pin(answer(&lake, &reader, question, (window, compare), audience)).await;
    let view = view.map_err(problem)?;
    Ok(HttpResponse::Ok().json(WhyView { as_of, ..view }))
}
