//! What others on the machine can read, and what a text does to the terminal or the spreadsheet that shows it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, Reply, Server, admin_key, aihub, configure, flushed, folder, reply, run, run_ok, usage,
};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("a file").permissions().mode() & 0o777
}

/// Opens a folder and all in it to everybody.
fn open(dir: &Path) {
    for path in tree(dir) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("to open it");
    }
}

/// A folder and all in it.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_path_buf()];
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[track_caller]
fn is_private(dir: &Path) {
    let open: Vec<_> = tree(dir).into_iter().filter(|path| mode(path) & 0o077 != 0).collect();
    assert!(open.is_empty(), "others can read {open:?}");
}

/// Runs a command, whose messages are of interest, and gives its exit code and them.
fn told(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(dir, arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn fill(client: &Client) {
    let events: Vec<_> =
        (0..5).map(|id| usage("org_a", &id.to_string(), json!({"user_id": "ann"}))).collect();
    let (status, answer) = client.send("application/json", json!(events).to_string()).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn everything_in_a_data_folder_is_its_owners() {
    let above = folder();
    let (dir, backup) = (above.path().join("data"), above.path().join("backup"));
    // A folder that was there, a process that would let everybody read, and a backup that others could read.
    for dir in [&dir, &backup] {
        fs::create_dir(dir).expect("a folder");
        fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).expect("to open it");
    }
    configure(&dir, "[ingest]\nflush_seconds = 1\n");
    let mut server = Command::new("sh")
        .args(["-c", "umask 0; exec \"$0\" \"$@\""])
        .arg(aihub())
        .args(["serve", "--port", "0", "--format", "json", "--dir"])
        .arg(&dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let mut line = String::new();
    let out = server.stdout.take().expect("its output");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("a line");
    let ready: Value = serde_json::from_str(&line).expect("it is ready");
    let client = Client::at(ready["url"].as_str().expect("a URL"), &admin_key(&dir));
    fill(&client).await;
    flushed(&client).await;
    assert_eq!(client.query("select count(*) as n from usage_events").await.0, 200);
    // The configuration is the operator's.
    fs::remove_file(dir.join("aihub.toml")).expect("it goes");
    is_private(&dir);
    assert!(dir.join("state.db-wal").exists() && dir.join("server.json").exists());

    let to = backup.to_str().expect("UTF-8");
    run_ok(&dir, &["backup", "--to", to]);
    is_private(&backup);
    assert!(tree(&backup).iter().any(|path| path.ends_with("pseudonym.key")));
    // An earlier backup that was left open is closed, what is not copied again, too.
    open(&backup);
    run_ok(&dir, &["backup", "--to", to]);
    is_private(&backup);
    // A place with other things in it is not closed under their owner's feet.
    let shared = above.path().join("shared");
    fs::create_dir(&shared).expect("a folder");
    fs::write(shared.join("notes"), "").expect("a file");
    open(&shared);
    let (code, error) = told(&dir, &["backup", "--to", shared.to_str().expect("UTF-8")]);
    assert!(code == Some(2) && error.contains("chmod 700"), "{error}");
    assert_eq!((mode(&shared), fs::read_dir(&shared).expect("it").count()), (0o755, 1));

    let restored = above.path().join("restored");
    fs::create_dir(&restored).expect("a folder");
    fs::set_permissions(&restored, PermissionsExt::from_mode(0o755)).expect("to open it");
    run_ok(&restored, &["restore", "--from", to]);
    is_private(&restored);
    tests::signal(server.id(), "INT");
    assert!(server.wait().expect("its end").success());
}

#[test]
fn a_folder_that_others_can_read_is_closed_or_refused() {
    let dir = folder();
    run_ok(dir.path(), &["key", "create", "--name", "k"]);
    open(dir.path());
    let (code, messages) = told(dir.path(), &["key", "list"]);
    assert!(code == Some(0) && messages.contains("owner's only now"), "{messages}");
    is_private(dir.path());
    let (code, messages) = told(dir.path(), &["key", "list"]);
    assert_eq!((code, messages.as_str()), (Some(0), ""));

    let shared = folder();
    fs::write(shared.path().join("notes"), "").expect("a file");
    open(shared.path());
    for command in [&["serve", "--port", "0"][..], &["key", "list"], &["query", "select 1"]] {
        let (code, error) = told(shared.path(), command);
        assert!(code == Some(2) && error.contains("chmod 700"), "{command:?}: {error}");
    }
    assert_eq!((mode(shared.path()), mode(&shared.path().join("notes"))), (0o755, 0o644));
    assert_eq!(tree(shared.path()).len(), 2, "nothing was written");

    // What the user asked for is as any other program would make it.
    let made = folder();
    let (ours, theirs) = (made.path().join("truth.json"), made.path().join("mine"));
    fs::write(&theirs, "").expect("a file");
    let out = made.path().to_str().expect("UTF-8");
    run_ok(dir.path(), &["generate", "--out", out, "--days", "2", "--organizations", "2"]);
    assert_eq!(mode(&ours), mode(&theirs));
}

/// Who can write to a folder must not lead an administrator's command to files elsewhere.
#[test]
fn planted_links_lead_nowhere() {
    let elsewhere = folder();
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "kept").expect("a file");
    open(elsewhere.path());
    for (mode, planted) in [
        (0o777, ".writable"),
        (0o1777, "pseudonym.tmp"),
        (0o775, "log"),
        (0o777, "pseudonym.key"),
        (0o777, "state.db"),
        // Closed by its owner, with what is in it.
        (0o700, "log"),
        (0o755, "state.db"),
    ] {
        let dir = folder();
        symlink(&victim, dir.path().join(planted)).expect("a link");
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).expect("its mode");
        for command in [&["key", "create", "--name", "k"][..], &["serve", "--port", "0"]] {
            let (code, error) = told(dir.path(), command);
            assert_eq!(code, Some(2), "{mode:o} {planted}: {error}");
        }
        assert_eq!(self::mode(&victim), 0o644, "{mode:o} {planted}");
        assert_eq!(fs::read_to_string(&victim).expect("it"), "kept", "{mode:o} {planted}");
    }
    // What stands under names that nobody uses is left alone.
    let dir = folder();
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).expect("its mode");
    for unused in [".writable", "pseudonym.tmp"] {
        symlink(&victim, dir.path().join(unused)).expect("a link");
    }
    run_ok(dir.path(), &["key", "create", "--name", "k"]);
    fs::hard_link(&victim, dir.path().join("truth.json")).expect("a link");
    let (code, error) = told(dir.path(), &["key", "list"]);
    assert!(code == Some(2) && error.contains("hard link"), "{error}");
    assert_eq!(fs::read_to_string(&victim).expect("it"), "kept");
}

#[tokio::test]
async fn tables_in_a_folder_of_their_own_are_private_too() {
    let (dir, tables) = (folder(), folder());
    let url = format!("file://{}", tables.path().display());
    configure(dir.path(), &format!("[lake]\nurl = \"{url}\"\n"));
    let server = Server::serve(dir.path());
    fill(&Client::new(&server, &admin_key(dir.path()))).await;
    server.stop();
    open(tables.path());
    let counted = run_ok(dir.path(), &["query", "select count(*) as n from usage_events"]);
    assert_eq!(counted, "n\n5\n");
    is_private(tables.path());
    fs::set_permissions(tables.path(), PermissionsExt::from_mode(0o777)).expect("its mode");
    assert_eq!(told(dir.path(), &["query", "select 1"]).0, Some(2));
}

/// It clears a terminal.
const ESCAPE: &str = "\u{1b}[2J";

/// Each of these does something to a terminal, or ends a line where a name is.
const CONTROLS: [&str; 8] =
    ["\0", "\u{1b}[2J", "\u{7f}", "\u{9b}2J", "\n", "\t", "\u{202e}", "\u{2028}"];

#[tokio::test]
async fn names_hold_no_controls() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let mut events = Vec::new();
    let mut expected = Vec::new();
    let mut event = |members: Value, data: Value, pointer: &str| {
        let mut event = usage("org_a", &format!("e{}", events.len()), data);
        for (name, value) in members.as_object().expect("members") {
            event[name] = value.clone();
        }
        events.push(event);
        expected.push(pointer.to_owned());
    };
    for control in CONTROLS {
        let text = format!("a{control}b");
        event(json!({"id": text}), json!({}), "/id");
        event(json!({"source": text}), json!({}), "/source");
        event(json!({"type": text}), json!({}), "/type");
        event(json!({"subject": text}), json!({}), "/subject");
        for column in [
            "project_id",
            "api_key_id",
            "user_id",
            "session_id",
            "model",
            "provider",
            "operation",
            "service_tier",
            "feature",
            "error_code",
            "region",
        ] {
            event(json!({}), json!({column: text}), &format!("/data/{column}"));
        }
        event(json!({}), json!({text.clone(): 1}), &format!("/data/{text}"));
    }
    // What people write may have lines.
    for control in ["\0", "\u{1b}", "\u{9b}", "\u{202e}"] {
        event(json!({}), json!({"note": format!("a{control}")}), "/data/note");
        let activity = json!({"type": "activity.page_viewed"});
        event(activity, json!({"path": format!("/a{control}")}), "/data/path");
    }
    let sent = events.len();
    let (status, answer) = client.send("application/json", json!(events).to_string()).await;
    assert_eq!(status, 400, "{answer}");
    let results = answer["results"].as_array().expect("results");
    assert_eq!((results.len(), &answer["accepted"]), (sent, &json!(0)));
    for (result, pointer) in results.iter().zip(&expected) {
        assert_eq!(result["pointer"], *pointer, "{result}");
        let code = result["code"].as_str().unwrap_or_default();
        assert!(["invalid_value", "invalid_attributes"].contains(&code), "{result}");
    }
    refused_in_headers(&client, events[0]["time"].as_str().expect("a time")).await;
    let lines = usage("org_a", "lines", json!({"note": "a\tb\r\nc", "model": "Zoë 株式会社"}));
    let (status, answer) = client.send("application/json", lines.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    let found = client.rows("select model, attributes from usage_events").await;
    assert_eq!(
        found,
        [json!({"model": "Zoë 株式会社", "attributes": "{\"note\":\"a\\tb\\r\\nc\"}"})]
    );
}

/// In headers they are written as `%1b`.
async fn refused_in_headers(client: &Client, time: &str) {
    let binary =
        client.request(Method::POST, "/v1/events").header("content-type", "application/json");
    let members =
        [("specversion", "1.0"), ("id", "a%1b[2J"), ("source", "/s"), ("subject", "org_a")];
    let binary = members
        .iter()
        .fold(binary, |request, (name, value)| request.header(format!("ce-{name}"), *value));
    let binary = binary.header("ce-type", "usage.request").header("ce-time", time);
    let answer = reply(binary.body("{\"model\":\"m\"}")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["results"][0]["pointer"], "/id", "{}", answer.text());
}

#[tokio::test]
async fn names_of_our_own_things_hold_none_either() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    for control in CONTROLS {
        let name = format!("a{control}b");
        let bodies = [
            ("/v1/keys", json!({"name": name, "scopes": ["read"]})),
            ("/v1/saved-queries", json!({"name": name, "sql": "select 1"})),
        ];
        for (path, body) in bodies {
            let answer = reply(client.request(Method::POST, path).json(&body)).await;
            assert_eq!(answer.status, 400, "{path} {name:?}");
            assert_eq!(answer.json()["code"], "invalid_field", "{path} {name:?}");
        }
    }
    let named = ["organization", "create", "org_a", "--country", "DE", "--name", ESCAPE];
    assert_eq!(run(dir.path(), &named).status.code(), Some(1));
    let named = ["user", "create", "--role", "admin", "--email", "a\u{202e}b@example.com"];
    assert_eq!(run(dir.path(), &named).status.code(), Some(1));
}

#[test]
fn a_terminal_is_not_moved() {
    let dir = folder();
    let key = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    let waiting = tokio::runtime::Runtime::new().expect("a runtime");
    waiting.block_on(fill(&client));
    let statement = format!("select '{ESCAPE}' as x, ['{ESCAPE}'] as y, 1 as \"{ESCAPE}\"");
    let no_such = format!("user_{ESCAPE}");
    for arguments in [
        &["query", "--format", "table", &statement][..],
        &["query", &format!("select \"{ESCAPE}\" from usage_events")],
        &["query", "--explain", &statement],
        &["user", "disable", &no_such],
        &["audit", "verify", "--head", ESCAPE],
        &["metrics", ESCAPE],
        &["key", "list"],
    ] {
        let output = run(dir.path(), arguments);
        let shown = [&output.stdout[..], &output.stderr[..]].concat();
        assert!(!shown.is_empty(), "{arguments:?}");
        // The plan of a statement is told as it is, but not to a terminal.
        let raw = arguments[1] == "--explain";
        assert!(
            raw || !shown.contains(&0x1b),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&shown)
        );
    }
    let table = run_ok(dir.path(), &["query", "--format", "table", &statement]);
    assert_eq!(table.matches("\\u{1b}[2J").count(), 3, "{table}");
    // For a program, a cell is what it is.
    let statement = format!("select '{ESCAPE}' as x, 1 as \"{ESCAPE}\"");
    assert!(run_ok(dir.path(), &["query", "--format", "csv", &statement]).contains(ESCAPE));
    for format in ["csv", "ndjson", "json", "table"] {
        let shown = in_a_terminal(dir.path(), &["query", "--format", format, &statement]);
        assert!(shown.contains("[2J") && !shown.contains('\u{1b}'), "{format}: {shown:?}");
    }
    let plan = in_a_terminal(dir.path(), &["query", "--explain", &statement]);
    assert!(plan.contains("[2J") && !plan.contains('\u{1b}'), "{plan:?}");
    let binary = in_a_terminal(dir.path(), &["query", "--format", "arrow", &statement]);
    assert!(binary.contains("does not show this format"), "{binary}");
}

/// What a command writes to a terminal, which `script` makes.
fn in_a_terminal(dir: &Path, arguments: &[&str]) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let mut line = quoted(aihub().to_str().expect("UTF-8"));
    let dir = ["--dir", dir.to_str().expect("UTF-8")];
    for argument in arguments.iter().chain(&dir) {
        line = format!("{line} {}", quoted(argument));
    }
    let output = Command::new("script")
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("`script` of util-linux");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_spreadsheet_runs_nothing() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let (status, answer) = client
        .send("application/json", usage("org_a", "1", json!({"feature": "=1+1"})).to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
    let sql = "select feature as \"@head\", '-1+cmd|calc' as a, '＝1' as b, -5 as n, \
               cast('-1.50' as decimal(10, 2)) as money, -0.5e0 as f, 'x=1' as c, '-7' as d \
               from usage_events";
    let raw = "@head,a,b,n,money,f,c,d\n=1+1,-1+cmd|calc,＝1,-5,-1.50,-0.5,x=1,-7\n";
    let safe = "'@head,a,b,n,money,f,c,d\n'=1+1,'-1+cmd|calc,'＝1,-5,-1.50,-0.5,x=1,-7\n";
    let text = |answer: Reply| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.header("content-type").starts_with("text/csv"));
        answer.text()
    };
    let post =
        async |path: &str, body: Value| reply(client.request(Method::POST, path).json(&body)).await;
    for (more, expected) in [
        (json!({"format": "csv"}), raw),
        (json!({"csv": "raw"}), raw),
        (json!({"format": "csv", "csv": "spreadsheet"}), safe),
        (json!({"csv": "spreadsheet"}), safe),
    ] {
        let mut body = json!({"sql": sql});
        body.as_object_mut().expect("it").extend(more.as_object().expect("it").clone());
        assert_eq!(text(post("/v1/query", body).await), expected, "{more}");
    }
    let get = async |path: String| reply(client.request(Method::GET, &path)).await;
    let asked: String = sql.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let asked = format!("/v1/query?q={asked}&format=csv&csv=");
    assert_eq!(text(get(format!("{asked}spreadsheet")).await), safe);
    assert_eq!(get(format!("{asked}excel")).await.status, 400);
    // The same for answers that are kept, and for saved queries.
    let started = post("/v1/queries", json!({"sql": sql})).await.json();
    let id = started["query_id"].as_str().expect("an id");
    for _ in 0..100 {
        if client.get(&format!("/v1/queries/{id}")).await.1["status"] == "done" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let kept = format!("/v1/queries/{id}/result?format=csv");
    assert_eq!(text(get(kept.clone()).await), raw);
    assert_eq!(text(get(format!("{kept}&csv=spreadsheet")).await), safe);
    let saved = post("/v1/saved-queries", json!({"name": "sheet", "sql": sql})).await;
    assert_eq!(saved.status, 201, "{}", saved.text());
    let rows = "/v1/saved-queries/sheet/rows?csv=spreadsheet".to_owned();
    assert_eq!(text(get(rows).await), safe);
}
