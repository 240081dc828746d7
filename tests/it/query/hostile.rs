//! Statements that would take a planner, a memory or a machine along. Each gets its answer, and the next honest
//! query is answered.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Reply, Server, admin_key, folder, reply, usage};

const HONEST: &str = "select count(*) as n, sum(input_tokens) as t from usage_events";
const EVENTS: i64 = 300;

async fn lake() -> (Server, Client, tempfile::TempDir) {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let lines: Vec<_> = (0..EVENTS)
        .map(|i| usage("org_a", &format!("h{i}"), json!({"input_tokens": i})).to_string())
        .collect();
    let (status, answer) = client.send("application/x-ndjson", lines.join("\n")).await;
    assert_eq!(status, 200, "{answer}");
    (server, client, dir)
}

async fn ask(client: &Client, sql: &str, timeout_ms: u64) -> Reply {
    let body = json!({"sql": sql, "timeout_ms": timeout_ms, "max_rows": 1_000, "truncate": true});
    reply(client.request(Method::POST, "/v1/query").json(&body)).await
}

async fn is_honest(client: &Client) {
    let rows = client.rows(HONEST).await;
    assert_eq!(rows, [json!({"n": EVENTS, "t": EVENTS * (EVENTS - 1) / 2})]);
}

fn chain(item: &str, between: &str, count: usize) -> String {
    vec![item; count].join(between)
}

type Refused = Vec<(&'static str, String)>;

/// Flat texts that become deep trees, and lists without end.
fn chains() -> Refused {
    let mut all = Refused::new();
    for count in [400, 2_000, 10_000] {
        all.extend(
            [
                format!("select {}", chain("1", "+", count)),
                format!("select {}", chain("1", " - ", count)),
                format!("select {}", chain("2", "*", count)),
                format!("select 1{}", "::int".repeat(count)),
                format!("select 1{}", " is null".repeat(count.min(8_000))),
                format!("select now(){}", " at time zone 'UTC'".repeat(count.min(3_000))),
                format!("select 'a'{}", " ~~ 'a'".repeat(count.min(8_000))),
                format!("select {}", chain("'a'", "||", count)),
                format!("{HONEST} where {}", chain("lsn=0", " or ", count)),
                format!("{HONEST} where {}", chain("lsn=0", " and ", count)),
                format!("{HONEST} where {}true", "not ".repeat(count)),
                format!("select case {} end", chain("when true then 1", " ", count.min(3_000))),
            ]
            .map(|sql| ("too_complex", sql)),
        );
    }
    for count in [60, 1_000, 3_000] {
        for word in ["union all", "union", "intersect", "except"] {
            all.push(("too_complex", chain("select 1", &format!(" {word} "), count)));
        }
    }
    for count in [200, 5_000] {
        all.push(("syntax_error", format!("select {}1{}", "(".repeat(count), ")".repeat(count))));
        all.push(("syntax_error", format!("select {}", "(select ".repeat(count))));
    }
    let joins = "join usage_events using (lsn) ".repeat(12);
    all.push(("too_complex", format!("select 1 from usage_events {joins}")));
    all.push(("too_complex", format!("select 1 from {}", chain("usage_events", ",", 12))));
    all.push(("too_complex", format!("{HONEST} where lsn in ({})", chain("1", ",", 6_000))));
    all.push(("too_complex", format!("select '{}'", "x".repeat(70_000))));
    all
}

/// Short texts that become large plans.
fn expansions() -> Refused {
    let mut all = Refused::new();
    for count in [9, 19, 24] {
        for twice in ["select * from c# union all select * from c#", "select a.* from c# a, c# b"] {
            let table =
                |n: usize| format!("c{} as ({})", n + 1, twice.replace('#', &n.to_string()));
            let tables: Vec<_> = (0..count).map(table).collect();
            let tables = tables.join(", ");
            let sql = format!("with c0 as (select 1), {tables} select * from c{count}");
            all.push(("too_complex", sql));
        }
    }
    let columns =
        |count: usize| (0..count).map(|n| format!("lsn + {n}")).collect::<Vec<_>>().join(", ");
    for list in ["cube", "rollup"] {
        for count in [5, 20] {
            let sql = format!("select 1 from usage_events group by {list} ({})", columns(count));
            all.push(("too_complex", sql));
        }
    }
    let sets = chain("(model)", ",", 40);
    let sql = format!("select 1 from usage_events group by grouping sets ({sets})");
    all.push(("too_complex", sql));
    all
}

/// Functions and patterns whose arguments ask for time and memory.
fn arguments() -> Refused {
    let pattern = (0..100).map(|n| format!("s{n}.*x")).collect::<Vec<_>>().join("|");
    let mut all: Vec<_> = [
        "select generate_series(9876543210)",
        "select generate_series(1, 100000000000)",
        "select sum(x) from (select unnest(generate_series(1, 100000000000)) as x)",
        "select array_length(range(200000000))",
        "select range(0, 9223372036854775807)",
        "select length(repeat('a', 2000000000))",
        "select length(repeat(model, 1000000)) from usage_events",
        "select length(repeat(model, lsn)) from usage_events",
        "select length(rpad('a', 1073741824, 'a'))",
        "select length(lpad(model, 100000, 'a')) from usage_events",
        "select array_length(array_repeat(1, 300000000))",
        "select array_repeat([1, 2, 3], 9223372036854775807)",
        "select approx_percentile_cont(input_tokens, 0.5, 9223372036854775807) from usage_events",
        "select approx_percentile_cont(0.5, 9223372036854775807) within group (order by lsn) \
         from usage_events",
        "select regexp_like('aaaaa', 'a{5}{5}{5}{5}{5}{5}{5}{5}{5}')",
        "select 1 from usage_events where model ~ '((a{1,99}){1,99}){1,99}'",
        "select 1 from usage_events where model similar to '(\\w{99}){99}'",
        "select regexp_like(model, concat('(a{1,50}){1,50}', lsn)) from usage_events",
        "select 1 from usage_events where model ~ event_id",
        "select 1 from usage_events where model like event_id",
        "select 1 from usage_events where model ilike event_id || '%'",
    ]
    .map(str::to_owned)
    .into();
    all.push(format!("select regexp_like(model, '({pattern})') from usage_events"));
    all.into_iter().map(|sql| ("too_complex", sql)).collect()
}

/// What is refused is refused wherever it stands.
fn places() -> Refused {
    let costly = [
        "length(repeat(model, 1000000))",
        "array_length(range(200000000))",
        "array_length(array_repeat(1, 300000000))",
        "length(lpad(model, 100000, 'a'))",
        "cast(regexp_like(model, '((a{1,99}){1,99}){1,99}') as int)",
    ];
    let places = [
        "select 1 from usage_events where COSTLY > 0",
        "select 1 from usage_events group by COSTLY",
        "select count(*) from usage_events having max(COSTLY) > 0",
        "select 1 from usage_events order by COSTLY",
        "select sum(1) over (partition by COSTLY) from usage_events",
        "select 1 from usage_events a join (select lsn as l from usage_events) b on lsn = l and COSTLY > 0",
        "with c as (select COSTLY as x from usage_events) select x from c",
        "select (select max(COSTLY) from usage_events)",
        "select 1 where exists (select 1 from usage_events where COSTLY > 0)",
        "select 1 where 1 in (select COSTLY from usage_events)",
        "select case when lsn > 0 then COSTLY end from usage_events",
        "select count(*) filter (where COSTLY > 0) from usage_events",
        "values ((select max(COSTLY) from usage_events))",
        "select 1 union all select COSTLY from usage_events",
        "explain select COSTLY from usage_events",
    ];
    let at = |place: &&str| costly.map(|costly| ("too_complex", place.replace("COSTLY", costly)));
    places.iter().flat_map(at).collect()
}

/// What would write, or reach outside.
fn reaching_out() -> Refused {
    let not_allowed = [
        "with recursive r as (select 1 as i union all select i + 1 from r) select * from r",
        "with recursive a as (select 1 as i union all select i from a) select 1 from a, a b limit 1",
        "select * from '/etc/passwd'",
        "select * from 's3://other/file.parquet'",
        "select * from 'http://169.254.169.254/'",
        "select * from \"/etc/passwd\"",
        "select * from read_csv('/etc/passwd')",
        "select * from read_parquet('/etc/passwd')",
        "select * from generate_series(1, 100000000000)",
        "select * from range(1, 10)",
        "select levenshtein('a', 'b')",
        "select version()",
        "select random()",
        "select uuid()",
        "select input_file_name() from usage_events",
        "copy (select 1) to '/tmp/x'",
        "explain analyze copy (select 1) to '/tmp/x'",
        "insert into usage_events select * from usage_events",
        "delete from usage_events",
        "create external table p stored as csv location '/etc/passwd'",
        "create table t as select 1",
        "create view v as select 1",
        "drop table usage_events",
        "set datafusion.runtime.memory_limit = '100G'",
        "prepare p as select 1",
        "execute p",
        "begin",
        "show all",
        "show tables",
        "select * into t from usage_events",
        "update usage_events set model = 'x'",
        "truncate table usage_events",
        "alter table usage_events add column x int",
        "grant select on usage_events to public",
        "call f()",
        "merge into usage_events using usage_events as s on true when matched then delete",
        "explain insert into usage_events select * from usage_events",
        "create schema s",
        "copy usage_events to 's3://other/file.parquet'",
        "rollback",
    ];
    let invalid = [
        "select 1; drop table usage_events",
        "",
        "-- only a comment",
        "select 1; select 2",
        // There are no such functions.
        "select pg_sleep(100)",
        "select pg_read_file('/etc/passwd')",
        "select current_setting('datafusion.runtime.memory_limit')",
    ];
    let syntax = ["select 'open", "select /* open"];
    let named = |code: &'static str| move |sql: &str| (code, sql.to_owned());
    let all = not_allowed.iter().copied().map(named("not_allowed"));
    let all = all.chain(invalid.into_iter().map(named("invalid_query")));
    all.chain(syntax.into_iter().map(named("syntax_error"))).collect()
}

#[tokio::test]
async fn what_costs_too_much_is_refused_before_it_is_planned() {
    let (_server, client, _dir) = lake().await;
    let all = [chains(), expansions(), arguments(), places(), reaching_out()].concat();
    assert!(all.len() + passing().len() >= 200, "{} and {}", all.len(), passing().len());
    let mut wrong = Vec::new();
    for (code, sql) in &all {
        let answer = ask(&client, sql, 5_000).await;
        let body: Value = answer.json();
        let status = if *code == "not_allowed" { 403 } else { 400 };
        if answer.status != status || body["code"] != *code {
            let start: String = sql.chars().take(90).collect();
            wrong.push(format!("{start}: {} {}", answer.status, answer.text()));
        }
        assert!(!answer.text().contains("root:"), "{sql}");
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), all.len());
    is_honest(&client).await;
}

/// Statements that pass the gate, and what may become of them.
pub(crate) fn passing() -> Vec<(String, &'static str)> {
    let concat = |count: usize| {
        let table = |n: usize| format!("c{} as (select concat(a, a) as a from c{n})", n + 1);
        let tables: Vec<_> = (0..count).map(table).collect();
        let start = format!("c0 as (select '{}' as a)", "x".repeat(20_000));
        format!("with {start}, {} select length(a) from c{count}", tables.join(", "))
    };
    let cross = "usage_events a, usage_events b, usage_events c, usage_events d";
    vec![
        (format!("select count(*) from {cross} where a.lsn + b.lsn + c.lsn + d.lsn < 0"), "504"),
        (format!("select count(distinct a.lsn * b.lsn * c.lsn * d.lsn) from {cross}"), "422 504"),
        (concat(17), "422 504"),
        ("select count(*) from usage_events where cast(model as int) > 0".into(), "422"),
        ("select 1 / (lsn - lsn) from usage_events".into(), "422"),
        (
            "select array_agg(a.event_id) from usage_events a, usage_events b, usage_events c"
                .into(),
            "200 413 422 504",
        ),
        ("select a.event_id, b.event_id from usage_events a, usage_events b".into(), "200"),
        ("select unnest(range(1, 1000000)) from usage_events".into(), "200 504"),
        (
            "select date_bin(interval '1 day', timestamp '9999-01-01', timestamp '0001-01-01')"
                .into(),
            "200 422",
        ),
        (
            "select lag(lsn, 9223372036854775807) over (order by lsn) from usage_events".into(),
            "200 400 422",
        ),
        ("select substr('abc', -9223372036854775807, 9223372036854775807)".into(), "200 422"),
        (
            "select nth_value(lsn, 9223372036854775807) over (order by lsn) from usage_events"
                .into(),
            "200 400 422",
        ),
        ("select * from usage_events order by event_id limit 5 offset 50000000".into(), "200"),
        (format!("select {}", chain("1", "+", 250)), "200"),
        (chain("select 1", " union all ", 50), "200"),
    ]
}

/// They fail, or are stopped, while they run.
#[tokio::test]
async fn what_passes_is_stopped_in_time_and_harms_nobody() {
    let (_server, client, _dir) = lake().await;
    let mut wrong = Vec::new();
    for (sql, expected) in &passing() {
        let answer = ask(&client, sql, 1_500).await;
        if !expected.contains(answer.status.as_str()) {
            let start: String = sql.chars().take(90).collect();
            wrong.push(format!("{start}: {} {}", answer.status, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    is_honest(&client).await;
}

#[tokio::test]
async fn functions_are_listed_and_the_listed_ones_work() {
    let (_server, client, _dir) = lake().await;
    let (status, answer) = client.get("/v1/functions").await;
    assert_eq!(status, 200, "{answer}");
    let all = answer["functions"].as_array().expect("a list");
    let named = |name: &str| all.iter().find(|function| function["name"] == name);
    assert_eq!(named("repeat").expect("repeat")["limit"], "a length of 10,000");
    assert!(named("random").is_none() && named("levenshtein").is_none());
    let rows = client
        .rows(
            "select approx_percentile_cont(input_tokens, 0.5) as p, approx_distinct(event_id) as d, \
             regexp_count('aXbX', 'X') as r, array_length(range(10)) as l, repeat('ab', 2) as s \
             from usage_events",
        )
        .await;
    assert_eq!(
        (&rows[0]["r"], &rows[0]["l"], &rows[0]["s"]),
        (&json!(2), &json!(10), &json!("abab"))
    );
    let near = |value: &Value, exact: f64| (value.as_f64().unwrap() - exact).abs() <= exact * 0.05;
    assert!(near(&rows[0]["p"], 149.5) && near(&rows[0]["d"], 300.0), "{rows:?}");
}
