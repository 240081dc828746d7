//! Who may do what: every route of the contract, asked by everybody. A new route, or a right that changed, changes the golden
//! table.

use std::{fmt::Write, fs, path::Path};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, configure, folder, organization_key, reply, run_ok};

/// Pages, which the contract does not list.
const PAGES: [&str; 24] = [
    "/home",
    "/account",
    "/organization",
    "/keys",
    "/usage",
    "/billing",
    "/billing/plans",
    "/billing/invoices/nothing_1",
    "/admin/billing",
    "/admin/billing/prices",
    "/admin/users",
    "/admin/users/nothing_1",
    "/admin/organizations",
    "/admin/audit",
    "/dashboards/business",
    "/dashboards/business/edit",
    "/reports",
    "/alerts",
    "/anomalies",
    "/forecasts",
    "/churn",
    "/metrics-catalog",
    "/queries",
    "/sql",
];

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

/// Who asks: the name in the table, a client with a key or an access token, and a cookie.
struct Caller {
    name: &'static str,
    client: Client,
    cookie: Option<String>,
}

fn asked(caller: &Caller, method: &str, path: &str) -> RequestBuilder {
    let name = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
    let mut request = caller.client.request(name, path);
    if let Some(cookie) = &caller.cookie {
        request = request.header("cookie", cookie).header("sec-fetch-site", "same-origin");
    }
    if method == "get" || method == "delete" { request } else { request.json(&json!({})) }
}

#[tokio::test]
async fn every_route_is_for_whom_the_table_says() {
    let dir = folder();
    configure(dir.path(), "[accounts]\nsecond_factor = [\"admin\"]\n");
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
    who.push(("no factor", token(&server, dir.path(), "missing", "admin").await));
    who.push(("admin", admin_key(dir.path())));
    let admin = Client::new(&server, &admin_key(dir.path()));
    let act = async |name: &str, verb: &str| {
        let (_, found) = admin.get(&format!("/v1/admin/users?search={name}@")).await;
        let id = found["users"][0]["user_id"].as_str().expect("a user");
        reply(admin.request(Method::POST, &format!("/v1/admin/users/{id}/{verb}"))).await
    };
    assert_eq!(act("suspended", "suspend").await.status, 204);
    let view = act("enterprise", "view").await;
    let cookie = view.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    let caller = |(name, secret): (&'static str, String)| {
        let client = Client::new(&server, secret.trim());
        Caller { name, client, cookie: None }
    };
    let mut callers: Vec<_> = who.into_iter().map(caller).collect();
    let client = Client::new(&server, "");
    callers.push(Caller { name: "view", client, cookie: Some(cookie) });
    let contract = reply(callers[0].client.request(Method::GET, "/openapi.json")).await.json();
    let table = table(&contract, &callers).await;
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
    tricks_of_paths(&callers, &server).await;
    server.stop();
}

/// Whether each may use each route and open each page.
async fn table(contract: &Value, callers: &[Caller]) -> String {
    let names: Vec<_> = callers.iter().map(|caller| caller.name).collect();
    let mut table = format!("route: {}\n", names.join(", "));
    let right = async |caller: &Caller, method: &str, path: &str| {
        // A stream has no end: its status says enough.
        let answer = asked(caller, method, &concrete(path)).send().await.expect("an answer");
        match answer.status().as_u16() {
            401 => "-",
            // To the sign-in, or to where a second factor can be turned on.
            303 => "-",
            403 => "no",
            status @ 500.. if status != 503 => panic!("{method} {path}: {status}"),
            _ => "yes",
        }
    };
    for (path, methods) in contract["paths"].as_object().expect("paths") {
        for method in ["get", "post", "put", "patch", "delete"] {
            if methods.get(method).is_none() || ENDING.contains(&path.as_str()) {
                continue;
            }
            let mut rights = Vec::new();
            for caller in callers {
                rights.push(right(caller, method, path).await);
            }
            let _ = writeln!(table, "{method} {path}: {}", rights.join(", "));
        }
    }
    for path in PAGES {
        let mut rights = Vec::new();
        for caller in callers {
            rights.push(right(caller, "get", path).await);
        }
        let _ = writeln!(table, "page {path}: {}", rights.join(", "));
    }
    table
}

/// Another spelling of a route is no way around its rights.
async fn tricks_of_paths(callers: &[Caller], server: &Server) {
    let user = callers.iter().find(|caller| caller.name == "user").expect("a user");
    let user = &user.client;
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
