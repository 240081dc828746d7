//! What a reader makes of a log that a crash, a power loss or a bad disk left behind.

use std::{fs, path::Path};

use super::*;
use crate::{
    Table,
    decode::{EventFormat, Sender, decode, own_row},
    identity::Pseudonyms,
    time::Window,
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
    let sender = Sender {
        organization: None,
        grant: &crate::Grant::ALL,
        pseudonyms: &Pseudonyms::new([1; 32]),
        window: Window::ANY,
        is_strict: false,
    };
    let mut decoded = decode(EventFormat::Ndjson, lines.as_bytes(), &sender, 9).unwrap().unwrap();
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

/// A folder in memory where there is one: these tests open a log ten thousand times, and each time it is synced.
fn folder_in_memory() -> tempfile::TempDir {
    match Path::new("/dev/shm") {
        memory if memory.is_dir() => tempfile::tempdir_in(memory).unwrap(),
        _ => tempfile::tempdir().unwrap(),
    }
}

#[test]
fn a_log_that_ends_anywhere_in_its_last_three_records_has_the_records_before() {
    let dir = folder_in_memory();
    write(dir.path(), &[&[2], &[1], &[3], &[1, 2]]);
    let bytes = fs::read(segment(dir.path())).unwrap();
    let places = places(&bytes);
    // Where each record ends, and the rows up to there. The last group has two.
    let ends = [(places[1], 2), (places[2], 3), (places[3], 6), (places[4], 7)];
    for length in places[2]..bytes.len() {
        fs::write(segment(dir.path()), &bytes[..length]).unwrap();
        let (end, rows) = ends.into_iter().rfind(|(end, _)| *end <= length).unwrap();
        assert_eq!(reopened(dir.path()).unwrap(), rows, "cut at byte {length}");
        assert_eq!(fs::metadata(segment(dir.path())).unwrap().len(), end as u64);
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
fn a_flipped_bit_is_never_read_as_rows_and_never_passed_over() {
    let dir = folder_in_memory();
    write(dir.path(), &[&[2], &[1], &[1, 2], &[3]]);
    let path = segment(dir.path());
    let bytes = fs::read(&path).unwrap();
    let last = places(&bytes)[4];
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..10_000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let bit = (seed % (bytes.len() as u64 * 8)) as usize;
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &damaged).unwrap();
        match reopened(dir.path()) {
            // Only the last group may be taken for a torn one.
            Ok(rows) => assert!(rows == 6 && bit / 8 >= last, "{rows} rows after bit {bit}"),
            Err(error) => {
                assert!(matches!(error, Error::Damaged { .. } | Error::Gap { .. }), "{error}");
                assert_eq!(fs::read(&path).unwrap(), damaged, "a damaged log is left as it is");
            }
        }
    }
}

#[test]
fn the_bytes_of_a_log_are_known_as_it_grows_and_shrinks() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = LogWriter::open(dir.path(), LOG).unwrap();
    let mut bytes = size_bytes(dir.path()).unwrap();
    for rows in [3, 500, 1] {
        bytes += writer.append(&[record(writer.next_lsn(), rows)]).unwrap().bytes;
        assert_eq!(size_bytes(dir.path()).unwrap(), bytes);
    }
    // The next segment is begun, so that this one can go.
    fs::write(dir.path().join(format!("{:020}.seg", writer.next_lsn())), b"").unwrap();
    assert_eq!(unlink_retired(dir.path(), 1).unwrap(), 0, "it is needed still");
    assert_eq!(unlink_retired(dir.path(), 504).unwrap(), bytes);
    assert_eq!(size_bytes(dir.path()).unwrap(), 0);
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
fn a_newer_format_is_refused_and_an_older_one_becomes_ours() {
    let dir = tempfile::tempdir().unwrap();
    let describe = |format: u32| {
        let text = format!("{{\"format\":{format},\"log\":{},\"shards\":64}}", LOG.0);
        fs::write(dir.path().join("log.json"), text).unwrap();
    };
    write(dir.path(), &[&[2]]);
    describe(FORMAT + 1);
    let refused = LogWriter::open(dir.path(), LOG);
    assert!(matches!(refused, Err(Error::NewerFormat { found, .. }) if found == FORMAT + 1));
    describe(1);
    assert_eq!(super::describe(dir.path()).unwrap().unwrap().format, 1, "reading changes nothing");
    assert_eq!(reopened(dir.path()).unwrap(), 2);
    assert_eq!(super::describe(dir.path()).unwrap().unwrap().format, FORMAT);
}

/// Where each record of a segment begins.
fn places(bytes: &[u8]) -> Vec<usize> {
    let mut places = vec![record::SEGMENT_HEAD];
    while let Some(head) = bytes[places[places.len() - 1]..].first_chunk() {
        let (length, _) = record::record_head(*head);
        places.push(places[places.len() - 1] + record::RECORD_HEAD + length);
    }
    places.pop();
    places
}

#[test]
fn a_damaged_length_does_not_make_acknowledged_records_a_torn_end() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[&[2], &[1], &[3]]);
    let path = segment(dir.path());
    let bytes = fs::read(&path).unwrap();
    for place in &places(&bytes)[..2] {
        for bit in 0..32 {
            let mut damaged = bytes.clone();
            damaged[place + bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &damaged).unwrap();
            let read = reopened(dir.path());
            assert!(matches!(read, Err(Error::Damaged { .. })), "bit {bit} at {place}: {read:?}");
            assert_eq!(fs::read(&path).unwrap(), damaged, "a damaged log is left as it is");
        }
    }
}

#[test]
fn a_flipped_bit_in_the_last_record_is_cut_or_damage() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[&[2], &[1], &[3]]);
    let path = segment(dir.path());
    let bytes = fs::read(&path).unwrap();
    let last = places(&bytes)[2];
    // Its length and checksum bit by bit, then 200 seeded places of the rest.
    let mut seed = 3_usize;
    let rest = (0..200).map(|_| {
        seed = (seed * 48_271 + 11) % ((bytes.len() - last) * 8);
        seed
    });
    for bit in (0..64).chain(rest) {
        let mut damaged = bytes.clone();
        damaged[last + bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &damaged).unwrap();
        match reopened(dir.path()) {
            Ok(rows) => assert_eq!(rows, 3, "bit {bit}"),
            Err(error) => assert!(matches!(error, Error::Damaged { .. }), "bit {bit}: {error}"),
        }
    }
}

#[test]
fn garbage_is_no_record() {
    assert_eq!(Record::last_lsn_of(&[0xff; 64]), None);
    assert_eq!(Record::last_lsn_of(&[0; 64]), None);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[&[2]]);
    let path = segment(dir.path());
    let whole = fs::read(&path).unwrap();
    // What a power loss may leave behind the last record: never acknowledged, and cut.
    for fill in [0, 0xff, 1] {
        let mut torn = whole.clone();
        torn.resize(whole.len() + 5_000, fill);
        fs::write(&path, &torn).unwrap();
        assert_eq!(reopened(dir.path()).unwrap(), 2, "filled with {fill}");
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

/// `ingest/fuzz` does the same with inputs that a fuzzer finds.
#[test]
fn whatever_was_done_to_a_log_what_is_read_is_what_was_written() {
    let dir = folder_in_memory();
    write(dir.path(), &[&[2], &[1, 2], &[3], &[1]]);
    let path = segment(dir.path());
    let bytes = fs::read(&path).unwrap();
    let (_, mut tail) = LogWriter::open(dir.path(), LOG).unwrap();
    let written: Vec<_> = tail.take().collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) as usize % n
    };
    let mut read = [0; 3];
    for _ in 0..1_500 {
        let mut changed = bytes.clone();
        for _ in 0..=below(3) {
            let (at, length) = (below(changed.len()), 1 + below(300));
            let end = changed.len().min(at + length);
            let piece = bytes[at.min(bytes.len())..end.min(bytes.len())].to_vec();
            match below(5) {
                0 => changed[at..end].fill_with(|| below(256) as u8),
                1 => drop(changed.drain(at..end)),
                // A piece, or all of the records, once more.
                2 => drop(changed.splice(at..at, piece)),
                3 => changed.extend_from_slice(&bytes[record::SEGMENT_HEAD..]),
                _ => changed.truncate(at.max(1)),
            }
            changed.push(0);
        }
        fs::write(&path, &changed).unwrap();
        match LogWriter::open(dir.path(), LOG) {
            Ok((writer, mut tail)) => {
                let found: Vec<_> = tail.take().collect();
                let same = found.iter().zip(&written).all(|(one, other)| {
                    (one.first_lsn, &one.rows) == (other.first_lsn, &other.rows)
                });
                assert!(same && found.len() <= written.len());
                let last = found.last().map_or(0, Record::last_lsn);
                assert_eq!(writer.next_lsn(), last + 1);
                read[usize::from(found.is_empty())] += 1;
            }
            Err(Error::Damaged { .. } | Error::Gap { .. }) => read[2] += 1,
            Err(error) => panic!("{error}"),
        }
        // A segment that held nothing was begun anew under its name.
        assert_eq!(segments(dir.path()).unwrap().len(), 1);
    }
    assert!(read.iter().all(|cases| *cases > 100), "the cases are one-sided: {read:?}");
}

#[test]
fn damage_among_retired_records_does_not_take_a_newer_group_along() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[&[2], &[1]]);
    let path = segment(dir.path());
    let bytes = fs::read(&path).unwrap();
    let mut damaged = bytes.clone();
    damaged[places(&bytes)[0] + 60] ^= 1;
    // The third row is only in the log.
    retire(dir.path(), 2).unwrap();
    fs::write(&path, &damaged).unwrap();
    let read = reopened(dir.path());
    assert!(matches!(read, Err(Error::Damaged { .. })), "{read:?}");
    // Once the tables hold it too, nothing is lost.
    retire(dir.path(), 3).unwrap();
    let (writer, mut tail) = LogWriter::open(dir.path(), LOG).unwrap();
    assert_eq!((writer.next_lsn(), tail.take().count()), (4, 0));
}

#[test]
fn a_record_of_any_table_is_read_as_it_was_written() {
    let lines = r#"
{"id":"1","source":"/s","type":"usage.request","subject":"o","time":"2026-01-01T00:00:00.123456Z","data":{"model":"é","input_tokens":9223372036854775807,"cache_hit":true,"cost":"-0.000000000001","currency":"USD","x":"y"}}
{"id":"2","source":"/s","type":"usage.request","subject":"o","time":"1970-01-01T00:00:00Z","data":{"model":""}}
{"id":"3","source":"/s","type":"billing.trial_started","subject":"o","time":"2026-01-01T00:00:00Z","data":{"plan":"p"}}
{"id":"4","source":"/s","type":"activity.page_view","time":"2026-01-01T00:00:00Z","data":{"anonymous_id":"v"}}
broken"#;
    let sender = Sender {
        organization: None,
        grant: &crate::Grant::ALL,
        pseudonyms: &Pseudonyms::new([1; 32]),
        window: Window::ANY,
        is_strict: false,
    };
    let mut batches =
        decode(EventFormat::Ndjson, lines.as_bytes(), &sender, 9).unwrap().unwrap().batches;
    for (table, payload) in [
        (
            Table::Organizations,
            r#"{"organization_id":"o","name":"O","signed_up_at":"2026-01-01T00:00:00Z"}"#,
        ),
        (Table::ApiKeys, r#"{"organization_id":"o","api_key_id":"k","revoked_at":null}"#),
        (Table::RatedUsageDaily, r#"{"organization_id":"o","quantity":"1.5","amount":"-0.01"}"#),
        (Table::InvoiceLines, r#"{"organization_id":"o","invoice_id":"i","line":1,"amount":"2"}"#),
    ] {
        batches.push(own_row(table, "change", 5, payload).unwrap().unwrap());
    }
    batches.sort_by_key(|batch| batch.table);
    let tables: Vec<_> = batches.iter().map(|batch| batch.table).collect();
    assert_eq!(tables, Table::ALL);
    let (mut first_lsn, mut bytes) = (1, Vec::new());
    for batch in batches {
        let record = Record { table: batch.table, first_lsn, ingested_at: -7, rows: batch.rows };
        let start = bytes.len();
        record.encode(1, &mut bytes).unwrap();
        let body = &bytes[start + record::RECORD_HEAD..];
        let read = Record::decode(body).unwrap().unwrap();
        assert_eq!((read.table, read.first_lsn, read.ingested_at), (record.table, first_lsn, -7));
        assert_eq!(read.rows, record.rows);
        assert_eq!(
            (Record::last_lsn_of(body), Record::group_of(body)),
            (Some(read.last_lsn()), Some(1))
        );
        first_lsn = record.last_lsn() + 1;
    }
}
