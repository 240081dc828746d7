//! What a reader makes of a log that a crash, a power loss or a bad disk left behind.

use std::{fs, path::Path};

use super::*;
use crate::{
    Table,
    decode::{Form, Sender, decode},
    identity::Pseudonyms,
};

const LOG: LogId = LogId(77);

/// A record of `rows` usage events, beginning at `first_lsn`.
fn record(first_lsn: Lsn, rows: usize) -> Record {
    let lines: String = (0..rows)
        .map(|row| {
            format!(
                "{{\"id\":\"{first_lsn}-{row}\",\"source\":\"/s\",\"type\":\"usage.request\",\"subject\":\"o\",\
                 \"time\":\"2026-01-01T00:00:00Z\",\"data\":{{\"model\":\"m\",\"list_price\":\"0.1\",\"currency\":\"USD\"}}}}\n"
            )
        })
        .collect();
    let sender = Sender { organization: None, pseudonyms: &Pseudonyms::new([1; 32]) };
    let mut decoded = decode(Form::Ndjson, lines.as_bytes(), &sender, 9).unwrap().unwrap();
    let rows = decoded.batches.remove(0).rows;
    Record { table: Table::UsageLedger, first_lsn, ingested_at: 9, rows }
}

/// A closed log of these groups, each a list of row counts.
fn write(dir: &Path, groups: &[&[usize]]) {
    let (mut writer, _) = LogWriter::open(dir, LOG).unwrap();
    for group in groups {
        let mut records = Vec::new();
        let mut next = writer.next_lsn();
        for rows in *group {
            records.push(record(next, *rows));
            next += *rows as Lsn;
        }
        writer.append(&records).unwrap();
    }
}

fn segment(dir: &Path) -> PathBuf {
    segments(dir).unwrap().remove(0).1
}

/// The rows that a new writer finds.
fn reopened(dir: &Path) -> Result<usize, Error> {
    let (_, mut tail) = LogWriter::open(dir, LOG)?;
    Ok(tail.take().map(|record| record.rows.num_rows()).sum())
}

#[test]
fn what_is_written_is_read_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[&[2], &[3, 1]]);
    let (writer, mut tail) = LogWriter::open(dir.path(), LOG).unwrap();
    let records: Vec<_> = tail.take().collect();
    assert_eq!(writer.next_lsn(), 7);
    assert_eq!(records.iter().map(|r| r.first_lsn).collect::<Vec<_>>(), [1, 3, 6]);
    assert_eq!(records[1].rows, record(3, 3).rows);
    assert!(matches!(LogWriter::open(dir.path(), LOG), Err(Error::Locked(_))));
}

#[test]
fn a_torn_last_group_is_cut_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[&[2]]);
    let whole = fs::metadata(segment(dir.path())).unwrap().len();
    write(dir.path(), &[&[1]]);
    let bytes = fs::read(segment(dir.path())).unwrap();
    for length in (whole..bytes.len() as u64).rev() {
        fs::write(segment(dir.path()), &bytes[..length as usize]).unwrap();
        assert_eq!(reopened(dir.path()).unwrap(), 2, "cut at byte {length}");
        assert_eq!(fs::metadata(segment(dir.path())).unwrap().len(), whole);
    }
}

#[test]
fn a_group_whose_first_pages_are_missing_is_cut_and_damage_before_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[&[1]]);
    let first = fs::metadata(segment(dir.path())).unwrap().len() as usize;
    write(dir.path(), &[&[1, 1]]);
    let bytes = fs::read(segment(dir.path())).unwrap();
    // The first record of the last group is lost, its second one reached the disk: never acknowledged.
    let mut torn = bytes.clone();
    torn[first + 40..first + 80].fill(0);
    fs::write(segment(dir.path()), &torn).unwrap();
    assert_eq!(reopened(dir.path()).unwrap(), 1);
    // The record of the first group was acknowledged before the second group was begun; its length, even.
    for place in [record::SEGMENT_HEAD, record::SEGMENT_HEAD + 40] {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0xff;
        fs::write(segment(dir.path()), &damaged).unwrap();
        assert!(matches!(reopened(dir.path()), Err(Error::Damaged { .. })), "at byte {place}");
    }
}

#[test]
fn a_flipped_bit_is_never_read_as_rows() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[&[2], &[1], &[3]]);
    let bytes = fs::read(segment(dir.path())).unwrap();
    // Seeded: the same 300 places each time.
    let mut place = 7_usize;
    for _ in 0..300 {
        place = (place * 48_271 + 11) % (bytes.len() * 8);
        let mut damaged = bytes.clone();
        damaged[place / 8] ^= 1 << (place % 8);
        fs::write(segment(dir.path()), &damaged).unwrap();
        match reopened(dir.path()) {
            // Only the last group may be taken for a torn one.
            Ok(rows) => assert!(rows == 3, "{rows} rows after bit {place}"),
            Err(error) => {
                assert!(matches!(error, Error::Damaged { .. } | Error::Gap { .. }), "{error}")
            }
        }
    }
}

#[test]
fn a_segment_without_a_head_and_retired_ones_are_no_trouble() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[&[2], &[1]]);
    fs::write(dir.path().join(format!("{:020}.seg", 4)), b"").unwrap();
    assert_eq!(reopened(dir.path()).unwrap(), 3);
    write(dir.path(), &[&[5]]);
    assert_eq!(segments(dir.path()).unwrap().len(), 2);
    retire(dir.path(), 3).unwrap();
    unlink_retired(dir.path(), 3).unwrap();
    assert_eq!(segments(dir.path()).unwrap().len(), 1);
    assert_eq!(reopened(dir.path()).unwrap(), 5);
    // Rows that the tables hold are passed over; a hole above them is not.
    fs::remove_file(dir.path().join("retired")).unwrap();
    assert!(matches!(reopened(dir.path()), Err(Error::Gap { .. })));
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("log.json"), "{\"format\":2,\"log\":1,\"shards\":64}").unwrap();
    assert!(matches!(LogWriter::open(dir.path(), LOG), Err(Error::NewerFormat { found: 2, .. })));
}
