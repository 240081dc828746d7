//! A rejected event as its table holds it.

use std::fmt;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, Utc};
use ingest::decode;

use super::LetterView;

/// What [`read`] reads.
pub(super) const SELECT: &str = "select log, lsn, received_at, organization_id, code, pointer, reason, raw, source \
                                 from dead_letter";

/// A row's place in its log, which no other row has: a letter's id. Its text is both numbers in base 36.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeadLetterId {
    pub(super) log: i64,
    pub(super) lsn: i64,
}

#[derive(Debug, Clone)]
pub(super) struct DeadLetter {
    pub(super) place: DeadLetterId,
    pub(super) received_at: DateTime<Utc>,
    pub(super) organization_id: Option<String>,
    pub(super) code: String,
    pub(super) pointer: String,
    pub(super) reason: String,
    /// Whose key sent it; none of a letter from before that was kept.
    pub(super) sender: Option<String>,
    /// None once a person whom it named was erased.
    pub(super) raw: Option<String>,
}

impl DeadLetterId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (log, lsn) = text.split_once('.')?;
        let number = |text| i64::from_str_radix(text, 36).ok().filter(|number| *number >= 0);
        Some(Self { log: number(log)?, lsn: number(lsn)? })
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [log, lsn] = [self.log, self.lsn].map(|n| pipeline::cut::base36(n.unsigned_abs()));
        write!(f, "{log}.{lsn}")
    }
}

/// The rows of an answer to [`SELECT`]; `None` when they are no such rows.
pub(super) fn read(batches: &[RecordBatch]) -> Option<Vec<DeadLetter>> {
    let mut letters = Vec::new();
    for batch in batches {
        let number = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
        let text = |name: &str, row: usize| {
            let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let (logs, lsns) = (number("log")?, number("lsn")?);
        let times =
            batch.column_by_name("received_at")?.as_primitive_opt::<TimestampMicrosecondType>()?;
        for row in 0..batch.num_rows() {
            letters.push(DeadLetter {
                place: DeadLetterId { log: logs.value(row), lsn: lsns.value(row) },
                received_at: DateTime::from_timestamp_micros(times.value(row))?,
                organization_id: text("organization_id", row),
                code: text("code", row)?,
                pointer: text("pointer", row)?,
                reason: text("reason", row)?,
                sender: text("source", row),
                raw: text("raw", row),
            });
        }
    }
    Some(letters)
}

impl From<DeadLetter> for LetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: letter.place.to_string(),
            received_at: letter.received_at,
            organization_id: letter.organization_id,
            code: letter.code,
            pointer: letter.pointer,
            reason: letter.reason,
            truncated: letter.raw.as_deref().is_some_and(decode::is_cut),
            raw: letter.raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back() {
        let place = DeadLetterId { log: i64::MAX, lsn: 12_345 };
        assert_eq!(DeadLetterId::parse(&place.to_string()), Some(place));
        for bad in ["", ".", "a.", ".1", "-1.2", "1.-2", "1.2.3", "zzzzzzzzzzzzzzzz.1", "1,2"] {
            assert_eq!(DeadLetterId::parse(bad), None, "{bad}");
        }
    }
}
