//! SDKs and code samples, made from the contract by the templates in `sdk/`.

mod sample;
mod value_type;

use std::{
    io::{Cursor, Write},
    sync::LazyLock,
};

use minijinja::{Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use rest::problem::Code;
use serde::Serialize;
use serde_json::{Value, json};
use strum::{EnumString, IntoStaticStr, VariantArray};
use zip::write::SimpleFileOptions;

use self::value_type::{Schemas, ValueType};
use crate::contract::{Contract, Operation, Place};

pub use sample::{Sample, sample};

/// A language that there is an SDK for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, EnumString, VariantArray, Serialize,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum SdkLanguage {
    /// A script for the shell.
    Curl,
    /// Python 3.9 or newer.
    Python,
    /// Node 18 or newer, and browsers.
    JavaScript,
    /// PHP 8.1 or newer.
    Php,
}

/// An SDK could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SdkError {
    /// A template has a fault.
    #[error("writing {file} of the SDK")]
    Template {
        /// The file that was written.
        file: &'static str,
        /// What is wrong.
        source: minijinja::Error,
    },
    /// The archive could not be written.
    #[error("packing the SDK")]
    Zip(#[from] zip::result::ZipError),
    /// The same, by the bytes.
    #[error("packing the SDK")]
    Io(#[from] std::io::Error),
}

/// A file of an SDK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdkFile {
    /// Below the folder of the SDK.
    pub path: &'static str,
    /// What is in it.
    pub text: String,
}

/// The path of a file in its SDK, and its template.
type FileTemplate = (&'static str, &'static str);

const PYTHON: &[FileTemplate] = &[
    ("README.md", include_str!("../../sdk/python/README.md")),
    ("pyproject.toml", include_str!("../../sdk/python/pyproject.toml")),
    ("aihub_analytics/__init__.py", include_str!("../../sdk/python/__init__.py")),
    ("aihub_analytics/client.py", include_str!("../../sdk/python/client.py")),
    ("aihub_analytics/operations.py", include_str!("../../sdk/python/operations.py")),
    ("aihub_analytics/models.py", include_str!("../../sdk/python/models.py")),
    ("aihub_analytics/errors.py", include_str!("../../sdk/python/errors.py")),
    ("aihub_analytics/events.py", include_str!("../../sdk/python/events.py")),
    ("aihub_analytics/webhooks.py", include_str!("../../sdk/python/webhooks.py")),
    ("aihub_analytics/py.typed", ""),
];

const JAVASCRIPT: &[FileTemplate] = &[
    ("README.md", include_str!("../../sdk/javascript/README.md")),
    ("package.json", include_str!("../../sdk/javascript/package.json")),
    ("index.js", include_str!("../../sdk/javascript/index.js")),
    ("index.d.ts", include_str!("../../sdk/javascript/index.d.ts")),
    ("client.js", include_str!("../../sdk/javascript/client.js")),
    ("errors.js", include_str!("../../sdk/javascript/errors.js")),
    ("events.js", include_str!("../../sdk/javascript/events.js")),
    ("webhooks.js", include_str!("../../sdk/javascript/webhooks.js")),
];

const PHP: &[FileTemplate] = &[
    ("README.md", include_str!("../../sdk/php/README.md")),
    ("composer.json", include_str!("../../sdk/php/composer.json")),
    ("autoload.php", include_str!("../../sdk/php/autoload.php")),
    ("src/Client.php", include_str!("../../sdk/php/Client.php")),
    ("src/Operations.php", include_str!("../../sdk/php/Operations.php")),
    ("src/Errors.php", include_str!("../../sdk/php/Errors.php")),
    ("src/EventQueue.php", include_str!("../../sdk/php/EventQueue.php")),
    ("src/Webhook.php", include_str!("../../sdk/php/Webhook.php")),
];

const CURL: &[FileTemplate] = &[
    ("README.md", include_str!("../../sdk/curl/README.md")),
    ("aihub.sh", include_str!("../../sdk/curl/aihub.sh")),
];

impl SdkLanguage {
    /// Every language, in the order of the documentation.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The word in addresses and commands.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The name as people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
            Self::Php => "PHP",
        }
    }

    fn templates(self) -> &'static [FileTemplate] {
        match self {
            Self::Curl => CURL,
            Self::Python => PYTHON,
            Self::JavaScript => JAVASCRIPT,
            Self::Php => PHP,
        }
    }
}

/// The files of an SDK.
///
/// # Errors
/// When a template has a fault: a test fills in all of them.
pub fn files(contract: &Contract, language: SdkLanguage) -> Result<Vec<SdkFile>, SdkError> {
    let model = model(contract);
    let fill = |&(path, template): &FileTemplate| {
        let filled = ENVIRONMENT.render_str(template, Serde(&model));
        let failed = |source| SdkError::Template { file: path, source };
        Ok(SdkFile { path, text: filled.map_err(failed)? })
    };
    language.templates().iter().map(fill).collect()
}

/// The SDK as a ZIP archive with one folder. Its bytes depend on the contract only.
///
/// # Errors
/// As [`files`].
pub fn zip(contract: &Contract, language: SdkLanguage) -> Result<Vec<u8>, SdkError> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for file in files(contract, language)? {
        let mode = if file.path.ends_with(".sh") { 0o755 } else { 0o644 };
        let options = SimpleFileOptions::default()
            .last_modified_time(zip::DateTime::default())
            .unix_permissions(mode);
        let name = format!("aihub-analytics-{}/{}", language.as_str(), file.path);
        archive.start_file(name, options)?;
        archive.write_all(file.text.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}

/// Tags of their own, so that braces and hashes of the languages stand as they are.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .block_delimiters("<%", "%>")
        .variable_delimiters("<<", ">>")
        .comment_delimiters("<#", "#>")
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build();
    environment.set_syntax(syntax.unwrap_or_default());
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
});

/// What templates are filled with.
fn model(contract: &Contract) -> Value {
    let empty = Schemas::new();
    let schemas = contract.document()["components"]["schemas"].as_object().unwrap_or(&empty);
    // The documents themselves are not asked for by programs.
    let asked = contract.operations().iter().filter(|operation| operation.path.starts_with("/v1/"));
    let operations: Vec<_> = asked.map(|operation| operation_model(operation, schemas)).collect();
    let models: Vec<_> =
        schemas.iter().map(|(name, schema)| schema_model(name, schema, schemas)).collect();
    let codes: Vec<_> = Code::ALL
        .iter()
        .map(|code| json!({"code": code.as_str(), "pascal": pascal(code.as_str())}))
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "operations": operations,
        "models": models,
        "codes": codes,
    })
}

fn operation_model(operation: &Operation, schemas: &Schemas) -> Value {
    let parameter = |place: Place| {
        let here = operation.parameters.iter().filter(move |parameter| parameter.place == place);
        let model = |parameter: &crate::contract::Parameter| {
            json!({
                "name": parameter.name,
                "required": parameter.required,
                "description": one_line(&parameter.description),
                "snake": identifier(&parameter.name),
                "camel": camel(&parameter.name),
                "kebab": parameter.name.replace('_', "-"),
                "kind": parameter.kind,
            })
        };
        here.map(model).collect::<Vec<_>>()
    };
    let types = |schema: &Value| {
        let found = ValueType::of(schema, schemas);
        // PHP has no names for types: the members are written out.
        let php = found.clone().resolved(schemas).php();
        json!({"python": found.python(), "typescript": found.typescript(), "php": php})
    };
    let body = operation.body.as_ref().map(|body| {
        json!({
            "content_type": body.content_type,
            "is_json": body.content_type.ends_with("json"),
            "type": types(&body.schema),
            "required": body.required,
        })
    });
    let is_json = operation.answer.as_deref() == Some("application/json");
    let text = json!({"python": "str", "typescript": "string", "php": "string"});
    let nothing = json!({"python": "None", "typescript": "void", "php": "null"});
    let answer_type = match (&operation.answer, is_json) {
        (None, _) => nothing,
        (Some(_), true) => types(&operation.answer_schema),
        (Some(_), false) => text,
    };
    let page = page_model(operation, schemas);
    let description = one_line(&operation.description);
    json!({
        "id": operation.id,
        "camel": camel(&operation.id),
        "kebab": operation.id.replace('_', "-"),
        "method": operation.method,
        "path": operation.path,
        "tag": operation.tag,
        "summary": one_line(&operation.summary),
        "description": description,
        "path_parameters": parameter(Place::Path),
        "query_parameters": parameter(Place::Query),
        "body": body,
        "answers": operation.answer.is_some(),
        "is_json": is_json,
        "answer_type": answer_type,
        "page": page,
    })
}

fn page_model(operation: &Operation, schemas: &Schemas) -> Option<Value> {
    let page = operation.page.as_ref()?;
    let list = ValueType::of(&operation.answer_schema, schemas).resolved(schemas);
    let item = match list {
        ValueType::Object(members) => members.into_iter().find(|member| member.name == page.items),
        _ => None,
    };
    let item = match item.map(|member| member.value) {
        Some(ValueType::List(item)) => *item,
        _ => ValueType::Any,
    };
    Some(json!({
        "list": page.items,
        "next": page.next,
        "parameter": page.parameter,
        "snake": identifier(&page.parameter),
        "camel": camel(&page.parameter),
        "type": {"python": item.python(), "typescript": item.typescript(), "php": item.php()},
    }))
}

fn schema_model(name: &str, schema: &Value, schemas: &Schemas) -> Value {
    let found = ValueType::of(schema, schemas);
    let members: Vec<_> = match &found {
        ValueType::Object(members) => members
            .iter()
            .map(|member| {
                json!({
                    "name": member.name,
                    "required": member.required,
                    "python": member.value.python(),
                    "typescript": member.value.typescript(),
                })
            })
            .collect(),
        _ => Vec::new(),
    };
    json!({
        "name": name,
        "description": one_line(schema["description"].as_str().unwrap_or_default()),
        "is_object": matches!(found, ValueType::Object(_)),
        "members": members,
        "python": found.python(),
        "typescript": found.typescript(),
    })
}

/// A text in one line that ends no comment and no text of the languages.
fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace("*/", "* /").replace('\\', "/").replace("\"\"\"", "'''")
}

/// A name that no language reserves.
fn identifier(name: &str) -> String {
    let name = name.replace(['-', '.'], "_");
    match name.as_str() {
        "from" | "return" | "class" | "in" | "is" | "for" | "global" | "import" | "default"
        | "function" | "list" | "array" | "self" => name + "_",
        _ => name,
    }
}

fn pascal(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<String>()
    };
    name.split(['_', '-']).map(word).collect()
}

fn camel(name: &str) -> String {
    let name = pascal(name);
    let mut letters = name.chars();
    letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_can_be_filled_in() {
        let document = json!({"paths": {"/v1/things/{thing_id}": {"get": {
            "operationId": "list_things", "summary": "Things.",
            "parameters": [
                {"name": "thing_id", "in": "path", "schema": {"type": "string"}},
                {"name": "page", "in": "query", "schema": {"type": ["string", "null"]}},
            ],
            "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Things"}}}}},
        }}}, "components": {"schemas": {"Things": {"type": "object", "properties": {
            "data": {"type": "array", "items": {"type": "string"}}, "next_page": {"type": ["string", "null"]},
        }}}}});
        let contract = Contract::read(document);
        assert!(contract.operations()[0].page.is_some());
        for &language in SdkLanguage::ALL {
            let files = files(&contract, language).unwrap();
            let all: String = files.iter().map(|file| file.text.as_str()).collect();
            assert!(all.contains("hings"), "{}", language.title());
            assert!(!all.contains("<%") && !all.contains("%>"), "{}", language.title());
            assert_eq!(zip(&contract, language).unwrap(), zip(&contract, language).unwrap());
        }
    }

    #[test]
    fn names_are_those_of_the_languages() {
        assert_eq!(camel("list_dead_letters"), "listDeadLetters");
        assert_eq!(pascal("not_found"), "NotFound");
        assert_eq!(identifier("from"), "from_");
        assert_eq!(one_line("a\n  b */ \"\"\""), "a b * / '''");
    }
}
