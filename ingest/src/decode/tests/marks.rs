//! What some programs write around an event, or in its stead.

use super::*;

fn codes(form: EventFormat, body: &str) -> (usize, Vec<(&'static str, String)>) {
    let names = Pseudonyms::new([1; 32]);
    let sender = Sender {
        organization: None,
        grant: &ALL,
        pseudonyms: &names,
        window: Window::ANY,
        is_strict: false,
    };
    let decoded = decode(form, body.as_bytes(), &sender, 0).unwrap().unwrap();
    let rejected = decoded.rejected.into_iter().map(|(_, why)| (why.code.as_str(), why.pointer));
    let rejected: Vec<_> = rejected.collect();
    (decoded.events as usize - rejected.len(), rejected)
}

const EVENT: &str = r#"{"id":"1","source":"/s","type":"usage.request","subject":"o",
    "time":"2026-01-01T00:00:00Z","data":{"model":"m"}}"#;

#[test]
fn a_mark_at_the_beginning_is_passed_over() {
    let line = EVENT.replace('\n', "");
    for (form, body, good) in [
        (EventFormat::Json, format!("\u{feff}{EVENT}"), 1),
        (EventFormat::Json, format!("\u{feff} [{EVENT}]"), 1),
        (EventFormat::Ndjson, format!("\u{feff}{line}\n{line}\n"), 2),
    ] {
        assert_eq!(codes(form, &body), (good, Vec::new()), "{body}");
    }
    // Anywhere else it is no part of JSON.
    let (good, rejected) = codes(EventFormat::Ndjson, &format!("{line}\n\u{feff}{line}"));
    assert_eq!((good, rejected[0].0), (1, "malformed_json"));
}

#[test]
fn data_in_base64_is_not_ignored() {
    let coded = EVENT.replace(r#""data":{"model":"m"}"#, r#""data_base64":"eyJtb2RlbCI6Im0ifQ==""#);
    let expected = vec![("invalid_value", "/data_base64".to_owned())];
    assert_eq!(codes(EventFormat::Json, &coded), (0, expected.clone()));
    let both = EVENT.replace(r#""subject""#, r#""data_base64":"e30=","subject""#);
    assert_eq!(codes(EventFormat::Json, &both), (0, expected));
    let none = EVENT.replace(r#""subject""#, r#""data_base64":null,"subject""#);
    assert_eq!(codes(EventFormat::Json, &none), (1, Vec::new()));
}
