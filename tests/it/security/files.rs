//! What others on the machine can read, and what a text does to the terminal or the spreadsheet that shows it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tests::{Client, admin_key, aihub, configure, flushed, folder, run, run_ok, usage};

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
