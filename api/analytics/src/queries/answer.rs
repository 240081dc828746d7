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
use query::{EncodeError, Encoder, Ended, Form, QueryError, Reason, pool::Piece};
use rest::{
    pace::{PIECE_BYTES, SLOW_FOR},
    problem::Problem,
};
use serde_json::json;
use tokio::{runtime::Handle, sync::mpsc, time::timeout};

use super::{
    body::Written,
    problem,
    running::{Running, Stop},
};

/// An answer of up to so many bytes is finished before it is sent.
const WHOLE_BYTES_MAX: usize = 8 << 20;
/// Encoded pieces that wait for the client.
const PIECES: usize = 4;

/// What goes to the client.
enum Out {
    Bytes(Bytes),
    Ended(Ended),
    Failed(QueryError),
}

/// Builds the response of a query. From the first row on it holds a place among all that are made and read.
pub(super) async fn respond(
    written: Written,
    mut running: Running,
    table_versions: Option<&str>,
) -> Result<HttpResponse, Problem> {
    let place = running.place().await?;
    let mut response = made(written, running, table_versions).await?;
    response.extensions_mut().insert(place);
    Ok(response)
}

async fn made(
    written: Written,
    running: Running,
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
    if matches!(form, Form::Arrow | Form::Parquet) {
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
            Some(Out::Bytes(piece)) => {
                bytes += piece.len();
                begun.push(piece);
            }
            Some(Out::Ended(ended)) => {
                figures(&mut response, &ended);
                return Ok(match begun.len() {
                    0 | 1 => response.body(begun.pop().unwrap_or_default()),
                    _ => response.body(SizedStream::new(bytes as u64, pieces(begun))),
                });
            }
            Some(Out::Failed(error)) => return Err(problem(error).with("query_id", id)),
            None => return Err(problem(cut_off()).with("query_id", id)),
        }
    }
    Ok(response.streaming(pieces(begun).chain(rest(form, out))))
}

fn pieces(begun: Vec<Bytes>) -> impl Stream<Item = Result<Bytes, Problem>> {
    stream::iter(begun).map(Ok)
}

/// What is known at the end, in headers.
fn figures(response: &mut HttpResponseBuilder, ended: &Ended) {
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
fn rest(form: Form, out: mpsc::Receiver<Out>) -> impl Stream<Item = Result<Bytes, Problem>> {
    stream::unfold(Some(out), move |out| async move {
        let mut out = out?;
        match out.recv().await {
            Some(Out::Bytes(piece)) => Some((Ok(piece), Some(out))),
            Some(Out::Ended(_)) => None,
            Some(Out::Failed(error)) if form == Form::Ndjson => {
                let line = format!("{}\n", json!({"_error": problem(error)}));
                Some((Ok(line.into()), None))
            }
            Some(Out::Failed(error)) => Some((Err(problem(error)), None)),
            None => Some((Err(problem(cut_off())), None)),
        }
    })
}

fn encode(mut running: Running, encoder: Encoder) -> mpsc::Receiver<Out> {
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
async fn pass(running: &mut Running, mut encoder: Encoder, out: &mpsc::Sender<Out>) {
    let mut outlet = Outlet::new(out.clone(), running.stop());
    loop {
        let piece = running.next().await;
        let (rows, end) = match piece {
            Piece::Rows(rows) => (Some(rows), None),
            Piece::Ended(ended) => (None, Some(ended)),
            Piece::Progress(_) => continue,
            Piece::Failed(error) => return tell(out, Out::Failed(error)).await,
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
            (_, Some(Halt::Unread), _) => return,
            (_, Some(Halt::Stopped(error)), _) => {
                running.end(Err(&error));
                return tell(out, Out::Failed(error)).await;
            }
            (Err(error), None, _) => {
                let error = unwritten(error);
                if error.reason == Reason::TooLarge {
                    running.end(Err(&error));
                }
                return tell(out, Out::Failed(error)).await;
            }
            (Ok(()), None, Some(ended)) => return tell(out, Out::Ended(ended)).await,
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
async fn tell(out: &mpsc::Sender<Out>, end: Out) {
    let _ = timeout(SLOW_FOR, out.send(end)).await;
}

/// Where an answer is written to: it goes on in pieces, and waits for the client. Only for threads that may wait.
struct Outlet {
    held: Vec<u8>,
    out: mpsc::Sender<Out>,
    stop: Stop,
    runtime: Handle,
    halt: Option<Halt>,
}

/// Why nothing more goes out.
enum Halt {
    /// The client is gone, or reads too slowly.
    Unread,
    Stopped(QueryError),
}

impl Outlet {
    fn new(out: mpsc::Sender<Out>, stop: Stop) -> Self {
        let held = Vec::with_capacity(PIECE_BYTES);
        Self { held, out, stop, runtime: Handle::current(), halt: None }
    }

    async fn send(&self, piece: Bytes) -> Result<(), Halt> {
        let sent = tokio::select! {
            biased;
            error = self.stop.reason() => return Err(Halt::Stopped(error)),
            sent = timeout(SLOW_FOR, self.out.send(Out::Bytes(piece))) => sent,
        };
        match sent {
            Ok(sent) => sent.map_err(|_| Halt::Unread),
            Err(_) => {
                metrics::counter!("query_slow_clients_total").increment(1);
                Err(Halt::Unread)
            }
        }
    }
}

impl Write for Outlet {
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
