//! The contract: an OpenAPI document made from the registered routes, and the operations in it.

mod complete;
mod older;
mod operation;

use std::{collections::HashMap, sync::OnceLock};

use actix_web::web::Bytes;
use serde_json::Value;
use utoipa::OpenApi;
use utoipa_actix_web::{AppExt, service_config::ServiceConfig};

pub use operation::{Body, Operation, Parameter, Place};

/// The document of the routes that a server registers.
#[derive(Debug)]
pub struct Contract {
    document: Value,
    operations: Vec<Operation>,
    /// The methods of each path, as `Allow` says them.
    methods: HashMap<String, String>,
    json: OnceLock<Bytes>,
    yaml: OnceLock<Bytes>,
    older: OnceLock<Bytes>,
}

impl Contract {
    /// Registers the routes, and notes what is said of them.
    pub fn of(register: impl FnOnce(&mut ServiceConfig<'_>)) -> Self {
        let app = actix_web::App::new().into_utoipa_app().openapi(complete::Frame::openapi());
        let (_, document) = app.configure(register).split_for_parts();
        let mut document = serde_json::to_value(&document).unwrap_or_default();
        complete::complete(&mut document);
        Self::read(document)
    }

    /// The contract that a document states.
    pub fn read(document: Value) -> Self {
        let operations = operation::read(&document);
        let mut methods = HashMap::<String, String>::new();
        for operation in &operations {
            let said = methods.entry(operation.path.clone()).or_default();
            if !said.is_empty() {
                said.push_str(", ");
            }
            said.push_str(operation.method);
        }
        let (json, yaml, older) = Default::default();
        Self { document, operations, methods, json, yaml, older }
    }

    /// The whole document, OpenAPI 3.1.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Its operations, by path and method.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operation of an id.
    pub fn operation(&self, id: &str) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.id == id)
    }

    /// The methods of a path, as `Allow` says them.
    pub fn methods(&self, path: &str) -> Option<&str> {
        self.methods.get(path).map(String::as_str)
    }

    /// The document in JSON, pretty-printed.
    pub fn json(&self) -> Bytes {
        self.json.get_or_init(|| pretty(&self.document)).clone()
    }

    /// The document in YAML.
    pub fn yaml(&self) -> Bytes {
        self.yaml.get_or_init(|| yaml(&self.document).into()).clone()
    }

    /// The document as OpenAPI 3.0.3, in JSON, for tools that do not read 3.1.
    pub fn older(&self) -> Bytes {
        self.older.get_or_init(|| pretty(&older::older(&self.document))).clone()
    }
}

/// A value in YAML that readers of YAML 1.1 and 1.2 take alike.
pub fn yaml(value: &Value) -> String {
    quoted(&serde_yaml_ng::to_string(value).unwrap_or_default())
}

/// With quotes around words that readers of YAML 1.1 do not take for texts.
fn quoted(yaml: &str) -> String {
    let mut text = String::with_capacity(yaml.len());
    for line in yaml.lines() {
        let bare = line.trim_start().trim_start_matches("- ");
        let word = bare.split(':').next().unwrap_or_default();
        let is_other = ["=", "on", "off", "yes", "no", "y", "n"].contains(&word);
        match is_other {
            true => {
                let (before, after) = line.split_at(line.len() - bare.len());
                text.push_str(&format!("{before}'{word}'{}", &after[word.len()..]));
            }
            false => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

fn pretty(document: &Value) -> Bytes {
    (serde_json::to_string_pretty(document).unwrap_or_default() + "\n").into()
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_of_older_yaml_are_texts() {
        let text = "a:\n  on: 1\n- =\n- on: x\n- once: y\n- off\n";
        assert_eq!(quoted(text), "a:\n  'on': 1\n- '='\n- 'on': x\n- once: y\n- 'off'\n");
    }
}
