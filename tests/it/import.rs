//! History from files that nobody here wrote.

use std::{fs, path::PathBuf};

use tests::{Server, folder, run, run_ok};

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
