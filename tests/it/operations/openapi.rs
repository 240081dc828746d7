//! The contract of the HTTP interface, kept as a file.

use std::{fs, path::Path};

use reqwest::Method;
use serde_json::Value;
use tests::{Client, Server, folder, reply};

/// A text without the spaces before each line, so that the golden file is smaller.
fn unindented(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim_start_matches(' '))).collect()
}

/// What nobody signs in for, though an answer may be 401.
const OPEN: [&str; 5] =
    ["/healthz", "/readyz", "/v1/auth/login", "/v1/auth/second-factor", "/v1/auth/token"];

#[tokio::test]
async fn the_contract_is_the_golden_files_and_its_routes_exist() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, "");
    let answer = reply(client.request(Method::GET, "/openapi.json")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    let contract = answer.json();
    // In two files: one would be large.
    let mut rest = contract.clone();
    let paths = rest["paths"].take();
    for (name, served) in [("openapi.json", rest), ("openapi_paths.json", paths)] {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/golden").join(name);
        let served = serde_json::to_string_pretty(&served).expect("JSON");
        let served = unindented(&served);
        if std::env::var_os("AIHUB_TEST_UPDATE").is_some() {
            fs::write(&golden, &served).expect("the golden file is written");
        }
        let kept = fs::read_to_string(&golden).unwrap_or_default();
        let same = kept == served;
        assert!(same, "{} differs; AIHUB_TEST_UPDATE=1 writes it anew", golden.display());
    }
    assert!(contract["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")));

    let mut routes = 0;
    for (path, methods) in contract["paths"].as_object().expect("paths") {
        let concrete = path.replace("{name}", "requests").replace("{metric}", "requests");
        let concrete = concrete.replace("{id}", "key_1").replace("{api_key_id}", "key_1");
        let concrete = concrete.replace("{role}", "analyst").replace("{user_id}", "user_1");
        let concrete = concrete.replace("{organization_id}", "org_1");
        let concrete = concrete.replace("{override_id}", "override_1");
        let concrete = concrete.replace("{session_id}", "session_1");
        let concrete = concrete.replace("{invitation_id}", "token_1");
        let concrete = concrete.replace("{project_id}", "proj_1");
        let concrete = concrete.replace("{invoice_id}", "inv_1").replace("{line}", "1");
        let concrete = concrete.replace("{month}", "2026-02");
        let concrete = concrete.replace("{payment_id}", "pay_1");
        let concrete = concrete.replace("{run}", "run_1").replace("{incident}", "incident_1");
        let concrete = concrete.replace("{version}", "1").replace("{link}", "link_1");
        assert!(!concrete.contains('{'), "{path} has a parameter that this test does not fill");
        for method in ["get", "post", "put", "patch", "delete"] {
            let Some(operation) = methods.get(method) else { continue };
            let name = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let found = reply(client.request(name, &concrete)).await;
            assert!(![404, 405].contains(&found.status.as_u16()), "{method} {path}");
            let said = |status: &str| operation["responses"].get(status).is_some();
            let guarded =
                operation["security"] != Value::Array(vec![]) && !OPEN.contains(&path.as_str());
            if guarded && said("401") {
                assert_eq!(found.status, 401, "{method} {path} without credentials");
            }
            routes += 1;
        }
    }
    assert!(routes >= 15, "{routes} routes");

    // Every code is in the contract, and said.
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let docs = fs::read_to_string(docs).expect("docs/errors.md");
    let codes = contract["components"]["schemas"]["Code"]["enum"].as_array().expect("codes");
    for code in codes.iter().filter_map(Value::as_str) {
        assert!(docs.contains(&format!("| `{code}` |")), "docs/errors.md does not say `{code}`");
    }
    assert_eq!(docs.matches("\n| `").count() - docs.matches("| `code` |").count(), codes.len());
    server.stop();
}
