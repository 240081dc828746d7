//! Asks the questions of a dashboard at one cut, and makes a page, a mail or values of the answers.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use pipeline::Cut;
use query::{
    Engine, MetricContext, QueryError, Reason, RowAccess, Zone,
    metric::{Catalog, MetricRequest, MetricRow},
};
use reports::{
    AnalysisName, AnalysisRequest, AnalysisResult, ChartFormat, Dashboard, DashboardAnswers,
    DashboardMail, MailFrame, MetricResult, Page, QueryResults, Selection, SystemTables, Tile,
    TileFailure, metric_forecast,
};
use serde_json::{Value, json};

use crate::analyses::{AnalysisContext, AnalysisKind};

/// The tiles that are asked at once, when each is asked alone.
const TILES_AT_ONCE: usize = 2;

/// The questions of a dashboard, asked at one cut.
#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Report(#[from] reports::Error),
    #[error("a forecast was cut off")]
    Stopped,
    /// Of something that is whole or not at all.
    #[error("the tile of the saved query `{0}` has no answer")]
    Unanswered(String),
}

/// The selection that knows where the data begins.
pub(crate) async fn covered(
    engine: &Engine,
    selection: Selection,
    asking: MetricContext<'_>,
) -> Result<Selection, QueryError> {
    let Some(coverage) = selection.coverage() else { return Ok(selection) };
    let answers = engine.metrics(&[coverage], asking).await?;
    Ok(match answers.first() {
        Some(answer) => selection.with_coverage(answer),
        None => selection,
    })
}

/// What a dashboard is read with.
pub struct DashboardContext<'a> {
    pub engine: &'a Engine,
    pub catalog: &'a Catalog,
    pub reach: RowAccess,
    pub cut: Cut,
    pub persons: bool,
    /// As in [`MetricContext`].
    pub min_persons: Option<u32>,
    pub now: DateTime<Utc>,
    pub deadline_ms: u64,
    /// As in [`MetricContext`].
    pub gives_way: bool,
    /// Events are waited for so long.
    pub lateness: TimeDelta,
    /// How the server does, for those who operate it.
    pub system: SystemTables,
    /// The answers to the saved queries that the tiles show.
    pub queries: QueryResults,
    /// Whether a tile whose questions fail leaves the others alone. A report is whole, or none.
    pub lenient: bool,
}

/// A dashboard with the answers to all of its questions.
pub struct Answered {
    dashboard: Dashboard,
    page: Page,
    answers: DashboardAnswers,
}

impl Answered {
    /// The page.
    pub fn html(&self) -> Result<String, reports::Error> {
        reports::render(&self.dashboard, &self.answers, &self.page)
    }

    /// The same numbers as a mail.
    pub fn mail(&self, frame: &MailFrame) -> Result<DashboardMail, reports::Error> {
        reports::mail(&self.dashboard, &self.answers, &self.page, frame)
    }

    /// The charts of the first tile as files.
    pub fn chart_files(&self, format: ChartFormat) -> Result<Vec<Vec<u8>>, reports::Error> {
        match self.dashboard.tiles.first() {
            Some(tile) => reports::chart_files(tile, &self.answers, &self.page, format),
            None => Ok(Vec::new()),
        }
    }

    /// The answers that the page shows.
    pub fn shown(&self) -> impl Iterator<Item = &MetricResult> {
        let selection = &self.page.selection;
        self.answers.metrics.iter().filter(|result| selection.shows(&result.request))
    }

    /// The values of the whole period that the tiles show, for programs.
    pub fn values(&self) -> Vec<Value> {
        let row = |result: &MetricResult, row: &MetricRow| {
            json!({
                "metric": result.request.metric,
                "by": result.request.by,
                "group": row.group,
                "currency": row.currency,
                "value": row.value.map(|value| value.to_decimal().normalize()),
            })
        };
        let of_result = |result: &MetricResult| {
            result.answer.rows.iter().map(|found| row(result, found)).collect()
        };
        self.totals().flat_map::<Vec<Value>, _>(of_result).collect()
    }

    /// Whether the period has no value but zero.
    pub fn is_empty(&self) -> bool {
        let mut values = self.totals().flat_map(|result| &result.answer.rows);
        values.all(|row| row.value.is_none_or(|value| value.to_decimal().is_zero()))
    }

    /// The answers of one value for the whole period that is shown.
    fn totals(&self) -> impl Iterator<Item = &MetricResult> {
        let window = &self.page.selection.window;
        self.answers.metrics.iter().filter(|MetricResult { request, .. }| {
            request.grain.is_none() && (request.from, request.to) == (window.from(), window.to())
        })
    }
}

impl DashboardContext<'_> {
    /// Asks every question of a dashboard at one cut, and renders the answers.
    pub async fn render(&self, dashboard: Dashboard, page: Page) -> Result<String, DashboardError> {
        self.draw(dashboard, page, |answered| answered.html()).await
    }

    /// Asks every question of a dashboard at one cut, and makes something of the answers.
    pub async fn draw<T: Send + 'static>(
        &self,
        dashboard: Dashboard,
        mut page: Page,
        make: impl FnOnce(&Answered) -> Result<T, reports::Error> + Send + 'static,
    ) -> Result<T, DashboardError> {
        let mut answers = Box::pin(self.answers(&dashboard, &mut page)).await?;
        answers.system = self.system.clone();
        self.add_queries(&dashboard, &mut page, &mut answers)?;
        // Forecasting and drawing are work for a core, not for the thread that serves connections.
        let drawing = tokio::task::spawn_blocking(move || {
            let zone = page.selection.window.zone();
            for ahead in dashboard.forecast_requests(&page.selection) {
                let of_history = |answered: &&MetricResult| answered.request == ahead.history;
                if let Some(MetricResult { answer, .. }) = answers.metrics.iter().find(of_history) {
                    let horizon = ahead.horizon_days as usize;
                    metric_forecast::add_bands(&mut answers.forecasts, answer, horizon, zone);
                }
            }
            make(&Answered { dashboard, page, answers })
        });
        Ok(drawing.await.map_err(|_| DashboardError::Stopped)??)
    }

    /// Adds the answers to saved queries, and notes the tiles that have none.
    fn add_queries(
        &self,
        dashboard: &Dashboard,
        page: &mut Page,
        answers: &mut DashboardAnswers,
    ) -> Result<(), DashboardError> {
        for (index, tile) in dashboard.tiles.iter().enumerate() {
            let Tile::Query(tile) = tile else { continue };
            match self.queries.get(&tile.query) {
                Some(Err(why)) if self.lenient || *why == TileFailure::Hidden => {
                    page.failures.insert(index, *why);
                }
                Some(Ok(answer)) => {
                    answers.queries.insert(tile.query.clone(), Ok(answer.clone()));
                }
                _ => return Err(DashboardError::Unanswered(tile.query.clone())),
            }
        }
        Ok(())
    }

    async fn answers(
        &self,
        dashboard: &Dashboard,
        page: &mut Page,
    ) -> Result<DashboardAnswers, DashboardError> {
        let asking = MetricContext {
            catalog: self.catalog,
            reach: &self.reach,
            cut: &self.cut,
            persons: self.persons,
            min_persons: self.min_persons,
            now: self.now.timestamp_micros(),
            deadline_ms: self.deadline_ms,
            gives_way: self.gives_way,
        };
        page.selection = covered(self.engine, page.selection.clone(), asking).await?;
        let asked = async {
            let metrics = self.ask(dashboard.requests(&page.selection), asking).await?;
            let analyses = self.analyze(dashboard.analyses(&page.selection), asking).await?;
            Ok(DashboardAnswers { metrics, analyses, ..DashboardAnswers::default() })
        };
        match asked.await {
            Err(error) if self.tolerates(&error).is_some() => {
                Box::pin(self.ask_by_tile(dashboard, page, asking)).await
            }
            answered => Ok(answered?),
        }
    }

    /// Why a tile is left out, if the others are shown. What a reader does not see is no reason to show nothing.
    fn tolerates(&self, error: &QueryError) -> Option<TileFailure> {
        failure(error).filter(|failure| self.lenient || *failure == TileFailure::Hidden)
    }

    async fn analyze(
        &self,
        requests: Vec<AnalysisRequest>,
        asking: MetricContext<'_>,
    ) -> Result<Vec<AnalysisResult>, QueryError> {
        let (zone, lateness) = (Zone::UTC, self.lateness);
        let context = AnalysisContext { engine: self.engine, metrics: asking, zone, lateness };
        let mut answers = Vec::new();
        for request in requests {
            let kind = match request.analysis {
                AnalysisName::Funnel => AnalysisKind::Funnel,
                AnalysisName::Retention => AnalysisKind::Retention,
                AnalysisName::Lifecycle => AnalysisKind::Lifecycle,
                AnalysisName::Paths => AnalysisKind::Paths,
            };
            let answer = context.ask(kind, request.body.clone(), String::new()).await?;
            answers.push(AnalysisResult { request, answer });
        }
        Ok(answers)
    }

    async fn ask(
        &self,
        requests: Vec<MetricRequest>,
        asking: MetricContext<'_>,
    ) -> Result<Vec<MetricResult>, QueryError> {
        // A tile that is not shown is no reason to show none.
        let (mut answers, mut asked) = (Vec::new(), Vec::new());
        for request in requests {
            match asking.without_hours(&request) {
                Some(answer) => answers.push(MetricResult { request, answer }),
                None => asked.push(request),
            }
        }
        let found = self.engine.metrics(&asked, asking).await?;
        let found = asked.into_iter().zip(found);
        answers.extend(found.map(|(request, answer)| MetricResult { request, answer }));
        Ok(answers)
    }

    /// Asks the questions of each tile alone, and notes the tiles that have no answer.
    async fn ask_by_tile(
        &self,
        dashboard: &Dashboard,
        page: &mut Page,
        asking: MetricContext<'_>,
    ) -> Result<DashboardAnswers, DashboardError> {
        let selection = &page.selection;
        let ask = async |tile: &Tile| {
            let metrics = self.ask(tile.all_requests(selection), asking).await?;
            let analyses = tile.analysis(selection).into_iter().collect();
            Ok((metrics, self.analyze(analyses, asking).await?))
        };
        type Found = Result<(Vec<MetricResult>, Vec<AnalysisResult>), QueryError>;
        let tiles: Vec<BoxFuture<'_, Found>> =
            dashboard.tiles.iter().map(|tile| ask(tile).boxed()).collect();
        let asked: Vec<Found> = stream::iter(tiles).buffered(TILES_AT_ONCE).collect().await;
        let mut answers = DashboardAnswers::default();
        let mut failures = BTreeMap::new();
        for (index, answered) in asked.into_iter().enumerate() {
            match answered {
                Ok((metrics, analyses)) => {
                    answers.metrics.extend(metrics);
                    answers.analyses.extend(analyses);
                }
                Err(error) => {
                    let why = self.tolerates(&error).ok_or(error)?;
                    failures.insert(index, why);
                }
            }
        }
        page.failures = failures;
        Ok(answers)
    }
}

/// Why a tile is not shown, where the reason lies in its questions and not in the state of the server.
fn failure(error: &QueryError) -> Option<TileFailure> {
    match error.reason {
        Reason::Deadline => Some(TileFailure::TooSlow),
        Reason::Memory | Reason::TooLarge | Reason::TooComplex => Some(TileFailure::TooLarge),
        Reason::Failed | Reason::OutOfRange | Reason::Lost => Some(TileFailure::NotComputed),
        Reason::Persons => Some(TileFailure::Hidden),
        _ => None,
    }
}
