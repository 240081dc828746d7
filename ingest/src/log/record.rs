//! The bytes of a record and of a segment's head.
//!
//! ```text
//! segment: "AIHUBLOG" · format u32 · log id i64 · first LSN u64 · records…
//! record:  length u32 · CRC32C u32 · body            (length and CRC cover the body)
//! body:    first LSN u64 · first LSN of its group u64 · ingested_at i64 · rows u32 · table u8
//!          · table format u8 · columns u64 · length u32 · Arrow IPC message · Arrow IPC buffers
//! ```
//! Integers are little-endian. The Arrow schema is not repeated: table, table format and `columns` tell it. A
//! column whose bit is not set is null in every row. In table format 1 every column is there, and no `columns`.

use std::{collections::HashMap, io::Write, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, new_null_array},
    buffer::Buffer,
    datatypes::FieldRef,
    error::ArrowError,
    ipc::{
        self,
        writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions},
    },
    record_batch::RecordBatch,
};

use super::{LogId, Lsn};
use crate::{Error, Table, time::Micros};

/// The rows of one table that one group commit wrote.
#[derive(Debug, Clone)]
pub struct Record {
    pub table: Table,
    pub first_lsn: Lsn,
    pub ingested_at: Micros,
    /// Shaped as [`Table::record_schema`]. The LSN of row `i` is `first_lsn + i`.
    pub rows: RecordBatch,
}

pub(super) const SEGMENT_HEAD: usize = 28;
pub(super) const RECORD_HEAD: usize = 8;
const BODY_HEAD: usize = 8 + 8 + 8 + 4 + 1 + 1;
const MAGIC: &[u8; 8] = b"AIHUBLOG";
const SEGMENT_FORMAT: u32 = 1;
const TABLE_FORMAT: u8 = 2;
const FIRST_TABLE_FORMAT: u8 = 1;
/// Longer than any group: a length beyond it is not a record.
pub(super) const RECORD_BYTES_MAX: usize = 256 << 20;

impl Record {
    pub fn last_lsn(&self) -> Lsn {
        self.first_lsn + self.rows.num_rows() as Lsn - 1
    }

    /// The last LSN of a body, without decoding its rows.
    pub(super) fn last_lsn_of(body: &[u8]) -> Option<Lsn> {
        let first = Lsn::from_le_bytes(body.get(..8)?.try_into().ok()?);
        let rows = u32::from_le_bytes(body.get(24..28)?.try_into().ok()?);
        first.checked_add(Lsn::from(rows))?.checked_sub(1)
    }

    /// The first LSN that was synced together with a body's rows.
    pub(super) fn group_of(body: &[u8]) -> Option<Lsn> {
        Some(Lsn::from_le_bytes(body.get(8..16)?.try_into().ok()?))
    }

    /// Appends the record's bytes to `out`. `group` is the first LSN that is synced together with it.
    pub(super) fn encode(&self, group: Lsn, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        out.extend_from_slice(&[0; RECORD_HEAD]);
        out.extend_from_slice(&self.first_lsn.to_le_bytes());
        out.extend_from_slice(&group.to_le_bytes());
        out.extend_from_slice(&self.ingested_at.to_le_bytes());
        out.extend_from_slice(&word(self.rows.num_rows()).to_le_bytes());
        out.extend_from_slice(&[self.table as u8, TABLE_FORMAT]);
        // Most senders leave many columns out: they are a third of the bytes.
        let held = |(_, column): &(usize, &ArrayRef)| column.null_count() < column.len();
        let held = self.rows.columns().iter().enumerate().filter(held).map(|(place, _)| place);
        let held: Vec<usize> = held.collect();
        let columns = held.iter().fold(0, |columns: u64, place| columns | 1 << place);
        out.extend_from_slice(&columns.to_le_bytes());
        let (_, encoded) = IpcDataGenerator::default().encode(
            &self.rows.project(&held)?,
            &mut DictionaryTracker::new(false),
            &IpcWriteOptions::default(),
            &mut Default::default(),
        )?;
        out.extend_from_slice(&word(encoded.ipc_message.len()).to_le_bytes());
        out.extend_from_slice(&encoded.ipc_message);
        out.extend_from_slice(&encoded.arrow_data);
        let body = &out[start + RECORD_HEAD..];
        let (length, crc) = (word(body.len()), crc32c::crc32c(body));
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        Ok(())
    }

    /// Decodes a body whose CRC was right. `None` when it was not written by this format.
    pub(super) fn decode(body: &[u8]) -> Option<Result<Self, ArrowError>> {
        let first_lsn = u64::from_le_bytes(body.get(..8)?.try_into().ok()?);
        let ingested_at = i64::from_le_bytes(body.get(16..24)?.try_into().ok()?);
        let [table, format] = *body.get(28..BODY_HEAD)? else { return None };
        let table = Table::from_code(table)?;
        let (columns, rest) = match format {
            TABLE_FORMAT => {
                let (columns, rest) = body.get(BODY_HEAD..)?.split_first_chunk()?;
                (u64::from_le_bytes(*columns), rest)
            }
            FIRST_TABLE_FORMAT => (u64::MAX, body.get(BODY_HEAD..)?),
            _ => return None,
        };
        let (length, rest) = rest.split_first_chunk()?;
        let (message, data) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let rows = decode_rows(table, columns, message, data);
        Some(rows.map(|rows| Self { table, first_lsn, ingested_at, rows }))
    }
}

fn decode_rows(
    table: Table,
    columns: u64,
    message: &[u8],
    data: &[u8],
) -> Result<RecordBatch, ArrowError> {
    let message =
        ipc::root_as_message(message).map_err(|error| ArrowError::IpcError(error.to_string()))?;
    let header = message
        .header_as_record_batch()
        .ok_or_else(|| ArrowError::IpcError("not a record batch".into()))?;
    let schema = table.record_schema();
    let is_held = |place: &usize| columns >> place & 1 == 1;
    let held: Vec<usize> = (0..schema.fields().len()).filter(is_held).collect();
    let rows = ipc::reader::read_record_batch(
        &Buffer::from(data),
        header,
        Arc::new(schema.project(&held)?),
        &HashMap::new(),
        None,
        &message.version(),
    )?;
    if held.len() == schema.fields().len() {
        return Ok(rows);
    }
    let mut columns = rows.columns().iter();
    let column = |(place, field): (usize, &FieldRef)| match is_held(&place) {
        true => columns.next().map(Arc::clone),
        false => Some(new_null_array(field.data_type(), rows.num_rows())),
    };
    let columns: Option<_> = schema.fields().iter().enumerate().map(column).collect();
    let columns = columns.ok_or_else(|| ArrowError::IpcError("a column is missing".into()))?;
    RecordBatch::try_new(Arc::clone(&schema), columns)
}

pub(super) fn segment_head(log: LogId, first: Lsn) -> Vec<u8> {
    let mut head = Vec::with_capacity(SEGMENT_HEAD);
    let _ = head.write_all(MAGIC);
    head.extend_from_slice(&SEGMENT_FORMAT.to_le_bytes());
    head.extend_from_slice(&log.0.to_le_bytes());
    head.extend_from_slice(&first.to_le_bytes());
    head
}

/// Whether `head` begins a segment of this log that starts at `first`.
pub(super) fn is_segment_head(head: &[u8], log: LogId, first: Lsn) -> bool {
    head == segment_head(log, first)
}

/// The length and CRC at the head of a record.
pub(super) fn record_head(head: [u8; RECORD_HEAD]) -> (usize, u32) {
    let [a, b, c, d, e, f, g, h] = head;
    (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]))
}

fn word(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
