//! The page that edits an own dashboard: tiles by form, everything as YAML, versions, roles and links.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use pages::saved_query::Reader;
use query::metric::audience;
use reports::{
    Dashboard, EDITOR_SCRIPT, EditedTile, EditorPage, EditorVersion, NEW_KINDS, Tile, editor_page,
};
use rest::{
    body::Body,
    page::{script as script_of, scripted_page, see_other},
    principal::{Gate, Principal, Role},
    problem::{Code, Problem},
};
use serde_json::json;

use super::{
    BODY_BYTES_MAX,
    link::{self, LinkView},
    own::{self, OwnDashboard},
    routes,
};
use crate::{
    Lake, dashboards,
    queries::{reach, saved_for},
    reporting::{Asked, Fields, mendable, opened, posted, value},
};

pub(super) async fn script() -> HttpResponse {
    script_of(EDITOR_SCRIPT)
}

/// Copies a dashboard that one sees, and opens the copy.
pub(super) async fn copy(
    request: HttpRequest,
    name: web::Path<String>,
    gate: web::Data<Gate>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, fields) = match posted(&request, &gate, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let definition = dashboards::definition(&name, &lake, &principal, &principal).await?;
    let taken = own::names(&lake.state.store, &principal).await?;
    let free = |copy: &String| !taken.contains(copy) && lake.dashboards.get(copy).is_none();
    let base = format!("{}-copy", definition.name.trim_end_matches("-copy"));
    let numbered = (2..1_000).map(|number| format!("{base}-{number}"));
    let copy = std::iter::once(base.clone()).chain(numbered).find(free);
    let title = reports::Text {
        en: format!("{} (copy)", definition.title.en),
        zh_cn: format!("{}（副本）", definition.title.zh_cn),
    };
    let copy = Dashboard { name: copy.ok_or_else(Problem::internal)?, title, ..definition };
    let origin = principal.origin(&request);
    let (saved, _) = own::save(&lake, &principal, &origin, copy, Some(Vec::new()), None).await?;
    Ok(see_other(&edit_path(&saved.definition.name, &fields)))
}

fn edit_path(name: &str, fields: &Fields) -> String {
    format!("/dashboards/{name}/edit?lang={}", value(fields, "lang").unwrap_or("en"))
}

pub(super) async fn page(
    request: HttpRequest,
    name: web::Path<String>,
    asked: Asked,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, _, reader) = match opened(&request, asked, &gate).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    let found = own::changeable(&lake.state.store, &principal, &name).await?;
    shown(&lake, &principal, &reader, &found, None).await
}

/// A text that was not saved, and why.
struct Refused<'a> {
    failure: String,
    yaml: Option<&'a str>,
}

async fn shown(
    lake: &Lake,
    principal: &Principal,
    reader: &Reader,
    found: &OwnDashboard,
    refused: Option<Refused<'_>>,
) -> Result<HttpResponse, Problem> {
    let language = reader.language;
    let versions = own::versions(&lake.state.store, &found.dashboard_id).await?;
    let links = link::list(lake, principal, &found.definition.name).await?;
    let zone = lake.metrics.zone;
    let time = |at| zone.local(at).format("%Y-%m-%d %H:%M").to_string();
    let yaml = found.definition.yaml();
    let is_refused = refused.is_some();
    let (failure, sent) = match refused {
        Some(Refused { failure, yaml }) => (Some(failure), yaml),
        None => (None, None),
    };
    let metrics = lake.catalog.metrics(audience(&reach(principal))).map(|metric| {
        let title = match language {
            pages::Language::En => &metric.title.en,
            pages::Language::ZhCn => &metric.title.zh_cn,
        };
        (metric.name.clone(), title.clone())
    });
    let queries = saved_for(&lake.state.store, principal).await?;
    let queries: Vec<String> = queries.into_iter().map(|query| query.name).collect();
    let editor = EditorPage {
        name: found.definition.name.clone(),
        title: found.definition.title.of(language).to_owned(),
        version: found.version,
        failure,
        tiles: found
            .definition
            .tiles
            .iter()
            .map(|tile| EditedTile {
                title: tile.title().of(language).to_owned(),
                kind: tile.kind(),
                yaml: tile.yaml(),
            })
            .collect(),
        kinds: NEW_KINDS
            .into_iter()
            .filter(|kind| *kind != "query" || !queries.is_empty())
            .collect(),
        queries,
        metrics: metrics.collect(),
        yaml: sent.map_or(yaml, str::to_owned),
        roles: roles_of(principal)
            .iter()
            .map(|role| (role.as_str(), found.shared_with.iter().any(|one| one == role.as_str())))
            .collect(),
        versions: versions
            .iter()
            .map(|one| EditorVersion {
                version: one.version,
                by: one.created_by.clone(),
                at: time(one.created_at),
            })
            .collect(),
        links: links
            .into_iter()
            .map(|LinkView { id, url, expires_at, .. }| (id, url, time(expires_at)))
            .collect(),
    };
    let html = editor_page(reader, &editor).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the editor is not shown");
        Problem::internal()
    })?;
    let mut response = scripted_page(html);
    if is_refused {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}

/// The roles that a dashboard can be shared with.
fn roles_of(principal: &Principal) -> &'static [Role] {
    match principal.reach.organization_id() {
        Some(_) => &[Role::User],
        None => &[Role::Analyst, Role::Manager],
    }
}

/// A button of the editor.
pub(super) async fn act(
    request: HttpRequest,
    name: web::Path<String>,
    gate: web::Data<Gate>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, fields) = match posted(&request, &gate, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let found = own::changeable(&lake.state.store, &principal, &name).await?;
    let editing = Editing { lake: &lake, principal: &principal, request: &request, found: &found };
    match Box::pin(editing.act(&fields)).await {
        Ok(path) => Ok(see_other(&path)),
        Err(problem) => {
            let reader = dashboards::who_reads(&request, &principal, value(&fields, "lang"));
            let failure = mendable(problem)?;
            let refused = Refused { failure, yaml: value(&fields, "yaml") };
            shown(&lake, &principal, &reader, &found, Some(refused)).await
        }
    }
}

struct Editing<'a> {
    lake: &'a Lake,
    principal: &'a Principal,
    request: &'a HttpRequest,
    found: &'a OwnDashboard,
}

/// All values of a field.
fn values(fields: &Fields, name: &str) -> Vec<String> {
    let found = fields.iter().filter(|(field, _)| field == name);
    found.map(|(_, value)| value.clone()).collect()
}

impl Editing<'_> {
    /// Does what a button says, and gives the page that follows.
    async fn act(&self, fields: &Fields) -> Result<String, Problem> {
        let Self { lake, principal, request, found } = *self;
        let refuse = |detail: &str| Problem::bad_request(Code::InvalidField, detail.to_owned());
        let name = &found.definition.name;
        let origin = principal.origin(request);
        let mut definition = found.definition.clone();
        let number = |field: &str| value(fields, field).and_then(|text| text.parse::<usize>().ok());
        let place = number("tile").filter(|place| *place < definition.tiles.len());
        let place = || place.ok_or_else(|| refuse("there is no such tile"));
        match value(fields, "act").unwrap_or_default() {
            "up" => {
                let place = place()?;
                definition.tiles.swap(place, place.saturating_sub(1));
            }
            "down" => {
                let place = place()?;
                let next = (place + 1).min(definition.tiles.len() - 1);
                definition.tiles.swap(place, next);
            }
            "remove" => drop(definition.tiles.remove(place()?)),
            "change" => {
                let place = place()?;
                let yaml = value(fields, "tile_yaml").unwrap_or_default();
                let parsed = Tile::parse(yaml);
                definition.tiles[place] = parsed.map_err(|error| refuse(&error.with_causes()))?;
            }
            "add" => definition.tiles.push(self.new_tile(fields)?),
            "save" => {
                let yaml = value(fields, "yaml").unwrap_or_default();
                definition =
                    Dashboard::parse(yaml).map_err(|error| refuse(&error.with_causes()))?;
                if definition.name != *name {
                    return Err(refuse("the name stays: copy the dashboard to have another"));
                }
            }
            "share" => {
                let (roles, version) = (values(fields, "role"), Some(found.version));
                own::save(lake, principal, &origin, definition, Some(roles), version).await?;
                return Ok(edit_path(name, fields));
            }
            "restore" => {
                let version = number("version").and_then(|number| i64::try_from(number).ok());
                let version = version.ok_or_else(|| refuse("there is no such version"))?;
                routes::restore(lake, principal, request, name, version).await?;
                return Ok(edit_path(name, fields));
            }
            "link" => {
                let days = number("days").and_then(|days| u32::try_from(days).ok());
                let query = value(fields, "query").unwrap_or_default();
                let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
                link::create(lake, principal, &origin, name, pairs, days.unwrap_or_default())
                    .await?;
                return Ok(edit_path(name, fields));
            }
            "unlink" => {
                let id = value(fields, "link").unwrap_or_default();
                link::remove(lake, principal, &origin, id).await?;
                return Ok(edit_path(name, fields));
            }
            "delete" => {
                own::remove(lake, found, &origin).await?;
                return Ok("/dashboards/business".to_owned());
            }
            other => return Err(refuse(&format!("`act={other}` is not possible"))),
        }
        // Somebody else may have saved since the page was opened.
        let expected = value(fields, "base").and_then(|text| text.parse::<i64>().ok());
        own::save(lake, principal, &origin, definition, None, expected).await?;
        Ok(edit_path(name, fields))
    }

    /// The rows of a saved query: titled as it is named, if nothing else is said.
    fn query_tile(&self, fields: &Fields) -> Result<Tile, Problem> {
        let query = value(fields, "query").unwrap_or_default();
        let title = value(fields, "title").unwrap_or(query);
        let tile = json!({
            "kind": "query",
            "query": query,
            "draw": value(fields, "draw").unwrap_or("table"),
            "title": {"en": title, "zh-CN": title},
            "note": {"en": query, "zh-CN": query},
        });
        Tile::parse(&tile.to_string())
            .map_err(|error| Problem::bad_request(Code::InvalidField, error.with_causes()))
    }

    /// A tile of the form: titled as its metric, if nothing else is said.
    fn new_tile(&self, fields: &Fields) -> Result<Tile, Problem> {
        let refuse = |detail: String| Problem::bad_request(Code::InvalidField, detail);
        let kind = value(fields, "kind").unwrap_or_default();
        if kind == "query" {
            return self.query_tile(fields);
        }
        let name = value(fields, "metric").unwrap_or_default();
        let metric = self.lake.known(self.principal, name)?;
        let title = value(fields, "title");
        let mut tile = json!({
            "kind": kind,
            "metric": name,
            "title": {
                "en": title.unwrap_or(&metric.title.en),
                "zh-CN": title.unwrap_or(&metric.title.zh_cn),
            },
            "note": {"en": metric.description.en, "zh-CN": metric.description.zh_cn},
        });
        if let Some(by) = value(fields, "by").filter(|_| matches!(kind, "stacked" | "ranking")) {
            tile["by"] = json!(by);
        }
        if kind == "ranking" {
            let by = value(fields, "by").unwrap_or_default();
            tile["item"] = json!({"en": by, "zh-CN": by});
        }
        Tile::parse(&tile.to_string()).map_err(|error| refuse(error.with_causes()))
    }
}
