//! No secret is in the log, or as it is in the folder of the server.

use std::{fs, path::Path};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, MailServer, configure, folder, reply};

use super::{administrators::Logged, registration::PASSWORD};

const RESET: &str = "four quiet bridges";

struct Place {
    client: Client,
    mail: MailServer,
    secrets: Vec<(&'static str, String)>,
}

impl Place {
    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = reply(self.client.request(Method::POST, path).json(&body)).await;
        assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    /// Sends a form as a browser does.
    async fn form(&self, path: &str, password: &str) {
        let form = reqwest::header::HeaderValue::from_static("application/x-www-form-urlencoded");
        let request = self.client.request(Method::POST, path).header("content-type", form);
        let answer = reply(request.body(format!("password={}", password.replace(' ', "+")))).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }

    fn note(&mut self, name: &'static str, value: &Value) -> String {
        let secret = value.as_str().unwrap_or_else(|| panic!("{name}: {value}")).to_owned();
        self.secrets.push((name, secret.clone()));
        secret
    }
}

/// Makes one of each secret that an account has.
async fn live(place: &mut Place) {
    let email = "ann@acme.example";
    let new =
        json!({"email": email, "password": PASSWORD, "organization": "Acme", "country": "DE"});
    place.post("/v1/auth/register", new).await;
    let token = place.mail.token(1, email, "/verify/").await;
    place.form(&format!("/verify/{token}"), PASSWORD).await;
    place.note("a token of a mail", &json!(token));
    place.post("/v1/auth/password/forgot", json!({"email": email})).await;
    let token = place.mail.token(2, email, "/reset/").await;
    place.form(&format!("/reset/{token}"), RESET).await;
    place.note("a token of a mail", &json!(token));
    let login = json!({"email": email, "password": RESET});
    let answer = place.client.request(Method::POST, "/v1/auth/login").json(&login);
    let cookie = reply(answer).await.header("set-cookie").to_owned();
    let cookie = cookie.split(';').next().expect("a cookie").to_owned();
    place.note("a cookie", &json!(cookie.split_once('=').expect("a value").1));
    let grant = json!({"grant_type": "password", "email": email, "password": RESET});
    let pair = place.post("/v1/auth/token", grant).await;
    let access = place.note("an access token", &pair["access_token"]);
    place.note("a refresh token", &pair["refresh_token"]);

    let send = async |path: &str, body: Value| {
        let request = place.client.request(Method::POST, path).bearer_auth(&access);
        reply(request.json(&body)).await.json()
    };
    let key = send("/v1/keys", json!({"name": "k", "scopes": ["read"]})).await;
    let factor = send("/v1/me/second-factor", json!({"password": RESET})).await;
    // What fails is told, too.
    send("/v1/me/password", json!({"current_password": "a wrong one, too", "password": RESET}))
        .await;
    send("/v1/keys", json!({"name": key["secret"], "scopes": ["nothing"]})).await;
    place.note("a key", &key["secret"]);
    place.note("the secret of an app", &factor["secret"]);
    for password in [PASSWORD, RESET, "a wrong one, too"] {
        place.note("a password", &json!(password));
    }
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path() {
            path if path.is_dir() => files(&path, found),
            path => found.push(path),
        }
    }
}

#[tokio::test]
async fn no_secret_is_in_the_log_or_in_the_folder() {
    let (dir, logs) = (folder(), folder());
    let log = logs.path().join("log");
    let mail = MailServer::start("");
    let settings = format!(
        "{}\n[accounts]\nregistration = \"open\"\n[log]\nfilter = \"debug\"\n",
        mail.configuration()
    );
    configure(dir.path(), &settings);
    let server = Logged::start(dir.path(), &log).await;
    let client = Client::at(&server.url, "");
    let mut place = Place { client, mail, secrets: Vec::new() };
    live(&mut place).await;
    place.mail.wait_for(3).await;
    drop(server);

    let text = fs::read_to_string(&log).expect("a log");
    assert!(text.contains("DEBUG"), "it tells a lot: {text}");
    let mut found = Vec::new();
    files(dir.path(), &mut found);
    assert!(found.len() > 3, "{found:?}");
    for (name, secret) in &place.secrets {
        if let Some(line) = text.lines().find(|line| line.contains(secret.as_str())) {
            panic!("{name} is in the log: {line}");
        }
        for path in &found {
            let bytes = fs::read(path).unwrap_or_default();
            let is_there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!is_there, "{name} is in {}", path.display());
        }
    }
}
