//! Tokens for programs that act for a user.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder, reply, run_ok};

async fn asked(client: &Client, body: Value) -> (u16, Value) {
    let answer = reply(client.request(Method::POST, "/v1/auth/token").json(&body)).await;
    (answer.status.as_u16(), answer.json())
}

#[tokio::test]
async fn a_program_gets_tokens_refreshes_them_and_is_ended() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let nobody = Client::new(&server, "");
    let told =
        run_ok(dir.path(), &["user", "create", "--email", "ann@x.example", "--role", "analyst"]);
    let password = told.split_whitespace().last().expect("a password").to_owned();
    let login = json!({"grant_type": "password", "email": "ann@x.example", "password": password});
    let (status, pair) = asked(&nobody, login.clone()).await;
    assert_eq!(
        (status, &pair["token_type"], &pair["expires_in"]),
        (200, &json!("Bearer"), &json!(600)),
        "{pair}"
    );
    let text = |pair: &Value, name: &str| pair[name].as_str().expect("a token").to_owned();
    let program = Client::new(&server, &text(&pair, "access_token"));
    let (status, me) = program.get("/v1/me").await;
    assert_eq!((status.as_u16(), &me["name"]), (200, &json!("ann@x.example")));
    // It needs no origin: no browser sends it by itself.
    let (status, rows) = program.query("select 1 as n").await;
    assert_eq!(status, 200, "{rows}");
    let (_, listed) = program.get("/v1/sessions").await;
    let session = &listed["sessions"][0];
    assert_eq!(
        (&session["kind"], &session["current"]),
        (&json!("program"), &json!(true)),
        "{listed}"
    );
    assert!(pair.to_string().matches(session["session_id"].as_str().expect("an id")).count() == 0);

    let refresh = |pair: &Value| json!({"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]});
    let (status, next) = asked(&nobody, refresh(&pair)).await;
    assert_eq!(status, 200, "{next}");
    assert_ne!(next["refresh_token"], pair["refresh_token"]);
    let (_, third) = asked(&nobody, refresh(&next)).await;
    // The first one is two generations old: the family ends, with all access tokens.
    let (status, reused) = asked(&nobody, refresh(&pair)).await;
    assert_eq!((status, &reused["code"]), (401, &json!("session_over")), "{reused}");
    for access in [&pair, &next, &third] {
        let client = Client::new(&server, &text(access, "access_token"));
        assert_eq!(client.get("/v1/me").await.0, 401);
    }
    let admin = Client::new(&server, &admin_key(dir.path()));
    let (_, acts) = admin.get("/v1/admin/audit?action=user.refresh_token_reused").await;
    assert_eq!(acts["acts"].as_array().map(Vec::len), Some(1), "{acts}");
    assert!(!acts.to_string().contains(&text(&pair, "refresh_token")));

    // Keys are public, and only those.
    let (_, jwks) = nobody.get("/.well-known/jwks.json").await;
    assert_eq!(
        (&jwks["keys"][0]["crv"], jwks["keys"][0].get("d")),
        (&json!("Ed25519"), None),
        "{jwks}"
    );

    ended_by_others(dir.path(), &server, &login).await;
    let (_, pair) = asked(&nobody, login).await;
    for odd in [
        json!({}),
        json!({"grant_type": "client_credentials"}),
        json!({"grant_type": "password", "email": "ann@x.example"}),
        json!({"grant_type": "refresh_token", "refresh_token": 7}),
        json!({"grant_type": "refresh_token", "refresh_token": "x", "role": "admin"}),
    ] {
        assert_eq!(asked(&nobody, odd.clone()).await.0, 400, "{odd}");
    }
    // Neither kind of token is taken for the other.
    let wrong = Client::new(&server, &text(&pair, "refresh_token"));
    assert_eq!(wrong.get("/v1/me").await.0, 401);
    let wrong = json!({"grant_type": "refresh_token", "refresh_token": pair["access_token"]});
    assert_eq!(asked(&nobody, wrong).await.0, 401);
    server.stop();
}

async fn ended_by_others(dir: &Path, server: &Server, login: &Value) {
    let nobody = Client::new(server, "");
    let text = |pair: &Value| pair["access_token"].as_str().expect("a token").to_owned();
    let refresh = |pair: &Value| json!({"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]});
    // An administrator ends it at once.
    let (_, pair) = asked(&nobody, login.clone()).await;
    let program = Client::new(server, &text(&pair));
    assert_eq!(program.get("/v1/me").await.0, 200);
    run_ok(dir, &["user", "disable", "ann@x.example"]);
    assert_eq!(program.get("/v1/me").await.0, 401);
    assert_eq!(asked(&nobody, refresh(&pair)).await.0, 401);
    assert_eq!(asked(&nobody, login.clone()).await.1["code"], "wrong_credentials");
    run_ok(dir, &["user", "enable", "ann@x.example"]);
    let (_, pair) = asked(&nobody, login.clone()).await;
    let revoke = json!({"refresh_token": pair["refresh_token"]});
    let revoked = nobody.request(Method::POST, "/v1/auth/token/revoke").json(&revoke);
    assert_eq!(reply(revoked).await.status, 204);
    assert_eq!(Client::new(server, &text(&pair)).get("/v1/me").await.0, 401);
    // Who signs out by the access token ends the whole session.
    let (_, pair) = asked(&nobody, login.clone()).await;
    let program = Client::new(server, &text(&pair));
    let out = reply(program.request(Method::POST, "/v1/auth/logout")).await;
    assert_eq!(out.status, 204);
    assert_eq!(program.get("/v1/me").await.0, 401);
    assert_eq!(asked(&nobody, refresh(&pair)).await.0, 401);
}
