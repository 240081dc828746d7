//! Corrections of a row: a reversal that takes it back, and a re-entry with what it should have said.
//!
//! A row is named by its log and LSN, which no other row has. The reversal's id is made of them, so that two
//! reversals of one row are one event.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StringBuilder},
    compute::{self, kernels::numeric},
    datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType},
};
use serde_json::value::RawValue;

use super::{
    Batch,
    data::{Value, Values},
    envelope::Envelope,
    rows::Rows,
    rules,
};
use crate::{
    Error, OrganizationId, Rejection, Table,
    erasure::Lookup,
    identity::{Canonical, Content, FirstContent, Key, Pseudonyms, hashes_of_columns},
    log::{LogId, Lsn},
    schema::ColumnType,
    time::Micros,
};

/// The only table whose rows are entered again as they should have been. Those of the others are only taken back.
const AMENDED: Table = Table::UsageLedger;
const EVENT_TYPE: &str = "usage.request";
/// What the id of a reversal begins with. Only a row that corrects another one is a reversal.
pub const REVERSAL: &str = "reversal:";
const RE_ENTRY: &str = "correction:";

/// What a reversal negates: what is added up. All else is equal to the row that it takes back.
const QUANTITIES: [&str; 12] = [
    "input_tokens",
    "cached_input_tokens",
    "cache_write_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "images",
    "cost",
    "list_price",
    "quantity",
    "amount",
];

/// Whether a reversal negates the column of that name.
pub fn is_negated(column: &str) -> bool {
    QUANTITIES.contains(&column)
}

/// A row of a table of events, as it was recorded.
#[derive(Debug, Clone)]
pub struct LedgerRow {
    table: Table,
    log: LogId,
    lsn: Lsn,
    /// One row, shaped as [`Table::record_schema`].
    row: RecordBatch,
}

/// What a correction changes.
#[derive(Debug, Clone, Copy)]
pub struct Amendment<'a> {
    pub occurred_at: Option<Micros>,
    /// An object of columns and attributes; `null` clears one, and what it does not name stays.
    pub data: Option<&'a RawValue>,
}

/// The row that a reversal takes back, read from the reversal's id.
pub fn reversed(event_id: &str) -> Option<(LogId, Lsn)> {
    let (log, lsn) = event_id.strip_prefix(REVERSAL)?.split_once('.')?;
    let log = u64::from_str_radix(log, 16).ok()?;
    Some((LogId(log.cast_signed()), lsn.parse().ok()?))
}

/// The content hash that a reversal keeps once the person of its row is erased: nothing of what came in its place.
/// `hash` is the one that it has.
pub(crate) fn erased_hash(event_id: &str, occurred_at: Micros, hash: i64) -> Option<i64> {
    reversed(event_id)?;
    let mut content = FirstContent::default();
    content.begin(REVERSAL, event_id, occurred_at);
    if content.hash() != hash {
        content.fixed(0, "replacement", b"erased");
    }
    Some(content.hash())
}

/// Takes rows of a table back, each with the id of the event that it says something of.
pub fn void_all(table: Table, rows: &[(LedgerRow, String)]) -> Result<Batch, Error> {
    let voided = rows.iter().map(|(row, original)| row.void(original));
    let voided = voided.collect::<Result<Vec<_>, _>>()?;
    let reversals = voided.iter().map(|batch| &batch.rows);
    Ok(Batch {
        table,
        rows: compute::concat_batches(&table.record_schema(), reversals)?,
        keys: voided.iter().flat_map(|batch| batch.keys.iter().copied()).collect(),
        index: (0..).take(rows.len()).collect(),
        barred: Vec::new(),
    })
}

/// Whether a row with this id is a re-entry of an event of `import`.
pub fn is_entered_again(event_id: &str, import: &str) -> bool {
    let rest = event_id.strip_prefix(RE_ENTRY).and_then(|rest| rest.strip_prefix(import));
    rest.is_some_and(|rest| rest.starts_with('.'))
}

/// Makes re-entries of the events whose identities are in `voided`: all of them were voided by the undoing of `import`.
pub fn enter_again(batch: Batch, voided: &HashSet<Key>, import: &str) -> Result<Batch, Error> {
    if !batch.keys.iter().any(|key| voided.contains(key)) {
        return Ok(batch);
    }
    let text = |name: &str| batch.rows.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
    let (Some(organizations), Some(sources), Some(ids)) =
        (text("organization_id"), text("source"), text("event_id"))
    else {
        return Ok(batch);
    };
    let mut keys = batch.keys.clone();
    let (mut own, mut corrects) = (StringBuilder::new(), StringBuilder::new());
    for (row, key) in keys.iter_mut().enumerate() {
        let original = ids.value(row);
        if !voided.contains(key) {
            own.append_value(original);
            corrects.append_null();
            continue;
        }
        let digits: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let id = format!("{RE_ENTRY}{import}.{digits}");
        let owner = if organizations.is_valid(row) { organizations.value(row) } else { "" };
        *key = Key::of_correction(owner, sources.value(row), &id, original);
        own.append_value(id);
        corrects.append_value(original);
    }
    let rows = with(&batch.rows, "event_id", Arc::new(own.finish()))?;
    let rows = with(&rows, "corrects_id", Arc::new(corrects.finish()))?;
    Ok(Batch { rows, keys, ..batch })
}

impl LedgerRow {
    /// `row` holds one row, shaped as [`Table::record_schema`].
    pub fn new(table: Table, log: LogId, lsn: Lsn, row: RecordBatch) -> Self {
        Self { table, log, lsn, row }
    }

    /// The type of its event.
    pub fn event_type(&self) -> String {
        let word = |name| self.text(name).unwrap_or_default();
        match self.table {
            Table::BillingEvents => format!("billing.{}", word("kind")),
            Table::ActivityEvents => format!("activity.{}", word("action")),
            _ => EVENT_TYPE.into(),
        }
    }

    pub fn log(&self) -> LogId {
        self.log
    }

    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    pub fn occurred_at(&self) -> Micros {
        self.row.column(1).as_primitive::<TimestampMicrosecondType>().value(0)
    }

    /// The row that this one takes back.
    pub fn reversed(&self) -> Option<(LogId, Lsn)> {
        self.text("corrects_id").and(self.text("event_id")).and_then(reversed)
    }

    /// The id of the event that the row says something of.
    pub fn original(&self) -> String {
        self.text("corrects_id").or(self.text("event_id")).unwrap_or_default().to_owned()
    }

    /// Takes the row back. `original` is the id of the event that the row says something of.
    pub fn void(&self, original: &str) -> Result<Batch, Error> {
        let reversal = self.reversal(original, None)?;
        Ok(batch(self.table, reversal, [self.key(REVERSAL, original)]))
    }

    /// Takes a row of the usage ledger back and enters it again as it should have been; `None` when that is how it is.
    pub fn correct(
        &self,
        original: &str,
        amendment: &Amendment<'_>,
        pseudonyms: &Pseudonyms,
    ) -> Result<Result<Option<Batch>, Rejection>, Error> {
        let attributes = self.text("attributes").map(serde_json::from_str).transpose();
        let attributes: Option<&RawValue> = attributes.unwrap_or_default();
        let organization = self.text("organization_id").and_then(OrganizationId::parse);
        let amended = self.values(attributes).and_then(|mut values| {
            if let Some(changes) = amendment.data {
                values.amend(changes, organization.as_ref(), pseudonyms)?;
            }
            rules::check(AMENDED, None, organization.is_some(), &values)?;
            Ok(values)
        });
        let mut values = match amended {
            Ok(values) => values,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let occurred_at = amendment.occurred_at.unwrap_or_else(|| self.occurred_at());
        values.forget_erased(occurred_at, &Lookup::new(pseudonyms));
        let envelope = Envelope::of_row(
            self.id(RE_ENTRY),
            self.text("source").unwrap_or_default(),
            EVENT_TYPE,
            occurred_at,
        );
        let mut rows = Rows::new(AMENDED);
        rows.push(&envelope, organization.as_ref(), &values, 0);
        let again = rows.finish()?.rows;
        if hash_of::<Content>(&self.row) == hash_of::<Content>(&again) {
            return Ok(Ok(None));
        }
        let after = hash_of::<FirstContent>(&again);
        let again = with(&again, "corrects_id", Arc::new(StringArray::from(vec![original])))?;
        let reversal = self.reversal(original, after)?;
        let rows = compute::concat_batches(&AMENDED.record_schema(), [&reversal, &again])?;
        Ok(Ok(Some(batch(
            AMENDED,
            rows,
            [self.key(REVERSAL, original), self.key(RE_ENTRY, original)],
        ))))
    }

    /// `replacement` is the content of the row that comes in its place: two corrections of one row that say
    /// different things are a conflict, which the second one loses. It is hashed as the first version did, since
    /// what a row corrects cannot be told from its columns.
    fn reversal(&self, original: &str, replacement: Option<i64>) -> Result<RecordBatch, Error> {
        let mut row = self.row.clone();
        for name in QUANTITIES {
            if let Some(column) = self.row.column_by_name(name) {
                row = with(&row, name, numeric::neg(column)?)?;
            }
        }
        let id = self.id(REVERSAL);
        let mut content = FirstContent::default();
        content.begin(REVERSAL, &id, self.occurred_at());
        if let Some(hash) = replacement {
            content.fixed(0, "replacement", &hash.to_le_bytes());
        }
        let provenance: [(&str, ArrayRef); 3] = [
            ("event_id", Arc::new(StringArray::from(vec![id]))),
            ("corrects_id", Arc::new(StringArray::from(vec![original]))),
            ("content_hash", Arc::new(Int64Array::from(vec![content.hash()]))),
        ];
        provenance.into_iter().try_fold(row, |row, (name, column)| with(&row, name, column))
    }

    fn id(&self, kind: &str) -> String {
        format!("{kind}{:x}.{}", self.log.0, self.lsn)
    }

    fn key(&self, kind: &str, original: &str) -> Key {
        let text = |name| self.text(name).unwrap_or_default();
        Key::of_correction(text("organization_id"), text("source"), &self.id(kind), original)
    }

    fn text(&self, name: &str) -> Option<&str> {
        let column = self.row.column_by_name(name)?.as_string_opt::<i32>()?;
        (!column.is_empty() && column.is_valid(0)).then(|| column.value(0))
    }

    /// What the row says, as if it had just been sent.
    fn values<'a>(&'a self, attributes: Option<&'a RawValue>) -> Result<Values<'a>, Rejection> {
        let columns = AMENDED.columns().iter().map(|column| {
            let array = self.row.column_by_name(column.name).filter(|array| array.is_valid(0))?;
            Some(match column.kind {
                ColumnType::Text => Value::Text(Cow::Borrowed(array.as_string::<i32>().value(0))),
                ColumnType::Count => Value::Count(array.as_primitive::<Int64Type>().value(0)),
                ColumnType::Flag => Value::Flag(array.as_boolean().value(0)),
                ColumnType::Money => Value::Money(array.as_primitive::<Decimal128Type>().value(0)),
                ColumnType::Time => {
                    Value::Time(array.as_primitive::<TimestampMicrosecondType>().value(0))
                }
            })
        });
        Values::stored(AMENDED, columns.collect(), attributes)
    }
}

fn batch<const N: usize>(table: Table, rows: RecordBatch, keys: [Key; N]) -> Batch {
    let index = (0..).take(N).collect();
    Batch { table, rows, keys: keys.to_vec(), index, barred: Vec::new() }
}

fn with(rows: &RecordBatch, name: &str, column: ArrayRef) -> Result<RecordBatch, Error> {
    let mut columns = rows.columns().to_vec();
    columns[rows.schema().index_of(name)?] = column;
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}

fn hash_of<C: Canonical>(row: &RecordBatch) -> Option<i64> {
    hashes_of_columns::<C>(AMENDED, row)?.into_iter().next().flatten()
}

#[cfg(test)]
mod tests;
