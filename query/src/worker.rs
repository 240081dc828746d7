//! The child's side: reads a query from its standard input, writes the answer to its standard output.
//!
//! Both directions are frames: a kind (one byte), a length (u32, little-endian), and so many bytes. The first
//! frame in is the [`Handshake`], then each is a [`Request`] in JSON. Out come Arrow IPC stream bytes, closed by
//! [`QuerySummary`] or a [`QueryError`], and now and then a [`Cost`] so far. The process ends when its input does.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use arrow::{array::RecordBatch, ipc::writer::StreamWriter};
use datafusion::execution::{
    disk_manager::{DiskManagerBuilder, DiskManagerMode},
    runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
};
use datafusion::{dataframe::DataFrame, physical_plan::execute_stream};
use futures::StreamExt;
use pipeline::{Location, Reader};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    task::JoinError,
    time::{Instant, interval_at},
};

use crate::{
    Cost, Estimate, Planned, QueryError, QueryMode, QuerySummary, Reason, Request, RowAccess,
    cost::{self, MeteredPool},
    explain::explain,
    format, names,
    nested::with_types,
    portion::portions,
    rebatch::Rebatcher,
    rollup,
    session::{self, Plan},
    threads::{Threads, cpu_time, give_way_to_intake, stack_bytes},
};

/// What a worker is told once: where the lake is, and how much it may use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Handshake {
    pub location: Location,
    pub log_dir: PathBuf,
    pub spill_dir: PathBuf,
    pub memory_bytes: usize,
    pub spill_bytes: u64,
    pub partitions: usize,
}

/// A query, and on how many partitions it is computed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkerRequest<R> {
    pub(crate) request: R,
    pub(crate) partitions: usize,
}

/// The kinds of frames that a worker writes.
pub(crate) const ROWS: u8 = 1;
pub(crate) const ENDED: u8 = 2;
pub(crate) const FAILED: u8 = 3;
pub(crate) const PROGRESS: u8 = 4;

/// A frame of a question: no larger than a statement and its cut need.
const QUESTION_BYTES_MAX: usize = 1 << 20;
/// IPC bytes are passed on in frames of at most this size.
const CHUNK: usize = 256 * 1024;
/// What is told of a plan.
const PLAN_BYTES_MAX: usize = 256 * 1024;
/// How often the parent hears how far a query is.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Addresses that the allocator may hold without using them.
const AHEAD_BYTES: usize = 2 << 30;

/// A lake, and what is needed to query it.
pub(crate) struct Session {
    pub(crate) reader: Reader,
    runtime: Arc<RuntimeEnv>,
    memory: Arc<MeteredPool>,
    pub(crate) partitions: usize,
}

impl Handshake {
    /// What a worker may hold in all: the pool of its operators, and as much again for what is not counted there.
    pub(crate) fn memory_bytes_max(&self) -> usize {
        2 * self.memory_bytes + (256 << 20)
    }

    /// The backstop behind the parent, which looks at what a worker holds now and then: addresses that it may write
    /// to. The allocator takes some of them ahead.
    fn limit_addresses(&self) -> io::Result<()> {
        let bytes = self.memory_bytes_max() + AHEAD_BYTES + stack_bytes(self.partitions);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let now = getrlimit(Resource::Data);
        // Whoever started the server may have set a lower one.
        let lowest = [now.current, now.maximum].into_iter().flatten().fold(bytes, u64::min);
        Ok(setrlimit(Resource::Data, Rlimit { current: Some(lowest), ..now })?)
    }
}

/// Serves until the input ends: the parent is gone then, and nobody waits for an answer either. Queries are computed
/// on threads of their own.
///
/// # Errors
/// Text for the log, when the pipe breaks or the handshake is not one.
pub async fn serve(
    mut input: impl AsyncRead + Unpin + Send + 'static,
    mut output: impl AsyncWrite + Unpin + Send + 'static,
) -> Result<(), String> {
    give_way_to_intake();
    let Some(handshake) = read_question(&mut input).await? else { return Ok(()) };
    let handshake: Handshake =
        serde_json::from_slice(&handshake).map_err(|error| error.to_string())?;
    handshake.limit_addresses().map_err(|error| error.to_string())?;
    let mut threads = Threads::start(handshake.partitions).map_err(|error| error.to_string())?;
    let mut session = Session::open(&handshake).map_err(|error| error.message)?;
    let (questions, mut asked) = mpsc::channel(1);
    let mut reading = tokio::spawn(async move {
        while let Some(question) = read_question(&mut input).await? {
            if questions.send(question).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    let over = |read: Result<Result<(), String>, JoinError>| read.unwrap_or(Ok(()));
    loop {
        let Some(question) = asked.recv().await else { return over(reading.await) };
        let WorkerRequest::<Request> { request, partitions } =
            serde_json::from_slice(&question).map_err(|error| error.to_string())?;
        if request.gives_way {
            threads.give_way();
        }
        let mut computing = threads.spawn(async move {
            let answer = session.answer(&request, partitions, &mut output).await;
            (session, output, answer)
        });
        let computed = tokio::select! {
            computed = threads.wait(&mut computing, cpu_time) => computed,
            read = &mut reading => return over(read),
        };
        let answer;
        (session, output, answer) = computed.map_err(|error| error.to_string())?;
        let (kind, body) = match answer {
            Ok(ended) => (ENDED, serde_json::to_vec(&ended)),
            Err(error) => (FAILED, serde_json::to_vec(&error)),
        };
        let body = body.map_err(|error| error.to_string())?;
        write_frame(&mut output, kind, &body).await.map_err(|error| error.to_string())?;
        threads = threads.renewed().map_err(|error| error.to_string())?;
    }
}

impl Session {
    pub(crate) fn open(handshake: &Handshake) -> Result<Self, QueryError> {
        let unavailable = |error: String| QueryError::new(Reason::Unavailable, error);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![handshake.spill_dir.clone()]))
            .with_max_temp_directory_size(handshake.spill_bytes);
        let memory = Arc::new(MeteredPool::new(handshake.memory_bytes));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::clone(&memory) as _)
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|error| unavailable(error.to_string()))?;
        let reader = Reader::open(&handshake.location, &handshake.log_dir)
            .map_err(|error| unavailable(error.to_string()))?
            .with_rollups(rollup::all().map(|(_, table)| table).collect());
        Ok(Self { reader, runtime, memory, partitions: handshake.partitions })
    }

    /// Runs a query, and writes its rows as frames of Arrow IPC stream bytes.
    pub(crate) async fn answer(
        &mut self,
        request: &Request,
        partitions: usize,
        output: &mut (impl AsyncWrite + Unpin),
    ) -> Result<QuerySummary, QueryError> {
        let cut = rollup::cut(request);
        let tables = self.reader.at(&cut).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "the lake is not readable");
            QueryError::new(Reason::Unavailable, "the lake cannot be read at this cut")
        })?;
        let failed = |error| explain(error, &request.reach);
        let encoding =
            |error| explain(datafusion::common::DataFusionError::from(error), &request.reach);
        let Plan { frame, hidden } =
            Box::pin(session::plan(request, &tables, &self.runtime, partitions)).await?;
        if request.terms.task != QueryMode::Rows {
            return planned(frame, request).await;
        }
        self.memory.take_most();
        let repeatable = session::is_repeatable(frame.logical_plan());
        let context = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await.map_err(failed)?;
        let mut rows = execute_stream(Arc::clone(&plan), context).map_err(failed)?;
        let schema = names::answer_schema(&rows.schema());
        let typed = |rows: &RecordBatch| with_types(rows, &schema).map_err(encoding);
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).map_err(encoding)?;
        let mut even = Rebatcher::new(&rows.schema(), &request.reach);
        let mut ended = QuerySummary { repeatable, hidden, ..QuerySummary::default() };
        let max_rows = request.max_rows.unwrap_or(u64::MAX);
        let mut progress = interval_at(Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
        loop {
            let batch = tokio::select! {
                biased;
                batch = rows.next() => batch,
                _ = progress.tick() => {
                    let cost = Cost::of(&plan, &request.reach, self.memory.most());
                    let cost = serde_json::to_vec(&cost).unwrap_or_default();
                    write_frame(output, PROGRESS, &cost).await.map_err(|_| unread())?;
                    continue;
                }
            };
            let Some(batch) = batch else { break };
            let mut batch = batch.map_err(failed)?;
            let room = max_rows - ended.rows;
            if batch.num_rows() as u64 > room {
                if !request.truncate {
                    return Err(too_many_rows(max_rows));
                }
                ended.truncated = true;
                batch = batch.slice(0, usize::try_from(room).unwrap_or(usize::MAX));
            }
            ended.rows += batch.num_rows() as u64;
            for batch in even.push(batch).map_err(encoding)? {
                for portion in portions(&batch)? {
                    writer.write(&typed(&portion)?).map_err(encoding)?;
                    if writer.get_ref().len() >= CHUNK {
                        send(output, writer.get_mut()).await?;
                    }
                }
            }
            if ended.truncated {
                break;
            }
        }
        for batch in even.finish().map_err(encoding)? {
            for portion in portions(&batch)? {
                writer.write(&typed(&portion)?).map_err(encoding)?;
            }
        }
        writer.finish().map_err(encoding)?;
        send(output, writer.get_mut()).await?;
        ended.cost = Cost::of(&plan, &request.reach, self.memory.take_most());
        Ok(ended)
    }
}

/// What a statement would do.
async fn planned(frame: DataFrame, request: &Request) -> Result<QuerySummary, QueryError> {
    let failed = |error| explain(error, &request.reach);
    let schema = names::answer_schema(&Arc::new(frame.schema().as_arrow().clone()));
    let fields = frame.logical_plan().get_parameter_fields().map_err(failed)?;
    let parameters = fields.into_iter().map(|(id, field)| {
        let kind = field.map(|field| format::type_name(field.data_type()));
        (id.trim_start_matches('$').to_owned(), kind)
    });
    let mut planned = Planned {
        columns: format::columns(&schema),
        parameters: parameters.collect(),
        ..Planned::default()
    };
    match (request.terms.task, &request.reach) {
        // How it would run depends on which files there are, and others' rows are in the same.
        (QueryMode::Explain, RowAccess::Organization(_)) => {
            let plan = frame.into_optimized_plan().map_err(failed)?;
            planned.plan = Some(format!("{}\n", plan.display_indent()));
        }
        (QueryMode::Explain, RowAccess::Admin | RowAccess::Staff) => {
            let plan = frame.create_physical_plan().await.map_err(failed)?;
            planned.plan = Some(cost::describe(&plan));
            planned.scan = Some(Estimate::of(&plan));
        }
        (QueryMode::Rows | QueryMode::Validate, _) => {}
    }
    // A constant that was computed is as long as its value.
    if let Some(plan) = planned.plan.as_mut().filter(|plan| plan.len() > PLAN_BYTES_MAX) {
        plan.truncate(plan.floor_char_boundary(PLAN_BYTES_MAX));
        plan.push('…');
    }
    Ok(QuerySummary { planned: Some(Box::new(planned)), ..QuerySummary::default() })
}

fn too_many_rows(max_rows: u64) -> QueryError {
    let hint = "raise `max_rows`, take the first ones with `truncate`, or add LIMIT";
    let message = format!("the answer has more than {max_rows} rows");
    QueryError { hint: Some(hint.into()), ..QueryError::new(Reason::TooLarge, message) }
}

async fn send(
    output: &mut (impl AsyncWrite + Unpin),
    bytes: &mut Vec<u8>,
) -> Result<(), QueryError> {
    for chunk in bytes.chunks(CHUNK) {
        write_frame(output, ROWS, chunk).await.map_err(|_| unread())?;
    }
    bytes.clear();
    Ok(())
}

fn unread() -> QueryError {
    QueryError::new(Reason::Lost, "nobody reads the answer")
}

async fn read_question(input: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, String> {
    match read_frame(input, QUESTION_BYTES_MAX).await {
        Ok(frame) => Ok(frame.map(|(_, body)| body)),
        Err(error) => Err(error.to_string()),
    }
}

/// The next frame; `None` when the input ended between two.
pub(crate) async fn read_frame(
    input: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; 5];
    match input.read_exact(&mut head).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let [kind, a, b, c, d] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > bytes_max {
        return Err(io::Error::other("a frame is too long"));
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).await?;
    Ok(Some((kind, body)))
}

pub(crate) async fn write_frame(
    output: &mut (impl AsyncWrite + Unpin),
    kind: u8,
    body: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    output.write_all(&[kind]).await?;
    output.write_all(&length.to_le_bytes()).await?;
    output.write_all(body).await?;
    output.flush().await
}
