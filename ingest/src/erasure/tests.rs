use arrow::array::Array as _;

use super::*;
use crate::{
    decode::{Decoded, EventFormat, Sender, dead_letters, decode},
    dedup::keys_of,
    time::parse_rfc3339,
};

const NOW: &str = "2026-03-01T12:00:00Z";

fn now() -> Micros {
    parse_rfc3339(NOW).unwrap()
}

fn user(names: &Pseudonyms, organization: &str, id: &str) -> Person {
    let pseudonym = names.user(organization, id);
    Person { organization: OrganizationId::parse(organization), pseudonym }
}

/// `ada` of `org_a` and the visitor `cookie-1` are erased.
fn names(erased: bool) -> Pseudonyms {
    let names = Pseudonyms::new([7; 32]);
    if erased {
        let mut persons = ErasedPersons::nobody(&names);
        let visitor = Person { organization: None, pseudonym: names.visitor("cookie-1") };
        persons.add(&[user(&names, "org_a", "ada"), visitor], now(), &names);
        names.erase(persons);
    }
    names
}

fn event(id: &str, kind: &str, organization: &str, time: &str, data: &str) -> String {
    format!(
        r#"{{"id":"{id}","source":"/s","type":"{kind}","subject":"{organization}","time":"{time}","data":{{{data}}}}}"#
    )
}

fn events() -> Vec<String> {
    let usage = r#""model":"m","input_tokens":5,"session_id":"s","team":"x","user_id":"#;
    let view = r#""path":"/p?a","referrer":"r","feature":"f","#;
    vec![
        event("1", "usage.request", "org_a", NOW, &format!(r#"{usage}"ada""#)),
        event("2", "usage.request", "org_a", NOW, &format!(r#"{usage}"bob""#)),
        event("3", "usage.request", "org_b", NOW, &format!(r#"{usage}"ada""#)),
        event(
            "4",
            "activity.page_view",
            "org_a",
            NOW,
            &format!(r#"{view}"anonymous_id":"cookie-1""#),
        ),
        event(
            "5",
            "activity.page_view",
            "org_a",
            NOW,
            &format!(r#"{view}"anonymous_id":"cookie-2""#),
        ),
        // After the erasure, beyond what clocks may differ by.
        event("6", "usage.request", "org_a", "2026-03-01T12:05:01Z", &format!(r#"{usage}"ada""#)),
    ]
}

fn decoded(lines: &[String], names: &Pseudonyms) -> Decoded {
    let sender = Sender {
        organization: None,
        grant: &crate::Grant::ALL,
        pseudonyms: names,
        window: Window::ANY,
        is_strict: false,
    };
    decode(EventFormat::Ndjson, lines.join("\n").as_bytes(), &sender, 0).unwrap().unwrap()
}

fn texts(rows: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = rows.column_by_name(name).unwrap().as_string::<i32>();
    column.iter().map(|text| text.map(ToOwned::to_owned)).collect()
}

#[test]
fn stored_rows_become_what_the_same_events_would_be_now() {
    let (before, after) = (names(false), names(true));
    let stored = decoded(&events(), &before).batches;
    let sent_again = decoded(&events(), &after).batches;
    for (old, new) in stored.iter().zip(&sent_again) {
        let (erased, _) = Lookup::new(&after).erase(old.table, &old.rows).unwrap().unwrap();
        assert_eq!(erased, new.rows, "{:?}", old.table);
        // With equal keys and hashes it is a duplicate.
        assert_eq!(keys_of(&erased, |_| 1), keys_of(&new.rows, |_| 1));
        let hashed = crate::identity::are_hashed(old.table, &erased).unwrap();
        assert!(hashed.into_iter().all(|is_hashed| is_hashed));
        assert_eq!(Lookup::new(&after).erase(old.table, &erased).unwrap(), None);
    }
}

#[test]
fn only_the_person_goes() {
    let after = names(true);
    let batches = decoded(&events(), &names(false)).batches;
    let usage = batches.iter().find(|batch| batch.table == Table::UsageLedger).unwrap();
    let (erased, changed) = Lookup::new(&after).erase(usage.table, &usage.rows).unwrap().unwrap();
    assert_eq!(changed.true_count(), 1);
    for field in erased.schema_ref().fields() {
        let name = field.name().as_str();
        let (old, new) =
            (usage.rows.column_by_name(name).unwrap(), erased.column_by_name(name).unwrap());
        assert_eq!(old.slice(1, 3).as_ref(), new.slice(1, 3).as_ref(), "{name}");
        let is_cleared = ["user_id", "session_id", "attributes"].contains(&name);
        assert_eq!(is_cleared, old.is_valid(0) && new.is_null(0), "{name}");
        if !is_cleared && name != "content_hash" {
            assert_eq!(old.slice(0, 1).as_ref(), new.slice(0, 1).as_ref(), "{name}");
        }
        if field.data_type() == &arrow::datatypes::DataType::Utf8 {
            let bytes = new.as_string::<i32>().value_data();
            let pseudonym = after.user("org_a", "ada");
            // The event that came later keeps it.
            let found =
                bytes.windows(pseudonym.len()).filter(|w| *w == pseudonym.as_bytes()).count();
            assert_eq!(found, usize::from(name == "user_id"), "{name}");
        }
    }
    let activity = batches.iter().find(|batch| batch.table == Table::ActivityEvents).unwrap();
    let (erased, _) = Lookup::new(&after).erase(activity.table, &activity.rows).unwrap().unwrap();
    for name in ["anonymous_id", "path", "referrer"] {
        let texts = texts(&erased, name);
        assert!(texts[0].is_none() && texts[1].is_some(), "{name}: {texts:?}");
    }
    assert_eq!(texts(&erased, "feature"), [Some("f".into()), Some("f".into())]);
}

#[test]
fn letters_that_name_the_person_lose_their_text() {
    let after = names(true);
    let named = |text: &str, organization: Option<&str>| {
        Lookup::new(&after).is_named_in(text, organization)
    };
    let ada = after.user("org_a", "ada");
    for (text, organization, expected) in [
        (r#"{"user_id":"ada"}"#, Some("org_a"), true),
        (r#"{"user_id":"ada"}"#, None, true),
        (r#"{"user_id":"ada"}"#, Some("org_b"), false),
        (r#"{"user_id":"adam"}"#, Some("org_a"), false),
        (r#"{"note":"for ada"}"#, Some("org_a"), false),
        (r#"{"user_id":"\u0061da"}"#, Some("org_a"), true),
        (r#"{"a":"\"","user_id":["x",{"y":"ada"}]}"#, Some("org_a"), true),
        (r#"{"user_id":"ada"#, Some("org_a"), true),
        ("{user_id: ada}", Some("org_a"), true),
        (r#"{"user_id":"cookie-1"}"#, Some("org_b"), true),
        (&ada, Some("org_a"), true),
        ("", None, false),
        ("\"", None, false),
        ("\"\\", None, false),
    ] {
        assert_eq!(named(text, organization), expected, "{text} {organization:?}");
        assert!(!Lookup::new(&names(false)).is_named_in(text, organization));
    }
    // As it comes, and as it is stored.
    let lines =
        [event("7", "usage.request", "org_a", NOW, r#""input_tokens":"ada","user_id":"ada""#)];
    let fresh = decoded(&lines, &after).batches.remove(0).rows;
    let old = decoded(&lines, &names(false)).batches.remove(0).rows;
    let (erased, _) = Lookup::new(&after).erase(Table::DeadLetter, &old).unwrap().unwrap();
    for rows in [&fresh, &erased] {
        assert_eq!(texts(rows, "raw"), [None]);
        assert_eq!(texts(rows, "reason"), [Some(LETTER_REASON.into())]);
        assert_eq!(texts(rows, "code"), texts(&old, "code"));
    }
    let why = crate::Rejection::new(crate::RejectionCode::IdConflict, "/id", "x");
    let letter = [(Some("org_a"), &why, "{\"user_id\":\"ada\"}")];
    let conflict = dead_letters(letter, "platform", 0, &after).unwrap().unwrap().rows;
    assert_eq!(texts(&conflict, "raw"), [None]);
}

#[test]
fn a_list_belongs_to_one_key_and_names_nobody() {
    let (names, others) = (names(true), Pseudonyms::new([8; 32]));
    let list = names.erased();
    let json = serde_json::to_string(&*list).unwrap();
    assert!(!json.contains("ada") && !json.contains(&names.user("org_a", "ada")[2..]), "{json}");
    assert_eq!(ErasedPersons::parse(json.as_bytes(), &names).unwrap(), *list);
    assert_eq!(ErasedPersons::parse(json.as_bytes(), &others), Err(ErasedListError::OtherKey));
    let newer = json.replace("\"format\":1", "\"format\":2");
    assert_eq!(ErasedPersons::parse(newer.as_bytes(), &names), Err(ErasedListError::Format(2)));
    assert!(matches!(ErasedPersons::parse(b"{", &names), Err(ErasedListError::Form(_))));

    // Of two erasures of one person the later one holds.
    let (mut first, mut second) = (ErasedPersons::nobody(&names), ErasedPersons::nobody(&names));
    first.add(&[user(&names, "org_a", "ada")], now() + 5, &names);
    second.add(&[user(&names, "org_a", "ada"), user(&names, "org_a", "bob")], now(), &names);
    second.merge(first.clone());
    assert_eq!(second.len(), 2);
    names.erase(second);
    let is_erased = |at| Lookup::new(&names).is_erased(&names.user("org_a", "ada"), at);
    assert!(
        is_erased(Window::at(now() + 5).latest()) && !is_erased(Window::at(now() + 5).latest() + 1)
    );
}
