//! What is sound is found sound, and what is not is named.

use std::{collections::HashMap, fs};

use bytes::Bytes;
use ingest::dedup::AcceptedEvent;

use super::*;
use crate::{Delivery, Lakehouse, Outcome, Settings};

fn settings(dir: &Path) -> Settings {
    Settings::sample(dir)
}

async fn send(lakehouse: &Lakehouse, ids: std::ops::Range<u32>) {
    let lines: String = ids
        .map(|id| {
            let day = 1 + id % 2;
            format!(
                "{{\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"usage.request\",\"subject\":\"o{}\",\
                 \"time\":\"2026-01-0{day}T00:00:00Z\",\"data\":{{\"model\":\"m\",\"input_tokens\":{id},\
                 \"cost\":\"0.5\",\"currency\":\"USD\"}}}}\n",
                id % 3
            )
        })
        .collect();
    let delivery = Delivery::of_history(Bytes::from(lines));
    let outcome = lakehouse.take_in(lakehouse.admit().unwrap(), delivery).await.unwrap();
    let Outcome::Settled(verdicts, _) = outcome else { panic!("{outcome:?}") };
    assert!(verdicts.iter().all(|verdict| *verdict == ingest::Verdict::Accepted));
}

type Entry = (identity::Key, AcceptedEvent);

/// Checks at a cut, with the index as `change` leaves it.
async fn proved(
    dir: &Path,
    lakehouse: &Lakehouse,
    removed: bool,
    change: impl FnOnce(&mut Vec<Entry>),
) -> Proof {
    let cut = lakehouse.cut();
    let mut entries: Vec<_> = lakehouse.entries().unwrap().collect::<Result<_, _>>().unwrap();
    change(&mut entries);
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("index");
    write_entries(&path, entries.into_iter().map(Ok)).unwrap();
    let question = CheckRequest {
        location: Location::folder(&dir.join("lake")).unwrap(),
        log_dir: dir.join("log"),
        cut,
        entries: path,
        scratch: scratch.path().to_path_buf(),
        since: 10,
        removed,
    };
    check(&question).await.unwrap()
}

fn lines(proof: &Proof) -> Vec<String> {
    proof.differences.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn rows_in_tables_and_in_the_log_are_proved_together() {
    let dir = tempfile::tempdir().unwrap();
    let lakehouse = Lakehouse::open(settings(dir.path())).await.unwrap();
    let empty = proved(dir.path(), &lakehouse, false, |_| {}).await;
    assert_eq!((empty.count, empty.identities), (0, 0));
    send(&lakehouse, 0..60).await;
    lakehouse.flush().await.unwrap();
    send(&lakehouse, 60..90).await;
    let proof = proved(dir.path(), &lakehouse, false, |_| {}).await;
    assert_eq!(lines(&proof), Vec::<String>::new());
    let usage = proof.tables["usage_ledger"];
    assert_eq!((usage.rows, usage.log_rows, usage.files), (60, 30, 2));
    assert_eq!((proof.identities, proof.events_since), (90, 80));
    let tokens: i128 = proof.sums.values().map(|sum| sum.amounts[0]).sum();
    assert_eq!((proof.sums.len(), tokens), (6, 89 * 90 / 2));

    let mut compared = proof.clone();
    let mut others = proof.sums.clone();
    compared.compare_sums(Table::UsageLedger, &others);
    assert_eq!(compared.count, 0);
    let (key, sum) = others.iter_mut().next().unwrap();
    sum.amounts[0] += 1;
    let organization = key.organization.clone().unwrap();
    compared.compare_sums(Table::UsageLedger, &others);
    assert_eq!((compared.count, compared.differences[0].kind), (1, DifferenceKind::Sum));
    assert!(compared.differences[0].detail.contains(&organization));
    lakehouse.close().await.unwrap();
}

#[tokio::test]
async fn an_index_that_lost_or_made_up_an_identity_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let lakehouse = Lakehouse::open(settings(dir.path())).await.unwrap();
    send(&lakehouse, 0..20).await;
    lakehouse.flush().await.unwrap();
    let at = |entries: &Vec<Entry>, lsn| entries.iter().position(|e| e.1.lsn == lsn).unwrap();

    let proof = proved(dir.path(), &lakehouse, false, |entries| {
        entries.remove(at(entries, 7));
    });
    let proof = proof.await;
    assert_eq!((proof.count, proof.differences[0].kind), (1, DifferenceKind::Index));
    assert!(proof.differences[0].detail.contains("LSN 7 is not in the index"));

    let more = |entries: &mut Vec<Entry>| {
        entries.push((identity::Key([255; 16]), AcceptedEvent { content_hash: 1, lsn: 5 }));
        // Above the cut: a row that came meanwhile.
        entries.push((identity::Key([255; 16]), AcceptedEvent { content_hash: 1, lsn: 500 }));
    };
    let proof = proved(dir.path(), &lakehouse, false, more).await;
    assert_eq!(lines(&proof), ["index: LSN 5 is in the index, and no row has it"]);
    let proof = proved(dir.path(), &lakehouse, true, more).await;
    assert_eq!(proof.count, 0, "the index remembers what was removed on purpose");

    let proof = proved(dir.path(), &lakehouse, false, |entries| {
        let at = at(entries, 3);
        entries[at].1.content_hash += 1;
    });
    assert_eq!(lines(&proof.await), ["index: LSN 3 is known with another content"]);
}

#[tokio::test]
async fn a_file_that_is_gone_is_named_with_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let lakehouse = Lakehouse::open(settings(dir.path())).await.unwrap();
    send(&lakehouse, 0..20).await;
    lakehouse.flush().await.unwrap();
    let day = dir.path().join("lake/usage_ledger/event_date=2026-01-01");
    fs::remove_dir_all(day).unwrap();
    let proof = proved(dir.path(), &lakehouse, false, |_| {}).await;
    let mut kinds: HashMap<DifferenceKind, u64> = HashMap::new();
    proof.differences.iter().for_each(|found| *kinds.entry(found.kind).or_default() += 1);
    assert_eq!(
        kinds,
        HashMap::from([
            (DifferenceKind::File, 1),
            (DifferenceKind::Lsn, 10),
            (DifferenceKind::Index, 10)
        ])
    );
    assert!(lines(&proof)[0].contains("event_date=2026-01-01/part-"), "{:?}", lines(&proof));

    // Rows that may be gone are counted; a file that the table names must be there.
    let proof = proved(dir.path(), &lakehouse, true, |_| {}).await;
    assert_eq!((proof.count, proof.removed_rows), (1, 10));
}
