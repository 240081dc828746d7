//! Rows of a file to rows of tables, by a mapping. They obey the same rules as events that are sent.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value, json};

use super::{
    Decoded, Sender, admit,
    data::{Values, cell_value},
    envelope::{Envelope, short, unreadable_time},
    missing,
    rows::{DeadLetters, Rows},
};
use crate::{
    Error, Rejection, Table,
    erasure::Lookup,
    event,
    mapping::{Cell, FileRows, Mapping, Source},
    schema::Kind,
    time::{self, Micros},
};

/// Decodes and checks rows of a file. `file` names it in the ids of rows that have none of their own.
pub fn decode_file(
    mapping: &Mapping,
    rows: &FileRows,
    file: &str,
    sender: &Sender<'_>,
    received_at: Micros,
) -> Result<Decoded, Error> {
    let mut tables = BTreeMap::new();
    let mut rejected = Vec::new();
    let erased = Lookup::new(sender.pseudonyms);
    let mut dead = DeadLetters::new(received_at, sender.kind(), &erased);
    let total = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    for index in 0..total {
        let row = index as usize;
        let decoded = envelope(mapping, rows, file, row).map_err(|why| (None, why));
        let decoded = decoded.and_then(|envelope| {
            admit(&envelope, index, sender, &erased, &mut tables, |table, word| {
                values(mapping, rows, row, table, word)
            })
        });
        if let Err((organization, why)) = decoded {
            dead.push(organization.as_deref(), &why, &file_event(mapping, rows, file, row));
            rejected.push((index, why));
        }
    }
    let mut batches = tables.into_values().map(Rows::finish).collect::<Result<Vec<_>, Error>>()?;
    batches.extend(dead.finish()?);
    Ok(Decoded { events: total, batches, rejected })
}

/// A row of a file as the JSON of its event: what is sent to a server, and what a dead letter keeps. Values that
/// do not fit stay as they are, so that whoever decodes it rejects it with the same reason.
pub fn file_event(mapping: &Mapping, rows: &FileRows, file: &str, row: usize) -> String {
    let text = |cell: Cell<'_>| cell.text().map(Cow::into_owned);
    let event_type = text(cell(&mapping.event_type, rows, row));
    let table = event_type.as_deref().and_then(event::route).map(|(table, _)| table);
    let mut data = Map::new();
    for (name, source, _) in &mapping.fields {
        let column = table.and_then(|table| table.columns().iter().find(|c| c.name == *name));
        let cell = || cell(source, rows, row);
        let value = match column.map(|column| (column.kind, cell_value(column, cell()))) {
            Some((_, Ok(value))) => Some(value.to_json()),
            Some((Kind::Count, Err(_))) if cell().count().is_some() => {
                cell().count().map(Value::from)
            }
            _ => cell().into_json().and_then(|json| serde_json::from_str(&json).ok()),
        };
        if let Some(value) = value {
            data.insert(name.clone(), value);
        }
    }
    let time = match mapping.time(rows, row) {
        (Some(at), _) => Some(time::to_rfc3339(at)),
        (None, cell) => text(cell),
    };
    json!({
        "specversion": "1.0",
        "id": id(mapping, rows, file, row),
        "source": mapping.source,
        "type": event_type,
        "subject": mapping.organization.as_ref().and_then(|source| text(cell(source, rows, row))),
        "time": time,
        "data": data,
    })
    .to_string()
}

fn cell<'a>(source: &'a Source, rows: &'a FileRows, row: usize) -> Cell<'a> {
    match source {
        Source::Constant(json) => Cell::of_json(json),
        Source::Column(column) => rows.cell(*column, row),
    }
}

fn into_text(cell: Cell<'_>) -> Option<Cow<'_, str>> {
    match cell {
        Cell::Text(text) => Some(text),
        cell => cell.text().map(|text| Cow::Owned(text.into_owned())),
    }
}

fn id<'a>(mapping: &Mapping, rows: &'a FileRows, file: &str, row: usize) -> Cow<'a, str> {
    let own = mapping.id.and_then(|column| into_text(rows.cell(column, row)));
    own.unwrap_or_else(|| Cow::Owned(format!("{file}:{}", rows.number(row))))
}

fn envelope<'a>(
    mapping: &'a Mapping,
    rows: &'a FileRows,
    file: &str,
    row: usize,
) -> Result<Envelope<'a>, Rejection> {
    let name = |source: &'a Source, pointer: &str| {
        into_text(cell(source, rows, row)).map(|text| short(text, pointer)).transpose()
    };
    let occurred_at = match mapping.time(rows, row) {
        (Some(at), _) => at,
        (None, Cell::Absent) => return Err(missing("/time")),
        (None, _) => return Err(unreadable_time()),
    };
    let subject = match &mapping.organization {
        Some(source) => name(source, "/subject")?,
        None => None,
    };
    Ok(Envelope {
        id: short(id(mapping, rows, file, row), "/id")?,
        source: Cow::Borrowed(&mapping.source),
        event_type: name(&mapping.event_type, "/type")?.ok_or_else(|| missing("/type"))?,
        occurred_at,
        data: None,
        subject,
    })
}

fn values<'a>(
    mapping: &'a Mapping,
    rows: &'a FileRows,
    row: usize,
    table: Table,
    word: Option<&'a str>,
) -> Result<Values<'a>, Rejection> {
    let mut values = Values::new(table, word);
    let named = usize::from(word.is_some());
    for (name, source, places) in &mapping.fields {
        let cell = cell(source, rows, row);
        if cell == Cell::Absent {
            continue;
        }
        match places[table as usize - 1].filter(|place| *place >= named) {
            Some(place) => {
                values.columns[place] = Some(cell_value(&table.columns()[place], cell)?);
            }
            None => {
                if let Some(json) = cell.into_json() {
                    values.attribute(Cow::Borrowed(name), json, "/data")?;
                }
            }
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests;
