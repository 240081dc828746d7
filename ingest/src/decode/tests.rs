//! Tables of texts and what they become.

mod counts;
mod marks;
mod parts;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray},
    datatypes::{DataType, Int64Type},
};

use super::*;
use crate::identity::are_hashed;

static ALL: crate::Grant = crate::Grant::ALL;

fn names() -> Pseudonyms {
    Pseudonyms::new([1; 32])
}

fn platform(pseudonyms: &Pseudonyms, window: Window) -> Sender<'_> {
    Sender { organization: None, grant: &ALL, pseudonyms, window, is_strict: false }
}

fn decoded(form: EventFormat, body: &str) -> Result<Decoded, Malformed> {
    let names = names();
    let sender = platform(&names, Window::ANY);
    decode(form, body.as_bytes(), &sender, 0).unwrap()
}

fn event(data: &str) -> String {
    format!(
        "{{\"id\":\"1\",\"source\":\"/s\",\"type\":\"usage.request\",\"subject\":\"o\",\
         \"time\":\"2026-01-01T00:00:00Z\",\"data\":{data}}}"
    )
}

/// The one row that `data` becomes.
#[track_caller]
fn row(data: &str) -> RecordBatch {
    let decoded = decoded(EventFormat::Json, &event(data)).unwrap();
    assert!(decoded.rejected.is_empty(), "{data}: {:?}", decoded.rejected);
    decoded.batches[0].rows.clone()
}

/// Why `data` is refused: the code and the place.
#[track_caller]
fn refusal(data: &str) -> (RejectionCode, String) {
    let mut decoded = decoded(EventFormat::Json, &event(data)).unwrap();
    assert_eq!(decoded.rejected.len(), 1, "{data} is taken");
    let (_, why) = decoded.rejected.remove(0);
    (why.code, why.pointer)
}

fn text(row: &RecordBatch, name: &str) -> Option<String> {
    let column = row.column_by_name(name).unwrap().as_string::<i32>();
    column.iter().next().unwrap().map(str::to_owned)
}

fn count(row: &RecordBatch, name: &str) -> Option<i64> {
    row.column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().next().unwrap()
}

#[test]
fn lines_are_split_and_fail_alone() {
    let good = event("{\"model\":\"m\"}");
    for (body, events, rejected) in [
        (good.clone(), 1, vec![]),
        (format!("{good}\n"), 1, vec![]),
        (format!("\n\r\n{good}\r\n \t\n{good}\n\n"), 2, vec![]),
        (format!("{good}\n{{\n{good}"), 3, vec![1]),
        (format!("{good}{good}\n{good}"), 2, vec![0]),
        (format!("null\n[]\n\"text\"\n7\n{good}"), 5, vec![0, 1, 2, 3]),
        (format!("{good}\n{}", &good[..good.len() - 1]), 2, vec![1]),
    ] {
        let decoded = decoded(EventFormat::Ndjson, &body).unwrap();
        let places: Vec<_> = decoded.rejected.iter().map(|(at, _)| *at).collect();
        assert_eq!((decoded.events, places), (events, rejected), "{body:?}");
        assert!(decoded.rejected.iter().all(|(_, why)| why.code == RejectionCode::MalformedJson));
    }
    assert_eq!(decoded(EventFormat::Ndjson, " \n\r\n").unwrap_err(), Malformed::Empty);
    let line = format!("{good}\n");
    assert_eq!(
        decoded(EventFormat::Ndjson, &line.repeat(EVENTS_MAX)).unwrap().events,
        EVENTS_MAX as u32
    );
    assert_eq!(
        decoded(EventFormat::Ndjson, &line.repeat(EVENTS_MAX + 1)).unwrap_err(),
        Malformed::TooMany
    );
}

#[test]
fn an_array_is_read_as_a_whole() {
    let good = event("{\"model\":\"m\"}");
    let both = decoded(EventFormat::Json, &format!(" [{good}, 7 ,\n{good}] ")).unwrap();
    assert_eq!((both.events, both.rejected[0].0), (3, 1));
    assert_eq!(both.batches[0].index, [0, 2]);
    assert_eq!(decoded(EventFormat::Json, "[]").unwrap_err(), Malformed::Empty);
    for bad in ["", "[", "[{}", "{", "{}{}", "[1,]", "nul"] {
        assert!(matches!(decoded(EventFormat::Json, bad), Err(Malformed::Json(_))), "{bad}");
        let lines = decoded(EventFormat::Json, "{}\n{}").unwrap_err().to_string();
        assert!(lines.contains("application/x-ndjson"), "{lines}");
    }
    let names = names();
    let sender = platform(&names, Window::ANY);
    let bad = decode(EventFormat::Json, b"{\"id\":\"\xff\"}", &sender, 0).unwrap();
    assert_eq!(bad.unwrap_err(), Malformed::Encoding(7));
    // Depth is no matter of the stack.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (form, body) in [
        (EventFormat::Ndjson, event(&deep)),
        (EventFormat::Json, deep),
        (EventFormat::Json, event("[[[[]]]]")),
    ] {
        let expected =
            if body.len() > 1000 { RejectionCode::TooDeep } else { RejectionCode::WrongType };
        let nested = decoded(form, &body).unwrap();
        assert_eq!(nested.rejected.len(), 1);
        assert_eq!(nested.rejected[0].1.code, expected);
    }
}

#[test]
fn events_outside_of_the_window_are_rejected_alone() {
    let at = |id: &str, time: &str| {
        event("{\"model\":\"m\"}")
            .replace("\"id\":\"1\"", &format!("\"id\":\"{id}\""))
            .replace("2026-01-01T00:00:00Z", time)
    };
    let now = crate::time::parse_rfc3339("2026-03-01T00:00:00Z").unwrap();
    let body = [
        at("1", "2026-02-28T23:00:00Z"),
        at("2", "2026-01-24T23:59:59Z"),
        at("3", "2026-03-01T00:05:01Z"),
    ];
    let codes = |window: Window| {
        let names = names();
        let sender = platform(&names, window);
        let decoded =
            decode(EventFormat::Ndjson, body.join("\n").as_bytes(), &sender, now).unwrap();
        let rejected = decoded.unwrap().rejected;
        rejected.into_iter().map(|(index, why)| (index, why.code.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(codes(Window::at(now)), [(1, "time_too_old"), (2, "time_in_future")]);
    assert_eq!(codes(Window::at(now).with_history()), [(2, "time_in_future")]);
}

#[test]
fn texts_keep_their_characters() {
    for (json, expected) in [
        ("\"plain\"", "plain"),
        ("\"\"", ""),
        (r#""a\"b\\c\/d""#, "a\"b\\c/d"),
        (r#""\u00e9\u4e2d\ud83d\ude00""#, "é中😀"),
        ("\"é中😀\"", "é中😀"),
        (r#""\\""#, "\\"),
    ] {
        let row = row(&format!("{{\"model\":{json}}}"));
        assert_eq!(text(&row, "model").as_deref(), Some(expected), "{json}");
    }
    // What people write may have lines.
    let lines = row(r#"{"model":"m","note":"a\tb\r\nc"}"#);
    assert_eq!(text(&lines, "attributes").as_deref(), Some(r#"{"note":"a\tb\r\nc"}"#));
    // Written in two ways, it is one content.
    let hash = |json: &str| count(&row(json), "content_hash");
    assert_eq!(hash(r#"{"model":"é"}"#), hash(r#"{"model":"\u00e9"}"#));
    assert_eq!(hash(r#"{"model":"m","region":"r"}"#), hash(r#"{ "region":"r","model":"m" }"#));
    assert_ne!(hash(r#"{"model":"m"}"#), hash(r#"{"model":"m","region":""}"#));
    let wrong = (RejectionCode::WrongType, "/data/model".to_owned());
    for json in ["7", "true", "[\"m\"]", "{}", r#""\ud800""#] {
        assert_eq!(refusal(&format!("{{\"model\":{json}}}")), wrong, "{json}");
    }
    row(&format!("{{\"model\":\"{}\"}}", "é".repeat(512)));
    let long = refusal(&format!("{{\"model\":\"{}m\"}}", "é".repeat(512)));
    assert_eq!(long, (RejectionCode::InvalidValue, "/data/model".into()));
}

#[test]
fn attributes_are_few_short_scalars() {
    let many = |count: usize| {
        let members: Vec<_> = (0..count).map(|n| format!("\"k{n:02}\":{n}")).collect();
        members.join(",")
    };
    // In the object named so, beside the columns, or both: they are counted together.
    for (inside, beside) in [(32, 0), (0, 32), (0, 33), (33, 0)] {
        let data = match beside {
            0 => format!("{{\"model\":\"m\",\"attributes\":{{{}}}}}", many(inside)),
            _ => format!("{{\"model\":\"m\",{}}}", many(beside)),
        };
        if inside + beside == 32 {
            let attributes = text(&row(&data), "attributes").unwrap();
            let read: BTreeMap<String, u32> = serde_json::from_str(&attributes).unwrap();
            assert_eq!(read.len(), 32);
        } else {
            assert_eq!(refusal(&data).0, RejectionCode::InvalidAttributes);
        }
    }
    let both = format!("{{\"model\":\"m\",\"attributes\":{{{}}},\"x\":1}}", many(32));
    assert_eq!(refusal(&both), (RejectionCode::InvalidAttributes, "/data/x".into()));
    for (data, pointer) in [
        ("{\"model\":\"m\",\"a/b~c\":{}}", "/data/a~1b~0c"),
        ("{\"model\":\"m\",\"attributes\":{\"a\":[1]}}", "/data/attributes/a"),
        ("{\"model\":\"m\",\"attributes\":{\"a\":{\"b\":1}}}", "/data/attributes/a"),
    ] {
        assert_eq!(refusal(data), (RejectionCode::InvalidAttributes, pointer.into()), "{data}");
    }
    for (length, fits) in [(254, true), (255, false)] {
        let data = format!("{{\"model\":\"m\",\"a\":\"{}\"}}", "x".repeat(length));
        assert_eq!(decoded(EventFormat::Json, &event(&data)).unwrap().rejected.is_empty(), fits);
    }
    assert_eq!(
        refusal("{\"model\":\"m\",\"attributes\":\"a\"}"),
        (RejectionCode::WrongType, "/data/attributes".into())
    );
    assert_eq!(text(&row("{\"model\":\"m\",\"attributes\":null,\"a\":null}"), "attributes"), None);
}

#[test]
fn what_no_column_takes_is_an_attribute_and_stays_json() {
    let row =
        row("{\"model\":\"m\",\"zebra\":1.50,\"\\u0061\":\"\\u00e9\\\"\",\"b\":true,\"c\":null}");
    assert_eq!(
        text(&row, "attributes").as_deref(),
        Some("{\"a\":\"\\u00e9\\\"\",\"b\":true,\"zebra\":1.50}")
    );
    // A text that no reader of JSON could read back is refused, as it is in a column.
    assert_eq!(
        refusal(r#"{"model":"m","a":"\ud800"}"#),
        (RejectionCode::InvalidAttributes, "/data/a".into())
    );
    let name = refusal(r#"{"model":"m","\ud800":1}"#);
    assert_eq!(name, (RejectionCode::WrongType, "/data".into()));
}

#[test]
fn of_a_member_given_twice_the_last_one_counts_and_the_envelope_has_each_once() {
    let row = row("{\"model\":\"a\",\"model\":\"b\",\"x\":1,\"x\":2}");
    assert_eq!(text(&row, "model").as_deref(), Some("b"));
    assert_eq!(text(&row, "attributes").as_deref(), Some("{\"x\":2}"));
    let twice = event("{\"model\":\"m\"}").replace("{\"id\":\"1\"", "{\"id\":\"1\",\"id\":\"2\"");
    let decoded = decoded(EventFormat::Json, &twice).unwrap();
    assert_eq!(decoded.rejected[0].1.code, RejectionCode::MalformedJson);
}

#[test]
fn a_dead_letter_is_cut_at_a_character() {
    let body = format!("\"{}\"", "é".repeat(20_000));
    let decoded = decoded(EventFormat::Ndjson, &body).unwrap();
    let raw = text(&decoded.batches[0].rows, "raw").unwrap();
    assert!(raw.len() <= 16 * 1024 && raw.len() > 16 * 1024 - 2 && raw.starts_with("\"é"));
}

#[test]
fn no_text_makes_the_decoder_panic() {
    let seed = event(
        "{\"model\":\"m\\u00e9\",\"input_tokens\":5,\"cost\":\"0.1\",\"currency\":\"USD\",\"attributes\":{\"a\":1}}",
    );
    let spice: &[u8] = b"\"\\{}[]:,0-9.eEtfn\x00\xff\xc3 \n";
    let mut state = 11_u64;
    let mut next = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % below as u64) as usize
    };
    let (names, mut taken) = (names(), 0);
    for _ in 0..20_000 {
        let mut body = seed.clone().into_bytes();
        for _ in 0..=next(3) {
            let at = next(body.len());
            match next(3) {
                0 => body[at] = spice[next(spice.len())],
                1 => drop(body.remove(at)),
                _ => body.insert(at, spice[next(spice.len())]),
            }
        }
        let sender = platform(&names, Window::ANY);
        let form = [EventFormat::Json, EventFormat::Ndjson][next(2)];
        let Ok(decoded) = decode(form, &body, &sender, 0).unwrap() else { continue };
        let good: usize = decoded
            .batches
            .iter()
            .filter(|batch| batch.table != Table::DeadLetter)
            .map(|batch| batch.rows.num_rows())
            .sum();
        assert_eq!(good + decoded.rejected.len(), decoded.events as usize);
        taken += good;
        for batch in decoded.batches.iter().filter(|batch| batch.table == Table::UsageLedger) {
            let attributes = batch.rows.column_by_name("attributes").unwrap().as_string::<i32>();
            for json in attributes.iter().flatten() {
                serde_json::from_str::<serde_json::Value>(json).unwrap();
            }
        }
    }
    assert!(taken > 1_000, "only {taken} changed texts are events still");
}

#[test]
fn one_event_holds_little_memory() {
    let names = Pseudonyms::new([1; 32]);
    let sender = platform(&names, Window::ANY);
    let line = r#"{"id":"1","source":"/s","type":"usage.request","subject":"o","time":"2026-01-01T00:00:00Z","data":{"model":"m"}}"#;
    let decoded = decode(EventFormat::Ndjson, line.as_bytes(), &sender, 0).unwrap().unwrap();
    let held = decoded.batches[0].rows.get_array_memory_size();
    assert!(held < 20_000, "{held} bytes");
}

#[test]
fn the_content_hash_of_a_row_can_be_computed_anew() {
    let mut lines = String::new();
    for (id, kind, data) in [
        (
            "1",
            "usage.request",
            r#"{"model":"m","input_tokens":5,"cost":"0.10","currency":"USD","cache_hit":true,"more":1}"#,
        ),
        ("2", "usage.request", r#"{"model":"m","input_tokens":6,"user_id":"ada"}"#),
        ("3", "billing.signed_up", "{}"),
        ("4", "activity.page_view", r#"{"path":"/","anonymous_id":"v"}"#),
    ] {
        lines += &format!(
            "{{\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"{kind}\",\"subject\":\"o\",\
             \"time\":\"2026-01-01T00:00:00Z\",\"data\":{data}}}\n"
        );
    }
    let dimension = own_row(
        Table::Organizations,
        "5",
        7,
        r#"{"organization_id":"o","name":"O","signed_up_at":"2026-01-01T00:00:00Z"}"#,
    );
    let mut batches = decoded(EventFormat::Ndjson, &lines).unwrap().batches;
    batches.push(dimension.unwrap().unwrap());
    let rows: usize = batches.iter().map(|batch| batch.rows.num_rows()).sum();
    assert_eq!(rows, 5);
    for batch in batches {
        let hashed = are_hashed(batch.table, &batch.rows).unwrap();
        assert_eq!(hashed, vec![true; batch.rows.num_rows()], "{:?}", batch.table);
        // The model, the kind, the name: the first column of a sender that holds something.
        let held =
            |array: &ArrayRef| array.null_count() == 0 && array.data_type() == &DataType::Utf8;
        let at = (2..batch.rows.num_columns()).find(|at| held(batch.rows.column(*at))).unwrap();
        let mut columns = batch.rows.columns().to_vec();
        columns[at] = Arc::new(StringArray::from(vec!["other"; batch.rows.num_rows()]));
        let other = RecordBatch::try_new(batch.rows.schema(), columns).unwrap();
        let hashed = are_hashed(batch.table, &other).unwrap();
        assert_eq!(hashed, vec![false; other.num_rows()], "{:?}", batch.table);
    }
}

#[test]
fn a_letter_says_whose_it_is_and_can_be_decoded_again() {
    let names = Pseudonyms::new([1; 32]);
    let own = OrganizationId::parse("own").unwrap();
    let sender = Sender {
        organization: Some(&own),
        grant: &ALL,
        pseudonyms: &names,
        window: Window::at(0),
        is_strict: false,
    };
    let event = |subject: &str| {
        format!(
            "{{\"id\":\"1\",\"source\":\"/s\",\"type\":\"usage.request\",\"subject\":\"{subject}\",\
             \"time\":\"2026-01-01T00:00:00Z\",\"data\":{{\"model\":\"m\"}}}}"
        )
    };
    let body = [event("own"), event("other"), "{".into()].join("\n");
    let decoded = decode(EventFormat::Ndjson, body.as_bytes(), &sender, 0).unwrap().unwrap();
    let owners = decoded.batches[0].rows.column(0).as_string::<i32>();
    assert_eq!(owners.iter().collect::<Vec<_>>(), [Some("own"); 3]);
    let letters: Vec<_> = body.lines().map(|raw| (Some(own.clone()), raw.to_owned())).collect();
    let again = super::again(&letters, &names, Window::ANY).unwrap();
    let codes: Vec<_> = again.rejected.iter().map(|(index, why)| (*index, why.code)).collect();
    assert_eq!(codes, [(1, RejectionCode::WrongOrganization), (2, RejectionCode::MalformedJson)]);
    assert_eq!((again.batches.len(), &again.batches[0].index[..]), (1, &[0][..]), "no new letter");
}

#[test]
fn a_letter_as_long_as_a_cut_one_counts_as_cut() {
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let limit = rows::RAW_BYTES_MAX;
    assert!(is_cut(&text(limit)), "what is left may be JSON that nobody sent");
    assert!(is_cut(&text(limit + 1)[..limit]));
    assert!(is_cut(&text(limit + 1)[..limit - 3]));
    assert!(!is_cut(&text(limit)[..limit - 4]), "short, and no JSON for another reason");
}

/// A seeded sequence of numbers.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most.max(1) as u64) as usize
    }

    /// Cuts, doubles, flips or fills a place of a body.
    fn change(&mut self, body: &mut Vec<u8>) {
        const PIECES: [&str; 15] = [
            "{",
            "}",
            "[",
            "]",
            ",",
            "\"",
            "\\",
            "\\ud800",
            "\n",
            "null",
            "1e400",
            "-0",
            "\0",
            ":",
            "\u{1f600}",
        ];
        let at = self.below(body.len());
        let end = (at + self.below(40)).min(body.len());
        match self.below(5) {
            0 => body.truncate(at),
            1 if !body.is_empty() => body[at] ^= 1 << self.below(8),
            2 => {
                let piece = PIECES[self.below(PIECES.len())].bytes();
                body.splice(at..at, piece);
            }
            3 => {
                let part = body[at..end].to_vec();
                body.splice(at..at, part);
            }
            _ => {
                body.drain(at..end);
            }
        }
    }
}

#[test]
fn any_body_is_decoded_or_refused_and_each_event_has_one_verdict() {
    let data =
        "{\"model\":\"m\",\"input_tokens\":7,\"cost\":\"0.1\",\"currency\":\"USD\",\"x\":\"y\"}";
    let good = event(data);
    let activity = good.replace("usage.request", "activity.login");
    let bodies = [
        (EventFormat::Json, good.clone()),
        (EventFormat::Json, format!("[{good},{activity},{good}]")),
        (EventFormat::Ndjson, format!("{good}\n{activity}\r\n{good}\n")),
    ];
    let names = names();
    let sender = platform(&names, Window::ANY);
    let mut seeded = Seeded(0x9e37_79b9_7f4a_7c15);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..20_000 {
        let (form, body) = &bodies[round % bodies.len()];
        let mut body = body.clone().into_bytes();
        for _ in 0..seeded.below(4) {
            seeded.change(&mut body);
        }
        let first = decode(*form, &body, &sender, 0).unwrap();
        let again = decode(*form, &body, &sender, 0).unwrap();
        let (first, again) = match (first, again) {
            (Ok(first), Ok(again)) => (first, again),
            (first, again) => {
                assert_eq!(first.unwrap_err(), again.unwrap_err());
                continue;
            }
        };
        let rows = |letters: bool| {
            let of = |batch: &&Batch| (batch.table == Table::DeadLetter) == letters;
            first.batches.iter().filter(of).map(|batch| batch.rows.num_rows()).sum::<usize>()
        };
        let body = String::from_utf8_lossy(&body);
        assert_eq!(rows(false) + first.rejected.len(), first.events as usize, "{body}");
        assert_eq!(rows(true), first.rejected.len(), "each refused one is kept: {body}");
        assert_eq!(first.rejected, again.rejected, "{body}");
        taken += rows(false);
        refused += first.rejected.len();
    }
    assert!(taken > 5_000 && refused > 2_000, "{taken} taken, {refused} refused");
}
