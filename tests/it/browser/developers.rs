//! A new customer's engineer: from the registration to the first event in the portal.

use reqwest::Method;
use serde_json::json;
use tests::{Client, MailServer, Server, browser::Browser, configure, folder, reply};

use super::accounts::{says, send};

const PASSWORD: &str = "ten bright lanterns";
const CLICKS_MAX: usize = 8;

/// What a person does with the mouse or the return key, counted.
struct Clicks<'a>(&'a Browser, usize);

impl Clicks<'_> {
    async fn click(&mut self, selector: &str) {
        self.1 += 1;
        self.0.until(&format!("document.querySelector({selector:?})")).await;
        self.0.run(&format!("document.querySelector({selector:?}).click()")).await;
    }

    async fn send(&mut self, path: &str, fields: &[(&str, &str)]) {
        self.1 += 1;
        send(self.0, path, fields).await;
    }
}

#[tokio::test]
async fn from_the_registration_to_the_first_event_in_eight_clicks() {
    let mail = MailServer::start("");
    let dir = folder();
    let settings = format!(
        "{}\n[accounts]\nregistration = \"open\"\n[hooks]\nallow_private = true\n",
        mail.configuration()
    );
    configure(dir.path(), &settings);
    let server = Server::serve(dir.path());
    let browser = Browser::open(1280, 900, &[]).await;
    let mut person = Clicks(&browser, 0);
    browser.go(&server.url("/register?lang=en")).await;
    let form = [
        ("organization", "Acme"),
        ("country", "de"),
        ("email", "ann@acme.example"),
        ("password", PASSWORD),
    ];
    person.send("/register", &form).await;
    says(&browser, "A mail is on its way").await;
    let token = mail.token(1, "ann@acme.example", "/verify/").await;
    // The link in the mail is a click.
    person.1 += 1;
    browser.go(&server.url(&format!("/verify/{token}?lang=en"))).await;
    person.send("", &[("password", PASSWORD)]).await;
    says(&browser, "You can sign in now").await;
    browser.go(&server.url("/sign-in?lang=en&next=/keys?lang=en")).await;
    person.send("/sign-in", &[("email", "ann@acme.example"), ("password", PASSWORD)]).await;
    browser.until("location.pathname === '/keys'").await;
    person.send("/keys/create", &[("name", "First"), ("scopes", "read-write")]).await;
    browser.until("document.querySelector('.secret')").await;
    let key = browser.run("return document.querySelector('.secret').innerText.trim()").await;
    let client = Client::new(&server, key.as_str().expect("a key"));
    let id = client.get("/v1/me").await.1["organization_id"].as_str().expect("an id").to_owned();
    let data = json!({"model": "gpt-4o", "input_tokens": 812, "output_tokens": 96});
    let mut event = tests::usage_today(&id, "first-event", data);
    event["source"] = tests::own_source(&id).into();
    client.store(&[event]).await;
    person.click("a[href^=\"/developers?\"]").await;
    browser.until("location.pathname === '/developers'").await;
    person.click("a[href^=\"/developers/requests\"]").await;
    says(&browser, "first-event").await;
    let clicks = person.1;
    assert!(clicks <= CLICKS_MAX, "{clicks} clicks");

    webhook(&browser, &server).await;
    tester(&browser, &server).await;
    reference(&browser, &server).await;
    narrow(&server).await;
    browser.close().await;
    server.stop();
}

/// The pages in both languages, dark and narrow.
async fn narrow(server: &Server) {
    let narrow = Browser::open(390, 900, &["--blink-settings=preferredColorScheme=0"]).await;
    narrow.go(&server.url("/sign-in?lang=en&next=/developers?lang=en")).await;
    send(&narrow, "/sign-in", &[("email", "ann@acme.example"), ("password", PASSWORD)]).await;
    narrow.until("location.pathname === '/developers'").await;
    let axe = tests::browser::axe_script();
    for page in [
        "/developers",
        "/developers/requests",
        "/webhooks",
        "/developers/tester",
        "/docs",
        "/docs/webhooks",
    ] {
        for lang in ["en", "zh-CN"] {
            narrow.go(&server.url(&format!("{page}?lang={lang}"))).await;
            let wide = narrow.run("return document.documentElement.scrollWidth > 390").await;
            assert_eq!(wide, json!(false), "{page} is wider than the screen");
            super::accessibility::check(&narrow, &axe, page).await;
        }
    }
    narrow.close().await;
}

async fn webhook(browser: &Browser, server: &Server) {
    browser.go(&server.url("/webhooks?lang=en")).await;
    send(browser, "/webhooks", &[("url", "ftp://x"), ("events", "")]).await;
    says(browser, "Not possible").await;
    let (url, events) = ("http://127.0.0.1:9/hook", "key.created, key.revoked");
    send(browser, "/webhooks", &[("url", url), ("events", events)]).await;
    browser.until("document.querySelector('.secret')?.innerText.startsWith('whsec_')").await;
    let path = "document.querySelector('form[action$=\"/test\"]')";
    browser.run(&format!("{path}.requestSubmit()")).await;
    says(browser, "webhook.test").await;
    // Nobody listens there: the attempt says so.
    for _ in 0..50 {
        browser.run("location.reload()").await;
        browser.until("document.readyState === 'complete'").await;
        let tried = browser.run("return document.body.innerText.includes('next at')").await;
        let link = browser.run("return document.querySelector('table a').href").await;
        browser.go(link.as_str().expect("a link")).await;
        let said = browser.run("return document.body.innerText.includes('no connection')").await;
        if tried == json!(true) && said == json!(true) {
            return;
        }
        browser.run("history.back()").await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("the attempt is not shown");
}

async fn tester(browser: &Browser, server: &Server) {
    browser.go(&server.url("/developers/tester?lang=en&op=get_me")).await;
    browser
        .until("document.getElementById('code-python').textContent.includes('client.get_me()')")
        .await;
    browser.run("document.getElementById('send').click()").await;
    browser
        .until("document.getElementById('answer').textContent.includes('ann@acme.example')")
        .await;
    browser
        .go(&server.url("/developers/tester?lang=en&op=get_metric&p.name=error_rate&p.range=today"))
        .await;
    let code = browser.run("return document.getElementById('code-python').textContent").await;
    assert!(
        code.as_str()
            .is_some_and(|code| code.contains("get_metric(\"error_rate\", range=\"today\")")),
        "{code}"
    );
}

async fn reference(browser: &Browser, server: &Server) {
    browser.go(&server.url("/docs/reference?lang=en")).await;
    browser.run("document.querySelector('form.try').requestSubmit()").await;
    says(browser, "works for an hour").await;
    browser.until("document.querySelectorAll('.opblock-tag').length > 15").await;
    let key = browser.run("return document.getElementById('viewer').dataset.key").await;
    let client = Client::new(server, key.as_str().expect("a key"));
    assert_eq!(client.get("/v1/me").await.0, 200);
    let request = client.request(Method::GET, "/docs/assets/viewer.js");
    let shipped = include_str!("../../../api/portal/src/docs/viewer.js");
    assert_eq!(reply(request).await.text(), shipped);
}
