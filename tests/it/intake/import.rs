//! History from files that nobody here wrote.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray},
    compute,
};
use parquet::arrow::ArrowWriter;

use tests::{Server, aihub, configure, folder, run, run_ok};

/// The first 500 rows of the Azure LLM inference trace (CC BY 4.0; see datasets/README.md).
fn excerpt() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../datasets/golden/azure_llm_conv_excerpt.csv")
}

/// The row count and the sums of the two number columns, read by hand.
fn totals() -> (u64, u64, u64) {
    let text = fs::read_to_string(excerpt()).unwrap();
    text.lines().skip(1).fold((0, 0, 0), |(rows, input, output), line| {
        let mut numbers = line.split(',').skip(1).map(|n| n.trim().parse::<u64>().unwrap());
        (rows + 1, input + numbers.next().unwrap(), output + numbers.next().unwrap())
    })
}

const TOTALS: &str = "select count(*) as n, sum(input_tokens) as i, sum(output_tokens) as o \
                      from usage_events where source = '/import/azure-llm'";

#[test]
fn the_azure_trace_is_loaded_exactly_and_once() {
    let (dir, file) = (folder(), excerpt().display().to_string());
    let (rows, input, output) = totals();
    assert_eq!((rows, input, output), (500, 467_684, 132_536));
    let import = ["import", "--map", "azure-llm", &file];
    assert_eq!(run_ok(dir.path(), &import), "500 accepted, 0 duplicate, 0 rejected\n");
    let expected = format!("n,i,o\n{rows},{input},{output}\n");
    assert_eq!(run_ok(dir.path(), &["query", TOTALS]), expected);
    assert_eq!(run_ok(dir.path(), &import), "0 accepted, 500 duplicate, 0 rejected\n");
    assert_eq!(run_ok(dir.path(), &["query", TOTALS]), expected);
    // Beside a running server the import goes through it.
    let server = Server::serve(dir.path());
    assert_eq!(run_ok(dir.path(), &import), "0 accepted, 500 duplicate, 0 rejected\n");
    assert_eq!(run_ok(dir.path(), &["query", TOTALS]), expected);
    server.stop();
}

#[test]
fn an_own_mapping_reads_ndjson_and_names_bad_rows() {
    let dir = folder();
    let (map, file) = (dir.path().join("map.toml"), dir.path().join("calls.ndjson"));
    fs::write(
        &map,
        "type = \"usage.request\"\nsource = \"/calls\"\norganization_column = \"account\"\nid_column = \"id\"\n\
         [time]\ncolumn = \"at\"\nformat = \"unix_ms\"\n[columns]\nengine = \"model\"\nprompt = \"input_tokens\"\n",
    )
    .unwrap();
    fs::write(
        &file,
        "{\"id\":7,\"account\":\"org_a\",\"at\":1767225600123,\"engine\":\"m\",\"prompt\":5}\n\
         {\"id\":8,\"account\":\"org_a\",\"at\":1767225600123,\"engine\":\"m\",\"prompt\":\"many\"}\n\
         {\"id\":9,\"account\":\"org_a\",\"at\":1767225600123,\"engine\":\"m\",\"prompt\":6}\n",
    )
    .unwrap();
    let (map, file) = (map.display().to_string(), file.display().to_string());
    let data = dir.path().join("data");
    let output = run(&data, &["import", "--map", &map, &file]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 accepted, 0 duplicate, 1 rejected\n");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("wrong_type") && error.contains("/data/input_tokens"), "{error}");
    let rows = "select event_id, occurred_at, input_tokens from usage_events order by event_id";
    assert_eq!(
        run_ok(&data, &["query", rows]),
        "event_id,occurred_at,input_tokens\n7,2026-01-01T00:00:00.123Z,5\n9,2026-01-01T00:00:00.123Z,6\n"
    );
    let dead = run_ok(&data, &["query", "select code, organization_id from dead_letter"]);
    assert_eq!(dead, "code,organization_id\nwrong_type,org_a\n");
}

#[test]
fn an_unusable_mapping_or_file_is_named() {
    let dir = folder();
    let map = dir.path().join("bad.toml");
    fs::write(&map, "type = \"usage.nothing\"\nsource = \"/x\"\n[time]\ncolumn = \"t\"\n").unwrap();
    let (map, file) = (map.display().to_string(), excerpt().display().to_string());
    for (arguments, part) in [
        (["import", "--map", &map, &file], "`type` is not"),
        (["import", "--map", "nothing", &file], "azure-llm"),
        (["import", "--map", "azure-llm", "/nowhere.csv"], "/nowhere.csv"),
    ] {
        let output = run(&dir.path().join("data"), &arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(part), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

pub(crate) const CALLS: &str = "type = \"usage.request\"\nsource = \"/calls\"\norganization = \"org_a\"\n\
                     id_column = \"id\"\n[time]\ncolumn = \"at\"\n[columns]\nengine = \"model\"\n\
                     prompt = \"input_tokens\"\n[constants]\nprovider = \"p\"\n";

#[test]
fn csv_rows_with_ids_are_known_again_in_another_file() {
    let dir = folder();
    let place = |name: &str| dir.path().join(name).display().to_string();
    let (map, one, two, data) =
        (place("map.toml"), place("one.csv"), place("two.csv"), dir.path().join("data"));
    let row =
        |id: &str, prompt: &str| format!("{id},2026-01-01T01:00:00+01:00,\"m, 1\",{prompt}\n");
    let head = "id,at,engine,prompt\r\n";
    // A number that is none, and a row that ends early, are among good ones.
    let first = [row("a", "5"), row("b", "six"), "d\n".into(), row("c", " 7 ")].concat();
    fs::write(&map, CALLS).unwrap();
    fs::write(&one, format!("{head}{first}")).unwrap();
    fs::write(&two, format!("{head}{}{}", row("c", "7"), row("e", "8").trim_end())).unwrap();
    let output = run(&data, &["import", "--map", &map, &one]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 accepted, 0 duplicate, 2 rejected\n");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let (import, error) = error.split_once('\n').unwrap();
    assert!(import.starts_with(&format!("{one}: import imp_")), "{import}");
    let expected = format!(
        "unreadable_row: 1\n  {one} line 4: it has 1 fields, the header has 4\nwrong_type: 1\n  {one} line 3: \
         /data/input_tokens expected a whole number below 2^63\naihub: 2 rows were rejected; those that were read are \
         kept as dead letters\n"
    );
    assert_eq!(error, expected);
    let output = run_ok(&data, &["import", "--map", &map, &two]);
    assert_eq!(output, "1 accepted, 1 duplicate, 0 rejected\n");
    let rows = "select event_id, occurred_at, model, provider, input_tokens from usage_events \
                order by event_id";
    let at = "2026-01-01T00:00:00Z,\"m, 1\",p";
    let expected =
        format!("event_id,occurred_at,model,provider,input_tokens\na,{at},5\nc,{at},7\ne,{at},8\n");
    assert_eq!(run_ok(&data, &["query", rows]), expected);
    let dead = "select code, pointer from dead_letter order by code";
    let expected = "code,pointer\nwrong_type,/data/input_tokens\n";
    assert_eq!(run_ok(&data, &["query", dead]), expected);
}

pub(crate) fn write_parquet(path: &Path, rows: &RecordBatch) {
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_is_read_beside_a_running_server() {
    let dir = folder();
    let (map, file) = (dir.path().join("map.toml"), dir.path().join("calls.parquet"));
    let millis = CALLS.replace("column = \"at\"", "column = \"at\"\nformat = \"unix_ms\"");
    fs::write(&map, millis).unwrap();
    let numbers = || 0..2_500_i64;
    let prompt = Int64Array::from_iter(numbers().map(|n| (n % 5 != 0).then_some(n)));
    let sum = compute::sum(&prompt).unwrap();
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::from_iter_values(numbers()))),
        ("at", Arc::new(Int64Array::from_iter_values(numbers().map(|n| 1_767_225_600_000 + n)))),
        ("engine", Arc::new(StringArray::from_iter_values(numbers().map(|n| (n % 3).to_string())))),
        ("prompt", Arc::new(prompt)),
    ];
    write_parquet(&file, &RecordBatch::try_from_iter(columns).unwrap());
    let (map, file) = (map.display().to_string(), file.display().to_string());
    let data = dir.path().join("data");
    let server = Server::serve(&data);
    let import = ["import", "--map", &map, &file];
    assert_eq!(run_ok(&data, &import), "2500 accepted, 0 duplicate, 0 rejected\n");
    assert_eq!(run_ok(&data, &import), "0 accepted, 2500 duplicate, 0 rejected\n");
    let totals = "select count(*) as n, count(distinct model) as m, sum(input_tokens) as s, \
                  max(occurred_at) as t from usage_events";
    let expected = format!("n,m,s,t\n2500,3,{sum},2026-01-01T00:00:02.499Z\n");
    assert_eq!(run_ok(&data, &["query", totals]), expected);
    server.stop();
}

#[test]
fn times_of_a_parquet_file_need_no_format() {
    let dir = folder();
    let (map, file) = (dir.path().join("map.toml"), dir.path().join("calls.parquet"));
    fs::write(&map, CALLS).unwrap();
    let at = TimestampMillisecondArray::from(vec![1_767_225_600_123]).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(StringArray::from(vec!["a"]))),
        ("at", Arc::new(at)),
        ("engine", Arc::new(StringArray::from(vec!["m"]))),
        ("prompt", Arc::new(Int64Array::from(vec![5]))),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let data = dir.path().join("data");
    let (map, path) = (map.display().to_string(), &file);
    let file = path.display().to_string();
    // A column that the mapping names must be there.
    write_parquet(path, &rows.project(&[0, 1, 2]).unwrap());
    let output = run(&data, &["import", "--map", &map, &file]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("no column `prompt`; it has id, at, engine"), "{error}");
    write_parquet(path, &rows);
    let output = run_ok(&data, &["import", "--map", &map, &file]);
    assert_eq!(output, "1 accepted, 0 duplicate, 0 rejected\n");
    let at = run_ok(&data, &["query", "select occurred_at from usage_events"]);
    assert_eq!(at, "occurred_at\n2026-01-01T00:00:00.123Z\n");
}

/// Calls on `days` days, one after the other.
fn write_mixed_calls(path: &Path, rows: usize, days: usize) {
    let mut text = String::from("id,at,engine,prompt\n");
    for row in 0..rows {
        let (day, second) = (row % days, row / days);
        let at = format!("2026-01-{:02}T{:02}:{:02}:00Z", day + 1, second / 60 % 24, second % 60);
        text += &format!("{row},{at},m,{}\n", row % 7);
    }
    fs::write(path, text).unwrap();
}

fn data_files(data: &Path) -> usize {
    let days = fs::read_dir(data.join("lake/usage_ledger")).unwrap().flatten();
    let days = days.filter(|day| day.file_name().to_string_lossy().starts_with("event_date="));
    days.map(|day| fs::read_dir(day.path()).unwrap().count()).sum()
}

#[test]
fn mixed_dates_make_few_files() {
    let dir = folder();
    let place = |name: &str| dir.path().join(name).display().to_string();
    let (map, file, data) = (place("map.toml"), place("calls.csv"), dir.path().join("data"));
    fs::write(&map, CALLS).unwrap();
    // In their order, each of 15 flushes would make 30 files.
    write_mixed_calls(Path::new(&file), 60_000, 30);
    fs::create_dir(&data).unwrap();
    configure(&data, "[ingest]\nflush_rows = 4000\n");
    let import = ["import", "--map", &map, &file];
    assert_eq!(run_ok(&data, &import), "60000 accepted, 0 duplicate, 0 rejected\n");
    let files = data_files(&data);
    assert!((30..=80).contains(&files), "{files} files");
    let totals = "select count(*) as n, count(distinct event_id) as i, sum(input_tokens) as s, \
                  count(distinct event_date) as d from usage_events";
    let sum: usize = (0..60_000).map(|row| row % 7).sum();
    assert_eq!(run_ok(&data, &["query", totals]), format!("n,i,s,d\n60000,60000,{sum},30\n"));
    let left = fs::read_dir(data.join("imports")).unwrap().flatten();
    assert!(left.into_iter().all(|entry| entry.path().is_file()), "the sorted rows are removed");
}

/// Starts an import and kills it once its record tells of rows. `None` if it was over before.
fn killed_import(data: &Path, map: &str, file: &str) -> Option<()> {
    let arguments = ["import", "--map", map, file, "--dir", &data.display().to_string()];
    let mut import = Command::new(aihub()).args(arguments).spawn().unwrap();
    let notes = || {
        let notes = fs::read_dir(data.join("imports")).into_iter().flatten().flatten();
        notes.filter_map(|note| fs::read_to_string(note.path()).ok()).collect::<String>()
    };
    let is_noted = || notes().contains("\"rows\"") && !notes().contains("\"rows\": 0,");
    let mut waits = 0;
    while !is_noted() && import.try_wait().unwrap().is_none() {
        waits += 1;
        assert!(waits < 6_000, "no note was written");
        std::thread::sleep(Duration::from_millis(10));
    }
    import.kill().unwrap();
    import.wait().unwrap();
    notes().contains("\"incomplete\"").then_some(())
}

#[test]
fn an_import_that_was_killed_goes_on_where_it_was() {
    let dir = folder();
    let place = |name: &str| dir.path().join(name).display().to_string();
    let (map, file) = (place("map.toml"), place("calls.csv"));
    fs::write(&map, CALLS).unwrap();
    let attempt = |attempt: usize| {
        let (rows, data) = (100_000 << attempt, dir.path().join(format!("data-{attempt}")));
        write_mixed_calls(Path::new(&file), rows, 2);
        killed_import(&data, &map, &file).map(|()| (rows, data))
    };
    let (written, data) = (0..4).find_map(attempt).expect("no import was slow enough to be killed");
    let output = run_ok(&data, &["import", "--map", &map, &file]);
    let (rows, rest) = output.split_once(" accepted, ").unwrap();
    let (_, earlier) = rest.split_once("; an earlier run had sent ").unwrap();
    let earlier: usize = earlier.split(' ').next().unwrap().parse().unwrap();
    assert!(earlier > 0 && rows.parse::<usize>().unwrap() + earlier <= written, "{output}");
    let totals = "select count(*) as n, count(distinct event_id) as i from usage_events";
    assert_eq!(run_ok(&data, &["query", totals]), format!("n,i\n{written},{written}\n"));
    assert_eq!(
        run_ok(&data, &["import", "--map", &map, &file]),
        format!("0 accepted, {written} duplicate, 0 rejected\n")
    );
}
