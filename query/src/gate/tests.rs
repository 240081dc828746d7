use datafusion::{
    execution::runtime_env::RuntimeEnv,
    sql::parser::{DFParser, Statement},
};
use pipeline::{Cut, Location, Reader};

use super::*;
use crate::{Author, Parameters, QueryMode, QueryOptions, Request, RowAccess, session};

/// A stranger's question about a lake that holds nothing.
async fn planned(sql: &str, terms: QueryOptions) -> Result<(), QueryError> {
    tokens(sql)?;
    let dir = tempfile::tempdir().unwrap();
    let location = Location::folder(dir.path()).unwrap();
    let cut = Cut::default();
    let tables = Reader::open(&location, dir.path()).unwrap().at(&cut).await.unwrap();
    let request = Request {
        author: Author::Stranger,
        sql: sql.to_owned(),
        reach: RowAccess::Staff,
        cut,
        now: 1_767_312_000_000_000,
        deadline_ms: 1_000,
        max_rows: None,
        truncate: false,
        gives_way: false,
        terms,
    };
    let runtime = std::sync::Arc::new(RuntimeEnv::default());
    session::plan(&request, &tables, &runtime, 1).await.map(drop)
}

/// Plans on a stack as large as a worker's.
fn outcome(sql: &str, terms: QueryOptions) -> Result<(), QueryError> {
    let sql = sql.to_owned();
    let planning = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(planned(&sql, terms))
    };
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(planning);
    thread.unwrap().join().unwrap()
}

/// What the gate says of a statement: its reason, or nothing. What the planner does not understand passes the gate.
fn said(sql: &str) -> Option<Reason> {
    let reason = outcome(sql, QueryOptions::default()).err()?.reason;
    matches!(reason, Reason::TooComplex | Reason::NotAllowed).then_some(reason)
}

fn chain(item: &str, between: &str, count: usize) -> String {
    vec![item; count].join(between)
}

#[test]
fn what_an_analyst_asks_passes() {
    for sql in [
        "select 1",
        "select count(*), -1, +2 from usage_events where a in (-1, -2) and model like 'gpt-%'",
        "select date_trunc('day', occurred_at) as day, sum(cost) from usage_events group by 1 order by 1",
        "select approx_percentile_cont(latency_ms, 0.95) from usage_events",
        "select approx_percentile_cont(latency_ms, 0.95, 100) from usage_events",
        "select approx_percentile_cont(0.95) within group (order by latency_ms) from usage_events",
        "select * from unnest(range(1, 1000))",
        "select unnest(generate_series(date '2026-01-01', date '2026-12-31', interval '1 day'))",
        "select repeat('a', 10000), lpad(model, 20, ' '), regexp_like(model, '^gpt') from usage_events",
        "with a as (select * from usage_events), b as (select * from a) select * from a join b using (id)",
        "select model, grouping(model) from usage_events group by cube (model, provider, region)",
        "select a.x from a, b, c where a.x = b.x and b.y !~ '^[a-z]+$'",
        "select no_such_function(1)",
        "select rank() over (partition by organization_id order by cost) from usage_events",
    ] {
        assert_eq!(said(sql), None, "{sql}");
    }
}

#[test]
fn each_limit_is_where_it_is() {
    let ones = |count: usize| format!("select {}", chain("1", "+", count));
    let unions = |count: usize| chain("select 1", " union all ", count);
    let joins = |count: usize| format!("select 1 from t {}", "join t using (a) ".repeat(count));
    let tables = |count: usize| format!("select 1 from {}", chain("t", ", ", count));
    let items = |count: usize| format!("select 1 where 1 in ({})", chain("1", ",", count));
    let cube = |count: usize| format!("select 1 group by cube ({})", chain("a", ",", count));
    let rollup = |count: usize| format!("select 1 group by rollup ({})", chain("a", ",", count));
    let sets =
        |count: usize| format!("select 1 group by grouping sets ({})", chain("(a, b)", ",", count));
    let common = |count: usize| {
        let tables: Vec<_> = (0..count).map(|n| format!("c{n} as (select 1)")).collect();
        format!("with {} select 1", tables.join(", "))
    };
    let doubled = |count: usize| {
        let table = |n: usize| {
            let reads = [format!("c{n}"), format!("C{n}"), format!("\"c{n}\"")];
            let (a, b) = (&reads[n % 3], &reads[(n + 1) % 3]);
            format!("c{} as (select * from {a} union all select * from {b})", n + 1)
        };
        let tables: Vec<_> = (0..count).map(table).collect();
        format!("with c0 as (select 1), {} select * from c{count}", tables.join(", "))
    };
    let comma = |count: usize| format!("select repeat('a', {count})");
    let series = |count: usize| format!("select range({count})");
    let of = |condition: String| format!("select 1 from usage_events where {condition}");
    let pattern = |count: usize| of(format!("model like '{}'", "x".repeat(count)));
    let regex = |count: usize| of(format!("regexp_count(model, '{}') > 1", "x".repeat(count)));
    let nested = |count: usize| of(format!("model ~ '((x{{100}}){{100}}){{{count}}}'"));
    let centroids = |count: usize| {
        format!("select approx_percentile(latency_ms, 0.5, {count}) from usage_events")
    };
    let text = |count: usize| format!("select '{}'", "x".repeat(count - 9));
    type Make<'a> = &'a dyn Fn(usize) -> String;
    let cases: [(&str, Make<'_>, usize); 22] = [
        ("operators", &ones, OPERATORS_MAX + 1),
        ("set operations", &unions, SET_OPERATIONS_MAX + 1),
        ("joins", &joins, JOINS_MAX),
        ("tables", &tables, JOINS_MAX + 1),
        ("items", &items, LIST_ITEMS_MAX),
        ("cube", &cube, CUBE_COLUMNS_MAX),
        ("rollup", &rollup, CUBE_COLUMNS_MAX),
        ("grouping sets", &sets, GROUPING_SETS_MAX),
        ("common tables", &common, 20),
        // 2^7 tables are read.
        ("references", &doubled, 7),
        ("repeat", &comma, 10_000),
        ("range", &series, 1_000_000),
        ("like", &pattern, 256),
        ("regular expression", &regex, 256),
        ("nested repetitions", &nested, 10),
        ("centroids", &centroids, 1_000),
        ("bytes", &text, SQL_BYTES_MAX),
        ("null tests", &|count| format!("select 1{}", " is null".repeat(count)), OPERATORS_MAX),
        (
            "zones",
            &|count| format!("select now(){}", " at time zone 'UTC'".repeat(count)),
            OPERATORS_MAX,
        ),
        ("members", &|count| format!("select 1{}", " in (1)".repeat(count)), OPERATORS_MAX),
        ("likes", &|count| format!("select a{}", " ~~ 'b'".repeat(count)), OPERATORS_MAX),
        ("nesting of casts", &|count| format!("select 1{}", "::int".repeat(count)), OPERATORS_MAX),
    ];
    for (what, make, most) in cases {
        assert_eq!(said(&make(most)), None, "{what}: {most}");
        assert_eq!(said(&make(most + 1)), Some(Reason::TooComplex), "{what}: {most} and one");
    }
}

#[test]
fn arguments_that_cannot_be_measured_are_refused() {
    for sql in [
        "select repeat(model, output_tokens) from usage_events",
        "select repeat('a', 5000 * 5000)",
        "select range(input_tokens) from usage_events",
        "select generate_series(1, 9223372036854775807)",
        "select generate_series(9876543210)",
        "select generate_series(-9223372036854775807, 9223372036854775807, 1)",
        "select generate_series(date '0001-01-01', date '9999-01-01', interval '1 minute')",
        "select generate_series(date '2026-01-01', date '2026-01-02', interval '1 microsecond')",
        "select generate_series(date '2026-01-01', date '2026-01-02', interval '1 month -30 days')",
        "select array_repeat(1, 300000000)",
        "select list_resize([1], 300000000, 1)",
        "select array_repeat([1, 2, 3], 9223372036854775807)",
        "select lpad('a', 1073741824, 'a')",
        "select approx_percentile_cont(latency_ms, 0.5, 9223372036854775807) from usage_events",
        "select regexp_like(model, concat('(a{1,50}){1,50}', event_id)) from usage_events",
        "select 1 from usage_events where model ~ event_id",
        "select 1 from usage_events where model like event_id || '%'",
        "select 1 from usage_events where model similar to event_id",
        "select 1 from usage_events where model ~~ event_id",
        "select 1 from usage_events where model !~~* event_id",
        "select approx_percentile_cont(0.5, 9223372036854775807) within group (order by latency_ms) \
         from usage_events",
        "select (select max(x) from (select repeat('a', 20000) as x))",
        "select 1 from usage_events a join usage_events b on a.model = repeat(b.model, b.images)",
        "select max(repeat('a', 20000)) over () from usage_events",
        "select count(*) from usage_events group by repeat('a', 20000) having max(lpad('a', 20000)) > ''",
        "select 1 order by repeat('a', 20000)",
        "values (repeat('a', 20000))",
        "select sum(images) over (order by lsn rows between 18446744073709551615 preceding and current row) \
         from usage_events",
        "select sum(images) over (rows between 1 preceding and 18446744073709551615 following) from usage_events",
        "select arrow_cast(null, 'FixedSizeList(2147483647, Int64)')",
        "with mrr_movements as (select repeat('a', 20000)) select * from mrr_movements",
    ] {
        assert_eq!(said(sql), Some(Reason::TooComplex), "{sql}");
    }
}

/// The walk of what was parsed knows names; the session knows functions.
#[test]
fn no_spelling_of_a_function_passes() {
    let spellings = |name: &str| {
        let mixed = name[..1].to_uppercase() + &name[1..];
        let quoted = ["`", "\""].map(|quote| format!("{quote}{name}{quote}"));
        let [ticks, quotes] = quoted;
        [
            name.to_owned(),
            name.to_uppercase(),
            mixed.clone(),
            format!("`{mixed}`"),
            format!("public.{name}"),
            format!("datafusion.public.{ticks}"),
            format!("aihub.{quotes}"),
            format!("{name}/**/"),
            format!("{{fn {name}"),
            ticks,
            quotes,
        ]
    };
    let withheld = [
        ("random", ""),
        ("uuid", ""),
        ("version", ""),
        ("levenshtein", "'a', 'b'"),
        ("array_transform", "[1], x -> x"),
        ("input_file_name", ""),
        ("arrow_metadata", "1"),
    ];
    let capped = [
        ("repeat", "'x', 20000"),
        ("range", "0, 400000000"),
        ("generate_series", "0, 400000000"),
        ("list_repeat", "1, 300000000"),
        ("rpad", "'x', 20000"),
        ("regexp_replace", "'x', repeat('x', 3), 'y'"),
    ];
    for (name, arguments) in withheld.into_iter().chain(capped) {
        for spelling in spellings(name) {
            for sql in [
                format!("select {spelling}({arguments})"),
                format!("select 1 where length(cast({spelling}({arguments}) as text)) > 0"),
                format!("select * from (select {spelling}({arguments})) as t order by 1"),
                format!("select {spelling}({arguments}) over ()"),
                format!("select * from {spelling}({arguments})"),
                format!("select * from unnest(make_array({spelling}({arguments})))"),
            ] {
                assert!(outcome(&sql, QueryOptions::default()).is_err(), "{sql}");
            }
        }
    }
}

#[test]
fn a_parameter_is_measured_when_it_has_a_value() {
    let asked = |sql: &str, task, value: &str| {
        let value = serde_json::from_str(value).unwrap();
        let terms = QueryOptions {
            task,
            parameters: Parameters::from_json(&value).unwrap(),
            ..QueryOptions::default()
        };
        outcome(sql, terms).err().map(|error| error.reason)
    };
    let repeat = "select repeat('a', $1)";
    let like = "select 1 from usage_events where model like $1";
    let long = format!("[\"{}\"]", "x".repeat(300));
    assert_eq!(asked(repeat, QueryMode::Rows, "[10]"), None);
    assert_eq!(asked(repeat, QueryMode::Rows, "[20000]"), Some(Reason::TooComplex));
    assert_eq!(asked(like, QueryMode::Rows, "[\"gpt%\"]"), None);
    assert_eq!(asked(like, QueryMode::Rows, &long), Some(Reason::TooComplex));
    for sql in [repeat, like] {
        assert_eq!(asked(sql, QueryMode::Validate, "[]"), None);
    }
}

#[test]
fn what_is_not_offered_is_not_allowed() {
    for sql in [
        "with recursive r as (select 1 as n union all select n + 1 from r) select * from r",
        "select * from '/etc/passwd'",
        "select * from \"s3://other/file.parquet\"",
        "select * from read_csv('/etc/passwd')",
        "select * from generate_series(1, 10)",
        "select random()",
        "select VERSION()",
        "select sum(\"random\"()) from t",
        "select sum(`random`()) from t",
        "select array_transform([1], x -> x)",
        "select * from usage_events tablesample bernoulli (1)",
        "select levenshtein('a', 'b')",
        "select 1 from t where exists (select random())",
    ] {
        assert_eq!(said(sql), Some(Reason::NotAllowed), "{sql}");
    }
}

#[test]
fn text_without_tokens_is_a_syntax_error_with_its_place() {
    let error = tokens("select 1,\n 'open").unwrap_err();
    assert_eq!((error.reason, error.position), (Reason::Syntax, Some((2, 2))));
}

/// A seeded generator of texts that look like SQL: whatever it makes, the gate answers.
#[test]
fn no_text_is_too_much_for_the_gate() {
    const WORDS: [&str; 40] = [
        "select",
        "from",
        "where",
        "(",
        ")",
        ",",
        "1",
        "'a'",
        "+",
        "-",
        "*",
        "/",
        "::",
        "int",
        "and",
        "or",
        "not",
        "union all",
        "with",
        "as",
        "t",
        "a",
        "in",
        "case when",
        "then",
        "else",
        "end",
        "repeat",
        "range",
        "group by cube",
        "like",
        "~",
        "[",
        "]",
        "over",
        "order by",
        "join",
        "--\n",
        "/*",
        "\"",
    ];
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |most: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % most as u64) as usize
    };
    let mut passed = 0;
    for _ in 0..4_000 {
        let length = 1 + next(60);
        let text: Vec<_> = (0..length).map(|_| WORDS[next(WORDS.len())]).collect();
        let text = format!("select {}", text.join(" "));
        if tokens(&text).is_ok()
            && let Ok(parsed) = DFParser::parse_sql(&text)
            && let Some(Statement::Statement(parsed)) = parsed.front()
        {
            passed += usize::from(statement(parsed).is_ok());
        }
    }
    assert!(passed > 3, "only {passed} statements were whole");
}
