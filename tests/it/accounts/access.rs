//! Who may do what: every route of the contract, asked by everybody. A new route, or a right that changed, changes the golden
//! table.

use std::{fmt::Write, fs, path::Path};

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tests::{Client, Server, admin_key, folder, organization_key, reply, run_ok};

/// Routes that end what asks, which come last and are asked by nobody else.
const ENDING: [&str; 2] = ["/v1/auth/logout", "/v1/auth/logout-all"];

async fn token(server: &Server, dir: &Path, name: &str, role: &str) -> String {
    let email = format!("{name}@x.example");
    let mut create = vec!["user", "create", "--email", &email, "--role", role];
    if ["user", "enterprise"].contains(&role) {
        create.extend(["--organization", "org_a"]);
    }
    let told = run_ok(dir, &create);
    let password = told.split_whitespace().last().expect("a password").to_owned();
    let body = json!({"grant_type": "password", "email": email, "password": password});
    let answer =
        reply(Client::new(server, "").request(Method::POST, "/v1/auth/token").json(&body)).await;
    answer.json()["access_token"].as_str().expect("a token").to_owned()
}

/// Ids of nothing: what a right lets through is not found.
fn concrete(path: &str) -> String {
    let mut text = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, end) = after.split_once('}').expect("a name");
        text += before;
        text += match name {
            "name" | "metric" => "requests",
            "role" => "analyst",
            "version" => "1",
            _ => "nothing_1",
        };
        rest = end;
    }
    text + rest
}

fn asked(client: &Client, method: &str, path: &str) -> RequestBuilder {
    let name = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
    let request = client.request(name, path);
    if method == "get" || method == "delete" { request } else { request.json(&json!({})) }
}

#[tokio::test]
async fn every_route_is_for_whom_the_table_says() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let own = |scopes| organization_key(dir.path(), "org_a", scopes).trim().to_owned();
    let key = |scopes| run_ok(dir.path(), &["key", "create", "--name", "k", "--scopes", scopes]);
    let mut who =
        vec![("nobody", String::new()), ("own read", own("read")), ("own write", own("write"))];
    who.extend([("read", key("read")), ("write", key("write")), ("verify", key("verify"))]);
    for role in ["user", "enterprise", "manager", "analyst"] {
        who.push((role, token(&server, dir.path(), role, role).await));
    }
    who.push(("suspended", token(&server, dir.path(), "suspended", "enterprise").await));
    who.push(("admin", admin_key(dir.path())));
    let admin = Client::new(&server, &admin_key(dir.path()));
    let (_, found) = admin.get("/v1/admin/users?search=suspended").await;
    let id = found["users"][0]["user_id"].as_str().expect("a user");
    let path = format!("/v1/admin/users/{id}/suspend");
    assert_eq!(reply(admin.request(Method::POST, &path)).await.status, 204);
    let clients: Vec<_> =
        who.iter().map(|(name, secret)| (*name, Client::new(&server, secret.trim()))).collect();
    let contract = reply(clients[0].1.request(Method::GET, "/openapi.json")).await.json();
    let names: Vec<_> = who.iter().map(|(name, _)| *name).collect();
    let mut table = format!("route: {}\n", names.join(", "));
    for (path, methods) in contract["paths"].as_object().expect("paths") {
        for method in ["get", "post", "put", "patch", "delete"] {
            if methods.get(method).is_none() || ENDING.contains(&path.as_str()) {
                continue;
            }
            let mut rights = Vec::new();
            for (_, client) in &clients {
                // A stream has no end: its status says enough.
                let answer =
                    asked(client, method, &concrete(path)).send().await.expect("an answer");
                rights.push(match answer.status().as_u16() {
                    401 => "-",
                    403 => "no",
                    status @ 500.. if status != 503 => panic!("{method} {path}: {status}"),
                    _ => "yes",
                });
            }
            let _ = writeln!(table, "{method} {path}: {}", rights.join(", "));
        }
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/golden/access.txt");
    if std::env::var_os("AIHUB_TEST_UPDATE").is_some() {
        fs::write(&golden, &table).expect("the golden file is written");
    }
    let kept = fs::read_to_string(&golden).unwrap_or_default();
    let differing = table.lines().filter(|line| !kept.lines().any(|known| known == *line));
    let differing: Vec<_> = differing.collect();
    assert!(
        kept == table,
        "rights differ; AIHUB_TEST_UPDATE=1 writes them anew:\n{}",
        differing.join("\n")
    );
    tricks_of_paths(&clients, &server).await;
    server.stop();
}

/// Another spelling of a route is no way around its rights.
async fn tricks_of_paths(clients: &[(&str, Client)], server: &Server) {
    let (_, user) = clients.iter().find(|(name, _)| *name == "user").expect("a user");
    for path in [
        "/v1/admin/users/",
        "//v1/admin/users",
        "/v1//admin/users",
        "/V1/admin/users",
        "/v1/admin/Users",
        "/v1/admin/%75sers",
        "/v1/keys/../admin/users",
        "/v1/admin/users;x=1",
        "/v1/admin/users%00",
        "/v1/admin/users%2e",
    ] {
        let answer = reply(user.request(Method::GET, path)).await;
        let is_refused = [403, 404].contains(&answer.status.as_u16());
        assert!(is_refused, "{path}: {} {}", answer.status, answer.text());
    }
    for header in ["x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"]
    {
        let value = if header.starts_with("x-o") || header.starts_with("x-r") {
            "/v1/admin/users"
        } else {
            "DELETE"
        };
        let request = user.request(Method::GET, "/v1/me").header(header, value);
        let answer = reply(request).await.json();
        assert_eq!(answer["role"], json!("user"), "{header}");
    }
    let nobody = Client::new(server, "");
    for query in ["?api_key=x", "?access_token=x", "?token=x"] {
        let (status, _) = nobody.get(&format!("/v1/me{query}")).await;
        assert_eq!(status, 401, "{query}");
    }
}
