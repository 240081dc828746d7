//! Operations of the contract, as code samples and SDKs need them.

use serde::Serialize;
use serde_json::Value;

/// Something that a client can ask for: a method of a path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operation {
    /// Unique: the name of a function in `snake_case`.
    pub id: String,
    /// `GET`, `POST` …
    pub method: &'static str,
    /// With `{name}` for its parameters.
    pub path: String,
    /// The area that it is of.
    pub tag: String,
    /// One sentence.
    pub summary: String,
    /// What else there is to know.
    pub description: String,
    /// In the path and behind the `?`.
    pub parameters: Vec<Parameter>,
    /// What is sent.
    pub body: Option<Body>,
    /// The media type of the first answer that is no error; none where it has no body.
    pub answer: Option<String>,
    /// The schema of that answer.
    pub answer_schema: Value,
    /// A key or a session is needed.
    pub needs_key: bool,
    /// The list in the answer, and the member and parameter that lead on to the next page.
    pub page: Option<Page>,
}

/// How a long answer is read page by page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// The member with the list.
    pub items: String,
    /// The member with the cursor; null or absent on the last page.
    pub next: String,
    /// The parameter that takes the cursor.
    pub parameter: String,
}

/// A parameter of an operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parameter {
    /// As it stands in the address.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// It cannot be left out.
    pub required: bool,
    /// `string`, `integer`, `number` or `boolean`.
    pub kind: String,
    /// What it means.
    pub description: String,
    /// A value to show.
    pub example: Option<Value>,
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Between the slashes.
    Path,
    /// Behind the `?`.
    Query,
}

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Body {
    /// The first media type that is taken.
    pub content_type: String,
    /// A body to show.
    pub example: Option<Value>,
    /// Its schema.
    pub schema: Value,
    /// It can be left out.
    pub required: bool,
}

const METHODS: [(&str, &str); 5] =
    [("get", "GET"), ("post", "POST"), ("put", "PUT"), ("patch", "PATCH"), ("delete", "DELETE")];

/// Pairs of a member of an answer and a parameter that takes it.
const CURSORS: [(&str, &str); 4] =
    [("next_page", "page"), ("next_cursor", "cursor"), ("next", "cursor"), ("next", "before")];

/// All operations of a document.
pub(super) fn read(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (name, method) in METHODS {
            if let Some(operation) = item.get(name) {
                all.push(operation_of(document, path, method, operation));
            }
        }
    }
    all
}

fn operation_of(document: &Value, path: &str, method: &'static str, said: &Value) -> Operation {
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    let parameters = said["parameters"].as_array().into_iter().flatten().filter_map(|one| {
        let place = match one["in"].as_str()? {
            "path" => Place::Path,
            "query" => Place::Query,
            _ => return None,
        };
        Some(Parameter {
            name: text(&one["name"]),
            place,
            required: one["required"].as_bool().unwrap_or(place == Place::Path),
            kind: kind_of(&one["schema"]),
            description: text(&one["description"]),
            example: one.get("example").cloned(),
        })
    });
    let parameters: Vec<_> = parameters.collect();
    let body = said["requestBody"]["content"].as_object().and_then(|content| {
        let first = content.get_key_value("application/json").or_else(|| content.iter().next());
        first.map(|(content_type, content)| Body {
            content_type: content_type.clone(),
            example: content.get("example").cloned(),
            schema: content["schema"].clone(),
            required: said["requestBody"]["required"].as_bool().unwrap_or_default(),
        })
    });
    let responses = said["responses"].as_object();
    let good = responses.into_iter().flatten().find(|(status, _)| status.starts_with('2'));
    let content = good.and_then(|(_, response)| response["content"].as_object());
    let answer = content.and_then(|content| {
        let json = content.get_key_value("application/json");
        json.or_else(|| content.iter().next())
    });
    let page = answer.and_then(|(_, content)| page_of(document, &content["schema"], &parameters));
    Operation {
        id: text(&said["operationId"]),
        method,
        path: path.to_owned(),
        tag: text(&said["tags"][0]),
        summary: text(&said["summary"]),
        description: text(&said["description"]),
        parameters,
        body,
        answer: answer.map(|(content_type, _)| content_type.clone()),
        answer_schema: answer.map_or(Value::Null, |(_, content)| content["schema"].clone()),
        needs_key: said["security"].as_array().is_none_or(|needed| !needed.is_empty()),
        page,
    }
}

fn kind_of(schema: &Value) -> String {
    let known = |one: &Value| one.as_str().filter(|kind| *kind != "null").map(str::to_owned);
    match &schema["type"] {
        Value::Array(types) => types.iter().find_map(known),
        one => known(one),
    }
    .unwrap_or_else(|| "string".to_owned())
}

/// The list of an answer that has pages.
fn page_of(document: &Value, schema: &Value, parameters: &[Parameter]) -> Option<Page> {
    let name = schema["$ref"].as_str()?.rsplit('/').next()?;
    let members = document["components"]["schemas"][name]["properties"].as_object()?;
    let takes = |wanted: &str| parameters.iter().any(|one| one.name == wanted);
    let (next, parameter) = CURSORS
        .into_iter()
        .find(|(next, parameter)| members.contains_key(*next) && takes(parameter))?;
    let (items, _) = members.iter().find(|(_, member)| member["type"] == "array")?;
    Some(Page { items: items.clone(), next: next.to_owned(), parameter: parameter.to_owned() })
}
