//! The SQL workbench, as a person uses it in a browser.

use reqwest::Method;
use serde_json::json;
use tests::{Client, Server, User, browser::Browser, folder, reply};

const CTRL_ENTER: &str = "\u{e009}\u{e007}\u{e000}";
const CTRL_SPACE: &str = "\u{e009} \u{e000}";
const TAB: &str = "\u{e004}";
const ESCAPE: &str = "\u{e00c}";

async fn session(client: &Client, user: &User) -> String {
    let body = json!({"email": user.email, "password": user.password});
    let signed_in = reply(client.request(Method::POST, "/v1/auth/login").json(&body)).await;
    assert_eq!(signed_in.status, 200, "{}", signed_in.text());
    let cookie = signed_in.header("set-cookie").to_owned();
    let value = cookie.split(';').next().and_then(|cookie| cookie.split_once('='));
    value.expect("a cookie").1.to_owned()
}

async fn write(browser: &Browser, sql: &str) {
    let text = json!(sql);
    browser
        .run(&format!(
            "const sql = document.getElementById('sql'); sql.focus(); sql.value = {text}; \
             sql.setSelectionRange(sql.value.length, sql.value.length); \
             sql.dispatchEvent(new Event('input'))"
        ))
        .await;
}

async fn text(browser: &Browser, id: &str) -> String {
    let script =
        format!("const e = document.getElementById('{id}'); return e.hidden ? '' : e.innerText");
    let found = browser.run(&script).await;
    found.as_str().unwrap_or_default().to_owned()
}

/// Where somebody who looks at the pages wants their pictures.
async fn picture(browser: &Browser, name: &str) {
    let png = browser.picture().await;
    assert!(png.len() > 10_000, "an empty page?");
    if let Some(dir) = std::env::var_os("AIHUB_TEST_PICTURES") {
        std::fs::write(std::path::Path::new(&dir).join(format!("{name}.png.b64")), png).unwrap();
    }
}

/// The workbench of the server that an address is of.
fn place_of_sql(address: &serde_json::Value) -> String {
    let address = address.as_str().unwrap_or_default();
    format!("{}/sql", address.split("/dashboards").next().unwrap_or_default())
}

async fn asks(browser: &Browser) {
    write(browser, "select model, count(*) as n from usage_ev").await;
    browser.keys(CTRL_SPACE).await;
    browser.until("!document.getElementById('names').hidden").await;
    assert!(text(browser, "names").await.contains("usage_events"));
    browser.keys(TAB).await;
    let written = browser.run("return document.getElementById('sql').value").await;
    assert_eq!(written, "select model, count(*) as n from usage_events");
    browser.keys(" group by model order by n desc").await;
    browser.keys(ESCAPE).await;
    browser.keys(CTRL_ENTER).await;
    browser.until("document.querySelector('#answer table')").await;
    let answer = text(browser, "answer").await;
    assert!(answer.starts_with("model\ntext\n\tn\ninteger\n"), "{answer}");
    let state = text(browser, "state").await;
    assert!(state.starts_with("Rows: 9") && state.contains("as of"), "{state}");
    picture(browser, "answer").await;
    // Two clicks: a chart, and a tile.
    browser.run("document.getElementById('chart').click()").await;
    browser.until("document.querySelector('#picture svg path')").await;
    picture(browser, "chart").await;
    browser.run("document.getElementById('add').click()").await;
    browser.until("document.querySelector('#state a')").await;
    let place = browser.run("return document.querySelector('#state a').href").await;
    let boards = browser.run("return document.querySelectorAll('#board option').length").await;
    assert_eq!(boards, 2, "the new dashboard is there for the next tile");
    browser.run("document.getElementById('add').click()").await;
    browser.until("document.querySelector('#state a')").await;
    browser.go(place.as_str().expect("an address")).await;
    browser.until("document.querySelectorAll('.card svg.chart').length >= 2").await;
    browser.go(&place_of_sql(&place)).await;
    browser.until("document.activeElement.id === 'sql'").await;
    write(browser, "select model, count(*) as n from usage_events group by model").await;
    browser.keys(CTRL_ENTER).await;
    browser.until("document.querySelector('#answer table')").await;
    assert!(text(browser, "banner").await.is_empty(), "nothing is cut off");

    write(browser, "select * from usage_events").await;
    browser.keys(CTRL_ENTER).await;
    browser.until("document.querySelectorAll('#answer tbody tr').length === 1000").await;
    browser.until("!document.getElementById('banner').hidden").await;
    assert!(text(browser, "banner").await.starts_with("The first 1,000 rows are shown."));

    write(browser, "select nothing\nfrom usage_events").await;
    browser.keys(CTRL_ENTER).await;
    browser.until("!document.getElementById('fault').hidden").await;
    assert!(text(browser, "fault").await.contains("nothing"));
    assert!(text(browser, "answer").await.is_empty());
}

async fn saves_and_stops(browser: &Browser, client: &Client, cookie: &str) {
    let listed = async |status: &str| {
        let path = format!("/v1/queries?status={status}");
        let request = client.request(Method::GET, &path);
        reply(request.header("cookie", format!("aihub_session={cookie}"))).await.json()
    };
    write(browser, "select count(*) as n from usage_events where model <> $model").await;
    browser.until("document.querySelector('#parameters input')").await;
    browser.run("document.querySelector('#parameters input').value = 'nothing'").await;
    browser.run("document.getElementById('name').value = 'others'").await;
    browser.run("document.getElementById('keep').requestSubmit()").await;
    browser.until("document.querySelector('#saved li button')").await;
    assert!(text(browser, "saved").await.contains("others"));
    browser.run("document.getElementById('run').click()").await;
    browser.until("document.querySelectorAll('#answer tbody tr').length === 1").await;

    let heavy = "select count(*) from usage_events a, usage_events b, usage_events c \
         where a.input_tokens + b.input_tokens + c.input_tokens < 0";
    write(browser, heavy).await;
    browser.keys(CTRL_ENTER).await;
    browser.until("!document.getElementById('stop').disabled").await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    browser.keys(ESCAPE).await;
    browser.until("document.getElementById('fault').innerText === 'Stopped.'").await;
    for _ in 0..100 {
        if listed("running").await["queries"] == json!([]) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let list = listed("abandoned").await;
    assert_eq!(list["queries"][0]["sql"], heavy, "{list}");
    browser.run("document.getElementById('history').open = true").await;
    browser.until("document.querySelectorAll('#history li button').length > 3").await;
    // What somebody else wrote into the database must not become markup.
    write(browser, "select '<img src=x onerror=alert(1)>' as x").await;
    browser.keys(CTRL_ENTER).await;
    browser.until("document.querySelector('#answer td')?.innerText.startsWith('<img')").await;
    assert_eq!(browser.run("return document.querySelectorAll('img').length").await, 0);
}

#[tokio::test]
async fn an_analyst_works_in_the_browser() {
    let dir = folder();
    let server = Server::demo(dir.path(), 20, 6);
    let stranger = Client::new(&server, "");
    let user = |role: &str| server.ready.users.iter().find(|user| user.role == role);
    let away = reply(stranger.request(Method::GET, "/sql")).await;
    assert_eq!(away.header("location"), "/sign-in?next=%2Fsql");
    let cookie = session(&stranger, user("admin").or(user("analyst")).expect("one who asks")).await;

    let browser = Browser::open(1280, 1100, &[]).await;
    browser.go(&server.url("/sign-in")).await;
    browser.cookie("aihub_session", &cookie).await;
    browser.go(&server.url("/sql")).await;
    browser.until("document.activeElement.id === 'sql'").await;
    asks(&browser).await;
    saves_and_stops(&browser, &stranger, &cookie).await;
    picture(&browser, "history").await;
    browser.close().await;

    let narrow =
        Browser::open(390, 1200, &["--force-dark-mode", "--enable-features=WebContentsForceDark"]);
    let narrow = narrow.await;
    narrow.go(&server.url("/sign-in")).await;
    narrow.cookie("aihub_session", &cookie).await;
    narrow.go(&server.url("/sql?lang=zh-CN")).await;
    narrow.keys(CTRL_ENTER).await;
    narrow.until("document.querySelector('#answer table')").await;
    assert!(text(&narrow, "state").await.contains("数据截至"));
    let wide = narrow.run("return document.documentElement.scrollWidth > innerWidth").await;
    assert_eq!(wide, false, "the page does not scroll sideways");
    picture(&narrow, "narrow").await;
    narrow.close().await;

    // A manager has no SQL, and is not offered it.
    let manager = session(&stranger, user("manager").expect("a manager")).await;
    let page = |path: &'static str, cookie: &str| {
        let cookie = format!("aihub_session={cookie}");
        reply(stranger.request(Method::GET, path).header("cookie", cookie))
    };
    assert_eq!(page("/sql", &manager).await.status, 403);
    assert!(!page("/dashboards/business", &manager).await.text().contains("href=\"/sql?lang=en\""));
    assert!(page("/dashboards/business", &cookie).await.text().contains("href=\"/sql?lang=en\""));
}
