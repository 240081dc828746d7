//! How people come: registration, invitations, forgotten passwords and the second factor.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, MailServer, Server, configure, folder, reply, run_ok};
use totp_rs::{Builder, Secret};

pub(super) const PASSWORD: &str = "ten bright lanterns";

pub(super) struct Place {
    pub(super) dir: tempfile::TempDir,
    pub(super) server: Server,
    pub(super) mail: MailServer,
    nobody: Client,
}

/// A browser that signed in.
pub(super) struct Person {
    pub(super) client: Client,
    pub(super) cookie: String,
}

impl Place {
    pub(super) fn new(accounts: &str) -> Self {
        let mail = MailServer::start("");
        let dir = folder();
        configure(dir.path(), &format!("{}\n[accounts]\n{accounts}\n", mail.configuration()));
        let server = Server::serve(dir.path());
        let nobody = Client::new(&server, "");
        Self { dir, server, mail, nobody }
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = reply(self.nobody.request(Method::POST, path).json(&body)).await;
        let body = if answer.body.is_empty() { Value::Null } else { answer.json() };
        (answer.status.as_u16(), body)
    }

    pub(super) async fn sign_in(&self, email: &str, password: &str) -> Result<Person, Value> {
        let body = json!({"email": email, "password": password});
        self.session("/v1/auth/login", body).await
    }

    async fn session(&self, path: &str, body: Value) -> Result<Person, Value> {
        let answer = reply(self.nobody.request(Method::POST, path).json(&body)).await;
        if answer.status != 200 {
            return Err(answer.json());
        }
        let cookies = answer.headers.get_all("set-cookie").iter();
        let mut cookies = cookies.filter_map(|cookie| cookie.to_str().ok()?.split(';').next());
        let cookie = cookies.find(|cookie| cookie.starts_with("aihub_session")).expect("a session");
        Ok(Person { client: Client::new(&self.server, ""), cookie: cookie.to_owned() })
    }
}

impl Person {
    pub(super) async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = self.client.request(method, path).header("cookie", &self.cookie);
        let request = request.header("sec-fetch-site", "same-origin");
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = reply(request).await;
        let body = if answer.body.is_empty() { Value::Null } else { answer.json() };
        (answer.status.as_u16(), body)
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, Value::Null).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask(Method::POST, path, body).await
    }
}

fn acme(email: &str) -> Value {
    json!({"email": email, "password": PASSWORD, "organization": "Acme", "country": "DE"})
}

#[tokio::test]
async fn an_organization_registers_and_invites() {
    let place = Place::new("registration = \"open\"");
    let (status, sent) = place.post("/v1/auth/register", acme("ann@acme.example")).await;
    assert_eq!((status, &sent["status"]), (202, &json!("mail_sent")), "{sent}");
    // Nothing is there before the address is verified.
    let refused = place.sign_in("ann@acme.example", PASSWORD).await.err().expect("no session");
    assert_eq!(refused["code"], "wrong_credentials");
    let token = place.mail.token(1, "ann@acme.example", "/verify/").await;
    // Whoever reads the mail, and did not register, gets no further.
    let verify = "/v1/auth/register/verify";
    let other = json!({"token": token, "password": "four quiet bridges"});
    assert_eq!(place.post(verify, other).await.1["code"], "wrong_password");
    let body = json!({"token": token, "password": PASSWORD});
    let (status, ann) = place.post(verify, body.clone()).await;
    assert_eq!((status, &ann["role"]), (201, &json!("enterprise")), "{ann}");
    let again = place.post(verify, body).await;
    assert_eq!((again.0, &again.1["code"]), (400, &json!("invalid_token")));
    // Who has an account gets another mail, and the same answer.
    let (status, told) = place.post("/v1/auth/register", acme("ann@acme.example")).await;
    assert_eq!((status, told), (202, sent));
    let mails = place.mail.wait_for(2).await;
    assert!(mails[1].to_string().contains("You have an account already"), "{}", mails[1]);

    let ann = place.sign_in("ann@acme.example", PASSWORD).await.expect("a session");
    let (_, me) = ann.get("/v1/me").await;
    let organization = me["organization_id"].as_str().expect("an organization").to_owned();
    assert!(organization.starts_with("org_"), "{me}");
    assert!(me["permissions"].to_string().contains("manage_members"), "{me}");

    let invited = json!({"email": "bob@acme.example", "role": "user"});
    let (status, made) = ann.post("/v1/invitations", invited).await;
    assert_eq!((status, &made["role"]), (201, &json!("user")), "{made}");
    let token = place.mail.token(3, "bob@acme.example", "/invitations/").await;
    let weak = json!({"token": token, "password": "password"});
    assert_eq!(place.post("/v1/auth/invitations/accept", weak).await.1["code"], "weak_password");
    let accept = json!({"token": token, "password": PASSWORD});
    let (status, bob) = place.post("/v1/auth/invitations/accept", accept.clone()).await;
    assert_eq!((status, &bob["organization_id"]), (201, &json!(organization)), "{bob}");
    assert_eq!(place.post("/v1/auth/invitations/accept", accept).await.0, 400);
    let bob_id = bob["user_id"].as_str().expect("an id").to_owned();
    let bob = place.sign_in("bob@acme.example", PASSWORD).await.expect("a session");

    members_and_keys(&ann, &bob, &bob_id, &organization).await;
    keys_of_staff(&place, &ann, &organization).await;
    strangers_and_tricks(&place, &ann, &bob).await;
    place.server.stop();
}

async fn members_and_keys(ann: &Person, bob: &Person, bob_id: &str, organization: &str) {
    let (_, listed) = bob.get("/v1/members").await;
    assert_eq!(listed["members"].as_array().map(Vec::len), Some(2), "{listed}");
    // A user sees members, and manages none.
    assert_eq!(
        bob.post("/v1/invitations", json!({"email": "c@acme.example", "role": "user"})).await.0,
        403
    );
    let path = format!("/v1/members/{bob_id}/role");
    assert_eq!(bob.ask(Method::PUT, &path, json!({"role": "enterprise"})).await.0, 403);
    assert_eq!(ann.ask(Method::PUT, &path, json!({"role": "admin"})).await.0, 400);
    assert_eq!(ann.ask(Method::PUT, &path, json!({"role": "enterprise"})).await.0, 204);
    assert!(bob.get("/v1/me").await.1["permissions"].to_string().contains("manage_members"));

    let (status, project) = ann.post("/v1/projects", json!({"name": "Search"})).await;
    assert_eq!(status, 201, "{project}");
    let path = format!("/v1/projects/{}", project["project_id"].as_str().expect("an id"));
    let (_, archived) = ann.ask(Method::PATCH, &path, json!({"archived": true})).await;
    assert!(archived["archived_at"].is_string() && archived["name"] == "Search", "{archived}");

    // Keys of the own organization, for reading and writing.
    let (status, key) =
        bob.post("/v1/keys", json!({"name": "mine", "scopes": ["read-write"]})).await;
    assert_eq!((status, &key["organization_id"]), (201, &json!(organization)), "{key}");
    for (scopes, of) in [
        (json!(["admin"]), organization),
        (json!(["backfill"]), organization),
        (json!(["read"]), "org_x"),
    ] {
        let body = json!({"name": "more", "scopes": scopes, "organization_id": of});
        assert!([400, 403].contains(&bob.post("/v1/keys", body).await.0), "{scopes} {of}");
    }
    let id = key["api_key_id"].as_str().expect("an id");
    assert_eq!(ann.get("/v1/keys").await.1["keys"].as_array().map(Vec::len), Some(1));
    assert_eq!(ann.ask(Method::DELETE, &format!("/v1/keys/{id}"), Value::Null).await.0, 204);
    assert_eq!(ann.ask(Method::DELETE, "/v1/keys/key_other", Value::Null).await.0, 404);

    // Whom a member invited does not come once the member has left.
    let invited = json!({"email": "carol@acme.example", "role": "enterprise"});
    assert_eq!(bob.post("/v1/invitations", invited).await.0, 201);
    assert_eq!(listed_invitations(ann).await, 1);

    // The last one who manages stays.
    let me = ann.get("/v1/me").await.1["id"].as_str().expect("an id").to_owned();
    assert_eq!(ann.ask(Method::DELETE, &format!("/v1/members/{bob_id}"), Value::Null).await.0, 204);
    assert_eq!(bob.get("/v1/me").await.0, 401);
    assert_eq!(listed_invitations(ann).await, 0);
    let (status, last) = ann.ask(Method::DELETE, &format!("/v1/members/{me}"), Value::Null).await;
    assert_eq!((status, &last["code"]), (409, &json!("last_administrator")));
    assert_eq!(ann.get("/v1/members").await.1["members"].as_array().map(Vec::len), Some(1));
}

/// A key that staff gave the organization is no way to more than its members may do.
async fn keys_of_staff(place: &Place, ann: &Person, organization: &str) {
    let of = ["--organization", organization, "--scopes"];
    let create = |name, scopes| {
        let create = [&["key", "create", "--name", name], &of[..], &[scopes]].concat();
        run_ok(place.dir.path(), &create)
    };
    create("import", "write,backfill");
    let (_, listed) = ann.get("/v1/keys").await;
    let keys = listed["keys"].as_array().expect("keys");
    let import = keys.iter().find(|key| key["name"] == "import").expect("the key");
    let path = format!("/v1/keys/{}", import["api_key_id"].as_str().expect("an id"));
    assert_eq!(ann.post(&format!("{path}/rotate"), json!({})).await.0, 403);
    assert_eq!(ann.ask(Method::PUT, &format!("{path}/limits"), json!({})).await.0, 403);
    assert_eq!(ann.ask(Method::DELETE, &path, Value::Null).await.0, 204);
    // A key reads metrics, and not who works there.
    let read = Client::new(&place.server, create("read", "read").trim());
    let page = reply(read.request(Method::GET, "/organization")).await;
    assert!(page.status == 403 && !page.text().contains("ann@"), "{}", page.text());
}

async fn listed_invitations(by: &Person) -> usize {
    let (_, listed) = by.get("/v1/invitations").await;
    listed["invitations"].as_array().map(Vec::len).unwrap_or_else(|| panic!("{listed}"))
}

async fn strangers_and_tricks(place: &Place, ann: &Person, bob: &Person) {
    // Another organization sees none of it.
    let eve = json!({"email": "eve@evil.example", "password": PASSWORD, "organization": "Evil", "country": "US"});
    place.post("/v1/auth/register", eve).await;
    let token = place.mail.token(5, "eve@evil.example", "/verify/").await;
    let body = json!({"token": token, "password": PASSWORD});
    assert_eq!(place.post("/v1/auth/register/verify", body).await.0, 201);
    let eve = place.sign_in("eve@evil.example", PASSWORD).await.expect("a session");
    let me = ann.get("/v1/me").await.1;
    let (ann_id, org) =
        (me["id"].as_str().expect("an id"), me["organization_id"].as_str().expect("one"));
    assert_eq!(eve.get(&format!("/v1/members?organization_id={org}")).await.0, 403);
    assert_eq!(eve.ask(Method::DELETE, &format!("/v1/members/{ann_id}"), Value::Null).await.0, 404);
    let path = format!("/v1/members/{ann_id}/role");
    assert_eq!(eve.ask(Method::PUT, &path, json!({"role": "user"})).await.0, 404);
    assert_eq!(eve.get("/v1/admin/users").await.0, 403);
    // Mass assignment.
    for wrong in [
        json!({"role": "admin"}),
        json!({"organization_id": org}),
        json!({"user_id": ann_id}),
        json!({"zone": "Mars/Base"}),
        json!({"language": "fr"}),
        json!({"name": "\u{7}"}),
    ] {
        assert_eq!(eve.ask(Method::PATCH, "/v1/me", wrong.clone()).await.0, 400, "{wrong}");
    }
    let change =
        json!({"name": "Eve", "zone": "Europe/Berlin", "language": "zh-CN", "theme": "dark"});
    let (status, me) = eve.ask(Method::PATCH, "/v1/me", change).await;
    assert_eq!((status, &me["profile"]["zone"]), (200, &json!("Europe/Berlin")), "{me}");
    let (_, me) = eve.ask(Method::PATCH, "/v1/me", json!({"name": null})).await;
    assert_eq!((&me["profile"]["name"], &me["profile"]["theme"]), (&Value::Null, &json!("dark")));
    for wrong in [
        json!({"email": "x", "password": PASSWORD, "organization": "A", "country": "DE"}),
        json!({"email": "x@x.example", "password": "short", "organization": "A", "country": "DE"}),
        json!({"email": "x@x.example", "password": PASSWORD, "organization": "", "country": "DE"}),
        json!({"email": "x@x.example", "password": PASSWORD, "organization": "A", "country": "XX"}),
        json!({"email": "x@x.example", "password": PASSWORD, "organization": "A", "country": "DE", "role": "admin"}),
    ] {
        let (status, answer) = place.post("/v1/auth/register", wrong.clone()).await;
        assert_eq!(status, 400, "{wrong} {answer}");
    }
    drop(bob.get("/v1/me").await);
}

#[tokio::test]
async fn passwords_and_addresses_change_by_mail() {
    let place = Place::new("");
    let (status, closed) = place.post("/v1/auth/register", acme("ann@acme.example")).await;
    assert_eq!((status, &closed["code"]), (403, &json!("registration_closed")));
    let told = run_ok(
        place.dir.path(),
        &["user", "create", "--email", "ann@x.example", "--role", "analyst"],
    );
    let first = told.split_whitespace().last().expect("a password").to_owned();
    let ann = place.sign_in("ann@x.example", &first).await.expect("a session");
    let other = place.sign_in("ann@x.example", &first).await.expect("a session");

    let (_, listed) = ann.get("/v1/sessions").await;
    let sessions = listed["sessions"].as_array().cloned().expect("sessions");
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions.iter().filter(|session| session["current"] == true).count(), 1);
    let wrong = json!({"current_password": "wrong", "password": PASSWORD});
    assert_eq!(ann.post("/v1/me/password", wrong).await.1["code"], "wrong_password");
    let right = json!({"current_password": first, "password": PASSWORD});
    assert_eq!(ann.post("/v1/me/password", right).await.0, 204);
    assert_eq!((ann.get("/v1/me").await.0, other.get("/v1/me").await.0), (200, 401));
    place.mail.wait_for(1).await;

    // Forgotten: unknown addresses get the same answer, and no mail.
    let unknown = place.post("/v1/auth/password/forgot", json!({"email": "no@x.example"})).await;
    let known = place.post("/v1/auth/password/forgot", json!({"email": "ann@x.example"})).await;
    assert_eq!((unknown.0, &unknown), (202, &known));
    let token = place.mail.token(2, "ann@x.example", "/reset/").await;
    let weak = json!({"token": token, "password": "12345678"});
    assert_eq!(place.post("/v1/auth/password/reset", weak).await.1["code"], "weak_password");
    let reset = json!({"token": token, "password": "four quiet bridges"});
    assert_eq!(place.post("/v1/auth/password/reset", reset.clone()).await.0, 204);
    assert_eq!(place.post("/v1/auth/password/reset", reset).await.1["code"], "invalid_token");
    assert_eq!(ann.get("/v1/me").await.0, 401);
    assert!(place.sign_in("ann@x.example", PASSWORD).await.is_err());
    let ann = place.sign_in("ann@x.example", "four quiet bridges").await.expect("a session");

    // Another address. What went to the former one is useless then.
    place.post("/v1/auth/password/forgot", json!({"email": "ann@x.example"})).await;
    let former = place.mail.token(4, "ann@x.example", "/reset/").await;
    let body = json!({"email": "anna@x.example", "password": "four quiet bridges"});
    assert_eq!(ann.post("/v1/me/email", body).await.0, 202);
    let token = place.mail.token(5, "anna@x.example", "/verify-email/").await;
    assert_eq!(place.post("/v1/auth/email/verify", json!({"token": token})).await.0, 204);
    assert_eq!(ann.get("/v1/me").await.1["name"], "anna@x.example");
    assert!(place.sign_in("ann@x.example", "four quiet bridges").await.is_err());
    assert_eq!(place.mail.wait_for(6).await.len(), 6);
    let reset = json!({"token": former, "password": PASSWORD});
    assert_eq!(place.post("/v1/auth/password/reset", reset).await.1["code"], "invalid_token");
    // Mails to one address are bounded.
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let body = json!({"email": "no@x.example"});
        statuses.push(place.post("/v1/auth/password/forgot", body).await.0);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 2, "{statuses:?}");
    assert_eq!(ann.post("/v1/auth/logout-all", Value::Null).await.0, 204);
    assert_eq!(ann.get("/v1/me").await.0, 401);
    place.server.stop();
}

/// The code of an app, so many steps from now.
fn code(secret: &str, steps: i64) -> String {
    let secret = Secret::try_from_base32(secret).expect("base 32");
    let totp = Builder::new().with_secret(secret).with_account_name("a").build().expect("a factor");
    #[expect(clippy::disallowed_methods, reason = "an app has a clock of its own")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    totp.generate(now.checked_add_signed(steps * 30).expect("a time")).to_string()
}

#[tokio::test]
async fn the_second_factor_is_asked_for_and_used_once() {
    let place = Place::new("second_factor = [\"admin\"]");
    let told = run_ok(
        place.dir.path(),
        &["user", "create", "--email", "ann@x.example", "--role", "admin"],
    );
    let password = told.split_whitespace().last().expect("a password").to_owned();
    let ann = place.sign_in("ann@x.example", &password).await.expect("a session");
    // The role needs one: nothing else is possible before.
    let (status, refused) = ann.get("/v1/admin/users").await;
    assert!(status == 403 && refused["detail"].to_string().contains("second factor"), "{refused}");
    assert_eq!(ann.get("/v1/me").await.1["restriction"], "second_factor_missing");
    assert_eq!(ann.post("/v1/me/second-factor", json!({"password": "wrong"})).await.0, 403);
    let (status, made) = ann.post("/v1/me/second-factor", json!({"password": password})).await;
    assert_eq!(status, 200, "{made}");
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    assert!(
        made["uri"].as_str().is_some_and(|uri| uri.starts_with("otpauth://totp/AI%20Hub:")),
        "{made}"
    );
    assert!(made["qr_svg"].as_str().is_some_and(|svg| svg.contains("<svg")));
    let wrong = json!({"code": code(&secret, 10)});
    assert_eq!(ann.post("/v1/me/second-factor/confirm", wrong).await.1["code"], "wrong_code");
    let used = code(&secret, -1);
    let (status, on) = ann.post("/v1/me/second-factor/confirm", json!({"code": used})).await;
    let codes = on["recovery_codes"].as_array().cloned().unwrap_or_default();
    assert_eq!((status, codes.len()), (200, 10), "{on}");
    assert_eq!(ann.get("/v1/admin/users").await.0, 200);

    let challenge = async || -> String {
        let asked = place.sign_in("ann@x.example", &password).await.err().expect("a challenge");
        assert_eq!(asked["code"], "second_factor_required", "{asked}");
        asked["challenge"].as_str().expect("a challenge").to_owned()
    };
    let answer = async |challenge: &str, code: &str| {
        let body = json!({"challenge": challenge, "code": code});
        place.session("/v1/auth/second-factor", body).await
    };
    let first = challenge().await;
    // A step that was used, and codes that are wrong: three spend the challenge.
    assert_eq!(answer(&first, &used).await.err().expect("refused")["code"], "wrong_code");
    assert_eq!(answer(&first, "000000").await.err().expect("refused")["code"], "wrong_code");
    assert_eq!(answer(&first, "x").await.err().expect("refused")["code"], "wrong_code");
    let spent = answer(&first, &code(&secret, 0)).await.err().expect("refused");
    assert_eq!(spent["code"], "invalid_token");
    let next = challenge().await;
    let fresh = code(&secret, 1);
    assert!(answer(&next, &fresh).await.is_ok());
    let next = challenge().await;
    assert!(answer(&next, &fresh).await.is_err(), "each step once");
    // A recovery code works once, however it is typed.
    let recovery = codes[0].as_str().expect("a code").replace('-', " ");
    assert!(answer(&next, &recovery).await.is_ok());
    let next = challenge().await;
    assert!(answer(&next, &recovery).await.is_err());
    assert_eq!(
        ann.get("/v1/me/second-factor").await.1,
        json!({"on": true, "recovery_codes_left": 9})
    );
    // A new password does not turn it off.
    place.post("/v1/auth/password/forgot", json!({"email": "ann@x.example"})).await;
    let token = place.mail.token(2, "ann@x.example", "/reset/").await;
    place.post("/v1/auth/password/reset", json!({"token": token, "password": PASSWORD})).await;
    let asked = place.sign_in("ann@x.example", PASSWORD).await.err().expect("a challenge");
    assert_eq!(asked["code"], "second_factor_required");
    let body = json!({"challenge": asked["challenge"], "code": codes[1]});
    let ann = place.session("/v1/auth/second-factor", body).await.expect("a session");
    the_factor_goes_with_a_code(&ann, &codes).await;
    assert!(place.sign_in("ann@x.example", PASSWORD).await.is_ok());
    place.server.stop();
}

/// Turning it off takes the password and a code that was not used.
async fn the_factor_goes_with_a_code(ann: &Person, codes: &[Value]) {
    let remove = async |code: &str| {
        let body = json!({"password": PASSWORD, "code": code});
        ann.post("/v1/me/second-factor/remove", body).await
    };
    assert_eq!(remove("000000").await.1["code"], "wrong_code");
    // Nor are there new codes, which would be as good, without one.
    let renew = json!({"password": PASSWORD, "code": "000000"});
    let refused = ann.post("/v1/me/second-factor/recovery-codes", renew).await;
    assert_eq!(refused.1["code"], "wrong_code");
    assert_eq!(remove(codes[1].as_str().expect("a code")).await.1["code"], "wrong_code");
    assert_eq!(remove(codes[2].as_str().expect("a code")).await.0, 204);
}
