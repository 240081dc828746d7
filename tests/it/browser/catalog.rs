//! The catalog of metrics in a browser: the list, and the page of one with its values and its SQL.

use reqwest::Method;
use tests::{Client, Server, folder, organization_key, reply};

#[tokio::test]
async fn every_metric_has_its_definition_and_its_course() {
    let dir = folder();
    let server = Server::demo(dir.path(), 40, 6);
    let client = Client::new(&server, &server.ready.api_key);
    let page = async |client: &Client, path: &str| {
        let request = client.request(Method::GET, path).header("accept", "text/html");
        let page = reply(request).await;
        (page.status.as_u16(), page.text())
    };
    let (_, list) = client.get("/v1/metrics").await;
    let metrics = list["metrics"].as_array().expect("metrics");
    for lang in ["en", "zh-CN"] {
        let (status, html) = page(&client, &format!("/metrics-catalog?lang={lang}")).await;
        assert_eq!(status, 200);
        assert!(!html.to_lowercase().contains("<script"));
        for metric in metrics {
            let name = metric["name"].as_str().expect("a name");
            assert!(html.contains(&format!("/metrics-catalog/{name}?lang={lang}")), "{name}");
            let title =
                if lang == "en" { &metric["titles"]["en"] } else { &metric["titles"]["zh-CN"] };
            assert!(html.contains(title.as_str().expect("a title")), "{title}");
        }
    }
    let mut sources = Vec::new();
    for metric in metrics.iter().filter(|metric| {
        let key = (&metric["source"], &metric["unit"]);
        let is_new = !sources.contains(&key);
        sources.push(key);
        is_new
    }) {
        let name = metric["name"].as_str().expect("a name");
        let (status, html) = page(&client, &format!("/metrics-catalog/{name}?lang=en")).await;
        assert_eq!(status, 200, "{name}: {html}");
        for text in [metric["title"].as_str().expect("a title"), "SQL", "SELECT", "Formula"] {
            assert!(html.contains(text), "{name} lacks {text}");
        }
        // The SQL that is shown gives what is shown.
        assert!(html.contains("<svg") || html.contains("No data"), "{name} has no course");
    }
    // An organization's catalog has no metric of staff, and its page is not there.
    let own = Client::new(&server, &organization_key(dir.path(), "org_a", "read"));
    let (status, html) = page(&own, "/metrics-catalog").await;
    assert!(status == 200 && !html.contains("margin_rate"), "{status}");
    assert_eq!(page(&own, "/metrics-catalog/margin").await.0, 404);
    assert_eq!(page(&client, "/metrics-catalog/nothing").await.0, 404);
    let stranger = Client::new(&server, "");
    let way_in =
        reply(stranger.request(Method::GET, "/metrics-catalog").header("accept", "text/html"))
            .await;
    assert_eq!(
        (way_in.status.as_u16(), way_in.header("location")),
        (303, "/sign-in?next=%2Fmetrics-catalog")
    );
    assert!(metrics.len() >= 60, "{} metrics", metrics.len());
}
