//! `/v1/dashboards`.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, post, put, web};
use chrono::{DateTime, Utc};
use reports::Dashboard;
use rest::{
    body::Body,
    principal::{Authorized, Principal, ViewDashboard},
    problem::{Code, Denied, Problem},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    BODY_BYTES_MAX,
    link::{self, LinkView},
    own::{self, ListedDashboard, OwnDashboard},
};
use crate::Lake;

/// A dashboard to save: its definition as JSON, or as YAML.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SaveBody {
    /// `title` and `tiles`; `name` is that of the address.
    #[schema(value_type = Option<Dashboard>)]
    definition: Option<serde_json::Value>,
    /// The same as YAML.
    yaml: Option<String>,
    /// Roles that see it besides its owner and administrators. Left out: as they were.
    shared_with: Option<Vec<String>>,
    /// The version that was read before: the save is refused if there is a later one.
    version: Option<i64>,
}

/// A definition to check.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DefinitionBody)]
pub(super) struct CheckBody {
    yaml: String,
}

/// Whether a definition could be saved.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DefinitionCheck)]
struct CheckView {
    /// Why not; null if it could.
    fault: Option<String>,
}

/// A version of a dashboard.
#[derive(Debug, Serialize, ToSchema)]
struct VersionView {
    version: i64,
    yaml: String,
    created_by: String,
    created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
struct VersionList {
    versions: Vec<VersionView>,
}

/// A dashboard.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DashboardView {
    name: String,
    /// `en` and `zh-CN`.
    title: reports::Text,
    /// It comes with the program, or from a file.
    built_in: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_with: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<DateTime<Utc>>,
    /// Only of one dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<Dashboard>,
    /// The same as YAML.
    #[serde(skip_serializing_if = "Option::is_none")]
    yaml: Option<String>,
}

/// What a link shows.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkBody {
    /// 1 to 90.
    expires_in_days: u32,
    /// The parameters of the page's address, such as `days=7&filter=model%3Dgpt-4o`. They cannot be changed by whoever opens
    /// it.
    #[serde(default)]
    query: String,
}

impl DashboardView {
    fn built_in(name: &str, title: &reports::Text) -> Self {
        Self {
            name: name.to_owned(),
            title: title.clone(),
            built_in: true,
            owner_id: None,
            shared_with: None,
            version: None,
            updated_at: None,
            definition: None,
            yaml: None,
        }
    }

    fn listed(own: ListedDashboard) -> Self {
        Self {
            name: own.name,
            title: own.title,
            built_in: false,
            owner_id: Some(own.owner_id),
            shared_with: Some(own.shared_with),
            version: Some(own.version),
            updated_at: Some(own.updated_at),
            definition: None,
            yaml: None,
        }
    }

    fn of(own: OwnDashboard) -> Self {
        Self {
            name: own.definition.name.clone(),
            title: own.definition.title.clone(),
            built_in: false,
            owner_id: Some(own.owner_id),
            shared_with: Some(own.shared_with),
            version: Some(own.version),
            updated_at: Some(own.updated_at),
            yaml: Some(own.definition.yaml()),
            definition: Some(own.definition),
        }
    }
}

impl SaveBody {
    fn definition(&self, name: &str) -> Result<Dashboard, Problem> {
        let refuse = |detail: String| Problem::bad_request(Code::InvalidField, detail);
        let parsed = match (&self.definition, &self.yaml) {
            (Some(json), None) => {
                let mut json = json.clone();
                if let Some(members) = json.as_object_mut() {
                    members.entry("name").or_insert_with(|| json!(name));
                }
                Dashboard::parse(&json.to_string())
            }
            (None, Some(yaml)) => Dashboard::parse(yaml),
            _ => return Err(refuse("send either `definition` or `yaml`".into())),
        };
        let definition = parsed.map_err(|error| refuse(error.with_causes()))?;
        if definition.name != name {
            let other = &definition.name;
            return Err(refuse(format!("the definition is named `{other}`, not `{name}`")));
        }
        Ok(definition)
    }
}

/// The dashboards that one may see: those of the program, and own ones.
#[utoipa::path(tag = "dashboards", responses((status = 200, body = DashboardList), Denied))]
#[get("/v1/dashboards")]
pub(super) async fn list_dashboards(
    principal: Authorized<ViewDashboard>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let mut all: Vec<DashboardView> = lake
        .dashboards
        .titles()
        .map(|(name, title)| DashboardView::built_in(name, title))
        .collect();
    let own = own::list(&lake.state.store, &principal).await?;
    all.extend(own.into_iter().map(DashboardView::listed));
    Ok(HttpResponse::Ok().json(DashboardList { dashboards: all }))
}

#[derive(Debug, Serialize, ToSchema)]
struct DashboardList {
    dashboards: Vec<DashboardView>,
}

/// A dashboard with its definition.
#[utoipa::path(tag = "dashboards", params(("name" = String, Path)), responses((status = 200, body = DashboardView), Denied, (status = 404, body = Problem)))]
#[get("/v1/dashboards/{name}")]
pub(super) async fn get_dashboard(
    principal: Authorized<ViewDashboard>,
    name: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    if let Some(own) = own::visible(&lake.state.store, &principal, &name).await? {
        return Ok(HttpResponse::Ok().json(DashboardView::of(own)));
    }
    let definition = crate::dashboards::definition(&name, &lake, &principal, &principal).await?;
    let mut view = DashboardView::built_in(&definition.name, &definition.title);
    view.yaml = Some(definition.yaml());
    view.definition = Some(definition);
    Ok(HttpResponse::Ok().json(view))
}

/// Saves a dashboard: a new one, or the next version of one.
#[utoipa::path(
    tag = "dashboards",
    params(("name" = String, Path)),
    request_body = SaveBody,
    responses(
        (status = 200, description = "The next version.", body = DashboardView), (status = 201, description = "A new one.", body = DashboardView),
        (status = 400, body = Problem), Denied,
        (status = 409, description = "Somebody else has the name, or saved in between, or there are too many.", body = Problem),
    ),
)]
#[put("/v1/dashboards/{name}")]
pub(super) async fn save_dashboard(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    name: web::Path<String>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let body: SaveBody = body.json(&principal).await?;
    let definition = body.definition(&name)?;
    let origin = principal.origin(&request);
    let (saved, is_new) =
        own::save(&lake, &principal, &origin, definition, body.shared_with, body.version).await?;
    let view = DashboardView::of(saved);
    Ok(match is_new {
        true => HttpResponse::Created()
            .insert_header((header::LOCATION, format!("/v1/dashboards/{name}")))
            .json(view),
        false => HttpResponse::Ok().json(view),
    })
}

/// Removes an own dashboard, its versions and its links.
#[utoipa::path(tag = "dashboards", params(("name" = String, Path)), responses((status = 204), Denied, (status = 404, body = Problem)))]
#[delete("/v1/dashboards/{name}")]
pub(super) async fn remove_dashboard(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    name: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let found = own::changeable(&lake.state.store, &principal, &name).await?;
    own::remove(&lake, &found, &principal.origin(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Says whether a definition could be saved. Nothing is.
#[utoipa::path(
    operation_id = "validate_dashboard",
    tag = "dashboards",
    request_body = CheckBody,
    responses((status = 200, body = CheckView), Denied),
)]
#[post("/v1/dashboards/check")]
pub(super) async fn check_dashboard(
    principal: Authorized<ViewDashboard>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let CheckBody { yaml } = body.json(&principal).await?;
    Ok(HttpResponse::Ok().json(CheckView { fault: fault(&lake, &principal, &yaml).await? }))
}

async fn fault(lake: &Lake, principal: &Principal, yaml: &str) -> Result<Option<String>, Problem> {
    let definition = match Dashboard::parse(yaml) {
        Ok(definition) => definition,
        Err(error) => return Ok(Some(error.with_causes())),
    };
    match own::check(lake, principal, &definition).await {
        Ok(()) => Ok(None),
        Err(problem) if problem.status == 400 => {
            Ok(Some(problem.detail.as_deref().unwrap_or_default().to_owned()))
        }
        Err(problem) => Err(problem),
    }
}

/// The versions of an own dashboard, the newest first; at most 50.
#[utoipa::path(
    tag = "dashboards",
    params(("name" = String, Path)),
    responses((status = 200, body = VersionList), Denied, (status = 404, body = Problem)),
)]
#[get("/v1/dashboards/{name}/versions")]
pub(super) async fn list_versions(
    principal: Authorized<ViewDashboard>,
    name: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let found = own::changeable(&lake.state.store, &principal, &name).await?;
    let versions = own::versions(&lake.state.store, &found.dashboard_id).await?;
    let views = versions.into_iter().map(|one| VersionView {
        version: one.version,
        yaml: one.definition,
        created_by: one.created_by,
        created_at: one.created_at,
    });
    Ok(HttpResponse::Ok().json(VersionList { versions: views.collect() }))
}

/// Saves an earlier version once more, as the newest.
#[utoipa::path(
    tag = "dashboards",
    params(("name" = String, Path), ("version" = i64, Path)),
    responses((status = 200, body = DashboardView), (status = 400, body = Problem), Denied, (status = 404, body = Problem)),
)]
#[post("/v1/dashboards/{name}/versions/{version}/restore")]
pub(super) async fn restore_version(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    path: web::Path<(String, i64)>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (name, version) = path.into_inner();
    let restored = restore(&lake, &principal, &request, &name, version).await?;
    Ok(HttpResponse::Ok().json(DashboardView::of(restored)))
}

pub(super) async fn restore(
    lake: &Lake,
    principal: &Principal,
    request: &HttpRequest,
    name: &str,
    version: i64,
) -> Result<OwnDashboard, Problem> {
    let found = own::changeable(&lake.state.store, principal, name).await?;
    let versions = own::versions(&lake.state.store, &found.dashboard_id).await?;
    let absent = || Problem::not_found(format!("there is no version {version} of `{name}`"));
    let kept = versions.into_iter().find(|one| one.version == version).ok_or_else(absent)?;
    let refuse =
        |error: reports::Error| Problem::bad_request(Code::InvalidField, error.with_causes());
    let definition = Dashboard::parse(&kept.definition).map_err(refuse)?;
    let origin = principal.origin(request);
    Ok(own::save(lake, principal, &origin, definition, None, None).await?.0)
}

/// The links to a dashboard that one made.
#[utoipa::path(tag = "dashboards", params(("name" = String, Path)), responses((status = 200, body = LinkList), Denied, (status = 404, body = Problem)))]
#[get("/v1/dashboards/{name}/links")]
pub(super) async fn list_links(
    principal: Authorized<ViewDashboard>,
    name: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    crate::dashboards::definition(&name, &lake, &principal, &principal).await?;
    let links = link::list(&lake, &principal, &name).await?;
    Ok(HttpResponse::Ok().json(LinkList { links }))
}

#[derive(Debug, Serialize, ToSchema)]
struct LinkList {
    links: Vec<LinkView>,
}

/// Makes a link: whoever has it sees the dashboard, with these filters and the rights of who made it, until it expires.
#[utoipa::path(
    tag = "dashboards",
    params(("name" = String, Path)),
    request_body = LinkBody,
    responses((status = 201, body = LinkView), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, description = "There are too many.", body = Problem)),
)]
#[post("/v1/dashboards/{name}/links")]
pub(super) async fn create_link(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    name: web::Path<String>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let LinkBody { expires_in_days, query } = body.json(&principal).await?;
    let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let origin = principal.origin(&request);
    let made = link::create(&lake, &principal, &origin, &name, pairs, expires_in_days).await?;
    Ok(HttpResponse::Created().json(made))
}

/// Ends a link.
#[utoipa::path(tag = "dashboards", params(("name" = String, Path), ("link" = String, Path)), responses((status = 204), Denied, (status = 404, body = Problem)))]
#[delete("/v1/dashboards/{name}/links/{link}")]
pub(super) async fn remove_link(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    link::remove(&lake, &principal, &principal.origin(&request), &path.1).await?;
    Ok(HttpResponse::NoContent().finish())
}
