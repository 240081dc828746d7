//! What is the same for every operation, and so stands in no attribute of a route: answers to what any request may meet,
//! who may ask without a key, descriptions of the tags, and examples.

use std::{collections::BTreeMap, sync::LazyLock};

use actix_web::http::StatusCode;
use rest::{
    principal::SESSION_COOKIE,
    problem::{self, Code, Problem},
};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

/// The frame of the document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "AI Hub Analytics",
        description = "Usage and billing events in; SQL, metrics and forecasts out.\n\nErrors are RFC 9457 problems with a \
            stable `code`. Each answer has `X-Request-Id`. Times are RFC 3339 in UTC.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(rest::problem::Problem)),
    security(("api_key" = []), ("session" = [])),
)]
pub(super) struct Frame;

/// The tags, in the order of the document.
const TAGS: [(&str, &str); 23] = [
    ("events", "Send events, correct them, and ask whether one arrived."),
    ("dead letters", "Rejected events: look at them, and send them again."),
    ("query", "SQL over events: answers, background queries and saved queries."),
    ("metrics", "The catalog of metrics, and their values."),
    ("analyses", "Funnels, retention, lifecycle, sessions and paths."),
    ("anomalies", "Unusual values of metrics, their causes, and customers at risk."),
    ("forecasts", "Forecasts of metrics."),
    ("dashboards", "Own dashboards and links to them."),
    ("reports", "Reports, their schedules and runs."),
    ("alerts", "Rules that watch metrics, and their incidents."),
    ("annotations", "Notes on the time axis of charts."),
    ("usage", "Requests and tokens by time."),
    ("quotas", "Limits of plans: what is used, reserved and left."),
    ("plans", "Plans, and limits of organizations that differ from them."),
    ("billing", "Prices, subscriptions, invoices and payments."),
    ("keys", "API keys: their scopes, limits and rotation."),
    ("webhooks", "Endpoints that are told what happened, and what was sent to them."),
    ("developer", "Code samples, SDKs and the own requests."),
    ("accounts", "Sign-in, the own account, and what administrators do with users."),
    ("members", "Members, invitations and projects of an organization."),
    ("organizations", "Organizations, their status and their rules for keys."),
    ("audit", "Who did what: a chain that nobody can edit unseen."),
    ("operation", "Health, metrics of the server and its jobs."),
];

/// Tags that only operators meet.
const LAST_TAG: (&str, &str) = ("erasures", "Removes what says something of a person.");

/// What a request without credentials may ask.
const OPEN: [&str; 6] =
    ["get_health", "get_readiness", "login", "answer_second_factor", "issue_tokens", "get_openapi"];

/// An answer that any operation may give.
struct Common {
    status: &'static str,
    name: &'static str,
    description: &'static str,
    has_retry_after: bool,
    applies: fn(&Value) -> bool,
    /// One of the problems that it may be.
    example: fn() -> Problem,
}

const ALWAYS: fn(&Value) -> bool = |_| true;
const WITH_BODY: fn(&Value) -> bool = |operation| operation.get("requestBody").is_some();
/// What takes nothing and is for everybody has nothing that could be wrong.
const WITH_INPUT: fn(&Value) -> bool = |operation| {
    let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
    !is_open || operation.get("requestBody").is_some() || operation.get("parameters").is_some()
};
const NEVER: fn(&Value) -> bool = |_| false;

const COMMON: [Common; 11] = [
    Common::new(
        "400",
        "BadRequest",
        "A parameter or the body is not possible.",
        WITH_INPUT,
        || Problem::invalid_parameters("a parameter of the address: unknown field `organisation`"),
    ),
    Common::new("401", "Unauthorized", "No credentials, or wrong ones.", NEVER, || {
        Problem::unauthorized(Code::NoCredentials, "sign in, or send an API key")
    }),
    Common::new("403", "Forbidden", "A permission is missing.", NEVER, || {
        Problem::forbidden(Code::Forbidden, "this needs the permission `administer`")
    }),
    Common::new(
        "404",
        "NotFound",
        "Nothing is there, or it belongs to somebody else.",
        NEVER,
        || Problem::not_found("there is no such invoice"),
    ),
    Common::new("408", "RequestTimeout", "The body did not come in time.", WITH_BODY, || {
        Problem::new(StatusCode::REQUEST_TIMEOUT, Code::RequestTimeout)
    }),
    Common::new("409", "Conflict", "It cannot be done as things stand.", NEVER, || {
        Problem::conflict(
            Code::RequestInProgress,
            "a request with this `Idempotency-Key` is under way",
        )
    }),
    Common::new("413", "PayloadTooLarge", "The body is too large.", WITH_BODY, || {
        Problem::payload_too_large("a body has at most 16777216 bytes after decompression")
    }),
    Common::new(
        "415",
        "UnsupportedMediaType",
        "Another content type or coding.",
        WITH_BODY,
        || Problem::unsupported_media_type("the body must be application/json"),
    ),
    Common::new("429", "TooManyRequests", "Too much at once.", ALWAYS, || {
        Problem::too_many_requests(1)
    })
    .with_retry_after(),
    Common::new("500", "InternalError", "Our fault.", ALWAYS, Problem::internal),
    Common::new("503", "Unavailable", "Not now.", ALWAYS, || Problem::unavailable(1))
        .with_retry_after(),
];

impl Common {
    const fn new(
        status: &'static str,
        name: &'static str,
        description: &'static str,
        applies: fn(&Value) -> bool,
        example: fn() -> Problem,
    ) -> Self {
        Self { status, name, description, has_retry_after: false, applies, example }
    }

    const fn with_retry_after(self) -> Self {
        Self { has_retry_after: true, ..self }
    }

    fn example(&self) -> Value {
        let mut example = serde_json::to_value((self.example)()).unwrap_or_default();
        example["instance"] = "01a2303d-f726-77d7-9daf-83f29dc1a353".into();
        example
    }

    fn response(&self) -> Value {
        let schema = json!({"$ref": "#/components/schemas/Problem"});
        let mut response = json!({
            "description": self.description,
            "content": {problem::CONTENT_TYPE: {"schema": schema, "example": self.example()}},
        });
        if self.has_retry_after {
            response["headers"] = json!({"Retry-After": {
                "description": "Seconds until another attempt makes sense.",
                "schema": {"type": "integer", "minimum": 0},
            }});
        }
        response
    }
}

/// Examples of bodies, by operation; values of parameters of paths, by name.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Examples {
    paths: BTreeMap<String, Value>,
    bodies: BTreeMap<String, Value>,
}

static EXAMPLES: LazyLock<Examples> =
    LazyLock::new(|| serde_yaml_ng::from_str(include_str!("examples.yaml")).unwrap_or_default());

/// Examples of answers, by operation.
static ANSWERS: LazyLock<BTreeMap<String, Value>> =
    LazyLock::new(|| serde_yaml_ng::from_str(include_str!("answers.yaml")).unwrap_or_default());

/// Completes a document of routes.
pub(super) fn complete(document: &mut Value) {
    document["servers"] = json!([{"url": "/", "description": "This server"}]);
    let mut used = Vec::new();
    if let Some(paths) = document["paths"].as_object_mut() {
        for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(operations) {
            used.extend(operation["tags"][0].as_str().map(str::to_owned));
            complete_operation(operation);
        }
    }
    let tags =
        TAGS.into_iter().chain([LAST_TAG]).filter(|(name, _)| used.iter().any(|tag| tag == name));
    document["tags"] =
        tags.map(|(name, description)| json!({"name": name, "description": description})).collect();
    open_parts(document);
    let components = &mut document["components"];
    let responses = COMMON.iter().map(|common| (common.name.to_owned(), common.response()));
    components["responses"] = Value::Object(responses.collect());
    components["securitySchemes"] = json!({
        "api_key": {"type": "http", "scheme": "bearer", "description": "An API key, or an access token."},
        "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE, "description": "The session of a browser."},
    });
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    debug_assert_eq!(components["schemas"]["Code"]["enum"], json!(codes));
    // Where a route says more of an answer itself.
    let not_found = COMMON.iter().find(|common| common.status == "404");
    components["schemas"]["Problem"]["example"] = not_found.map(Common::example).into();
    prune(document);
}

/// A schema that is a part of another one knows some of its members only, so it must not refuse the others.
fn open_parts(document: &mut Value) {
    open_inline(document);
    let mut parts = Vec::new();
    references(document, "allOf", false, &mut parts);
    for name in parts {
        let schema = &mut document["components"]["schemas"][&name];
        if schema["additionalProperties"] == false
            && let Some(schema) = schema.as_object_mut()
        {
            schema.remove("additionalProperties");
        }
    }
}

/// The same of parts that are written where they stand.
fn open_inline(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(open_inline),
        Value::Object(members) => {
            for part in members.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten()
            {
                if part["additionalProperties"] == false
                    && let Some(part) = part.as_object_mut()
                {
                    part.remove("additionalProperties");
                }
            }
            members.values_mut().for_each(open_inline);
        }
        _ => {}
    }
}

/// Removes schemas and answers that nothing refers to.
fn prune(document: &mut Value) {
    for kind in ["responses", "schemas"] {
        loop {
            let mut used = Vec::new();
            references(document, kind, true, &mut used);
            let Some(all) = document["components"][kind].as_object_mut() else { break };
            let before = all.len();
            all.retain(|name, _| used.contains(name));
            if all.len() == before {
                break;
            }
        }
    }
}

/// The names that are referred to: those of a kind of component, or, inside of a member, all.
fn references(value: &Value, within: &str, is_inside: bool, found: &mut Vec<String>) {
    match value {
        Value::Array(values) => {
            values.iter().for_each(|value| references(value, within, is_inside, found));
        }
        Value::Object(members) => {
            for (name, value) in members {
                if name == "$ref" && is_inside {
                    let reference =
                        value.as_str().and_then(|text| text.strip_prefix("#/components/"));
                    let parts = reference.and_then(|text| text.split_once('/'));
                    let fits = parts.filter(|(kind, _)| within == "allOf" || *kind == within);
                    found.extend(fits.map(|(_, name)| name.to_owned()));
                } else if within == "allOf" {
                    references(value, within, name == "allOf", found);
                } else {
                    references(value, within, is_inside, found);
                }
            }
        }
        _ => {}
    }
}

fn operations(item: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    let is_method =
        |name: &String| ["get", "put", "post", "delete", "patch"].contains(&name.as_str());
    item.iter_mut().filter(move |(name, _)| is_method(name)).map(|(_, operation)| operation)
}

fn complete_operation(operation: &mut Value) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    if OPEN.contains(&id.as_str()) {
        operation["security"] = json!([]);
    }
    // `security(())` of an attribute is an empty requirement.
    if operation["security"] == json!([{}]) {
        operation["security"] = json!([]);
    }
    let applied = COMMON.map(|common| (common.applies)(operation));
    for (common, applies) in COMMON.iter().zip(applied) {
        let said = &mut operation["responses"][common.status];
        let reference = json!({"$ref": format!("#/components/responses/{}", common.name)});
        let is_plain = !said.is_null() && said["description"].as_str().is_none_or(str::is_empty);
        if (said.is_null() && applies) || is_plain {
            *said = reference;
        }
    }
    if let Some(responses) = operation["responses"].as_object_mut() {
        responses.retain(|_, response| !response.is_null());
        for (status, response) in responses {
            name_problem(response);
            describe(status, response);
            if status.starts_with('2')
                && let Some(example) = ANSWERS.get(&id)
                && let Some(body) = response.pointer_mut("/content/application~1json")
            {
                body["example"] = example.clone();
            }
        }
    }
    for parameter in
        operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten()
    {
        let name = parameter["name"].as_str().unwrap_or_default();
        if parameter["in"] == "path"
            && let Some(example) = EXAMPLES.paths.get(name)
        {
            let number = example.as_str().and_then(|text| text.parse::<i64>().ok());
            parameter["example"] = match number.filter(|_| parameter["schema"]["type"] == "integer")
            {
                Some(number) => number.into(),
                None => example.clone(),
            };
        }
    }
    if let Some(example) = EXAMPLES.bodies.get(&id)
        && let Some(content) = operation["requestBody"]["content"].as_object_mut()
        && let Some(body) = match content.contains_key("application/json") {
            true => content.get_mut("application/json"),
            false => content.values_mut().next(),
        }
    {
        body["example"] = example.clone();
    }
    if operation["requestBody"].is_null()
        && let Some(operation) = operation.as_object_mut()
    {
        operation.remove("requestBody");
    }
}

/// A problem has a media type of its own, whatever a route forgot to say.
fn name_problem(response: &mut Value) {
    let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) else { return };
    let is_problem = |body: &Value| body["schema"]["$ref"] == "#/components/schemas/Problem";
    if content.get("application/json").is_some_and(is_problem)
        && let Some(body) = content.remove("application/json")
    {
        content.insert(problem::CONTENT_TYPE.to_owned(), body);
    }
}

/// Every answer says what it is.
fn describe(status: &str, response: &mut Value) {
    if response["$ref"].is_null() && response["description"].as_str().is_none_or(str::is_empty) {
        let text = match status {
            "201" => "It was created.",
            "202" => "It was accepted, and goes on.",
            "204" => "It was done.",
            _ => "The answer.",
        };
        response["description"] = text.into();
    }
    if response["$ref"].is_string()
        && let Some(response) = response.as_object_mut()
    {
        response.retain(|name, _| name == "$ref");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_read() {
        let read: Result<Examples, _> = serde_yaml_ng::from_str(include_str!("examples.yaml"));
        let read = read.unwrap();
        assert!(read.paths.len() > 10 && read.bodies.len() > 40, "{read:?}");
        let answers: Result<BTreeMap<String, Value>, _> =
            serde_yaml_ng::from_str(include_str!("answers.yaml"));
        assert!(answers.unwrap().len() > 30);
    }
}
