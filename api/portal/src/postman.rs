//! A Postman collection (format 2.1) and its environment, made from the contract. `newman` runs it.

use serde_json::{Value, json};

use crate::contract::{Contract, Operation, Place};

const SCHEMA: &str = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json";

/// The collection: a folder for each tag. Each request checks that its answer is one of the contract.
pub fn collection(contract: &Contract) -> Value {
    let document = contract.document();
    let mut folders = Vec::new();
    for tag in document["tags"].as_array().into_iter().flatten() {
        let operations = contract.operations().iter().filter(|operation| {
            // A stream has no end: whoever runs the collection would wait for it.
            tag["name"] == operation.tag && operation.answer.as_deref() != Some("text/event-stream")
        });
        let items: Vec<_> = operations.map(|operation| item(document, operation)).collect();
        folders.push(json!({
            "name": tag["name"], "description": tag["description"], "item": items,
        }));
    }
    json!({
        "info": {
            "name": document["info"]["title"],
            "description": document["info"]["description"],
            "version": document["info"]["version"],
            "schema": SCHEMA,
        },
        "auth": {
            "type": "bearer",
            "bearer": [{"key": "token", "value": "{{api_key}}", "type": "string"}],
        },
        "item": folders,
    })
}

/// The environment: where the server is, and the key.
pub fn environment(base_url: &str) -> Value {
    let value = |key: &str, value: &str, kind: &str| json!({"key": key, "value": value, "type": kind, "enabled": true});
    json!({
        "name": "AI Hub Analytics",
        "values": [value("base_url", base_url, "default"), value("api_key", "", "secret")],
    })
}

fn item(document: &Value, operation: &Operation) -> Value {
    let path: Vec<_> = operation
        .path
        .trim_start_matches('/')
        .split('/')
        .map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => format!(":{name}"),
            None => part.to_owned(),
        })
        .collect();
    let text = |value: &Option<Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let (mut variables, mut query) = (Vec::new(), Vec::new());
    for parameter in &operation.parameters {
        let value = text(&parameter.example);
        let described = json!({
            "key": parameter.name, "value": value, "description": parameter.description,
            "disabled": parameter.place == Place::Query && !parameter.required,
        });
        match parameter.place {
            Place::Path => variables.push(described),
            Place::Query => query.push(described),
        }
    }
    let mut request = json!({
        "method": operation.method,
        "description": format!("{}\n\n{}", operation.summary, operation.description).trim(),
        "header": [],
        "url": {
            "raw": format!("{{{{base_url}}}}/{}", path.join("/")),
            "host": ["{{base_url}}"],
            "path": path,
            "variable": variables,
            "query": query,
        },
    });
    if !operation.needs_key {
        request["auth"] = json!({"type": "noauth"});
    }
    if let Some(body) = &operation.body {
        let is_json = body.content_type.ends_with("json");
        let raw = match &body.example {
            Some(example) if is_json => serde_json::to_string_pretty(example).unwrap_or_default(),
            other => text(other),
        };
        let language = if is_json { "json" } else { "text" };
        request["header"] = json!([{"key": "Content-Type", "value": body.content_type}]);
        request["body"] =
            json!({"mode": "raw", "raw": raw, "options": {"raw": {"language": language}}});
    }
    let answers = &document["paths"][&operation.path][operation.method.to_lowercase()]["responses"];
    let statuses: Vec<_> =
        answers.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let check = format!(
        "pm.test(\"the answer is one of the contract\", () => pm.expect([{}]).to.include(pm.response.code));",
        statuses.join(", ")
    );
    json!({
        "name": operation.id,
        "request": request,
        "event": [{"listen": "test", "script": {"type": "text/javascript", "exec": [check]}}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_variables_its_body_and_a_check() {
        let contract = Contract::read(json!({
            "info": {"title": "T", "version": "1"},
            "tags": [{"name": "keys", "description": "Keys."}],
            "paths": {"/v1/keys/{api_key_id}/rotate": {"post": {
                "operationId": "rotate_key", "tags": ["keys"], "summary": "Rotates.",
                "parameters": [
                    {"name": "api_key_id", "in": "path", "example": "key_1", "schema": {"type": "string"}},
                    {"name": "dry", "in": "query", "schema": {"type": "boolean"}},
                ],
                "requestBody": {"content": {"application/json": {"schema": {}, "example": {"overlap_seconds": 1}}}},
                "responses": {"201": {}, "404": {}},
            }}},
        }));
        let collection = collection(&contract);
        let item = &collection["item"][0]["item"][0];
        assert_eq!(item["request"]["url"]["raw"], "{{base_url}}/v1/keys/:api_key_id/rotate");
        assert_eq!(item["request"]["url"]["variable"][0]["value"], "key_1");
        assert_eq!(item["request"]["url"]["query"][0]["disabled"], true);
        assert_eq!(item["request"]["body"]["raw"], "{\n  \"overlap_seconds\": 1\n}");
        let check = item["event"][0]["script"]["exec"][0].as_str().unwrap();
        assert!(check.contains("[201, 404]"), "{check}");
    }
}
