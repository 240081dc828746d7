//! The `data` of an event: its columns by name, and attributes for the rest.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::missing;
use crate::{
    OrganizationId, Rejection, RejectionCode, Table,
    identity::Pseudonyms,
    money,
    schema::{Column, Kind},
    time,
};

/// One value, typed as its column asks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Count(i64),
    Flag(bool),
    Money(i128),
    Time(time::Micros),
}

/// The columns of one event, in the order of [`Table::columns`], and its attributes as raw JSON scalars.
#[derive(Debug)]
pub(super) struct Values<'a> {
    table: Table,
    pub(super) columns: Vec<Option<Value<'a>>>,
    pub(super) attributes: BTreeMap<Cow<'a, str>, &'a str>,
}

const ATTRIBUTES_MAX: usize = 32;
const ATTRIBUTE_BYTES_MAX: usize = 256;
/// Bytes of a text column.
const TEXT_BYTES_MAX: usize = 1024;

/// Reads `data`. `word` is the `kind` or `action` that the event's type named: the first column then.
pub(super) fn read<'a>(
    table: Table,
    word: Option<&'a str>,
    data: Option<&'a RawValue>,
) -> Result<Values<'a>, Rejection> {
    let columns = table.columns();
    let mut values =
        Values { table, columns: vec![None; columns.len()], attributes: BTreeMap::new() };
    let named = usize::from(word.is_some());
    if let Some(word) = word {
        values.columns[0] = Some(Value::Text(Cow::Borrowed(word)));
    }
    let Some(data) = data else { return Ok(values) };
    for (key, raw) in members(data, "/data")? {
        if raw.get() == "null" {
            continue;
        }
        if let Some(at) = columns.iter().skip(named).position(|column| column.name == key) {
            let column = &columns[at + named];
            values.columns[at + named] = Some(value(column, raw)?);
        } else if key == "attributes" {
            for (key, raw) in members(raw, "/data/attributes")? {
                values.attribute(key, raw, "/data/attributes")?;
            }
        } else {
            values.attribute(key, raw, "/data")?;
        }
    }
    Ok(values)
}

/// The rules that span columns.
pub(super) fn check(
    table: Table,
    word: Option<&str>,
    has_organization: bool,
    values: &Values<'_>,
) -> Result<(), Rejection> {
    let visitor = table == Table::ActivityEvents && values.get("anonymous_id").is_some();
    if !has_organization && !visitor {
        return Err(missing("/subject"));
    }
    for name in required(table, word.unwrap_or_default()) {
        if values.get(name).is_none() {
            return Err(missing(&format!("/data/{name}")));
        }
    }
    let invalid = |name: &str, reason: &str| {
        Err(Rejection::new(RejectionCode::InvalidValue, format!("/data/{name}"), reason))
    };
    if let Some(Value::Text(currency)) = values.get("currency") {
        if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return invalid("currency", "expected an ISO 4217 code such as USD");
        }
    } else if let Some(name) =
        ["cost", "list_price", "amount"].into_iter().find(|name| values.get(name).is_some())
    {
        return Err(Rejection::new(
            RejectionCode::MissingField,
            "/data/currency",
            format!("`currency` is required beside `{name}`"),
        ));
    }
    if let Some(Value::Text(interval)) = values.get("billing_interval")
        && !matches!(&**interval, "month" | "year")
    {
        return invalid("billing_interval", "expected month or year");
    }
    match values.get("status_code") {
        Some(Value::Count(status)) if !(100..=599).contains(status) => {
            invalid("status_code", "expected an HTTP status from 100 to 599")
        }
        _ => check_tokens(values),
    }
}

fn required(table: Table, word: &str) -> &'static [&'static str] {
    match (table, word) {
        (Table::UsageLedger, _) => &["model"],
        (Table::BillingEvents, "subscription_created" | "subscription_changed") => {
            &["subscription_id", "plan", "amount", "billing_interval"]
        }
        (Table::BillingEvents, "subscription_canceled") => &["subscription_id"],
        (Table::BillingEvents, "trial_started") => &["plan"],
        (Table::BillingEvents, "signed_up") => &[],
        (Table::BillingEvents, _) => &["invoice_id", "amount"],
        _ => &[],
    }
}

/// `input_tokens` includes cached and cache-write tokens; `output_tokens` includes reasoning and audio.
fn check_tokens(values: &Values<'_>) -> Result<(), Rejection> {
    let count = |name| match values.get(name) {
        Some(Value::Count(count)) => i128::from(*count),
        _ => 0,
    };
    let totals = [
        ("input_tokens", ["cached_input_tokens", "cache_write_input_tokens"]),
        ("output_tokens", ["reasoning_tokens", "audio_output_tokens"]),
    ];
    for (total, parts) in totals {
        let sum: i128 = parts.into_iter().map(count).sum();
        if sum > count(total) {
            return Err(Rejection::new(
                RejectionCode::InconsistentTokens,
                format!("/data/{total}"),
                format!("{} + {} = {sum} exceed {total} = {}", parts[0], parts[1], count(total)),
            ));
        }
    }
    Ok(())
}

impl<'a> Values<'a> {
    /// What a stored row holds. Its persons are pseudonyms already.
    pub(super) fn stored(
        table: Table,
        columns: Vec<Option<Value<'a>>>,
        attributes: Option<&'a RawValue>,
    ) -> Result<Self, Rejection> {
        let mut values = Self { table, columns, attributes: BTreeMap::new() };
        if let Some(attributes) = attributes {
            for (key, raw) in members(attributes, "/attributes")? {
                values.attributes.insert(key, raw.get());
            }
        }
        Ok(values)
    }

    /// Takes over what `changes`, an object as an event's data, names; `null` clears a column or an attribute.
    pub(super) fn amend(
        &mut self,
        changes: &'a RawValue,
        organization: Option<&OrganizationId>,
        pseudonyms: &Pseudonyms,
    ) -> Result<(), Rejection> {
        let mut named = read(self.table, None, Some(changes))?;
        named.pseudonymize(self.table, organization, pseudonyms);
        for (column, change) in self.columns.iter_mut().zip(named.columns) {
            if change.is_some() {
                *column = change;
            }
        }
        for (key, raw) in members(changes, "/data")? {
            if key == "attributes" && raw.get() != "null" {
                for (key, raw) in members(raw, "/data/attributes")? {
                    self.clear_if_null(&key, raw, false);
                }
            } else {
                self.clear_if_null(&key, raw, true);
            }
        }
        self.attributes.extend(named.attributes);
        if self.attributes.len() > ATTRIBUTES_MAX {
            let reason = format!("more than {ATTRIBUTES_MAX} attributes");
            return Err(Rejection::new(RejectionCode::InvalidAttributes, "/data", reason));
        }
        Ok(())
    }

    fn clear_if_null(&mut self, key: &str, raw: &RawValue, may_be_column: bool) {
        if raw.get() != "null" {
            return;
        }
        let column = self.table.columns().iter().position(|column| column.name == key);
        match column.filter(|_| may_be_column) {
            Some(at) => self.columns[at] = None,
            None if may_be_column && key == "attributes" => self.attributes.clear(),
            None => {
                self.attributes.remove(key);
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        let at = self.table.columns().iter().position(|column| column.name == name)?;
        self.columns[at].as_ref()
    }

    /// Puts pseudonyms in the place of persons, before anything is hashed or stored.
    pub(super) fn pseudonymize(
        &mut self,
        table: Table,
        organization: Option<&OrganizationId>,
        pseudonyms: &Pseudonyms,
    ) {
        let organization = organization.map(OrganizationId::as_str).unwrap_or_default();
        for (column, value) in table.columns().iter().zip(&mut self.columns) {
            if let Some(Value::Text(id)) = value {
                match column.name {
                    "user_id" => *id = Cow::Owned(pseudonyms.user(organization, id)),
                    "anonymous_id" => *id = Cow::Owned(pseudonyms.visitor(id)),
                    _ => {}
                }
            }
        }
    }

    /// The attributes as one JSON object with sorted keys; `None` when there are none.
    pub(super) fn attributes_json(&self) -> Option<String> {
        if self.attributes.is_empty() {
            return None;
        }
        let mut json = String::from("{");
        for (key, value) in &self.attributes {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&serde_json::Value::from(&**key).to_string());
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        Some(json)
    }

    fn attribute(
        &mut self,
        key: Cow<'a, str>,
        json: &'a RawValue,
        parent: &str,
    ) -> Result<(), Rejection> {
        let raw = json.get();
        let refuse = |reason: String| {
            let key = key.replace('~', "~0").replace('/', "~1");
            let pointer = format!("{parent}/{key}");
            Err(Rejection::new(RejectionCode::InvalidAttributes, pointer, reason))
        };
        if raw.starts_with(['{', '[']) {
            return refuse("an attribute is a text, a number or a truth value".into());
        }
        // It is stored as it stands, so it must be readable: half of a surrogate pair is not.
        if raw.starts_with('"') && text(json).is_none() {
            return refuse("not a text".into());
        }
        if raw.len().max(key.len()) > ATTRIBUTE_BYTES_MAX {
            return refuse(format!("longer than {ATTRIBUTE_BYTES_MAX} bytes"));
        }
        if raw == "null" {
            return Ok(());
        }
        if self.attributes.len() >= ATTRIBUTES_MAX && !self.attributes.contains_key(&key) {
            return refuse(format!("more than {ATTRIBUTES_MAX} attributes"));
        }
        self.attributes.insert(key, raw);
        Ok(())
    }
}

fn value<'a>(column: &Column, raw: &'a RawValue) -> Result<Value<'a>, Rejection> {
    let json = raw.get();
    let pointer = || format!("/data/{}", column.name);
    let wrong = |expected: &str| {
        Rejection::new(RejectionCode::WrongType, pointer(), format!("expected {expected}"))
    };
    let invalid = |reason: &str| Rejection::new(RejectionCode::InvalidValue, pointer(), reason);
    match column.kind {
        Kind::Text => {
            let text = text(raw).ok_or_else(|| wrong("text"))?;
            if text.len() > TEXT_BYTES_MAX {
                return Err(invalid("longer than 1024 bytes"));
            }
            Ok(Value::Text(text))
        }
        Kind::Count => match json.parse::<i64>() {
            Ok(count) if count >= 0 => Ok(Value::Count(count)),
            Ok(_) => Err(invalid("must not be negative")),
            Err(_) => Err(wrong("a whole number below 2^63")),
        },
        Kind::Flag => match json {
            "true" => Ok(Value::Flag(true)),
            "false" => Ok(Value::Flag(false)),
            _ => Err(wrong("true or false")),
        },
        Kind::Money => {
            let number = text(raw).unwrap_or(Cow::Borrowed(json));
            money::parse(&number)
                .map(Value::Money)
                .ok_or_else(|| wrong("a decimal with at most 12 digits after the point"))
        }
        Kind::Time => {
            let text = text(raw).ok_or_else(|| wrong("an RFC 3339 time"))?;
            time::parse_rfc3339(&text)
                .map(Value::Time)
                .ok_or_else(|| invalid("not an RFC 3339 time with a zone"))
        }
    }
}

/// The text of a JSON string, borrowed unless it holds an escape; `None` for anything else.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let json = raw.get();
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The members of a JSON object, values unparsed.
fn members<'a>(
    raw: &'a RawValue,
    pointer: &str,
) -> Result<Vec<(Cow<'a, str>, &'a RawValue)>, Rejection> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::with_capacity(32);
            while let Some(key) = map.next_key::<&'de RawValue>()? {
                let key = text(key).ok_or_else(|| A::Error::custom("a name is not a text"))?;
                members.push((key, map.next_value::<&'de RawValue>()?));
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_str(raw.get())
        .deserialize_map(Members)
        .map_err(|_| Rejection::new(RejectionCode::WrongType, pointer, "expected an object"))
}
