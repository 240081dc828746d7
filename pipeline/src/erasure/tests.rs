//! Only files that name the person change, and only once. What fails leaves the tables as they were.

use std::{collections::BTreeMap, fs, path::PathBuf};

use bytes::Bytes;
use ingest::{
    OrganizationId,
    erasure::{ErasedPersons, Person},
};

use super::*;
use crate::{Delivery, Lakehouse, Location, Outcome, Settings};

const NOW: Micros = 1_767_312_000_000_000;

fn clock() -> Micros {
    NOW
}

fn names(erased: Option<&str>) -> Pseudonyms {
    let names = Pseudonyms::new([1; 32]);
    if let Some(user) = erased {
        let organization = OrganizationId::parse("o");
        let person = Person { organization, pseudonym: names.user("o", user) };
        let mut erased = ErasedPersons::nobody(&names);
        erased.add(&[person], NOW, &names);
        names.erase(erased);
    }
    names
}

/// A lake with one file of two rows of `ada` and one of `bob`, and another file of `bob` alone.
async fn lake(dir: &Path) -> Task {
    let location = Location::folder(&dir.join("lake")).unwrap();
    let settings = Settings { location: location.clone(), ..Settings::sample(dir) };
    let lakehouse = Lakehouse::open(settings).await.unwrap();
    for (day, users) in [(1, &["ada", "bob", "ada"][..]), (2, &["bob"])] {
        let line = |(n, user): (usize, &&str)| {
            format!(
                "{{\"id\":\"{day}-{n}\",\"source\":\"/s\",\"type\":\"usage.request\",\"subject\":\"o\",\
                 \"time\":\"2026-01-0{day}T00:00:00Z\",\"data\":{{\"model\":\"m\",\"input_tokens\":{n},\
                 \"user_id\":\"{user}\",\"mail\":\"{user}\"}}}}\n"
            )
        };
        let lines: String = users.iter().enumerate().map(line).collect();
        let delivery = Delivery::of_history(Bytes::from(lines));
        let outcome = lakehouse.take_in(lakehouse.admit().unwrap(), delivery).await.unwrap();
        assert!(matches!(outcome, Outcome::Settled(..)), "{outcome:?}");
        lakehouse.flush().await.unwrap();
    }
    lakehouse.close().await.unwrap();
    Task {
        location,
        tables: Vec::new(),
        jobs: Vec::new(),
        dry_run: false,
        all: false,
        retention_days: BTreeMap::new(),
        file_bytes: 256 << 20,
        checkpoint_commits: 50,
        grace_ms: 0,
        rolled_up: None,
        memory_bytes: 64 << 20,
        spill_dir: dir.join("spill"),
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .collect();
    found.sort();
    found
}

fn erased_rows(report: &Report) -> Vec<(&str, u64, u64)> {
    let tables = report.tables.iter();
    tables.map(|table| (&*table.table, table.erased.files, table.erased.rows)).collect()
}

#[tokio::test]
async fn a_person_leaves_the_files_that_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let (task, entries) = (lake(dir.path()).await, dir.path().join("entries"));
    let before = files(dir.path());
    let ada = names(Some("ada"));
    let dry = Task { dry_run: true, ..task.clone() };
    let report = erase(&dry, &ada, &entries, clock).await.unwrap();
    assert_eq!(erased_rows(&report), [("usage_ledger", 1, 2)]);
    assert_eq!((files(dir.path()), entries.exists()), (before.clone(), false));

    // A part of an entry, as a process leaves it that is killed while it writes.
    fs::write(&entries, [7; ENTRY_BYTES + 5]).unwrap();
    let report = erase(&task, &ada, &entries, clock).await.unwrap();
    assert_eq!(erased_rows(&report), [("usage_ledger", 1, 2)]);
    assert_eq!(report.tables[0].after.rows, 4);
    assert_eq!(fs::metadata(&entries).unwrap().len(), 3 * ENTRY_BYTES as u64);
    let again = erase(&task, &ada, &entries, clock).await.unwrap();
    assert_eq!(erased_rows(&again), [("usage_ledger", 0, 0)]);
    let nobody = erase(&task, &names(Some("eve")), &entries, clock).await.unwrap();
    assert_eq!(erased_rows(&nobody), [("usage_ledger", 0, 0)]);

    let with_both = files(dir.path());
    assert_eq!(with_both.len(), before.len() + 1);
    let removed = |report: &Report| report.tables.iter().map(|t| t.vacuumed.files).sum::<u64>();
    let early = remove_replaced(&task, std::iter::empty(), NOW / 1_000).await.unwrap();
    assert_eq!((removed(&early), files(dir.path())), (0, with_both.clone()));
    let late = remove_replaced(&task, std::iter::empty(), NOW / 1_000 + 1).await.unwrap();
    assert_eq!(removed(&late), 1);
    let left = files(dir.path());
    assert_eq!(before.iter().filter(|file| !left.contains(file)).count(), 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_stays_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (task, entries) = (lake(dir.path()).await, dir.path().join("entries"));
    let damaged = &files(dir.path())[1];
    fs::write(damaged, b"PAR1 and nothing else PAR1").unwrap();
    let root = task.location.open().unwrap();
    let opened = async || LakeTable::open(&root, Table::UsageLedger).await.unwrap().unwrap();
    let version = opened().await.version();
    let error = erase(&task, &names(Some("bob")), &entries, clock).await.unwrap_err();
    assert!(matches!(error, Error::Parquet { .. }), "{error}");
    assert_eq!((opened().await.version(), entries.exists()), (version, false));
    fs::remove_file(damaged).unwrap();
    let error = erase(&task, &names(Some("bob")), &entries, clock).await.unwrap_err();
    assert!(matches!(error, Error::Altered { .. }), "{error}");
    assert_eq!(opened().await.version(), version);
}
