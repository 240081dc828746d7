//! Rows on their way to the client. Arrow is passed on as the worker writes it; text is gathered first, so that
//! it can fail as a whole.

use actix_web::{HttpResponse, web::Bytes};
use futures::{Stream, StreamExt, stream};
use query::{Answer, QueryError, Reason, engine, format, pool::Piece};
use serde_json::{json, value::RawValue};
use tokio::sync::mpsc;

use super::{Format, problem};
use crate::problem::Problem;

/// Builds the response. The first piece is awaited, so that a query that fails at once is an error and not a
/// broken stream.
pub(super) async fn respond(
    form: Format,
    mut pieces: mpsc::Receiver<Piece>,
    as_of: String,
) -> Result<HttpResponse, Problem> {
    if form == Format::Arrow {
        let first = match pieces.recv().await {
            Some(Piece::Failed(error)) => return Err(problem(error)),
            Some(piece) => piece,
            None => return Err(problem(QueryError::new(Reason::Lost, "the query was cut off"))),
        };
        return Ok(HttpResponse::Ok()
            .insert_header(("X-As-Of", as_of))
            .content_type("application/vnd.apache.arrow.stream")
            .streaming(arrow_bytes(first, pieces)));
    }
    let answer = engine::gather(pieces).await.map_err(problem)?;
    let mut response = HttpResponse::Ok();
    response.insert_header(("X-As-Of", as_of.as_str()));
    match form {
        Format::Csv => {
            let text = format::csv(&answer.schema, &answer.batches, true);
            let text = text.map_err(|error| unwritable(&error))?;
            Ok(response.content_type("text/csv; charset=utf-8").body(text))
        }
        Format::Ndjson => {
            let mut lines = format::ndjson(&answer.batches).map_err(|error| unwritable(&error))?;
            let ended = &answer.ended;
            let end = json!({"_end": {"rows": ended.rows, "truncated": ended.truncated}});
            lines.extend_from_slice(format!("{end}\n").as_bytes());
            Ok(response.content_type("application/x-ndjson").body(lines))
        }
        Format::Json | Format::Arrow => json(&answer, &as_of),
    }
}

fn json(answer: &Answer, as_of: &str) -> Result<HttpResponse, Problem> {
    let rows = format::json_array(&answer.batches).map_err(|error| unwritable(&error))?;
    let rows = String::from_utf8(rows)
        .ok()
        .and_then(|rows| RawValue::from_string(rows).ok())
        .ok_or_else(Problem::internal)?;
    #[derive(serde::Serialize)]
    struct Body<'a> {
        columns: serde_json::Value,
        rows: Box<RawValue>,
        row_count: u64,
        truncated: bool,
        as_of: &'a str,
    }
    Ok(HttpResponse::Ok().insert_header(("X-As-Of", as_of)).json(Body {
        columns: format::columns(&answer.schema),
        rows,
        row_count: answer.ended.rows,
        truncated: answer.ended.truncated,
        as_of,
    }))
}

/// The IPC stream as the worker wrote it. A failure cuts the connection: a truncated stream has no end marker.
fn arrow_bytes(
    first: Piece,
    pieces: mpsc::Receiver<Piece>,
) -> impl Stream<Item = Result<Bytes, Problem>> {
    let rest =
        stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) });
    stream::once(async move { first }).chain(rest).filter_map(|piece| async move {
        match piece {
            Piece::Rows(bytes) => Some(Ok(bytes)),
            Piece::Ended(_) => None,
            Piece::Failed(error) => Some(Err(problem(error))),
        }
    })
}

fn unwritable(error: &arrow::error::ArrowError) -> Problem {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "an answer could not be written as text"
    );
    Problem::internal()
}
