//! What goes on in a server beside the requests.

use reqwest::Method;
use tests::{Client, Server, admin_key, configure, folder, reply};

#[tokio::test]
async fn every_task_of_a_server_is_told_and_runs() {
    let dir = folder();
    configure(dir.path(), "[check]\nnightly = false\n[maintain]\nenabled = false\n");
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let text = reply(client.request(Method::GET, "/metrics")).await.text();
    for task in [
        "http",
        "mover",
        "relay",
        "history",
        "departed",
        "first_page",
        "memory",
        "connections",
        "jobs",
    ] {
        assert!(text.contains(&format!("task_running{{task=\"{task}\"}} 1\n")), "{task}: {text}");
        let failures = format!("task_failures_total{{task=\"{task}\"}} 0\n");
        assert!(text.contains(&failures), "{task}: {text}");
    }
    assert!(text.contains("outbox_set_aside_rows 0\n"), "{text}");
    let ready = reply(client.request(Method::GET, "/readyz")).await;
    assert_eq!((ready.status.as_u16(), ready.text().as_str()), (200, "ready\n"));
    server.stop();
}
