//! Churn: who is likely to leave is found from the events alone, and only staff see it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, days_ago, folder, organization_key, reply, signed_in};

const DAYS: u32 = 125;

/// Days ago of the last request of an organization: many stay, eighty left before, and ten made none for some time.
fn last_day(number: u32) -> u32 {
    match number {
        0..80 => 1,
        80..160 => 31 + (number - 80) % 59,
        _ => 16 + number - 160,
    }
}

fn events() -> Vec<String> {
    let mut lines = Vec::new();
    for number in 0..170 {
        for day in last_day(number)..DAYS {
            // Those who leave use less and less.
            if number >= 80 && day - last_day(number) < 21 && !day.is_multiple_of(4) {
                continue;
            }
            lines.push(
                json!({
                    "specversion": "1.0", "id": format!("{number}-{day}"), "source": "/test",
                    "type": "usage.request", "subject": format!("org_{number:03}"),
                    "time": format!("{}T10:00:00Z", days_ago(day)),
                    "data": {"model": "m", "status_code": 200, "list_price": "1.50", "currency": "EUR"},
                })
                .to_string(),
            );
        }
    }
    lines
}

async fn assessed(client: &Client) -> Value {
    for _ in 0..600 {
        let (status, answer) = client.get("/v1/churn?limit=200").await;
        assert_eq!(status, 200, "{answer}");
        if answer["made_at"].is_string() {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("nobody was assessed");
}

#[tokio::test]
async fn who_goes_quiet_is_at_risk_and_only_staff_see_it() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let key = admin_key(dir.path());
    let client = Client::new(&server, &key);
    let (_, before) = client.get("/v1/churn").await;
    assert_eq!((&before["made_at"], &before["risks"]), (&Value::Null, &json!([])));
    for part in events().chunks(5_000) {
        let (status, answer) = client.send("application/x-ndjson", part.join("\n")).await;
        assert_eq!(status, 200, "{answer}");
    }
    let found = assessed(&client).await;
    assert_eq!(found["left"], 80, "each of those who left, once: {}", found["learned"]);
    assert_eq!(found["customers"], 90);
    let risks = found["risks"].as_array().expect("customers");
    let number = |risk: &Value| -> u32 {
        let id = risk["organization_id"].as_str().unwrap_or_default();
        id.trim_start_matches("org_").parse().expect("a number")
    };
    let probability = |risk: &Value| risk["probability"].as_f64().expect("a probability");
    let mean = |is_quiet: bool| {
        let all: Vec<f64> = risks
            .iter()
            .filter(|risk| (number(risk) >= 160) == is_quiet)
            .map(probability)
            .collect();
        all.iter().sum::<f64>() / all.len() as f64
    };
    assert!(mean(true) > 0.7 && mean(false) < 0.1, "{} {}", mean(true), mean(false));
    let stays = risks.iter().find(|risk| number(risk) == 0).expect("the first one");
    assert_eq!((&stays["revenue"], &stays["currency"]), (&json!(45.0), &json!("EUR")), "{stays}");
    let quiet = risks.iter().find(|risk| number(risk) == 169).expect("the last one");
    let reasons = quiet["reasons"].as_array().expect("reasons");
    assert!(reasons.iter().any(|one| one["part"].as_f64() > Some(0.5)), "{quiet}");
    let (_, likely) = client.get("/v1/churn?min_probability=0.5&limit=3").await;
    assert_eq!(likely["risks"].as_array().map(Vec::len), Some(3));
    for question in ["limit=0", "min_probability=2", "color=red"] {
        let (status, answer) = client.get(&format!("/v1/churn?{question}")).await;
        assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("invalid_parameters")));
    }

    let own = Client::new(&server, &organization_key(dir.path(), "org_001", "read"));
    assert_eq!(own.get("/v1/churn").await.0, 403, "an organization does not see it");
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    for (language, word) in [("en", "Who is likely to leave"), ("zh-CN", "流失风险")] {
        let asked = manager.request(Method::GET, &format!("/churn?lang={language}"));
        let page = reply(asked.header("cookie", &cookie)).await.text();
        assert!(page.contains(word) && page.contains("org_16"), "{page}");
    }
}
