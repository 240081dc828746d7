//! How the rows of somebody else's file become events: a small TOML that names columns, constants, and the
//! format of the time.
//!
//! ```toml
//! type = "usage.request"            # constant, or from a column: type_column = "kind"
//! source = "/import/billing-2025"   # part of each event's identity
//! organization = "org_acme"         # constant, or from a column: organization_column = "account"
//! id_column = "request_id"          # without it: sha256 of the file, a colon, and the row's number
//!
//! [time]
//! column = "TIMESTAMP"
//! format = "%Y-%m-%d %H:%M:%S%.f"   # strftime in UTC; or rfc3339 (the default), unix_s, unix_ms, unix_us
//!
//! [columns]                         # column of the file = field of the event's data
//! ContextTokens = "input_tokens"
//!
//! [constants]                       # field = value
//! model = "gpt"
//! ```
//! Columns that are not named are left out. Empty CSV fields are absent.

use std::collections::BTreeMap;

use chrono::NaiveDateTime;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    Error, OrganizationId, event,
    schema::Kind,
    time::{self, Micros},
};

/// A mapping that was read and checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    #[serde(rename = "type")]
    event_type: Option<String>,
    type_column: Option<String>,
    source: String,
    organization: Option<String>,
    organization_column: Option<String>,
    id_column: Option<String>,
    time: TimeColumn,
    #[serde(default)]
    columns: BTreeMap<String, String>,
    #[serde(default)]
    constants: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeColumn {
    column: String,
    #[serde(default = "rfc3339")]
    format: String,
}

fn rfc3339() -> String {
    "rfc3339".into()
}

/// The mappings that come with the program, by name.
pub const BUILT_IN: &[(&str, &str)] = &[("azure-llm", include_str!("../maps/azure-llm.toml"))];

impl Mapping {
    /// Parses and checks a mapping.
    ///
    /// # Errors
    /// [`Error::Mapping`] with the line and what is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mapping: Self = toml::from_str(text).map_err(|e| Error::Mapping(e.to_string()))?;
        let refuse = |what: &str| Err(Error::Mapping(what.to_owned()));
        if mapping.event_type.is_some() == mapping.type_column.is_some() {
            return refuse("give either `type` or `type_column`");
        }
        if mapping.event_type.as_deref().is_some_and(|name| event::route(name).is_none()) {
            return refuse("`type` is not usage.request, billing.<kind> or activity.<action>");
        }
        if mapping.organization.is_some() && mapping.organization_column.is_some() {
            return refuse("give `organization` or `organization_column`, not both");
        }
        if mapping.organization.as_deref().is_some_and(|id| OrganizationId::parse(id).is_none()) {
            return refuse("`organization` is not 1 to 64 of A-Z a-z 0-9 _ -");
        }
        if mapping.source.is_empty() {
            return refuse("`source` is empty");
        }
        Ok(mapping)
    }

    /// A mapping that comes with the program.
    pub fn built_in(name: &str) -> Option<Result<Self, Error>> {
        BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| Self::parse(text))
    }

    /// One row of the file as a CloudEvent. `fallback_id` is its id when no column gives one.
    ///
    /// Values that do not fit stay as they are, so that the decoder rejects the event with its reason.
    pub fn event(&self, row: &Map<String, Value>, fallback_id: &str) -> Value {
        let column = |name: &Option<String>| name.as_ref().and_then(|name| present(row, name));
        let event_type =
            self.event_type.clone().map(Value::from).or_else(|| column(&self.type_column));
        let subject = self
            .organization
            .clone()
            .map(Value::from)
            .or_else(|| column(&self.organization_column));
        let id = column(&self.id_column).map_or_else(|| fallback_id.into(), as_text);
        let mut data: Map<String, Value> =
            self.constants.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let table = event_type.as_ref().and_then(Value::as_str).and_then(event::route);
        for (from, to) in &self.columns {
            if let Some(value) = present(row, from) {
                let kind = table.and_then(|(table, _)| {
                    table.columns().iter().find(|column| column.name == to).map(|c| c.kind)
                });
                data.insert(to.clone(), coerce(value, kind));
            }
        }
        let time = present(row, &self.time.column).map(|value| self.time.read(value));
        json!({
            "specversion": "1.0",
            "id": id,
            "source": self.source,
            "type": event_type,
            "subject": subject,
            "time": time,
            "data": data,
        })
    }
}

impl TimeColumn {
    fn read(&self, value: Value) -> Value {
        let number = || value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
        let micros: Option<Micros> = match self.format.as_str() {
            "rfc3339" => return value,
            "unix_s" => number().and_then(|n: i64| n.checked_mul(1_000_000)),
            "unix_ms" => number().and_then(|n: i64| n.checked_mul(1_000)),
            "unix_us" => number(),
            format => value
                .as_str()
                .and_then(|text| NaiveDateTime::parse_from_str(text.trim(), format).ok())
                .map(|at| at.and_utc().timestamp_micros()),
        };
        micros.and_then(time::in_range).map_or(value, |at| time::to_rfc3339(at).into())
    }
}

fn present(row: &Map<String, Value>, name: &str) -> Option<Value> {
    let value = row.get(name)?;
    let absent = value.is_null() || value.as_str().is_some_and(str::is_empty);
    (!absent).then(|| value.clone())
}

fn as_text(value: Value) -> Value {
    if value.is_string() { value } else { value.to_string().into() }
}

/// CSV knows only text: what the column asks for is read out of it.
fn coerce(value: Value, kind: Option<Kind>) -> Value {
    match (kind, &value) {
        (Some(Kind::Count), Value::String(text)) => {
            text.trim().parse::<i64>().map_or(value, Value::from)
        }
        (Some(Kind::Flag), Value::String(text)) => match text.trim() {
            "true" | "True" | "TRUE" | "1" => true.into(),
            "false" | "False" | "FALSE" | "0" => false.into(),
            _ => value,
        },
        (Some(Kind::Text), other) if !other.is_string() => as_text(value),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_azure_trace_maps() {
        let mapping = Mapping::built_in("azure-llm").unwrap().unwrap();
        let row = json!({"TIMESTAMP": "2023-11-16 18:15:46.6805900", "ContextTokens": "374", "GeneratedTokens": "44"});
        let event = mapping.event(row.as_object().unwrap(), "abc:1");
        assert_eq!(event["time"], "2023-11-16T18:15:46.680590Z");
        assert_eq!(event["id"], "abc:1");
        assert_eq!(event["data"]["input_tokens"], 374);
        assert_eq!(event["data"]["model"], "azure-llm");
    }

    #[test]
    fn unusable_mappings_are_refused() {
        let time = "[time]\ncolumn = \"t\"\n";
        for (text, part) in [
            ("source = \"/x\"\n", "give either"),
            ("type = \"usage.nothing\"\nsource = \"/x\"\n", "`type` is not"),
            ("type = \"usage.request\"\nsource = \"\"\n", "`source` is empty"),
            ("type = \"usage.request\"\nsource = \"/x\"\ncolor = 1\n", "unknown field"),
        ] {
            let error = Mapping::parse(&format!("{text}{time}")).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
