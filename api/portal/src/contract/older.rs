//! The same contract as OpenAPI 3.0.3, whose schemas are not yet those of JSON Schema.

use serde_json::{Map, Value, json};

/// The document in 3.0.3.
pub(super) fn older(document: &Value) -> Value {
    let mut document = document.clone();
    document["openapi"] = "3.0.3".into();
    if let Some(license) = document["info"]["license"].as_object_mut() {
        license.remove("identifier");
    }
    document["info"]["license"]["url"] = "https://www.apache.org/licenses/LICENSE-2.0".into();
    walk(&mut document);
    document
}

fn walk(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(walk),
        Value::Object(members) => {
            for (name, value) in members.iter_mut().filter(|(name, _)| !is_data(name)) {
                match value {
                    // The members of a value: any names.
                    Value::Object(properties) if name == "properties" => {
                        properties.values_mut().for_each(walk);
                    }
                    value => walk(value),
                }
            }
            lower(members);
        }
        _ => {}
    }
}

/// These hold values of clients, and no schemas.
fn is_data(name: &str) -> bool {
    matches!(name, "example" | "examples" | "enum" | "default" | "const")
}

/// The schema of null and nothing else.
fn null_schema() -> Map<String, Value> {
    let members: [(_, Value); 3] =
        [("type", "object".into()), ("nullable", true.into()), ("enum", json!([null]))];
    members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// What a schema of 3.1 says in other words.
fn lower(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get("type") {
        let mut types = types.clone();
        let count = types.len();
        types.retain(|one| one != "null");
        if types.len() < count {
            schema.insert("nullable".into(), true.into());
        }
        schema.remove("type");
        match types.as_slice() {
            [] => {}
            [one] => {
                schema.insert("type".into(), one.clone());
            }
            // Any value: a schema that says nothing.
            many if many.len() > 3 => {
                schema.remove("items");
                // `nullable` needs a type beside it.
                schema.remove("nullable");
            }
            many => {
                let nullable = schema.remove("nullable").is_some();
                let each = many.iter().map(|one| match nullable {
                    true => json!({"type": one, "nullable": true}),
                    false => json!({"type": one}),
                });
                schema.insert("anyOf".into(), each.collect());
            }
        }
    }
    // `nullable` counts beside a type only, and does not reach into what is referred to.
    if schema.get("type").is_some_and(|one| one == "null") {
        schema.extend(null_schema());
    }
    if let Some(value) = schema.remove("const") {
        schema.insert("enum".into(), json!([value]));
    }
    schema.remove("propertyNames");
    for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if let Some(value @ Value::Number(_)) = schema.get(exclusive).cloned() {
            schema.insert(bound.into(), value);
            schema.insert(exclusive.into(), true.into());
        }
    }
    // Beside a reference everything else is ignored, and refused by some readers.
    if schema.contains_key("$ref") {
        schema.retain(|name, _| name == "$ref");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_said_in_older_words() {
        let cases = [
            (json!({"type": ["string", "null"]}), json!({"type": "string", "nullable": true})),
            (
                json!({"oneOf": [{"type": "null"}, {"$ref": "#/a"}]}),
                json!({"oneOf": [null_schema(), {"$ref": "#/a"}]}),
            ),
            (
                json!({"type": ["number", "string", "null"]}),
                json!({"anyOf": [
                    {"type": "number", "nullable": true}, {"type": "string", "nullable": true},
                ]}),
            ),
            (json!({"const": "a"}), json!({"enum": ["a"]})),
            (json!({"$ref": "#/a", "description": "b"}), json!({"$ref": "#/a"})),
            (
                json!({"type": "integer", "exclusiveMinimum": 0}),
                json!({"type": "integer", "minimum": 0, "exclusiveMinimum": true}),
            ),
            (
                json!({"example": {"type": ["a", "null"]}}),
                json!({"example": {"type": ["a", "null"]}}),
            ),
        ];
        for (newer, expected) in cases {
            let mut found = newer.clone();
            walk(&mut found);
            assert_eq!(found, expected, "{newer}");
        }
    }
}
