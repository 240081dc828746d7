//! The pages that people see, as a browser without a script asks for them, and as one draws them.

use std::{fs, process::Command};

use reqwest::Method;
use tests::{Client, Reply, Server, User, folder, reply, run_ok};

const PAGE_BYTES_MAX: usize = 300 * 1024;
const TITLES: [&str; 8] = [
    "Requests",
    "Tokens",
    "Usage revenue at list price",
    "Monthly recurring revenue",
    "Active organizations",
    "Registration conversion",
    "Error rate",
    "Latency (p95)",
];

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn sign_in(client: &Client, email: &str, password: &str, next: &str) -> Reply {
    let form =
        format!("email={}&password={}&next={}", encoded(email), encoded(password), encoded(next));
    let request = client.request(Method::POST, "/sign-in");
    let media_type = "application/x-www-form-urlencoded";
    reply(request.header("content-type", media_type).body(form)).await
}

async fn page(client: &Client, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = client.request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    reply(request).await
}

fn is_self_contained(html: &str) {
    assert!(html.len() < PAGE_BYTES_MAX, "{} bytes", html.len());
    let html = html.replace("<script src=\"/dashboard.js\" defer></script>", "");
    assert!(!html.to_lowercase().contains("<script"), "a script of others");
    assert!(html.contains("prefers-color-scheme"), "light and dark");
    for outside in ["src=\"http", "href=\"http", "url(http", "@import"] {
        assert!(!html.contains(outside), "{outside}");
    }
}

async fn strangers_are_shown_the_way_in(client: &Client, user: &User) {
    let home = page(client, "/", &[]).await;
    assert_eq!((home.status.as_u16(), home.header("location")), (303, "/home"));
    let away = page(client, "/dashboards/business?days=7", &[]).await;
    assert_eq!(away.status, 303);
    let way_in = "/sign-in?next=%2Fdashboards%2Fbusiness%3Fdays%3D7";
    assert_eq!(away.header("location"), way_in);
    let form = page(client, way_in, &[]).await;
    assert_eq!(form.status, 200);
    is_self_contained(&form.text());
    assert!(form.text().contains("type=\"password\""));
    assert!(form.header("content-security-policy").contains("default-src 'none'"));
    let chinese = page(client, "/sign-in?lang=zh-CN", &[]).await.text();
    assert!(chinese.contains("登录") && chinese.contains("lang=\"zh-CN\""));

    for _ in 0..5 {
        let wrong = sign_in(client, "nobody@demo.example", "wrong", "/").await;
        assert_eq!(wrong.status, 401);
        assert!(wrong.text().contains("password is wrong"));
        assert!(wrong.header("set-cookie").is_empty());
    }
    let throttled = sign_in(client, "nobody@demo.example", "wrong", "/").await;
    assert_eq!(throttled.status, 429);
    let elsewhere = client
        .request(Method::POST, "/sign-in")
        .header("origin", "https://evil.example")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("email=a&password=b");
    assert_eq!(reply(elsewhere).await.status, 403);
    for next in ["//evil.example", "https://evil.example", "/\\evil.example"] {
        let signed_in = sign_in(client, &user.email, &user.password, next).await;
        assert_eq!((signed_in.status.as_u16(), signed_in.header("location")), (303, "/"), "{next}");
    }
}

#[tokio::test]
async fn a_person_signs_in_and_sees_the_dashboard() {
    let dir = folder();
    let server = Server::demo(dir.path(), 20, 6);
    let client = Client::new(&server, "");
    let user = server.ready.users.iter().find(|user| user.role == "manager").expect("a manager");
    strangers_are_shown_the_way_in(&client, user).await;
    let next = "/dashboards/business?days=7";
    let signed_in = sign_in(&client, &user.email, &user.password, next).await;
    assert_eq!((signed_in.status.as_u16(), signed_in.header("location")), (303, next));
    let cookie = signed_in.header("set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let session = cookie.split(';').next().expect("the cookie");
    let cookie = ("cookie", session);

    let dashboard = page(&client, next, &[cookie]).await;
    assert_eq!(dashboard.status, 200);
    let html = dashboard.text();
    is_self_contained(&html);
    for title in TITLES {
        assert!(html.contains(title), "{title}");
    }
    assert!(html.contains("<svg") && html.contains(&user.email));
    for (path, language) in
        [(next.to_owned() + "&lang=zh-CN", "en"), (next.to_owned(), "zh-CN,zh;q=0.9,en;q=0.1")]
    {
        let html = page(&client, &path, &[cookie, ("accept-language", language)]).await.text();
        assert!(html.contains("经营概览") && html.contains("活跃组织"), "{path} {language}");
        is_self_contained(&html);
    }
    assert_eq!(page(&client, "/dashboards/nothing", &[cookie]).await.status, 404);
    assert_eq!(page(&client, "/dashboards/business?days=0", &[cookie]).await.status, 400);

    let out = client.request(Method::POST, "/sign-out").header("cookie", session);
    let out = reply(out).await;
    assert_eq!((out.status.as_u16(), out.header("location")), (303, "/sign-in"));
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(page(&client, next, &[cookie]).await.status, 303, "the session is over");
}

/// Any of the names that Chromium has.
fn screenshot(url: &str, png: &str, profile: &str) {
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--window-size=1280,1600",
    ];
    for name in ["chromium", "chromium-browser", "google-chrome"] {
        let run = Command::new(name)
            .args(arguments)
            .args([format!("--user-data-dir={profile}"), format!("--screenshot={png}"), url.into()])
            .output();
        if let Ok(output) = run {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {}: {errors}", output.status);
            return;
        }
    }
    panic!("there is no Chromium to draw the page with");
}

#[test]
fn a_browser_draws_the_report() {
    let dir = folder();
    Server::demo(dir.path(), 20, 6).stop();
    let (html, png) = (dir.path().join("report.html"), dir.path().join("report.png"));
    let path = |path: &std::path::Path| path.to_str().expect("a path").to_owned();
    run_ok(dir.path(), &["report", "render", "business", "--out", &path(&html), "--days", "30"]);
    is_self_contained(&fs::read_to_string(&html).expect("the report"));
    let url = format!("file://{}", path(&html));
    screenshot(&url, &path(&png), &path(&dir.path().join("profile")));
    let drawn = fs::read(&png).expect("the picture");
    assert!(drawn.starts_with(b"\x89PNG"));
    assert!(drawn.len() > 20 * 1024, "{} bytes: an empty page?", drawn.len());
}
