//! Forecasts that are kept: made once a day, compared with what came, and shown to staff.

use std::{process::Command, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, folder, organization_key, reply, signed_in};

async fn kept(client: &Client) -> Value {
    for _ in 0..600 {
        let (status, answer) = client.get("/v1/forecasts/requests/past").await;
        assert_eq!(status, 200, "{answer}");
        if answer["count"] != 0 {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("no forecast was made");
}

/// Copies the forecast that is kept to one that was made so many days before.
const SCRIPT: &str = r#"
import datetime, json, sqlite3, sys
state = sqlite3.connect(sys.argv[1], timeout=30)
days = int(sys.argv[2])
at, text = state.execute("select from_at, forecast from forecasts where metric = 'requests' and grain = 'day'").fetchone()
forecast = json.loads(text)
for point in forecast["points"]:
    then = datetime.datetime.fromisoformat(point["at"].replace("Z", "+00:00"))
    point["at"] = (then - datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    point["value"] = 0.0
    point["intervals"] = [{"level": 0.95, "lower": -1.0, "upper": 1e12}]
state.execute("insert into forecasts values ('requests', 'day', ?, ?, '', ?)", (at - days * 86400000000, at, json.dumps(forecast)))
state.commit()
"#;

#[tokio::test]
async fn forecasts_are_kept_and_compared_with_what_came() {
    let dir = folder();
    let server = Server::demo(dir.path(), 40, 6);
    let client = Client::new(&server, &server.ready.api_key);
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    let found = kept(&client).await;
    assert_eq!((&found["count"], &found["accuracy"]), (&json!(1), &json!([])));
    let (_, now) = client.get("/v1/forecasts/requests?horizon=5").await;
    let made = &found["forecasts"][0]["forecast"];
    let first = |forecast: &Value| forecast["points"][0].clone();
    assert_eq!(first(made), first(&now), "what is kept is what is asked for");

    // As if it had been made five days ago, and had said that nothing comes.
    let state = dir.path().join("state.db");
    let status = Command::new("python3").args(["-c", SCRIPT]).arg(state).arg("5").status();
    assert!(status.is_ok_and(|status| status.success()));
    let (_, compared) = client.get("/v1/forecasts/requests/past?limit=0").await;
    let accuracy = compared["accuracy"].as_array().expect("accuracy");
    assert_eq!((compared["count"].clone(), accuracy.len()), (json!(2), 5), "{compared}");
    for one in accuracy {
        assert_eq!((&one["relative_error"], &one["coverage"]), (&json!(1.0), &json!(1.0)));
    }
    for (question, status) in
        [("requests/past?limit=101", 400), ("requests/past?grain=x", 400), ("nothing/past", 404)]
    {
        assert_eq!(client.get(&format!("/v1/forecasts/{question}")).await.0, status, "{question}");
    }

    for (language, words) in
        [("en", ["Forecasts", "off by 100.0"]), ("zh-CN", ["预测", "误差为 100.0"])]
    {
        let asked = manager.request(Method::GET, &format!("/forecasts?lang={language}"));
        let page = reply(asked.header("cookie", &cookie)).await.text();
        assert!(words.iter().all(|word| page.contains(word)), "{page}");
    }
    let own = Client::new(&server, &organization_key(dir.path(), "org_mine", "read"));
    assert_eq!(own.get("/v1/forecasts/requests/past").await.0, 403);
}
