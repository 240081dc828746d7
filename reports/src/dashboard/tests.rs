use chrono::{DateTime, TimeDelta, Utc};
use query::metric::Grain;

use super::*;
use crate::Window;

fn window(days: u32) -> Selection {
    let now: DateTime<Utc> = "2026-11-23T07:05:41Z".parse().unwrap();
    Selection::new(Window::last_days(now, days).unwrap())
}

fn business() -> Dashboard {
    Dashboard::built_in("business").unwrap().unwrap()
}

#[track_caller]
fn refused(yaml: &str, reason: &str) {
    let error = Dashboard::parse(yaml).unwrap_err();
    let said = match &error {
        Error::Unreadable(source) => source.to_string(),
        other => other.to_string(),
    };
    assert!(said.contains(reason), "{said}");
}

const KPI: &str = "name: x\ntitle: {en: a, zh-CN: b}\ntiles:\n  - kind: kpi\n    metric: requests\n    \
                   title: {en: a, zh-CN: b}\n    note: {en: a, zh-CN: b}\n";

#[test]
fn every_built_in_dashboard_is_readable_and_named_as_it_is_called() {
    for name in Dashboard::built_in_names() {
        assert_eq!(Dashboard::built_in(name).unwrap().unwrap().name, name);
    }
    assert!(Dashboard::built_in("nothing").is_none());
}

#[test]
fn every_built_in_dashboard_asks_for_what_the_catalog_has() {
    let catalog = query::metric::Catalog::built_in().unwrap();
    for name in Dashboard::built_in_names() {
        let dashboard = Dashboard::built_in(name).unwrap().unwrap();
        for request in dashboard.requests(&window(30)) {
            let metric = catalog.metric(&request.metric);
            let metric = metric.unwrap_or_else(|| panic!("{name}: {}", request.metric));
            let known: Vec<_> = catalog
                .dimensions(metric, query::metric::Audience::Staff)
                .map(|dimension| dimension.name.as_str())
                .collect();
            for by in &request.by {
                assert!(known.contains(&by.as_str()), "{name}: {} by {by}", request.metric);
            }
        }
    }
}

#[test]
fn a_definition_reads_back() {
    let yaml = serde_yaml_ng::to_string(&business()).unwrap();
    assert_eq!(Dashboard::parse(&yaml).unwrap(), business());
    insta::assert_snapshot!(yaml);
}

#[test]
fn what_cannot_be_shown_is_refused() {
    assert!(Dashboard::parse(KPI).is_ok());
    refused(&format!("{KPI}    colour: red\n"), "colour");
    refused(&KPI.replace("kind: kpi", "kind: pie"), "pie");
    refused(&KPI.replace(", zh-CN: b", ""), "zh-CN");
    refused(&KPI.replace("zh-CN: b", "zh-CN: ' '"), "words");
    refused(&KPI.replace("metric: requests", "metric: 'a;b'"), "a;b");
    refused(&KPI.replace("name: x", "name: ../x"), "a-z");
    refused("name: x\ntitle: {en: a, zh-CN: b}\ntiles: []", "tiles");
    let series = KPI.replace("kind: kpi", "kind: series");
    refused(&format!("{series}    forecast: {{horizon_days: 0}}\n"), "horizon_days");
    let ranking = KPI.replace("kind: kpi", "kind: ranking");
    let ranking = format!("{ranking}    by: model\n    item: {{en: a, zh-CN: b}}\n");
    assert!(Dashboard::parse(&ranking).is_ok());
    refused(&format!("{ranking}    limit: 1000\n"), "limit");
    let table = ranking.replace("kind: ranking\n    metric: requests", "kind: table");
    refused(&format!("{table}    columns: []\n"), "columns");
}

#[test]
fn every_question_is_asked_once() {
    let requests = business().requests(&window(30));
    for (index, request) in requests.iter().enumerate() {
        assert!(!requests[index + 1..].contains(request), "{request:?}");
    }
    let lines: Vec<String> = requests
        .iter()
        .map(|request| {
            format!(
                "{} {} {} {:?} {}",
                request.metric,
                request.from.date_naive(),
                request.to.date_naive(),
                request.grain,
                request.by.join(",")
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn forecasts_are_those_of_the_endpoint() {
    let forecast_requests = business().forecast_requests(&window(7));
    let metrics: Vec<&str> =
        forecast_requests.iter().map(|outlook| outlook.history.metric.as_str()).collect();
    assert_eq!(metrics, ["requests", "tokens", "usage_revenue"]);
    for outlook in &forecast_requests {
        let metric = &outlook.history.metric;
        assert_eq!(
            outlook.history,
            crate::metric_forecast::history(metric, Grain::Day, window(7).window.to())
        );
        assert_eq!(outlook.horizon_days, 14);
    }
    // What is not over yet is not learned from.
    let today: DateTime<Utc> = "2026-11-23T07:05:41Z".parse().unwrap();
    let tomorrow = "2026-11-24T00:00:00Z".parse().unwrap();
    let window_to =
        |to| Selection::new(Window::new(tomorrow - TimeDelta::days(8), to, today).unwrap());
    for (to, horizon) in [(tomorrow, 15), (tomorrow + TimeDelta::days(3), 18), (today, 14)] {
        for outlook in business().forecast_requests(&window_to(to)) {
            assert_eq!(outlook.history.to, tomorrow - TimeDelta::days(1));
            assert_eq!(outlook.horizon_days, horizon);
        }
    }
    assert!(business().forecast_requests(&window(1)).is_empty(), "hours");
    assert!(business().forecast_requests(&window(365)).is_empty(), "weeks");
}
