//! The server is killed while it sends, again and again: every mail arrives, and what arrives twice is marked.

use std::{collections::BTreeMap, time::Duration};

use reqwest::Method;
use serde_json::json;
use tests::{Client, MailServer, Server, admin_key, configure, folder, reply};

use super::scheduled::{post, report};

/// Rounds; `AIHUB_TEST_DELIVERY_KILLS` sets more.
const ROUNDS: u64 = 4;
const RECIPIENTS: usize = 12;

fn rounds() -> u64 {
    std::env::vars()
        .find(|(name, _)| name == "AIHUB_TEST_DELIVERY_KILLS")
        .map_or(ROUNDS, |(_, rounds)| {
            rounds.parse().expect("AIHUB_TEST_DELIVERY_KILLS is a number")
        })
}

#[tokio::test]
async fn a_kill_loses_no_mail_and_repeats_none_unmarked() {
    let (dir, mail) = (folder(), MailServer::start(""));
    let settings =
        format!("{}[reports]\nrecipient_domains = [\"partner.example\"]\n", mail.configuration());
    configure(dir.path(), &settings);
    let key = admin_key(dir.path());
    let recipients: Vec<_> = (0..RECIPIENTS)
        .map(|number| json!({"channel": "mail", "address": format!("r{number}@partner.example")}))
        .collect();
    let mut reports = Vec::new();
    for round in 0..rounds() {
        let server = Server::serve(dir.path());
        let client = Client::new(&server, &key);
        let made = post(&client, "/v1/reports", &report(json!(recipients))).await;
        let id = made["id"].as_str().unwrap().to_owned();
        post(&client, &format!("/v1/reports/{id}/run"), &json!({})).await;
        reports.push(id);
        // A different moment each round, some of them while mails are on their way.
        tokio::time::sleep(Duration::from_millis(300 + (round * 7_919) % 2_500)).await;
        server.kill();
    }
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    let deliveries = settled(&client, &reports).await;
    for mail in mail.mails() {
        let id = mail["headers"]["Message-ID"].as_str().unwrap().trim_start_matches('<');
        let id = id.split('@').next().unwrap().to_owned();
        *arrived.entry(id).or_default() += 1;
    }
    assert_eq!(deliveries.len(), RECIPIENTS * reports.len());
    for delivery in &deliveries {
        let id = delivery["id"].as_str().unwrap();
        let times = arrived.get(id).copied().unwrap_or_default();
        assert!(times >= 1, "not arrived: {delivery}");
        assert!(times == 1 || delivery["uncertain"] == true, "{times} times: {delivery}");
    }
    server.stop();
}

/// The deliveries of all runs, once all are sent.
async fn settled(client: &Client, reports: &[String]) -> Vec<serde_json::Value> {
    for _ in 0..600 {
        let mut deliveries = Vec::new();
        for id in reports {
            let path = format!("/v1/reports/{id}/runs");
            let runs = reply(client.request(Method::GET, &path)).await.json();
            let run = &runs["runs"][0];
            if run["status"] == "sent" {
                deliveries.extend(run["deliveries"].as_array().unwrap().clone());
            }
        }
        if deliveries.len() == RECIPIENTS * reports.len() {
            return deliveries;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("not all is sent");
}
