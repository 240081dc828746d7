use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array,
        Decimal256Array, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray,
        RecordBatch, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
        TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
    },
    datatypes::{Decimal128Type, Int8Type, Int64Type, i256},
};
use serde_json::{Value, json};

use super::*;
use crate::{
    RejectionCode,
    decode::{EventFormat, decode},
    identity::Pseudonyms,
    time::Window,
};

const HEAD: &str = "type = \"usage.request\"\nsource = \"/x\"\norganization = \"org_a\"\n\
                    [time]\ncolumn = \"at\"\n[constants]\nmodel = \"m\"\n[columns]\n";

fn sender(pseudonyms: &Pseudonyms) -> Sender<'_> {
    static ALL: crate::Grant = crate::Grant::ALL;
    Sender { organization: None, grant: &ALL, pseudonyms, window: Window::ANY, is_strict: false }
}

fn decoded(mapping: &Mapping, rows: &FileRows) -> Decoded {
    let pseudonyms = Pseudonyms::new([1; 32]);
    let decoded = decode_file(mapping, rows, "file", &sender(&pseudonyms), 7).unwrap();
    // The same rows sent as events get the same verdicts, and are the same rows.
    let events: Vec<_> =
        (0..rows.len()).map(|row| file_event(mapping, rows, "file", row)).collect();
    let sent = decode(EventFormat::Ndjson, events.join("\n").as_bytes(), &sender(&pseudonyms), 7);
    let sent = sent.unwrap().unwrap();
    assert_eq!(decoded.rejected, sent.rejected);
    assert_eq!(decoded.batches.len(), sent.batches.len());
    for (ours, theirs) in decoded.batches.iter().zip(&sent.batches) {
        assert_eq!((&ours.rows, &ours.keys), (&theirs.rows, &theirs.keys));
    }
    decoded
}

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn counts(decoded: &Decoded, name: &str) -> Vec<Option<i64>> {
    let rows = &decoded.batches[0].rows;
    rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().collect()
}

fn texts(decoded: &Decoded, name: &str) -> Vec<Option<String>> {
    let rows = &decoded.batches[0].rows;
    let values = rows.column_by_name(name).unwrap().as_string::<i32>();
    values.iter().map(|value| value.map(str::to_owned)).collect()
}

const AT: i64 = 1_767_225_600_000_000;

#[test]
fn values_are_transformed_before_they_are_read() {
    let mapping = Mapping::parse(
        "type_column = \"kind\"\nsource = \"/x\"\norganization_column = \"account\"\nid_column = \"id\"\n\
         [time]\ncolumn = \"at\"\n[constants]\nprovider = \"p\"\ncurrency = \"USD\"\n\
         [columns]\nname = \"model\"\nseconds = \"latency_ms\"\nper_million = \"list_price\"\nok = \"cache_hit\"\n\
         [transform.kind]\nvalues = { call = \"usage.request\" }\n\
         [transform.account]\ntrim = true\ncase = \"lower\"\nvalues = { acme = \"org_acme\" }\nvalues_only = true\n\
         [transform.name]\ntrim = true\ncase = \"lower\"\n\
         [transform.seconds]\nscale = 1000\nround = true\n\
         [transform.per_million]\nscale = 1e-6\n\
         [transform.ok]\nvalues = { ja = true, nein = false }\n\
         [transform.at]\ntrim = true\n",
    )
    .unwrap();
    assert!(mapping.is_number("seconds") && !mapping.is_number("name"));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", text(&[Some("1"), Some("2"), Some("3"), Some("4")])),
        ("kind", text(&[Some("call"), Some("call"), Some("call"), Some("usage.request")])),
        ("account", text(&[Some(" Acme"), Some("Other"), Some("ACME "), Some("acme")])),
        ("at", text(&[Some(" 2026-01-01T00:00:00Z "); 4])),
        ("name", text(&[Some(" GPT "), Some("m"), Some("m"), Some("")])),
        ("seconds", text(&[Some("0.8437219"), Some("1"), Some("slow"), None])),
        ("per_million", text(&[Some("2.50"), None, None, Some("0.0000001")])),
        ("ok", text(&[Some("ja"), None, None, None])),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let decoded = decoded(&mapping, &FileRows::typed(&mapping, &rows, vec![1, 2, 3, 4]).unwrap());
    let rejected: Vec<_> =
        decoded.rejected.iter().map(|(row, why)| (*row, why.code, why.pointer.as_str())).collect();
    assert_eq!(
        rejected,
        [
            // An account that is not listed, a duration that is no number, and a row without a model and too fine a
            // price.
            (1, RejectionCode::WrongType, "/subject"),
            (2, RejectionCode::WrongType, "/data/latency_ms"),
            (3, RejectionCode::WrongType, "/data/list_price"),
        ]
    );
    assert_eq!(texts(&decoded, "organization_id"), [Some("org_acme".into())]);
    assert_eq!(texts(&decoded, "model"), [Some("gpt".into())]);
    assert_eq!(counts(&decoded, "latency_ms"), [Some(844)]);
    let rows = &decoded.batches[0].rows;
    let price = rows.column_by_name("list_price").unwrap().as_primitive::<Decimal128Type>();
    assert_eq!(price.value(0), 2_500_000);
    assert!(rows.column_by_name("cache_hit").unwrap().as_boolean().value(0));
}

#[test]
fn typed_columns_fit_their_fields() {
    let mapping = Mapping::parse(&format!(
        "{HEAD}small = \"input_tokens\"\nbig = \"output_tokens\"\nfloat = \"latency_ms\"\n\
         flag = \"cache_hit\"\nprice = \"list_price\"\ncurrency = \"currency\"\nname = \"region\"\n\
         number = \"feature\"\nshare = \"share\"\nday = \"day\"\n"
    ))
    .unwrap();
    let names: DictionaryArray<Int8Type> = [Some("eu"), None].into_iter().collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("at", Arc::new(TimestampNanosecondArray::from(vec![AT * 1000 + 999, AT * 1000]))),
        ("small", Arc::new(Int32Array::from(vec![Some(3), None]))),
        ("big", Arc::new(UInt64Array::from(vec![4, 5]))),
        ("float", Arc::new(Float64Array::from(vec![Some(12.0), None]))),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        (
            "price",
            Arc::new(Decimal128Array::from(vec![125, 5]).with_precision_and_scale(10, 4).unwrap()),
        ),
        ("currency", text(&[Some("USD"), Some("EUR")])),
        ("name", Arc::new(names)),
        ("number", Arc::new(Int64Array::from(vec![Some(7), None]))),
        ("share", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
        ("day", Arc::new(Date32Array::from(vec![Some(1), None]))),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let rows = FileRows::typed(&mapping, &rows, vec![41, 42]).unwrap();
    let decoded = decoded(&mapping, &rows);
    assert_eq!(decoded.rejected, []);
    assert_eq!(counts(&decoded, "input_tokens"), [Some(3), None]);
    assert_eq!(counts(&decoded, "output_tokens"), [Some(4), Some(5)]);
    assert_eq!(counts(&decoded, "latency_ms"), [Some(12), None]);
    assert_eq!(texts(&decoded, "region"), [Some("eu".into()), None]);
    assert_eq!(texts(&decoded, "feature"), [Some("7".into()), None]);
    assert_eq!(texts(&decoded, "event_id"), [Some("file:41".into()), Some("file:42".into())]);
    let attributes = texts(&decoded, "attributes");
    assert_eq!(attributes[0].as_deref(), Some("{\"day\":\"1970-01-02T00:00:00Z\",\"share\":0.5}"));
    let price = decoded.batches[0].rows.column_by_name("list_price").unwrap();
    let price: Vec<_> = price.as_primitive::<arrow::datatypes::Decimal128Type>().values().to_vec();
    assert_eq!(price, [12_500_000_000, 500_000_000]);
    assert_eq!(mapping.dates(&rows), [Some(20_454), Some(20_454)]);
}

#[test]
fn a_column_of_another_type_is_refused_by_name() {
    let mapping = Mapping::parse(&format!("{HEAD}list = \"input_tokens\"\n")).unwrap();
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])]);
    let rows = RecordBatch::try_from_iter([("list", Arc::new(lists) as ArrayRef)]).unwrap();
    let error = FileRows::typed(&mapping, &rows, vec![1]).unwrap_err().to_string();
    assert!(error.contains("`list`"), "{error}");
}

#[test]
fn bad_rows_are_named_and_kept() {
    let mapping = Mapping::parse(&format!(
        "{HEAD}tokens = \"input_tokens\"\nprice = \"list_price\"\ncurrency = \"currency\"\n"
    ))
    .unwrap();
    let good = Some("2026-01-01T00:00:00Z");
    let columns = [
        ("at", text(&[good, None, Some("soon"), good, good, good, good])),
        ("tokens", text(&[Some(" 5 "), None, None, Some("-1"), Some("1.5"), None, Some("")])),
        ("price", text(&[Some("0.5"), None, None, None, None, Some("1"), Some("1e-13")])),
        ("currency", text(&[Some("USD"), None, None, None, None, None, Some("USD")])),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let rows = FileRows::typed(&mapping, &rows, (1..=7).collect()).unwrap();
    let decoded = decoded(&mapping, &rows);
    let rejected: Vec<_> =
        decoded.rejected.iter().map(|(row, why)| (*row, why.code, why.pointer.as_str())).collect();
    assert_eq!(
        rejected,
        [
            (1, RejectionCode::MissingField, "/time"),
            (2, RejectionCode::InvalidValue, "/time"),
            (3, RejectionCode::InvalidValue, "/data/input_tokens"),
            (4, RejectionCode::WrongType, "/data/input_tokens"),
            (5, RejectionCode::MissingField, "/data/currency"),
            (6, RejectionCode::WrongType, "/data/list_price"),
        ]
    );
    assert_eq!(counts(&decoded, "input_tokens"), [Some(5)]);
    let letters = &decoded.batches[1].rows;
    let raw = letters.column_by_name("raw").unwrap().as_string::<i32>();
    let first: Value = serde_json::from_str(raw.value(1)).unwrap();
    assert_eq!(first["time"], "soon");
    assert_eq!((&first["id"], &first["data"]), (&json!("file:3"), &json!({"model": "m"})));
}

#[test]
fn names_in_a_file_hold_no_controls() {
    let text_of = format!("id_column = \"id\"\n{HEAD}name = \"region\"\nnote = \"note\"\n");
    let mapping = Mapping::parse(&text_of);
    let mapping = mapping.unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("at", Arc::new(TimestampNanosecondArray::from(vec![AT * 1000; 4]))),
        ("id", text(&[Some("a\u{1b}"), Some("b"), Some("c"), Some("d")])),
        ("name", text(&[None, Some("eu\u{9b}"), None, None])),
        ("note", text(&[None, None, Some("\0"), Some("two\nlines")])),
    ];
    let rows = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    );
    let rows = FileRows::typed(&mapping, &rows.unwrap(), vec![1, 2, 3, 4]).unwrap();
    let decoded = decoded(&mapping, &rows);
    let why: Vec<_> =
        decoded.rejected.iter().map(|(row, why)| (*row, why.code, why.pointer.as_str())).collect();
    let expected = [
        (0, RejectionCode::InvalidValue, "/id"),
        (1, RejectionCode::InvalidValue, "/data/region"),
        (2, RejectionCode::InvalidAttributes, "/data/note"),
    ];
    assert_eq!(why, expected);
}

#[test]
fn a_column_that_has_a_value_wins_over_a_constant() {
    let mapping = Mapping::parse(&format!("{HEAD}engine = \"model\"\n")).unwrap();
    let at = Some("2026-01-01T00:00:00Z");
    let columns = [("at", text(&[at, at])), ("engine", text(&[Some("own"), None]))];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let rows = FileRows::typed(&mapping, &rows, vec![1, 2]).unwrap();
    let decoded = decoded(&mapping, &rows);
    assert_eq!(texts(&decoded, "model"), [Some("own".into()), Some("m".into())]);
}

#[test]
fn json_rows_keep_their_types() {
    let mapping = Mapping::parse(
        "type_column = \"kind\"\nsource = \"/x\"\norganization_column = \"org\"\nid_column = \"id\"\n\
         [time]\ncolumn = \"at\"\nformat = \"unix_s\"\n[columns]\nengine = \"model\"\nn = \"n\"\nhit = \"cache_hit\"\n",
    )
    .unwrap();
    let columns = [
        (
            "kind",
            text(&[Some("\"usage.request\""), Some("\"activity.login\""), Some("null"), None]),
        ),
        ("org", text(&[Some("\"org_a\""), Some("\"org_b\""), Some("\"org_a\""), Some("\"a b\"")])),
        ("id", text(&[Some("7"), Some("\"se\\u0076en\""), Some("\"x\""), Some("\"y\"")])),
        ("at", text(&[Some("1767225600"); 4])),
        ("engine", text(&[Some("\"gpt \\\"4\\\"\""), None, None, None])),
        ("n", text(&[Some("5"), Some("\"5\""), None, None])),
        ("hit", text(&[Some("true"), None, None, None])),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let rows = FileRows::json(&mapping, &rows, vec![1, 2, 3, 4]);
    let decoded = decoded(&mapping, &rows);
    assert_eq!(
        decoded.batches.iter().map(|b| b.table).collect::<Vec<_>>(),
        [Table::UsageLedger, Table::ActivityEvents, Table::DeadLetter]
    );
    assert_eq!(texts(&decoded, "model"), [Some("gpt \"4\"".into())]);
    assert_eq!(texts(&decoded, "event_id"), [Some("7".into())]);
    assert_eq!(texts(&decoded, "attributes"), [Some("{\"n\":5}".into())]);
    let codes: Vec<_> = decoded.rejected.iter().map(|(row, why)| (*row, why.code)).collect();
    assert_eq!(codes, [(2, RejectionCode::MissingField), (3, RejectionCode::MissingField)]);
}

#[test]
fn the_azure_trace_maps() {
    let mapping = Mapping::built_in("azure-llm").unwrap().unwrap();
    let columns = [
        ("TIMESTAMP", text(&[Some("2023-11-16 18:15:46.6805900")])),
        ("ContextTokens", text(&[Some("374")])),
        ("GeneratedTokens", text(&[Some("44")])),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let rows = FileRows::typed(&mapping, &rows, vec![1]).unwrap();
    let event: Value = serde_json::from_str(&file_event(&mapping, &rows, "abc", 0)).unwrap();
    assert_eq!(event["time"], "2023-11-16T18:15:46.680590Z");
    assert_eq!(event["id"], "abc:1");
    assert_eq!(event["data"]["input_tokens"], 374);
    assert_eq!(event["data"]["model"], "azure-llm");
    assert_eq!(counts(&decoded(&mapping, &rows), "output_tokens"), [Some(44)]);
}

/// What is said of each row of a column that holds something else than counts of ours.
fn verdicts(mapping: &str, column: &str, values: ArrayRef) -> Vec<Option<(RejectionCode, String)>> {
    let mapping = Mapping::parse(mapping).unwrap();
    let rows = values.len();
    let at = text(&vec![Some("2026-01-01T00:00:00Z"); rows]);
    let rows = match column {
        "at" => RecordBatch::try_from_iter([("at", values)]),
        _ => RecordBatch::try_from_iter([("at", at), (column, values)]),
    };
    let rows = rows.unwrap();
    let count = rows.num_rows();
    let rows = FileRows::typed(&mapping, &rows, (1..=count as u64).collect()).unwrap();
    let mut said = vec![None; count];
    for (row, why) in decoded(&mapping, &rows).rejected {
        said[row as usize] = Some((why.code, why.pointer));
    }
    said
}

#[test]
fn a_value_that_does_not_fit_rejects_its_row_only() {
    let tokens = format!("{HEAD}x = \"input_tokens\"\n");
    let wrong = |pointer: &str| Some((RejectionCode::WrongType, pointer.to_owned()));
    let counts: ArrayRef = Arc::new(UInt64Array::from(vec![Some(5), Some(u64::MAX), None]));
    assert_eq!(verdicts(&tokens, "x", counts), [None, wrong("/data/input_tokens"), None]);
    let wide = [Some(i256::from_i128(5)), Some(i256::MAX), None];
    let wide = Decimal256Array::from(wide.to_vec()).with_precision_and_scale(76, 0).unwrap();
    assert_eq!(verdicts(&tokens, "x", Arc::new(wide)), [None, wrong("/data/input_tokens"), None]);
    let model = format!("{HEAD}x = \"region\"\n");
    let bytes: ArrayRef =
        Arc::new(BinaryArray::from_opt_vec(vec![Some(b"eu"), Some(b"\xff"), None]));
    assert_eq!(verdicts(&model, "x", Arc::clone(&bytes)), [None, wrong("/data/region"), None]);
    let keys = Int32Array::from(vec![0, 1, 1]);
    let shared = DictionaryArray::new(keys, bytes);
    let expected = [None, wrong("/data/region"), wrong("/data/region")];
    assert_eq!(verdicts(&model, "x", Arc::new(shared)), expected);
    let attribute = format!("{HEAD}x = \"note\"\n");
    let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"eu", b"\xff"]));
    let refused = Some((RejectionCode::InvalidAttributes, "/data/note".to_owned()));
    assert_eq!(verdicts(&attribute, "x", bytes), [None, refused]);
    let clock: ArrayRef = Arc::new(Time64MicrosecondArray::from(vec![3_600_000_000, 1]));
    assert_eq!(verdicts(&attribute, "x", clock), [None, None]);
}

#[test]
fn a_time_that_no_calendar_has_rejects_its_row_only() {
    let unreadable = || Some((RejectionCode::InvalidValue, "/time".to_owned()));
    let good = 1_767_225_600;
    for times in [
        Arc::new(TimestampSecondArray::from(vec![good, i64::MAX, i64::MIN])) as ArrayRef,
        Arc::new(TimestampMillisecondArray::from(vec![good * 1_000, 1 << 62, i64::MIN])),
        Arc::new(TimestampMicrosecondArray::from(vec![good * 1_000_000, i64::MAX, i64::MIN])),
        Arc::new(Date32Array::from(vec![20_454, i32::MAX, i32::MIN])),
        Arc::new(Date64Array::from(vec![good * 1_000, i64::MAX, i64::MIN])),
    ] {
        let kind = times.data_type().clone();
        assert_eq!(verdicts(HEAD, "at", times), [None, unreadable(), unreadable()], "{kind}");
    }
}

#[test]
fn numbers_of_attributes_are_sent_as_they_are_written() {
    let mapping = Mapping::parse(&format!("{HEAD}note = \"note\"\n")).unwrap();
    for number in ["12.50", "1e2", "12345678901234567890123", "-0", "1E-7"] {
        let at = text(&[Some("\"2026-01-01T00:00:00Z\"")]);
        let columns = [("at", at), ("note", text(&[Some(number)]))];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let rows = FileRows::json(&mapping, &rows, vec![1]);
        assert_eq!(
            texts(&decoded(&mapping, &rows), "attributes"),
            [Some(format!("{{\"note\":{number}}}"))]
        );
    }
}
