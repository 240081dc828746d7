//! The bytes of a record and of a segment's head.
//!
//! ```text
//! segment: "AIHUBLOG" · format u32 · log id i64 · first LSN u64 · records…
//! record:  length u32 · CRC32C u32 · body            (length and CRC cover the body)
//! body:    first LSN u64 · first LSN of its group u64 · ingested_at i64 · rows u32 · table u8
//!          · table format u8 · length u32 · Arrow IPC message · Arrow IPC buffers
//! ```
//! Integers are little-endian. The Arrow schema is not repeated: table and table format tell it.

use std::{collections::HashMap, io::Write};

use arrow::{
    buffer::Buffer,
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
const TABLE_FORMAT: u8 = 1;
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
        let (_, encoded) = IpcDataGenerator::default().encode(
            &self.rows,
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
        if format != TABLE_FORMAT {
            return None;
        }
        let table = Table::from_code(table)?;
        let length = u32::from_le_bytes(body.get(BODY_HEAD..BODY_HEAD + 4)?.try_into().ok()?);
        let (message, data) = body.get(BODY_HEAD + 4..)?.split_at_checked(length as usize)?;
        let rows = decode_rows(table, message, data);
        Some(rows.map(|rows| Self { table, first_lsn, ingested_at, rows }))
    }
}

fn decode_rows(table: Table, message: &[u8], data: &[u8]) -> Result<RecordBatch, ArrowError> {
    let message =
        ipc::root_as_message(message).map_err(|error| ArrowError::IpcError(error.to_string()))?;
    let header = message
        .header_as_record_batch()
        .ok_or_else(|| ArrowError::IpcError("not a record batch".into()))?;
    ipc::reader::read_record_batch(
        &Buffer::from(data),
        header,
        table.record_schema(),
        &HashMap::new(),
        None,
        &message.version(),
    )
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
