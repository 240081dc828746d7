//! Rows on their way to the client, encoded while they come. A small answer is finished first, so that it fails
//! as a whole and its headers say everything; of a large one only some pieces are held.

use std::time::Duration;

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header::{CONTENT_ENCODING, HeaderName, HeaderValue},
    web::Bytes,
};
use futures::{Stream, StreamExt, stream};
use query::{Encoder, Ended, Form, QueryError, Reason, pool::Piece};
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

use super::{body::Written, problem, running::Running};
use crate::problem::Problem;

/// An answer of up to so many bytes is sent in one piece.
const WHOLE_BYTES_MAX: usize = 8 << 20;
/// A client that reads more slowly than so many bytes a second, over so long, is cut off: it holds a worker.
const SLOW_BYTES_PER_SECOND: f64 = 64.0 * 1024.0;
const SLOW_FOR: Duration = Duration::from_secs(10);
/// Encoded pieces that wait for the client.
const PIECES: usize = 4;

/// What goes to the client.
enum Out {
    Bytes(Bytes),
    Ended(Ended),
    Failed(QueryError),
}

/// Builds the response of a query.
pub(crate) async fn respond(
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
                return Ok(response.body(begun.concat()));
            }
            Some(Out::Failed(error)) => return Err(problem(error).with("query_id", id)),
            None => return Err(problem(cut_off()).with("query_id", id)),
        }
    }
    Ok(response.streaming(stream::iter(begun).map(Ok).chain(rest(form, out))))
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
    tokio::spawn(async move {
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
    loop {
        let piece = running.next().await;
        // Making text takes the processor for long.
        let encoding = tokio::task::spawn_blocking(move || {
            let (bytes, end) = match piece {
                Piece::Rows(rows) => (encoder.rows(rows), None),
                Piece::Ended(ended) => (encoder.end(&ended), Some(Out::Ended(ended))),
                Piece::Failed(error) => (Ok(Bytes::new()), Some(Out::Failed(error))),
                Piece::Progress(_) => (Ok(Bytes::new()), None),
            };
            (encoder, bytes, end)
        });
        let Ok((back, bytes, end)) = encoding.await else { return };
        encoder = back;
        let (bytes, end) = match bytes {
            Ok(bytes) => (bytes, end),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an answer could not be written"
                );
                let message = "the rows cannot be written in this format";
                let error = QueryError::new(Reason::Invalid, message);
                (Bytes::new(), Some(Out::Failed(error)))
            }
        };
        let patience = SLOW_FOR.as_secs_f64().max(bytes.len() as f64 / SLOW_BYTES_PER_SECOND);
        if !bytes.is_empty() {
            let sending = out.send(Out::Bytes(bytes));
            match timeout(Duration::from_secs_f64(patience), sending).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    metrics::counter!("query_slow_clients_total").increment(1);
                    return;
                }
            }
        }
        if let Some(end) = end {
            let _ = out.send(end).await;
            return;
        }
    }
}

fn cut_off() -> QueryError {
    QueryError::new(Reason::Lost, "the answer was cut off")
}
