//! The pages of the documentation, code samples, and SDKs.

use std::{fs, process::Command};

use reqwest::Method;
use serde_json::json;
use tests::{Client, Server, aihub, folder, reply};

const GUIDES: [&str; 8] = [
    "quick-start",
    "authentication",
    "events",
    "sql",
    "metrics",
    "webhooks",
    "errors",
    "rate-limits",
];

#[tokio::test]
async fn the_documentation_needs_nothing_from_elsewhere_and_nobody_signs_in() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, "");
    let get = async |path: &str| {
        let request = client.request(Method::GET, path);
        reply(request.header("authorization", "").header("accept", "text/html")).await
    };
    for (guide, lang) in GUIDES.iter().flat_map(|guide| [(guide, "en"), (guide, "zh-CN")]) {
        let page = get(&format!("/docs/{guide}?lang={lang}")).await;
        assert_eq!(page.status, 200, "{guide}");
        let html = page.text();
        assert!(html.contains("<h1>") && html.contains("class=\"block"), "{guide}");
        assert!(!html.contains("<script") && !html.contains("src=\"http"), "{guide}");
    }
    assert_eq!(get("/docs/nothing").await.status, 404);
    let reference = get("/docs/reference").await;
    let policy = reference.header("content-security-policy").to_owned();
    assert!(policy.contains("script-src 'self'") && !policy.contains("http"), "{policy}");
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "viewer.js"] {
        let found = get(&format!("/docs/assets/{file}")).await;
        assert!(found.status == 200 && found.text().len() > 300, "{file}");
    }
    for file in ["index.html", "..%2fviewer.js", "nothing.js"] {
        assert_eq!(get(&format!("/docs/assets/{file}")).await.status, 404, "{file}");
    }
    // Nobody makes a key without signing in.
    let made = reply(client.request(Method::POST, "/docs/reference").header("authorization", ""));
    assert!([303, 401].contains(&made.await.status.as_u16()));

    let sample = client.get("/v1/dev/snippets?op=send_events&lang=python").await.1;
    assert!(sample["code"]["python"].as_str().is_some_and(|code| code.contains("send_events(")));
    assert_eq!(client.get("/v1/dev/snippets?op=nothing").await.0, 404);
    assert_eq!(client.get("/v1/dev/snippets?op=send_events&lang=cobol").await.0, 400);
    assert_eq!(client.get("/v1/dev/sdk/cobol.zip").await.0, 404);
    let environment = client.get("/v1/dev/postman-environment.json").await.1;
    assert_eq!(environment["values"][0]["value"], server.ready.url);
    // A word where a number stands is a problem, too.
    let odd = client.get("/v1/dashboards/x/versions/word/restore").await;
    assert!([404, 405].contains(&odd.0.as_u16()), "{odd:?}");
    let odd = client.request(Method::POST, "/v1/dashboards/x/versions/word/restore");
    let odd = reply(odd).await;
    assert_eq!(odd.header("content-type"), "application/problem+json", "{}", odd.text());
    server.stop();
}

#[tokio::test]
async fn the_command_writes_the_sdk_that_the_server_gives() {
    let (dir, out) = (folder(), folder());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, "");
    for (language, file) in [
        ("python", "aihub_analytics/operations.py"),
        ("javascript", "client.js"),
        ("php", "src/Operations.php"),
        ("curl", "aihub.sh"),
    ] {
        let place = out.path().join(language);
        let done = Command::new(aihub())
            .args(["sdk", "--lang", language, "--out"])
            .arg(&place)
            .output()
            .expect("the command runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let text = fs::read_to_string(place.join(file)).expect("the file is there");
        assert!(text.contains("/v1/webhooks/{webhook_id}/rotate-secret"), "{language}");
        let packed =
            reply(client.request(Method::GET, &format!("/v1/dev/sdk/{language}.zip"))).await;
        assert_eq!(
            (packed.status.as_u16(), packed.header("content-type")),
            (200, "application/zip")
        );
    }
    let wrong = Command::new(aihub()).args(["sdk", "--lang", "cobol", "--out", "x"]).output();
    let wrong = wrong.expect("the command runs");
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("known are curl, python"), "{said}");
    server.stop();
}

#[tokio::test]
async fn every_body_has_an_example_that_is_understood() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &tests::admin_key(dir.path()));
    let contract = admin.get("/openapi.json").await.1;
    let mut tried = 0;
    for (path, methods) in contract["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let Some(content) = operation["requestBody"]["content"].as_object() else { continue };
            let id = operation["operationId"].as_str().expect("an id");
            let example = content.values().find_map(|body| body.get("example"));
            let example = example.unwrap_or_else(|| panic!("`{id}` has no example of its body"));
            // What needs something that is there, or does harm, is not asked here.
            let is_apart =
                ["/v1/auth", "/v1/hooks", "/v1/events/"].iter().any(|one| path.starts_with(one));
            if path.contains('{') || is_apart {
                continue;
            }
            let name = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let mut path = path.clone();
            if path == "/v1/webhooks" {
                path += "?organization=org_acme";
            }
            let request = admin.request(name, &path);
            let request = match example {
                serde_json::Value::String(text) => request.body(text.clone()),
                value => request.json(value),
            };
            let answer = reply(request).await;
            let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
            // Others name what is missing of staff, such as an organization.
            let has_range = !answer.text().contains("there is no range");
            let is_understood =
                !["invalid_json", "invalid_body", "invalid_field"].contains(&code.as_str());
            let is_understood = is_understood && has_range;
            assert!(is_understood, "{id}: {}", answer.text());
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
    assert_eq!(json!(contract["openapi"]), json!("3.1.0"));
    server.stop();
}
