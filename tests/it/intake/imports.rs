//! Imports are listed, undone and replaced: with the folder alone, and beside a server.

use std::{fs, path::Path};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder, reply, run, run_ok};

const MAP: &str = "type_column = \"kind\"\nsource = \"/import/shop\"\norganization_column = \"org\"\n\
                   id_column = \"id\"\n[time]\ncolumn = \"at\"\nformat = \"%Y-%m-%d %H:%M\"\nzone = \"ZONE\"\n\
                   [columns]\nmodel = \"model\"\ntokens = \"input_tokens\"\nplan = \"plan\"\nvisitor = \"anonymous_id\"\n";
const ROWS: &str = "kind,org,id,at,model,tokens,plan,visitor\n\
                    usage.request,org_a,1,2026-01-01 09:00,m,10,,\n\
                    usage.request,org_a,2,2026-01-01 10:00,m,20,,\n\
                    usage.request,org_b,1,2026-01-02 09:00,m,30,,\n\
                    billing.trial_started,org_a,3,2026-01-01 09:00,,,team,\n\
                    activity.page_viewed,,4,2026-01-01 09:00,,,,ada\n";
const USAGE: &str = "select organization_id as o, occurred_at as t, input_tokens as n, event_id as id, \
                     corrects_id as c from usage_events order by occurred_at, n";
const COUNTS: &str = "select (select count(*) from usage_events) as u, (select count(*) from usage_ledger) as l, \
                      (select count(*) from billing_events) as b, \
                      (select count(*) from activity_events where source <> '/aihub/audit') as a";

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).expect("room for a file");
    path.display().to_string()
}

/// Standard output, standard error and the exit code.
fn told(data: &Path, arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = run(data, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

fn list(data: &Path) -> Vec<Value> {
    let list = run_ok(data, &["import", "list", "--format", "json"]);
    list.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn counts(data: &Path) -> String {
    run_ok(data, &["query", COUNTS]).lines().nth(1).expect("a row").to_owned()
}

fn is_sound(data: &Path) {
    let (output, errors, code) = told(data, &["check"]);
    assert_eq!(code, Some(0), "{output}{errors}");
}

#[test]
fn an_import_is_undone_as_a_whole() {
    for beside_a_server in [false, true] {
        let dir = folder();
        let data = dir.path().join("data");
        let map = write(dir.path(), "map.toml", &MAP.replace("ZONE", "UTC"));
        let early =
            write(dir.path(), "early.csv", &ROWS.lines().take(2).collect::<Vec<_>>().join("\n"));
        let file =
            write(dir.path(), "rows.csv", &format!("{ROWS}usage.request,org_a,5,never,m,1,,\n"));
        run_ok(&data, &["import", "--map", &map, &early]);
        let server = beside_a_server.then(|| Server::serve(&data));
        let (output, errors, _) = told(&data, &["import", "--map", &map, &file]);
        assert_eq!(output, "4 accepted, 1 duplicate, 1 rejected\n");
        assert_eq!(counts(&data), "3,3,1,1");
        let imports = list(&data);
        let id = imports[1]["id"].as_str().unwrap().to_owned();
        assert!(errors.contains(&format!("rows.csv: import {id}")), "{errors}");
        for (name, value) in [
            ("state", json!("complete")),
            ("accepted", json!(4)),
            ("duplicate", json!(1)),
            ("rejected", json!(1)),
            ("source", json!("/import/shop")),
            ("file", json!(file)),
        ] {
            assert_eq!(imports[1][name], value, "{name}: {imports:?}");
        }
        // Run again, it changes nothing but what is told of the last run.
        run(&data, &["import", "--map", &map, &file]);
        assert_eq!(
            (&list(&data)[1]["accepted"], &list(&data)[1]["duplicate"]),
            (&json!(4), &json!(5))
        );
        // What was there before the import stays.
        let undo = ["import", "undo", &id];
        assert_eq!(run_ok(&data, &undo), format!("4 events voided; nothing of {id} counts\n"));
        assert_eq!(counts(&data), "1,5,0,0");
        assert_eq!(run_ok(&data, &undo), format!("0 events voided; nothing of {id} counts\n"));
        let (_, errors, code) = told(&data, &["import", "--map", &map, &file]);
        assert_eq!(code, Some(1));
        assert!(errors.contains(&format!("`--replace {id}` imports it again")), "{errors}");
        // So does another file, or another mapping, with the same events.
        let other =
            write(dir.path(), "other.toml", &format!("# other\n{}", MAP.replace("ZONE", "UTC")));
        let (output, errors, code) = told(&data, &["import", "--map", &other, &file]);
        assert_eq!((output.as_str(), code), ("0 accepted, 5 duplicate, 1 rejected\n", Some(1)));
        let expected = format!("4 rows are events of {id}, which was undone: they do not count");
        assert!(errors.contains(&expected), "{errors}");
        let text = run_ok(&data, &["import", "list"]);
        assert!(text.starts_with("id\tstarted_at\tstate\taccepted\t"), "{text}");
        assert!(text.contains("\tundone\t4\t5\t1\t/import/shop\t"), "{text}");
        assert!(run_ok(&data, &["audit", "list"]).contains("import.undone"));
        if let Some(server) = server {
            server.stop();
        }
        is_sound(&data);
    }
}

#[test]
fn an_import_is_replaced_by_a_mended_one() {
    for beside_a_server in [false, true] {
        let dir = folder();
        let data = dir.path().join("data");
        let wrong = write(dir.path(), "wrong.toml", &MAP.replace("ZONE", "UTC"));
        let map = write(dir.path(), "map.toml", &MAP.replace("ZONE", "Europe/Berlin"));
        let file = write(dir.path(), "rows.csv", ROWS);
        let server = beside_a_server.then(|| Server::serve(&data));
        run_ok(&data, &["import", "--map", &wrong, &file]);
        let first = list(&data)[0]["id"].as_str().unwrap().to_owned();
        // Another row in the place of one, and one more.
        let mended = ROWS.replace("org_b,1,2026-01-02 09:00,m,30", "org_b,9,2026-01-02 09:00,m,31");
        let mended = write(dir.path(), "mended.csv", &mended);
        let replace = ["import", "--replace", &first, "--map", &map, &mended];
        assert_eq!(run_ok(&data, &replace), "5 accepted, 0 duplicate, 0 rejected\n");
        let key: String = {
            let ids = run_ok(
                &data,
                &["query", "select event_id from usage_events where input_tokens = 10"],
            );
            ids.lines().nth(1).unwrap().to_owned()
        };
        assert!(key.starts_with(&format!("correction:{first}.")), "{key}");
        let rows = run_ok(&data, &["query", "--format", "json", USAGE]);
        let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
        let seen: Vec<_> =
            rows.iter().map(|row| (&row["o"], &row["t"], &row["n"], &row["c"])).collect();
        let expected = [
            (json!("org_a"), json!("2026-01-01T08:00:00Z"), json!(10), json!("1")),
            (json!("org_a"), json!("2026-01-01T09:00:00Z"), json!(20), json!("2")),
            (json!("org_b"), json!("2026-01-02T08:00:00Z"), json!(31), Value::Null),
        ];
        assert_eq!(seen, expected.iter().map(|(o, t, n, c)| (o, t, n, c)).collect::<Vec<_>>());
        assert_eq!(counts(&data), "3,9,1,1");
        // The same once more changes nothing; the first one can be neither undone nor replaced once more.
        assert_eq!(run_ok(&data, &replace), "0 accepted, 5 duplicate, 0 rejected\n");
        let second = list(&data)[1]["id"].as_str().unwrap().to_owned();
        assert_eq!(list(&data)[0]["replaced_by"], json!(second));
        for command in [
            vec!["import", "undo", &first],
            vec!["import", "--replace", &first, "--map", &wrong, &mended],
        ] {
            let (_, errors, code) = told(&data, &command);
            assert_eq!(code, Some(1));
            assert!(errors.contains(&format!("{first} was replaced by {second}")), "{errors}");
        }
        assert_eq!(counts(&data), "3,9,1,1");
        // The second one can.
        let replace = ["import", "--replace", &second, "--map", &wrong, &file];
        assert_eq!(run_ok(&data, &replace), "5 accepted, 0 duplicate, 0 rejected\n");
        let rows = run_ok(&data, &["query", USAGE]);
        assert!(rows.contains("org_a,2026-01-01T09:00:00Z,10,correction:imp_"), "{rows}");
        assert_eq!(counts(&data), "3,15,1,1");
        let third = list(&data)[2]["id"].as_str().unwrap().to_owned();
        assert_eq!(
            run_ok(&data, &["import", "undo", &third]),
            format!("5 events voided; nothing of {third} counts\n")
        );
        assert_eq!(counts(&data), "0,18,0,0");
        if let Some(server) = server {
            server.stop();
        }
        is_sound(&data);
    }
}

#[tokio::test]
async fn what_was_corrected_since_is_undone_too() {
    let dir = folder();
    let data = dir.path().join("data");
    let map = write(dir.path(), "map.toml", &MAP.replace("ZONE", "UTC"));
    let file = write(dir.path(), "rows.csv", ROWS);
    let server = Server::serve(&data);
    let client = Client::new(&server, &admin_key(&data));
    run_ok(&data, &["import", "--map", &map, &file]);
    for (path, id) in [("correct", "1"), ("void", "2")] {
        let mut body = json!({"organization": "org_a", "source": "/import/shop", "id": id});
        if path == "correct" {
            body["data"] = json!({"input_tokens": 11});
        }
        let asked = client.request(Method::POST, &format!("/v1/events/{path}")).json(&body);
        assert_eq!(reply(asked).await.status, 200);
    }
    assert_eq!(counts(&data), "2,6,1,1");
    let id = list(&data)[0]["id"].as_str().unwrap().to_owned();
    // Only administrators undo, and only what there is.
    let path = format!("/v1/imports/{id}/undo");
    let member = tests::organization_key(&data, "org_a", "read,write");
    let refused = reply(Client::new(&server, &member).request(Method::POST, &path)).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    for unknown in ["imp_0000000000000000", "imp_..%2F..%2Fx", "x"] {
        let path = format!("/v1/imports/{unknown}/undo");
        assert_eq!(reply(client.request(Method::POST, &path)).await.status, 404);
        let path = format!("/v1/events?replaces={unknown}");
        assert_eq!(reply(client.request(Method::POST, &path).body("{}")).await.status, 404);
    }
    let early =
        reply(client.request(Method::POST, &format!("/v1/events?replaces={id}")).body("{}"));
    assert_eq!(early.await.status, 409);
    let narrow = ["--scopes", "admin,write", "--sources", "/billing/"];
    let narrow = run_ok(&data, &[&["key", "create", "--name", "n"], &narrow[..]].concat());
    let refused = reply(Client::new(&server, &narrow).request(Method::POST, &path)).await;
    assert_eq!(refused.json()["code"], "source_not_allowed", "{}", refused.text());
    let undone = reply(client.request(Method::POST, &path)).await;
    assert_eq!((undone.status.as_u16(), undone.json()), (200, json!({"voided": 4, "left": 0})));
    assert_eq!(counts(&data), "0,8,0,0");
    // Its events are entered again by a replacement only.
    let alone =
        reply(client.request(Method::POST, &format!("/v1/events?replaces={id}")).body("{}"));
    assert_eq!(alone.await.json()["code"], "import_not_usable");
    server.stop();
    is_sound(&data);
}

#[test]
fn many_events_are_undone_in_steps_and_after_a_restore() {
    let dir = folder();
    let data = dir.path().join("data");
    let map = write(dir.path(), "map.toml", &MAP.replace("ZONE", "UTC"));
    let mut rows = ROWS.lines().next().unwrap().to_owned() + "\n";
    for row in 0..45_000 {
        rows +=
            &format!("usage.request,org_{},r{row},2026-01-0{} 09:00,m,1,,\n", row % 7, 1 + row % 9);
    }
    let file = write(dir.path(), "rows.csv", &rows);
    run_ok(&data, &["import", "--map", &map, &file]);
    let copy = dir.path().join("copy").display().to_string();
    run_ok(&data, &["backup", "--to", &copy]);
    let id = list(&data)[0]["id"].as_str().unwrap().to_owned();
    let all = format!("45000 events voided; nothing of {id} counts\n");
    assert_eq!(run_ok(&data, &["import", "undo", &id]), all);
    let restored = dir.path().join("restored");
    run_ok(&restored, &["restore", "--from", &copy]);
    for data in [data, restored] {
        if counts(&data) == "45000,45000,0,0" {
            assert_eq!(run_ok(&data, &["import", "undo", &id]), all);
        }
        assert_eq!(counts(&data), "0,90000,0,0");
        is_sound(&data);
    }
}

#[test]
fn a_damaged_record_is_told_and_not_written_over() {
    let dir = folder();
    let data = dir.path().join("data");
    let map = write(dir.path(), "map.toml", &MAP.replace("ZONE", "UTC"));
    let file = write(dir.path(), "rows.csv", ROWS);
    run_ok(&data, &["import", "--map", &map, &file]);
    let id = list(&data)[0]["id"].as_str().unwrap().to_owned();
    let record = data.join("imports").join(format!("{id}.json"));
    fs::write(&record, "{").unwrap();
    for command in [
        vec!["import", "list"],
        vec!["import", "undo", &id],
        vec!["import", "--map", &map, &file],
        vec!["import", "--replace", &id, "--map", &map, &file],
    ] {
        let (_, errors, code) = told(&data, &command);
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains(&format!("{} cannot be used", record.display())), "{errors}");
    }
    assert_eq!(fs::read_to_string(&record).unwrap(), "{");
}

/// The entry of a row whose answer did not come.
fn sent(id: &str) -> Vec<u8> {
    [&[0_u8][..], &ingest::identity::Key::of("org_a", "/import/shop", id).0].concat()
}

#[test]
fn of_a_run_that_was_broken_off_only_its_own_events_are_undone() {
    for beside_a_server in [false, true] {
        let dir = folder();
        let data = dir.path().join("data");
        let map = write(dir.path(), "map.toml", &MAP.replace("ZONE", "UTC"));
        let file = write(dir.path(), "rows.csv", ROWS);
        let row = |id: &str| format!("usage.request,org_a,{id},2026-01-01 09:00,m,1,,\n");
        let head = ROWS.lines().next().unwrap();
        let other = write(dir.path(), "other.csv", &format!("{head}\n{}{}", row("x1"), row("x2")));
        run_ok(&data, &["import", "--map", &map, &file]);
        let id = list(&data)[0]["id"].as_str().unwrap().to_owned();
        // As if it had been killed: one of its own answers did not come, and two rows were not taken.
        let (record, keys) = (format!("imports/{id}.json"), format!("imports/{id}.keys"));
        let (record, keys) = (data.join(record), data.join(keys));
        let text = fs::read_to_string(&record).unwrap();
        let text =
            text.replace("\"complete\"", "\"incomplete\"").replace("\"rows\": 5", "\"rows\": 4");
        fs::write(&record, text).unwrap();
        let mut entries = fs::read(&keys).unwrap();
        let last = entries.len() - 17;
        entries[last] = 0;
        entries.extend([sent("x1"), sent("x2")].concat());
        fs::write(&keys, &entries).unwrap();
        let server = beside_a_server.then(|| Server::serve(&data));
        let output = run_ok(&data, &["import", "--map", &map, &other]);
        assert_eq!(output, "2 accepted, 0 duplicate, 0 rejected\n");
        // It goes on, and is undone: what the other import brought stays.
        let output = run_ok(&data, &["import", "--map", &map, &file]);
        assert!(output.starts_with("0 accepted, 1 duplicate, 0 rejected"), "{output}");
        let undo = run_ok(&data, &["import", "undo", &id]);
        assert_eq!(undo, format!("5 events voided; nothing of {id} counts\n"));
        assert_eq!(counts(&data), "2,8,0,0");
        if let Some(server) = server {
            server.stop();
        }
        // Without what is known of its events an import is not undone.
        let third = list(&data)[1]["id"].as_str().unwrap().to_owned();
        fs::remove_file(data.join(format!("imports/{third}.keys"))).unwrap();
        let (_, errors, code) = told(&data, &["import", "undo", &third]);
        assert!(code == Some(1) && errors.contains("is not complete"), "{errors}");
        assert_eq!(counts(&data), "2,8,0,0");
    }
}
