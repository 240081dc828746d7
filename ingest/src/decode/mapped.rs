//! Rows of a file to rows of tables, by a mapping. They obey the same rules as events that are sent.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Decoded, Sender, admit,
    data::{Values, cell_value},
    envelope::{Envelope, short, unreadable_time},
    missing,
    rows::{DeadLetters, Rows},
};
use crate::{
    Error, OrganizationId, Rejection, RejectionCode, Table,
    erasure::Lookup,
    event,
    identity::Key,
    mapping::{Cell, FieldSource, FileRows, Mapping},
    names,
    schema::ColumnType,
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
    Ok(Decoded { events: total, batches, rejected, warnings: Vec::new() })
}

/// A row of a file as the JSON of its event: what is sent to a server, and what a dead letter keeps. Values that
/// do not fit stay as they are, so that whoever decodes it rejects it with the same reason.
pub fn file_event(mapping: &Mapping, rows: &FileRows, file: &str, row: usize) -> String {
    let text = |cell: Cell<'_>| cell.text().map(Cow::into_owned);
    let event_type = text(cell(mapping, &mapping.event_type, rows, row));
    let table = event_type.as_deref().and_then(event::route).map(|(table, _)| table);
    let mut data: BTreeMap<&str, Box<RawValue>> = BTreeMap::new();
    for (name, source, _) in &mapping.fields {
        let column = table.and_then(|table| table.columns().iter().find(|c| c.name == *name));
        let cell = || cell(mapping, source, rows, row);
        let json = match column.map(|column| (column.kind, cell_value(column, cell()))) {
            Some((_, Ok(value))) => Some(value.to_json().to_string().into()),
            None if *name == names::INCLUDES_CACHED && cell().flag().is_some() => {
                cell().flag().map(|flag| flag.to_string().into())
            }
            Some((ColumnType::Count, Err(_))) if cell().count().is_some() => {
                cell().count().map(|count| count.to_string().into())
            }
            // As it is written: the digits of a number are part of what is hashed.
            _ => cell().into_json(),
        };
        let json = json.and_then(|json| RawValue::from_string(json.into_owned()).ok());
        if let Some(json) = json {
            data.insert(name, json);
        }
    }
    let time = match mapping.time(rows, row) {
        (Some(at), _) => Some(time::to_rfc3339(at)),
        (None, cell) => text(cell),
    };
    let event = Event {
        specversion: "1.0",
        id: member(id(mapping, rows, file, row)),
        source: &mapping.source,
        event_type: member(cell(mapping, &mapping.event_type, rows, row)),
        subject: mapping.organization.as_ref().and_then(|of| member(cell(mapping, of, rows, row))),
        time,
        data,
    };
    serde_json::to_string(&event).unwrap_or_default()
}

/// An event as it is sent.
#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: Option<Box<RawValue>>,
    source: &'a str,
    #[serde(rename = "type")]
    event_type: Option<Box<RawValue>>,
    subject: Option<Box<RawValue>>,
    time: Option<String>,
    data: BTreeMap<&'a str, Box<RawValue>>,
}

/// The identity of the event of a row; none where the row has no usable one.
pub fn file_key(mapping: &Mapping, rows: &FileRows, file: &str, row: usize) -> Option<Key> {
    let envelope = envelope(mapping, rows, file, row).ok()?;
    let organization = envelope.organization(None).ok()?;
    let named = organization.as_ref().map_or("", OrganizationId::as_str);
    Some(Key::of(named, &envelope.source, &envelope.id))
}

fn cell<'a>(
    mapping: &'a Mapping,
    source: &'a FieldSource,
    rows: &'a FileRows,
    row: usize,
) -> Cell<'a> {
    match source {
        FieldSource::Constant(json) => Cell::of_json(json),
        FieldSource::Column(column) => mapping.cell(*column, rows, row),
    }
}

/// A member of the envelope.
fn name<'a>(cell: Cell<'a>, pointer: &str) -> Result<Option<Cow<'a, str>>, Rejection> {
    let text = match cell {
        Cell::Unfit(_) => {
            return Err(Rejection::new(RejectionCode::WrongType, pointer, "expected text"));
        }
        Cell::Text(text) => Some(text),
        cell => cell.text().map(|text| Cow::Owned(text.into_owned())),
    };
    text.map(|text| short(text, pointer)).transpose()
}

/// The same as JSON, which whoever decodes it rejects for the same reason.
fn member(cell: Cell<'_>) -> Option<Box<RawValue>> {
    let json = match cell {
        Cell::Unfit(_) => cell.into_json(),
        cell => cell.text().map(|text| serde_json::Value::from(text).to_string().into()),
    };
    RawValue::from_string(json?.into_owned()).ok()
}

fn id<'a>(mapping: &'a Mapping, rows: &'a FileRows, file: &str, row: usize) -> Cell<'a> {
    match mapping.id.map(|column| mapping.cell(column, rows, row)) {
        None | Some(Cell::Absent) => Cell::Text(format!("{file}:{}", rows.number(row)).into()),
        Some(own) => own,
    }
}

fn envelope<'a>(
    mapping: &'a Mapping,
    rows: &'a FileRows,
    file: &str,
    row: usize,
) -> Result<Envelope<'a>, Rejection> {
    let occurred_at = match mapping.time(rows, row) {
        (Some(at), _) => at,
        (None, Cell::Absent) => return Err(missing("/time")),
        (None, _) => return Err(unreadable_time()),
    };
    let subject = match &mapping.organization {
        Some(source) => name(cell(mapping, source, rows, row), "/subject")?,
        None => None,
    };
    Ok(Envelope {
        id: name(id(mapping, rows, file, row), "/id")?.ok_or_else(|| missing("/id"))?,
        source: Cow::Borrowed(&mapping.source),
        event_type: name(cell(mapping, &mapping.event_type, rows, row), "/type")?
            .ok_or_else(|| missing("/type"))?,
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
        let cell = cell(mapping, source, rows, row);
        if cell == Cell::Absent {
            continue;
        }
        match places[table as usize - 1].filter(|place| *place >= named) {
            Some(place) => {
                values.columns[place] = Some(cell_value(&table.columns()[place], cell)?);
            }
            None if name == names::INCLUDES_CACHED && table == Table::UsageLedger => {
                values.includes_cached = cell.flag().ok_or_else(|| {
                    let pointer = format!("/data/{name}");
                    Rejection::new(RejectionCode::WrongType, pointer, "expected true or false")
                })?;
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
