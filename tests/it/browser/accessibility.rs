//! What axe-core finds on the pages: nothing that is serious, in light and dark, wide and narrow.

use serde_json::Value;
use tests::{
    Server,
    browser::{Browser, axe_script},
    folder, signed_in,
};

const PAGES: [&str; 26] = [
    "/sign-in",
    "/home",
    "/dashboards/business",
    "/dashboards/users",
    "/dashboards/usage",
    "/dashboards/quality",
    "/dashboards/churn",
    "/dashboards/organization",
    "/dashboards/operations",
    "/dashboards/business/edit",
    "/reports",
    "/alerts",
    "/anomalies",
    "/forecasts",
    "/churn",
    "/metrics-catalog",
    "/queries",
    "/sql",
    "/account",
    "/admin/users",
    "/admin/organizations",
    "/admin/audit",
    "/admin/billing",
    "/admin/billing/prices",
    "/register",
    "/forgot",
];

/// The faults that matter, with the first element of each.
const RUN: &str =
    "window.found = null; axe.run(document, {resultTypes: ['violations']}).then(all => {
    const bad = all.violations.filter(one => ['serious', 'critical'].includes(one.impact));
    window.found = bad.map(one => one.id + ': ' + one.nodes[0].html.slice(0, 200) + ' '
        + one.nodes[0].failureSummary.slice(0, 300));
})";

/// The page that is open has no such fault.
pub(super) async fn check(browser: &Browser, axe: &str, page: &str) {
    browser.run(axe).await;
    browser.run(RUN).await;
    browser.until("window.found !== null").await;
    let found = browser.run("return window.found").await;
    assert_eq!(found, Value::Array(Vec::new()), "{page}");
}

#[tokio::test]
async fn pages_have_no_serious_fault_of_accessibility() {
    let dir = folder();
    let server = Server::demo(dir.path(), 40, 6);
    let (_, cookie) = signed_in(&server, dir.path(), "admin").await;
    let (name, value) = cookie.split_once('=').expect("a cookie");
    let axe = axe_script();
    for (width, height, arguments) in
        [(1280, 900, &[][..]), (390, 800, &["--blink-settings=preferredColorScheme=0"][..])]
    {
        let browser = Browser::open(width, height, arguments).await;
        browser.go(&format!("{}/sign-in", server.ready.url)).await;
        browser.cookie(name, value).await;
        for page in PAGES {
            browser.go(&format!("{}{page}?lang=en", server.ready.url)).await;
            check(&browser, &axe, &format!("{page}, {width} wide")).await;
        }
        browser.close().await;
    }
}
