//! The templates, and filling them in.

use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

/// A page could not be written.
#[derive(Debug, thiserror::Error)]
#[error("writing the page {template}")]
pub struct Error {
    template: &'static str,
    source: minijinja::Error,
}

/// The name of a template and its text.
pub type Template = (&'static str, &'static str);

const TEMPLATES: [Template; 16] = [
    ("layout.html", include_str!("../templates/layout.html")),
    ("style.css", include_str!("../templates/style.css")),
    ("parts.html", include_str!("../templates/parts.html")),
    ("account.html", include_str!("../templates/account.html")),
    ("sign_in.html", include_str!("../templates/sign_in.html")),
    ("error.html", include_str!("../templates/error.html")),
    ("notice.html", include_str!("../templates/notice.html")),
    ("bar.html", include_str!("../templates/bar.html")),
    ("reports.html", include_str!("../templates/reports.html")),
    ("report.html", include_str!("../templates/report.html")),
    ("report_form.html", include_str!("../templates/report_form.html")),
    ("saved_queries.html", include_str!("../templates/saved_queries.html")),
    ("fields.html", include_str!("../templates/fields.html")),
    ("screen.html", include_str!("../templates/screen.html")),
    ("signed_out.html", include_str!("../templates/signed_out.html")),
    ("saved_query.html", include_str!("../templates/saved_query.html")),
];

/// Fills in a template of this crate, or one of `own`, which may extend and include those of this crate. What ends
/// with `.html` escapes every value that is not marked safe; the only values so marked are drawings of ours, which hold
/// no text of a stranger.
pub fn fill(
    own: &'static [Template],
    template: &'static str,
    values: &impl Serialize,
) -> Result<String, Error> {
    write(own, template, values).map_err(|source| Error { template, source })
}

/// The templates are read once, by the place of the slice.
static ENVIRONMENTS: LazyLock<Mutex<BTreeMap<usize, Environment<'static>>>> =
    LazyLock::new(Mutex::default);

fn write(
    own: &'static [Template],
    template: &str,
    values: &impl Serialize,
) -> Result<String, minijinja::Error> {
    let place = own.as_ptr().addr();
    let known = || ENVIRONMENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known().get(&place).cloned();
    let environment = match found {
        Some(environment) => environment,
        None => {
            let made = environment(own)?;
            known().insert(place, made.clone());
            made
        }
    };
    environment.get_template(template)?.render(Serde(values))
}

fn environment(own: &'static [Template]) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    for (name, source) in TEMPLATES.iter().chain(own) {
        environment.add_template(name, source)?;
    }
    Ok(environment)
}
