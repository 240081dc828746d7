//! Files that others wrote, as they are met: rows of another length, quotes without end, old types.

use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use parquet::{
    data_type::{
        ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int64Type, Int96,
        Int96Type,
    },
    file::writer::SerializedFileWriter,
    schema::parser::parse_message_type,
};
use tests::{Server, configure, folder, run, run_ok};

use crate::intake::import::{CALLS, write_parquet};

/// Runs an import of a file that a test wrote. Returns its summary, and what it complained of.
fn import(dir: &Path, map: &str, name: &str, content: &[u8]) -> (String, String) {
    let (map_file, file) = (dir.join("map.toml"), dir.join(name));
    fs::write(&map_file, map).unwrap();
    fs::write(&file, content).unwrap();
    let (map, file) = (map_file.display().to_string(), file.display().to_string());
    let output = run(&dir.join("data"), &["import", "--map", &map, &file]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let errors = text(&output.stderr);
    let complaint = errors.split_inclusive('\n').filter(|line| !line.contains(": import imp_"));
    (text(&output.stdout), complaint.collect())
}

#[test]
fn rows_that_do_not_fit_their_header_are_named_by_line() {
    let dir = folder();
    let csv = "id,at,engine,prompt\r\n\
               1,2026-01-01T00:00:00Z,\"m\r\nm\",5\r\n\
               2,2026-01-01T00:00:00Z,extra,m,5\r\n\
               \r\n\
               3,2026-01-01T00:00:00Z,m\r\n\
               4,2026-01-01T00:00:00Z,m,7";
    let expected = |file: &str| {
        let file = dir.path().join(file).display().to_string();
        format!(
            "unreadable_row: 2\n  {file} line 4: it has 5 fields, the header has 4\n  {file} line 6: it has 3 \
             fields, the header has 4\naihub: 2 rows were rejected; no event came of them\n"
        )
    };
    let map = CALLS
        .replace("engine = \"model\"", "engine = \"team\"")
        .replace("[constants]", "[constants]\nmodel = \"m\"");
    let (summary, error) = import(dir.path(), &map, "calls.csv", csv.as_bytes());
    assert_eq!(summary, "2 accepted, 0 duplicate, 2 rejected\n", "{error}");
    assert_eq!(error, expected("calls.csv"));
    let rows = "select event_id, input_tokens from usage_events order by event_id";
    let rows = || run_ok(&dir.path().join("data"), &["query", rows]);
    assert_eq!(rows(), "event_id,input_tokens\n1,5\n4,7\n");
    // Rows that are sorted by date first, and those that a server takes, are told likewise.
    configure(&dir.path().join("data"), "[ingest]\nflush_rows = 20\n");
    let dates = |row: u32| format!("d{row},2026-01-{:02}T00:00:00Z,m,1\n", row % 20 + 1);
    let mixed = format!("id,at,engine,prompt\nshort\n{}", (0..60).map(dates).collect::<String>());
    let (summary, error) = import(dir.path(), &map, "mixed.csv", mixed.as_bytes());
    assert_eq!(summary, "60 accepted, 0 duplicate, 1 rejected\n", "{error}");
    assert!(error.contains("mixed.csv line 2: it has 1 fields"), "{error}");
    let server = Server::serve(&dir.path().join("data"));
    let (summary, error) = import(dir.path(), &map, "again.csv", csv.as_bytes());
    assert_eq!(summary, "0 accepted, 2 duplicate, 2 rejected\n", "{error}");
    assert_eq!(error, expected("again.csv"));
    server.stop();
    // What is surplus on purpose is allowed.
    let map = format!("{map}[csv]\nignore_surplus_fields = true\n");
    let (summary, error) = import(dir.path(), &map, "calls.csv", &csv.as_bytes()[..csv.len() - 1]);
    assert_eq!(summary, "0 accepted, 1 duplicate, 3 rejected\n", "{error}");
}

#[test]
fn a_file_that_cannot_be_told_apart_is_refused_before_anything_is_taken() {
    let dir = folder();
    let head = "id,at,engine,prompt\n1,2026-01-01T00:00:00Z,m,5\n";
    for (name, content, part) in [
        (
            "open.csv",
            format!("{head}2,2026-01-01T00:00:00Z,\"m,5\n3,2026-01-01T00:00:00Z,m,6\n"),
            "the quote that begins in line 3 does not end",
        ),
        (
            "stray.csv",
            format!("{head}2,2026-01-01T00:00:00Z,\"m,5\n3,2026-01-01T00:00:00Z,\"m\",6\n"),
            "line 4: text follows the end of the quote that begins in line 3",
        ),
        (
            "doubled.csv",
            "id,at,engine,prompt,prompt\n1,2026-01-01T00:00:00Z,m,5,6\n".to_owned(),
            "the file has the column `prompt` twice",
        ),
        ("empty.csv", String::new(), "there is no header"),
    ] {
        let (summary, error) = import(dir.path(), CALLS, name, content.as_bytes());
        assert!(summary.is_empty() && error.contains(part), "{name}: {summary}{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let field = |name: &str| Field::new(name, DataType::Utf8, true);
    let names = ["id", "at", "engine", "prompt", "prompt"];
    let columns = names.map(|name| Arc::new(StringArray::from(vec![name])) as ArrayRef);
    let schema = Arc::new(Schema::new(names.map(field).to_vec()));
    let rows = RecordBatch::try_new(schema, columns.to_vec()).unwrap();
    let file = dir.path().join("doubled.parquet");
    write_parquet(&file, &rows);
    let (_, error) = import(dir.path(), CALLS, "doubled.parquet", &fs::read(&file).unwrap());
    assert!(error.contains("the file has the column `prompt` twice"), "{error}");
    let count = "select count(*) as n from usage_events";
    assert_eq!(run_ok(&dir.path().join("data"), &["query", count]), "n\n0\n");
}

#[test]
fn a_bad_line_of_ndjson_is_named_and_the_others_are_taken() {
    let dir = folder();
    let line = |id: u32, more: &str| {
        format!(
            "{{\"id\":\"{id}\",\"at\":\"2026-01-01T00:00:00Z\",\"engine\":\"m\",\"prompt\":5{more}}}\n"
        )
    };
    let content = [
        line(1, "").into_bytes(),
        line(2, ",\"prompt\":6").into_bytes(),
        b"\n[1]\n{\"id\":\n{} {}\n".to_vec(),
        b"{\"id\":\"\xff\"}\n".to_vec(),
        line(3, ",\"other\":1,\"other\":2").into_bytes(),
    ]
    .concat();
    let (summary, error) = import(dir.path(), CALLS, "calls.ndjson", &content);
    assert_eq!(summary, "2 accepted, 0 duplicate, 5 rejected\n", "{error}");
    let name = dir.path().join("calls.ndjson").display().to_string();
    for part in [
        "unreadable_row: 5\n".to_owned(),
        format!("{name} line 2: `prompt` is there twice"),
        format!("{name} line 4: invalid type: sequence, expected an object"),
        format!("{name} line 5: EOF"),
    ] {
        assert!(error.contains(&part), "{error}");
    }
}

/// A file as older programs write it: times of 96 bits, members of structs, and ids of 16 bytes.
#[test]
fn parquet_of_other_programs_is_read() {
    let dir = folder();
    let schema = parse_message_type(
        "message m { required int96 at; required fixed_len_byte_array(16) id (UUID); \
         optional group call { required binary engine; optional int64 prompt; } \
         optional group tags (LIST) { repeated group list { optional binary element (UTF8); } } }",
    )
    .unwrap();
    let path = dir.path().join("old.parquet");
    let mut writer =
        SerializedFileWriter::new(File::create(&path).unwrap(), Arc::new(schema), Arc::default())
            .unwrap();
    let mut group = writer.next_row_group().unwrap();
    // Days since 4713 BC, and the nanoseconds of the day: 2026-01-01, 9999-12-31, 2600-01-01.
    let times: Vec<_> = [2_461_042, 5_373_484, 2_670_691]
        .map(|day| {
            let mut at = Int96::new();
            at.set_data(1_000, 0, day);
            at
        })
        .into();
    macro_rules! write {
        ($kind:ty, $values:expr, $definitions:expr, $repetitions:expr) => {
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<$kind>().write_batch(&$values, $definitions, $repetitions).unwrap();
            column.close().unwrap();
        };
    }
    let ids: Vec<_> = (1..=3).map(|n| FixedLenByteArray::from(vec![n; 16])).collect();
    write!(Int96Type, times, None, None);
    write!(FixedLenByteArrayType, ids, None, None);
    write!(ByteArrayType, [ByteArray::from("m"), ByteArray::from("m")], Some(&[1, 1, 0]), None);
    write!(Int64Type, [7], Some(&[2, 1, 0]), None);
    write!(ByteArrayType, [], Some(&[0, 0, 0]), Some(&[0, 0, 0]));
    group.close().unwrap();
    writer.close().unwrap();
    let bytes = fs::read(&path).unwrap();
    let map = "type = \"usage.request\"\nsource = \"/calls\"\norganization = \"org_a\"\nid_column = \"id\"\n\
               [time]\ncolumn = \"at\"\n[columns]\n\"call.engine\" = \"region\"\n\"call.prompt\" = \"input_tokens\"\n\
               [constants]\nmodel = \"m\"\n";
    let (summary, error) = import(dir.path(), map, "old.parquet", &bytes);
    assert_eq!(summary, "1 accepted, 0 duplicate, 2 rejected\n", "{error}");
    assert!(
        error.contains("invalid_value: 2\n") && error.contains("old.parquet row 2: /time"),
        "{error}"
    );
    let rows = "select event_id, occurred_at, region, input_tokens from usage_events";
    assert_eq!(
        run_ok(&dir.path().join("data"), &["query", rows]),
        "event_id,occurred_at,region,input_tokens\n\
         01010101-0101-0101-0101-010101010101,2026-01-01T00:00:00.000001Z,m,7\n"
    );
    for (column, part) in [
        ("tags", "the column `tags` holds lists, which no field can take"),
        ("call", "the file has no column `call`; it has at, id, call.engine, call.prompt, tags"),
    ] {
        let map = map.replace("\"call.engine\"", column);
        let (summary, error) = import(dir.path(), &map, "old.parquet", &bytes);
        assert!(summary.is_empty() && error.contains(part), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn csv_is_read_as_its_mapping_says() {
    let dir = folder();
    let map = "type = \"usage.request\"\nsource = \"/calls\"\norganization = \"org_a\"\nid_column = \"id\"\n\
               [time]\ncolumn = \"at\"\nformat = \"%d.%m.%Y %H:%M\"\n\
               [columns]\nengine = \"model\"\nprompt = \"input_tokens\"\nprice = \"list_price\"\nnote = \"note\"\n\
               [constants]\nprovider = \"p\"\ncurrency = \"EUR\"\n\
               [csv]\ndelimiter = \";\"\nquote = \"'\"\nencoding = \"gbk\"\nskip_lines = 2\n\
               null = [\"NULL\", \"-\"]\ndecimal = \",\"\nthousands = \".\"\n";
    let csv = "report of\n\"January\nid;at;engine;prompt;price;note\n\
               1;31.01.2026 09:00;'m;中';1.234;1.234,5;1.5\n\
               2;31.01.2026 09:00;m;NULL;-;\"x\"\n\
               3;31.01.2026 09:00;m;5;1.23;\n";
    let (bytes, ..) = encoding_rs::GBK.encode(csv);
    let (summary, error) = import(dir.path(), map, "calls.csv", &bytes);
    assert_eq!(summary, "2 accepted, 0 duplicate, 1 rejected\n", "{error}");
    assert!(error.contains("line 6: the column `price`: `1.23` is no number"), "{error}");
    let rows = "select event_id, model, input_tokens, list_price, attributes from usage_events order by event_id";
    assert_eq!(
        run_ok(&dir.path().join("data"), &["query", rows]),
        "event_id,model,input_tokens,list_price,attributes\n\
         1,m;中,1234,1234.500000000000,\"{\"\"note\"\":\"\"1.5\"\"}\"\n\
         2,m,,,\"{\"\"note\"\":\"\"\\\"\"x\\\"\"\"\"}\"\n"
    );
}

#[test]
fn a_dry_run_says_what_would_come_and_does_nothing() {
    let dir = folder();
    let csv = "id,at,engine,prompt\n1,2026-01-01T00:00:00Z,m,5\n2,2026-01-01T00:00:00Z,m\n\
               3,2026-01-01T00:00:00Z,m,many\n4,2126-01-01T00:00:00Z,m,5\n";
    let (map, file) = (dir.path().join("map.toml"), dir.path().join("calls.csv"));
    fs::write(&map, CALLS).unwrap();
    fs::write(&file, csv).unwrap();
    let (map, file) = (map.display().to_string(), file.display().to_string());
    let data = dir.path().join("data");
    let output = run(&data, &["import", "--map", &map, "--dry-run", &file]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(said, "1 would be accepted, or are known already, 3 rejected; nothing was sent\n");
    for part in [
        format!("unreadable_row: 1\n  {file} line 3: "),
        format!("wrong_type: 1\n  {file} line 4: "),
        format!("time_in_future: 1\n  {file} line 5: "),
        "3 rows would be rejected\n".to_owned(),
    ] {
        assert!(error.contains(&part), "{error}");
    }
    assert_eq!(output.status.code(), Some(1));
    assert!(!data.exists(), "nothing is written");
}

#[test]
fn compressed_files_and_local_times_are_read() {
    let dir = folder();
    let map = CALLS.replace(
        "column = \"at\"",
        "column = \"at\"\nformat = \"%Y-%m-%d %H:%M\"\nzone = \"Europe/Berlin\"",
    );
    let csv = "id,at,engine,prompt\n1,2026-07-01 09:00,m,5\n2,2026-03-29 02:30,m,5\n";
    for (name, packed, summary) in [
        (
            "calls.csv.gz",
            tests::packed("gzip", csv.as_bytes()),
            "1 accepted, 0 duplicate, 1 rejected\n",
        ),
        (
            "calls.csv.zst",
            tests::packed("zstd", csv.as_bytes()),
            "0 accepted, 1 duplicate, 1 rejected\n",
        ),
    ] {
        let (said, error) = import(dir.path(), &map, name, &packed);
        assert_eq!(said, summary, "{error}");
        assert!(error.contains("line 3: /time"), "a time that the clock skips: {error}");
        let (said, error) =
            import(dir.path(), &map, &format!("cut-{name}"), &packed[..packed.len() - 9]);
        assert!(said.is_empty() && error.contains("reading "), "{error}");
    }
    let at = run_ok(&dir.path().join("data"), &["query", "select occurred_at from usage_events"]);
    assert_eq!(at, "occurred_at\n2026-07-01T07:00:00Z\n");
}

#[test]
fn columns_are_transformed_as_the_mapping_says() {
    let dir = folder();
    let map = "type = \"usage.request\"\nsource = \"/import/gateway\"\norganization_column = \"account\"\n\
               id_column = \"id\"\n[time]\ncolumn = \"at\"\n\
               [columns]\nmodel = \"model\"\nseconds = \"latency_ms\"\nprice = \"list_price\"\n\
               [constants]\nprovider = \"p\"\ncurrency = \"EUR\"\n\
               [csv]\ndelimiter = \";\"\ndecimal = \",\"\n\
               [transform.account]\ntrim = true\nvalues = { \"Acme Ltd\" = \"org_acme\" }\nvalues_only = true\n\
               [transform.model]\ncase = \"lower\"\n\
               [transform.seconds]\nscale = 1000\nround = true\n[transform.price]\nscale = \"0.000001\"\n";
    let csv = "id;account;at;model;seconds;price\n\
               1; Acme Ltd ;2026-01-01T00:00:00Z;GPT;0,8437219;2,50\n\
               2;Beta;2026-01-01T00:00:00Z;GPT;1;1\n";
    let (summary, error) = import(dir.path(), map, "calls.csv", csv.as_bytes());
    assert_eq!(summary, "1 accepted, 0 duplicate, 1 rejected\n", "{error}");
    assert!(error.contains("calls.csv line 3: /subject expected text"), "{error}");
    let rows = "select organization_id, model, latency_ms, list_price from usage_events";
    let rows = run_ok(&dir.path().join("data"), &["query", rows]);
    assert_eq!(
        rows,
        "organization_id,model,latency_ms,list_price\norg_acme,gpt,844,0.000002500000\n"
    );
    let misspelled = map.replace("[transform.price]", "[transform.prise]");
    let (_, error) = import(dir.path(), &misspelled, "calls.csv", csv.as_bytes());
    assert!(error.contains("`[transform.prise]`: the mapping reads no such column"), "{error}");
}
