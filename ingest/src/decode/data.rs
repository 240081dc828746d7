//! The `data` of an event: its columns by name, and attributes for the rest.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::missing;
use crate::{
    OrganizationId, Rejection, RejectionCode, Table,
    identity::Pseudonyms,
    mapping::Cell,
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

impl Value<'_> {
    /// As JSON, in the form that a sender uses.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => (**text).into(),
            Self::Count(count) => (*count).into(),
            Self::Flag(flag) => (*flag).into(),
            Self::Money(amount) => money::text(*amount, money::SCALE).into(),
            Self::Time(at) => time::to_rfc3339(*at).into(),
        }
    }
}

/// The columns of one event, in the order of [`Table::columns`], and its attributes as raw JSON scalars.
#[derive(Debug)]
pub(super) struct Values<'a> {
    table: Table,
    pub(super) columns: Vec<Option<Value<'a>>>,
    attributes: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
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
    let mut values = Values::new(table, word);
    let named = usize::from(word.is_some());
    let Some(data) = data else { return Ok(values) };
    for (key, raw) in members(data, "/data")? {
        if raw.get() == "null" {
            continue;
        }
        if let Some(at) = columns.iter().skip(named).position(|column| column.name == key) {
            let column = &columns[at + named];
            values.columns[at + named] = Some(value(column, raw.get())?);
        } else if key == "attributes" {
            for (key, raw) in members(raw, "/data/attributes")? {
                values.attribute(key, raw.get().into(), "/data/attributes")?;
            }
        } else {
            values.attribute(key, raw.get().into(), "/data")?;
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
    /// No values yet but the one that the event's type tells.
    pub(super) fn new(table: Table, word: Option<&'a str>) -> Self {
        let mut columns = vec![None; table.columns().len()];
        if let Some(word) = word {
            columns[0] = Some(Value::Text(Cow::Borrowed(word)));
        }
        Self { table, columns, attributes: BTreeMap::new() }
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

    /// Adds an attribute, a JSON scalar.
    pub(super) fn attribute(
        &mut self,
        key: Cow<'a, str>,
        raw: Cow<'a, str>,
        parent: &str,
    ) -> Result<(), Rejection> {
        let refuse = |reason: String| {
            let key = key.replace('~', "~0").replace('/', "~1");
            let pointer = format!("{parent}/{key}");
            Err(Rejection::new(RejectionCode::InvalidAttributes, pointer, reason))
        };
        if raw.starts_with(['{', '[']) {
            return refuse("an attribute is a text, a number or a truth value".into());
        }
        // It is stored as it stands, so it must be readable: half of a surrogate pair is not.
        if raw.starts_with('"') && text(&raw).is_none() {
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

/// What a column accepts, whatever form the value came in.
impl Column {
    fn pointer(&self) -> String {
        format!("/data/{}", self.name)
    }

    fn wrong(&self) -> Rejection {
        let expected = match self.kind {
            Kind::Text => "text",
            Kind::Count => "a whole number below 2^63",
            Kind::Flag => "true or false",
            Kind::Money => "a decimal with at most 12 digits after the point",
            Kind::Time => "an RFC 3339 time",
        };
        Rejection::new(RejectionCode::WrongType, self.pointer(), format!("expected {expected}"))
    }

    fn invalid(&self, reason: &str) -> Rejection {
        Rejection::new(RejectionCode::InvalidValue, self.pointer(), reason)
    }

    fn text<'a>(&self, text: Option<Cow<'a, str>>) -> Result<Value<'a>, Rejection> {
        match text {
            Some(text) if text.len() <= TEXT_BYTES_MAX => Ok(Value::Text(text)),
            Some(_) => Err(self.invalid("longer than 1024 bytes")),
            None => Err(self.wrong()),
        }
    }

    fn count<'a>(&self, count: Option<i64>) -> Result<Value<'a>, Rejection> {
        match count {
            Some(count) if count >= 0 => Ok(Value::Count(count)),
            Some(_) => Err(self.invalid("must not be negative")),
            None => Err(self.wrong()),
        }
    }

    fn time<'a>(&self, text: Option<&str>) -> Result<Value<'a>, Rejection> {
        let text = text.ok_or_else(|| self.wrong())?;
        time::parse_rfc3339(text)
            .map(Value::Time)
            .ok_or_else(|| self.invalid("not an RFC 3339 time with a zone"))
    }
}

/// A JSON value as its column asks.
fn value<'a>(column: &Column, json: &'a str) -> Result<Value<'a>, Rejection> {
    match column.kind {
        Kind::Text => column.text(text(json)),
        Kind::Count => column.count(json.parse().ok()),
        Kind::Flag => json.parse().map(Value::Flag).map_err(|_| column.wrong()),
        Kind::Money => {
            let number = text(json).unwrap_or(Cow::Borrowed(json));
            money::parse(&number).map(Value::Money).ok_or_else(|| column.wrong())
        }
        Kind::Time => column.time(text(json).as_deref()),
    }
}

/// A cell of a file as its column asks. Files are less exact about types than senders: the text `5` is a count.
pub(super) fn cell_value<'a>(column: &Column, cell: Cell<'a>) -> Result<Value<'a>, Rejection> {
    match (column.kind, cell) {
        (Kind::Text, Cell::Text(text)) => column.text(Some(text)),
        (Kind::Text, cell) => column.text(cell.text().map(|text| Cow::Owned(text.into_owned()))),
        (Kind::Count, cell) => column.count(cell.count()),
        (Kind::Flag, cell) => cell.flag().map(Value::Flag).ok_or_else(|| column.wrong()),
        (Kind::Money, cell) => cell.money().map(Value::Money).ok_or_else(|| column.wrong()),
        (Kind::Time, Cell::Time(at)) => time::in_range(at)
            .map(Value::Time)
            .ok_or_else(|| column.invalid("not a time between 1970 and 2261")),
        (Kind::Time, Cell::Text(text)) => column.time(Some(text.trim())),
        (Kind::Time, _) => Err(column.wrong()),
    }
}

/// The text of a JSON string, borrowed unless it holds an escape; `None` for anything else.
pub(crate) fn text(json: &str) -> Option<Cow<'_, str>> {
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
                let key =
                    text(key.get()).ok_or_else(|| A::Error::custom("a name is not a text"))?;
                members.push((key, map.next_value::<&'de RawValue>()?));
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_str(raw.get())
        .deserialize_map(Members)
        .map_err(|_| Rejection::new(RejectionCode::WrongType, pointer, "expected an object"))
}
