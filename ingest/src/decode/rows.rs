//! Gathers the rows of one table into Arrow columns.

use std::sync::Arc;

use arrow::{
    array::{
        Array as _, ArrayRef, BooleanBuilder, Decimal128Builder, Int64Builder, StringBuilder,
        TimestampMicrosecondBuilder,
    },
    record_batch::RecordBatch,
};

use super::{
    Batch,
    data::{Value, Values},
    envelope::Envelope,
};
use crate::{
    Error, OrganizationId, Rejection, Table,
    erasure::{LETTER_REASON, Lookup},
    identity::{Content, Key},
    money,
    schema::Kind,
    time::Micros,
};

/// The rows of one table so far.
#[derive(Debug)]
pub(super) struct Rows {
    table: Table,
    organization_id: StringBuilder,
    at: TimestampMicrosecondBuilder,
    columns: Vec<Builder>,
    attributes: StringBuilder,
    event_id: StringBuilder,
    source: StringBuilder,
    content_hash: Int64Builder,
    content: Content,
    keys: Vec<Key>,
    index: Vec<u32>,
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
            columns: table.columns().iter().map(|column| Builder::new(column.kind)).collect(),
            attributes: StringBuilder::new(),
            event_id: StringBuilder::new(),
            source: StringBuilder::new(),
            content_hash: Int64Builder::new(),
            content: Content::default(),
            keys: Vec::new(),
            index: Vec::new(),
        }
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
        let columns = self.table.columns();
        for ((column, builder), value) in columns.iter().zip(&mut self.columns).zip(&values.columns)
        {
            builder.append(value.as_ref());
            if let Some(value) = value {
                value.hash_into(column.name, content);
            }
        }
        let attributes = values.attributes_json();
        if let Some(attributes) = &attributes {
            content.column("attributes", attributes.as_bytes());
        }
        self.attributes.append_option(attributes);
        self.event_id.append_value(&envelope.id);
        self.source.append_value(&envelope.source);
        self.content_hash.append_value(content.hash());
        self.keys.push(Key::of(named, &envelope.source, &envelope.id));
        self.index.push(index);
    }

    pub(super) fn finish(mut self) -> Result<Batch, Error> {
        let rows = self.keys.len();
        let mut arrays: Vec<ArrayRef> =
            vec![Arc::new(self.organization_id.finish()), Arc::new(self.at.finish())];
        arrays.extend(self.columns.into_iter().map(Builder::finish));
        arrays.push(Arc::new(self.attributes.finish()));
        arrays.push(Arc::new(self.event_id.finish()));
        arrays.push(Arc::new(self.source.finish()));
        arrays.push(no_text(rows));
        arrays.push(Arc::new(self.content_hash.finish()));
        // The builders begin with room for 1,024 values, and most requests bring fewer.
        arrays.iter_mut().for_each(|array| array.shrink_to_fit());
        let rows = RecordBatch::try_new(self.table.record_schema(), arrays)?;
        Ok(Batch { table: self.table, rows, keys: self.keys, index: self.index })
    }
}

impl Value<'_> {
    fn hash_into(&self, name: &str, content: &mut Content) {
        match self {
            Self::Text(text) => content.column(name, text.as_bytes()),
            Self::Count(count) => content.column(name, &count.to_le_bytes()),
            Self::Flag(flag) => content.column(name, &[u8::from(*flag)]),
            Self::Money(amount) => content.column(name, &amount.to_le_bytes()),
            Self::Time(at) => content.column(name, &at.to_le_bytes()),
        }
    }
}

impl Builder {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Count => Self::Count(Int64Builder::new()),
            Kind::Flag => Self::Flag(BooleanBuilder::new()),
            Kind::Money => Self::Money(Decimal128Builder::new().with_data_type(
                arrow::datatypes::DataType::Decimal128(money::PRECISION, money::SCALE),
            )),
            Kind::Time => Self::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
        }
    }

    /// Appends a value of this builder's kind, or null.
    fn append(&mut self, value: Option<&Value<'_>>) {
        match (self, value) {
            (Self::Text(b), Some(Value::Text(text))) => b.append_value(text),
            (Self::Text(b), _) => b.append_null(),
            (Self::Count(b), Some(Value::Count(count))) => b.append_value(*count),
            (Self::Count(b), _) => b.append_null(),
            (Self::Flag(b), Some(Value::Flag(flag))) => b.append_value(*flag),
            (Self::Flag(b), _) => b.append_null(),
            (Self::Money(b), Some(Value::Money(amount))) => b.append_value(*amount),
            (Self::Money(b), _) => b.append_null(),
            (Self::Time(b), Some(Value::Time(at))) => b.append_value(*at),
            (Self::Time(b), _) => b.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
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
    erased: &'a Lookup<'a>,
    organization_id: StringBuilder,
    code: StringBuilder,
    pointer: StringBuilder,
    reason: StringBuilder,
    raw: StringBuilder,
    rows: usize,
}

/// Bytes kept of a rejected event.
pub(super) const RAW_BYTES_MAX: usize = 16 * 1024;

impl<'a> DeadLetters<'a> {
    pub(super) fn new(received_at: Micros, erased: &'a Lookup<'a>) -> Self {
        Self {
            received_at,
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
        arrays.extend((0..4).map(|_| no_text(self.rows)));
        arrays.push(arrow::array::new_null_array(&arrow::datatypes::DataType::Int64, self.rows));
        let rows = RecordBatch::try_new(Table::DeadLetter.record_schema(), arrays)?;
        Ok(Some(Batch { table: Table::DeadLetter, rows, keys: Vec::new(), index: Vec::new() }))
    }
}

fn no_text(rows: usize) -> ArrayRef {
    arrow::array::new_null_array(&arrow::datatypes::DataType::Utf8, rows)
}
