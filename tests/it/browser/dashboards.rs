//! What the script of a dashboard adds, and a tile that cannot be computed.

use std::path::Path;

use chrono::{NaiveDate, TimeDelta};
use serde_json::json;
use tests::{
    Client, Server, admin_key, browser::Browser, days_ago, flushed, folder, signed_in, usage,
};

use super::reports::{click, figure, shows};
use crate::reports::scheduled::store_usage;

pub(super) async fn opened(server: &Server, dir: &Path, path: &str) -> Browser {
    let (_, cookie) = signed_in(server, dir, "manager").await;
    let (name, value) = cookie.split_once('=').expect("a cookie");
    let browser = Browser::open(1280, 900, &[]).await;
    browser.go(&server.url("/sign-in")).await;
    browser.cookie(name, value).await;
    browser.go(&server.url(path)).await;
    browser
}

#[tokio::test]
async fn a_chart_says_its_values_and_the_page_looks_again() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    store_usage(&admin).await;
    let today: NaiveDate = days_ago(0).parse().expect("a date");
    let path = format!(
        "/dashboards/business?lang=en&grain=day&from={}&to={}",
        days_ago(6),
        today + TimeDelta::days(2)
    );
    let browser = opened(&server, dir.path(), &path).await;
    assert_eq!(figure(&browser, "Requests").await, "8");
    shows(&browser, "So far, until").await;
    shows(&browser, "Points marked * are not complete.").await;

    // Under the pointer in the middle of the chart is the value of the day in the middle of its table.
    let pointed = "const chart = [...document.querySelectorAll('svg.chart')].find(c => c.getBoundingClientRect().width); \
        const rows = chart.closest('.panel').querySelectorAll('tbody tr'); const at = 4; \
        const {from, to} = chart.dataset, box = chart.getBoundingClientRect(); \
        const x = (+from + (to - from) * at / (rows.length - 1)) / chart.viewBox.baseVal.width; \
        chart.dispatchEvent(new PointerEvent('pointermove', \
            {bubbles: true, clientX: box.left + x * box.width, clientY: box.top + 50})); \
        return [document.querySelector('.tip').innerText, rows[at].textContent]";
    let pointed = browser.run(pointed).await;
    let (tip, row) = (pointed[0].as_str().expect("a text"), pointed[1].as_str().expect("a row"));
    assert_eq!(tip, format!("8\n{}", days_ago(2)));
    assert!(row.starts_with(&days_ago(2)), "{row}");

    // A request that comes now is seen without a click, and an open table stays open.
    click(&browser, ".tiles details summary").await;
    browser.run("document.getElementById('refresh').dataset.every = 300").await;
    browser.run("window.stays = true").await;
    click(&browser, "#refresh").await;
    let event = usage("org_a", "now", json!({"model": "m1"}));
    admin.store(&[event]).await;
    browser
        .until("[...document.querySelectorAll('.kpi .value')].some(v => v.innerText === '9')")
        .await;
    let kept =
        browser.run("return [window.stays, document.querySelector('.tiles details').open]").await;
    assert_eq!(kept, json!([true, true]));
    browser.close().await;
    server.stop();
}

#[tokio::test]
async fn a_tile_that_cannot_be_computed_leaves_the_others_alone() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    store_usage(&admin).await;
    let visit = json!({
        "specversion": "1.0",
        "id": "visit",
        "source": "/site",
        "type": "activity.page_viewed",
        "time": format!("{}T12:00:00Z", days_ago(2)),
        "data": {"anonymous_id": "va"},
    });
    admin.store(&[visit]).await;
    flushed(&admin).await;
    let removed = remove_files(&dir.path().join("lake/activity_events"));
    assert!(removed > 0, "there are files");
    let browser = opened(&server, dir.path(), "/dashboards/business?lang=en&days=7").await;
    assert_eq!(figure(&browser, "Requests").await, "8");
    let failed = browser
        .run("return [...document.querySelectorAll('[role=alert]')].map(a => a.parentElement.querySelector('h2').innerText)")
        .await;
    let expected = ["Registration conversion"];
    assert_eq!(failed, json!(expected));
    shows(&browser, "This cannot be computed").await;
    browser.close().await;
    server.stop();
}

/// Removes the Parquet files of a table, and gives their number.
fn remove_files(table: &Path) -> usize {
    let entries = std::fs::read_dir(table).into_iter().flatten().flatten();
    let paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    let (folders, files): (Vec<_>, Vec<_>) = paths.iter().partition(|path| path.is_dir());
    let own = files.iter().filter(|path| path.extension().is_some_and(|kind| kind == "parquet"));
    own.map(|path| usize::from(std::fs::remove_file(path).is_ok())).sum::<usize>()
        + folders.iter().map(|folder| remove_files(folder)).sum::<usize>()
}

#[tokio::test]
async fn every_dashboard_opens_for_everybody_and_its_charts_are_files() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    store_usage(&admin).await;
    let member = Client::new(&server, &tests::organization_key(dir.path(), "org_a", "read"));
    let page = async |client: &Client, path: &str| {
        let answer = tests::reply(client.request(reqwest::Method::GET, path)).await;
        (answer.status.as_u16(), answer.text())
    };
    for name in ["business", "users", "usage", "quality", "churn", "organization", "operations"] {
        for (client, hidden) in [(&admin, 0), (&member, usize::from(name == "users"))] {
            let (status, html) = page(client, &format!("/dashboards/{name}?days=7")).await;
            assert_eq!(status, 200, "{name}: {html}");
            // A member who was not granted persons does not see what says something of persons.
            let failed: Vec<_> = html.split("role=\"alert\"").skip(1).collect();
            let is_hidden = |rest: &&str| rest.contains("something of persons");
            assert!(failed.iter().all(is_hidden), "{name}: {failed:?}");
            assert_eq!(failed.len(), hidden, "{name}");
        }
    }
    // What is for staff is not there for a member, and nothing else is missing.
    let (_, staff) = page(&admin, "/dashboards/operations?days=7").await;
    let (_, own) = page(&member, "/dashboards/operations?days=7").await;
    assert!(staff.contains("usage_ledger") && staff.contains("history_tidy"), "{staff}");
    assert!(!own.contains("usage_ledger") && !own.contains("Ingest lag"), "{own}");
    assert!(own.contains("Availability"));

    // Each chart has links to its files, and each day to its hours.
    let links = |html: &str, contains: &str| -> Vec<String> {
        let hrefs = html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let plain = hrefs.map(|href| href.replace("&amp;", "&").replace("&#x2f;", "/"));
        plain.filter(|href| href.contains(contains)).collect()
    };
    let (_, html) = page(&admin, "/dashboards/usage?days=7&lang=en").await;
    let (mut pngs, mut svgs) = (0, 0);
    for href in links(&html, "/chart?") {
        let answer = tests::reply(admin.request(reqwest::Method::GET, &href)).await;
        assert_eq!(answer.status, 200, "{href}: {}", answer.text());
        match answer.header("content-type") {
            "image/png" => pngs += 1,
            "image/svg+xml" => {
                assert!(answer.text().starts_with("<svg"), "{}", answer.text());
                svgs += 1;
            }
            other => panic!("{href}: {other}"),
        }
    }
    assert!(pngs >= 3 && pngs == svgs, "{pngs} and {svgs}");
    let hours = links(&html, "grain=hour");
    let from = format!("from={}", days_ago(2));
    let of_day = hours.iter().find(|href| href.contains(&from)).expect("a link of the day");
    let (status, html) = page(&admin, &format!("/dashboards/usage{of_day}")).await;
    assert!(status == 200 && html.contains("One point per hour"), "{status}");
    let rows = links(&html, "/rows?");
    let (status, text) = page(&admin, rows.first().expect("a link to rows")).await;
    assert!(status == 200 && text.lines().count() == 9, "{status} {text}");
    for odd in ["tile=99", "tile=x", "tile=0&format=gif", "tile=0&panel=9"] {
        let (status, _) = page(&admin, &format!("/dashboards/usage/chart?days=7&{odd}")).await;
        assert!([400, 404].contains(&status), "{odd}: {status}");
    }
    server.stop();
}

#[tokio::test]
async fn a_dashboard_is_copied_and_edited_in_the_browser() {
    let dir = folder();
    let server = Server::serve(dir.path());
    store_usage(&Client::new(&server, &admin_key(dir.path()))).await;
    let browser = opened(&server, dir.path(), "/dashboards/quality?lang=en&days=7").await;
    click(&browser, ".filters summary").await;
    click(&browser, "form[action$='/copy'] button").await;
    shows(&browser, "quality-copy").await;
    let titles = "return [...document.querySelectorAll('.edited strong')].map(t => t.innerText)";
    let before = browser.run(titles).await;
    click(&browser, ".edited li:first-child button[value=down]").await;
    shows(&browser, "Version 2").await;
    let after = browser.run(titles).await;
    assert_eq!((&after[0], &after[1]), (&before[1], &before[0]));
    browser.run("document.querySelector('[name=metric]').value = 'tokens'").await;
    browser.run("document.querySelector('[name=title]').value = 'My <tokens>'").await;
    click(&browser, "button[value=add]").await;
    shows(&browser, "My <tokens>").await;

    // What is written is checked while it is written, and not saved when it is wrong.
    let write = |text: &str| {
        let script = format!(
            "const t = document.getElementById('yaml'); t.value = t.value.replace('name: quality-copy', '{text}'); \
             t.dispatchEvent(new Event('input'))"
        );
        let browser = &browser;
        async move { browser.run(&script).await }
    };
    write("name: [").await;
    browser.until("document.getElementById('verdict').className === 'alert'").await;
    click(&browser, "button[value=save]").await;
    shows(&browser, "not readable").await;
    let kept =
        browser.run("return document.getElementById('yaml').value.startsWith('name: [')").await;
    assert_eq!(kept, true, "what was written stays");
    browser.go(&server.url("/dashboards/quality-copy/edit?lang=en")).await;
    click(&browser, "button[value=restore]").await;
    shows(&browser, "Version 4").await;
    click(&browser, "a.main").await;
    browser.until("document.querySelector('.tabs [aria-current]')").await;
    let tab = browser.run("return document.querySelector('.tabs [aria-current]').href").await;
    assert!(tab.as_str().is_some_and(|href| href.contains("/dashboards/quality-copy")), "{tab}");
    browser.close().await;
    server.stop();
}

#[tokio::test]
async fn annotations_are_on_every_chart_of_their_scope() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    store_usage(&admin).await;
    let member = Client::new(&server, &tests::organization_key(dir.path(), "org_a", "read"));
    let post = async |client: &Client, at: &str, text: &str| {
        let body = json!({"at": at, "text": text});
        let request = client.request(reqwest::Method::POST, "/v1/annotations").json(&body);
        let answer = tests::reply(request).await;
        (answer.status.as_u16(), answer.json())
    };
    let at = format!("{}T12:00:00Z", days_ago(2));
    let (status, made) = post(&admin, &at, "New <prices>").await;
    assert_eq!(status, 201, "{made}");
    for (at, text) in [(at.as_str(), " "), (at.as_str(), "a\u{7}"), ("yesterday", "x")] {
        assert_eq!(post(&admin, at, text).await.0, 400, "{text}");
    }
    let page = async |client: &Client, path: &str| {
        tests::reply(client.request(reqwest::Method::GET, path)).await.text()
    };
    let html = page(&admin, "/dashboards/quality?days=7&lang=en").await;
    let charts = html.matches("<svg class=\"chart").count();
    assert!(charts > 0 && html.matches("class=\"mark\"").count() == charts, "{charts}");
    assert!(html.contains("New &lt;prices&gt;"), "{html}");
    let earlier = format!("/dashboards/quality?from={}&to={}", days_ago(6), days_ago(3));
    let before = page(&admin, &earlier).await;
    assert!(!before.contains("New &lt;prices&gt;"), "it is of another time");
    assert!(!page(&member, "/dashboards/quality?days=7").await.contains("prices"));
    let path = format!("/v1/annotations/{}", made["id"].as_str().expect("an id"));
    let remove = async |client: &Client| {
        tests::reply(client.request(reqwest::Method::DELETE, &path)).await.status.as_u16()
    };
    assert_eq!(remove(&member).await, 404);
    assert_eq!(remove(&admin).await, 204);
    server.stop();
}
