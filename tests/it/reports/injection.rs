//! Names that want to be more than names: markup, templates, formulas, headers of mails.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, MailServer, Server, admin_key, browser::Browser, configure, days_ago, flushed, folder,
    reply, signed_in, usage,
};

use super::scheduled::post;

/// Each sets `pwned`, breaks out of what it stands in, or is run by a template, a spreadsheet or a mail server.
const VECTORS: [&str; 32] = [
    "<script>window.pwned=1</script>",
    "\"><script>window.pwned=1</script>",
    "'><script>window.pwned=1</script>",
    "</title><script>window.pwned=1</script>",
    "</textarea><script>window.pwned=1</script>",
    "</style><script>window.pwned=1</script>",
    "--><script>window.pwned=1</script>",
    "]]><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<svg onload=window.pwned=1>",
    "<svg><script>window.pwned=1</script></svg>",
    "</svg><img src=x onerror=window.pwned=1>",
    "</text><script>window.pwned=1</script>",
    "<svg><foreignObject><iframe srcdoc='<script>parent.pwned=1</script>'></foreignObject></svg>",
    "<a href=\"javascript:window.pwned=1\">x</a>",
    "<iframe src=javascript:parent.pwned=1>",
    "<body onload=window.pwned=1>",
    "<details open ontoggle=window.pwned=1>",
    "<input autofocus onfocus=window.pwned=1>",
    "<meta http-equiv=refresh content='0;url=javascript:window.pwned=1'>",
    "<base href=https://evil.example/>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "\" onmouseover=\"window.pwned=1",
    "' autofocus onfocus='window.pwned=1",
    "{{ 7 * 191 }}",
    "{% raw %}{{ 7 * 191 }}",
    "${7*191}",
    "=HYPERLINK(\"https://evil.example\";\"x\")",
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "x\u{2028}Bcc: evil@evil.example",
];

fn both(text: &str) -> Value {
    json!({"en": text, "zh-CN": text})
}

/// Whatever is in a page has to be text. What breaks out of attributes is looked for by the browser.
fn is_harmless(html: &str, place: &str) {
    for vector in VECTORS.iter().filter(|vector| vector.contains('<')) {
        assert!(!html.contains(vector), "{place}: {vector}");
    }
    assert!(!html.contains("1337"), "{place}: a template ran");
}

async fn vectors_are_everywhere(client: &Client) -> String {
    let event = |(number, vector): (usize, &&str)| {
        let mut event = usage(
            "org_a",
            &format!("e{number}"),
            json!({"model": vector, "region": vector, "feature": vector, "error_code": vector}),
        );
        event["time"] = json!(format!("{}T12:00:00Z", days_ago(2)));
        event
    };
    client.store(&VECTORS.iter().enumerate().map(event).collect::<Vec<_>>()).await;
    flushed(client).await;
    let columns: Vec<_> = VECTORS
        .iter()
        .take(5)
        .map(|vector| format!("count(*) as \"{}\"", vector.replace('"', "\"\"")))
        .collect();
    let sql = format!(
        "select model, {} from usage_events group by model order by model",
        columns.join(", ")
    );
    post(
        client,
        "/v1/saved-queries",
        &json!({"name": "all", "sql": sql, "description": VECTORS[1]}),
    )
    .await;
    let of_vector = |vector: &str| json!({"kind": "kpi", "metric": "requests", "title": both(vector), "note": both(vector)});
    let mut tiles: Vec<Value> = VECTORS.iter().map(|vector| of_vector(vector)).collect();
    for draw in ["table", "bar"] {
        tiles.push(json!({
            "kind": "query", "query": "all", "draw": draw, "title": both("x"), "note": both("x"),
        }));
    }
    tiles.push(json!({
        "kind": "ranking", "metric": "requests", "by": "model", "item": both(VECTORS[0]), "limit": 50,
        "title": both("Models"), "note": both("x"),
    }));
    tiles.push(json!({
        "kind": "stacked", "metric": "requests", "by": "model", "limit": 6, "additive": true,
        "title": both(VECTORS[11]), "note": both("x"),
    }));
    let body = json!({"definition": {"title": both(VECTORS[3]), "tiles": tiles}});
    let saved = reply(client.request(Method::PUT, "/v1/dashboards/hostile").json(&body)).await;
    assert_eq!(saved.status, 201, "{}", saved.text());
    for vector in VECTORS.iter().take(20) {
        let body = json!({"at": format!("{}T12:00:00Z", days_ago(2)), "text": vector});
        post(client, "/v1/annotations", &body).await;
    }
    let alert = json!({
        "title": VECTORS[0], "metric": "requests", "interval": "day",
        "condition": {"kind": "above", "value": 1}, "by": "model",
    });
    let made = reply(client.request(Method::POST, "/v1/alerts").json(&alert)).await;
    assert!(made.status.is_success(), "{}", made.text());
    let report = json!({
        "title": VECTORS[8], "dashboard": "hostile", "period": "last_7_days",
        "recipients": [{"channel": "mail", "address": "m@partner.example"}],
        "formats": ["html", "csv"],
    });
    let made = post(client, "/v1/reports", &report).await;
    made["id"].as_str().expect("an id").to_owned()
}

/// The file, the table and the mail.
async fn files_are_harmless(admin: &Client, mail: &MailServer, report: &str) {
    post(admin, &format!("/v1/reports/{report}/run"), &json!({})).await;
    let mails = mail.wait_for(1).await;
    let sent = &mails[0];
    assert_eq!(sent["to"], json!(["m@partner.example"]), "{sent}");
    let headers = sent["headers"].as_object().expect("headers");
    assert!(!headers.keys().any(|name| name.eq_ignore_ascii_case("bcc")), "{headers:?}");
    for part in ["text", "html"] {
        let text = sent[part].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "{part}");
        if part == "html" {
            is_harmless(text, "the mail");
        }
    }
    let html = reply(admin.request(Method::GET, &format!("/v1/reports/{report}/preview"))).await;
    is_harmless(&html.text(), "the file");
    let path = format!("/v1/reports/{report}/preview?format=csv");
    let csv = reply(admin.request(Method::GET, &path)).await.text();
    let mut cells = csv::ReaderBuilder::new().from_reader(csv.as_bytes());
    let mut formulas = 0;
    for row in cells.records() {
        let row = row.expect("a row");
        for cell in row.iter().filter(|cell| cell.parse::<f64>().is_err()) {
            assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell}");
            formulas += usize::from(cell.starts_with("'="));
        }
    }
    assert!(formulas > 0, "{csv}");
}

#[tokio::test]
async fn names_do_nothing_in_pages_files_and_mails() {
    let (dir, mail) = (folder(), MailServer::start(""));
    let domains = "[reports]\nrecipient_domains = [\"partner.example\"]\n";
    configure(dir.path(), &format!("{}{domains}", mail.configuration()));
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let report = vectors_are_everywhere(&admin).await;
    let pages = [
        "/dashboards/hostile?days=7&lang=en".to_owned(),
        "/dashboards/hostile?days=7&lang=zh-CN".to_owned(),
        "/dashboards/hostile/edit?lang=en".to_owned(),
        "/dashboards/usage?days=7&lang=en".to_owned(),
        "/dashboards/users?days=7&lang=en".to_owned(),
        "/dashboards/quality?days=7&lang=en".to_owned(),
        "/queries?lang=en".to_owned(),
        "/queries/all?lang=en".to_owned(),
        "/reports?lang=en".to_owned(),
        format!("/reports/{report}?lang=en"),
        format!("/reports/{report}/edit?lang=en"),
        "/alerts?lang=en".to_owned(),
        "/metrics-catalog?lang=en".to_owned(),
    ];
    for path in &pages {
        let answer = reply(admin.request(Method::GET, path)).await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy").to_owned();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("script-src 'unsafe") && !policy.contains("unsafe-eval"));
        is_harmless(&answer.text(), path);
    }
    // A filter is a name of the address, and stands in the page too.
    for vector in VECTORS {
        let text: String = url::form_urlencoded::byte_serialize(vector.as_bytes()).collect();
        let path = format!("/dashboards/hostile?days=7&lang=en&filter=model%3D{text}");
        let answer = reply(admin.request(Method::GET, &path)).await;
        assert!(matches!(answer.status.as_u16(), 200 | 400), "{path}");
        is_harmless(&answer.text(), &path);
    }

    files_are_harmless(&admin, &mail, &report).await;
    let files =
        ["html", "mail"].map(|format| format!("/v1/reports/{report}/preview?format={format}"));
    a_browser_runs_nothing(&server, dir.path(), &[&pages[..], &files].concat()).await;
    server.stop();
}

async fn a_browser_runs_nothing(server: &Server, dir: &Path, pages: &[String]) {
    let (_, cookie) = signed_in(server, dir, "admin").await;
    let (name, value) = cookie.split_once('=').expect("a cookie");
    let browser = Browser::open(1280, 900, &[]).await;
    browser.go(&server.url("/sign-in")).await;
    browser.cookie(name, value).await;
    for path in pages {
        browser.go(&server.url(path)).await;
        browser.until("document.readyState === 'complete'").await;
        let found = browser
            .run(
                "return [window.pwned ?? 0, document.querySelectorAll('script:not([src]), iframe, base, \
                 link[href*=evil], meta[http-equiv=refresh]').length, \
                 [...document.querySelectorAll('*')].filter(e => [...e.attributes].some(a => \
                 a.name.startsWith('on'))).length]",
            )
            .await;
        assert_eq!(found, json!([0, 0, 0]), "{path}");
    }
    browser.close().await;
}
