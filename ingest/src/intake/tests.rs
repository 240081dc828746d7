//! Verdicts of the writing thread: twins in flight, conflicts, and a probe that is out of date.

use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::AsArray;

use super::*;
use crate::{
    RejectionCode,
    decode::{EventFormat, Sender, decode},
    identity::Pseudonyms,
    time::Window,
};

const LOG: LogId = LogId(3);

/// Keeps what became durable.
#[derive(Default)]
struct RecordingObserver(Mutex<Vec<Record>>);

impl Observer for RecordingObserver {
    fn durable(&self, records: Vec<Record>) {
        self.0.lock().unwrap().extend(records);
    }

    fn broken(&self, error: &Error) {
        panic!("the log broke: {error}");
    }
}

impl RecordingObserver {
    fn records(&self) -> Vec<Record> {
        self.0.lock().unwrap().clone()
    }

    fn rows(&self) -> usize {
        self.records().iter().map(|record| record.rows.num_rows()).sum()
    }
}

/// A microsecond passes whenever somebody looks.
fn clock() -> Micros {
    static NOW: AtomicI64 = AtomicI64::new(1_767_312_000_000_000);
    NOW.fetch_add(1, Ordering::Relaxed)
}

fn open(dir: &Path) -> (Intake, Arc<RecordingObserver>) {
    let kept = Arc::new(RecordingObserver::default());
    let observer: Arc<dyn Observer> = Arc::<RecordingObserver>::clone(&kept);
    let (log, index) = (dir.join("log"), dir.join("index"));
    let (intake, records) =
        Intake::open(&log, &index, LOG, clock, observer, |_| panic!("nothing to catch up"))
            .unwrap();
    kept.durable(records);
    (intake, kept)
}

/// Events of these ids, each with so many input tokens.
fn batches(events: &[(&str, u32)]) -> Vec<Batch> {
    let lines: String = events
        .iter()
        .map(|(id, tokens)| {
            format!(
                "{{\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"usage.request\",\"subject\":\"o\",\
                 \"time\":\"2026-01-01T00:00:00Z\",\
                 \"data\":{{\"model\":\"m\",\"input_tokens\":{tokens}}}}}\n"
            )
        })
        .collect();
    decoded(&lines)
}

fn decoded(lines: &str) -> Vec<Batch> {
    let sender = Sender {
        organization: None,
        grant: &crate::Grant::ALL,
        pseudonyms: &Pseudonyms::new([1; 32]),
        window: Window::ANY,
        is_strict: false,
    };
    decode(EventFormat::Ndjson, lines.as_bytes(), &sender, 0).unwrap().unwrap().batches
}

fn submit(intake: &Intake, submission: Submission) -> mpsc::Receiver<Result<RowVerdicts, Refused>> {
    let (sender, receiver) = mpsc::channel();
    intake.submit(submission, Box::new(move |settled| sender.send(settled).unwrap()));
    receiver
}

fn words(settled: &RowVerdicts) -> Vec<&'static str> {
    let word = |(_, verdict): &(u32, Verdict)| match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Duplicate => "duplicate",
        Verdict::Rejected(why) => why.code.as_str(),
    };
    settled.iter().map(word).collect()
}

fn send(intake: &Intake, events: &[(&str, u32)]) -> Vec<&'static str> {
    let submission = intake.probe(batches(events)).unwrap();
    words(&submit(intake, submission).recv().unwrap().unwrap())
}

#[test]
fn what_was_written_before_a_roll_can_go() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, _) = open(dir.path());
    let log = dir.path().join("log");
    let size = || crate::log::size_bytes(&log).unwrap();
    assert_eq!(intake.roll().unwrap(), 0, "an empty segment stays");
    let empty = size();
    send(&intake, &[("a", 1), ("b", 1)]);
    let before = size();
    let grown = intake.roll().unwrap();
    assert_eq!((size(), grown), (before + empty, empty));
    assert_eq!(intake.unlink_retired(2).unwrap(), before);
    assert_eq!(size(), empty);
    assert_eq!(send(&intake, &[("a", 1), ("c", 1)]), ["duplicate", "accepted"]);
    intake.stop();
}

#[test]
fn twins_in_one_request_are_one_event() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, kept) = open(dir.path());
    let verdicts = send(&intake, &[("a", 1), ("b", 1), ("a", 1), ("a", 2), ("c", 1)]);
    assert_eq!(verdicts, ["accepted", "accepted", "duplicate", "id_conflict", "accepted"]);
    assert_eq!(kept.rows(), 3);
    assert_eq!(send(&intake, &[("d", 1), ("c", 1)]), ["accepted", "duplicate"]);
    let firsts: Vec<_> = kept.records().iter().map(|record| record.first_lsn).collect();
    assert_eq!(firsts, [1, 4], "LSNs are dense");
    intake.stop();
}

#[test]
fn twins_in_one_group_are_one_event() {
    let dir = tempfile::tempdir().unwrap();
    let (log, index) = (dir.path().join("log"), dir.path().join("index"));
    let (writer, _) = LogWriter::open(&log, LOG).unwrap();
    let index = Index::open(&index, LOG).unwrap();
    let kept = Arc::new(RecordingObserver::default());
    let observer: Arc<dyn Observer> = Arc::<RecordingObserver>::clone(&kept);
    let mut writing = WriterThread { writer, hot: RecentKeys::new(0), index, clock, observer };
    // Three requests were probed before any of them was written.
    let mut group = Group::default();
    let (sender, answers) = mpsc::channel();
    for events in [&[("a", 1), ("b", 1)][..], &[("b", 1), ("c", 1)], &[("a", 2), ("d", 1)]] {
        let batches = batches(events);
        let known = batches.iter().map(|batch| vec![None; batch.keys.len()]).collect();
        let submission = Submission { batches, known, probed_through: 0, together: false };
        let sender = sender.clone();
        let answer: VerdictCallback = Box::new(move |settled| sender.send(settled).unwrap());
        writing.gather(submission, answer, 1, &mut group);
    }
    assert_eq!(answers.try_recv(), Err(mpsc::TryRecvError::Empty), "answered before the disk");
    writing.commit(group, 1);
    let verdicts: Vec<_> = answers.try_iter().map(|settled| words(&settled.unwrap())).collect();
    assert_eq!(
        verdicts,
        [["accepted", "accepted"], ["duplicate", "accepted"], ["id_conflict", "accepted"]]
    );
    let firsts: Vec<_> = kept.records().iter().map(|record| record.first_lsn).collect();
    assert_eq!((kept.rows(), firsts), (4, vec![1]), "one record of one table");
}

#[test]
fn rows_that_are_only_true_together_are_written_together_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, kept) = open(dir.path());
    let send = |events: &[(&str, u32)]| {
        let submission = intake.probe(batches(events)).unwrap();
        let submission = Submission { together: true, ..submission };
        words(&submit(&intake, submission).recv().unwrap().unwrap())
    };
    assert_eq!(send(&[("a", 1), ("b", 1)]), ["accepted", "accepted"]);
    assert_eq!(send(&[("a", 1), ("b", 1)]), ["duplicate", "duplicate"]);
    assert_eq!(send(&[("c", 1), ("b", 2)]), ["id_conflict", "id_conflict"]);
    assert_eq!(send(&[("a", 1), ("d", 1)]), ["duplicate", "duplicate"]);
    assert_eq!(kept.rows(), 2);
    assert_eq!(send(&[("c", 1), ("d", 1)]), ["accepted", "accepted"], "they claimed nothing");
    intake.stop();
}

#[test]
fn what_the_index_took_over_is_found_by_a_probe_from_before() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, kept) = open(dir.path());
    assert_eq!(send(&intake, &[("a", 1), ("b", 1)]), ["accepted", "accepted"]);
    // Both were looked up while only the map knew the keys, and are submitted when only the index does.
    let same = intake.probe(batches(&[("a", 1), ("n", 1)])).unwrap();
    let other = intake.probe(batches(&[("b", 2)])).unwrap();
    assert_eq!((same.probed_through, &same.known), (0, &vec![vec![None, None]]));
    intake.index(&kept.records(), 2).unwrap();
    assert_eq!(intake.retire().unwrap(), 0, "it is found, but not written");
    let settled = submit(&intake, same).recv().unwrap().unwrap();
    assert_eq!(words(&settled), ["duplicate", "accepted"]);
    let settled = submit(&intake, other).recv().unwrap().unwrap();
    assert_eq!(words(&settled), [RejectionCode::IdConflict.as_str()]);
    // A probe from now on finds them by itself.
    let fresh = intake.probe(batches(&[("a", 1)])).unwrap();
    assert_eq!(fresh.probed_through, 2);
    assert_eq!(fresh.known[0][0].map(|seen| seen.lsn), Some(1));
    intake.stop();
}

#[test]
fn what_the_index_cannot_tell_is_not_taken_for_new() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, kept) = open(dir.path());
    assert_eq!(send(&intake, &[("a", 1), ("b", 1)]), ["accepted", "accepted"]);
    let stale = || intake.probe(batches(&[("n", 1), ("a", 1)])).unwrap();
    let (alone, together) = (stale(), Submission { together: true, ..stale() });
    intake.index(&kept.records(), 2).unwrap();
    intake.write_index().unwrap();
    // The map lets go of what the index has once a group is done.
    assert_eq!(send(&intake, &[("z", 1)]), ["accepted"]);
    intake.index.damage(batches(&[("a", 1)])[0].keys[0]);
    for submission in [alone, together] {
        let refused = submit(&intake, submission).recv().unwrap();
        assert_eq!(refused.unwrap_err(), Refused::Broken);
    }
    assert!(intake.probe(batches(&[("a", 1)])).is_err(), "nor by a probe from now on");
    assert!(intake.entries().unwrap().any(|entry| entry.is_err()), "nor left out of a list");
    assert_eq!(kept.rows(), 3);
    assert_eq!(send(&intake, &[("n", 1), ("b", 1)]), ["accepted", "duplicate"]);
    intake.stop();
}

#[test]
fn what_an_older_version_accepted_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, _) = open(dir.path());
    let older = |events: &[(&str, u32)]| {
        let batch = batches(events).remove(0);
        let content_hash = earlier_hashes(batch.table, &batch.rows)[0].unwrap();
        (batch.keys[0], AcceptedEvent { content_hash, lsn: 1 })
    };
    intake.reindex(vec![older(&[("a", 1)]), older(&[("b", 1)])]).unwrap();
    let verdicts = send(&intake, &[("a", 1), ("b", 2), ("c", 1), ("c", 1)]);
    assert_eq!(verdicts, ["duplicate", "id_conflict", "accepted", "duplicate"]);
    intake.stop();
}

#[test]
fn what_an_import_beside_a_server_made_of_a_number_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, _) = open(dir.path());
    let event = |number: &str| {
        decoded(&format!(
            "{{\"id\":\"a\",\"source\":\"/s\",\"type\":\"usage.request\",\"subject\":\"org_a\",\
             \"time\":\"2026-01-01T00:00:00Z\",\"data\":{{\"model\":\"m\",\"b\":\"x\",\"a\":{number}}}}}"
        ))
    };
    // As a float writes it.
    let old = event("12.5").remove(0);
    let hashes = old.rows.column_by_name("content_hash").unwrap();
    let content_hash = hashes.as_primitive::<arrow::datatypes::Int64Type>().value(0);
    intake.reindex(vec![(old.keys[0], AcceptedEvent { content_hash, lsn: 1 })]).unwrap();
    for (number, expected) in
        [("12.50", "duplicate"), ("1.25e1", "duplicate"), ("12.51", "id_conflict")]
    {
        let asked = intake.probe(event(number)).unwrap();
        let settled = submit(&intake, asked).recv().unwrap().unwrap();
        assert_eq!(words(&settled), [expected], "{number}");
    }
    intake.stop();
}

#[test]
fn a_restart_knows_the_log_and_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, kept) = open(dir.path());
    assert_eq!(send(&intake, &[("a", 1)]), ["accepted"]);
    intake.index(&kept.records(), 1).unwrap();
    intake.write_index().unwrap();
    assert_eq!(intake.retire().unwrap(), 1);
    assert_eq!(send(&intake, &[("b", 1)]), ["accepted"]);
    intake.index(&kept.records()[1..], 2).unwrap();
    assert_eq!(intake.retire().unwrap(), 1, "what waits for the index stays in the log");
    intake.stop();
    assert_eq!(
        submit(&intake, intake.probe(batches(&[("x", 1)])).unwrap()).recv(),
        Ok(Err(Refused::Broken))
    );
    drop(intake);
    let (intake, kept) = open(dir.path());
    assert_eq!(kept.rows(), 1, "only what is not retired is replayed");
    let verdicts = send(&intake, &[("a", 1), ("b", 1), ("a", 2), ("b", 2), ("c", 1)]);
    assert_eq!(verdicts, ["duplicate", "duplicate", "id_conflict", "id_conflict", "accepted"]);
    intake.stop();
}

#[test]
fn an_index_that_lags_behind_the_tables_is_caught_up() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, kept) = open(dir.path());
    assert_eq!(send(&intake, &[("a", 1)]), ["accepted"]);
    let stored = keys_of(&kept.records()[0].rows, |_| 1);
    // The index was lost; the tables hold the row, and the log is retired.
    log::retire(intake.dir(), 1).unwrap();
    intake.stop();
    drop(intake);
    let (log, index) = (dir.path().join("log"), dir.path().join("another"));
    let observer: Arc<dyn Observer> = Arc::new(RecordingObserver::default());
    let catch_up = |from| {
        assert_eq!(from, 0);
        Ok(stored)
    };
    let (intake, records) = Intake::open(&log, &index, LOG, clock, observer, catch_up).unwrap();
    assert!(records.is_empty());
    assert_eq!(send(&intake, &[("a", 1), ("a", 2)]), ["duplicate", "id_conflict"]);
    intake.stop();
}

/// A row that had the time of another request would tell when that came.
#[test]
fn a_group_has_a_time_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, kept) = open(dir.path());
    let before = clock();
    for id in ["a", "b"] {
        assert_eq!(send(&intake, &[(id, 1)]), ["accepted"]);
    }
    let times: Vec<_> = kept.records().iter().map(|record| record.ingested_at).collect();
    assert!(before < times[0] && times[0] < times[1], "{times:?}");
    intake.stop();
}
