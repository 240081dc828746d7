//! What was seen stays seen: across a reopening, an eviction, and a group that was not written.

use super::*;

const LOG: LogId = LogId(7);

fn key(n: u64) -> Key {
    Key::of("o", "/s", &n.to_string())
}

fn seen(n: u64) -> AcceptedEvent {
    AcceptedEvent { content_hash: n as i64 - 3, lsn: n }
}

/// The nice values of the threads that merge: the 19th field of their status. The second one is the name, in
/// parentheses.
#[cfg(target_os = "linux")]
fn merging() -> Vec<i32> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    // Threads of other tests end meanwhile.
    let status =
        threads.filter_map(|t| std::fs::read_to_string(t.unwrap().path().join("stat")).ok());
    let merging = status.filter(|status| status.contains("(fjall:worker"));
    let nice = |status: String| status.rsplit_once(") ")?.1.split(' ').nth(16)?.parse().ok();
    merging.map(|status| nice(status).unwrap()).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn merges_give_way() {
    let dir = tempfile::tempdir().unwrap();
    let _index = Index::open(dir.path(), LOG).unwrap();
    // A thread names itself once it runs.
    for _ in 0..1_000 {
        let merging = merging();
        assert!(merging.iter().all(|nice| *nice >= MERGING_NICE), "{merging:?}");
        if !merging.is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("no thread merges");
}

#[test]
fn the_index_survives_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    {
        let index = Index::open(dir.path(), LOG).unwrap();
        assert_eq!((index.through().unwrap(), index.get(key(1)).unwrap()), (0, None));
        index.insert((1..=5).map(|n| (key(n), seen(n))), 6).unwrap();
        index.sync().unwrap();
    }
    let index = Index::open(dir.path(), LOG).unwrap();
    assert_eq!(index.through().unwrap(), 6);
    for n in 1..=5 {
        assert_eq!(index.get(key(n)).unwrap(), Some(seen(n)), "key {n}");
    }
    assert_eq!(index.get(key(6)).unwrap(), None);
}

#[test]
fn a_bulk_of_keys_is_found_like_a_few_and_survives() {
    let dir = tempfile::tempdir().unwrap();
    let count = BULK as u64 + 5;
    {
        let index = Index::open(dir.path(), LOG).unwrap();
        // A few come first; the bulk holds them again, and twice, as a catch-up after a crash does.
        index.insert((1..=3).map(|n| (key(n), seen(n))), 3).unwrap();
        let keys = (1..=count).chain(1..=10).map(|n| (key(n), seen(n)));
        index.insert(keys, count).unwrap();
        index.sync().unwrap();
        assert_eq!(index.get(key(count)).unwrap(), Some(seen(count)));
    }
    let index = Index::open(dir.path(), LOG).unwrap();
    assert_eq!(index.through().unwrap(), count);
    assert!((1..=count).all(|n| index.get(key(n)).unwrap() == Some(seen(n))));
}

#[test]
fn what_the_filter_rules_out_is_not_looked_up_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path(), LOG).unwrap().filtered(dir.path()).unwrap();
    let filled = (0..1_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        !index.filter().may_hold(key(0))
    });
    assert!(filled, "an empty index is read through at once");
    let count = BULK as u64;
    index.insert((1..=count).map(|n| (key(n), seen(n))), count).unwrap();
    let new = (count + 1..).map(key).find(|key| !index.filter().may_hold(*key)).unwrap();
    let tables = std::fs::read_dir(dir.path().join("keyspaces/1/tables")).unwrap();
    for table in tables {
        std::fs::OpenOptions::new()
            .write(true)
            .open(table.unwrap().path())
            .unwrap()
            .set_len(0)
            .unwrap();
    }
    assert_eq!(index.get(new).unwrap(), None);
    assert!(index.get(key(1)).is_err(), "what may be there is looked up");
}

#[test]
fn each_log_has_its_own_mark() {
    let dir = tempfile::tempdir().unwrap();
    Index::open(dir.path(), LOG).unwrap().insert([], 9).unwrap();
    assert_eq!(Index::open(dir.path(), LogId(8)).unwrap().through().unwrap(), 0);
    assert_eq!(Index::open(dir.path(), LOG).unwrap().through().unwrap(), 9);
}

#[test]
fn the_map_takes_back_what_was_not_written_and_lets_go_of_what_the_index_holds() {
    let mut hot = RecentKeys::new(0);
    for n in 1..=6 {
        hot.insert(key(n), seen(n));
    }
    hot.take_back(5);
    assert_eq!([4, 5, 6].map(|n| hot.get(key(n)).is_some()), [true, false, false]);
    // Sent again, the row takes the same LSN.
    hot.insert(key(6), seen(5));
    assert!(!hot.evict(9), "the index holds none of them");
    hot.indexed(3);
    assert!(hot.evict(2));
    assert_eq!([1, 2, 3].map(|n| hot.get(key(n)).is_some()), [false, false, true]);
    assert_eq!(hot.evicted(), 2, "what stays is found here");
    assert!(hot.evict(2) && !hot.evict(2));
    assert_eq!([1, 3, 4].map(|n| hot.get(key(n)).is_some()), [false, false, true]);
    assert_eq!((hot.get(key(6)), hot.evicted()), (Some(seen(5)), 3));
    hot.indexed(2);
    assert!(!hot.evict(9));
    assert_eq!(hot.evicted(), 3, "the mark never goes back");
    hot.indexed(5);
    assert!(hot.evict(9));
    assert!(hot.seen.iter().all(HashMap::is_empty) && hot.order.is_empty());
}

#[test]
fn the_index_lists_its_entries_in_order_and_an_entry_leads_back() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path(), LOG).unwrap();
    index.insert((1..=500).map(|n| (key(n), seen(n))), 500).unwrap();
    let listed: Vec<_> = index.entries().collect::<Result<_, _>>().unwrap();
    let mut expected: Vec<_> = (1..=500).map(|n| (key(n), seen(n))).collect();
    expected.sort_by_key(|(key, _)| key.0);
    assert_eq!(listed, expected);
    for (key, seen) in listed {
        assert_eq!(decode_entry(&encode_entry(key, seen)), (key, seen));
    }
}

#[test]
fn keys_that_wait_are_found_and_written_when_there_are_enough() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path(), LOG).unwrap();
    let hold = |n: u64, seen: AcceptedEvent| {
        index.hold([(key(n), seen), (key(100 + n), seen)], n).unwrap()
    };
    let on_disk = || index.keys.get(key(1).0).unwrap().is_some();
    for n in 1..8 {
        hold(n, seen(n));
        assert_eq!(index.get(key(n)).unwrap(), Some(seen(n)));
        assert_eq!((index.get(key(n + 1)).unwrap(), index.through().unwrap()), (None, 0));
    }
    assert!(!on_disk());
    hold(8, seen(8));
    assert_eq!((on_disk(), index.through().unwrap()), (true, 8), "eight flushes waited");
    assert_eq!(index.get(key(101)).unwrap(), Some(seen(1)));
    // Of a key that comes again the newest counts, while it waits and afterwards.
    index.hold([(key(1), seen(9))], 9).unwrap();
    index.hold([(key(1), seen(10))], 10).unwrap();
    // A flush that failed comes again, and with more: what waits is not held twice.
    index.hold([(key(1), seen(10))], 10).unwrap();
    index.hold([(key(1), seen(10)), (key(200), seen(11))], 11).unwrap();
    assert_eq!(index.held.begin().1.iter().map(|run| run.len()).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(index.get(key(1)).unwrap(), Some(seen(10)));
    index.write_held().unwrap();
    assert_eq!(index.get(key(1)).unwrap(), Some(seen(10)));
    assert_eq!((index.entries().count(), index.through().unwrap()), (17, 11));
    index.insert([], 3).unwrap();
    assert_eq!(index.through().unwrap(), 11, "the mark never goes back");
    // Many keys do not wait.
    let many = (1_000..).take(512 << 10).map(|n| (key(n), seen(n)));
    index.hold(many, 600_000).unwrap();
    assert_eq!(index.through().unwrap(), 600_000);
}
