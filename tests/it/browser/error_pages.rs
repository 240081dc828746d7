//! In a browser every error is a page; and saved queries are pages for those who do not write SQL.

use reqwest::Method;
use serde_json::json;
use tests::{Client, Reply, Server, admin_key, folder, reply, run_ok, signed_in, usage};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn open(client: &Client, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = client.request(Method::GET, path).header("accept", BROWSER);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    reply(request).await
}

#[tokio::test]
async fn every_error_is_a_page_in_the_language_of_the_reader() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let stranger = Client::new(&server, "");
    let (_, manager) = signed_in(&server, dir.path(), "manager").await;
    let manager = ("cookie", manager.as_str());
    for (path, headers, status, way) in [
        ("/nothing", vec![], 404, "href=\"/\""),
        ("/v1/metrics", vec![], 401, "/sign-in?next=%2Fv1%2Fmetrics&amp;lang="),
        ("/v1/metrics", vec![("cookie", "aihub_session=old")], 401, "/sign-in?next="),
        ("/dashboards/nothing", vec![manager], 404, "href=\"/\""),
        ("/dashboards/business?days=x", vec![manager], 400, "href=\"/dashboards/business\""),
        ("/sql", vec![manager], 403, "/sign-in?next=%2Fsql"),
        ("/v1/admin/users", vec![manager], 403, "href=\"/\""),
        ("/v1/events/void", vec![manager], 405, "href=\"/\""),
        ("/sign-in?next=a&next=b", vec![], 400, "href=\"/sign-in\""),
        ("/queries/nothing?p.x=1", vec![manager], 404, "href=\"/\""),
    ] {
        for (language, tag) in [("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"), ("en-GB,en", "en")] {
            let headers = [&headers[..], &[("accept-language", language)]].concat();
            let answer = open(&stranger, path, &headers).await;
            let html = answer.text().replace("&#x2f;", "/");
            assert_eq!(answer.status.as_u16(), status, "{path}: {html}");
            assert!(answer.header("content-type").starts_with("text/html"), "{path}");
            assert!(html.contains(&format!("<html lang=\"{tag}\">")), "{path}: {html}");
            assert!(html.contains(way), "{path}: {way} in {html}");
            assert!(html.contains(answer.header("x-request-id")) && !html.contains("<script"));
            assert!(answer.header("content-security-policy").contains("default-src 'none'"));
            assert!(!html.contains("deserialize"), "{html}");
        }
    }
    // Programs get what they got, and a key is no browser's.
    let asked = stranger.request(Method::GET, "/nothing").header("accept", "*/*");
    assert_eq!(reply(asked).await.json()["code"], "not_found");
    for accept in ["application/json, text/html", "application/problem+json", ""] {
        let asked = stranger.request(Method::GET, "/nothing").header("accept", accept);
        assert_eq!(reply(asked).await.json()["code"], "not_found", "{accept}");
    }
    let chosen = open(&stranger, "/nothing?lang=zh-CN", &[("accept-language", "en")]).await;
    assert!(chosen.text().contains("lang=\"zh-CN\""));
    // What stands in an address is no markup, and leads nowhere else.
    let odd = open(&stranger, "//evil.example/%3Cscript%3E?x=<script>", &[]).await.text();
    assert!(!odd.contains("<script") && !odd.contains("href=\"//"), "{odd}");
    server.stop();
}

#[tokio::test]
async fn a_shared_query_has_a_page() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let data =
        json!({"model": "<b>m</b>", "input_tokens": 7, "list_price": "0.5", "currency": "USD"});
    let others = (0..70).map(|id| usage("org_b", &id.to_string(), json!({})).to_string());
    let events: Vec<_> = others.chain([usage("org_a", "1", data).to_string()]).collect();
    assert_eq!(admin.send("application/x-ndjson", events.join("\n")).await.0, 200);
    for query in [
        json!({"name": "models", "description": "Models & <i>tokens</i>", "shared_with": ["manager"],
            "sql": "select model, input_tokens as n, list_price as p, occurred_at as t, region is null as \"none\",                     null as nothing from usage_events where organization_id = 'org_a' and input_tokens >= $least",
            "parameters": {"least": {"type": "integer", "default": "1"}}}),
        json!({"name": "many", "shared_with": ["manager"],
            "sql": "select 1 as n from usage_events as a cross join usage_events as b"}),
        json!({"name": "asks", "shared_with": ["manager"], "sql": "select $what as x",
            "parameters": {"what": {"type": "text"}}}),
        json!({"name": "wide", "shared_with": ["manager"],
            "sql": "select repeat('x', 10000) as x from usage_events as a cross join usage_events as b"}),
        json!({"name": "private", "sql": "select 1 as one"}),
    ] {
        let asked = admin.request(Method::POST, "/v1/saved-queries").json(&query);
        let answer = reply(asked).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let (client, manager) = signed_in(&server, dir.path(), "manager").await;
    let headers = [("cookie", manager.as_str())];
    let read = async |path: &str| {
        let answer = open(&client, path, &headers).await;
        (answer.status.as_u16(), answer.text().replace("&#x2f;", "/"))
    };
    let (status, list) = read("/queries").await;
    assert_eq!(status, 200);
    assert!(
        list.contains("href=\"/queries/models?lang=en\"") && !list.contains("private"),
        "{list}"
    );
    assert!(list.contains("Models &amp; &lt;i&gt;tokens"), "{list}");
    assert!(read("/dashboards/business").await.1.contains("href=\"/queries?lang=en\""));

    let (status, html) = read("/queries/models").await;
    assert_eq!(status, 200, "{html}");
    assert!(html.contains("&lt;b&gt;m&lt;/b&gt;") && !html.contains("<b>"), "{html}");
    assert!(html.contains("<td class=\"number\">7</td><td class=\"number\">0.5</td>"), "{html}");
    assert!(html.contains("<td>true</td><td><span class=\"null\">"), "{html}");
    assert!(html.contains("value=\"1\"") && html.contains("rows?format=csv"), "{html}");
    let (_, html) = read("/queries/models?p.least=8&lang=zh-CN").await;
    assert!(html.contains("没有符合条件的行") && html.contains("?lang=en&amp;p.least=8"), "{html}");
    let (status, html) = read("/queries/models?p.least=few").await;
    assert!(status == 200 && html.contains("role=\"alert\"") && html.contains("least"), "{html}");
    let (_, html) = read("/queries/many").await;
    assert!(html.contains("Only the first rows") && html.contains(">1000<"), "{html}");
    assert_eq!(html.matches("<tr>").count(), 1_001);
    assert!(read("/queries/asks").await.1.contains("Fill in the values"));
    assert!(read("/queries/asks?p.what=hello").await.1.contains("<td>hello</td>"));
    assert!(read("/queries/wide").await.1.contains("too large for a page"));
    assert_eq!(read("/queries/private").await.0, 404);
    assert_eq!(read("/queries/models?other=1").await.0, 400);
    let away =
        reply(client.request(Method::GET, "/queries/models").header("accept", BROWSER)).await;
    assert_eq!(
        (away.status.as_u16(), away.header("location")),
        (303, "/sign-in?next=%2Fqueries%2Fmodels")
    );
    // The link to the rows works for the same reader.
    let rows =
        open(&client, "/v1/saved-queries/models/rows?format=csv&csv=spreadsheet", &headers).await;
    assert!(rows.text().starts_with("model,n,p,t,none,nothing\n"), "{}", rows.text());
    server.stop();
}

#[tokio::test]
async fn keys_open_pages_as_far_as_they_reach() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let staff =
        |scopes: &str| run_ok(dir.path(), &["key", "create", "--name", scopes, "--scopes", scopes]);
    for (key, status) in [
        (staff("read"), 200),
        (staff("write"), 403),
        (tests::organization_key(dir.path(), "org_a", "read"), 200),
        (tests::organization_key(dir.path(), "org_b", "write"), 403),
        ("aihub_wrong".to_owned(), 401),
    ] {
        let client = Client::new(&server, &key);
        for path in ["/dashboards/business", "/queries"] {
            let answer = open(&client, path, &[]).await;
            assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text());
            // Whoever sends a key is a program, whatever it accepts.
            let is_page = answer.header("content-type").starts_with("text/html");
            assert_eq!(is_page, status == 200, "{path}");
        }
    }
    let own = tests::organization_key(dir.path(), "org_c", "read");
    let html = open(&Client::new(&server, &own), "/dashboards/business", &[]).await.text();
    assert!(html.contains("org_c") && !html.contains("All organizations"), "{html}");
    server.stop();
}
