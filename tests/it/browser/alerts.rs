//! A manager makes an alert in the browser: tries it on the past, saves it, and says that somebody is at it.

use tests::{Client, Server, admin_key, days_ago, folder};

use super::{
    dashboards::opened,
    reports::{click, shows},
};
use crate::reports::scheduled::store_usage;

#[tokio::test]
async fn a_manager_tries_saves_and_acknowledges_an_alert() {
    let dir = folder();
    let server = Server::serve(dir.path());
    store_usage(&Client::new(&server, &admin_key(dir.path()))).await;
    let browser = opened(&server, dir.path(), "/alerts?lang=en").await;
    shows(&browser, "Error burst").await;
    click(&browser, "a[href^='/alerts/new']").await;
    shows(&browser, "New alert").await;
    let set = |name: &str, value: &str| {
        let script = format!("document.querySelector('[name=\"{name}\"]').value = '{value}'");
        let browser = &browser;
        async move { browser.run(&script).await }
    };
    set("title", "Many <requests>").await;
    set("metric", "requests").await;
    set("interval", "day").await;
    set("number", "many").await;
    set("recipients", "").await;
    click(&browser, "button[value=try]").await;
    shows(&browser, "`many` is no number").await;
    let title = browser.run("return document.querySelector('[name=title]').value").await;
    assert_eq!(title, "Many <requests>", "what was typed stays");

    set("number", "4").await;
    click(&browser, "button[value=try]").await;
    shows(&browser, "In the past 90 days it would have fired 1 times.").await;
    let row = browser.run("return document.querySelector('.trial tbody tr').innerText").await;
    let row = row.as_str().expect("a row");
    assert!(row.starts_with(&days_ago(2)) && row.contains('8'), "{row}");

    // The last day has nothing: the condition that is met now is that it has no data.
    set("kind", "no_data").await;
    click(&browser, "button[value=save]").await;
    shows(&browser, "Requests has no data").await;
    for _ in 0..50 {
        browser.run("location.reload()").await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let found = browser
            .run("return document.querySelector('button[value=acknowledge]') !== null")
            .await;
        if found == true {
            break;
        }
    }
    click(&browser, "button[value=acknowledge]").await;
    shows(&browser, "by manager@example.com").await;
    browser.go(&server.url("/alerts?lang=zh-CN")).await;
    shows(&browser, "已确认").await;
    click(&browser, "tbody a").await;
    shows(&browser, "没有数据").await;
    click(&browser, "button[value=resolve]").await;
    shows(&browser, "已解决").await;
    click(&browser, "button[value=remove]").await;
    shows(&browser, "没有未解决的告警").await;
    browser.close().await;
    server.stop();
}
