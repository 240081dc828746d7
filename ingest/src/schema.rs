//! The tables and their columns. A column list is a contract: columns are appended, never moved or renamed,
//! since log records and Parquet files of any age are read by it.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::money;

/// A table of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    UsageLedger = 1,
    BillingEvents = 2,
    ActivityEvents = 3,
    DeadLetter = 4,
    Organizations = 5,
    ApiKeys = 6,
    RatedUsageDaily = 7,
    InvoiceLines = 8,
}

/// The type of a column, as the sender sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    /// A whole number, never negative.
    Count,
    Flag,
    /// A decimal, sent as text or as a JSON number.
    Money,
    /// RFC 3339.
    Time,
}

/// One column that a sender may fill.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnType,
    /// Says something of a person. It is emptied, as `attributes` are, where the person is erased.
    pub is_personal: bool,
    /// Organizations do not have it: what AI Hub pays is not their business.
    pub is_for_staff: bool,
    /// It may be below zero: a difference to what was said before.
    pub is_signed: bool,
}

const fn column(name: &'static str, kind: ColumnType) -> Column {
    Column { name, kind, is_personal: false, is_for_staff: false, is_signed: false }
}
const fn text(name: &'static str) -> Column {
    column(name, ColumnType::Text)
}
const fn personal(name: &'static str) -> Column {
    Column { is_personal: true, ..column(name, ColumnType::Text) }
}
const fn count(name: &'static str) -> Column {
    column(name, ColumnType::Count)
}
const fn money(name: &'static str) -> Column {
    column(name, ColumnType::Money)
}
const fn difference(name: &'static str) -> Column {
    Column { is_signed: true, ..money(name) }
}
const fn time(name: &'static str) -> Column {
    column(name, ColumnType::Time)
}

/// The columns that hold pseudonyms of persons: of a user, and of a visitor.
pub(crate) const USER_ID: &str = "user_id";
pub(crate) const ANONYMOUS_ID: &str = "anonymous_id";

const USAGE: &[Column] = &[
    text("project_id"),
    text("api_key_id"),
    personal(USER_ID),
    personal("session_id"),
    text("model"),
    text("provider"),
    text("operation"),
    text("service_tier"),
    text("feature"),
    count("input_tokens"),
    count("cached_input_tokens"),
    count("cache_write_input_tokens"),
    count("output_tokens"),
    count("reasoning_tokens"),
    count("audio_input_tokens"),
    count("audio_output_tokens"),
    count("images"),
    count("status_code"),
    text("error_code"),
    count("latency_ms"),
    count("time_to_first_token_ms"),
    column("cache_hit", ColumnType::Flag),
    text("region"),
    Column { is_for_staff: true, ..money("cost") },
    money("list_price"),
    text("currency"),
];

const BILLING: &[Column] = &[
    text("kind"),
    text("subscription_id"),
    text("invoice_id"),
    text("plan"),
    text("previous_plan"),
    count("quantity"),
    money("amount"),
    text("currency"),
    text("billing_interval"),
    text("reason"),
];

const ACTIVITY: &[Column] = &[
    text("action"),
    personal(ANONYMOUS_ID),
    personal(USER_ID),
    personal("session_id"),
    text("feature"),
    personal("path"),
    personal("referrer"),
    text("device"),
    text("country"),
];

const DEAD_LETTER: &[Column] = &[text("code"), text("pointer"), text("reason"), text("raw")];

const ORGANIZATIONS: &[Column] =
    &[text("name"), text("kind"), text("plan"), text("country"), time("signed_up_at")];

const API_KEYS: &[Column] = &[
    text("api_key_id"),
    text("name"),
    text("start"),
    text("scopes"),
    time("created_at"),
    time("expires_at"),
    time("revoked_at"),
];

const RATED_USAGE_DAILY: &[Column] = &[
    text("subscription_id"),
    time("period_start"),
    text("plan"),
    text("price_version"),
    text("charge"),
    text("meter"),
    difference("quantity"),
    difference("amount"),
    text("currency"),
];

const INVOICE_LINES: &[Column] = &[
    text("invoice_id"),
    text("number"),
    text("kind"),
    count("line"),
    text("subscription_id"),
    time("period_start"),
    time("period_end"),
    text("plan"),
    text("price_version"),
    text("charge"),
    text("meter"),
    difference("quantity"),
    difference("amount"),
    text("currency"),
];

impl ColumnType {
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Count => DataType::Int64,
            Self::Flag => DataType::Boolean,
            Self::Money => DataType::Decimal128(money::PRECISION, money::SCALE),
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

impl Column {
    /// Whether a person may have written it, with lines: all the others are ids, names and words of a program.
    pub(crate) fn is_prose(&self) -> bool {
        matches!(self.name, "reason" | "path" | "referrer")
    }

    /// Whether it holds the pseudonym of a person.
    pub(crate) fn is_person(&self) -> bool {
        matches!(self.name, USER_ID | ANONYMOUS_ID)
    }
}

/// Columns that every table ends with, after the sender's own: where the row came from.
const PROVENANCE: usize = 8;

impl Table {
    /// The tables that events fill.
    pub const OF_EVENTS: [Self; 3] = [Self::UsageLedger, Self::BillingEvents, Self::ActivityEvents];

    pub const ALL: [Self; 8] = [
        Self::UsageLedger,
        Self::BillingEvents,
        Self::ActivityEvents,
        Self::DeadLetter,
        Self::Organizations,
        Self::ApiKeys,
        Self::RatedUsageDaily,
        Self::InvoiceLines,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::UsageLedger => "usage_ledger",
            Self::BillingEvents => "billing_events",
            Self::ActivityEvents => "activity_events",
            Self::DeadLetter => "dead_letter",
            Self::Organizations => "organizations",
            Self::ApiKeys => "api_keys",
            Self::RatedUsageDaily => "rated_usage_daily",
            Self::InvoiceLines => "invoice_lines",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u8 == code)
    }

    /// The columns a sender may fill, besides `organization_id` and `occurred_at`.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::UsageLedger => USAGE,
            Self::BillingEvents => BILLING,
            Self::ActivityEvents => ACTIVITY,
            Self::DeadLetter => DEAD_LETTER,
            Self::Organizations => ORGANIZATIONS,
            Self::ApiKeys => API_KEYS,
            Self::RatedUsageDaily => RATED_USAGE_DAILY,
            Self::InvoiceLines => INVOICE_LINES,
        }
    }

    /// The place of a column among [`Self::columns`]. The search begins at `near`: senders name columns in one
    /// order, so the next one is mostly there.
    pub(crate) fn place(self, name: &str, near: usize) -> Option<usize> {
        let columns = self.columns();
        let near = near.min(columns.len());
        let is_it = |place: &usize| columns[*place].name == name;
        (near..columns.len()).find(is_it).or_else(|| (0..near).find(is_it))
    }

    /// The name of the column that says when the fact happened; rows are sorted by it within an organization.
    pub fn time_column(self) -> &'static str {
        match self {
            Self::DeadLetter => "received_at",
            Self::Organizations | Self::ApiKeys => "changed_at",
            _ => "occurred_at",
        }
    }

    /// Whether the table is partitioned by `event_date`, the UTC date of its time column.
    pub fn is_partitioned(self) -> bool {
        !self.is_dimension()
    }

    /// A mirror of relational state: the latest row of a key is the one that counts.
    pub fn is_dimension(self) -> bool {
        matches!(self, Self::Organizations | Self::ApiKeys)
    }

    /// The column that names the thing a dimension's row describes.
    pub fn dimension_key(self) -> &'static str {
        match self {
            Self::ApiKeys => "api_key_id",
            _ => "organization_id",
        }
    }

    /// The whole row as it is read: `organization_id`, the time, the sender's columns, `attributes`,
    /// `event_id`, `source`, `corrects_id`, `content_hash`, `ingested_at`, `log`, `lsn`, and `event_date` where
    /// the table is partitioned by it.
    pub fn schema(self) -> SchemaRef {
        Arc::clone(&SCHEMAS[self as usize - 1].0)
    }

    /// The row as a log record holds it: without what its header and its position tell.
    pub fn record_schema(self) -> SchemaRef {
        Arc::clone(&SCHEMAS[self as usize - 1].1)
    }
}

/// For each table its schema when read, and its schema in a log record.
static SCHEMAS: LazyLock<Vec<(SchemaRef, SchemaRef)>> =
    LazyLock::new(|| Table::ALL.into_iter().map(schemas).collect());

fn schemas(table: Table) -> (SchemaRef, SchemaRef) {
    let time = ColumnType::Time.data_type();
    let mut fields = vec![
        Field::new("organization_id", DataType::Utf8, true),
        Field::new(table.time_column(), time.clone(), false),
    ];
    let columns = table.columns().iter();
    fields.extend(columns.map(|column| Field::new(column.name, column.kind.data_type(), true)));
    let provenance: [Field; PROVENANCE] = [
        Field::new("attributes", DataType::Utf8, true),
        Field::new("event_id", DataType::Utf8, true),
        Field::new("source", DataType::Utf8, true),
        Field::new("corrects_id", DataType::Utf8, true),
        Field::new("content_hash", DataType::Int64, true),
        Field::new("ingested_at", time, false),
        Field::new("log", DataType::Int64, false),
        Field::new("lsn", DataType::Int64, false),
    ];
    fields.extend(provenance);
    let held = fields.len() - 3;
    let record = Schema::new(fields[..held].to_vec());
    if table.is_partitioned() {
        fields.push(Field::new("event_date", DataType::Date32, true));
    }
    (Arc::new(Schema::new(fields)), Arc::new(record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_lead_back() {
        for table in Table::ALL {
            assert_eq!(Table::parse(table.name()), Some(table));
            assert_eq!(Table::from_code(table as u8), Some(table));
        }
        assert_eq!(Table::from_code(0), None);
    }

    #[test]
    fn columns_are_found_from_anywhere() {
        for table in Table::ALL {
            for (place, column) in table.columns().iter().enumerate() {
                for near in [0, place, place + 1, usize::MAX] {
                    assert_eq!(table.place(column.name, near), Some(place));
                }
            }
            assert_eq!(table.place("nothing", 3), None);
        }
    }

    #[test]
    fn a_read_row_is_the_record_and_its_provenance() {
        for table in Table::ALL {
            let (read, record) = (table.schema(), table.record_schema());
            assert_eq!(&read.fields()[..record.fields().len()], &record.fields()[..]);
            let names: Vec<_> =
                read.fields()[record.fields().len()..].iter().map(|f| f.name().as_str()).collect();
            let partitioned = ["ingested_at", "log", "lsn", "event_date"];
            let expected =
                if table.is_partitioned() { &partitioned[..] } else { &partitioned[..3] };
            assert_eq!(names, expected);
        }
    }
}
