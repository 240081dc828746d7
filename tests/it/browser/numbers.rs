//! What dashboards show is what the metrics API says, and no chart is empty.

use reqwest::Method;
use serde_json::Value;
use tests::{Client, Server, folder, reply};

const DASHBOARDS: [&str; 6] = ["business", "users", "usage", "quality", "churn", "operations"];

/// What stands between two texts.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// A number as it is printed in full: `1,234`, `13.158 %`, `−$5.00`.
fn printed(text: &str) -> f64 {
    let text = text.replace('−', "-");
    let digits: String = text.chars().filter(|c| c.is_ascii_digit() || "-.".contains(*c)).collect();
    digits.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

fn value(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    }
}

#[tokio::test]
async fn every_key_figure_is_its_metric_and_no_chart_is_empty() {
    let dir = folder();
    let server = Server::demo(dir.path(), 45, 25);
    let client = Client::new(&server, &server.ready.api_key);
    let (mut figures, mut charts) = (0, 0);
    for name in DASHBOARDS {
        let path = format!("/dashboards/{name}?days=14&lang=en");
        let html = reply(client.request(Method::GET, &path)).await.text();
        let html = html.replace("&#x2f;", "/").replace("&amp;", "&");
        for card in html.split("<article class=\"card kpi\">").skip(1) {
            let card = card.split("</article>").next().unwrap_or_default();
            let metric = between(card, "/metrics-catalog/", "?").expect("a definition");
            let window =
                between(card, &format!("/v1/metrics/{metric}?"), "&grain").expect("a window");
            let (status, answer) = client.get(&format!("/v1/metrics/{metric}?{window}")).await;
            assert_eq!(status, 200, "{metric}: {answer}");
            let rows = answer["rows"].as_array().expect("rows");
            let expected: Vec<f64> = rows.iter().filter_map(|row| value(&row["value"])).collect();
            let shown = card.split("<data title=\"").skip(1);
            let shown: Vec<&str> = shown.filter_map(|rest| rest.split('"').next()).collect();
            assert_eq!(shown.len(), expected.len(), "{name}, {metric}: {shown:?} {answer}");
            for (shown, expected) in shown.iter().zip(&expected) {
                let factor = if shown.contains('%') { 100.0 } else { 1.0 };
                // It is rounded to its last decimal.
                let tail = shown.rsplit_once('.').map_or("", |(_, tail)| tail);
                let decimals = tail.chars().take_while(char::is_ascii_digit).count();
                let near = 0.501 / 10_f64.powi(i32::try_from(decimals).expect("few decimals"));
                let (shown, expected) = (printed(shown), expected * factor);
                assert!((shown - expected).abs() <= near, "{name}, {metric}: {shown} {expected}");
                figures += 1;
            }
        }
        for svg in html.split("<svg class=\"chart").skip(1) {
            let svg = svg.split("</svg>").next().unwrap_or_default();
            let drawn = ["stroke=\"var(--line)\"", "fill=\"var(--c1)\"", "stroke=\"var(--c1)\""];
            assert!(drawn.iter().any(|mark| svg.contains(mark)), "{name}: {svg}");
            charts += 1;
        }
    }
    assert!(figures >= 35 && charts >= 30, "{figures} figures and {charts} charts");
    server.stop();
}
