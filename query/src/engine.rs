//! Where queries run: in workers beside a server, or in this process for a command on a folder.

use std::{io::Cursor, sync::Arc};

use arrow::{datatypes::SchemaRef, ipc::reader::StreamReader, record_batch::RecordBatch};
use chrono::{DateTime, Utc};
use pipeline::Cut;
use semantic::{ROWS_MAX, Rollup, Rollups, Statement, TableRead};
use tokio::sync::{Mutex, mpsc};

use crate::{
    AnswerStream, Author, BatchStream, Planned, QueryError, QueryMode, QuerySummary, Reason,
    Request, RowAccess,
    cache::{Cache, TableRange},
    gate,
    metric::{self, Catalog, MetricAnswer, MetricRequest, MetricRow, ReadCost, ReadSource, Viewer},
    pool::{Pool, WorkerMessage},
    rollup,
    worker::{ENDED, FAILED, Handshake, PROGRESS, ROWS, Session, read_frame},
};

/// Runs queries. Clones share the workers.
#[derive(Debug, Clone)]
pub enum Engine {
    /// Strangers' SQL in one pool, our own plans in a reserved one, and those that nobody waits for in a third.
    Workers { strangers: Pool, reserved: Pool, ahead: Pool, cache: Cache },
    /// In this process, which takes no events in.
    Here(LocalEngine),
}

/// A lake that this process queries itself.
#[derive(Clone)]
pub struct LocalEngine(Arc<Mutex<Session>>);

/// What metric questions are asked with.
#[derive(Debug, Clone, Copy)]
pub struct MetricContext<'a> {
    pub catalog: &'a Catalog,
    pub reach: &'a RowAccess,
    pub cut: &'a Cut,
    /// Whether a metric may be split by what says something of a person. Persons are counted for everybody.
    pub persons: bool,
    /// Values that say something of fewer persons have none. Nothing: all values are shown.
    pub min_persons: Option<u32>,
    /// As in [`Request`], like the two after it.
    pub now: i64,
    pub deadline_ms: u64,
    pub gives_way: bool,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct ResultSet {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    pub ended: QuerySummary,
}

/// The bytes of an answer that is gathered rather than streamed.
const GATHERED_BYTES_MAX: usize = 256 << 20;

impl Engine {
    /// An engine without workers, for a folder that no server runs on.
    pub fn here(handshake: &Handshake) -> Result<Self, QueryError> {
        Ok(Self::Here(LocalEngine(Arc::new(Mutex::new(Session::open(handshake)?)))))
    }

    /// The newest cut of a folder that no server runs on.
    pub async fn newest(&self) -> Result<Cut, QueryError> {
        let Self::Here(local) = self else {
            return Err(QueryError::new(Reason::Unavailable, "the server says where the cut is"));
        };
        let cut = local.0.lock().await.reader.newest().await;
        cut.map_err(|error| {
            tracing::debug!(error = &error as &dyn std::error::Error, "reading the folder");
            QueryError::new(Reason::Unavailable, error.to_string())
        })
    }

    /// Starts a query, and gives the pieces of its answer as they come.
    pub async fn stream(&self, request: Request) -> Result<AnswerStream, QueryError> {
        let scopes = TableRange::of(&request.sql);
        self.begin(request, Some(&scopes)).await
    }

    /// Runs a query whose answer nobody asks for again, and gives its rows as they come.
    pub async fn batches(&self, request: Request) -> Result<BatchStream, QueryError> {
        Ok(BatchStream::new(self.begin(request, None).await?))
    }

    /// Starts the workers, before somebody waits for one.
    pub async fn warm(&self) {
        if let Self::Workers { strangers, reserved, .. } = self {
            tokio::join!(strangers.warm(), reserved.warm());
        }
    }

    /// Puts new workers in the place of idle ones that hold much memory.
    pub async fn trim(&self) {
        for pool in self.pools() {
            pool.trim().await;
        }
    }

    /// Ends all workers.
    pub async fn stop(&self) {
        for pool in self.pools() {
            pool.stop().await;
        }
    }

    fn pools(&self) -> Vec<&Pool> {
        match self {
            Self::Workers { strangers, reserved, ahead, .. } => vec![strangers, reserved, ahead],
            Self::Here(_) => Vec::new(),
        }
    }

    /// Starts a query that depends on no rows but those of its scopes. Without them its answer is not kept.
    async fn begin(
        &self,
        request: Request,
        scopes: Option<&[TableRange]>,
    ) -> Result<AnswerStream, QueryError> {
        if request.author == Author::Stranger {
            gate::tokens(&request.sql)?;
        }
        let (pool, cache) = match self {
            Self::Workers { strangers, reserved, ahead, cache } => match request.author {
                Author::Stranger => (strangers, cache),
                Author::Ourselves if request.gives_way => (ahead, cache),
                Author::Ourselves => (reserved, cache),
            },
            Self::Here(local) => return Ok(local.run(request).into()),
        };
        // How soon a kept answer comes tells that nobody sent a row since; of our own questions only that none came
        // to days that are over.
        let is_kept = request.author == Author::Ourselves || request.reach.organization().is_none();
        let keeping = match (request.terms.task, scopes) {
            (QueryMode::Rows, Some(scopes)) if is_kept => match cache.find(&request, scopes) {
                Ok(kept) => {
                    metrics::counter!("query_cache_hits_total").increment(1);
                    return Ok(kept.into());
                }
                Err(keeping) => Some(*keeping),
            },
            _ => None,
        };
        Ok(AnswerStream::begun(pool.run(request).await?, keeping))
    }

    /// Runs a query and gathers its answer.
    pub async fn run(&self, request: Request) -> Result<ResultSet, QueryError> {
        gather(self.stream(request).await?).await
    }

    /// Plans a query without running it, as its task says.
    pub async fn planned(&self, request: Request) -> Result<Planned, QueryError> {
        let mut pieces = self.stream(request).await?;
        while let Some(piece) = pieces.recv().await {
            match piece {
                WorkerMessage::Ended(QuerySummary { planned: Some(planned), .. }) => {
                    return Ok(*planned);
                }
                WorkerMessage::Failed(error) => return Err(error),
                WorkerMessage::Ended(_) => break,
                WorkerMessage::Rows(_) | WorkerMessage::Progress(_) => {}
            }
        }
        Err(QueryError::new(Reason::Lost, "the query was cut off"))
    }

    /// Answers metric questions, in the order asked. Those that differ only in the metric share one query.
    pub async fn metrics(
        &self,
        requests: &[MetricRequest],
        asking: MetricContext<'_>,
    ) -> Result<Vec<MetricAnswer>, QueryError> {
        match asking.min_persons {
            Some(min) => self.metrics_of_many(requests, min, asking).await,
            None => self.metrics_of_all(requests, asking).await,
        }
    }

    /// Answers questions, however few persons are behind a value.
    pub(crate) async fn metrics_of_all(
        &self,
        requests: &[MetricRequest],
        asking: MetricContext<'_>,
    ) -> Result<Vec<MetricAnswer>, QueryError> {
        let mut answers: Vec<Option<MetricAnswer>> = vec![None; requests.len()];
        let is_held = |rollup: &Rollup, from: DateTime<Utc>, to: DateTime<Utc>| {
            self.is_held(rollup, (from, to), asking.cut)
        };
        let usable = Rollups::new(rollup::usable(asking.cut), &is_held);
        let statements = asking.catalog.compile_over(requests, asking.viewer(), &usable)?;
        for statement in statements {
            let (rows, source) = self.rows_of_statement(&statement, asking).await?;
            for (index, answer) in metric::answers(&statement, &rows, source)? {
                answers[index] = Some(answer);
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Whether no event of a window came since a rollup was brought up to date.
    fn is_held(
        &self,
        rollup: &Rollup,
        (from, to): (DateTime<Utc>, DateTime<Utc>),
        cut: &Cut,
    ) -> bool {
        let Self::Workers { cache, .. } = self else { return false };
        let (from, to) = (from.timestamp_micros(), to.timestamp_micros());
        let last = cache.changes().last(rollup.ledger(), Some(from), to);
        rollup::mark(rollup, cut).is_some_and(|mark| last <= mark.txn)
    }

    /// Runs a statement over rollups, where they have its answer, else over events.
    async fn rows_of_statement(
        &self,
        statement: &Statement,
        asking: MetricContext<'_>,
    ) -> Result<(ResultSet, ReadSource), QueryError> {
        let Statement { sql, over_rollups, reads, .. } = statement;
        if let Some(sql) = over_rollups {
            match self.rows_of_metrics(sql, reads, ROWS_MAX, asking).await {
                Ok(rows) => return Ok((rows, ReadSource::Rollup)),
                // It may be damaged, and the events still have the answer, or the same error.
                Err(error) if is_of_rows(&error) => {
                    tracing::warn!(%error, sql, "events are read instead of a rollup");
                }
                Err(error) => return Err(error),
            }
        }
        Ok((self.rows_of_metrics(sql, reads, ROWS_MAX, asking).await?, ReadSource::Raw))
    }

    /// Runs a statement of ours about metrics.
    pub(crate) async fn rows_of_metrics(
        &self,
        sql: &str,
        reads: &[TableRead],
        rows_max: u64,
        asking: MetricContext<'_>,
    ) -> Result<ResultSet, QueryError> {
        let MetricContext { cut, now, deadline_ms, gives_way, .. } = asking;
        // Metrics read no table that only admins see: what was answered for one is true for all staff.
        let reach = match asking.reach {
            RowAccess::Admin => RowAccess::Staff,
            other => other.clone(),
        };
        let request = Request::of_ourselves(sql.to_owned(), reach, cut.clone(), now, deadline_ms);
        let request = Request { max_rows: Some(rows_max), gives_way, ..request };
        gather(self.begin(request, Some(&metric::ranges(reads))).await?).await
    }
}

impl MetricContext<'_> {
    /// Answers without a value for the questions about persons that are not of whole days, which these are not shown.
    pub fn without_hours(&self, request: &MetricRequest) -> Option<MetricAnswer> {
        let metric = self.catalog.metric(&request.metric)?;
        let is_hidden = self.min_persons.is_some()
            && self.catalog.is_of_persons(metric)
            && !request.is_of_whole_days();
        is_hidden.then(|| MetricAnswer {
            metric: metric.name.clone(),
            unit: metric.unit,
            grain: request.grain,
            by: request.by.clone(),
            rows: vec![MetricRow {
                at: request.grain.map(|_| request.from),
                group: vec![None; request.by.len()],
                other: false,
                currency: None,
                value: None,
                suppressed: true,
            }],
            sql: String::new(),
            read: ReadCost::default(),
        })
    }

    pub(crate) fn viewer(&self) -> Viewer {
        metric::viewer(self.reach, self.persons)
    }
}

impl LocalEngine {
    fn run(&self, request: Request) -> mpsc::Receiver<WorkerMessage> {
        let (pieces, receiver) = mpsc::channel(16);
        let session = Arc::clone(&self.0);
        tokio::spawn(async move {
            let (mut output, mut frames) = tokio::io::duplex(1 << 20);
            let answering = tokio::spawn(async move {
                let mut session = session.lock().await;
                let partitions = session.partitions;
                let answer = session.answer(&request, partitions, &mut output).await;
                let (kind, body) = match answer {
                    Ok(ended) => (ENDED, serde_json::to_vec(&ended)),
                    Err(error) => (FAILED, serde_json::to_vec(&error)),
                };
                let body = body.unwrap_or_default();
                let _ = crate::worker::write_frame(&mut output, kind, &body).await;
            });
            while let Ok(Some((kind, body))) = read_frame(&mut frames, GATHERED_BYTES_MAX).await {
                let lost = || {
                    WorkerMessage::Failed(QueryError::new(Reason::Lost, "the query was cut off"))
                };
                let piece =
                    match kind {
                        ROWS => WorkerMessage::Rows(body.into()),
                        PROGRESS => match serde_json::from_slice(&body) {
                            Ok(cost) => WorkerMessage::Progress(cost),
                            Err(_) => lost(),
                        },
                        ENDED => serde_json::from_slice(&body)
                            .map_or_else(|_| lost(), WorkerMessage::Ended),
                        _ => serde_json::from_slice(&body)
                            .map_or_else(|_| lost(), WorkerMessage::Failed),
                    };
                if pieces.send(piece).await.is_err() {
                    answering.abort();
                    return;
                }
            }
        });
        receiver
    }
}

impl std::fmt::Debug for LocalEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LocalEngine(…)")
    }
}

/// Whether other rows may have an answer.
fn is_of_rows(error: &QueryError) -> bool {
    use Reason::{Failed, Invalid, OutOfRange, Unavailable};
    matches!(error.reason, Failed | Invalid | OutOfRange | Unavailable)
}

/// Gathers the pieces of an answer.
pub async fn gather(mut pieces: AnswerStream) -> Result<ResultSet, QueryError> {
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.recv().await {
        match piece {
            WorkerMessage::Rows(rows) if bytes.len() + rows.len() <= GATHERED_BYTES_MAX => {
                bytes.extend_from_slice(&rows);
            }
            WorkerMessage::Rows(_) => {
                let message =
                    "the answer is too large for this form; ask for Arrow, which is streamed";
                return Err(QueryError::new(Reason::TooLarge, message));
            }
            WorkerMessage::Progress(_) => {}
            WorkerMessage::Failed(error) => return Err(error),
            WorkerMessage::Ended(ended) => {
                let unreadable =
                    |_| QueryError::new(Reason::Lost, "the answer of the worker is not readable");
                let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(unreadable)?;
                let schema = reader.schema();
                let batches = reader.collect::<Result<_, _>>().map_err(unreadable)?;
                return Ok(ResultSet { schema, batches, ended });
            }
        }
    }
    Err(QueryError::new(Reason::Lost, "the query was cut off"))
}
