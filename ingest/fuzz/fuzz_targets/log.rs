//! Whatever stands in a log's segment, what is read are records in order, or it is damage. Opening it again, after
//! its end was cut, gives the same.
#![no_main]

use std::fs;

use ingest::{
    Error,
    log::{LogId, LogWriter},
};
use libfuzzer_sys::fuzz_target;

const LOG: LogId = LogId(77);

fuzz_target!(|records: &[u8]| {
    let dir = tempfile::tempdir().expect("there is room");
    drop(LogWriter::open(dir.path(), LOG).expect("an empty log opens"));
    let segment = dir.path().join("00000000000000000001.seg");
    let mut bytes = fs::read(&segment).expect("there is a segment");
    bytes.extend_from_slice(records);
    fs::write(&segment, bytes).expect("there is room");
    let read = || match LogWriter::open(dir.path(), LOG) {
        Ok((writer, mut tail)) => {
            let mut next = 1;
            for record in tail.take() {
                assert!(record.first_lsn <= next && record.last_lsn() >= next);
                next = record.last_lsn() + 1;
            }
            assert_eq!(writer.next_lsn(), next);
            Some(next)
        }
        Err(Error::Damaged { .. } | Error::Gap { .. }) => None,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(read(), read());
});
