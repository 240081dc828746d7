//! `/v1/alerts`.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, post, put, web};
use chrono::{DateTime, TimeDelta, Utc};
use rest::{
    body::Body,
    principal::{Authorized, Principal, ViewDashboard},
    problem::{Code, Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    BODY_BYTES_MAX,
    alert::{self, Alert, NewAlert},
    incident::{self, Act, Incident},
    reading::Reader,
    trial::{self, Trial},
    view::{AlertView, EvaluationView, IncidentView, view, views, without_secrets},
};
use crate::Lake;

const LISTED_DEFAULT: u64 = 100;
const LISTED_MAX: u64 = 5_000;
/// Nothing is snoozed longer.
const SNOOZE_MAX: TimeDelta = TimeDelta::days(90);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParameters {
    limit: Option<u64>,
}

/// Until when nobody is told.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnoozeBody {
    /// At most 90 days from now.
    #[schema(value_type = String, format = DateTime)]
    pub until: DateTime<Utc>,
}

/// The alerts that one may see, each with what is open.
#[utoipa::path(tag = "alerts", responses((status = 200, body = AlertList), Denied))]
#[get("/v1/alerts")]
pub(super) async fn list_alerts(
    principal: Authorized<ViewDashboard>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let alerts = alert::list(&lake.state.store, &principal).await?;
    let may_change: Vec<bool> = alerts.iter().map(|alert| alert.may_change(&principal)).collect();
    let views = views(&lake, alerts).await?.into_iter().zip(may_change);
    let views: Vec<AlertView> = views.map(|(view, may)| without_secrets(view, may)).collect();
    Ok(HttpResponse::Ok().json(AlertList { alerts: views }))
}

#[derive(Debug, Serialize, ToSchema)]
struct AlertList {
    alerts: Vec<AlertView>,
}

/// Adds an alert. Its first look is at the last interval that is over.
#[utoipa::path(
    tag = "alerts",
    request_body = NewAlert,
    responses((status = 201, body = AlertView), (status = 400, body = Problem), Denied, (status = 409, description = "There are too many alerts.", body = Problem)),
)]
#[post("/v1/alerts")]
pub(super) async fn create_alert(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let new: NewAlert = body.json(&principal).await?;
    new.check(&lake, &principal).await?;
    let alert = alert::create(&lake, &principal, &principal.origin(&request), new).await?;
    let place = format!("/v1/alerts/{}", alert.alert_id);
    let view = view(&lake, alert).await?;
    Ok(HttpResponse::Created().insert_header((header::LOCATION, place)).json(view))
}

/// Says when an alert would have fired in the past 90 days (with forecasts of hours, 30 days). Nothing is saved or sent.
#[utoipa::path(
    tag = "alerts",
    request_body = NewAlert,
    responses((status = 200, body = Trial), (status = 400, body = Problem), Denied),
)]
#[post("/v1/alerts/trial")]
pub(super) async fn try_alert(
    principal: Authorized<ViewDashboard>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let new: NewAlert = body.json(&principal).await?;
    new.check(&lake, &principal).await?;
    let reader = Reader::of(&lake, &principal).await?;
    Ok(HttpResponse::Ok().json(trial::of(&lake, &reader, &new).await?))
}

/// An alert.
#[utoipa::path(tag = "alerts", params(("id" = String, Path)), responses((status = 200, body = AlertView), Denied, (status = 404, body = Problem)))]
#[get("/v1/alerts/{id}")]
pub(super) async fn get_alert(
    principal: Authorized<ViewDashboard>,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let alert = alert::visible(&lake.state.store, &principal, &id).await?;
    let may_change = alert.may_change(&principal);
    Ok(HttpResponse::Ok().json(without_secrets(view(&lake, alert).await?, may_change)))
}

/// Changes an alert. With another rule it begins anew. Who changes what came with the program owns it.
#[utoipa::path(
    operation_id = "update_alert",
    tag = "alerts",
    params(("id" = String, Path)),
    request_body = NewAlert,
    responses((status = 200, body = AlertView), (status = 400, body = Problem), Denied, (status = 404, body = Problem)),
)]
#[put("/v1/alerts/{id}")]
pub(super) async fn change_alert(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let before = alert::own(&lake.state.store, &principal, &id).await?;
    let new: NewAlert = body.json(&principal).await?;
    let alert = changed(&lake, &principal, before, &principal.origin(&request), new).await?;
    Ok(HttpResponse::Ok().json(view(&lake, alert).await?))
}

/// It is looked at with the rights of its owner.
pub(super) async fn changed(
    lake: &Lake,
    who: &Principal,
    before: Alert,
    origin: &state::audit::AuditOrigin,
    new: NewAlert,
) -> Result<Alert, Problem> {
    let owner = lake.authenticator.by_id(&before.owner_id).await?;
    // What nobody owns any more is taken over.
    let before = match &owner {
        Some(_) => before,
        None => Alert { owner_id: alert::SYSTEM.to_owned(), ..before },
    };
    Box::pin(new.check(lake, owner.as_ref().unwrap_or(who))).await?;
    Box::pin(alert::change(lake, who, before, origin, new)).await
}

/// Removes an alert with its history.
#[utoipa::path(tag = "alerts", params(("id" = String, Path)), responses((status = 204), Denied, (status = 404, body = Problem)))]
#[delete("/v1/alerts/{id}")]
pub(super) async fn remove_alert(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let found = alert::own(&lake.state.store, &principal, &id).await?;
    alert::remove(&lake, &found, &principal.origin(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Lets an alert rest.
#[utoipa::path(tag = "alerts", params(("id" = String, Path)), responses((status = 200, body = AlertView), Denied, (status = 404, body = Problem)))]
#[post("/v1/alerts/{id}/pause")]
pub(super) async fn pause_alert(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let found = alert::own(&lake.state.store, &principal, &id).await?;
    let alert = alert::pause(&lake, found, &principal.origin(&request), true).await?;
    Ok(HttpResponse::Ok().json(view(&lake, alert).await?))
}

/// Lets an alert go on from now. What came in between is not looked at.
#[utoipa::path(tag = "alerts", params(("id" = String, Path)), responses((status = 200, body = AlertView), Denied, (status = 404, body = Problem)))]
#[post("/v1/alerts/{id}/resume")]
pub(super) async fn resume_alert(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let found = alert::own(&lake.state.store, &principal, &id).await?;
    let alert = alert::pause(&lake, found, &principal.origin(&request), false).await?;
    Ok(HttpResponse::Ok().json(view(&lake, alert).await?))
}

/// What was found of each interval of the past 90 days, the newest first.
#[utoipa::path(
    tag = "alerts",
    params(("id" = String, Path), ("limit" = Option<u64>, Query)),
    responses((status = 200, body = EvaluationList), Denied, (status = 404, body = Problem)),
)]
#[get("/v1/alerts/{id}/evaluations")]
pub(super) async fn list_evaluations(
    principal: Authorized<ViewDashboard>,
    id: web::Path<String>,
    asked: Result<web::Query<ListParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let limit = parameters(asked)?.limit.unwrap_or(LISTED_DEFAULT).clamp(1, LISTED_MAX);
    let alert = alert::visible(&lake.state.store, &principal, &id).await?;
    let found = incident::findings(&lake.state.store, &alert.alert_id, limit).await?;
    let found: Vec<EvaluationView> = found.into_iter().map(EvaluationView::from).collect();
    Ok(HttpResponse::Ok().json(EvaluationList { evaluations: found }))
}

/// The incidents of an alert, the newest first: those that are open, and those that were resolved in the past 90 days.
#[utoipa::path(
    tag = "alerts",
    params(("id" = String, Path), ("limit" = Option<u64>, Query)),
    responses((status = 200, body = IncidentList), Denied, (status = 404, body = Problem)),
)]
#[get("/v1/alerts/{id}/incidents")]
pub(super) async fn list_incidents(
    principal: Authorized<ViewDashboard>,
    id: web::Path<String>,
    asked: Result<web::Query<ListParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let limit = parameters(asked)?.limit.unwrap_or(LISTED_DEFAULT).clamp(1, LISTED_MAX);
    let alert = alert::visible(&lake.state.store, &principal, &id).await?;
    let found = incident::of_alerts(&lake.state.store, &[alert.alert_id], false, limit).await?;
    let found: Vec<IncidentView> = found.into_iter().map(IncidentView::from).collect();
    Ok(HttpResponse::Ok().json(IncidentList { incidents: found }))
}

#[derive(Debug, Serialize, ToSchema)]
struct EvaluationList {
    evaluations: Vec<EvaluationView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct IncidentList {
    incidents: Vec<IncidentView>,
}

/// Does something about an incident.
pub(super) async fn act(
    lake: &Lake,
    who: &Principal,
    id: &str,
    incident_id: &str,
    asked: &Act,
) -> Result<Incident, Problem> {
    let store = &lake.state.store;
    // Whoever sees an alert may say that somebody is at it.
    let alert = alert::visible(store, who, id).await?;
    // The lock is held from here on: no look changes the incident in between.
    let write = store.write().await?;
    let found = incident::find(store, &alert.alert_id, incident_id).await?;
    let none = || Problem::not_found(format!("there is no incident `{incident_id}` of this alert"));
    let found = found.ok_or_else(none)?;
    let now = lake.state.clock.now();
    let incident = incident::act(&write, found, asked, &who.name, now).await?;
    if let Act::Snooze(until) = asked {
        alert.enqueue(&write, *until, now).await?;
    }
    write.commit().await?;
    Ok(incident)
}

/// Says that somebody is at it: nobody is told again.
#[utoipa::path(
    tag = "alerts",
    params(("id" = String, Path), ("incident" = String, Path)),
    responses((status = 200, body = IncidentView), Denied, (status = 404, body = Problem), (status = 409, description = "It is resolved.", body = Problem)),
)]
#[post("/v1/alerts/{id}/incidents/{incident}/acknowledge")]
pub(super) async fn acknowledge_incident(
    principal: Authorized<ViewDashboard>,
    path: web::Path<(String, String)>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let incident = act(&lake, &principal, &path.0, &path.1, &Act::Acknowledge).await?;
    Ok(HttpResponse::Ok().json(IncidentView::from(incident)))
}

/// Says that nobody is told until then. If it is still open then, they are told.
#[utoipa::path(
    tag = "alerts",
    params(("id" = String, Path), ("incident" = String, Path)),
    request_body = SnoozeBody,
    responses((status = 200, body = IncidentView), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, description = "It is resolved.", body = Problem)),
)]
#[post("/v1/alerts/{id}/incidents/{incident}/snooze")]
pub(super) async fn snooze_incident(
    principal: Authorized<ViewDashboard>,
    path: web::Path<(String, String)>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let SnoozeBody { until } = body.json(&principal).await?;
    let now = lake.state.clock.now();
    if until <= now || until - now > SNOOZE_MAX {
        let detail = "`until` is after now, and at most 90 days from now";
        return Err(Problem::bad_request(Code::InvalidField, detail));
    }
    let incident = act(&lake, &principal, &path.0, &path.1, &Act::Snooze(until)).await?;
    Ok(HttpResponse::Ok().json(IncidentView::from(incident)))
}

/// Resolves an incident by hand. It opens anew when the condition is met as often as it must.
#[utoipa::path(
    tag = "alerts",
    params(("id" = String, Path), ("incident" = String, Path)),
    responses((status = 200, body = IncidentView), Denied, (status = 404, body = Problem), (status = 409, description = "It is resolved.", body = Problem)),
)]
#[post("/v1/alerts/{id}/incidents/{incident}/resolve")]
pub(super) async fn resolve_incident(
    principal: Authorized<ViewDashboard>,
    path: web::Path<(String, String)>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let incident = act(&lake, &principal, &path.0, &path.1, &Act::Resolve).await?;
    Ok(HttpResponse::Ok().json(IncidentView::from(incident)))
}
