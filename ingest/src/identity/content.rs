//! The content hash of an event: two events with one identity and another content are a conflict.
//!
//! The canonical form of the content is hashed. Rows, logs and indexes of older versions hold the hash of the
//! first form ([`FirstContent`], BLAKE3), which took a tenth of the time of the intake. Where a stored hash is not
//! that of the present form ([`Content`]), it is compared with that of the first one.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType},
};
use xxhash_rust::xxh3::xxh3_64;

use super::write_part;
use crate::{
    Table,
    schema::{Column, ColumnType},
};

/// A canonical form: an event's type, its organization, its time, then each column that has a value, in the order
/// of the table, and the attributes.
pub(crate) trait Canonical: Default {
    /// Begins the next event.
    fn begin(&mut self, event_type: &str, organization: &str, at: i64);
    /// A value of any length in the column `name`, the table's column number `place`.
    fn text(&mut self, place: usize, name: &str, value: &str);
    /// A value whose kind has one length.
    fn fixed(&mut self, place: usize, name: &str, value: &[u8]);
    fn hash(&self) -> i64;

    fn attributes(&mut self, json: &str) {
        self.text(ATTRIBUTES, "attributes", json);
    }
}

/// Stands for the attributes, in place of a column's number.
const ATTRIBUTES: usize = 255;

/// Version 2: columns by their number, which is one byte; no lengths but those of texts. 64 bits of XXH3.
///
/// A sender who searches for two contents of one hash finds them, and deceives nobody but himself: the second
/// event counts as sent before.
#[derive(Debug, Default)]
pub(crate) struct Content(Vec<u8>);

impl Canonical for Content {
    fn begin(&mut self, event_type: &str, organization: &str, at: i64) {
        self.0.clear();
        self.0.push(2);
        self.write(event_type);
        self.write(organization);
        self.0.extend_from_slice(&at.to_le_bytes());
    }

    fn text(&mut self, place: usize, _name: &str, value: &str) {
        self.0.push(place as u8);
        self.write(value);
    }

    fn fixed(&mut self, place: usize, _name: &str, value: &[u8]) {
        self.0.push(place as u8);
        self.0.extend_from_slice(value);
    }

    fn hash(&self) -> i64 {
        xxh3_64(&self.0).cast_signed()
    }
}

impl Content {
    fn write(&mut self, text: &str) {
        self.0.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// Version 1: columns by their names, and the length of everything. 64 bits of BLAKE3.
#[derive(Debug, Default)]
pub(crate) struct FirstContent(Vec<u8>);

impl Canonical for FirstContent {
    fn begin(&mut self, event_type: &str, organization: &str, at: i64) {
        self.0.clear();
        self.0.push(1);
        write_part(&mut self.0, event_type.as_bytes());
        write_part(&mut self.0, organization.as_bytes());
        self.0.extend_from_slice(&at.to_le_bytes());
    }

    fn text(&mut self, place: usize, name: &str, value: &str) {
        self.fixed(place, name, value.as_bytes());
    }

    fn fixed(&mut self, _place: usize, name: &str, value: &[u8]) {
        write_part(&mut self.0, name.as_bytes());
        write_part(&mut self.0, value);
    }

    fn hash(&self) -> i64 {
        let mut hash = [0; 8];
        hash.copy_from_slice(&blake3::hash(&self.0).as_bytes()[..8]);
        i64::from_le_bytes(hash)
    }
}

/// Whether each row has the hash of what it holds, of either version. A correction's content is that of another row
/// turned around: it is taken as it stands.
pub fn are_hashed(table: Table, rows: &RecordBatch) -> Option<Vec<bool>> {
    let stored = rows.column_by_name("content_hash")?.as_primitive_opt::<Int64Type>()?;
    let are_equal = |anew: Vec<Option<i64>>| {
        let pairs = anew.into_iter().zip(stored);
        pairs.map(|(anew, stored)| anew.is_none() || anew == stored).collect::<Vec<_>>()
    };
    let mut hashed = are_equal(of_events::<Content>(table, rows)?);
    if hashed.contains(&false) {
        let first = are_equal(of_events::<FirstContent>(table, rows)?);
        hashed.iter_mut().zip(first).for_each(|(is, was)| *is |= was);
    }
    Some(hashed)
}

/// The content hashes that an event may have from earlier versions of the program.
pub(crate) fn earlier_hashes(table: Table, row: &RecordBatch) -> [Option<i64>; 3] {
    fn of<C: Canonical>(table: Table, row: &RecordBatch) -> Option<i64> {
        of_events::<C>(table, row)?.pop()?
    }
    [
        of::<FirstContent>(table, row),
        of::<FloatContent<Content>>(table, row),
        of::<FloatContent<FirstContent>>(table, row),
    ]
}

/// What an import beside a server once made of an event: the numbers of its attributes had passed through a float.
#[derive(Debug, Default)]
struct FloatContent<C>(C);

impl<C: Canonical> Canonical for FloatContent<C> {
    fn begin(&mut self, event_type: &str, organization: &str, at: i64) {
        self.0.begin(event_type, organization, at);
    }

    fn text(&mut self, place: usize, name: &str, value: &str) {
        self.0.text(place, name, value);
    }

    fn fixed(&mut self, place: usize, name: &str, value: &[u8]) {
        self.0.fixed(place, name, value);
    }

    fn hash(&self) -> i64 {
        self.0.hash()
    }

    fn attributes(&mut self, json: &str) {
        match serde_json::from_str::<BTreeMap<String, serde_json::Value>>(json) {
            Ok(members) => self.0.attributes(&serde_json::json!(members).to_string()),
            Err(_) => self.0.attributes(json),
        }
    }
}

fn of_events<C: Canonical>(table: Table, rows: &RecordBatch) -> Option<Vec<Option<i64>>> {
    let corrects = rows.column_by_name("corrects_id")?;
    let mut hashes = hashes_of_columns::<C>(table, rows)?;
    hashes
        .iter_mut()
        .enumerate()
        .filter(|(row, _)| corrects.is_valid(*row))
        .for_each(|(_, hash)| *hash = None);
    Some(hashes)
}

/// The hash of what each row holds, whether or not it corrects another one.
pub(crate) fn hashes_of_columns<C: Canonical>(
    table: Table,
    rows: &RecordBatch,
) -> Option<Vec<Option<i64>>> {
    let organizations = rows.column_by_name("organization_id")?.as_string_opt::<i32>()?;
    let times =
        rows.column_by_name(table.time_column())?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let attributes = rows.column_by_name("attributes")?.as_string_opt::<i32>()?;
    let mut content = C::default();
    let hash = |row: usize| {
        let word = |name| text(rows, name, row).unwrap_or_default();
        let event_type = match table {
            Table::UsageLedger => "usage.request".into(),
            Table::BillingEvents => format!("billing.{}", word("kind")),
            Table::ActivityEvents => format!("activity.{}", word("action")),
            Table::Organizations
            | Table::ApiKeys
            | Table::RatedUsageDaily
            | Table::InvoiceLines => table.name().into(),
            Table::DeadLetter => return None,
        };
        let owner = if organizations.is_valid(row) { organizations.value(row) } else { "" };
        content.begin(&event_type, owner, times.value(row));
        for (place, column) in table.columns().iter().enumerate() {
            // A column that came later is absent from older files.
            if let Some(values) = rows.column_by_name(column.name)
                && values.is_valid(row)
            {
                add(&mut content, place, column, values, row)?;
            }
        }
        if attributes.is_valid(row) {
            content.attributes(attributes.value(row));
        }
        Some(content.hash())
    };
    Some((0..rows.num_rows()).map(hash).collect())
}

fn text<'a>(rows: &'a RecordBatch, name: &str, row: usize) -> Option<&'a str> {
    let column = rows.column_by_name(name)?.as_string_opt::<i32>()?;
    column.is_valid(row).then(|| column.value(row))
}

fn add(
    content: &mut impl Canonical,
    place: usize,
    column: &Column,
    values: &dyn Array,
    row: usize,
) -> Option<()> {
    let mut fixed = |value: &[u8]| content.fixed(place, column.name, value);
    match column.kind {
        ColumnType::Text => {
            content.text(place, column.name, values.as_string_opt::<i32>()?.value(row));
        }
        ColumnType::Count => {
            fixed(&values.as_primitive_opt::<Int64Type>()?.value(row).to_le_bytes())
        }
        ColumnType::Flag => fixed(&[u8::from(values.as_boolean_opt()?.value(row))]),
        ColumnType::Money => {
            fixed(&values.as_primitive_opt::<Decimal128Type>()?.value(row).to_le_bytes());
        }
        ColumnType::Time => {
            let at = values.as_primitive_opt::<TimestampMicrosecondType>()?.value(row);
            fixed(&at.to_le_bytes());
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash<C: Canonical>(fill: impl Fn(&mut C)) -> i64 {
        let mut content = C::default();
        content.begin("usage.request", "org_a", 7);
        fill(&mut content);
        content.hash()
    }

    #[test]
    fn hashes_stay_what_they_are() {
        // Stored in tables and indexes: with other values every event that is sent again would be a conflict.
        let model = |content: &mut FirstContent| content.text(4, "model", "m");
        assert_eq!(hash(model), -1_707_008_106_408_854_565);
        let model = |content: &mut Content| content.text(4, "model", "m");
        assert_eq!(hash(model), 3_140_641_350_586_941_186);
    }

    #[test]
    fn what_differs_in_one_thing_differs() {
        let variants: [fn(&mut Content); 9] = [
            |_| {},
            |content| content.text(4, "model", "m"),
            |content| content.text(5, "provider", "m"),
            |content| content.text(4, "model", ""),
            |content| content.text(4, "model", "m2"),
            |content| content.attributes("{}"),
            |content| content.fixed(9, "input_tokens", &1_i64.to_le_bytes()),
            |content| content.fixed(9, "input_tokens", &256_i64.to_le_bytes()),
            |content| content.fixed(10, "cached_input_tokens", &1_i64.to_le_bytes()),
        ];
        let mut hashes = variants.map(hash::<Content>);
        hashes.sort_unstable();
        assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
