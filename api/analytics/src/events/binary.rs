//! The binary mode of CloudEvents over HTTP: the members of an event are headers, its data is the body.

use actix_web::http::header::HeaderMap;
use percent_encoding::percent_decode_str;
use rest::problem::{Code, Problem};
use serde_json::{Map, Value};

const PREFIX: &str = "ce-";

/// The members that the headers carry; `None` when the event did not come in this mode.
pub(super) fn members(headers: &HeaderMap) -> Result<Option<Map<String, Value>>, Problem> {
    let mut members = Map::new();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(PREFIX) else { continue };
        let wrong = |what: &str| {
            Problem::bad_request(Code::InvalidHeader, format!("the header `{header}` {what}"))
        };
        let text =
            std::str::from_utf8(value.as_bytes()).map_err(|_| wrong("is not valid UTF-8"))?;
        let text = decode(text).ok_or_else(|| wrong("is not valid UTF-8 once decoded"))?;
        if members.insert(name.to_owned(), text.into()).is_some() {
            return Err(wrong("is there twice"));
        }
    }
    Ok((!members.is_empty()).then_some(members))
}

/// The value of a header: unquoted as RFC 7230 says, then percent-decoded, once.
fn decode(value: &str) -> Option<String> {
    let text = match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => unescape(quoted),
        None => value.to_owned(),
    };
    Some(percent_decode_str(&text).decode_utf8().ok()?.into_owned())
}

fn unescape(quoted: &str) -> String {
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn headers_become_members() {
        let found = members(&headers(&[
            ("CE-Id", b"1"),
            ("ce-source", b"/gateway"),
            ("content-type", b"application/json"),
        ]));
        let expected = json!({"id": "1", "source": "/gateway"});
        assert_eq!(found.unwrap().map(Value::Object), Some(expected));
        assert_eq!(members(&headers(&[("content-type", b"text/plain")])), Ok(None));
    }

    #[test]
    fn values_are_decoded_once() {
        for (value, expected) in [
            ("plain", "plain"),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("%2541", "%41"),
            ("100%", "100%"),
            ("%zz", "%zz"),
            ("\"a \\\"b\\\" \\\\ %41\"", "a \"b\" \\ A"),
            ("\"", "\""),
            ("é", "é"),
        ] {
            assert_eq!(decode(value).as_deref(), Some(expected), "{value}");
        }
        assert_eq!(decode("%ff"), None);
    }

    #[test]
    fn headers_that_cannot_be_meant_are_refused() {
        for pairs in [
            &[("ce-id", &b"1"[..]), ("ce-id", b"2")][..],
            &[("ce-id", b"\xff")],
            &[("ce-id", b"%ff")],
        ] {
            assert_eq!(members(&headers(pairs)).unwrap_err().code, Code::InvalidHeader);
        }
    }
}
