//! `GET /v1/forecasts/{metric}`.

use actix_web::{HttpResponse, get, http::StatusCode, web};
use chrono::{DateTime, Utc};
use pages::Language;
use query::{
    Engine, MetricContext, QueryError, Reason, Zone,
    metric::{Grain, Groups, Metric, MetricAnswer, MetricKind, MetricRequest},
};
use reports::metric_forecast::{
    self, Accuracy, ForecastError, GroupForecast, LEVELS, MetricForecast, MonthEnd, Peak, Reached,
    Scenarios,
};
use rest::{
    principal::{Authorized, ReadMetrics},
    problem::{Code, Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Settings, grain, parse_filter, question::refused};
use crate::{Lake, queries::problem};

/// What is asked of a forecast.
#[derive(Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ForecastParameters {
    /// `hour`, `day` (the default), `week` or `month`.
    pub grain: Option<String>,
    /// Buckets ahead: at most 168 hours, 90 days, 26 weeks or 12 months, and a third of the history. 14 without it, or what
    /// there is.
    pub horizon: Option<usize>,
    /// The levels of the intervals in percent, separated by commas; `80,95` without it.
    pub level: Option<String>,
    /// A dimension to split by. The forecasts of its values add up to that of everything.
    pub by: Option<String>,
    /// How many values are shown separately, 1 to 50 (10 without it): the largest. All others are one.
    pub limit: Option<usize>,
    /// `model=gpt-4o` and the like, joined by `;`, as for metrics.
    pub filter: Option<String>,
    /// The time zone of the buckets, such as `Europe/Berlin`. Left out: the setting `metrics.zone`.
    pub tz: Option<String>,
    /// An amount: the answer says when it is reached, by the sum since the start of the month, or by a balance.
    pub reach: Option<f64>,
}

/// A metric's forecast.
#[derive(Debug, Serialize, ToSchema)]
pub struct ForecastView {
    pub metric: String,
    #[schema(value_type = String)]
    pub grain: Grain,
    /// The models and their weights, in one line.
    pub model: String,
    /// The models, each with its weight; the weights add up to 1.
    pub models: Vec<ModelView>,
    /// `mase`, `smape`, `naive_mase`, `naive_smape`, `coverage`, `origins`, `horizon`: how such forecasts of the past did.
    pub backtest: Accuracy,
    pub explanation: ForecastExplanation,
    /// Buckets that were far from what is usual, and were not learned from.
    #[schema(value_type = Vec<String>)]
    pub outliers: Vec<DateTime<Utc>>,
    pub points: Vec<metric_forecast::Point>,
    /// With `by`: the values of the dimension, and `other`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupView>>,
    /// `false` with a filter: it is a forecast of its own, and is not made to fit to that of everything.
    pub reconciled: bool,
    /// Of days that add up: the sum of this month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month_end: Option<MonthEnd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<Reached>,
    /// Of hours that add up: the busiest one of the next 30 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<Peak>,
    /// Of a balance such as `mrr`: where it goes at its monthly rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenarios: Option<Scenarios>,
    #[schema(value_type = Option<String>)]
    pub currency: Option<String>,
    /// The history ends here.
    #[schema(value_type = String, format = DateTime)]
    pub from: DateTime<Utc>,
    pub as_of: String,
}

/// What a forecast is made of. Shares are from 0 to 1 and add up to 1; null where the models have no such parts.
#[derive(Debug, Serialize, ToSchema)]
pub struct ForecastExplanation {
    /// The change from one bucket to the next.
    pub slope: Option<f64>,
    pub mean: Option<f64>,
    pub trend_share: Option<f64>,
    pub season_share: Option<f64>,
    pub rest_share: Option<f64>,
    pub said: ForecastSentences,
}

/// What a forecast is made of, in sentences.
#[derive(Debug, Serialize, ToSchema)]
pub struct ForecastSentences {
    pub en: Vec<String>,
    #[serde(rename = "zh-CN")]
    pub zh_cn: Vec<String>,
}

/// A model of the pool.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelView {
    pub name: &'static str,
    pub weight: f64,
}

/// The forecast of one value of the dimension.
#[derive(Debug, Serialize, ToSchema)]
pub struct GroupView {
    /// Absent for events without one, and for `other`.
    pub value: Option<String>,
    /// All values that are not shown separately.
    pub other: bool,
    pub points: Vec<metric_forecast::Point>,
}

const HORIZON: usize = 14;
const GROUPS: usize = 10;
const GROUPS_MAX: usize = 50;
const LEVELS_MAX: usize = 5;

/// A question that was understood.
#[derive(Debug)]
pub struct ForecastQuestion {
    history: MetricRequest,
    /// A dimension, and how many of its values are shown separately.
    by: Option<(String, usize)>,
    horizon: Option<usize>,
    /// Where there is none.
    shown: usize,
    levels: Vec<f64>,
    reach: Option<f64>,
}

/// The answers that a forecast is made from.
#[derive(Debug)]
pub struct ForecastHistory {
    pub total: MetricAnswer,
    pub groups: Option<MetricAnswer>,
}

impl ForecastParameters {
    /// The question about the buckets after the last one that is over.
    ///
    /// # Errors
    /// When a parameter is none of what it may be.
    pub fn question(
        &self,
        metric: &Metric,
        settings: &Settings,
        now: DateTime<Utc>,
    ) -> Result<ForecastQuestion, QueryError> {
        let grain = self.grain.as_deref().map_or(Ok(Grain::Day), grain)?;
        let zone = self.tz.as_deref().map(str::parse).transpose()?.unwrap_or(settings.zone);
        let filter = self.filter.as_deref().filter(|text| !text.is_empty());
        let Some(most) = metric_forecast::horizon_max(grain) else {
            return Err(refused("a forecast is of `grain` hour, day, week or month"));
        };
        if self.horizon.is_some_and(|horizon| !(1..=most).contains(&horizon)) {
            let name = grain.name();
            return Err(refused(format!("`horizon` is 1 to {most} for the grain {name}")));
        }
        let limit = self.limit.unwrap_or(GROUPS);
        if !(1..=GROUPS_MAX).contains(&limit) {
            return Err(refused(format!("`limit` is 1 to {GROUPS_MAX}")));
        }
        if self.by.is_some() && !metric.additive_by_group() {
            return Err(refused(format!(
                "the values of groups of `{}` do not add up, so they have no forecasts that do",
                metric.name
            )));
        }
        if self.reach.is_some_and(|amount| !amount.is_finite()) {
            return Err(refused("`reach` is a number"));
        }
        let until = grain.start(now - settings.lateness, zone);
        let mut history = metric_forecast::history(&metric.name, grain, until);
        history.zone = zone;
        history.filter = filter.map(parse_filter).transpose()?;
        Ok(ForecastQuestion {
            history,
            by: self.by.clone().map(|by| (by, limit)),
            horizon: self.horizon,
            shown: HORIZON,
            levels: self.levels()?,
            reach: self.reach,
        })
    }

    fn levels(&self) -> Result<Vec<f64>, QueryError> {
        let Some(text) = self.level.as_deref() else { return Ok(LEVELS.to_vec()) };
        let level = |text: &str| {
            text.trim().parse::<f64>().ok().filter(|level| *level > 0.0 && *level < 100.0)
        };
        let levels: Option<Vec<f64>> = text.split(',').map(level).collect();
        let levels = levels.filter(|levels| levels.len() <= LEVELS_MAX);
        let wrong = || refused("`level` is up to five numbers above 0 and below 100");
        Ok(levels.ok_or_else(wrong)?.into_iter().map(|level| level / 100.0).collect())
    }
}

impl ForecastQuestion {
    /// The same question; without a horizon, at most so many buckets are shown.
    #[must_use]
    pub(crate) fn shown(mut self, buckets: usize) -> Self {
        self.shown = buckets;
        self
    }

    /// Reads the history.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn read(
        &self,
        engine: &Engine,
        context: MetricContext<'_>,
    ) -> Result<ForecastHistory, QueryError> {
        let one = async |request: MetricRequest| {
            let answers = engine.metrics(std::slice::from_ref(&request), context).await?;
            let none = || QueryError::new(Reason::Parameters, "there is no answer");
            answers.into_iter().next().ok_or_else(none)
        };
        let total = one(self.history.clone()).await?;
        let Some((by, limit)) = &self.by else {
            return Ok(ForecastHistory { total, groups: None });
        };
        let mut largest = self.history.clone();
        (largest.grain, largest.by) = (None, vec![by.clone()]);
        largest.groups = Groups::Largest(*limit);
        let largest = one(largest).await?;
        let mut shown: Vec<_> = largest.rows.into_iter().map(|row| row.group).collect();
        shown.dedup();
        let mut split = self.history.clone();
        (split.by, split.groups) = (vec![by.clone()], Groups::These(shown));
        Ok(ForecastHistory { total, groups: Some(one(split).await?) })
    }

    /// Makes the forecast. This is work for a core.
    ///
    /// # Errors
    /// When the history is too short.
    pub fn forecast(
        &self,
        metric: &Metric,
        history: &ForecastHistory,
        as_of: String,
    ) -> Result<ForecastView, ForecastError> {
        let (total, zone) = (&history.total, self.history.zone);
        let mut forecast = metric_forecast::forecast_metric(total, &self.levels, zone)?;
        let grain = self.history.grain.unwrap_or(Grain::Day);
        let adds_up = metric.additive_by_time();
        let buckets: Vec<_> = total.rows.iter().filter_map(|row| row.at).collect();
        let split = |groups: &MetricAnswer| {
            let levels = &self.levels;
            metric_forecast::forecast_groups(&forecast, groups, &buckets, adds_up, levels, zone)
        };
        let mut groups = history.groups.as_ref().map(split).transpose()?;
        // These need more buckets than may be shown.
        let month_end = (grain == Grain::Day && adds_up)
            .then(|| metric_forecast::month_end(total, &forecast, zone))
            .flatten();
        let reached = self
            .reach
            .map(|amount| metric_forecast::reached(total, &forecast, amount, adds_up, zone));
        forecast.up_to(self.horizon.unwrap_or(self.shown.min(forecast.points.len())))?;
        for group in groups.iter_mut().flatten() {
            group.points.truncate(forecast.points.len());
        }
        let is_balance = metric.kind == MetricKind::Cumulative;
        let model = |(name, weight): &(&'static str, f64)| ModelView { name, weight: *weight };
        Ok(ForecastView {
            metric: metric.name.clone(),
            grain,
            model: models(&forecast),
            models: forecast.models.iter().map(model).collect(),
            explanation: explained(&forecast, metric, grain, zone),
            groups: groups.map(|groups| groups.into_iter().map(GroupView::new).collect()),
            reconciled: self.history.filter.is_none(),
            month_end,
            reached,
            peak: (grain == Grain::Hour && adds_up)
                .then(|| metric_forecast::peak(total, forecast.currency.as_deref(), zone))
                .flatten(),
            scenarios: is_balance.then(|| metric_forecast::scenarios(total, zone)).flatten(),
            backtest: forecast.backtest,
            outliers: forecast.outliers,
            points: forecast.points,
            currency: forecast.currency,
            from: self.history.to,
            as_of,
        })
    }
}

fn models(forecast: &MetricForecast) -> String {
    let models = forecast.models.iter().map(|(name, weight)| format!("{name} {weight:.2}"));
    models.collect::<Vec<_>>().join(", ")
}

fn explained(
    forecast: &MetricForecast,
    metric: &Metric,
    grain: Grain,
    zone: Zone,
) -> ForecastExplanation {
    let said = |language| metric_forecast::said(forecast, metric.unit, grain, zone, language);
    let numbers = forecast.explanation;
    ForecastExplanation {
        slope: numbers.map(|one| one.slope),
        mean: numbers.map(|one| one.mean),
        trend_share: numbers.map(|one| one.trend_share),
        season_share: numbers.map(|one| one.season_share),
        rest_share: numbers.map(|one| one.rest_share),
        said: ForecastSentences { en: said(Language::En), zh_cn: said(Language::ZhCn) },
    }
}

impl GroupView {
    fn new(group: GroupForecast) -> Self {
        let GroupForecast { group, other, points } = group;
        Self { value: group.into_iter().next().flatten(), other, points }
    }
}

/// Forecasts a metric from its own past, with prediction intervals.
#[utoipa::path(
    tag = "forecasts",
    params(("metric" = String, Path), ForecastParameters),
    responses((status = 200, body = ForecastView), (status = 400, body = Problem),
        Denied, (status = 404, body = Problem),
        (status = 422, description = "The past is too short to learn from.", body = Problem)))]
#[get("/v1/forecasts/{metric}")]
pub(crate) async fn get_forecast(
    principal: Authorized<ReadMetrics>,
    metric: web::Path<String>,
    asked: Result<web::Query<ForecastParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let metric = lake.known(&principal, &metric)?.clone();
    let now = lake.state.clock.now();
    let question = asked.question(&metric, &lake.metrics, now).map_err(problem)?;
    let read =
        async |context: MetricContext<'_>, _: &str| question.read(&lake.engine, context).await;
    let (history, as_of) = Box::pin(lake.at_cut(&principal, None, read)).await?;
    let answers = [Some(&history.total), history.groups.as_ref()];
    if answers.into_iter().flatten().any(|answer| answer.rows.iter().any(|row| row.suppressed)) {
        let detail = format!("`{}` has days of few persons, which you are not shown", metric.name);
        return Err(not_forecastable(detail));
    }
    let made = tokio::task::spawn_blocking(move || question.forecast(&metric, &history, as_of));
    let view = made
        .await
        .map_err(|_| Problem::internal())?
        .map_err(|error: ForecastError| not_forecastable(error.to_string()))?;
    Ok(HttpResponse::Ok().json(view))
}

fn not_forecastable(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, Code::NotForecastable).explained(detail)
}
