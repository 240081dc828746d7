//! `/v1/analyses`: what the same visitors, users and organizations do over time.

mod funnel;
mod lifecycle;
mod paths;
mod question;
mod retention;
mod rows;
mod sessions;

use actix_web::{HttpResponse, post, web};
use chrono::{DateTime, TimeDelta, Utc};
use query::{
    Engine, MetricContext, QueryError, Reason, Zone,
    analysis::{Analysis, AnalysisScope, AnalysisUnit},
    metric::{Catalog, Viewer, Window},
};
use reports::{AnalysisName, AnalysisRequest};
use rest::{
    body::Body,
    feature::Feature,
    principal::{Authorized, Principal, ReadMetrics},
    problem::{Denied, Problem},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use strum::IntoStaticStr;
use utoipa::ToSchema;

use self::{
    funnel::{FunnelQuestion, FunnelView},
    lifecycle::{LifecycleQuestion, LifecycleView},
    paths::{PathsQuestion, PathsView},
    question::AnalysisBody,
    retention::{RetentionQuestion, RetentionView},
    rows::ResultColumns,
    sessions::{SessionsQuestion, SessionsView},
};
use crate::Lake;

/// Analyses.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("analyses").with_routes(|config, _| {
    config
        .service(post_funnel)
        .service(post_retention)
        .service(post_lifecycle)
        .service(post_sessions)
        .service(post_paths);
});

const BODY_BYTES_MAX: usize = 256 << 10;

/// The analyses by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum AnalysisKind {
    Funnel,
    Retention,
    Lifecycle,
    Sessions,
    Paths,
}

/// What an analysis is asked with, besides the question.
#[derive(Debug, Clone, Copy)]
pub struct AnalysisContext<'a> {
    pub engine: &'a Engine,
    pub metrics: MetricContext<'a>,
    /// The zone of a question that names none.
    pub zone: Zone,
    /// Events are waited for so long.
    pub lateness: TimeDelta,
}

/// What was asked, and the cut that it was read at.
#[derive(Debug, Serialize, ToSchema)]
pub struct AnalysisHead {
    #[schema(value_type = String, format = DateTime)]
    pub from: DateTime<Utc>,
    /// Not included itself.
    #[schema(value_type = String, format = DateTime)]
    pub to: DateTime<Utc>,
    pub tz: String,
    /// `visitor`, `user` or `organization`.
    #[schema(value_type = String)]
    pub unit: AnalysisUnit,
    /// The cut it was read at: asking again at this cut gives the same answer.
    pub as_of: String,
    /// The SQL that was run.
    pub sql: String,
}

/// An analysis that is asked for in JSON.
trait AnalysisQuestion: DeserializeOwned {
    type Analysis: Analysis;
    type View: Serialize;

    /// The question of a window.
    fn resolve(self, scope: AnalysisScope) -> Result<Self::Analysis, QueryError>;

    /// The answer from its rows.
    fn view(
        question: Self::Analysis,
        head: AnalysisHead,
        rows: &ResultColumns,
    ) -> Result<Self::View, QueryError>;
}

impl AnalysisContext<'_> {
    /// Answers a question that was sent as JSON.
    ///
    /// # Errors
    /// When the question is none, or its statement fails.
    pub async fn ask(
        &self,
        kind: AnalysisKind,
        body: Value,
        as_of: String,
    ) -> Result<Value, QueryError> {
        match kind {
            AnalysisKind::Funnel => self.answer::<FunnelQuestion>(body, as_of).await,
            AnalysisKind::Retention => self.answer::<RetentionQuestion>(body, as_of).await,
            AnalysisKind::Lifecycle => self.answer::<LifecycleQuestion>(body, as_of).await,
            AnalysisKind::Sessions => self.answer::<SessionsQuestion>(body, as_of).await,
            AnalysisKind::Paths => self.answer::<PathsQuestion>(body, as_of).await,
        }
    }

    async fn answer<A: AnalysisQuestion>(
        &self,
        body: Value,
        as_of: String,
    ) -> Result<Value, QueryError> {
        let AnalysisBody { parameters, question } = AnalysisBody::<A>::read(body)?;
        let now = DateTime::from_timestamp_micros(self.metrics.now).unwrap_or_default();
        let window = parameters.window(self.zone, now)?;
        let unit = parameters.unit()?;
        let question = question.resolve(AnalysisScope { unit, window, now })?;
        let found = self.engine.analyze(&question, self.metrics).await?;
        let Window { from, to, zone, .. } = window;
        let (tz, sql) = (zone.to_string(), found.sql);
        let head = AnalysisHead { from, to, tz, unit, as_of, sql };
        let (min, settled) = (found.min_persons, now - self.lateness);
        let rows = ResultColumns { found: found.rows, min, settled };
        let view = A::view(question, head, &rows)?;
        serde_json::to_value(view)
            .map_err(|_| QueryError::new(Reason::Failed, "the answer cannot be written"))
    }
}

impl Lake {
    async fn analyze(
        &self,
        principal: &Principal,
        kind: AnalysisKind,
        body: Value,
    ) -> Result<HttpResponse, Problem> {
        let as_of = body.get("as_of").and_then(Value::as_str).map(str::to_owned);
        let ask = async |metrics: MetricContext<'_>, as_of: &str| {
            let (zone, lateness) = (self.metrics.zone, self.metrics.lateness);
            let context = AnalysisContext { engine: &self.engine, metrics, zone, lateness };
            context.ask(kind, body, as_of.to_owned()).await
        };
        let (answer, _) = self.at_cut(principal, as_of.as_deref(), ask).await?;
        Ok(HttpResponse::Ok().json(answer))
    }
}

/// How many visitors, users or organizations do one thing after another.
#[utoipa::path(
    operation_id = "query_funnel",
    tag = "analyses",
    request_body = AnalysisBody<FunnelQuestion>,
    responses((status = 200, body = FunnelView), (status = 400, body = Problem), Denied))]
#[post("/v1/analyses/funnel")]
pub(crate) async fn post_funnel(
    principal: Authorized<ReadMetrics>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    lake.analyze(&principal, AnalysisKind::Funnel, body.json(&principal).await?).await
}

/// Of those who started in a period, how many return in the periods after it.
#[utoipa::path(
    operation_id = "query_retention",
    tag = "analyses",
    request_body = AnalysisBody<RetentionQuestion>,
    responses((status = 200, body = RetentionView), (status = 400, body = Problem), Denied))]
#[post("/v1/analyses/retention")]
pub(crate) async fn post_retention(
    principal: Authorized<ReadMetrics>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    lake.analyze(&principal, AnalysisKind::Retention, body.json(&principal).await?).await
}

/// How many are new, returning, resurrecting and dormant in each period.
#[utoipa::path(
    operation_id = "query_lifecycle",
    tag = "analyses",
    request_body = AnalysisBody<LifecycleQuestion>,
    responses((status = 200, body = LifecycleView), (status = 400, body = Problem), Denied))]
#[post("/v1/analyses/lifecycle")]
pub(crate) async fn post_lifecycle(
    principal: Authorized<ReadMetrics>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    lake.analyze(&principal, AnalysisKind::Lifecycle, body.json(&principal).await?).await
}

/// Visits: acts without a long pause between them.
#[utoipa::path(
    operation_id = "query_sessions",
    tag = "analyses",
    request_body = AnalysisBody<SessionsQuestion>,
    responses((status = 200, body = SessionsView), (status = 400, body = Problem), Denied))]
#[post("/v1/analyses/sessions")]
pub(crate) async fn post_sessions(
    principal: Authorized<ReadMetrics>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    lake.analyze(&principal, AnalysisKind::Sessions, body.json(&principal).await?).await
}

/// What comes next after a step.
#[utoipa::path(
    operation_id = "query_paths",
    tag = "analyses",
    request_body = AnalysisBody<PathsQuestion>,
    responses((status = 200, body = PathsView), (status = 400, body = Problem), Denied))]
#[post("/v1/analyses/paths")]
pub(crate) async fn post_paths(
    principal: Authorized<ReadMetrics>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    lake.analyze(&principal, AnalysisKind::Paths, body.json(&principal).await?).await
}

/// Whether somebody can ask a question of a dashboard.
pub(crate) fn check(
    request: &AnalysisRequest,
    catalog: &Catalog,
    viewer: Viewer,
    now: DateTime<Utc>,
) -> Result<(), QueryError> {
    let body = request.body.clone();
    match request.analysis {
        AnalysisName::Funnel => compiled::<FunnelQuestion>(body, catalog, viewer, now),
        AnalysisName::Retention => compiled::<RetentionQuestion>(body, catalog, viewer, now),
        AnalysisName::Lifecycle => compiled::<LifecycleQuestion>(body, catalog, viewer, now),
        AnalysisName::Paths => compiled::<PathsQuestion>(body, catalog, viewer, now),
    }
}

fn compiled<Q: AnalysisQuestion>(
    body: Value,
    catalog: &Catalog,
    viewer: Viewer,
    now: DateTime<Utc>,
) -> Result<(), QueryError> {
    let AnalysisBody { parameters, question } = AnalysisBody::<Q>::read(body)?;
    let window = parameters.window(Zone::UTC, now)?;
    let question = question.resolve(AnalysisScope { unit: parameters.unit()?, window, now })?;
    question.statement(catalog, viewer)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use reports::Dashboard;

    use super::*;

    #[test]
    fn every_analysis_of_a_built_in_dashboard_is_a_question() {
        let now = "2026-11-29T12:00:00Z".parse().unwrap();
        let catalog = Catalog::built_in().unwrap();
        let viewer = query::metric::viewer(&query::RowAccess::Staff, true);
        let mut count = 0;
        for name in Dashboard::built_in_names() {
            let dashboard = Dashboard::built_in(name).unwrap().unwrap();
            for asked in dashboard.analyses_of_a_week(now) {
                let found = check(&asked, &catalog, viewer, now);
                assert!(found.is_ok(), "{name}: {found:?}");
                count += 1;
            }
        }
        assert!(count >= 4, "{count}");
    }
}
