//! A reversal takes a row back to nothing, and a re-entry is the row with what was named changed.

use super::*;
use crate::{
    RejectionCode,
    decode::{EventFormat, Sender, decode},
    erasure::{ErasedPersons, Person},
    time::Window,
};

fn names() -> Pseudonyms {
    Pseudonyms::new([1; 32])
}

fn ledger_row(data: &str) -> LedgerRow {
    let event = format!(
        "{{\"id\":\"e\",\"source\":\"/s\",\"type\":\"usage.request\",\"subject\":\"o\",\
         \"time\":\"2026-01-01T00:00:00Z\",\"data\":{data}}}"
    );
    let names = names();
    let sender = Sender {
        organization: None,
        grant: &crate::Grant::ALL,
        pseudonyms: &names,
        window: Window::ANY,
        is_strict: false,
    };
    let mut decoded = decode(EventFormat::Json, event.as_bytes(), &sender, 0).unwrap().unwrap();
    assert_eq!(decoded.rejected, []);
    LedgerRow::new(Table::UsageLedger, LogId(7), 12, decoded.batches.remove(0).rows)
}

const DATA: &str = r#"{"model":"m","input_tokens":10,"output_tokens":4,"latency_ms":90,"status_code":200,
    "user_id":"ada","cost":"0.5","currency":"USD","team":"a","tier":2}"#;

fn amended(row: &LedgerRow, data: &str) -> Result<Option<Batch>, Rejection> {
    let data: &RawValue = serde_json::from_str(data).unwrap();
    let amendment = Amendment { occurred_at: None, data: Some(data) };
    row.correct("e", &amendment, &names()).unwrap()
}

fn text(rows: &RecordBatch, name: &str, row: usize) -> Option<String> {
    let column = rows.column_by_name(name).unwrap().as_string::<i32>();
    column.is_valid(row).then(|| column.value(row).to_owned())
}

fn number(rows: &RecordBatch, name: &str, row: usize) -> Option<i128> {
    let column = rows.column_by_name(name).unwrap();
    if column.is_null(row) {
        return None;
    }
    match column.as_primitive_opt::<Int64Type>() {
        Some(counts) => Some(counts.value(row).into()),
        None => Some(column.as_primitive::<Decimal128Type>().value(row)),
    }
}

#[test]
fn a_reversal_negates_what_is_added_up_and_nothing_else() {
    let row = ledger_row(DATA);
    let batch = row.void("e").unwrap();
    assert_eq!((batch.rows.num_rows(), batch.index.len(), batch.keys.len()), (1, 1, 1));
    for column in Table::UsageLedger.columns() {
        let name = column.name;
        if QUANTITIES.contains(&name) {
            assert_eq!(
                number(&batch.rows, name, 0),
                number(&row.row, name, 0).map(|n| -n),
                "{name}"
            );
        } else {
            assert_eq!(batch.rows.column_by_name(name), row.row.column_by_name(name), "{name}");
        }
    }
    assert_eq!(number(&batch.rows, "cost", 0), Some(-500_000_000_000));
    for name in ["organization_id", "occurred_at", "attributes", "source"] {
        assert_eq!(batch.rows.column_by_name(name), row.row.column_by_name(name), "{name}");
    }
    assert_eq!(text(&batch.rows, "corrects_id", 0).as_deref(), Some("e"));
    let id = text(&batch.rows, "event_id", 0).unwrap();
    assert_eq!((id.as_str(), reversed(&id)), ("reversal:7.12", Some((LogId(7), 12))));
    let kept = LedgerRow::new(Table::UsageLedger, LogId(7), 13, batch.rows.clone());
    assert_eq!((kept.reversed(), row.reversed()), (Some((LogId(7), 12)), None));
    assert_eq!(crate::dedup::keys_of(&batch.rows, |_| 1)[0].0, batch.keys[0]);
}

#[test]
fn an_id_like_a_reversal_takes_nothing_back() {
    for id in ["reversal:", "reversal:7", "reversal:7.x", "correction:7.12", "7.12", ""] {
        assert_eq!(reversed(id), None, "{id}");
    }
    let mut row = ledger_row(DATA);
    row.row =
        with(&row.row, "event_id", Arc::new(StringArray::from(vec!["reversal:7.1"]))).unwrap();
    assert_eq!(row.reversed(), None, "it corrects nothing: a sender chose this id");
}

#[test]
fn a_re_entry_changes_what_is_named() {
    let row = ledger_row(DATA);
    let changes = r#"{"input_tokens":3,"user_id":"bob","latency_ms":null,"team":null,"attributes":{"tier":"x","new":1}}"#;
    let batch = amended(&row, changes).unwrap().expect("a change");
    let rows = &batch.rows;
    assert_eq!((rows.num_rows(), &batch.index[..]), (2, &[0, 1][..]));
    assert_eq!(number(rows, "input_tokens", 0), Some(-10));
    assert_eq!(number(rows, "input_tokens", 1), Some(3));
    assert_eq!(number(rows, "output_tokens", 1), Some(4));
    assert_eq!(number(rows, "latency_ms", 1), None);
    assert_eq!(text(rows, "user_id", 0).unwrap(), names().user("o", "ada"));
    assert_eq!(text(rows, "user_id", 1).unwrap(), names().user("o", "bob"));
    assert_eq!(text(rows, "attributes", 1).as_deref(), Some(r#"{"new":1,"tier":"x"}"#));
    assert_eq!(text(rows, "event_id", 1).as_deref(), Some("correction:7.12"));
    assert_eq!(text(rows, "corrects_id", 1).as_deref(), Some("e"));
    let keys: Vec<_> = crate::dedup::keys_of(rows, |_| 1).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, batch.keys);
    // Who is not named is not made a pseudonym of again.
    let other = amended(&row, r#"{"input_tokens":3}"#).unwrap().expect("a change");
    assert_eq!(text(&other.rows, "user_id", 1), text(&row.row, "user_id", 0));
}

#[test]
fn a_correction_of_an_erased_person_names_nobody() {
    let (row, names) = (ledger_row(DATA), names());
    let organization = OrganizationId::parse("o");
    let ada = Person { organization, pseudonym: names.user("o", "ada") };
    let mut erased = ErasedPersons::nobody(&names);
    erased.add(&[ada], row.occurred_at(), &names);
    names.erase(erased);
    let lookup = Lookup::new(&names);
    let erased = |rows: &RecordBatch| lookup.erase(Table::UsageLedger, rows).unwrap().unwrap().0;
    let hashes = |rows: &RecordBatch| {
        rows.column_by_name("content_hash").unwrap().as_primitive::<Int64Type>().values().to_vec()
    };
    // A void says nothing of the person: the same void again is known.
    let void = row.void("e").unwrap().rows;
    assert_eq!(hashes(&erased(&void)), hashes(&void));
    let corrected = amended(&row, r#"{"input_tokens":3}"#).unwrap().expect("a change").rows;
    let without = erased(&corrected);
    assert_ne!(hashes(&without)[0], hashes(&corrected)[0], "it was made of what came instead");
    for row in [0, 1] {
        assert_eq!(["user_id", "attributes"].map(|name| text(&without, name, row)), [None, None]);
    }
    // The row without the person, corrected to the same, becomes the same re-entry.
    let data: &RawValue = serde_json::from_str(r#"{"input_tokens":3,"user_id":"ada"}"#).unwrap();
    let amendment = Amendment { occurred_at: None, data: Some(data) };
    let row = LedgerRow::new(Table::UsageLedger, row.log, row.lsn, erased(&row.row));
    let again = row.correct("e", &amendment, &names).unwrap().unwrap().expect("a change").rows;
    assert_eq!(again.slice(1, 1), without.slice(1, 1));
}

#[test]
fn what_changes_nothing_is_no_correction() {
    let row = ledger_row(DATA);
    for same in [
        "{}",
        r#"{"input_tokens":10,"team":"a","user_id":"ada","cost":0.50}"#,
        r#"{"images":null}"#,
    ] {
        assert!(amended(&row, same).unwrap().is_none(), "{same}");
    }
    // A corrected row can be corrected again, also back to what it was.
    let batch = amended(&row, r#"{"input_tokens":3}"#).unwrap().expect("a change");
    let again = LedgerRow::new(Table::UsageLedger, LogId(7), 14, batch.rows.slice(1, 1));
    assert!(amended(&again, r#"{"input_tokens":3}"#).unwrap().is_none());
    let back = amended(&again, r#"{"input_tokens":10}"#).unwrap().expect("a change");
    assert_eq!(text(&back.rows, "event_id", 0).as_deref(), Some("reversal:7.14"));
    assert_eq!(hash_of::<Content>(&back.rows.slice(1, 1)), hash_of::<Content>(&row.row));
}

#[test]
fn the_rules_of_events_hold_for_corrections() {
    let row = ledger_row(DATA);
    let many: Vec<_> = (0..32).map(|n| format!("\"a{n}\":1")).collect();
    let many = format!("{{{}}}", many.join(","));
    for (changes, code, pointer) in [
        (r#"{"model":null}"#, RejectionCode::MissingField, "/data/model"),
        (r#"{"currency":null}"#, RejectionCode::MissingField, "/data/currency"),
        (r#"{"cached_input_tokens":11}"#, RejectionCode::InconsistentTokens, "/data/input_tokens"),
        (r#"{"input_tokens":-1}"#, RejectionCode::InvalidValue, "/data/input_tokens"),
        (r#"{"team":{}}"#, RejectionCode::InvalidAttributes, "/data/team"),
        (many.as_str(), RejectionCode::InvalidAttributes, "/data"),
        ("[]", RejectionCode::WrongType, "/data"),
    ] {
        let why = amended(&row, changes).expect_err(changes);
        assert_eq!((why.code, why.pointer.as_str()), (code, pointer), "{changes}");
    }
}

#[test]
fn corrections_of_one_row_that_differ_are_a_conflict() {
    let row = ledger_row(DATA);
    let seen = |batch: &Batch| {
        let seen = crate::dedup::keys_of(&batch.rows, |_| 1)[0];
        (seen.0, seen.1.content_hash)
    };
    let void = seen(&row.void("e").unwrap());
    let three = seen(&amended(&row, r#"{"input_tokens":3}"#).unwrap().unwrap());
    let four = seen(&amended(&row, r#"{"input_tokens":4}"#).unwrap().unwrap());
    assert_eq!(void, seen(&row.void("e").unwrap()));
    assert!(void.0 == three.0 && three.0 == four.0, "one reversal");
    assert!(void.1 != three.1 && three.1 != four.1 && void.1 != four.1, "three contents");
}

#[test]
fn a_time_can_be_corrected() {
    let row = ledger_row(DATA);
    let moved = Amendment { occurred_at: Some(row.occurred_at() + 5), data: None };
    let batch = row.correct("e", &moved, &names()).unwrap().unwrap().expect("a change");
    let times = batch.rows.column(1).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.values()[..], [row.occurred_at(), row.occurred_at() + 5]);
}
