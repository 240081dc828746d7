//! Tiles of saved queries, and dashboards that come from files.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, configure, folder, reply, run, run_ok, signed_in};

use super::scheduled::{post, store_usage};

const BY_MODEL: &str = "select model, count(*) as requests from usage_events \
    where occurred_at >= $from and occurred_at < $to group by model order by model";

fn tile(query: &str, draw: &str) -> Value {
    let words = json!({"en": "By SQL", "zh-CN": "SQL"});
    json!({"kind": "query", "query": query, "draw": draw, "title": words, "note": words})
}

fn dashboard(tiles: &[Value], shared_with: &[&str]) -> Value {
    let title = json!({"en": "My page", "zh-CN": "我的页面"});
    json!({"definition": {"title": title, "tiles": tiles}, "shared_with": shared_with})
}

async fn save_query(client: &Client, name: &str, sql: &str, shared_with: &[&str]) {
    let period = json!({"from": {"type": "timestamp"}, "to": {"type": "timestamp"}});
    let parameters = if sql.contains("$from") { period } else { json!({}) };
    let body =
        json!({"name": name, "sql": sql, "parameters": parameters, "shared_with": shared_with});
    post(client, "/v1/saved-queries", &body).await;
}

async fn page(client: &Client, path: &str) -> (u16, String) {
    let answer = reply(client.request(Method::GET, path)).await;
    (answer.status.as_u16(), answer.text())
}

#[tokio::test]
async fn a_saved_query_is_a_tile_with_the_rights_of_the_reader() {
    let (dir, archive) = (folder(), folder());
    configure(dir.path(), &format!("[archive]\nurl = \"file://{}\"\n", archive.path().display()));
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    store_usage(&admin).await;
    save_query(&admin, "by-model", BY_MODEL, &["manager"]).await;
    save_query(&admin, "secret", "select 'x' as name, 42 as answer", &[]).await;
    let put = async |body: &Value| {
        let answer = reply(admin.request(Method::PUT, "/v1/dashboards/mine").json(body)).await;
        (answer.status.as_u16(), answer.text())
    };
    let (status, refused) = put(&dashboard(&[tile("nothing", "bar")], &[])).await;
    assert!(status == 400 && refused.contains("no saved query `nothing`"), "{refused}");
    let tiles = [tile("by-model", "bar"), tile("by-model", "table"), tile("secret", "table")];
    assert_eq!(put(&dashboard(&tiles, &["manager"])).await.0, 201);

    let (status, html) = page(&admin, "/dashboards/mine?days=7&lang=en").await;
    assert!(status == 200 && html.matches("<td>8</td>").count() == 2, "{html}");
    assert!(html.contains("<svg class=\"chart") && html.contains("<td>42</td>"), "{html}");
    let link = "/queries/by-model?lang=en&amp;p.from=";
    assert!(html.replace("&#x2f;", "/").contains(link), "{html}");
    // The period of the page counts, its filter does not, and that is said.
    let path = "/dashboards/mine?lang=en&from=2020-01-01&to=2020-01-08&filter=model%3Dm1";
    let (_, html) = page(&admin, path).await;
    assert!(!html.contains("<td>8</td>") && html.contains("Not filtered by model."), "{html}");
    let (status, svg) = page(&admin, "/dashboards/mine/chart?days=7&tile=0&format=svg").await;
    assert!(status == 200 && svg.contains("=m1"), "{svg}");

    // A manager sees what is shared with managers.
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    let seen = manager.request(Method::GET, "/dashboards/mine?days=7&lang=en");
    let html = reply(seen.header("cookie", &cookie)).await.text();
    assert!(html.contains("<td>8</td>") && !html.contains("<td>42</td>"), "{html}");
    assert!(html.contains("not shared with your role"), "{html}");

    // A report asks with the rights of its owner, and sees the rows of its reader.
    let recipient = json!([{"channel": "folder", "address": "a", "organization_id": "org_a"}]);
    let report = json!({
        "title": "Mine", "dashboard": "mine", "period": "last_7_days", "recipients": recipient,
    });
    let made = reply(admin.request(Method::POST, "/v1/reports").json(&report)).await;
    let made = if made.status == 201 { made.json() } else { panic!("{}", made.text()) };
    let preview = format!("/v1/reports/{}/preview", made["id"].as_str().expect("an id"));
    let (status, html) = page(&admin, &preview).await;
    assert!(status == 200 && html.contains("<td>3</td>") && html.contains("<td>42</td>"), "{html}");
    assert!(!html.contains("/queries/by-model"), "a file has no links: {html}");
    // What its owner cannot ask any more is no half report.
    assert_eq!(reply(admin.request(Method::DELETE, "/v1/saved-queries/secret")).await.status, 204);
    let (status, refused) = page(&admin, &preview).await;
    assert!(status == 400 && refused.contains("secret"), "{refused}");
    server.stop();
}

const TEAM: &str = "name: team\ntitle: {en: The team, zh-CN: 团队}\ntiles:\n  - kind: kpi\n    \
    metric: requests\n    title: {en: All requests, zh-CN: 全部请求}\n    note: {en: All, zh-CN: 全部}\n";

#[tokio::test]
async fn dashboards_of_a_folder_are_everybodys() {
    let (dir, files) = (folder(), folder());
    std::fs::write(files.path().join("team.yaml"), TEAM).expect("a file");
    configure(dir.path(), &format!("[dashboards]\ndir = {:?}\n", files.path()));
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    store_usage(&admin).await;
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    let seen = manager.request(Method::GET, "/dashboards/team?days=7&lang=en");
    let html = reply(seen.header("cookie", &cookie)).await.text();
    assert!(html.contains(">8</data>") && html.contains("The team"), "{html}");
    let (_, listed) = admin.get("/v1/dashboards").await;
    let listed = listed["dashboards"].as_array().expect("a list").clone();
    let team = listed.iter().find(|one| one["name"] == "team").expect("it is listed");
    assert_eq!(team["built_in"], true);
    // It stays as its file says: nobody saves over it, and a copy is somebody's own.
    let body = json!({"yaml": TEAM});
    let taken = reply(admin.request(Method::PUT, "/v1/dashboards/team").json(&body)).await;
    assert_eq!(taken.status, 400, "{}", taken.text());
    let out = dir.path().join("team.html");
    run_ok(dir.path(), &["report", "render", "team", "--out", &out.to_string_lossy()]);
    assert!(std::fs::read_to_string(&out).expect("a file").contains("The team"));
    server.stop();

    std::fs::write(files.path().join("bad.yaml"), TEAM.replace("requests", "nothing"))
        .expect("a file");
    let refused = run(dir.path(), &["serve", "--port", "0"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("bad.yaml"), "{said}");
}
