//! A person from the first visit to a used-up quota, and on to a paid plan, in a browser.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, MailServer, Server, admin_key, browser::Browser, configure, folder, reply, run_ok,
    usage_today,
};
use totp_rs::{Builder, Secret};

const PLANS: &str =
    "- {name: free, title: {en: Free, zh-CN: 免费}, monthly: {tokens: {limit: 100}}}
- {name: pro, title: {en: Pro, zh-CN: 专业}, monthly: {tokens: {limit: 1000}}}\n";
const PASSWORD: &str = "ten bright lanterns";

/// Fills in the form that posts to a path, and sends it.
pub(super) async fn send(browser: &Browser, path: &str, fields: &[(&str, &str)]) {
    let filled: String = fields
        .iter()
        .map(|(name, value)| format!("f.elements[{name:?}].value = {value:?};"))
        .collect();
    let form = match path {
        "" => "document.querySelector('main form')".to_owned(),
        path => format!("document.querySelector('form[action=\"{path}\"]')"),
    };
    browser.run(&format!("const f = {form}; {filled} f.requestSubmit();")).await;
}

pub(super) async fn text(browser: &Browser) -> String {
    let text = browser.run("return document.body.innerText").await;
    text.as_str().unwrap_or_default().to_owned()
}

pub(super) async fn says(browser: &Browser, words: &str) {
    browser.until(&format!("document.body.innerText.includes({words:?})")).await;
}

async fn code(browser: &Browser, secret: &str, steps: i64) -> String {
    let now = browser.run("return Math.floor(Date.now() / 1000)").await.as_u64().expect("a time");
    let secret = Secret::try_from_base32(secret).expect("base 32");
    let totp = Builder::new().with_secret(secret).with_account_name("a").build().expect("a factor");
    totp.generate(now.checked_add_signed(steps * 30).expect("a time")).to_string()
}

#[tokio::test]
async fn from_the_first_visit_to_a_quota_that_is_used_up() {
    let mail = MailServer::start("");
    let (dir, plans) = (folder(), folder());
    let file = plans.path().join("plans.yaml");
    fs::write(&file, PLANS).expect("the plans are written");
    let settings = format!(
        "{}\n[accounts]\nregistration = \"open\"\n[plans]\nfile = {file:?}\n[billing]\ngrace_hours = 0\n",
        mail.configuration()
    );
    configure(dir.path(), &settings);
    let server = Server::serve(dir.path());
    let browser = Browser::open(390, 900, &[]).await;
    let go = async |path: &str| browser.go(&server.url(path)).await;

    go("/sign-in?lang=en").await;
    browser.run("document.querySelector('a[href^=\"/register\"]').click()").await;
    browser.until("location.pathname === '/register'").await;
    let mut form = [
        ("organization", "Acme"),
        ("country", "de"),
        ("email", "ann@acme.example"),
        ("password", "password"),
    ];
    send(&browser, "/register", &form).await;
    says(&browser, "too easy to guess").await;
    form[3].1 = PASSWORD;
    send(&browser, "/register", &form).await;
    says(&browser, "A mail is on its way").await;
    go(&format!("/verify/{}?lang=en", mail.token(1, "ann@acme.example", "/verify/").await)).await;
    send(&browser, "", &[("password", "not the one")]).await;
    says(&browser, "password").await;
    send(&browser, "", &[("password", PASSWORD)]).await;
    says(&browser, "You can sign in now").await;

    go("/sign-in?lang=en&next=/account?lang=en").await;
    send(&browser, "/sign-in", &[("email", "ann@acme.example"), ("password", PASSWORD)]).await;
    browser.until("location.pathname === '/account'").await;
    send(&browser, "/account/factor", &[("current_password", PASSWORD)]).await;
    browser
        .until("document.querySelector('.secret') && document.querySelector('.drawing svg')")
        .await;
    let secret = browser.run("return document.querySelector('.secret').innerText.trim()").await;
    let secret = secret.as_str().expect("a secret").to_owned();
    let first = code(&browser, &secret, 0).await;
    send(&browser, "/account/confirm-factor", &[("code", &first)]).await;
    says(&browser, "Recovery codes").await;
    mail.wait_for(2).await;

    // The next sign-in asks for a code.
    browser.run("document.querySelector('form[action=\"/sign-out\"]').requestSubmit()").await;
    browser.until("location.pathname === '/sign-in'").await;
    go("/sign-in?lang=en&next=/keys?lang=en").await;
    send(&browser, "/sign-in", &[("email", "ann@acme.example"), ("password", PASSWORD)]).await;
    browser.until("location.pathname === '/sign-in/code'").await;
    send(&browser, "/sign-in/code", &[("code", "000000")]).await;
    says(&browser, "The code is wrong").await;
    let next = code(&browser, &secret, 1).await;
    send(&browser, "/sign-in/code", &[("code", &next)]).await;
    browser.until("location.pathname === '/keys'").await;

    used_up(&browser, &server, dir.path()).await;
    super::billing::upgraded(&browser, &server, dir.path()).await;
    invited(&browser, &server, &mail).await;
    browser.close().await;
    server.stop();
}

/// A key, its first call, its use, and the end of the quota.
async fn used_up(browser: &Browser, server: &Server, dir: &std::path::Path) {
    send(browser, "/keys/create", &[("name", "Production"), ("scopes", "read")]).await;
    browser.until("document.querySelector('.secret')").await;
    let key = browser.run("return document.querySelector('.secret').innerText.trim()").await;
    let key = key.as_str().expect("a secret").to_owned();
    assert!(key.starts_with("aihub_"), "{key}");
    let gateway = run_ok(dir, &["key", "create", "--name", "gateway", "--scopes", "verify"]);
    let (gateway, admin) = (Client::new(server, &gateway), Client::new(server, &admin_key(dir)));
    let verify = async || -> Value {
        let ask = json!({"key": key, "model": "m", "estimated_tokens": 10});
        reply(gateway.request(Method::POST, "/v1/keys/verify").json(&ask)).await.json()
    };
    let found = verify().await;
    assert_eq!(found["code"], "VALID", "{found}");
    let organization = found["organization_id"].as_str().expect("an id");
    let data = json!({
        "api_key_id": found["api_key_id"], "input_tokens": 95, "output_tokens": 5, "list_price": "1.25", "currency": "USD",
    });
    admin.store(&[usage_today(organization, "1", data)]).await;
    for _ in 0..100 {
        if verify().await["code"] == "USAGE_EXCEEDED" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(verify().await["code"], "USAGE_EXCEEDED");
    browser.go(&server.url("/usage?lang=en")).await;
    let shown = text(browser).await;
    for words in ["100 of 100 used", "Production", "1.25 USD"] {
        assert!(shown.contains(words), "{shown}");
    }
    browser.until("document.querySelector('.meter.bad')").await;
}

async fn invited(browser: &Browser, server: &Server, mail: &MailServer) {
    browser.go(&server.url("/organization?lang=en")).await;
    send(browser, "/organization/invite", &[("email", "nonsense@x"), ("role", "user")]).await;
    says(browser, "This is no e-mail address").await;
    send(browser, "/organization/invite", &[("email", "bob@acme.example"), ("role", "user")]).await;
    says(browser, "The invitation is on its way").await;
    let token = mail.token(4, "bob@acme.example", "/invitations/").await;
    let guest = Browser::open(1280, 900, &[]).await;
    guest.go(&server.url(&format!("/invitations/{token}?lang=zh-CN"))).await;
    says(&guest, "加入 Acme").await;
    send(&guest, "", &[("password", "four quiet bridges")]).await;
    says(&guest, "现在可以登录").await;
    guest.go(&server.url("/sign-in?lang=zh-CN&next=/organization?lang=zh-CN")).await;
    send(&guest, "/sign-in", &[("email", "bob@acme.example"), ("password", "four quiet bridges")])
        .await;
    guest.until("location.pathname === '/organization'").await;
    // A user sees who is there, and manages nobody.
    let shown = text(&guest).await;
    assert!(shown.contains("ann@acme.example") && !shown.contains("移除"), "{shown}");
    guest.close().await;
}
