//! Acts that ask for the password again, some time after it was given; and the pages of administrators.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Reply, reply, run_ok};

use super::registration::{PASSWORD, Person, Place};

impl Person {
    /// Sends a form, as a browser does.
    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let body =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.client.request(Method::POST, path).header("cookie", &self.cookie);
        let request = request.header("sec-fetch-site", "same-origin");
        let form = "application/x-www-form-urlencoded";
        reply(request.header("content-type", form).body(body)).await
    }

    async fn page(&self, path: &str) -> String {
        let request = self.client.request(Method::GET, path).header("cookie", &self.cookie);
        let page = reply(request).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        page.text()
    }
}

async fn registered(place: &Place) -> Person {
    let new = json!({"email": "ann@acme.example", "password": PASSWORD, "organization": "Acme", "country": "DE"});
    assert_eq!(place.post("/v1/auth/register", new).await.0, 202);
    let token = place.mail.token(1, "ann@acme.example", "/verify/").await;
    let verify = json!({"token": token, "password": PASSWORD});
    assert_eq!(place.post("/v1/auth/register/verify", verify).await.0, 201);
    place.sign_in("ann@acme.example", PASSWORD).await.expect("a session")
}

#[tokio::test]
async fn keys_and_members_ask_for_the_password_again() {
    let place = Place::new("registration = \"open\"\nconfirm_seconds = 2");
    let ann = registered(&place).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;

    let key = json!({"name": "k", "scopes": ["read"]});
    let invited = json!({"email": "bob@acme.example", "role": "user"});
    for (path, body) in [("/v1/keys", &key), ("/v1/invitations", &invited)] {
        let (status, refused) = ann.post(path, body.clone()).await;
        assert_eq!((status, &refused["code"]), (403, &json!("confirmation_required")), "{path}");
    }
    // It reads, and changes what is its own.
    assert_eq!(ann.get("/v1/keys").await.1["keys"], json!([]));
    assert_eq!(ann.ask(Method::PATCH, "/v1/me", json!({"name": "Ann"})).await.0, 200);

    let confirm = "/v1/auth/confirm";
    let wrong = ann.post(confirm, json!({"password": "wrong bright lanterns"})).await;
    assert_eq!((wrong.0, &wrong.1["code"]), (403, &json!("wrong_password")), "{}", wrong.1);
    assert_eq!(ann.post("/v1/keys", key.clone()).await.0, 403);
    // A slow machine may need it more than once.
    let mut made = (0, Value::Null);
    for _ in 0..20 {
        assert_eq!(ann.post(confirm, json!({"password": PASSWORD})).await.0, 204);
        made = ann.post("/v1/keys", key.clone()).await;
        if made.0 != 403 {
            break;
        }
    }
    assert_eq!(made.0, 201, "{}", made.1);
    // A key is a program: nobody asks it.
    let own = Client::new(&place.server, made.1["secret"].as_str().expect("a secret"));
    let refused = reply(own.request(Method::POST, confirm).json(&json!({"password": "x"}))).await;
    assert_eq!(refused.status, 403);

    // The page asks, and then does what the form said.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let form = [("name", "from <b>"), ("scopes", "read"), ("lang", "en")];
    let asks = ann.form("/keys/create", &form).await;
    let html = asks.text();
    assert!(asks.status == 403 && html.contains("password_again"), "{html}");
    assert!(html.contains("value=\"from &lt;b&gt;\"") && !html.contains("<b>"), "{html}");
    let again = |password| [&form[..], &[("password_again", password)]].concat();
    let wrong = ann.form("/keys/create", &again("wrong bright lanterns")).await;
    assert!(wrong.status == 403 && wrong.text().contains("password is wrong"), "{}", wrong.text());
    assert_eq!(ann.get("/v1/keys").await.1["keys"].as_array().map(Vec::len), Some(1));
    let made = ann.form("/keys/create", &again(PASSWORD)).await;
    assert!(made.text().contains("aihub_"), "{}", made.text());
    assert_eq!(ann.get("/v1/keys").await.1["keys"].as_array().map(Vec::len), Some(2));

    // So does the page on which the API is tried.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let asks = ann.form("/docs/reference", &[("lang", "en")]).await;
    assert!(asks.status == 403 && asks.text().contains("password_again"), "{}", asks.text());
    assert_eq!(ann.get("/v1/keys").await.1["keys"].as_array().map(Vec::len), Some(2));
    let made = ann.form("/docs/reference", &[("lang", "en"), ("password_again", PASSWORD)]).await;
    assert!(made.text().contains("data-key=\"aihub_"), "{}", made.text());
    assert_eq!(ann.get("/v1/keys").await.1["keys"].as_array().map(Vec::len), Some(3));
    place.server.stop();
}

#[tokio::test]
async fn administrators_manage_users_and_staff_by_pages() {
    let place = Place::new("registration = \"open\"");
    let create = ["user", "create", "--email", "root@example.com", "--role", "admin"];
    let told = run_ok(place.dir.path(), &create);
    let password = told.split_whitespace().last().expect("a password");
    let root = place.sign_in("root@example.com", password).await.expect("a session");
    let ann = registered(&place).await;
    let id = ann.get("/v1/me").await.1["id"].as_str().expect("an id").to_owned();
    let user_page = format!("/admin/users/{id}");
    assert!(
        root.page("/admin/users?search=acme").await.contains(&user_page.replace('/', "&#x2f;"))
    );

    let role = [("user_id", id.as_str()), ("role", "user")];
    // The last one who manages an organization keeps the role.
    let kept = root.form("/admin/users/role", &role).await;
    assert!(kept.status == 400 && kept.text().contains("must stay"), "{}", kept.text());
    let foreign = [("user_id", id.as_str()), ("role", "admin")];
    assert_eq!(root.form("/admin/users/role", &foreign).await.status, 400);
    assert_eq!(root.form("/admin/users/nothing", &role).await.status, 404);

    let done = root.form("/admin/users/suspend", &role).await;
    assert_eq!((done.status.as_u16(), done.header("location").contains(&id)), (303, true));
    assert!(root.page(&user_page).await.contains("suspended"));
    assert_eq!(root.form("/admin/users/enable", &role).await.status, 303);
    let reset = root.form("/admin/users/reset-password", &role).await.text();
    let new = reset.split("class=\"secret\" tabindex=\"0\">").nth(1).expect("a password");
    let new = new.split('\n').next().expect("a line");
    assert_eq!(ann.get("/v1/me").await.0, 401);
    let ann = place.sign_in("ann@acme.example", new).await.expect("a session");
    assert_eq!(root.form("/admin/users/sign-out", &role).await.status, 303);
    assert_eq!(ann.get("/v1/me").await.0, 401);

    // Staff is invited, too.
    let invite = |role| [("email", "mia@example.com"), ("role", role)];
    assert_eq!(root.form("/admin/users/invite", &invite("user")).await.status, 400);
    assert_eq!(root.form("/admin/users/invite", &invite("manager")).await.status, 303);
    assert!(root.page("/admin/users").await.contains("mia@example.com"));
    let token = place.mail.token(2, "mia@example.com", "/invitations/").await;
    let accept = json!({"token": token, "password": PASSWORD});
    assert_eq!(place.post("/v1/auth/invitations/accept", accept).await.1["role"], "manager");

    // What was done is found by its day.
    let today = tests::days_ago(0);
    let day = format!("/admin/audit?action=user.suspended&from={today}&to={today}");
    assert!(root.page(&day).await.contains(&id));
    let before = tests::days_ago(1);
    let found = root.page(&format!("/admin/audit?action=user.suspended&to={before}")).await;
    assert!(!found.contains(&id), "{found}");

    // Each role has a home.
    let mia = place.sign_in("mia@example.com", PASSWORD).await.expect("a session");
    let ann = place.sign_in("ann@acme.example", new).await.expect("a session");
    for (who, holds) in [(&root, "user.signed_in"), (&mia, "/reports"), (&ann, "first request")] {
        let home = who.page("/home").await.replace("&#x2f;", "/");
        assert!(home.contains(holds), "{holds}: {home}");
    }
    // The manager of an organization sets how old its keys get.
    let policy = ann.form("/organization/policy", &[("key_max_age_days", "30")]).await;
    assert_eq!(policy.status, 303, "{}", policy.text());
    assert!(ann.page("/organization").await.contains("value=\"30\""));
    let refused = ann.form("/organization/policy", &[("key_max_age_days", "0")]).await;
    assert!(refused.status == 400 && refused.text().contains("1 to 3650"), "{}", refused.text());
    // All pages are in the language that the user chose.
    let chosen = json!({"language": "zh-CN"});
    assert_eq!(ann.ask(Method::PATCH, "/v1/me", chosen).await.0, 200);
    for path in ["/alerts", "/keys"] {
        assert!(ann.page(path).await.contains("<html lang=\"zh-CN\">"), "{path}");
    }
    place.server.stop();
}
