//! Commands that read say the same of a folder and of a server, in the words of the API.

use std::process::Command;

use serde_json::{Value, json};
use tests::{Client, Server, admin_key, aihub, days_ago, folder, run, run_ok, usage};

fn asked(server: &Server, key: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(aihub());
    command.args(arguments).arg("--server").env("AIHUB_URL", &server.ready.url);
    let output = command.env("AIHUB_API_KEY", key).output().expect("the command");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn metrics_and_forecasts_are_the_same_everywhere() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let key = admin_key(dir.path());
    let client = Client::new(&server, &key);
    let lines: Vec<_> = (1..60)
        .map(|day| {
            let price = format!("{day}.10");
            let data = json!({"list_price": price, "currency": "USD", "provider": "p"});
            let mut event = usage("org_a", &format!("e{day}"), data);
            event["time"] = format!("{}T12:00:00Z", days_ago(60 - day)).into();
            event.to_string()
        })
        .collect();
    let (status, answer) = client.send("application/x-ndjson", lines.join("\n")).await;
    assert_eq!(status, 200, "{answer}");
    let from = days_ago(3);
    for (arguments, path, head) in [
        (
            &["metrics", "usage_revenue", "--from", &from, "--grain", "day", "--by", "provider"][..],
            format!("/v1/metrics/usage_revenue?from={from}&grain=day&by=provider"),
            "at\tprovider\tcurrency\tvalue",
        ),
        (&["metrics", "error_rate"], "/v1/metrics/error_rate".into(), "value"),
        (
            &["forecast", "requests", "--horizon", "3"],
            "/v1/forecasts/requests?horizon=3".into(),
            "at\tvalue\tlower\tupper",
        ),
    ] {
        let (status, answer) = client.get(&path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        let plain = |text: String| -> Value {
            let mut json: Value = serde_json::from_str(&text).expect("JSON");
            json["as_of"] = Value::Null;
            // A server may have the files at hand that a command reads.
            json["read"] = Value::Null;
            json
        };
        let expected = plain(answer.to_string());
        let in_json = [arguments, &["--format", "json"]].concat();
        assert_eq!(plain(run_ok(dir.path(), &in_json)), expected);
        assert_eq!(plain(asked(&server, &key, &in_json)), expected);
        let table = run_ok(dir.path(), arguments);
        assert_eq!(table.lines().next(), Some(head), "{table}");
        assert_eq!(asked(&server, &key, arguments), table);
    }
    let revenue = run_ok(dir.path(), &["metrics", "usage_revenue", "--from", &from]);
    assert_eq!(revenue, "currency\tvalue\nUSD\t174.3\n");
    assert!(asked(&server, &key, &["metrics"]).contains("usage_revenue"));
}

#[test]
fn nobody_and_nowhere_are_told() {
    let dir = folder();
    let erased = run_ok(dir.path(), &["key", "list"]);
    assert!(erased.starts_with("id\tstate\t"), "{erased}");
    let nobody = ["erase", "--organization", "org_none", "--user", "nobody", "--dry-run"];
    let told = run_ok(dir.path(), &nobody);
    assert!(told.contains("no row of the 1 persons named is there"), "{told}");
    let told = run_ok(dir.path(), &nobody[..5]);
    assert!(told.contains("no row of the 1 persons named was there"), "{told}");
    let create = ["organization", "create", "org_a", "--name", "A", "--country", "Germany"];
    let refused = run(dir.path(), &create);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("ISO 3166-1"), "{error}");
}

#[tokio::test]
async fn today_is_shown_as_far_as_it_is() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    // An hour ago, which may have been yesterday.
    let failed = json!({"status_code": 503, "latency_ms": 1});
    let event = usage("org_a", "e", failed);
    let day = event["time"].as_str().expect("a time")[..10].to_owned();
    assert_eq!(client.send("application/json", event.to_string()).await.0, 200);
    let tomorrow = days_ago(0).parse::<chrono::NaiveDate>().expect("a date") + chrono::Days::new(2);
    let window = format!("from={day}&to={tomorrow}");
    let (status, answer) = client.get(&format!("/v1/metrics/requests?{window}&grain=day")).await;
    assert_eq!(status, 200, "{answer}");
    let rows = answer["rows"].as_array().expect("rows");
    assert_eq!(rows[0]["value"], 1, "{answer}");
    assert_eq!(rows.last().expect("a row")["incomplete"], true, "{answer}");
    let (status, answer) = client.get(&format!("/v1/metrics/requests?from={tomorrow}")).await;
    assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("invalid_parameters")), "{answer}");
    let before = days_ago(9);
    let (_, answer) =
        client.get(&format!("/v1/metrics/requests?from={before}&to={}", days_ago(2))).await;
    assert_eq!(answer["rows"], json!([{"at": null, "group": [], "currency": null, "value": 0}]));
    // A failure without a code is told by its status.
    let (_, answer) = client.get(&format!("/v1/metrics/errors?{window}&by=error_code")).await;
    assert_eq!(answer["rows"][0]["group"], json!(["503"]), "{answer}");
    for (path, is_over) in [
        (format!("/dashboards/business?{window}"), false),
        ("/dashboards/business?days=7".to_owned(), true),
    ] {
        let page = tests::reply(client.request(reqwest::Method::GET, &path)).await;
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.text().contains("not over yet"), !is_over, "{path}");
    }
}

/// Hours with a rhythm of days, one of them three times as high; and too few months.
fn panel() -> String {
    let mut lines = vec!["unique_id,ds,y".to_owned()];
    for hour in 0..24 * 40_u32 {
        let day = f64::from([10, 30, 50, 30][hour as usize / 6 % 4]);
        let noise = f64::from(hour * 7_919 % 101) / 101.0;
        let value = if hour == 900 { 200.0 } else { day + noise };
        lines.push(format!("hours,{hour},{value}"));
    }
    lines.extend((0..10).map(|month| format!("months,2026-{:02}-01,{month}", month + 1)));
    lines.join("\n")
}

#[test]
fn series_of_a_file_are_forecast_and_watched() {
    let dir = folder();
    let (panel_file, out) = (dir.path().join("panel.csv"), dir.path().join("out.csv"));
    std::fs::write(&panel_file, panel()).expect("a file");
    let (panel_path, out_path) = (panel_file.to_string_lossy(), out.to_string_lossy());
    let written = || std::fs::read_to_string(&out).expect("a file");
    let arguments = ["anomalies", "--panel", &panel_path, "--period", "24", "--out", &out_path];
    run_ok(dir.path(), &arguments);
    let text = written();
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 24 * 40 + 10);
    let score = |row: &&Vec<&str>| row[3].parse::<f64>().expect("a score");
    let highest = rows.iter().max_by(|a, b| score(a).total_cmp(&score(b))).expect("rows");
    assert_eq!((highest[0], highest[1]), ("hours", "900"), "{highest:?}");
    assert!(rows.iter().all(|row| (0.0..=1.0).contains(&score(&row))));

    // What cannot be forecast is said, and does not spoil the others.
    let forecast = ["forecast", "--panel", &panel_path, "--horizon", "24", "--period", "24"];
    let done =
        run(dir.path(), &[&forecast[..], &["--level", "80,95", "--out", &out_path]].concat());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && said.contains("1 of 2 series"), "{said}");
    assert!(said.contains("months: the series holds 10 values"), "{said}");
    let text = written();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("unique_id,ds,yhat,lo-80,hi-80,lo-95,hi-95"));
    let first: Vec<f64> = lines
        .next()
        .expect("a row")
        .split(',')
        .skip(1)
        .map(|cell| cell.parse().expect("a number"))
        .collect();
    assert_eq!((first[0], text.lines().count()), (960.0, 25));
    assert!(first[4] <= first[2] && first[2] <= first[1] && first[1] <= first[3], "{first:?}");
    for (bad, why) in [
        ("a,b\n1,2\n", "no column `ds`"),
        ("ds,y\n1,x\n", "`x` is no number"),
        ("ds,y\n", "no rows"),
    ] {
        std::fs::write(&panel_file, bad).expect("a file");
        let refused = run(dir.path(), &arguments);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(why), "{said}");
    }
}

#[test]
fn who_is_likely_to_leave_is_said_with_reasons() {
    let dir = folder();
    let (table, out) = (dir.path().join("table.csv"), dir.path().join("out.csv"));
    let mut lines = vec!["id,months,contract,left".to_owned()];
    for number in 0..600_u32 {
        let months = number * 7 % 60;
        let contract = if number.is_multiple_of(3) { "yearly" } else { "monthly" };
        // One of ten does the other thing.
        let leaves = (contract == "monthly" && months < 20) != number.is_multiple_of(10);
        lines.push(format!("c{number},{months},{contract},{}", if leaves { "Yes" } else { "No" }));
    }
    std::fs::write(&table, lines.join("\n")).expect("a file");
    let (table_path, out_path) = (table.to_string_lossy(), out.to_string_lossy());
    let with = |target: &str, more: &[&str]| {
        let base = ["churn", "--table", &table_path, "--target", target, "--out", &out_path];
        run(dir.path(), &[&base[..], more].concat())
    };
    let done = with("left", &["--id", "id"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && said.starts_with("AUC 0.8"), "{said}");
    let text = std::fs::read_to_string(&out).expect("a file");
    let row = |id: &str| {
        let found = text.lines().find(|line| line.starts_with(&format!("{id},")));
        found.expect("a row").split(',').map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(text.lines().next(), Some("id,probability,reason_1,reason_2,reason_3"));
    // One month on a monthly contract, and 42 months on a yearly one.
    let probability = |id: &str| row(id)[1].parse::<f64>().expect("a number");
    assert!(probability("c1") > 0.6 && probability("c6") < 0.3, "{:?} {:?}", row("c1"), row("c6"));
    assert!(row("c1")[2].contains("months=7 +"), "{:?}", row("c1"));
    for (target, more, why) in [
        ("nothing", vec![], "no column `nothing`"),
        ("contract", vec![], "--positive"),
        ("months", vec!["--positive", "7"], "two values"),
    ] {
        let refused = with(target, &more);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(why), "{said}");
    }
    std::fs::write(&table, lines[..90].join("\n")).expect("a file");
    let refused = with("left", &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("50 are needed"), "{said}");
}
