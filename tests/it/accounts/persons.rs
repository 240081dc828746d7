//! What says something of a person is shown in SQL to those whose role was granted it.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder, reply, run, run_ok, usage};

const SQL: &str = "select user_id, session_id, model from usage_events where event_id = 'p1'";

/// The pseudonym of a user, or the code of the refusal.
async fn user_of(client: &Client) -> Value {
    let (status, answer) = client.query(SQL).await;
    if status == 403 {
        return answer["code"].clone();
    }
    answer["rows"][0]["user_id"].clone()
}

const HIDDEN: &str = "persons_hidden";

async fn put(client: &Client, method: Method, role: &str) -> u16 {
    let path = format!("/v1/person-grants/{role}");
    reply(client.request(method, &path)).await.status.as_u16()
}

async fn persons_are_counted_and_not_shown(client: &Client) {
    for counted in [
        "select count(distinct user_id) as n from usage_events",
        "select approx_distinct(user_id) as n from usage_events",
        "select count(distinct u.user_id) filter (where u.model is not null) as n from usage_events u",
        "with u as (select * from usage_events where input_tokens = 1) select count(distinct user_id) as n from u",
        "select count(distinct who) as n from (select user_id as who, model from usage_ledger) u",
        "select count(distinct user_id) as n from usage_events e join (select organization_id from usage_ledger) o \
         on o.organization_id = e.organization_id",
        "select sum(n) as n from (select model, count(distinct user_id) as n from usage_events group by model) m",
        "select count(distinct user_id) as n from (select * from usage_events union all select * from usage_events) u",
        "select (select count(distinct user_id) from usage_events) as n",
        "select count(distinct user_id) as n from usage_events having count(distinct user_id) > 0 order by 1 limit 1",
    ] {
        assert_eq!(client.rows(counted).await, [json!({"n": 1})], "{counted}");
    }
    let (status, all) = client.query("select * from usage_events").await;
    assert_eq!(status, 200, "{all}");
    assert_eq!(all["hidden_columns"], json!(["user_id", "session_id", "content_hash"]));
    let row = all["rows"][0].as_object().expect("a row");
    assert!(row.contains_key("model") && !row.contains_key("user_id"), "{row:?}");
    for shown in [
        "select user_id from usage_events",
        "select \"user_id\" as x from usage_events",
        "select * from (select user_id as x, * from usage_events) u",
        "select max(user_id) as x from usage_events",
        "select min(x) as x from (select user_id as x from usage_events) u",
        "select count(user_id) as n from usage_events",
        "select count(distinct upper(user_id)) as n from usage_events",
        "select count(distinct user_id) filter (where user_id like 'u_a%') as n from usage_events",
        "select count(*) as n from usage_events group by user_id",
        "select count(*) as n from usage_events where user_id is null",
        "select model from usage_events order by user_id",
        "select 1 as x from usage_events a join usage_events b on a.user_id = b.user_id",
        "select 1 as x from usage_events a join usage_events b using (user_id)",
        "select 1 as x from usage_events where 'u' in (select user_id from usage_events)",
        "select 1 as x from usage_events a where exists (select 1 from usage_events b where b.model = a.user_id)",
        "select (select max(user_id) from usage_events) as x",
        "select (select user_id from usage_events limit 1) as x",
        "select row_number() over (order by user_id) as x from usage_events",
        "select first_value(user_id) over () as x from usage_events",
        "select count(distinct user_id) over () as x from usage_events",
        "select distinct on (user_id) model from usage_events",
        "select array_agg(session_id) as x from usage_events",
        "select case when user_id = 'u' then 1 else 0 end as x from usage_events",
        "select count(content_hash) as x from usage_events",
        "select user_id from usage_events except select 'x'",
        "select user_id from usage_events union all select 'x'",
        "select unnest([user_id]) as x from usage_events",
        "select named_struct('a', user_id) as x from usage_events",
        "select a.* from usage_events a natural join (select user_id from usage_events) b",
        // Under another name, from within a subquery.
        "select count(*) as n from (select user_id as u from usage_events) a where exists (select 1 from usage_events b \
         where b.model = a.u)",
        "select (select count(*) from usage_events b where b.model = a.u) as n from (select user_id as u from usage_events) a",
        "select count(*) as n from (select user_id as u from usage_events) a where 'm' in (select b.model from \
         usage_events b where b.organization_id = a.u)",
        "select n from (select user_id as u from usage_events) a, lateral (select count(*) as n from usage_events b \
         where b.model = a.u) c",
        // Whether a value is among them shows in how many there are.
        "select count(distinct u) as n from (select user_id as u from usage_events union all select 'u_x') a",
        "select count(*) as n from (select user_id as u from usage_events union select 'u_x') a",
        "select count(*) as n from (select user_id as u from usage_events intersect select 'u_x') a",
    ] {
        let (status, answer) = client.query(shown).await;
        assert_eq!((status.as_u16(), &answer["code"]), (403, &json!(HIDDEN)), "{shown}: {answer}");
        assert!(answer["detail"].as_str().is_some_and(|t| t.contains("administrator")), "{answer}");
    }
}

#[tokio::test]
async fn persons_are_shown_to_roles_that_were_granted_them() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let data = json!({"user_id": "ada", "session_id": "s1", "input_tokens": 1});
    admin.send("application/x-ndjson", usage("org_a", "p1", data).to_string()).await;
    run_ok(dir.path(), &["organization", "create", "org_a", "--name", "A", "--country", "DE"]);
    let key = |more: &[&str]| {
        let arguments = [&["key", "create", "--name", "k", "--scopes", "read"], more].concat();
        Client::new(&server, &run_ok(dir.path(), &arguments))
    };
    let (analyst, member) = (key(&[]), key(&["--organization", "org_a"]));

    let pseudonym = user_of(&admin).await;
    assert!(pseudonym.as_str().is_some_and(|text| text.starts_with("u_")), "{pseudonym}");
    for client in [&analyst, &member] {
        assert_eq!(user_of(client).await, HIDDEN);
        // A value cannot be asked for either.
        let guess = format!("select count(*) as n from usage_events where user_id = {pseudonym}")
            .replace('"', "'");
        for guess in [guess.replace("usage_events", "usage_ledger"), guess] {
            assert_eq!(client.query(&guess).await.1["code"], HIDDEN, "{guess}");
        }
        let zoned = json!({"sql": SQL, "tz": "Europe/Berlin"});
        assert_eq!(client.query_with(zoned).await.1["code"], HIDDEN);
        persons_are_counted_and_not_shown(client).await;
    }
    // Metrics count persons without showing them.
    assert_eq!(put(&analyst, Method::PUT, "analyst").await, 403);
    assert_eq!(put(&admin, Method::PUT, "analyst").await, 204);
    assert_eq!(put(&admin, Method::PUT, "nobody").await, 404);
    assert_eq!(put(&admin, Method::PUT, "admin").await, 409);
    assert_eq!(user_of(&analyst).await, pseudonym);
    assert_eq!(user_of(&member).await, HIDDEN);
    let (_, grants) = admin.get("/v1/person-grants").await;
    assert_eq!(grants["grants"][0]["role"], "analyst", "{grants}");
    assert_eq!(put(&admin, Method::DELETE, "analyst").await, 204);
    assert_eq!(user_of(&analyst).await, HIDDEN);
    run_ok(dir.path(), &["user", "grant-persons", "user"]);
    assert_eq!(user_of(&member).await, pseudonym);
    let grants = run_ok(dir.path(), &["user", "person-grants"]);
    assert!(grants.starts_with("role\tgranted_by\tgranted_at\nuser\tcommand-line\t"), "{grants}");
    run_ok(dir.path(), &["user", "revoke-persons", "user"]);
    for command in ["grant-persons", "revoke-persons"] {
        let refused = run(dir.path(), &["user", command, "admin"]);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && error.contains("always"), "{error}");
    }
    assert_eq!(user_of(&member).await, HIDDEN);
}
