//! A plan is taken on the pages, invoiced, and paid; the quota and the revenue follow.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, browser::Browser, reply, run_ok, tomorrow};

use super::accounts::{says, send, text};

const PRICES: &str = "
plans:
  - plan: pro
    versions:
      - from: 2026-01-01
        currency: USD
        charges:
          - {name: Base, price: {flat: 49}, in_advance: true}
          - {name: Usage, meter: list_price, price: {per_unit: {amount: 2}}}
";

/// The address of the first link whose text holds some words.
async fn link(browser: &Browser, words: &str) -> String {
    let found = browser
        .run(&format!(
            "return [...document.querySelectorAll('main a')].find(a => a.innerText.includes({words:?})).getAttribute('href')"
        ))
        .await;
    found.as_str().expect("a link").to_owned()
}

async fn mrr(admin: &Client) -> Value {
    let to = &tomorrow()[..10];
    admin.get(&format!("/v1/metrics/mrr?from=2026-01-01&to={to}")).await.1["rows"].clone()
}

/// A customer whose quota is used up takes the plan.
pub(super) async fn upgraded(browser: &Browser, server: &Server, dir: &Path) {
    let admin = Client::new(server, &admin_key(dir));
    let list = admin.request(Method::PUT, "/v1/admin/prices").body(PRICES);
    assert_eq!(reply(list).await.status, 200);
    assert_eq!(mrr(&admin).await, json!([]));
    browser.go(&server.url("/billing?lang=en")).await;
    says(browser, "There is no subscription").await;
    browser.go(&server.url("/billing/plans?lang=zh-CN")).await;
    says(browser, "标价用量").await;
    browser.go(&server.url("/billing/plans?lang=en")).await;
    send(browser, "/billing/change", &[]).await;
    says(browser, "Nothing is changed yet").await;
    says(browser, "49.00 USD").await;
    send(browser, "/billing/act", &[]).await;
    browser.until("location.pathname === '/billing'").await;
    says(browser, "49.00 USD a month").await;
    // The quota of the plan counts within a second.
    let mut shown = String::new();
    for _ in 0..50 {
        browser.go(&server.url("/usage?lang=en")).await;
        shown = text(browser).await;
        if shown.contains("100 of 1,000 used") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(shown.contains("100 of 1,000 used"), "{shown}");

    // Staff runs, and records what came by transfer.
    let told = run_ok(dir, &["user", "create", "--email", "staff@x.example", "--role", "admin"]);
    let password = told.split_whitespace().last().expect("a password");
    let staff = Browser::open(1280, 900, &[]).await;
    staff.go(&server.url("/sign-in?lang=en&next=/admin/billing?lang=en")).await;
    send(&staff, "/sign-in", &[("email", "staff@x.example"), ("password", password)]).await;
    staff.until("location.pathname === '/admin/billing'").await;
    send(&staff, "/admin/billing/run", &[]).await;
    says(&staff, "INV-000001").await;
    let invoice = link(&staff, "INV-000001").await;
    staff.go(&server.url(&invoice)).await;
    let path = invoice.split('?').next().expect("a path").to_owned();
    let form = "document.querySelectorAll('form').values().find(f => f.elements.reference)";
    staff
        .run(&format!("const f = {form}; f.elements.reference.value = 'T1'; f.requestSubmit();"))
        .await;
    staff
        .until(&format!("location.pathname === {path:?} && document.body.innerText.includes('T1')"))
        .await;
    says(&staff, "Paid").await;
    staff.close().await;

    browser.go(&server.url("/billing?lang=en")).await;
    let shown = text(browser).await;
    // 1.25 dollars of usage, at twice its price, are of the next invoice.
    for words in ["INV-000001", "Paid", "2.50 USD"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let invoice = link(browser, "INV-000001").await;
    browser.go(&server.url(&invoice)).await;
    let document = link(browser, "To read and print").await;
    browser.go(&server.url(&document)).await;
    says(browser, "Invoice INV-000001").await;
    let mut rows = mrr(&admin).await;
    for _ in 0..100 {
        if rows != json!([]) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        rows = mrr(&admin).await;
    }
    assert_eq!((&rows[0]["currency"], &rows[0]["value"]), (&json!("USD"), &json!("49")), "{rows}");
}
