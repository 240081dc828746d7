//! The templates, and filling them in.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use crate::Error;

const TEMPLATES: [(&str, &str); 16] = [
    ("layout.html", include_str!("../templates/layout.html")),
    ("style.css", include_str!("../templates/style.css")),
    ("dashboard.html", include_str!("../templates/dashboard.html")),
    ("parts.html", include_str!("../templates/parts.html")),
    ("account.html", include_str!("../templates/account.html")),
    ("kpi.html", include_str!("../templates/kpi.html")),
    ("series.html", include_str!("../templates/series.html")),
    ("ranking.html", include_str!("../templates/ranking.html")),
    ("table.html", include_str!("../templates/table.html")),
    ("sign_in.html", include_str!("../templates/sign_in.html")),
    ("error.html", include_str!("../templates/error.html")),
    ("saved_bar.html", include_str!("../templates/saved_bar.html")),
    ("saved_queries.html", include_str!("../templates/saved_queries.html")),
    ("saved_query.html", include_str!("../templates/saved_query.html")),
    ("workbench.html", include_str!("../templates/workbench.html")),
    ("workbench.css", include_str!("../templates/workbench.css")),
];

/// Fills in a template. What ends with `.html` escapes every value that is not marked safe; the
/// only values so marked are the drawings of `chart`, which hold no text of a stranger.
pub(crate) fn fill(template: &'static str, values: &impl Serialize) -> Result<String, Error> {
    write(template, values).map_err(|source| Error::Template { template, source })
}

fn write(template: &str, values: &impl Serialize) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    environment.get_template(template)?.render(Serde(values))
}
