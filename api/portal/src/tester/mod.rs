//! `/developers/tester`: builds a request of any operation, shows it as code, and sends it.

use std::collections::BTreeMap;

use accounts::{Directory, visit};
use actix_web::{HttpRequest, HttpResponse, web};
use pages::{Template, framed};
use rest::{
    feature::Feature,
    page::{script, scripted_page},
    principal::{Gate, Permission, SignedIn},
    problem::Problem,
};
use serde::Serialize;

use crate::{
    Portal,
    contract::{Contract, Operation, Place},
    sdk::{self, Sample, SdkLanguage},
    words::{Say, vocabulary},
};

/// The tester.
pub(crate) const FEATURE: Feature<Portal> = Feature::new("tester").with_routes(|config, _| {
    config
        .route("/developers/tester", web::get().to(show))
        .route("/developers/tester.js", web::get().to(program));
});

const TEMPLATES: &[Template] = &[("tester.html", include_str!("../../templates/tester.html"))];

/// The operation that is shown first.
const FIRST: &str = "get_metric";
const VALUE_BYTES_MAX: usize = 16 << 10;

async fn program() -> HttpResponse {
    script(include_str!("tester.js"))
}

/// An operation of the list: its id, its text, and whether it is this one.
type Choice<'a> = (&'a str, String, bool);

#[derive(Serialize)]
struct TesterPage<'a> {
    here: &'static str,
    tabs: Vec<(String, String, bool)>,
    /// Tags with their operations.
    groups: Vec<(String, Vec<Choice<'a>>)>,
    operation: &'a Operation,
    fields: Vec<TesterField<'a>>,
    body: Option<String>,
    content_type: &'a str,
    /// Languages and code.
    code: Vec<(&'static str, &'static str, String)>,
}

#[derive(Serialize)]
struct TesterField<'a> {
    name: &'a str,
    /// `path` or `query`.
    place: Place,
    required: bool,
    description: &'a str,
    value: String,
}

async fn show(
    request: HttpRequest,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    contract: web::Data<Contract>,
) -> Result<HttpResponse, Problem> {
    // The names of the fields depend on the operation.
    let given: BTreeMap<String, String> =
        url::form_urlencoded::parse(request.query_string().as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .filter(|(_, value)| value.len() <= VALUE_BYTES_MAX)
            .collect();
    let said = (given.get("lang").map(String::as_str), None);
    let visit = match visit(&request, &gate, &directory, said, SignedIn::check).await? {
        Ok(visit) => visit,
        Err(way_in) => return Ok(way_in),
    };
    let say = Say::of(&visit);
    let asked = given.get("op").map_or(FIRST, String::as_str);
    let operation = contract.operation(asked);
    let absent = || Problem::not_found(format!("there is no operation `{asked}`"));
    let operation = operation.ok_or_else(absent)?;
    let page = page(say, &contract, operation, &given);
    let html = framed(TEMPLATES, "tester.html", &visit.reader, vocabulary(), &page);
    let html = html.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a page cannot be written");
        Problem::internal()
    })?;
    Ok(scripted_page(html))
}

fn page<'a>(
    say: Say,
    contract: &'a Contract,
    operation: &'a Operation,
    given: &BTreeMap<String, String>,
) -> TesterPage<'a> {
    let mut groups = Vec::new();
    let tags = contract.document()["tags"].as_array().into_iter().flatten();
    for tag in tags.filter_map(|tag| tag["name"].as_str()) {
        let of_tag = contract.operations().iter().filter(|one| one.tag == tag);
        let option = |one: &'a Operation| {
            (one.id.as_str(), format!("{} {}", one.method, one.path), one.id == operation.id)
        };
        groups.push((tag.to_owned(), of_tag.map(option).collect::<Vec<Choice<'_>>>()));
    }
    let name_of = |name: &str| format!("p.{name}");
    let parameters: BTreeMap<_, _> = operation
        .parameters
        .iter()
        .filter_map(|one| Some((one.name.clone(), given.get(&name_of(&one.name))?.clone())))
        .collect();
    let body = operation.body.as_ref().map(|body| {
        let example = || match &body.example {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(example) => serde_json::to_string_pretty(example).unwrap_or_default(),
            None => String::new(),
        };
        given.get("body").cloned().unwrap_or_else(example)
    });
    let fields = operation.parameters.iter().map(|one| {
        let example = one.example.as_ref().filter(|_| one.place == Place::Path);
        let example = example.map(|example| match example {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        TesterField {
            name: &one.name,
            place: one.place,
            required: one.required,
            description: &one.description,
            value: parameters.get(&one.name).cloned().or(example).unwrap_or_default(),
        }
    });
    let values = Sample { parameters: parameters.clone(), body: body.clone() };
    let code = SdkLanguage::ALL
        .iter()
        .map(|&one| (one.as_str(), one.title(), sdk::sample(operation, one, &values)));
    TesterPage {
        here: "developers",
        tabs: say.tabs("/developers/tester"),
        groups,
        fields: fields.collect(),
        content_type: operation.body.as_ref().map_or("", |body| body.content_type.as_str()),
        body,
        code: code.collect(),
        operation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_template_are_there() {
        let words = vocabulary();
        for name in ["tester", "operation", "build", "send", "copy", "code", "answer_here"] {
            assert_ne!(words.text(name, pages::Language::ZhCn), name);
        }
    }
}
