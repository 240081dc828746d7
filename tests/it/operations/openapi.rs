//! The contract of the HTTP interface, kept as files in `docs/api`.

use std::{collections::BTreeMap, fs, path::Path};

use reqwest::Method;
use serde_json::Value;
use tests::{Client, Server, folder, reply};

/// What nobody signs in for, though an answer may be 401.
const OPEN: [&str; 5] =
    ["/healthz", "/readyz", "/v1/auth/login", "/v1/auth/second-factor", "/v1/auth/token"];

/// The address of an operation, with the examples of the contract.
fn concrete(path: &str, operation: &Value) -> String {
    let mut concrete = path.to_owned();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] != "path" {
            continue;
        }
        let name = parameter["name"].as_str().expect("a name");
        let example = match &parameter["example"] {
            Value::String(text) => text.clone(),
            Value::Null => panic!("{path}: `{name}` has no example in examples.yaml"),
            other => other.to_string(),
        };
        concrete = concrete.replace(&format!("{{{name}}}"), &example);
    }
    assert!(!concrete.contains('{'), "{path} has a parameter that is not described");
    concrete
}

#[tokio::test]
async fn the_contract_is_the_golden_files_and_its_routes_exist() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, "");
    let answer = reply(client.request(Method::GET, "/openapi.json")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    let contract = answer.json();
    compare(&golden(&contract));
    assert_typed(&contract, "");
    assert!(contract["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")));

    let mut routes = 0;
    for (path, methods) in contract["paths"].as_object().expect("paths") {
        for method in ["get", "post", "put", "patch", "delete"] {
            let Some(operation) = methods.get(method) else { continue };
            let concrete = concrete(path, operation);
            let name = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let found = reply(client.request(name, &concrete)).await;
            assert!(![404, 405].contains(&found.status.as_u16()), "{method} {path}");
            let said = |status: &str| operation["responses"].get(status).is_some();
            let guarded =
                operation["security"] != Value::Array(vec![]) && !OPEN.contains(&path.as_str());
            if guarded && said("401") {
                assert_eq!(found.status, 401, "{method} {path} without credentials");
            }
            routes += 1;
        }
    }
    assert!(routes >= 15, "{routes} routes");

    // Every code is in the contract, and said.
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let docs = fs::read_to_string(docs).expect("docs/errors.md");
    let codes = contract["components"]["schemas"]["Code"]["enum"].as_array().expect("codes");
    for code in codes.iter().filter_map(Value::as_str) {
        assert!(docs.contains(&format!("| `{code}` |")), "docs/errors.md does not say `{code}`");
    }
    assert_eq!(docs.matches("\n| `").count() - docs.matches("| `code` |").count(), codes.len());
    server.stop();
}

/// Nothing is an object of which the contract says nothing.
fn assert_typed(value: &Value, place: &str) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| assert_typed(value, place)),
        Value::Object(members) => {
            let is_object = members.get("type").is_some_and(|kind| kind == "object");
            let says = |name| members.get(name).is_some_and(|value| *value != true);
            let is_said = ["properties", "additionalProperties", "allOf", "oneOf"].map(says);
            assert!(!is_object || is_said.contains(&true), "{place} is an object of anything");
            if let Some(Value::Object(properties)) = members.get("properties") {
                for (name, value) in properties {
                    let says = |kind| value.get(kind).is_some();
                    let is_said = ["type", "$ref", "oneOf", "anyOf", "allOf", "enum"].map(says);
                    assert!(is_said.contains(&true), "{place}/{name} has no type");
                }
            }
            for (name, value) in members.iter().filter(|(name, _)| *name != "example") {
                assert_typed(value, &format!("{place}/{name}"));
            }
        }
        _ => {}
    }
}

/// The files of the contract by their names in `docs/api`: one would be large.
type Files = BTreeMap<String, Value>;

fn golden(contract: &Value) -> Files {
    let mut files = Files::new();
    let mut root = contract.clone();
    let paths = root["paths"].as_object_mut().expect("paths");
    for (path, item) in paths.iter_mut() {
        let operations = item.as_object().expect("operations");
        let tag = operations.values().find_map(|one| one["tags"][0].as_str()).expect("a tag");
        let name = format!("paths/{}.yaml", tag.replace(' ', "-"));
        let pointer = path.replace('~', "~0").replace('/', "~1");
        let reference = serde_json::json!({"$ref": format!("{name}#/{pointer}")});
        let mut moved = std::mem::replace(item, reference);
        refer(&mut moved, &name);
        files.entry(name).or_insert_with(|| serde_json::json!({}))[path] = moved;
    }
    let schemas = root["components"]["schemas"].take();
    for (schema, mut value) in schemas.as_object().expect("schemas").clone() {
        let name = file_of(&schema);
        refer(&mut value, name);
        files.entry(name.into()).or_insert_with(|| serde_json::json!({}))[&schema] = value;
    }
    root["components"].as_object_mut().expect("components").remove("schemas");
    refer(&mut root["components"], "openapi.yaml");
    files.insert("openapi.yaml".into(), root);
    files
}

fn file_of(schema: &str) -> &'static str {
    match schema.as_bytes()[0] {
        ..=b'D' => "schemas/a-d.yaml",
        b'E'..=b'M' => "schemas/e-m.yaml",
        _ => "schemas/n-z.yaml",
    }
}

/// Lets references lead to the files.
fn refer(value: &mut Value, from: &str) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| refer(value, from)),
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref")
                && let Some(place) = reference.strip_prefix("#/components/")
            {
                let up = if from.contains('/') { "../" } else { "" };
                *reference = match place.strip_prefix("schemas/") {
                    Some(schema) => format!("{up}{}#/{schema}", file_of(schema)),
                    None => format!("{up}openapi.yaml#/components/{place}"),
                };
            }
            members.values_mut().for_each(|value| refer(value, from));
        }
        _ => {}
    }
}

fn compare(files: &Files) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api");
    for (name, value) in files {
        let served = portal::contract::yaml(value);
        let path = folder.join(name);
        if std::env::var_os("AIHUB_TEST_UPDATE").is_some() {
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, &served).expect("the golden file is written");
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        let same = kept == served;
        assert!(same, "{} differs; AIHUB_TEST_UPDATE=1 writes it anew", path.display());
    }
    for part in ["paths", "schemas"] {
        for entry in fs::read_dir(folder.join(part)).expect("the folder").flatten() {
            let name = format!("{part}/{}", entry.file_name().to_string_lossy());
            assert!(
                files.contains_key(&name),
                "docs/api/{name} has nothing of the contract any more"
            );
        }
    }
}
