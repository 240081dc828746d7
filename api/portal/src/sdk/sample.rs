//! Code samples: one request in each language.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{SdkLanguage, camel, identifier};
use crate::contract::{Operation, Place};

/// What a request is made with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Values of parameters, by their names. Those of the path that are missing are examples.
    pub parameters: BTreeMap<String, String>,
    /// The body as text; none: the example of the contract.
    pub body: Option<String>,
}

/// The code of a request. The address and the key come from the environment: `AIHUB_URL` and `AIHUB_API_KEY`.
pub fn sample(operation: &Operation, language: SdkLanguage, values: &Sample) -> String {
    let request = Request::new(operation, values);
    match language {
        SdkLanguage::Curl => request.curl(),
        SdkLanguage::Python => request.python(),
        SdkLanguage::JavaScript => request.javascript(),
        SdkLanguage::Php => request.php(),
    }
}

struct Request<'a> {
    operation: &'a Operation,
    /// In the order of the path.
    path: Vec<(&'a str, String)>,
    query: Vec<(&'a str, String)>,
    body: Option<BodyText>,
}

/// A body, and as a value if it is JSON.
struct BodyText {
    text: String,
    value: Option<Value>,
}

impl<'a> Request<'a> {
    fn new(operation: &'a Operation, values: &Sample) -> Self {
        let given =
            |name: &str| values.parameters.get(name).filter(|value| !value.is_empty()).cloned();
        let (mut path, mut query) = (Vec::new(), Vec::new());
        for parameter in &operation.parameters {
            let example = || {
                let example = parameter.example.as_ref();
                example.map_or_else(|| parameter.name.clone(), plain)
            };
            let name = parameter.name.as_str();
            match (parameter.place, given(name)) {
                (Place::Path, value) => path.push((name, value.unwrap_or_else(example))),
                (Place::Query, Some(value)) => query.push((name, value)),
                (Place::Query, None) if parameter.required => query.push((name, example())),
                (Place::Query, None) => {}
            }
        }
        let body = operation.body.as_ref().and_then(|body| {
            let example = || match (&body.example, body.content_type.ends_with("json")) {
                (Some(example), true) => serde_json::to_string_pretty(example).ok(),
                (Some(example), false) => Some(plain(example)),
                (None, _) => None,
            };
            let text = values.body.clone().filter(|text| !text.is_empty()).or_else(example)?;
            let is_json = body.content_type.ends_with("json");
            let value = serde_json::from_str(&text).ok().filter(|_| is_json);
            Some(BodyText { text, value })
        });
        Self { operation, path, query, body }
    }

    fn address(&self) -> String {
        let mut address = self.operation.path.clone();
        for (name, value) in &self.path {
            address = address.replace(&format!("{{{name}}}"), &encoded(value));
        }
        let query: Vec<_> =
            self.query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        match query.is_empty() {
            true => address,
            false => format!("{address}?{}", query.join("&")),
        }
    }

    fn curl(&self) -> String {
        let mut lines = vec![format!("curl -sS \"$AIHUB_URL{}\"", self.address())];
        if self.operation.method != "GET" {
            lines[0] = lines[0].replacen("-sS", &format!("-sS -X {}", self.operation.method), 1);
        }
        if self.operation.needs_key {
            lines.push("-H \"Authorization: Bearer $AIHUB_API_KEY\"".to_owned());
        }
        if let (Some(body), Some(said)) = (&self.body, &self.operation.body) {
            let content_type =
                if body.value.is_some() { said.content_type.as_str() } else { &said.content_type };
            lines.push(format!("-H 'Content-Type: {content_type}'"));
            let text = match &body.value {
                Some(value) => value.to_string(),
                None => body.text.clone(),
            };
            lines.push(format!("--data-binary '{}'", text.replace('\'', "'\\''")));
        }
        lines.join(" \\\n  ") + "\n"
    }

    /// The arguments of a call: those of the path, the body, and the others.
    fn arguments(&self, literal: fn(&Value, usize) -> String) -> Vec<String> {
        let mut arguments: Vec<_> =
            self.path.iter().map(|(_, value)| literal(&value.clone().into(), 0)).collect();
        match &self.body {
            Some(BodyText { value: Some(value), .. }) => arguments.push(literal(value, 0)),
            Some(BodyText { text, .. }) => arguments.push(literal(&text.clone().into(), 0)),
            None => {}
        }
        arguments
    }

    fn python(&self) -> String {
        let mut arguments = self.arguments(python);
        let named = |(name, value): &(&str, String)| {
            format!("{}={}", identifier(name), self.typed(name, value, python))
        };
        arguments.extend(self.query.iter().map(named));
        let call = format!("client.{}({})", self.operation.id, arguments.join(", "));
        format!(
            "import os\n\nfrom aihub_analytics import Client\n\n\
             client = Client(os.environ[\"AIHUB_URL\"], os.environ[\"AIHUB_API_KEY\"])\nprint({call})\n"
        )
    }

    fn javascript(&self) -> String {
        let mut arguments = self.arguments(javascript);
        if !self.query.is_empty() {
            let named = |(name, value): &(&str, String)| {
                format!("{}: {}", camel(name), self.typed(name, value, javascript))
            };
            let named: Vec<_> = self.query.iter().map(named).collect();
            arguments.push(format!("{{ {} }}", named.join(", ")));
        }
        let call = format!("client.{}({})", camel(&self.operation.id), arguments.join(", "));
        format!(
            "import {{ Client }} from \"aihub-analytics\";\n\n\
             const client = new Client(process.env.AIHUB_URL, process.env.AIHUB_API_KEY);\n\
             console.log(await {call});\n"
        )
    }

    fn php(&self) -> String {
        let mut arguments = self.arguments(php);
        let named = |(name, value): &(&str, String)| {
            format!("{}: {}", camel(name), self.typed(name, value, php))
        };
        arguments.extend(self.query.iter().map(named));
        let call = format!("$client->{}({})", camel(&self.operation.id), arguments.join(", "));
        format!(
            "<?php\nrequire 'aihub-analytics-php/autoload.php';\n\n\
             $client = new AiHub\\Analytics\\Client(getenv('AIHUB_URL'), getenv('AIHUB_API_KEY'));\n\
             print_r({call});\n"
        )
    }

    /// A value of the address in the type of its parameter.
    fn typed(&self, name: &str, value: &str, literal: fn(&Value, usize) -> String) -> String {
        let kind = self.operation.parameters.iter().find(|one| one.name == name);
        let typed = match kind.map(|parameter| parameter.kind.as_str()) {
            Some("integer" | "number" | "boolean") => serde_json::from_str(value).ok(),
            _ => None,
        };
        literal(&typed.unwrap_or_else(|| value.into()), 0)
    }
}

/// A value as it stands in an address.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// For one part of an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn pad(depth: usize) -> String {
    "    ".repeat(depth)
}

/// Short values stand in one line.
fn spread(parts: &[String], (open, close): (&str, &str), depth: usize) -> String {
    let line = format!("{open}{}{close}", parts.join(", "));
    if line.len() <= 90 && !line.contains('\n') {
        return line;
    }
    let inner = pad(depth + 1);
    let lines: Vec<_> = parts.iter().map(|part| format!("{inner}{part},")).collect();
    format!("{open}\n{}\n{}{close}", lines.join("\n"), pad(depth))
}

fn python(value: &Value, depth: usize) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Array(values) => {
            let parts: Vec<_> = values.iter().map(|value| python(value, depth + 1)).collect();
            spread(&parts, ("[", "]"), depth)
        }
        Value::Object(members) => {
            let part = |(name, value): (&String, &Value)| {
                format!("{}: {}", Value::from(name.as_str()), python(value, depth + 1))
            };
            spread(&members.iter().map(part).collect::<Vec<_>>(), ("{", "}"), depth)
        }
        other => other.to_string(),
    }
}

fn javascript(value: &Value, depth: usize) -> String {
    match value {
        Value::Array(values) => {
            let parts: Vec<_> = values.iter().map(|value| javascript(value, depth + 1)).collect();
            spread(&parts, ("[", "]"), depth)
        }
        Value::Object(members) => {
            let is_name = |name: &str| {
                name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                    && !name.starts_with(|first: char| first.is_ascii_digit())
            };
            let part = |(name, value): (&String, &Value)| {
                let value = javascript(value, depth + 1);
                match is_name(name) {
                    true => format!("{name}: {value}"),
                    false => format!("{}: {value}", Value::from(name.as_str())),
                }
            };
            spread(&members.iter().map(part).collect::<Vec<_>>(), ("{ ", " }"), depth)
        }
        other => other.to_string(),
    }
}

fn php(value: &Value, depth: usize) -> String {
    match value {
        Value::String(text) => php_text(text),
        Value::Array(values) => {
            let parts: Vec<_> = values.iter().map(|value| php(value, depth + 1)).collect();
            spread(&parts, ("[", "]"), depth)
        }
        Value::Object(members) if members.is_empty() => "new stdClass()".into(),
        Value::Object(members) => {
            let part = |(name, value): (&String, &Value)| {
                format!("{} => {}", php_text(name), php(value, depth + 1))
            };
            spread(&members.iter().map(part).collect::<Vec<_>>(), ("[", "]"), depth)
        }
        other => other.to_string(),
    }
}

/// In double quotes only where a line ends within.
fn php_text(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\");
    match text.contains('\n') {
        true => {
            format!("\"{}\"", escaped.replace('"', "\\\"").replace('$', "\\$").replace('\n', "\\n"))
        }
        false => format!("'{}'", escaped.replace('\'', "\\'")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::contract::Contract;

    fn contract() -> Contract {
        Contract::read(json!({"paths": {
            "/v1/metrics/{name}": {"get": {
                "operationId": "get_metric", "summary": "A metric.",
                "parameters": [
                    {"name": "name", "in": "path", "required": true, "example": "requests", "schema": {"type": "string"}},
                    {"name": "from", "in": "query", "schema": {"type": "string"}},
                    {"name": "limit", "in": "query", "schema": {"type": "integer"}},
                ],
                "responses": {"200": {"content": {"application/json": {"schema": {}}}}},
            }},
            "/v1/alerts": {"post": {
                "operationId": "create_alert", "summary": "An alert.",
                "requestBody": {"required": true, "content": {"application/json": {
                    "schema": {}, "example": {"title": "It's $5", "muted": false, "by": null}}}},
                "responses": {"201": {"content": {"application/json": {"schema": {}}}}},
            }},
        }}))
    }

    #[test]
    fn a_request_is_written_in_each_language() {
        let contract = contract();
        let operation = contract.operation("get_metric").unwrap();
        let parameters = [("from", "2026-01-01"), ("limit", "5"), ("name", "a b")];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let values = Sample { parameters, body: None };
        let code = |language| sample(operation, language, &values);
        assert_eq!(
            code(SdkLanguage::Curl),
            "curl -sS \"$AIHUB_URL/v1/metrics/a%20b?from=2026-01-01&limit=5\" \\\n  \
             -H \"Authorization: Bearer $AIHUB_API_KEY\"\n"
        );
        let calls = [
            (SdkLanguage::Python, r#"client.get_metric("a b", from_="2026-01-01", limit=5)"#),
            (
                SdkLanguage::JavaScript,
                r#"client.getMetric("a b", { from: "2026-01-01", limit: 5 })"#,
            ),
            (SdkLanguage::Php, "$client->getMetric('a b', from: '2026-01-01', limit: 5)"),
        ];
        for (language, call) in calls {
            assert!(code(language).contains(call), "{}", code(language));
        }
    }

    #[test]
    fn values_are_literals_of_each_language() {
        let contract = contract();
        let operation = contract.operation("create_alert").unwrap();
        let code = |language| sample(operation, language, &Sample::default());
        assert!(code(SdkLanguage::Curl).contains(r#""title":"It'\''s $5""#));
        let calls = [
            (
                SdkLanguage::Python,
                r#"create_alert({"by": None, "muted": False, "title": "It's $5"})"#,
            ),
            (
                SdkLanguage::JavaScript,
                r#"createAlert({ by: null, muted: false, title: "It's $5" })"#,
            ),
            (
                SdkLanguage::Php,
                r"createAlert(['by' => null, 'muted' => false, 'title' => 'It\'s $5'])",
            ),
        ];
        for (language, call) in calls {
            assert!(code(language).contains(call), "{}", code(language));
        }
    }
}
