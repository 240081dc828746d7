//! A manager sends a dashboard by schedule, in the browser, and finds the same numbers behind the link of the mail.

use tests::{
    Client, MailServer, Server, admin_key, browser::Browser, configure, folder, signed_in,
};

use crate::reports::scheduled::store_usage;

/// The value of a key figure, by its title.
pub(super) async fn figure(browser: &Browser, title: &str) -> String {
    let script = format!(
        "const card = [...document.querySelectorAll('.kpi')].find(c => c.querySelector('h2').innerText === '{title}'); \
         return card.querySelector('.value').innerText"
    );
    browser.run(&script).await.as_str().unwrap_or_default().to_owned()
}

pub(super) async fn click(browser: &Browser, selector: &str) {
    browser.until(&format!("document.querySelector({selector:?})")).await;
    browser.run(&format!("document.querySelector({selector:?}).click()")).await;
}

pub(super) async fn shows(browser: &Browser, text: &str) {
    browser.until(&format!("document.body && document.body.innerText.includes({text:?})")).await;
}

#[tokio::test]
async fn a_manager_filters_schedules_and_gets_the_same_numbers_by_mail() {
    let (dir, mail) = (folder(), MailServer::start(""));
    configure(dir.path(), &mail.configuration());
    let server = Server::serve(dir.path());
    store_usage(&Client::new(&server, &admin_key(dir.path()))).await;
    let (_, cookie) = signed_in(&server, dir.path(), "manager").await;
    let (name, value) = cookie.split_once('=').expect("a cookie");
    let browser = Browser::open(1280, 900, &[]).await;
    browser.go(&server.url("/sign-in")).await;
    browser.cookie(name, value).await;
    browser.go(&server.url("/dashboards/business?lang=en&days=7")).await;
    assert_eq!(figure(&browser, "Requests").await, "8");

    // A filter, then one step further down, each by a link or the form; both stay in the address.
    click(&browser, ".filters summary").await;
    browser.run("document.querySelector('[name=\"f.organization_id\"]').value = 'org_a'").await;
    click(&browser, ".filters button").await;
    shows(&browser, "organization_id=org_a").await;
    assert_eq!(figure(&browser, "Requests").await, "3");
    shows(&browser, "Not filtered by").await;
    click(&browser, ".ranking .name a").await;
    shows(&browser, "model==m1").await;
    let address = browser.run("return location.search").await;
    let address = address.as_str().unwrap_or_default().to_owned();
    assert!(address.contains("organization_id") && address.contains("last_7_days"), "{address}");
    click(&browser, ".chip").await;
    browser.until("document.querySelectorAll('.chip').length === 1").await;

    // Three clicks: the filters, the schedule, saving.
    browser
        .go(&server.url("/dashboards/business?lang=en&days=7&filter=organization_id%3Dorg_a"))
        .await;
    click(&browser, ".filters summary").await;
    click(&browser, ".filters a[href^='/reports/new']").await;
    shows(&browser, "New report").await;
    let filters = browser.run("return document.querySelector('[name=filters]').value").await;
    assert_eq!(filters, "organization_id=org_a");
    click(&browser, ".fields button").await;
    shows(&browser, "Next runs").await;
    shows(&browser, "Every week, Monday, 08:00").await;
    click(&browser, "button[value=test]").await;
    let mails = mail.wait_for(1).await;
    let text = mails[0]["text"].as_str().expect("text");
    assert!(text.lines().any(|line| line == "Requests: 3"), "{text}");
    let link = text.lines().find_map(|line| line.strip_prefix("Open the dashboard: "));
    browser.go(link.expect("a link")).await;
    assert_eq!(figure(&browser, "Requests").await, "3");

    // What cannot be is said, and what was typed stays.
    browser.go(&server.url("/reports/new?lang=en")).await;
    browser.run("document.querySelector('[name=recipients]').value = 'x@elsewhere.example'").await;
    browser.run("document.querySelector('[name=title]').value = 'Mine'").await;
    click(&browser, ".fields button").await;
    shows(&browser, "recipient_domains").await;
    let title = browser.run("return document.querySelector('[name=title]').value").await;
    assert_eq!(title, "Mine");
    browser.close().await;
    server.stop();
}
