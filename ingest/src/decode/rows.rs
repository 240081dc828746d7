//! Gathers the rows of one table into Arrow columns.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        Array as _, ArrayBuilder as _, ArrayRef, BooleanBuilder, Decimal128Builder, Int64Builder,
        StringArray, StringBuilder, TimestampMicrosecondBuilder, new_null_array,
    },
    record_batch::RecordBatch,
};

use super::{
    Batch,
    data::{Value, Values},
    envelope::Envelope,
};
use crate::{
    Error, OrganizationId, Rejection, Table, Warning,
    erasure::{LETTER_REASON, Lookup},
    identity::{Canonical, Content, Key},
    names,
    schema::ColumnType,
    time::Micros,
};

/// Names that are looked at of one part of a request.
const MEANT_MAX: usize = 64;
/// The most warnings of one part of a request.
const WARNINGS_MAX: usize = 1_000;

/// The rows of one table so far.
#[derive(Debug)]
pub(super) struct Rows {
    table: Table,
    organization_id: StringBuilder,
    at: TimestampMicrosecondBuilder,
    /// A column that no event named so far has none.
    columns: Vec<Option<Builder>>,
    attributes: StringBuilder,
    event_id: StringBuilder,
    source: StringBuilder,
    content_hash: Int64Builder,
    content: Content,
    keys: Vec<Key>,
    index: Vec<u32>,
    barred: Vec<(usize, Rejection)>,
    warnings: Vec<(u32, Warning)>,
    /// For each member that is no column, the column that may be meant.
    meant: HashMap<String, Option<&'static str>>,
}

#[derive(Debug)]
enum Builder {
    Text(StringBuilder),
    Count(Int64Builder),
    Flag(BooleanBuilder),
    Money(Decimal128Builder),
    Time(TimestampMicrosecondBuilder),
}

impl Rows {
    pub(super) fn new(table: Table) -> Self {
        Self {
            table,
            organization_id: StringBuilder::new(),
            at: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            columns: table.columns().iter().map(|_| None).collect(),
            attributes: StringBuilder::new(),
            event_id: StringBuilder::new(),
            source: StringBuilder::new(),
            content_hash: Int64Builder::new(),
            content: Content::default(),
            keys: Vec::new(),
            index: Vec::new(),
            barred: Vec::new(),
            warnings: Vec::new(),
            meant: HashMap::new(),
        }
    }

    /// Warns of members that became attributes where a column may be meant that the event lacks.
    fn warn(&mut self, values: &Values<'_>, index: u32) {
        for name in &values.others {
            let column = match self.meant.get(&**name) {
                Some(column) => *column,
                // Whoever sends ever new names does not keep others waiting.
                None if self.meant.len() >= MEANT_MAX => None,
                None => {
                    let column = names::meant(self.table, name);
                    self.meant.insert(name.to_string(), column);
                    column
                }
            };
            if let Some(column) = column.filter(|column| values.get(column).is_none())
                && self.warnings.len() < WARNINGS_MAX
            {
                let pointer = super::pointer("/data", name);
                self.warnings.push((index, Warning { pointer, column }));
            }
        }
    }

    pub(super) fn take_warnings(&mut self) -> Vec<(u32, Warning)> {
        std::mem::take(&mut self.warnings)
    }

    /// Says that the last row may not be written.
    pub(super) fn bar(&mut self, why: Rejection) {
        self.barred.push((self.keys.len() - 1, why));
    }

    pub(super) fn push(
        &mut self,
        envelope: &Envelope<'_>,
        organization: Option<&OrganizationId>,
        values: &Values<'_>,
        index: u32,
    ) {
        let owner = organization.map(OrganizationId::as_str);
        let named = owner.unwrap_or_default();
        let content = &mut self.content;
        content.begin(&envelope.event_type, named, envelope.occurred_at);
        self.organization_id.append_option(owner);
        self.at.append_value(envelope.occurred_at);
        let row = self.keys.len();
        let columns = self.table.columns();
        let columns = columns.iter().zip(&mut self.columns).zip(&values.columns);
        for (place, ((column, builder), value)) in columns.enumerate() {
            if let Some(value) = value {
                builder.get_or_insert_with(|| Builder::new(column.kind)).append(row, value);
                value.hash_into(place, column.name, content);
            }
        }
        let attributes = values.attributes_json();
        if let Some(attributes) = &attributes {
            content.attributes(attributes);
        }
        self.attributes.append_option(attributes);
        self.event_id.append_value(&envelope.id);
        self.source.append_value(&envelope.source);
        self.content_hash.append_value(content.hash());
        self.keys.push(Key::of(named, &envelope.source, &envelope.id));
        self.index.push(index);
        if !values.others.is_empty() {
            self.warn(values, index);
        }
    }

    pub(super) fn finish(mut self) -> Result<Batch, Error> {
        let rows = self.keys.len();
        let mut arrays: Vec<ArrayRef> =
            vec![Arc::new(self.organization_id.finish()), Arc::new(self.at.finish())];
        let columns = self.columns.into_iter().zip(self.table.columns());
        arrays.extend(columns.map(|(builder, column)| match builder {
            Some(builder) => builder.finish(rows),
            None => new_null_array(&column.kind.data_type(), rows),
        }));
        arrays.push(Arc::new(self.attributes.finish()));
        arrays.push(Arc::new(self.event_id.finish()));
        arrays.push(Arc::new(self.source.finish()));
        arrays.push(no_text(rows));
        arrays.push(Arc::new(self.content_hash.finish()));
        // The builders begin with room for 1,024 values, and most requests bring fewer.
        arrays.iter_mut().for_each(|array| array.shrink_to_fit());
        let rows = RecordBatch::try_new(self.table.record_schema(), arrays)?;
        let Self { table, keys, index, barred, .. } = self;
        Ok(Batch { table, rows, keys, index, barred })
    }
}

impl Value<'_> {
    fn hash_into(&self, place: usize, name: &str, content: &mut Content) {
        match self {
            Self::Text(text) => content.text(place, name, text),
            Self::Count(count) => content.fixed(place, name, &count.to_le_bytes()),
            Self::Flag(flag) => content.fixed(place, name, &[u8::from(*flag)]),
            Self::Money(amount) => content.fixed(place, name, &amount.to_le_bytes()),
            Self::Time(at) => content.fixed(place, name, &at.to_le_bytes()),
        }
    }
}

impl Builder {
    fn new(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Text => Self::Text(StringBuilder::new()),
            ColumnType::Count => Self::Count(Int64Builder::new()),
            ColumnType::Flag => Self::Flag(BooleanBuilder::new()),
            ColumnType::Money => {
                Self::Money(Decimal128Builder::new().with_data_type(ColumnType::Money.data_type()))
            }
            ColumnType::Time => Self::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
        }
    }

    /// Puts a value of this builder's kind into a row; rows without one that were passed over are null.
    fn append(&mut self, row: usize, value: &Value<'_>) {
        self.fill(row);
        match (self, value) {
            (Self::Text(b), Value::Text(text)) => b.append_value(text),
            (Self::Count(b), Value::Count(count)) => b.append_value(*count),
            (Self::Flag(b), Value::Flag(flag)) => b.append_value(*flag),
            (Self::Money(b), Value::Money(amount)) => b.append_value(*amount),
            (Self::Time(b), Value::Time(at)) => b.append_value(*at),
            _ => {}
        }
    }

    /// Nulls up to a row.
    fn fill(&mut self, row: usize) {
        match self {
            Self::Text(b) if b.len() < row => b.append_nulls(row - b.len()),
            Self::Count(b) if b.len() < row => b.append_nulls(row - b.len()),
            Self::Flag(b) if b.len() < row => b.append_nulls(row - b.len()),
            Self::Money(b) if b.len() < row => b.append_nulls(row - b.len()),
            Self::Time(b) if b.len() < row => b.append_nulls(row - b.len()),
            _ => {}
        }
    }

    fn finish(mut self, rows: usize) -> ArrayRef {
        self.fill(rows);
        match self {
            Self::Text(mut b) => Arc::new(b.finish()),
            Self::Count(mut b) => Arc::new(b.finish()),
            Self::Flag(mut b) => Arc::new(b.finish()),
            Self::Money(mut b) => Arc::new(b.finish()),
            Self::Time(mut b) => Arc::new(b.finish()),
        }
    }
}

/// Rejected events on their way to the dead-letter table.
#[derive(Debug)]
pub(super) struct DeadLetters<'a> {
    received_at: Micros,
    sender: &'static str,
    erased: &'a Lookup<'a>,
    organization_id: StringBuilder,
    code: StringBuilder,
    pointer: StringBuilder,
    reason: StringBuilder,
    raw: StringBuilder,
    rows: usize,
}

/// The `source` of a letter: whose key sent the event.
pub const SENT_BY_ORGANIZATION: &str = "organization";
pub const SENT_BY_PLATFORM: &str = "platform";
/// A key of the platform that may not write everything.
pub const SENT_BY_NARROWED: &str = "narrowed";
/// Bytes kept of a rejected event.
pub(super) const RAW_BYTES_MAX: usize = 16 * 1024;

impl<'a> DeadLetters<'a> {
    /// Letters of one sender.
    pub(super) fn new(received_at: Micros, sender: &'static str, erased: &'a Lookup<'a>) -> Self {
        Self {
            received_at,
            sender,
            erased,
            organization_id: StringBuilder::new(),
            code: StringBuilder::new(),
            pointer: StringBuilder::new(),
            reason: StringBuilder::new(),
            raw: StringBuilder::new(),
            rows: 0,
        }
    }

    pub(super) fn push(&mut self, organization: Option<&str>, why: &Rejection, raw: &str) {
        self.organization_id.append_option(organization);
        self.code.append_value(why.code.as_str());
        self.pointer.append_value(&why.pointer);
        if self.erased.is_named_in(raw, organization) {
            self.reason.append_value(LETTER_REASON);
            self.raw.append_null();
        } else {
            self.reason.append_value(&why.reason);
            self.raw.append_value(&raw[..raw.floor_char_boundary(RAW_BYTES_MAX)]);
        }
        self.rows += 1;
    }

    pub(super) fn finish(mut self) -> Result<Option<Batch>, Error> {
        if self.rows == 0 {
            return Ok(None);
        }
        let at = arrow::array::TimestampMicrosecondArray::from_value(self.received_at, self.rows)
            .with_timezone("UTC");
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(self.organization_id.finish()),
            Arc::new(at),
            Arc::new(self.code.finish()),
            Arc::new(self.pointer.finish()),
            Arc::new(self.reason.finish()),
            Arc::new(self.raw.finish()),
        ];
        arrays.extend([no_text(self.rows), no_text(self.rows)]);
        arrays.push(Arc::new(StringArray::from_iter_values(vec![self.sender; self.rows])));
        arrays.push(no_text(self.rows));
        arrays.push(new_null_array(&arrow::datatypes::DataType::Int64, self.rows));
        let rows = RecordBatch::try_new(Table::DeadLetter.record_schema(), arrays)?;
        let table = Table::DeadLetter;
        let (keys, index, barred) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Some(Batch { table, rows, keys, index, barred }))
    }
}

fn no_text(rows: usize) -> ArrayRef {
    new_null_array(&arrow::datatypes::DataType::Utf8, rows)
}
