//! Persons who asked to be erased. What they did stays as facts of their organization; whom it was is left out,
//! in rows that are there and in those that come.
//!
//! Of a person a digest of the pseudonym is kept, and a time: events before it name the person no more. So what
//! is sent or restored later does not bring the person back, and later events of the same id are a new person's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray},
    compute,
    datatypes::{Int64Type, TimestampMicrosecondType},
    error::ArrowError,
};
use serde::{Deserialize, Serialize};

use crate::{
    OrganizationId, Table,
    decode::correction,
    identity::{Content, Pseudonyms, hashes_of_columns},
    schema::{self, Column},
    time::{Micros, Window},
};

/// What stands in place of a dead letter's reason, which may quote the event.
pub(crate) const LETTER_REASON: &str = "the event named a person who was erased";

/// The erased persons of a data folder: `erased.json`. It holds neither their ids nor their pseudonyms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasedPersons {
    format: u32,
    /// Tells whether the digests were made with the key of a folder.
    key: String,
    /// By digest.
    persons: BTreeMap<String, Tombstone>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tombstone {
    /// None for a visitor, who belongs to no organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<String>,
    /// Microseconds since 1970: events before it do not name the person.
    before: Micros,
}

/// A person, as the tables name one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Person {
    /// None for a visitor.
    pub organization: Option<OrganizationId>,
    pub pseudonym: String,
}

/// Why a list of erased persons cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErasedListError {
    #[error("it does not parse: {0}")]
    Form(String),
    #[error("it is of format {0}, which this program does not read")]
    Format(u32),
    #[error("it was made with another pseudonym.key")]
    OtherKey,
}

const FORMAT: u32 = 1;

/// The columns that tell, beside the time, whether a row names a person.
pub const PERSONS: [&str; 4] = [schema::USER_ID, schema::ANONYMOUS_ID, "organization_id", "raw"];

/// Whether a column is emptied in a row that names an erased person.
pub fn is_cleared(table: Table, column: &str) -> bool {
    match table {
        Table::DeadLetter => matches!(column, "raw" | "reason"),
        _ => {
            column == "attributes"
                || table.columns().iter().any(|known| known.name == column && known.is_personal)
        }
    }
}

impl ErasedPersons {
    /// Nobody, so far.
    pub fn nobody(pseudonyms: &Pseudonyms) -> Self {
        let key = digest(pseudonyms.erasure_key(), "");
        Self { format: FORMAT, key, persons: BTreeMap::new() }
    }

    /// Reads `erased.json`.
    pub fn parse(json: &[u8], pseudonyms: &Pseudonyms) -> Result<Self, ErasedListError> {
        let read: Self = serde_json::from_slice(json)
            .map_err(|error| ErasedListError::Form(error.to_string()))?;
        if read.format > FORMAT {
            return Err(ErasedListError::Format(read.format));
        }
        if read.key != Self::nobody(pseudonyms).key {
            return Err(ErasedListError::OtherKey);
        }
        Ok(read)
    }

    /// Adds persons: all that they did until `now` is erased.
    pub fn add(&mut self, persons: &[Person], now: Micros, pseudonyms: &Pseudonyms) {
        let key = pseudonyms.erasure_key();
        for person in persons {
            let tombstone = Tombstone {
                organization: person.organization.as_ref().map(ToString::to_string),
                // Clocks of senders may be ahead.
                before: Window::at(now).latest().saturating_add(1),
            };
            self.bury(digest(key, &person.pseudonym), tombstone);
        }
    }

    /// Adds the persons of another list, made with the same key.
    pub fn merge(&mut self, other: Self) {
        other.persons.into_iter().for_each(|(digest, tombstone)| self.bury(digest, tombstone));
    }

    pub fn len(&self) -> usize {
        self.persons.len()
    }

    pub fn is_empty(&self) -> bool {
        self.persons.is_empty()
    }

    fn bury(&mut self, digest: String, tombstone: Tombstone) {
        let held = self.persons.entry(digest).or_insert_with(|| tombstone.clone());
        held.before = held.before.max(tombstone.before);
    }
}

/// The erased persons at one moment, and the key to find them.
#[derive(Debug)]
pub struct Lookup<'a> {
    pseudonyms: &'a Pseudonyms,
    erased: Arc<ErasedPersons>,
}

impl<'a> Lookup<'a> {
    pub fn new(pseudonyms: &'a Pseudonyms) -> Self {
        Self { pseudonyms, erased: pseudonyms.erased() }
    }

    /// Whether nobody is erased.
    pub fn is_empty(&self) -> bool {
        self.erased.is_empty()
    }

    /// Whether an event of that time names somebody who is erased.
    pub fn is_erased(&self, pseudonym: &str, occurred_at: Micros) -> bool {
        !self.is_empty()
            && self
                .erased
                .persons
                .get(&digest(self.pseudonyms.erasure_key(), pseudonym))
                .is_some_and(|tombstone| occurred_at < tombstone.before)
    }

    /// Whether a text, JSON or what was meant to be, holds the id of an erased person: as a whole string or word,
    /// in any place and of any time. Without an organization it counts for every one.
    pub fn is_named_in(&self, text: &str, organization: Option<&str>) -> bool {
        if self.is_empty() {
            return false;
        }
        let organizations: Vec<&str> = match organization {
            Some(organization) => vec![organization],
            None => {
                let persons = self.erased.persons.values();
                let named: BTreeSet<_> =
                    persons.filter_map(|person| person.organization.as_deref()).collect();
                named.into_iter().collect()
            }
        };
        words(text).iter().any(|word| {
            let users = organizations.iter().map(|of| self.pseudonyms.user(of, word));
            users
                .chain([self.pseudonyms.visitor(word), word.clone()])
                .any(|pseudonym| self.is_erased(&pseudonym, Micros::MIN))
        })
    }

    /// The rows without what they say of erased persons, and which of them that changed; `None` when none did.
    /// `rows` are shaped as a table, or as its records.
    pub fn erase(
        &self,
        table: Table,
        rows: &RecordBatch,
    ) -> Result<Option<(RecordBatch, BooleanArray)>, ArrowError> {
        let named = self.named(table, rows);
        if named.true_count() == 0 {
            return Ok(None);
        }
        let mut columns = rows.columns().to_vec();
        for (field, column) in rows.schema_ref().fields().iter().zip(&mut columns) {
            if !is_cleared(table, field.name()) {
                continue;
            }
            let cleared = (field.name() == "reason").then_some(LETTER_REASON);
            // Built anew: a null over the old bytes would still hold them.
            let texts = column.as_string::<i32>().iter().zip(&named);
            let kept = texts.map(|(text, named)| if named == Some(true) { cleared } else { text });
            *column = Arc::new(kept.collect::<StringArray>()) as ArrayRef;
        }
        let erased = RecordBatch::try_new(rows.schema(), columns)?;
        Ok(Some((rehashed(table, &erased, &named)?, named)))
    }

    /// The rows that name erased persons. Needed are the columns [`PERSONS`] and the table's time.
    pub fn named(&self, table: Table, rows: &RecordBatch) -> BooleanArray {
        match table {
            _ if self.is_empty() => vec![false; rows.num_rows()].into(),
            Table::DeadLetter => self.letters(rows),
            _ => self.rows_of_persons(table, rows),
        }
    }

    fn letters(&self, rows: &RecordBatch) -> BooleanArray {
        let text = |name| rows.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
        let (Some(owners), Some(raws)) = (text("organization_id"), text("raw")) else {
            return vec![false; rows.num_rows()].into();
        };
        let named = |(owner, raw): (Option<&str>, Option<&str>)| {
            Some(raw.is_some_and(|raw| self.is_named_in(raw, owner)))
        };
        owners.iter().zip(raws).map(named).collect()
    }

    fn rows_of_persons(&self, table: Table, rows: &RecordBatch) -> BooleanArray {
        let mut named = vec![false; rows.num_rows()];
        let times = rows
            .column_by_name(table.time_column())
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let Some(times) = times else { return named.into() };
        for column in table.columns().iter().filter(|column| Column::is_person(column)) {
            let ids = rows.column_by_name(column.name).and_then(|c| c.as_string_opt::<i32>());
            for (row, id) in ids.iter().flat_map(|ids| ids.iter()).enumerate() {
                named[row] |= id.is_some_and(|id| self.is_erased(id, times.value(row)));
            }
        }
        named.into()
    }
}

/// Gives the rows that were changed the hash of what they hold now: the one that the same event gets when it is
/// sent again, so that it is a duplicate.
fn rehashed(
    table: Table,
    rows: &RecordBatch,
    changed: &BooleanArray,
) -> Result<RecordBatch, ArrowError> {
    let Some(anew) = hashes_of_columns::<Content>(table, rows) else { return Ok(rows.clone()) };
    let place = rows.schema_ref().index_of("content_hash")?;
    let old = compute::cast(rows.column(place), &arrow::datatypes::DataType::Int64)?;
    let ids = rows.column_by_name("event_id").and_then(|c| c.as_string_opt::<i32>());
    let corrects = rows.column_by_name("corrects_id");
    let times = rows
        .column_by_name(table.time_column())
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let hash = |(row, old): (usize, Option<i64>)| {
        if !changed.value(row) {
            return old;
        }
        let reversal = corrects.filter(|column| column.is_valid(row)).and_then(|_| {
            let (id, at) = (ids?.is_valid(row).then(|| ids.map(|ids| ids.value(row)))??, times?);
            correction::erased_hash(id, at.value(row), old?)
        });
        reversal.or(anew[row])
    };
    let hashes: Int64Array = old.as_primitive::<Int64Type>().iter().enumerate().map(hash).collect();
    let mut columns = rows.columns().to_vec();
    columns[place] = Arc::new(hashes);
    RecordBatch::try_new(rows.schema(), columns)
}

/// 128 bits are enough to never meet by chance.
fn digest(key: &[u8; 32], text: &str) -> String {
    blake3::keyed_hash(key, text.as_bytes()).to_hex()[..32].to_owned()
}

/// The strings of a JSON text, unescaped, and what stands between them. The text may be cut off or malformed.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('"') {
        words.extend(bare(&rest[..open]));
        rest = &rest[open + 1..];
        let end = closing(rest);
        let inside = &rest[..end];
        let string = serde_json::from_str(&format!("\"{inside}\""));
        words.push(string.unwrap_or_else(|_| inside.to_owned()));
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    words.extend(bare(rest));
    words
}

/// Where a string ends that was opened before `text`.
fn closing(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return at,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

fn bare(text: &str) -> impl Iterator<Item = String> {
    let separates = |c: char| c.is_whitespace() || "{}[],:".contains(c);
    text.split(separates).filter(|word| !word.is_empty()).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests;
