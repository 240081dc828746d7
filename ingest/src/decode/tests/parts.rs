//! Many events are decoded on several threads, and are the same then.

use arrow::compute::concat_batches;
use rayon::ThreadPoolBuilder;

use super::*;

/// Two kinds of events, and one of five that is refused.
fn body(events: usize) -> String {
    let line = |n: usize| match n % 5 {
        0 => format!("{{\"id\":\"{n}\",\"source\":\"/s\",\"subject\":\"org_{}\"}}", n % 3),
        1 => format!(
            "{{\"id\":\"{n}\",\"source\":\"/s\",\"type\":\"billing.refund\",\"subject\":\"o\",\
             \"time\":\"2026-01-01T00:00:00Z\",\"data\":{{\"amount\":\"{n}\",\"currency\":\"USD\"}}}}"
        ),
        _ => event(&format!("{{\"model\":\"m{n}\",\"input_tokens\":{n}}}"))
            .replace("\"id\":\"1\"", &format!("\"id\":\"{n}\"")),
    };
    (0..events).map(line).collect::<Vec<_>>().join("\n")
}

/// For each table its rows, their identities and their places.
fn tables(decoded: &Decoded) -> Vec<(Table, RecordBatch, Vec<Key>, Vec<u32>)> {
    let tables = decoded.batches.chunk_by(|one, next| one.table == next.table);
    let table = |batches: &[Batch]| {
        let schema = batches[0].table.record_schema();
        let rows = concat_batches(&schema, batches.iter().map(|batch| &batch.rows)).unwrap();
        let keys = batches.iter().flat_map(|batch| batch.keys.clone()).collect();
        let index = batches.iter().flat_map(|batch| batch.index.clone()).collect();
        (batches[0].table, rows, keys, index)
    };
    tables.map(table).collect()
}

#[test]
fn parts_make_the_same_whole() {
    let threads = ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for events in [1, PART_MIN, PART_MIN + 1, 3 * PART_MIN + 7, EVENTS_MAX] {
        let body = body(events);
        let alone = decoded(EventFormat::Ndjson, &body).unwrap();
        let (names, text) = (names(), body.as_bytes());
        let sender = Sender {
            organization: None,
            grant: &crate::Grant::ALL,
            pseudonyms: &names,
            window: Window::ANY,
            is_strict: false,
        };
        let shared = threads.install(|| decode_on(3, EventFormat::Ndjson, text, &sender, 0));
        let shared = shared.unwrap().unwrap();
        assert_eq!(alone.batches.len(), tables(&alone).len(), "one thread makes one batch a table");
        let parts = events.div_ceil(PART_MIN).min(3);
        assert_eq!(shared.batches.len().div_ceil(parts), alone.batches.len(), "{events} events");
        assert_eq!((shared.events, &shared.rejected), (alone.events, &alone.rejected));
        assert_eq!(tables(&shared), tables(&alone));
    }
}
