//! Members of events that have other names than our columns, in what is sent and in files.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, Server, admin_key, folder, organization_key, own_source, reply, run, run_ok, usage,
};

async fn send(client: &Client, query: &str, events: &[Value]) -> (u16, Value) {
    let lines: Vec<_> = events.iter().map(Value::to_string).collect();
    let asked = client.request(Method::POST, &format!("/v1/events{query}"));
    let asked = asked.header("Content-Type", "application/x-ndjson").body(lines.join("\n"));
    let answer = reply(asked).await;
    (answer.status.as_u16(), answer.json())
}

const TOKENS: &str = "select event_id as id, model as m, input_tokens as i, cached_input_tokens as c, \
                      cache_write_input_tokens as w, output_tokens as o, cost as p, currency as u, attributes as a \
                      from usage_events order by event_id";

/// An event whose data is just this.
fn event(id: &str, data: &Value) -> Value {
    let mut event = usage("org_a", id, json!({}));
    event["data"] = data.clone();
    event
}

#[tokio::test]
async fn a_misspelled_member_is_told() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let odd = json!({"model": "m", "prompt_tokens": 5, "out/put~tokens": 6, "team": "x",
        "attributes": {"completion_tokens": 1}});
    let known = json!({"model": "m", "input_tokens": 5, "prompt_tokens": 5});
    let events = [event("1", &odd), event("2", &known), event("1", &odd)];
    let (status, answer) = send(&client, "", &events).await;
    assert_eq!(status, 200, "{answer}");
    let warnings = json!([
        {"pointer": "/data/out~1put~0tokens", "column": "output_tokens"},
        {"pointer": "/data/prompt_tokens", "column": "input_tokens"},
    ]);
    assert_eq!(answer["results"][0]["warnings"], warnings);
    assert_eq!(answer["results"][1], json!({"index": 1, "status": "accepted"}));
    assert_eq!(answer["results"][2]["status"], "duplicate");
    assert_eq!(answer["results"][2]["warnings"], warnings);

    let (status, answer) = send(&client, "?strict=true", &[event("3", &odd)]).await;
    assert_eq!((status, &answer["code"]), (400, &json!("all_rejected")));
    let result = &answer["results"][0];
    assert_eq!(result["code"], "unknown_member");
    assert_eq!(result["pointer"], "/data/out~1put~0tokens");
    assert!(
        result["reason"].as_str().unwrap().contains("`output_tokens` may be meant"),
        "{result}"
    );
    let good = json!({"model": "m", "input_tokens": 5, "attributes": {"team": "x"}});
    assert_eq!(send(&client, "?strict=true", &[event("3", &good)]).await.0, 200);
    for query in ["?strict=perhaps", "?names=nobody"] {
        let (status, answer) = send(&client, query, &[event("4", &good)]).await;
        assert_eq!((status, &answer["code"]), (400, &json!("invalid_parameters")), "{answer}");
    }
    // Many names in one request are not looked at for ever, and do not make a long answer.
    let many = |row: usize| {
        let members = (0..32).map(|at| (format!("prompt_token{row}{at}"), json!(1)));
        let data: serde_json::Map<_, _> = members.chain([("model".into(), json!("m"))]).collect();
        event(&format!("many{row}"), &data.into())
    };
    let events: Vec<_> = (0..2_000).map(many).collect();
    let (status, answer) = send(&client, "", &events).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(2_000)));
    let warnings = answer["results"].as_array().unwrap().iter();
    let warnings: usize =
        warnings.filter_map(|result| result["warnings"].as_array()).map(Vec::len).sum();
    assert!(warnings <= 1_000, "{warnings}");
    server.stop();
}

#[tokio::test]
async fn payloads_of_gateways_are_read_by_one_word() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    for (word, id, data) in [
        (
            "openai",
            "1",
            json!({"model": "m", "choices": [{"x": "secret"}], "usage": {"prompt_tokens": 10,
            "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}}),
        ),
        (
            "anthropic",
            "2",
            json!({"model": "m", "usage": {"input_tokens": 2, "cache_read_input_tokens": 30,
            "cache_creation_input_tokens": 5, "output_tokens": 4}}),
        ),
        (
            "litellm",
            "3",
            json!({"model": "m", "prompt_tokens": 7, "completion_tokens": 1,
            "response_cost": 1.25e-5, "id": "x"}),
        ),
        (
            "otel",
            "4",
            json!({"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 8,
            "gen_ai.usage.cache_read.input_tokens": 1, "attributes": {"team": "x"}}),
        ),
        // The same in our own names: a duplicate.
        (
            "openai",
            "1",
            json!({"model": "m", "input_tokens": 10, "output_tokens": 3, "cached_input_tokens": 4}),
        ),
    ] {
        let (status, answer) = send(&client, &format!("?names={word}"), &[event(id, &data)]).await;
        assert_eq!(status, 200, "{word}: {answer}");
    }
    let rows = client.rows(TOKENS).await;
    let expected = [
        json!({"id": "1", "m": "m", "i": 10, "c": 4, "w": null, "o": 3, "p": null, "u": null, "a": null}),
        json!({"id": "2", "m": "m", "i": 37, "c": 30, "w": 5, "o": 4, "p": null, "u": null, "a": null}),
        json!({"id": "3", "m": "m", "i": 7, "c": null, "w": null, "o": 1, "p": "0.000012500000", "u": "USD", "a": null}),
        json!({"id": "4", "m": "m", "i": 8, "c": 1, "w": null, "o": null, "p": null, "u": null, "a": "{\"team\":\"x\"}"}),
    ];
    assert_eq!(rows, expected);
    // Binary mode, and an organization's own key, which states no money.
    let own = Client::new(&server, &organization_key(dir.path(), "org_b", "write"));
    let asked = own.request(Method::POST, "/v1/events?names=openai").header("ce-id", "9");
    let asked = asked.header("ce-source", own_source("org_b")).header("ce-type", "usage.request");
    let now = usage("org_b", "9", json!({}))["time"].as_str().unwrap().to_owned();
    let asked = asked.header("ce-time", now).header("Content-Type", "application/json");
    let answer = reply(asked.body("{\"model\": \"m\", \"usage\": {\"prompt_tokens\": 1}}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // A rejected event is kept with our names, so that a replay reads it in the same way.
    let bad = json!({"model": "m", "usage": {"input_tokens": 2, "cache_read_input_tokens": 3}});
    let mut bad = event("5", &bad);
    bad["type"] = json!("usage.other");
    let (status, _) = send(&client, "?names=anthropic", &[bad]).await;
    assert_eq!(status, 400);
    let raw = &client.rows("select raw from dead_letter").await[0]["raw"];
    let raw: Value = serde_json::from_str(raw.as_str().unwrap()).unwrap();
    let kept = json!({"model": "m", "input_tokens": 2, "cached_input_tokens": 3, "input_includes_cached": false});
    assert_eq!(raw["data"], kept);
    server.stop();
}

#[tokio::test]
async fn input_is_told_with_or_without_cached_tokens() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let data = |input: u64, way: Value| json!({"model": "m", "input_tokens": input, "cached_input_tokens": 30, "input_includes_cached": way});
    let events = [
        event("1", &data(2, json!(false))),
        event("2", &data(32, json!(true))),
        event("3", &data(2, json!(true))),
        event("4", &data(2, json!("no"))),
        event("5", &data(1_000_000_000_000, json!(false))),
        event(
            "6",
            &json!({"model": "m", "cached_input_tokens": 3, "input_includes_cached": false}),
        ),
        event("7", &json!({"model": "m", "input_includes_cached": false})),
    ];
    let (_, answer) = send(&client, "?strict=true", &events).await;
    let codes: Vec<_> = answer["results"].as_array().unwrap().iter().map(|r| &r["code"]).collect();
    let none = &Value::Null;
    let (parts, wrong, large) =
        (&json!("inconsistent_tokens"), &json!("wrong_type"), &json!("invalid_value"));
    assert_eq!(codes, [none, none, parts, wrong, large, none, none]);
    let reason = answer["results"][2]["reason"].as_str().unwrap();
    assert!(reason.contains("`input_includes_cached`: false"), "{reason}");
    let rows = client
        .rows("select input_tokens as i, attributes as a from usage_events order by event_id")
        .await;
    let row = |input: Value| json!({"i": input, "a": null});
    assert_eq!(rows, [row(json!(32)), row(json!(32)), row(json!(3)), row(Value::Null)]);
    let body = json!({"organization": "org_a", "source": "/test", "id": "1",
        "data": {"input_tokens": 5, "input_includes_cached": false}});
    let asked = client.request(Method::POST, "/v1/events/correct").json(&body);
    assert_eq!(reply(asked).await.json()["pointer"], "/data/input_includes_cached");
    server.stop();
}

#[test]
fn a_mapping_takes_the_names_of_a_gateway() {
    let dir = folder();
    let place = |name: &str| dir.path().join(name).display().to_string();
    let (map, data) = (place("map.toml"), dir.path().join("data"));
    let head = "type = \"usage.request\"\nsource = \"/log\"\norganization = \"org_a\"\nid_column = \"id\"\n";
    let tail = "[time]\ncolumn = \"at\"\nformat = \"unix_s\"\n";
    let import = |file: &str| run(&data, &["import", "--map", &map, file]);
    let done = |file: &str| String::from_utf8(import(file).stdout).unwrap();
    fs::write(&map, format!("{head}names = \"anthropic\"\n{tail}")).unwrap();
    let lines = "{\"id\":\"1\",\"at\":1767225600,\"model\":\"m\",\"usage\":{\"input_tokens\":2,\
                 \"cache_read_input_tokens\":30,\"output_tokens\":4}}\n";
    fs::write(place("a.ndjson"), lines).unwrap();
    assert_eq!(done(&place("a.ndjson")), "1 accepted, 0 duplicate, 0 rejected\n");
    // Another column for the same field wins, and what has no name is left out.
    fs::write(&map, format!("{head}names = \"litellm\"\n{tail}[columns]\nraw_model = \"model\"\n"))
        .unwrap();
    let csv = "id,at,model,raw_model,prompt_tokens,spend,secret\n2,1767225600,group,m,7,0.5,x\n";
    fs::write(place("b.csv"), csv).unwrap();
    assert_eq!(done(&place("b.csv")), "1 accepted, 0 duplicate, 0 rejected\n");
    let rows = "id,m,i,c,w,o,p,u,a\n1,m,32,30,,4,,,\n2,m,7,,,,0.500000000000,USD,\n";
    assert_eq!(run_ok(&data, &["query", TOKENS]), rows);
    // Costs in binary fractions, and what Python writes where there is nothing.
    let csv =
        "id,at,model,prompt_tokens,spend,cache_hit\n5,1767225600,m,7,3.7500000000000003e-06,None\n";
    fs::write(&map, format!("{head}names = \"litellm\"\n{tail}")).unwrap();
    fs::write(place("d.csv"), csv).unwrap();
    assert_eq!(done(&place("d.csv")), "1 accepted, 0 duplicate, 0 rejected\n");
    let cost = run_ok(&data, &["query", "select cost from usage_events where event_id = '5'"]);
    assert_eq!(cost, "cost\n0.000003750000\n");
    // A flag of a file is one, for a folder and for a server.
    let csv = "id,at,m,i,c,way\nf1,1767225600,m,2,30,false\nf2,1767225600,m,32,30,1\n";
    let columns = "m = \"model\"\ni = \"input_tokens\"\nc = \"cached_input_tokens\"\nway = \"input_includes_cached\"\n";
    fs::write(&map, format!("{head}{tail}[columns]\n{columns}")).unwrap();
    fs::write(place("e.csv"), csv).unwrap();
    assert_eq!(done(&place("e.csv")), "2 accepted, 0 duplicate, 0 rejected\n");
    let server = Server::serve(&data);
    assert_eq!(done(&place("e.csv")), "0 accepted, 2 duplicate, 0 rejected\n");
    server.stop();
    // A name that the mapping does not know is told.
    fs::write(
        &map,
        format!(
            "{head}{tail}[columns]\nx = \"modell\"\ny = \"team\"\n[constants]\nmodel = \"m\"\n"
        ),
    )
    .unwrap();
    fs::write(place("c.csv"), "id,at,x,y\n3,1767225600,m,t\n").unwrap();
    let told = |map: &str| {
        fs::write(place("map.toml"), map).unwrap();
        String::from_utf8(import(&place("c.csv")).stderr).unwrap()
    };
    let plain = format!(
        "{head}{tail}[columns]\nx = \"prompt_tokens\"\ny = \"team\"\n[constants]\nmodel = \"m\"\n"
    );
    let errors = told(&plain);
    assert!(
        errors.starts_with(
            "the field `prompt_tokens` becomes an attribute; `input_tokens` may be meant\n"
        ),
        "{errors}"
    );
    assert!(!errors.contains("`team`"), "{errors}");
    let errors = told(&format!("{head}names = \"nobody\"\n{tail}"));
    assert!(
        errors.contains("`nobody` is not one of `openai`, `anthropic`, `litellm`, `otel`"),
        "{errors}"
    );
}

#[test]
fn a_first_mapping_is_made_of_a_file() {
    let dir = folder();
    let place = |name: &str| dir.path().join(name).display().to_string();
    let german = "request_id;Customer;started_at;Model Name;prompt_tokens;latency;Price;team\n\
                  r1;Acme Ltd;01.02.2026 10:00:00;gpt;100;0,52;1,25;search\n\
                  r2;Beta;13.02.2026 10:00:00;gpt;10;1,5;NULL;\n";
    let json = "{\"id\":\"1\",\"user\":\"u1\",\"ts\":1767225600123,\"model\":\"m\",\"org\":\"org_a\",\
                \"usage\":{\"input_tokens\":2,\"cache_read_input_tokens\":30}}\n";
    let billing = "id,kind,at,org,plan,amount,interval\n\
                   1,billing.trial_started,2026-01-01 10:00,o1,team,,\n\
                   2,billing.signed_up,2026-01-01 10:00,o1,,,\n";
    for (name, text, sql, expected) in [
        (
            "german.csv",
            german.as_bytes().to_vec(),
            "select organization_id as o, occurred_at as t, model as m, input_tokens as i, latency_ms as l, \
             list_price as p, currency as u from usage_events order by event_id",
            "org_acme_ltd,2026-02-01T10:00:00Z,gpt,100,520,1.250000000000,USD\n\
             Beta,2026-02-13T10:00:00Z,gpt,10,1500,,USD\n",
        ),
        (
            "latin.csv",
            "id,org,time,model,region\n1,o1,2026-01-01T00:00:00Z,m,Z\u{fc}rich\n"
                .chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap())
                .collect(),
            "select region from usage_events",
            "Z\u{fc}rich\n",
        ),
        (
            "calls.ndjson",
            json.as_bytes().to_vec(),
            "select occurred_at as t, input_tokens as i from usage_events",
            "2026-01-01T00:00:00.123Z,32\n",
        ),
        (
            "billing.csv",
            billing.as_bytes().to_vec(),
            "select kind, plan from billing_events order by event_id",
            "trial_started,team\nsigned_up,\n",
        ),
    ] {
        let (file, map, data) =
            (place(name), place(&format!("{name}.toml")), dir.path().join(name));
        let data = data.with_extension("data");
        fs::write(&file, text).unwrap();
        let mapping = run_ok(&data, &["import", "--sniff", &file]);
        assert!(mapping.contains("rows would be accepted"), "{mapping}");
        fs::write(&map, &mapping).unwrap();
        let output = run_ok(&data, &["import", "--map", &map, &file]);
        assert!(output.ends_with(" accepted, 0 duplicate, 0 rejected\n"), "{output}{mapping}");
        let rows = run_ok(&data, &["query", sql]);
        assert_eq!(rows.split_once('\n').unwrap().1, expected, "{mapping}");
    }
}

#[test]
fn a_first_mapping_tells_marks_and_names_apart() {
    let head = "id,customer,time,model,prompt_tokens,cost,shard\n";
    let rows = |tokens: &str, cost: &str, names: [&str; 2], shard: &str| {
        let row = |id: u32, name: &str| {
            format!("{id},{name},2026-01-01T00:00:00Z,m,{tokens},{cost},{shard}\n")
        };
        format!("{head}{}{}", row(1_700_000_001, names[0]), row(1_700_000_002, names[1]))
    };
    for (text, sql, expected) in [
        (rows("\"1,000\"", "0.5", ["a", "b"], "x"), "sum(input_tokens)", "2000"),
        (rows("10", "0.5", ["阿里巴巴", "腾讯科技"], "x"), "count(distinct organization_id)", "2"),
        (rows("10", "0.5", ["A & B", "A + B"], "x"), "count(distinct organization_id)", "2"),
        (rows("10", "0.5", ["a", "b"], "\"0,2\""), "sum(cost)", "1.000000000000"),
        (rows("10", "\"1,234\"", ["a", "b"], "x"), "sum(cost)", "2468.000000000000"),
        (rows("10", "\"1,5\"", ["a", "b"], "x"), "sum(cost)", "3.000000000000"),
    ] {
        let dir = folder();
        let (file, map, data) =
            (dir.path().join("rows.csv"), dir.path().join("map.toml"), dir.path().join("data"));
        fs::write(&file, &text).unwrap();
        let file = file.display().to_string();
        let mapping = run_ok(&data, &["import", "--sniff", &file]);
        assert!(mapping.contains("column = \"time\""), "{mapping}");
        fs::write(&map, &mapping).unwrap();
        let map = map.display().to_string();
        let output = run_ok(&data, &["import", "--map", &map, &file]);
        assert_eq!(output, "2 accepted, 0 duplicate, 0 rejected\n", "{mapping}");
        let found = run_ok(&data, &["query", &format!("select {sql} as x from usage_events")]);
        assert_eq!(found, format!("x\n{expected}\n"), "{mapping}");
    }
}

#[test]
fn a_file_without_a_mapping_in_it_is_told() {
    let dir = folder();
    let place = |name: &str| dir.path().join(name).display().to_string();
    for (name, text, part) in [
        (
            "twice.csv",
            "id,time,time,model\n1,2026-01-01T00:00:00Z,2026-01-01T00:00:00Z,m\n",
            "has the column `time` twice",
        ),
        ("empty.csv", "", "there is no header"),
        ("header.csv", "a,b\n", "has no row with a value"),
        ("list.ndjson", "[1,2]\n", "has no row with a value"),
        ("notes.txt", "a", "is not named .csv"),
    ] {
        fs::write(place(name), text).unwrap();
        let output = run(dir.path(), &["import", "--sniff", &place(name)]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains(part), "{error}");
    }
    fs::write(place("odd.csv"), "a,\"b \u{1b}[2J\"\n1,2\n").unwrap();
    let mapping = run_ok(dir.path(), &["import", "--sniff", &place("odd.csv")]);
    assert!(
        mapping.contains("no column has only times") && !mapping.contains('\u{1b}'),
        "{mapping}"
    );
}
