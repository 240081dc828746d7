//! The views of the kinds of tiles, from answers made by hand.

use chrono::{DateTime, TimeDelta, Utc};
use query::metric::{MetricAnswer, MetricRequest, MetricRow, Unit};
use serde_json::{Value, json};

use super::*;
use crate::{MetricResult, Window};

type Row<'a> = (Option<DateTime<Utc>>, &'a [&'a str], i64);

fn answered(request: MetricRequest, unit: Unit, rows: &[Row<'_>]) -> MetricResult {
    let rows = rows.iter().map(|(at, group, value)| MetricRow {
        at: *at,
        group: group.iter().map(|name| Some((*name).to_owned())).collect(),
        other: false,
        currency: (unit == Unit::Money).then(|| "USD".to_owned()),
        value: Some((*value).into()),
        suppressed: false,
    });
    let answer = MetricAnswer {
        metric: request.metric.clone(),
        unit,
        grain: request.grain,
        by: request.by.clone(),
        rows: rows.collect(),
        sql: String::new(),
        read: Default::default(),
    };
    MetricResult { request, answer }
}

fn selection() -> Selection {
    let now = "2026-11-23T07:05:41Z".parse().unwrap();
    Selection::new(Window::last_days(now, 7).unwrap())
}

/// The view of a tile as its template sees it, without its drawings.
fn view(yaml: &str, answers: &[MetricResult], analyses: &[AnalysisResult]) -> Value {
    let tile: Tile = serde_yaml_ng::from_str(yaml).unwrap();
    assert_eq!(tile.fault(), None);
    let (selection, forecasts) = (selection(), Forecasts::default());
    let scene = TileContext {
        selection: &selection,
        answers: Answers(answers),
        analyses,
        system: &SystemTables::new(),
        queries: &QueryResults::new(),
        anomalies: &[],
        annotations: &[],
        forecasts: &forecasts,
        language: Language::En,
        charts: Charts::Page,
        links: None,
        server: None,
    };
    let text = serde_json::to_string(&tile.view(&scene).unwrap()).unwrap();
    let mut view: Value = serde_json::from_str(&text.replace('\u{a0}', " ")).unwrap();
    for panel in view["panels"].as_array_mut().into_iter().flatten() {
        let pictures = panel.as_object_mut().unwrap().remove("pictures").unwrap();
        let svg = pictures[0]["svg"].as_str().unwrap();
        assert!(svg.contains("var(--c1)") && svg.contains("var(--c7)"), "{svg}");
    }
    view
}

fn tile_of(yaml: &str) -> Tile {
    serde_yaml_ng::from_str(yaml).unwrap()
}

const WORDS: &str = "title: {en: A, zh-CN: 甲}\nnote: {en: B, zh-CN: 乙}\n";

#[test]
fn a_heat_map_has_a_row_per_weekday() {
    let yaml = format!("kind: heatmap\nmetric: requests\n{WORDS}");
    let requests = tile_of(&yaml).requests(&selection());
    let rows: [Row<'_>; 2] = [(None, &["1", "0"], 50), (None, &["7", "23"], 200)];
    let answer = answered(requests[0].clone(), Unit::Count, &rows);
    let view = view(&yaml, &[answer], &[]);
    assert_eq!(view["heads"].as_array().unwrap().len(), 25);
    let rows = view["tables"][0]["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["name"], &rows[6]["name"]), (7, &json!("Mon"), &json!("Sun")));
    assert_eq!(
        rows[0]["cells"][0],
        json!({"text": "50", "exact": "50", "shade": 25, "is_text": false})
    );
    assert_eq!(rows[6]["cells"][23]["shade"], 100);
    assert_eq!(rows[3]["cells"][3]["shade"], Value::Null);
}

#[test]
fn a_waterfall_leads_from_the_start_to_the_end_and_says_what_it_does_not_explain() {
    let column = |metric| format!("  - {{metric: {metric}, title: {{en: {metric}, zh-CN: 乙}}}}\n");
    let (up, down) = (column("mrr_new"), column("mrr_churn"));
    let yaml = format!("kind: waterfall\nmetric: mrr\n{WORDS}up:\n{up}down:\n{down}");
    let rows_with = |end: i64| {
        let requests = tile_of(&yaml).requests(&selection());
        let values = [100, 30, 10, end];
        let answers: Vec<MetricResult> = requests
            .into_iter()
            .zip(values)
            .map(|(request, value)| answered(request, Unit::Money, &[(None, &[], value)]))
            .collect();
        let view = view(&yaml, &answers, &[]);
        let rows = view["tables"][0]["rows"].as_array().unwrap().clone();
        rows.iter()
            .map(|row| {
                let bar = &row["bar"];
                let said = [&row["name"], &row["cells"][0]["text"], &bar["left"], &bar["width"]];
                said.map(|part| part.as_str().unwrap().to_owned()).join(" ")
            })
            .collect::<Vec<String>>()
    };
    assert_eq!(
        rows_with(120),
        [
            "At the start $100.00 0.0 76.9",
            "mrr_new +$30.00 76.9 23.1",
            "mrr_churn −$10.00 92.3 7.7",
            "At the end $120.00 0.0 92.3",
        ]
    );
    let unexplained = rows_with(125);
    assert_eq!(unexplained[3], "Other movements +$5.00 92.3 3.8");
}

#[test]
fn a_stack_has_the_largest_groups_and_the_others() {
    let yaml = format!(
        "kind: stacked\nmetric: requests\nby: model\nlimit: 2\nadditive: true\ndraw: bar\n{WORDS}"
    );
    let selection = selection();
    let requests = tile_of(&yaml).requests(&selection);
    let day = |number| Some(selection.window.from() + TimeDelta::days(number));
    let rows: [Row<'_>; 5] = [
        (day(0), &["a"], 1),
        (day(0), &["b"], 5),
        (day(1), &["c"], 2),
        (day(1), &["d"], 1),
        (day(6), &["c"], 2),
    ];
    let view = view(&yaml, &[answered(requests[0].clone(), Unit::Count, &rows)], &[]);
    let panel = &view["panels"][0];
    assert_eq!(panel["names"], json!([[1, "b"], [2, "c"], [7, "All others (2)"]]));
    assert_eq!(panel["rows"][0]["values"], json!(["5", "0", "1"]));
    assert_eq!(panel["rows"][1]["values"], json!(["0", "2", "1"]));
    assert_eq!(panel["rows"].as_array().unwrap().len(), 7);
    assert_eq!(panel["summary"], "A: b 5, c 4, All others (2) 2");
}

/// The rows of an analysis: names and the texts of cells.
fn grid(yaml: &str, answer: Value) -> (Value, Vec<String>) {
    let yaml = format!("kind: analysis\n{WORDS}{yaml}");
    let request = tile_of(&yaml).analysis(&selection()).unwrap();
    assert_eq!(request.body["from"], "2026-11-16T00:00:00Z");
    let view = view(&yaml, &[], &[AnalysisResult { request, answer }]);
    let rows = view["tables"][0]["rows"].as_array().cloned().unwrap_or_default();
    let line = |row: &Value| {
        let cells = row["cells"].as_array().unwrap();
        let cells: Vec<&str> = cells.iter().map(|cell| cell["text"].as_str().unwrap()).collect();
        format!("{}: {}", row["name"].as_str().unwrap(), cells.join(" | "))
    };
    (view["heads"].clone(), rows.iter().map(line).collect())
}

#[test]
fn a_funnel_names_its_steps() {
    let yaml = "analysis: funnel\nquestion: {steps: [x, y]}\nnames: {x: {en: Came, zh-CN: 来}}\n";
    let step = |event: &str, count: Value, share: Value, seconds: Value| {
        json!({"event": event, "count": count, "conversion": share, "step_conversion": share,
            "median_seconds": seconds})
    };
    let answer = json!({"steps": [
        step("x", json!(1_200), json!(1.0), Value::Null),
        // Too few to be shown.
        step("y", Value::Null, Value::Null, json!(90.0)),
    ]});
    let (_, rows) = grid(yaml, answer);
    assert_eq!(rows, ["Came: 1,200 | 100.0 % | 100.0 % | ", "y: – | – | – | 1 min 30 s"]);
}

#[test]
fn retention_marks_what_is_not_complete_and_leaves_out_nobody() {
    let cell = |k: u32, share: f64, incomplete: bool| json!({"k": k, "count": 5, "share": share, "incomplete": incomplete});
    let answer = json!({
        "period": "week",
        "cohorts": [
            {"at": "2026-11-02T00:00:00Z", "size": 10, "cells": [cell(0, 1.0, false), cell(1, 0.5, true)]},
            {"at": "2026-11-09T00:00:00Z", "size": 0, "cells": []},
        ],
        "mean": [{"k": 0, "share": 1.0}, {"k": 1, "share": null}, {"k": 2, "share": null}],
    });
    let (heads, rows) = grid("analysis: retention\nquestion: {start: x, return: x}\n", answer);
    assert_eq!(heads, json!(["Started in", "Size", "0", "1"]));
    assert_eq!(rows, ["2026-11-02: 10 | 100.0 % | 50.0 %*", "Mean:  | 100.0 % | –"]);
}

#[test]
fn lifecycle_and_paths_are_tables() {
    let row = json!({"at": "2026-11-16T00:00:00Z", "new": 3, "returning": 12, "resurrecting": 0,
        "dormant": null, "incomplete": true});
    let answer = json!({"period": "week", "rows": [row]});
    let (_, rows) = grid("analysis: lifecycle\nquestion: {}\n", answer);
    assert_eq!(rows, ["2026-11-16*: 3 | 12 | 0 | –"]);
    let answer = json!({"next": [
        {"event": "x", "value": "search", "count": 6, "share": 0.6},
        {"event": null, "count": 3, "share": 0.3},
        {"event": null, "other": true, "count": 1, "share": 0.1},
    ]});
    let (_, rows) = grid("analysis: paths\nquestion: {start: x}\n", answer);
    let expected = ["x: search: 6 | 60.0 %", "Nothing in time: 3 | 30.0 %", "Others: 1 | 10.0 %"];
    assert_eq!(rows, expected);
    let (_, none) = grid("analysis: paths\nquestion: {start: x}\n", json!({"next": []}));
    assert!(none.is_empty());
}

#[test]
fn a_series_is_drawn_as_bars_too() {
    let yaml = format!("kind: series\nmetric: requests\ndraw: bar\n{WORDS}");
    let selection = selection();
    let day = |number| Some(selection.window.from() + TimeDelta::days(number));
    let rows: Vec<Row<'_>> = (0..7).map(|number| (day(number), &[][..], 1 + number)).collect();
    let answer = answered(selection.course("requests"), Unit::Count, &rows);
    let scene = TileContext {
        selection: &selection,
        answers: Answers(&[answer]),
        analyses: &[],
        system: &SystemTables::new(),
        queries: &QueryResults::new(),
        anomalies: &[],
        annotations: &[],
        forecasts: &Forecasts::default(),
        language: Language::En,
        charts: Charts::Page,
        links: None,
        server: None,
    };
    let view = serde_json::to_value(tile_of(&yaml).view(&scene).unwrap()).unwrap();
    // As many marks as there are values.
    let svg = view["panels"][0]["pictures"][0]["svg"].as_str().unwrap();
    assert_eq!(svg.matches("data-value=").count(), 7, "{svg}");
    let forecast = format!("{yaml}forecast: {{horizon_days: 7}}\n");
    assert!(tile_of(&forecast).fault().unwrap().contains("line"));
}

#[test]
fn what_cannot_be_a_tile_is_refused() {
    let fault = |yaml: &str| tile_of(&format!("{yaml}{WORDS}")).fault().unwrap_or_default();
    assert!(fault("kind: stacked\nmetric: a\nby: b\nlimit: 7\n").contains("limit"));
    assert!(fault("kind: waterfall\nmetric: a\nup: []\ndown: []\n").contains("movements"));
    assert!(fault("kind: heatmap\nmetric: A\n").contains("name"));
    let window = "kind: analysis\nanalysis: funnel\nquestion: {from: x}\n";
    assert!(fault(window).contains("`from`"));
    assert!(fault("kind: analysis\nanalysis: funnel\nquestion: x\n").contains("mapping"));
    let text = |words: &str| tile_of(&format!("kind: text\ntitle: {{en: a, zh-CN: b}}\n{words}"));
    let long = "x".repeat(2_001);
    assert!(text(&format!("note: {{en: {long}, zh-CN: b}}")).fault().is_some());
    let unknown = serde_yaml_ng::from_str::<Tile>(&format!("kind: text\nx: 1\n{WORDS}"));
    assert!(unknown.is_err());
}
