//! Rows on their way to the client, encoded while they come. A small answer is finished first, so that it fails
//! as a whole and its headers say everything; of a large one only some pieces are held.

use std::io::{self, Write};

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    body::SizedStream,
    http::header::{CONTENT_ENCODING, HeaderName, HeaderValue},
    web::Bytes,
};
use futures::{Stream, StreamExt, stream};
use query::{
    AnswerFormat, EncodeError, Encoder, QueryError, QuerySummary, Reason, pool::WorkerMessage,
};
use rest::{
    pace::{PIECE_BYTES, SLOW_FOR},
    problem::Problem,
};
use serde_json::json;
use tokio::{runtime::Handle, sync::mpsc, time::timeout};

use super::{
    body::AnswerOptions,
    problem,
    running::{CancelToken, RunningQuery},
};

/// An answer of up to so many bytes is finished before it is sent.
const WHOLE_BYTES_MAX: usize = 8 << 20;
/// Encoded pieces that wait for the client.
const PIECES: usize = 4;

/// What goes to the client.
enum ResponsePart {
    Bytes(Bytes),
    Ended(QuerySummary),
    Failed(QueryError),
}

/// Builds the response of a query. From the first row on it holds a place among all that are made and read.
pub(super) async fn respond(
    written: AnswerOptions,
    mut running: RunningQuery,
    table_versions: Option<&str>,
) -> Result<HttpResponse, Problem> {
    let place = running.place().await?;
    let mut response = made(written, running, table_versions).await?;
    response.extensions_mut().insert(place);
    Ok(response)
}

async fn made(
    written: AnswerOptions,
    running: RunningQuery,
    table_versions: Option<&str>,
) -> Result<HttpResponse, Problem> {
    let form = written.form;
    let (id, as_of) = (running.id().to_owned(), running.as_of());
    let mut response = HttpResponse::Ok();
    response
        .content_type(form.media_type())
        .insert_header(("X-Query-Id", id.as_str()))
        .insert_header(("X-As-Of", as_of.as_str()));
    if let Some(versions) = table_versions {
        let cache = if running.is_kept() { "hit" } else { "miss" };
        response.insert_header(("X-Table-Versions", versions)).insert_header(("X-Cache", cache));
    }
    if matches!(form, AnswerFormat::Arrow | AnswerFormat::Parquet) {
        // Compressing these costs more than it saves; Parquet is compressed inside.
        response.insert_header((CONTENT_ENCODING, HeaderValue::from_static("identity")));
    }
    let encoder = Encoder::new(form, as_of)
        .with_text_integers(written.text_integers)
        .with_spreadsheet(written.spreadsheet);
    let mut out = encode(running, encoder);
    let (mut begun, mut bytes) = (Vec::new(), 0);
    while bytes <= WHOLE_BYTES_MAX {
        match out.recv().await {
            Some(ResponsePart::Bytes(piece)) => {
                bytes += piece.len();
                begun.push(piece);
            }
            Some(ResponsePart::Ended(ended)) => {
                summary_headers(&mut response, &ended);
                return Ok(match begun.len() {
                    0 | 1 => response.body(begun.pop().unwrap_or_default()),
                    _ => response.body(SizedStream::new(bytes as u64, pieces(begun))),
                });
            }
            Some(ResponsePart::Failed(error)) => return Err(problem(error).with("query_id", id)),
            None => return Err(problem(cut_off()).with("query_id", id)),
        }
    }
    Ok(response.streaming(pieces(begun).chain(rest(form, out))))
}

fn pieces(begun: Vec<Bytes>) -> impl Stream<Item = Result<Bytes, Problem>> {
    stream::iter(begun).map(Ok)
}

/// What is known at the end, in headers.
fn summary_headers(response: &mut HttpResponseBuilder, ended: &QuerySummary) {
    let cost = &ended.cost;
    let numbers = [
        ("x-rows", Some(ended.rows)),
        ("x-rows-scanned", cost.rows_scanned),
        ("x-bytes-scanned", cost.bytes_scanned),
        ("x-files-scanned", cost.files_scanned),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            response.insert_header((HeaderName::from_static(name), HeaderValue::from(value)));
        }
    }
    response.insert_header(("X-Truncated", if ended.truncated { "true" } else { "false" }));
}

/// The rest of an answer that has begun. A failure cuts the connection, where the form has no place for it.
fn rest(
    form: AnswerFormat,
    out: mpsc::Receiver<ResponsePart>,
) -> impl Stream<Item = Result<Bytes, Problem>> {
    stream::unfold(Some(out), move |out| async move {
        let mut out = out?;
        match out.recv().await {
            Some(ResponsePart::Bytes(piece)) => Some((Ok(piece), Some(out))),
            Some(ResponsePart::Ended(_)) => None,
            Some(ResponsePart::Failed(error)) if form == AnswerFormat::Ndjson => {
                let line = format!("{}\n", json!({"_error": problem(error)}));
                Some((Ok(line.into()), None))
            }
            Some(ResponsePart::Failed(error)) => Some((Err(problem(error)), None)),
            None => Some((Err(problem(cut_off())), None)),
        }
    })
}

fn encode(mut running: RunningQuery, encoder: Encoder) -> mpsc::Receiver<ResponsePart> {
    let (out, receiver) = mpsc::channel(PIECES);
    let tasks = running.tasks().clone();
    tasks.run("answer", async move {
        tokio::select! {
            biased;
            // The client is gone. Dropping the query stops it.
            () = out.closed() => {}
            () = pass(&mut running, encoder, &out) => {}
        }
    });
    receiver
}

/// Passes the answer on, to its end or as long as the client reads.
async fn pass(running: &mut RunningQuery, mut encoder: Encoder, out: &mpsc::Sender<ResponsePart>) {
    let mut outlet = ResponseWriter::new(out.clone(), running.stop());
    loop {
        let piece = running.next().await;
        let (rows, end) = match piece {
            WorkerMessage::Rows(rows) => (Some(rows), None),
            WorkerMessage::Ended(ended) => (None, Some(ended)),
            WorkerMessage::Progress(_) => continue,
            WorkerMessage::Failed(error) => return tell(out, ResponsePart::Failed(error)).await,
        };
        let ended = end.clone();
        // Making text takes the processor for long, and waits for who reads it.
        let encoding = tokio::task::spawn_blocking(move || {
            let written = match (rows, end) {
                (Some(rows), _) => encoder.rows(rows, &mut outlet),
                (None, Some(end)) => encoder.end(&end, &mut outlet),
                (None, None) => Ok(()),
            };
            let written = written.and_then(|()| Ok(outlet.flush()?));
            (encoder, outlet, written)
        });
        let Ok(back) = encoding.await else { return };
        let written;
        (encoder, outlet, written) = back;
        match (written, outlet.halt.take(), ended) {
            (_, Some(WriteAbort::Unread), _) => return,
            (_, Some(WriteAbort::Stopped(error)), _) => {
                running.end(Err(&error));
                return tell(out, ResponsePart::Failed(error)).await;
            }
            (Err(error), None, _) => {
                let error = unwritten(error);
                if error.reason == Reason::TooLarge {
                    running.end(Err(&error));
                }
                return tell(out, ResponsePart::Failed(error)).await;
            }
            (Ok(()), None, Some(ended)) => return tell(out, ResponsePart::Ended(ended)).await,
            (Ok(()), None, None) => {}
        }
    }
}

fn unwritten(error: EncodeError) -> QueryError {
    if let EncodeError::TooLarge(message) = error {
        return QueryError::new(Reason::TooLarge, message);
    }
    tracing::error!(error = &error as &dyn std::error::Error, "an answer could not be written");
    QueryError::new(Reason::Invalid, "the rows cannot be written in this format")
}

/// How it ended, to a client that still reads.
async fn tell(out: &mpsc::Sender<ResponsePart>, end: ResponsePart) {
    let _ = timeout(SLOW_FOR, out.send(end)).await;
}

/// Where an answer is written to: it goes on in pieces, and waits for the client. Only for threads that may wait.
struct ResponseWriter {
    held: Vec<u8>,
    out: mpsc::Sender<ResponsePart>,
    stop: CancelToken,
    runtime: Handle,
    halt: Option<WriteAbort>,
}

/// Why nothing more goes out.
enum WriteAbort {
    /// The client is gone, or reads too slowly.
    Unread,
    Stopped(QueryError),
}

impl ResponseWriter {
    fn new(out: mpsc::Sender<ResponsePart>, stop: CancelToken) -> Self {
        let held = Vec::with_capacity(PIECE_BYTES);
        Self { held, out, stop, runtime: Handle::current(), halt: None }
    }

    async fn send(&self, piece: Bytes) -> Result<(), WriteAbort> {
        let sent = tokio::select! {
            biased;
            error = self.stop.reason() => return Err(WriteAbort::Stopped(error)),
            sent = timeout(SLOW_FOR, self.out.send(ResponsePart::Bytes(piece))) => sent,
        };
        match sent {
            Ok(sent) => sent.map_err(|_| WriteAbort::Unread),
            Err(_) => {
                metrics::counter!("query_slow_clients_total").increment(1);
                Err(WriteAbort::Unread)
            }
        }
    }
}

impl Write for ResponseWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE_BYTES - self.held.len());
        self.held.extend_from_slice(&bytes[..count]);
        if self.held.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.halt.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.held.is_empty() {
            return Ok(());
        }
        let piece = Bytes::copy_from_slice(&self.held);
        self.held.clear();
        let sent = self.runtime.block_on(self.send(piece));
        self.halt = sent.err();
        if self.halt.is_some() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

fn cut_off() -> QueryError {
    QueryError::new(Reason::Lost, "the answer was cut off")
}
