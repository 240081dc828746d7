//! Analyses of those who may not run SQL.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, reply, signed_in};

use crate::query::analyses::{each, seen, served};

async fn ask((manager, cookie): &(Client, String), analysis: &str, body: Value) -> (u16, Value) {
    let request = manager.request(Method::POST, &format!("/v1/analyses/{analysis}"));
    let request = request.header("cookie", cookie).header("sec-fetch-site", "same-origin");
    let answer = reply(request.json(&body)).await;
    (answer.status.as_u16(), answer.json())
}

/// Numbers of persons are multiples of ten, and no question takes a few of them apart.
#[tokio::test]
async fn few_persons_are_in_no_analysis_of_a_manager() {
    let mut events = Vec::new();
    for person in 0..37 {
        let visitor = format!("v{person}");
        let seen = |action: &str, day: u32| {
            let time = format!("2026-02-{day:02}T10:00:00Z");
            seen(&format!("{visitor} {action}"), &visitor, action, &time, "DE")
        };
        events.push(seen("page_viewed", 2));
        if person < 25 {
            events.push(seen("signed_up", 3));
        }
        if person < 4 {
            events.push(seen("feature_used", 10));
        }
    }
    let (dir, server, _) = served(&events).await;
    let manager = signed_in(&server, dir.path(), "manager").await;
    let ask = async |analysis: &str, body: Value| ask(&manager, analysis, body).await;
    let steps = json!(["activity.page_viewed", "activity.signed_up", "activity.feature_used"]);
    let funnel = json!({"steps": steps, "from": "2026-02-01", "to": "2026-02-08"});
    let (status, answer) = ask("funnel", funnel).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(each(&answer["steps"], "count"), [json!(30), json!(20), json!(null)], "{answer}");
    assert!(each(&answer["steps"], "mean_seconds").iter().all(Value::is_null), "{answer}");
    let retention = json!({"start": "activity.page_viewed", "return": "activity.*", "from": "2026-02-02",
        "to": "2026-02-09", "periods": 1});
    let (_, answer) = ask("retention", retention).await;
    let cells = &answer["cohorts"][0]["cells"];
    assert_eq!(each(cells, "count"), [json!(30), json!(null)], "{answer}");
    let (_, answer) = ask("lifecycle", json!({"from": "2026-02-02", "to": "2026-02-16"})).await;
    assert_eq!(each(&answer["rows"], "active"), [json!(30), json!(null)], "{answer}");
    assert_eq!(each(&answer["rows"], "dormant"), [0, 30], "{answer}");
}

/// Who asks about organizations is told of what they use and pay only.
#[tokio::test]
async fn no_analysis_of_a_manager_takes_persons_apart() {
    let visit = seen("v1", "v", "page_viewed", "2026-02-02T10:00:00Z", "DE");
    let (dir, server, _) = served(&[visit]).await;
    let manager = signed_in(&server, dir.path(), "manager").await;
    let ask = async |analysis: &str, body: Value| ask(&manager, analysis, body).await;
    let funnel = json!({"steps": ["activity.page_viewed", "activity.signed_up"], "from": "2026-02-01", "to": "2026-02-08"});
    let retention = json!({"start": "activity.page_viewed", "return": "activity.*"});
    let with = |body: &Value, name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        body
    };
    let of_activity = json!({"unit": "organization", "steps": ["activity.signed_up:country=DE", "usage.request"]});
    for (analysis, body) in [
        ("funnel", with(&funnel, "by", "country".into())),
        ("funnel", with(&funnel, "exclusions", json!(["activity.login"]))),
        ("funnel", with(&funnel, "within", "187m".into())),
        (
            "funnel",
            with(&funnel, "steps", json!(["activity.page_viewed:country=DE", "activity.login"])),
        ),
        ("funnel", of_activity.clone()),
        ("funnel", with(&of_activity, "unit", "user".into())),
        ("retention", with(&retention, "at_least", 2.into())),
        (
            "retention",
            json!({"unit": "user", "start": "usage.request", "return": "usage.request", "value": "list_price"}),
        ),
        ("sessions", json!({})),
        ("paths", json!({"start": "activity.signed_up"})),
        (
            "paths",
            json!({"unit": "organization", "start": "usage.request:organization_id=a", "by": "country"}),
        ),
    ] {
        let (status, refused) = ask(analysis, body.clone()).await;
        assert_eq!(
            (status, &refused["code"]),
            (403, &json!("persons_hidden")),
            "{analysis} {body}: {refused}"
        );
    }
    assert_eq!(ask("funnel", with(&funnel, "from", "2026-02-01T05:00:00Z".into())).await.0, 400);
    let own = json!({"unit": "organization", "steps": ["usage.request:model=m", "billing.payment_succeeded"], "within": "90m"});
    assert_eq!(ask("funnel", own).await.0, 200);
}
