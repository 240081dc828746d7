//! `/docs`: the guides, and the reference of all operations, which can be tried.

mod guide;

use std::sync::{Arc, LazyLock};

use accounts::{Directory, posted};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::TimeDelta;
use pages::{Template, Vocabulary, framed, saved_query::Reader};
use rest::{
    body::Body,
    feature::Feature,
    page::{html_page, language, page_under, script},
    principal::{Ability, Gate, ManageKeys, Permission},
    problem::{Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa_swagger_ui::Config;

use self::guide::{GUIDES, Guide, GuideText};
use crate::{Portal, sdk::SdkLanguage};

/// The pages of the documentation.
pub(crate) const FEATURE: Feature<Portal> = Feature::new("docs").with_routes(|config, _| {
    config
        .route("/docs", web::get().to(first))
        .route("/docs/reference", web::get().to(reference))
        .route("/docs/reference", web::post().to(reference_with_key))
        .route("/docs/assets/{file}", web::get().to(asset))
        .route("/docs/{guide}", web::get().to(show));
});

static WORDS: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::read(include_str!("../../words/docs.yaml")).unwrap_or_default());

const TEMPLATES: &[Template] = &[
    ("docs.html", include_str!("../../templates/docs.html")),
    ("docs_head.html", include_str!("../../templates/docs_head.html")),
    ("reference.html", include_str!("../../templates/reference.html")),
];

/// A key that is made for trying works so long.
const TRIAL: TimeDelta = TimeDelta::hours(1);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageParameters {
    lang: Option<String>,
}

type Asked = Result<web::Query<PageParameters>, actix_web::Error>;

#[derive(Serialize)]
struct DocsPage<'a> {
    here: &'static str,
    guides: Vec<(String, &'static str, bool)>,
    guide: Option<&'a GuideText>,
    /// Addresses and names of the SDKs.
    sdks: Vec<(String, &'static str)>,
    /// Somebody signed in who may make keys.
    may_try: bool,
    /// A key that was made for trying.
    key: Option<String>,
}

/// Who reads: the documentation is for everybody, and a user who signed in keeps the head of the other pages.
struct Visitor {
    reader: Reader,
    may_try: bool,
}

impl Visitor {
    async fn of(request: &HttpRequest, gate: &Gate, asked: Asked) -> Result<Self, Problem> {
        let asked = parameters(asked)?;
        let principal = gate.admit(request).await.ok();
        let user = principal.as_ref().and_then(rest::page::user_name);
        let signed_in = principal.filter(|_| user.is_some());
        let reader = Reader {
            language: language(request, asked.lang.as_deref()),
            user,
            organization: signed_in
                .as_ref()
                .and_then(|principal| principal.reach.organization_id())
                .map(str::to_owned),
            asks_sql: signed_in.as_ref().is_some_and(|principal| principal.may(Ability::RunSql)),
        };
        let may_try = signed_in.is_some_and(|principal| {
            ManageKeys::check(&principal).is_ok() && principal.reach.organization_id().is_some()
        });
        Ok(Self { reader, may_try })
    }
}

fn page<'a>(current: &str, guide: Option<&'a GuideText>, visitor: &Visitor) -> DocsPage<'a> {
    let language = visitor.reader.language;
    let guides = GUIDES.iter().map(|one| {
        let address = format!("/docs/{}?lang={}", one.name, language.tag());
        (address, one.text(language).title.as_str(), one.name == current)
    });
    let sdks = SdkLanguage::ALL
        .iter()
        .map(|language| (format!("/v1/dev/sdk/{}.zip", language.as_str()), language.title()));
    DocsPage {
        here: "docs",
        guides: guides.collect(),
        guide,
        sdks: sdks.collect(),
        may_try: visitor.may_try,
        key: None,
    }
}

fn written(
    template: &'static str,
    reader: &Reader,
    page: &DocsPage<'_>,
) -> Result<String, Problem> {
    framed(TEMPLATES, template, reader, &WORDS, page).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a page cannot be written");
        Problem::internal()
    })
}

async fn first(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
) -> Result<HttpResponse, Problem> {
    guide_page(&GUIDES[0], &request, asked, &gate).await
}

async fn show(
    request: HttpRequest,
    name: web::Path<String>,
    asked: Asked,
    gate: web::Data<Gate>,
) -> Result<HttpResponse, Problem> {
    let absent = || Problem::not_found(format!("there is no guide `{name}`"));
    let guide = GUIDES.iter().find(|guide| guide.name == name.as_str()).ok_or_else(absent)?;
    guide_page(guide, &request, asked, &gate).await
}

async fn guide_page(
    guide: &Guide,
    request: &HttpRequest,
    asked: Asked,
    gate: &Gate,
) -> Result<HttpResponse, Problem> {
    let visitor = Visitor::of(request, gate, asked).await?;
    let page = page(guide.name, Some(guide.text(visitor.reader.language)), &visitor);
    Ok(html_page(written("docs.html", &visitor.reader, &page)?))
}

/// The viewer draws with styles of its own, and images that stand in its address.
const VIEWER: &str = "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

async fn reference(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
) -> Result<HttpResponse, Problem> {
    let visitor = Visitor::of(&request, &gate, asked).await?;
    let page = page("reference", None, &visitor);
    Ok(page_under(VIEWER, written("reference.html", &visitor.reader, &page)?))
}

/// Makes a key that works for an hour, and shows the reference with it.
async fn reference_with_key(
    request: HttpRequest,
    body: Body,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
) -> Result<HttpResponse, Problem> {
    // As on the page of keys: who gave the password long ago gives it again.
    let (visit, fields) = match posted::<ManageKeys>(&request, &gate, &directory, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let principal = visit.principal;
    let lang = fields.get("lang").cloned();
    let language = language(&request, lang.as_deref());
    let name = WORDS.text("trial_key", language);
    let secret =
        directory.make_trial_key(&principal, name, TRIAL, &principal.origin(&request)).await?;
    let asked = web::Query::from_query(&format!("lang={}", language.tag()));
    let visitor = Visitor::of(&request, &gate, asked.map_err(Into::into)).await?;
    let page = DocsPage { key: Some(secret), ..page("reference", None, &visitor) };
    let mut response = page_under(VIEWER, written("reference.html", &visitor.reader, &page)?);
    let no_store = actix_web::http::header::HeaderValue::from_static("no-store");
    response.headers_mut().insert(actix_web::http::header::CACHE_CONTROL, no_store);
    Ok(response)
}

/// A file of the viewer, which is part of the program.
async fn asset(file: web::Path<String>) -> Result<HttpResponse, Problem> {
    let absent = || Problem::not_found(format!("there is no file `{file}`"));
    match file.as_str() {
        "viewer.js" => return Ok(script(include_str!("viewer.js"))),
        "swagger-ui.css" | "swagger-ui-bundle.js" => {}
        _ => return Err(absent()),
    }
    static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(Arc::default);
    let found = utoipa_swagger_ui::serve(&file, CONFIG.clone()).ok().flatten();
    let found = found.ok_or_else(absent)?;
    Ok(HttpResponse::Ok()
        .content_type(found.content_type)
        .insert_header(("Cache-Control", "public, max-age=86400"))
        .body(found.bytes.into_owned()))
}

#[cfg(test)]
mod tests {
    use pages::Language;

    use super::*;

    #[test]
    fn words_are_there_in_both_languages() {
        let read = Vocabulary::read(include_str!("../../words/docs.yaml"));
        assert!(read.is_ok(), "{read:?}");
        assert_ne!(WORDS.text("trial_key", Language::ZhCn), WORDS.text("trial_key", Language::En));
    }
}
