//! The rows of saved queries, for pages and for the tiles of dashboards.

use actix_web::body::to_bytes_limited;
use futures::{StreamExt, stream};
use pages::saved_query::{CellClass, Column, Rows};
use pipeline::Cut;
use query::{
    AnswerFormat, Encoder, Parameters, QueryError, QueryMode, Reason, parameter::ParameterKind,
    pool::WorkerMessage,
};
use reports::{Dashboard, QueryResult, QueryResults, Selection, TileFailure, query_values};
use rest::{
    principal::Principal,
    problem::{Code, Problem},
};
use serde_json::Value;

use crate::{
    Lake,
    queries::{PARAMETER, QueryBody, SavedQuery, problem, saved_json, visible},
};

/// Rows of an answer on a page.
const ROWS_MAX: u64 = 1_000;
/// Bytes of an answer on a page, as JSON.
const BYTES_MAX: usize = 8 << 20;
/// Letters of a cell on a page.
const CELL_MAX: usize = 500;
/// The saved queries of a dashboard that are asked at once.
const QUERIES_AT_ONCE: usize = 2;

/// The rows of a saved query, as far as a page shows them; none if they are too large for one.
pub(super) async fn rows_of(
    principal: &Principal,
    lake: &Lake,
    saved: &SavedQuery,
    values: Vec<(String, String)>,
    body: QueryBody,
) -> Result<Option<Rows>, Problem> {
    let body = QueryBody { max_rows: Some(ROWS_MAX), truncate: true, ..body };
    let response = saved_json(principal, lake, saved, values, body).await?;
    let Ok(bytes) = to_bytes_limited(response.into_body(), BYTES_MAX).await else {
        return Ok(None);
    };
    Ok(bytes.ok().and_then(|json| rows(&json)))
}

/// The rows of a statement that a chart or a tile shows: it is asked again and again, and not written to the history.
pub(super) async fn rows_of_statement(
    principal: &Principal,
    lake: &Lake,
    body: QueryBody,
    values: Option<Parameters>,
    gives_way: bool,
) -> Result<Option<Rows>, Problem> {
    let body = QueryBody { max_rows: Some(ROWS_MAX), truncate: true, ..body };
    let deadline_ms = lake.deadline_ms() / 2;
    let mut asked = lake.question(principal, body, deadline_ms, QueryMode::Rows).await?;
    asked.gives_way = gives_way;
    if let Some(values) = values {
        asked.terms.parameters = values;
    }
    let mut pieces = lake.engine.stream(asked).await.map_err(problem)?;
    let mut encoder = Encoder::new(AnswerFormat::Json, String::new());
    let mut json = Vec::new();
    let unreadable = |_| Problem::internal();
    while let Some(piece) = pieces.recv().await {
        match piece {
            WorkerMessage::Rows(bytes) => encoder.rows(bytes, &mut json).map_err(unreadable)?,
            WorkerMessage::Ended(ended) => {
                encoder.end(&ended, &mut json).map_err(unreadable)?;
                return Ok(rows(&json));
            }
            WorkerMessage::Failed(error) => return Err(problem(error)),
            WorkerMessage::Progress(_) => {}
        }
        if json.len() > BYTES_MAX {
            return Ok(None);
        }
    }
    Err(problem(QueryError::new(Reason::Lost, "the answer was cut off")))
}

/// The answers to the saved queries that a dashboard shows. `owner` is whose queries they are, `reader` whose rows are seen.
pub(crate) async fn of_dashboard(
    lake: &Lake,
    (owner, reader): (&Principal, &Principal),
    dashboard: &Dashboard,
    selection: &Selection,
    cut: &Cut,
    gives_way: bool,
) -> Result<QueryResults, Problem> {
    let as_of = lake.cut_cipher.token(cut, reader)?;
    let ask = |name: String| {
        let as_of = as_of.clone();
        async move {
            let answer = of_tile(lake, (owner, reader), &name, selection, as_of, gives_way).await;
            (name, answer)
        }
    };
    let names: Vec<String> = dashboard.saved_queries().into_iter().map(str::to_owned).collect();
    let asked = stream::iter(names).map(ask).buffered(QUERIES_AT_ONCE);
    let mut results = QueryResults::new();
    for (name, answer) in asked.collect::<Vec<_>>().await {
        let answer = match answer {
            Ok(answer) => Ok(answer),
            Err(problem) => Err(failure(&problem).ok_or(problem)?),
        };
        results.insert(name, answer);
    }
    Ok(results)
}

async fn of_tile(
    lake: &Lake,
    (owner, reader): (&Principal, &Principal),
    name: &str,
    selection: &Selection,
    as_of: String,
    gives_way: bool,
) -> Result<QueryResult, Problem> {
    let saved = visible(&lake.state.store, owner, name, None).await?;
    let declared = saved.parameters.iter();
    let declared =
        declared.map(|(name, declared)| (name.as_str(), declared.kind == ParameterKind::Date));
    let (values, ignored) = query_values(selection, declared);
    let parameters = address_of(&values);
    let bound = saved.bound(values)?;
    let body = QueryBody {
        sql: saved.sql,
        tz: Some(selection.window.zone().to_string()),
        as_of: Some(as_of),
        ..QueryBody::default()
    };
    let rows = Box::pin(rows_of_statement(reader, lake, body, Some(bound), gives_way)).await?;
    let too_large =
        || Problem::new(actix_web::http::StatusCode::PAYLOAD_TOO_LARGE, Code::ResultTooLarge);
    Ok(QueryResult { rows: rows.ok_or_else(too_large)?, ignored, parameters })
}

/// What an address says of the values of parameters, with an `&` before each.
fn address_of(values: &[(String, String)]) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in values {
        pairs.append_pair(&format!("{PARAMETER}{name}"), value);
    }
    let pairs = pairs.finish();
    if pairs.is_empty() { pairs } else { format!("&{pairs}") }
}

/// Why a tile is not shown, where the reason lies in its query and not in the state of the server.
fn failure(problem: &Problem) -> Option<TileFailure> {
    match problem.status {
        404 => Some(TileFailure::NotShared),
        413 => Some(TileFailure::TooLarge),
        429 | 504 => Some(TileFailure::TooSlow),
        403 => Some(TileFailure::Hidden),
        400 if problem.code == Code::InvalidParameters => Some(TileFailure::Unasked),
        400 | 422 => Some(TileFailure::NotComputed),
        _ => None,
    }
}

/// What a JSON answer has to show.
fn rows(json: &[u8]) -> Option<Rows> {
    let answer: Value = serde_json::from_slice(json).ok()?;
    let columns = answer["columns"].as_array()?.iter().map(|column| {
        let name = column["name"].as_str().unwrap_or_default().to_owned();
        let class = match column["type"].as_str().unwrap_or_default() {
            "integer" | "decimal" | "double" => CellClass::Number,
            "timestamp" => CellClass::Time,
            _ => CellClass::Text,
        };
        Column { name, class }
    });
    let columns: Vec<_> = columns.collect();
    let cell = |row: &Value, column: &Column| cell(&row[&column.name], column.class);
    let row = |row: &Value| columns.iter().map(|column| cell(row, column)).collect();
    Some(Rows {
        rows: answer["rows"].as_array()?.iter().map(row).collect(),
        truncated: answer["truncated"].as_bool().unwrap_or_default(),
        as_of: answer["as_of"].as_str().unwrap_or_default().to_owned(),
        columns,
    })
}

fn cell(value: &Value, class: CellClass) -> Option<String> {
    let text = match (value, class) {
        (Value::Null, _) => return None,
        // Decimals have all digits of their type.
        (Value::String(text), CellClass::Number) if text.contains('.') => {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        (Value::String(text), CellClass::Time) => text.trim_end_matches('Z').replacen('T', " ", 1),
        (Value::String(text), _) => text.clone(),
        (other, _) => other.to_string(),
    };
    match text.char_indices().nth(CELL_MAX) {
        Some((end, _)) => Some(format!("{} …", &text[..end])),
        None => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_keeps_its_order_and_its_nulls() {
        let long = "x".repeat(CELL_MAX + 1);
        let answer = json!({
            "columns": [{"name": "z", "type": "integer"}, {"name": "a", "type": "text"}],
            "rows": [{"z": 9_007_199_254_740_993_u64, "a": long}, {"z": null, "a": {"b": [1]}}],
            "truncated": true, "as_of": "x",
        });
        let rows = rows(answer.to_string().as_bytes()).unwrap();
        let classes: Vec<_> = rows.columns.iter().map(|column| column.class).collect();
        assert_eq!((classes, rows.truncated), (vec![CellClass::Number, CellClass::Text], true));
        for (text, class, expected) in [
            ("2.0500", CellClass::Number, "2.05"),
            ("200.000", CellClass::Number, "200"),
            ("200", CellClass::Number, "200"),
            ("2026-01-01T01:02:03Z", CellClass::Time, "2026-01-01 01:02:03"),
            ("2026-01-01T01:02:03+01:00", CellClass::Time, "2026-01-01 01:02:03+01:00"),
            ("1.50Z", CellClass::Text, "1.50Z"),
        ] {
            assert_eq!(cell(&json!(text), class).as_deref(), Some(expected));
        }
        assert_eq!(rows.rows[0][0].as_deref(), Some("9007199254740993"));
        assert!(rows.rows[0][1].as_ref().unwrap().ends_with("x …"));
        assert_eq!(rows.rows[1], [None, Some("{\"b\":[1]}".to_owned())]);
    }
}
