//! A report reaches its recipients with the numbers of its dashboard, at its times, and nobody else.

use std::{path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, MailServer, Server, admin_key, configure, days_ago, flushed, folder, organization_key,
    reply, run_ok, signed_in, usage,
};

pub(super) async fn post(client: &Client, path: &str, body: &Value) -> Value {
    let answer = reply(client.request(Method::POST, path).json(body)).await;
    assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text());
    if answer.status == 204 { Value::Null } else { answer.json() }
}

/// The code of a refusal.
async fn refused(client: &Client, body: &Value) -> (u16, Value) {
    let answer = reply(client.request(Method::POST, "/v1/reports").json(body)).await;
    (answer.status.as_u16(), answer.json()["code"].clone())
}

pub(super) fn report(recipients: Value) -> Value {
    json!({
        "title": "Weekly & <usage>",
        "dashboard": "business",
        "period": "last_7_days",
        "recipients": recipients,
        "formats": ["html", "csv"],
    })
}

/// Waits until the newest run of a report has this status.
async fn until(client: &Client, report: &str, status: &str) -> Value {
    let mut last = Value::Null;
    for _ in 0..300 {
        let (_, runs) = client.get(&format!("/v1/reports/{report}/runs")).await;
        last = runs["runs"][0].clone();
        if last["status"] == status {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{last}");
}

pub(crate) async fn store_usage(client: &Client) {
    let mut events = Vec::new();
    for (organization, count) in [("org_a", 3), ("org_b", 5)] {
        for number in 0..count {
            let mut event = usage(
                organization,
                &format!("{organization}-{number}"),
                json!({
                    "model": "=m1", "input_tokens": 10, "output_tokens": 5,
                }),
            );
            event["time"] = json!(format!("{}T12:00:00Z", days_ago(2)));
            events.push(event);
        }
    }
    client.store(&events).await;
    flushed(client).await;
}

fn attached(mail: &Value, extension: &str) -> (String, String) {
    let files = mail["attachments"].as_object().expect("attachments");
    let (name, data) = files.iter().find(|(name, _)| name.ends_with(extension)).expect("a file");
    let bytes = STANDARD.decode(data.as_str().unwrap_or_default()).expect("base64");
    (name.clone(), String::from_utf8(bytes).expect("UTF-8"))
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn everybody_gets_the_numbers_that_are_theirs() {
    let (dir, archive, mail) = (folder(), folder(), MailServer::start(""));
    let settings = format!(
        "{}[archive]\nurl = \"file://{}\"\n[reports]\nrecipient_domains = [\"Partner.example\"]\n\
         [server]\npublic_url = \"https://analytics.example\"\n",
        mail.configuration(),
        archive.path().display()
    );
    configure(dir.path(), &settings);
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    store_usage(&client).await;
    let recipients = json!([
        {"channel": "mail", "address": "all@partner.example"},
        {"channel": "mail", "address": "a@partner.example", "organization_id": "org_a"},
        {"channel": "mail", "address": "b@partner.example", "organization_id": "org_b"},
        {"channel": "folder", "address": "weekly/usage"},
    ]);
    let made = post(&client, "/v1/reports", &report(recipients)).await;
    let id = made["id"].as_str().expect("an id");
    post(&client, &format!("/v1/reports/{id}/run"), &json!({})).await;
    let run = until(&client, id, "sent").await;
    assert_eq!(run["deliveries"].as_array().map(Vec::len), Some(4), "{run}");

    // The same question to the API gives the same number.
    let window =
        format!("from={}&to={}", run["from"].as_str().unwrap(), run["to"].as_str().unwrap());
    let (_, metric) = client.get(&format!("/v1/metrics/requests?{window}")).await;
    assert_eq!(metric["rows"][0]["value"], 8, "{metric}");
    let mails = mail.wait_for(3).await;
    own_numbers(&mails);
    files_are_kept(&client, archive.path(), id, &run).await;
    leave(&server, &client, id, &mails).await;
    let mails = mail.wait_for(5).await;
    assert!(mails[3..].iter().all(|mail| mail["to"] != json!(["a@partner.example"])), "{mails:?}");
    server.stop();
}

/// Each mail, its page and its file have the numbers of its organization, and no others.
fn own_numbers(mails: &[Value]) {
    for (to, requests, organization) in [
        ("all@partner.example", 8, "All organizations"),
        ("a@partner.example", 3, "org_a"),
        ("b@partner.example", 5, "org_b"),
    ] {
        let mail = mails.iter().find(|mail| mail["to"] == json!([to])).expect(to);
        let text = mail["text"].as_str().unwrap();
        let line = format!("Requests: {requests}");
        assert!(text.lines().any(|other| other == line), "{text}");
        assert!(
            text.contains(organization) && text.contains(&format!("because {to} is")),
            "{text}"
        );
        let html = mail["html"].as_str().unwrap().replace("&#x2f;", "/");
        assert!(html.contains("Weekly &amp; &lt;usage&gt;") && !html.contains("<usage>"), "{html}");
        assert!(html.contains("https://analytics.example/dashboards/business?lang=en&amp;from="));
        let images = mail["images"].as_object().unwrap();
        assert!(
            images.len() >= 3 && images.keys().all(|name| html.contains(&format!("cid:{name}")))
        );
        let (name, csv) = attached(mail, ".csv");
        assert!(name.starts_with("weekly-usage-"), "{name}");
        // No cell is a formula.
        assert!(csv.contains(",'=m1,") && !csv.contains(",=m1,"), "{csv}");
        let (_, page) = attached(mail, ".html");
        assert!(page.contains(organization) && page.contains("=m1"));
        let others = ["org_a", "org_b"].iter().filter(|other| **other != organization);
        if organization.starts_with("org") {
            assert!(others.into_iter().all(|other| !page.contains(other) && !csv.contains(other)));
        }
    }
}

/// The files of the archive are those of the run, and a preview is made in each format.
async fn files_are_kept(client: &Client, archive: &Path, id: &str, run: &Value) {
    let kept = files(&archive.join("weekly/usage"));
    assert_eq!(kept.len(), 2, "{kept:?}");
    // The files of the run are those that were sent.
    let name =
        run["files"].as_array().unwrap().iter().find(|name| name.as_str().unwrap() == kept[0]);
    let path = format!(
        "/v1/reports/{id}/runs/{}/files/{}",
        run["id"].as_str().unwrap(),
        name.unwrap().as_str().unwrap()
    );
    let file = reply(client.request(Method::GET, &path)).await.text();
    assert_eq!(file, std::fs::read_to_string(archive.join("weekly/usage").join(&kept[0])).unwrap());
    for format in ["html", "mail", "csv"] {
        let preview =
            client.request(Method::GET, &format!("/v1/reports/{id}/preview?format={format}"));
        assert_eq!(reply(preview).await.status, 200, "{format}");
    }
}

/// One leaves by the link of the mail; the next run goes to the others.
async fn leave(server: &Server, client: &Client, id: &str, mails: &[Value]) {
    let mail = mails.iter().find(|mail| mail["to"] == json!(["a@partner.example"])).unwrap();
    let link = mail["headers"]["List-Unsubscribe"].as_str().unwrap();
    let link = link.trim_matches(['<', '>']).replace("https://analytics.example", "");
    let nobody = reqwest::Client::new();
    let page = reply(nobody.get(server.url(&link))).await;
    assert!(page.status == 200 && page.text().contains("a@partner.example"), "{}", page.text());
    let (_, runs) = client.get("/v1/audit-log?limit=1").await;
    assert!(!runs.to_string().contains("unsubscribed"), "a look does nothing");
    let done = reply(nobody.post(server.url(&link)).body("List-Unsubscribe=One-Click")).await;
    assert!(done.status == 200 && done.text().contains("Unsubscribed"), "{}", done.text());
    let broken = format!("{}x", &link[..link.len() - 4]);
    assert_eq!(reply(nobody.post(server.url(&broken))).await.status, 404);
    post(client, &format!("/v1/reports/{id}/run"), &json!({})).await;
}

#[tokio::test]
async fn nobody_is_sent_what_they_may_not_see() {
    let (dir, mail) = (folder(), MailServer::start(""));
    configure(dir.path(), &mail.configuration());
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    run_ok(dir.path(), &["organization", "create", "org_a", "--name", "A", "--country", "DE"]);
    let create =
        ["user", "create", "--email", "m@a.example", "--role", "user", "--organization", "org_a"];
    run_ok(dir.path(), &create);
    let member = Client::new(&server, &organization_key(dir.path(), "org_a", "read"));
    let to = |address: &str| json!([{"channel": "mail", "address": address}]);
    for (recipients, status, code) in [
        (to("x@elsewhere.example"), 403, "recipient_not_allowed"),
        (to("nobody"), 400, "invalid_field"),
        // A member sees one organization, and this report shows all.
        (to("m@a.example"), 400, "invalid_field"),
        (json!([{"channel": "webhook", "address": "https://127.0.0.1/x"}]), 400, "invalid_field"),
        (json!([{"channel": "slack", "address": "http://hooks.example/x"}]), 400, "invalid_field"),
        (json!([{"channel": "folder", "address": "../x"}]), 400, "invalid_field"),
        (json!([{"channel": "folder", "address": "x"}]), 400, "invalid_field"),
    ] {
        let (found, said) = refused(&admin, &report(recipients.clone())).await;
        assert_eq!((found, said), (status, json!(code)), "{recipients}");
    }
    let mut odd = report(json!([]));
    for (field, value) in [
        ("title", json!("a\nb")),
        ("period", json!("today")),
        ("filters", json!(["password=1"])),
        ("tz", json!("Mars/Olympus")),
        ("formats", json!(["pdf"])),
        ("colour", json!("red")),
    ] {
        let before = odd[field].clone();
        odd[field] = value;
        let (found, _) = refused(&admin, &odd).await;
        assert_eq!(found, 400, "{field}");
        if before.is_null() {
            odd.as_object_mut().unwrap().remove(field);
        } else {
            odd[field] = before;
        }
    }
    let own = json!([{"channel": "mail", "address": "m@a.example", "organization_id": "org_a"}]);
    let made = post(&admin, "/v1/reports", &report(own)).await;
    let id = made["id"].as_str().unwrap();
    // It belongs to staff: the member does not find it.
    assert_eq!(member.get(&format!("/v1/reports/{id}")).await.0, 404);
    let (found, said) = refused(
        &member,
        &report(json!([{
            "channel": "mail", "address": "m@a.example", "organization_id": "org_b",
        }])),
    )
    .await;
    assert_eq!((found, said), (403, json!("forbidden")));
    server.stop();
}

#[tokio::test]
async fn an_owner_who_is_gone_sends_nothing_more() {
    let (dir, mail) = (folder(), MailServer::start(""));
    configure(dir.path(), &mail.configuration());
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    signed_in(&server, dir.path(), "admin").await;
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    let (boss, address) = ("admin@example.com", "manager@example.com");
    let by_manager = |method, path: &str, body: &Value| {
        let request = manager.request(method, path).json(body);
        request.header("cookie", &cookie).header("origin", server.url(""))
    };
    let new = report(json!([{"channel": "mail", "address": address}]));
    let made = reply(by_manager(Method::POST, "/v1/reports", &new)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let id = made["id"].as_str().unwrap();
    let test = json!({"test": true});
    let run = reply(by_manager(Method::POST, &format!("/v1/reports/{id}/run"), &test)).await;
    assert_eq!(run.status, 202, "{}", run.text());
    until(&admin, id, "sent").await;
    assert_eq!(mail.wait_for(1).await[0]["to"], json!([address]));
    let (_, users) = admin.get("/v1/admin/users").await;
    let users = users["users"].as_array().unwrap().clone();
    let user = users.iter().find(|user| user["email"] == json!(address)).unwrap();
    let path = format!("/v1/admin/users/{}/disable", user["user_id"].as_str().unwrap());
    assert!(reply(admin.request(Method::POST, &path)).await.status.is_success());
    post(&admin, &format!("/v1/reports/{id}/run"), &json!({})).await;
    let run = until(&admin, id, "failed").await;
    assert!(run["reason"].as_str().unwrap().contains("owner"), "{run}");
    let (_, report) = admin.get(&format!("/v1/reports/{id}")).await;
    assert_eq!(report["paused"], true, "{report}");
    let told = mail.wait_for(2).await;
    assert_eq!(told[1]["to"], json!([boss]));
    let (_, jobs) = admin.get("/v1/admin/jobs?kind=report_run&state=failed").await;
    assert_eq!(jobs["jobs"][0]["payload"]["report_id"], json!(id), "{jobs}");
    server.stop();
}

#[tokio::test]
async fn a_time_that_was_missed_is_made_up_for_once() {
    let (dir, mail) = (folder(), MailServer::start(""));
    let settings =
        format!("{}[reports]\nrecipient_domains = [\"partner.example\"]\n", mail.configuration());
    configure(dir.path(), &settings);
    let key = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    let recipients = json!([{"channel": "mail", "address": "a@partner.example"}]);
    let mut daily = report(recipients);
    daily["period"] = json!("yesterday");
    let made = post(&client, "/v1/reports", &daily).await;
    let id = made["id"].as_str().unwrap().to_owned();
    for missed in ["each", "last"] {
        let schedule = json!({"report_id": id, "every": "day", "at": "00:30", "missed": missed});
        let made = post(&client, "/v1/schedules", &schedule).await;
        assert_eq!(made["next"].as_array().map(Vec::len), Some(5), "{made}");
    }
    let (_, listed) = client.get("/v1/schedules").await;
    assert_eq!(listed["schedules"].as_array().map(Vec::len), Some(2));
    let preview = json!({"cron": "0 8 * * 1", "tz": "Europe/Berlin"});
    let next = post(&client, "/v1/schedules/next", &preview).await;
    assert_eq!(next["next"].as_array().map(Vec::len), Some(5));
    let often = reply(
        client.request(Method::POST, "/v1/schedules/next").json(&json!({"cron": "* * * * *"})),
    );
    assert_eq!(often.await.status, 400);
    server.stop();

    // Three days go by without a server.
    back_dated(dir.path(), 3);
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    let mails = mail.wait_for(3).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Both schedules come to the last of the three days, which is sent once.
    assert_eq!(mail.mails().len(), 3, "{mails:?}");
    let (_, runs) = client.get(&format!("/v1/reports/{id}/runs")).await;
    let runs = runs["runs"].as_array().unwrap();
    let days: std::collections::BTreeSet<_> =
        runs.iter().map(|run| run["to"].to_string()).collect();
    assert_eq!((runs.len(), days.len()), (3, 3), "{runs:?}");
    let (_, report) = client.get(&format!("/v1/reports/{id}")).await;
    assert_eq!(report["schedules"][0]["next"].as_array().map(Vec::len), Some(5));
    server.stop();
}

/// Moves all times of schedules, and of the jobs that wait for them, so many days into the past.
fn back_dated(dir: &Path, days: u32) {
    let script = "import sqlite3, sys, json, datetime\n\
        db = sqlite3.connect(sys.argv[1]); day = int(sys.argv[2]) * 86400 * 1000000\n\
        db.execute('update report_schedules set next_at = next_at - ?', (day,))\n\
        for id, payload in db.execute(\"select id, payload from jobs where kind = 'report_schedule'\").fetchall():\n\
        \x20   job = json.loads(payload)\n\
        \x20   at = datetime.datetime.fromisoformat(job['at'].replace('Z', '+00:00'))\n\
        \x20   at -= datetime.timedelta(days=int(sys.argv[2]))\n\
        \x20   job['at'] = at.isoformat().replace('+00:00', 'Z')\n\
        \x20   db.execute('update jobs set payload = ?, run_at = run_at - ? where id = ?', (json.dumps(job), day, id))\n\
        db.commit()\n";
    on_database(dir, script, &[&days.to_string()]);
}

/// Runs Python on the database of a server that does not run: `sys.argv` has its path, and then the arguments.
pub(super) fn on_database(dir: &Path, script: &str, arguments: &[&str]) {
    let status = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(dir.join("state.db"))
        .args(arguments)
        .status()
        .expect("python3 runs");
    assert!(status.success());
}
