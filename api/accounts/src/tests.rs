use std::{rc::Rc, sync::Arc};

use actix_web::{
    App, HttpResponse,
    body::{BoxBody, to_bytes},
    cookie::Cookie,
    dev::ServiceResponse,
    middleware::from_fn,
    test::{self, TestRequest},
    web,
};
use delivery::{Courier, Hooks, Links, Smtp};
use futures::future::LocalBoxFuture;
use rest::{
    feature::{self, AppData},
    pace::AnswerLimiter,
    principal::{
        Ability, Administer, Authorized, Gate, Permission, Principal, PrincipalKind, ReadMetrics,
        Role, RunSql, SESSION_COOKIE, Scopes, SendEvents, SignedIn, Tenancy, TrustedProxies,
        ViewDashboard,
    },
    problem::stamp,
};
use serde_json::{Value, json};
use state::{
    State,
    clock::Clock,
    scratch::{Scratch, noon},
};
use utoipa_actix_web::AppExt;

use crate::{
    Devices, Directory, FEATURES,
    keys::tests::key,
    users::tests::{PASSWORD, user},
};

const LOCAL_TOKEN: &str = "local-0123456789";

fn principal(kind: PrincipalKind, reach: Tenancy) -> Principal {
    Principal {
        id: "p".to_owned(),
        name: "p".to_owned(),
        kind,
        reach,
        grant: ingest::Grant::ALL,
        session_id: None,
        restriction: None,
        needs_confirmation: false,
        language: None,
    }
}

#[test]
fn the_permissions_of_every_kind() {
    let scopes = |text| PrincipalKind::Key(Scopes::parse(text).unwrap());
    let own = || Tenancy::Organization("org_a".to_owned());
    for (kind, reach, expected) in [
        (
            PrincipalKind::LocalProcess,
            Tenancy::All,
            "send_events backfill run_sql read_metrics view_dashboard administer manage_keys manage_members manage_billing",
        ),
        (
            PrincipalKind::User(Role::Admin),
            Tenancy::All,
            "send_events backfill run_sql read_metrics view_dashboard administer manage_keys manage_members manage_billing",
        ),
        (PrincipalKind::User(Role::Analyst), Tenancy::All, "run_sql read_metrics view_dashboard"),
        (PrincipalKind::User(Role::Manager), Tenancy::All, "read_metrics view_dashboard"),
        (PrincipalKind::User(Role::User), own(), "run_sql read_metrics view_dashboard manage_keys"),
        (
            PrincipalKind::User(Role::Enterprise),
            own(),
            "run_sql read_metrics view_dashboard manage_keys manage_members manage_billing",
        ),
        (scopes("write"), Tenancy::All, "send_events"),
        (scopes("read"), own(), "run_sql read_metrics view_dashboard"),
        (scopes("read,write"), own(), "send_events run_sql read_metrics view_dashboard"),
        (scopes("write,backfill"), own(), "send_events backfill"),
        (scopes("verify"), Tenancy::All, "verify_keys"),
        (scopes("verify"), own(), ""),
        (scopes("admin"), Tenancy::All, "administer manage_keys manage_members manage_billing"),
        (scopes("admin"), own(), ""),
    ] {
        let principal = principal(kind, reach);
        let held =
            Ability::ALL.into_iter().filter(|ability| principal.may(*ability)).map(Ability::name);
        assert_eq!(held.collect::<Vec<_>>().join(" "), expected, "{kind:?}");
        assert_eq!(SendEvents::allows(&principal), principal.may(Ability::SendEvents));
        assert_eq!(RunSql::allows(&principal), principal.may(Ability::RunSql));
        assert_eq!(ReadMetrics::allows(&principal), principal.may(Ability::ReadMetrics));
        assert_eq!(ViewDashboard::allows(&principal), principal.may(Ability::ViewDashboard));
        assert_eq!(Administer::allows(&principal), principal.may(Ability::Administer));
        assert!(SignedIn::allows(&principal));
    }
}

type Answer = ServiceResponse<BoxBody>;
type Client = Box<dyn Fn(TestRequest) -> LocalBoxFuture<'static, Answer>>;

/// Sends nothing.
fn courier(state: &State) -> Courier {
    let links = Links::new("http://hub.example:8080", &[0; 32]);
    Courier::new(
        state.clone(),
        Smtp::default(),
        Hooks::default(),
        None,
        links,
        state::vault::Vault::new([0; 32]),
    )
    .unwrap()
}

async fn app(scratch: &Scratch) -> Client {
    app_behind(scratch, |gate| gate).await
}

async fn app_behind(scratch: &Scratch, setting: impl FnOnce(Gate) -> Gate) -> Client {
    let state = State::new(scratch.store.clone(), Clock::fixed(noon()));
    let directory = Directory::new(
        state.clone(),
        crate::Secrets {
            devices: Devices::new([0; 32]),
            vault: crate::Vault::new([0; 32]),
            settings: crate::Settings::default(),
        },
        crate::plans::Plans::read(None, &state.clock).unwrap(),
        courier(&state),
    );
    user(&directory.accounts, "admin@example.com", Role::Admin, None).await;
    user(&directory.accounts, "manager@example.com", Role::Manager, None).await;
    let gate = Gate::new(Arc::new(directory.clone())).with_local_token(LOCAL_TOKEN);
    let base = AppData::new(state, setting(gate), AnswerLimiter::default());
    let app = App::new()
        .wrap(from_fn(stamp))
        .into_utoipa_app()
        .configure(|config| base.register(config))
        .configure(|config| feature::routes(FEATURES, &directory, config))
        .route("/sql", web::get().to(async |_: Authorized<RunSql>| HttpResponse::Ok().finish()))
        .into_app();
    let service = Rc::new(test::init_service(app).await);
    Box::new(move |request| {
        let service = Rc::clone(&service);
        Box::pin(async move { test::call_service(&*service, request.to_request()).await })
    })
}

async fn call(app: &Client, request: TestRequest) -> Answer {
    let address = "192.0.2.1:4000".parse().unwrap();
    app(request.insert_header(("host", "hub.example:8080")).peer_addr(address)).await
}

async fn json_of(answer: Answer) -> Value {
    serde_json::from_slice(&to_bytes(answer.into_body()).await.unwrap()).unwrap()
}

async fn sign_in(app: &Client, email: &str) -> Cookie<'static> {
    let body = json!({"email": email, "password": PASSWORD});
    let answer = call(app, TestRequest::post().uri("/v1/auth/login").set_json(body)).await;
    assert_eq!(answer.status(), 200);
    let cookie = answer.response().cookies().next().unwrap().into_owned();
    assert_eq!(cookie.name(), SESSION_COOKIE);
    assert!(
        cookie.to_string().ends_with("; HttpOnly; SameSite=Lax; Path=/; Max-Age=43200"),
        "{cookie}"
    );
    cookie
}

#[actix_web::test]
async fn credentials_are_required_right_and_sufficient() {
    let scratch = crate::scratch().await;
    let app = app(&scratch).await;
    let (_, read) = key(&scratch.store, "read", None).await;
    let (_, write) = key(&scratch.store, "write", None).await;
    let bearer = |secret: &str| ("authorization", format!("Bearer {secret}"));
    let get = || TestRequest::get().uri("/sql");
    for (name, request, status, code) in [
        ("nothing", get(), 401, "no_credentials"),
        (
            "key in the URL",
            get().uri(&format!("/sql?api_key={0}&token={0}", read.reveal())),
            401,
            "no_credentials",
        ),
        ("no key of ours", get().insert_header(bearer("aihub_nonsense")), 401, "wrong_key"),
        ("basic", get().insert_header(("authorization", "Basic YTpi")), 401, "wrong_credentials"),
        (
            "unknown session",
            get().cookie(Cookie::new(SESSION_COOKIE, "x".repeat(43))),
            401,
            "session_over",
        ),
        (
            "a wrong header is not saved by a cookie",
            get().insert_header(bearer("x")),
            401,
            "wrong_key",
        ),
        ("scope missing", get().insert_header(bearer(write.reveal())), 403, "forbidden"),
        ("key", get().insert_header(bearer(read.reveal())), 200, ""),
        (
            "scheme in lowercase",
            get().insert_header(("authorization", format!("bearer {}", read.reveal()))),
            200,
            "",
        ),
        ("local process", get().insert_header(bearer(LOCAL_TOKEN)), 200, ""),
    ] {
        let answer = call(&app, request).await;
        assert_eq!(answer.status(), status, "{name}");
        assert_eq!(answer.headers().contains_key("www-authenticate"), status == 401, "{name}");
        if status != 200 {
            assert_eq!(json_of(answer).await["code"], code, "{name}");
        }
    }
    let manager = sign_in(&app, "manager@example.com").await;
    assert_eq!(call(&app, get().cookie(manager)).await.status(), 403);
}

#[actix_web::test]
async fn a_session_from_sign_in_to_sign_out() {
    let scratch = crate::scratch().await;
    let app = app(&scratch).await;
    let cookie = sign_in(&app, "manager@example.com").await;
    let me =
        json_of(call(&app, TestRequest::get().uri("/v1/me").cookie(cookie.clone())).await).await;
    assert_eq!(
        (&me["kind"], &me["role"], &me["name"]),
        (&json!("user"), &json!("manager"), &json!("manager@example.com"))
    );
    assert_eq!(me["permissions"], json!(["read_metrics", "view_dashboard"]));
    let sign_out = || TestRequest::post().uri("/v1/auth/logout").cookie(cookie.clone());
    let answer = call(&app, sign_out().insert_header(("sec-fetch-site", "same-origin"))).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(
        call(&app, TestRequest::get().uri("/v1/me").cookie(cookie.clone())).await.status(),
        401
    );

    let wrong = json!({"email": "manager@example.com", "password": "wrong password"});
    let unknown = json!({"email": "nobody@example.com", "password": "wrong password"});
    let mut answers = Vec::new();
    for body in [wrong.clone(), unknown] {
        let request = TestRequest::post()
            .uri("/v1/auth/login")
            .insert_header(("x-request-id", "r"))
            .set_json(body);
        let answer = call(&app, request).await;
        assert_eq!(answer.status(), 401);
        answers.push(json_of(answer).await);
    }
    assert_eq!(answers[0], answers[1]);
    for _ in 0..9 {
        call(&app, TestRequest::post().uri("/v1/auth/login").set_json(&wrong)).await;
    }
    let answer = call(&app, TestRequest::post().uri("/v1/auth/login").set_json(&wrong)).await;
    assert_eq!(answer.status(), 429);
    assert!(answer.headers().contains_key("retry-after"));
}

#[actix_web::test]
async fn another_site_cannot_use_the_cookie_to_change_anything() {
    let scratch = crate::scratch().await;
    let app = app(&scratch).await;
    let cookie = sign_in(&app, "admin@example.com").await;
    let body = json!({"name": "k", "scopes": ["read"]});
    for (headers, status) in [
        (vec![("sec-fetch-site", "same-origin")], 201),
        (vec![("sec-fetch-site", "none")], 201),
        (vec![("origin", "http://hub.example:8080")], 201),
        (vec![("origin", "HTTP://HUB.example:8080")], 201),
        (vec![("origin", "https://hub.example:8080")], 403),
        // Nobody trusts this one.
        (vec![("origin", "https://hub.example:8080"), ("x-forwarded-proto", "https")], 403),
        (vec![], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "same-site"), ("origin", "http://hub.example:8080")], 403),
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", "http://hub.example:8081")], 403),
        (vec![("origin", "null")], 403),
    ] {
        let mut request =
            TestRequest::post().uri("/v1/keys").cookie(cookie.clone()).set_json(&body);
        for header in &headers {
            request = request.insert_header(*header);
        }
        assert_eq!(call(&app, request).await.status(), status, "{headers:?}");
    }
    let read = TestRequest::get()
        .uri("/v1/keys")
        .cookie(cookie)
        .insert_header(("sec-fetch-site", "cross-site"));
    assert_eq!(call(&app, read).await.status(), 200, "reading changes nothing");
    let login =
        TestRequest::post().uri("/v1/auth/login").insert_header(("origin", "http://evil.example"));
    let login = login.set_json(json!({"email": "admin@example.com", "password": PASSWORD}));
    assert_eq!(call(&app, login).await.status(), 403);
}

#[actix_web::test]
async fn behind_tls_our_own_pages_have_it_too() {
    let scratch = crate::scratch().await;
    let proxies = || TrustedProxies::try_from(vec!["192.0.2.0/24".to_owned()]).unwrap();
    let secure = app_behind(&scratch, |gate| gate.with_secure_cookie(true)).await;
    let scratch = crate::scratch().await;
    let proxied = app_behind(&scratch, |gate| gate.with_trusted_proxies(proxies())).await;
    for (app, forwarded, origin, status) in [
        (&secure, "http", "https://hub.example:8080", 401),
        (&secure, "http", "http://hub.example:8080", 403),
        (&proxied, "https", "https://hub.example:8080", 401),
        (&proxied, "https", "http://hub.example:8080", 403),
        (&proxied, "http", "http://hub.example:8080", 401),
        (&proxied, "http", "https://hub.example:8080", 403),
    ] {
        let login = TestRequest::post().uri("/v1/auth/login").insert_header(("origin", origin));
        let login = login.insert_header(("x-forwarded-proto", forwarded));
        let login = login.set_json(json!({"email": "a@example.com", "password": "wrong"}));
        assert_eq!(call(app, login).await.status(), status, "{forwarded} {origin}");
    }
}

#[actix_web::test]
async fn a_key_over_http_from_creation_to_revocation() {
    let scratch = crate::scratch().await;
    let app = app(&scratch).await;
    let admin = || ("authorization", format!("Bearer {LOCAL_TOKEN}"));
    let create =
        |body: Value| TestRequest::post().uri("/v1/keys").insert_header(admin()).set_json(body);
    let answer = call(&app, create(json!({"name": "notebook", "scopes": ["read"]}))).await;
    assert_eq!(answer.status(), 201);
    let created = json_of(answer).await;
    let (id, secret) =
        (created["api_key_id"].as_str().unwrap(), created["secret"].as_str().unwrap());

    let list = call(&app, TestRequest::get().uri("/v1/keys").insert_header(admin())).await;
    let list = json_of(list).await;
    assert_eq!(list["keys"][0]["api_key_id"], id);
    assert!(!list.to_string().contains(secret));
    let sql = || {
        TestRequest::get().uri("/sql").insert_header(("authorization", format!("Bearer {secret}")))
    };
    assert_eq!(call(&app, sql()).await.status(), 200);
    let delete =
        |id: &str| TestRequest::delete().uri(&format!("/v1/keys/{id}")).insert_header(admin());
    assert_eq!(call(&app, delete(id)).await.status(), 204);
    assert_eq!(call(&app, sql()).await.status(), 401);
    assert_eq!(call(&app, delete("key_unknown")).await.status(), 404);
    for (body, code) in [
        (json!({"name": "k", "scopes": []}), "invalid_field"),
        (json!({"name": "k", "scopes": ["root"]}), "invalid_field"),
        (
            json!({"name": "k", "scopes": ["read"], "organization_id": "org_z"}),
            "unknown_organization",
        ),
        (json!({"name": "k", "scopes": ["read"], "color": "red"}), "invalid_json"),
    ] {
        let answer = call(&app, create(body)).await;
        assert_eq!(answer.status(), 400);
        assert_eq!(json_of(answer).await["code"], code);
    }
}
