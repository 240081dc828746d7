//! Annotations: a point of time and a sentence, on every chart of time of the same scope. One of staff may be a
//! maintenance window, in which nothing is an anomaly.

mod m0010_annotations;
mod m0015_maintenance;
mod row;

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, post, web};
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use ingest::control;
use rest::{
    body::Body,
    feature::Feature,
    principal::{Ability, Authorized, Gate, Principal, ViewDashboard},
    problem::{Code, Denied, Problem, parameters},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    migration::Migration,
    store::{Store, StoreContext, StoreError, time_of},
};
use utoipa::ToSchema;

use crate::{
    Lake,
    queries::staff_only,
    reporting::{on_to, posted, value},
};

/// Annotations.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("annotations")
    .with_routes(|config, _| {
        config
            .route("/annotations", web::post().to(act))
            .service(list_annotations)
            .service(create_annotation)
            .service(remove_annotation);
    })
    .with_migrations(&[
        Migration { name: "m0010_annotations", up: |m| Box::pin(m0010_annotations::up(m)) },
        Migration { name: "m0015_maintenance", up: |m| Box::pin(m0015_maintenance::up(m)) },
    ]);

const BODY_BYTES_MAX: usize = 16 << 10;
const LETTERS_MAX: usize = 200;
const MAINTENANCE_MAX: TimeDelta = TimeDelta::days(31);
/// An annotation is of one of these years.
const YEARS: std::ops::RangeInclusive<i32> = 2000..=2200;
/// Of one organization, or of staff.
const ANNOTATIONS_MAX: u64 = 5_000;
/// Annotations of one window that are shown.
const SHOWN_MAX: u64 = 100;

/// What is to be said of a point of time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAnnotation {
    #[schema(value_type = String, format = DateTime)]
    pub at: DateTime<Utc>,
    /// 1 to 200 characters.
    pub text: String,
    /// The end of a maintenance window that begins `at`, at most 31 days later: values in it are neither anomalies nor
    /// learned from. Of staff only.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub maintenance_until: Option<DateTime<Utc>>,
}

/// An annotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Annotation {
    pub id: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: DateTime<Utc>,
    pub text: String,
    /// The end of the maintenance window that begins `at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub maintenance_until: Option<DateTime<Utc>>,
    pub created_by: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowParameters {
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
}

fn scope_of(who: &Principal) -> String {
    who.reach.organization_id().unwrap_or_default().to_owned()
}

/// The annotations of a window, by time. Staff see those of staff, a member those of the organization.
pub(crate) async fn of_window(
    store: &Store,
    who: &Principal,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Annotation>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::Scope.eq(scope_of(who)))
        .filter(row::Column::At.gte(from.timestamp_micros()))
        .filter(row::Column::At.lt(to.timestamp_micros()))
        .order_by_asc(row::Column::At)
        .order_by_asc(row::Column::AnnotationId)
        .limit(SHOWN_MAX)
        .all(store.db())
        .await
        .doing("listing annotations")?;
    rows.into_iter().map(Annotation::try_from).collect()
}

/// The maintenance windows of staff that touch a span.
pub(crate) async fn maintenance(
    store: &Store,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<(DateTime<Utc>, DateTime<Utc>)>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::Scope.eq(String::new()))
        .filter(row::Column::MaintenanceUntil.gt(from.timestamp_micros()))
        .filter(row::Column::At.lt(to.timestamp_micros()))
        .all(store.db())
        .await
        .doing("listing maintenance windows")?;
    let window = |row: row::Model| {
        let annotation = Annotation::try_from(row)?;
        Ok(annotation.maintenance_until.map(|until| (annotation.at, until)))
    };
    rows.into_iter().filter_map(|row| window(row).transpose()).collect()
}

impl Annotation {
    /// Whether somebody may remove it.
    pub(crate) fn may_remove(&self, who: &Principal) -> bool {
        self.created_by == who.id || who.may(Ability::Administer)
    }
}

async fn create(
    lake: &Lake,
    who: &Principal,
    origin: &AuditOrigin,
    new: NewAnnotation,
) -> Result<Annotation, Problem> {
    let text = new.text.trim();
    let letters = text.chars().count();
    if !(1..=LETTERS_MAX).contains(&letters) || control::in_name(text) {
        let detail = format!(
            "`text` must be 1 to {LETTERS_MAX} characters, none of them a control character"
        );
        return Err(Problem::bad_request(Code::InvalidField, detail));
    }
    if !YEARS.contains(&new.at.year()) {
        let detail = format!("`at` is between {} and {}", YEARS.start(), YEARS.end());
        return Err(Problem::bad_request(Code::InvalidField, detail));
    }
    if let Some(until) = new.maintenance_until {
        staff_only(who, "a maintenance window")?;
        let length = until - new.at;
        if length <= TimeDelta::zero() || length > MAINTENANCE_MAX {
            let detail = format!(
                "`maintenance_until` is after `at`, by at most {} days",
                MAINTENANCE_MAX.num_days()
            );
            return Err(Problem::bad_request(Code::InvalidField, detail));
        }
    }
    let store = &lake.state.store;
    let of_scope = row::Entity::find().filter(row::Column::Scope.eq(scope_of(who)));
    if of_scope.count(store.db()).await.doing("counting annotations")? >= ANNOTATIONS_MAX {
        let detail = format!("there are {ANNOTATIONS_MAX} annotations; remove one first");
        return Err(Problem::conflict(Code::TooManyAnnotations, detail));
    }
    let now = lake.state.clock.now();
    let annotation = Annotation {
        id: format!("annotation_{}", base62(&random_bytes::<16>()?, 22)),
        at: new.at,
        text: text.to_owned(),
        maintenance_until: new.maintenance_until,
        created_by: who.id.clone(),
    };
    let row = row::ActiveModel {
        annotation_id: Set(annotation.id.clone()),
        scope: Set(scope_of(who)),
        at: Set(annotation.at.timestamp_micros()),
        sentence: Set(annotation.text.clone()),
        created_by: Set(annotation.created_by.clone()),
        created_at: Set(now.timestamp_micros()),
        maintenance_until: Set(annotation.maintenance_until.map(|at| at.timestamp_micros())),
    };
    let write = store.write().await?;
    row::Entity::insert(row)
        .exec_without_returning(write.db())
        .await
        .doing("adding an annotation")?;
    let act = AuditAction {
        action: "annotation.created",
        target: annotation.id.clone(),
        detail: json!({
            "at": annotation.at, "maintenance_until": annotation.maintenance_until,
        }),
    };
    audit::append(&write, origin, act, now).await?;
    write.commit().await?;
    Ok(annotation)
}

async fn remove(
    lake: &Lake,
    who: &Principal,
    origin: &AuditOrigin,
    id: &str,
) -> Result<(), Problem> {
    let (store, now) = (&lake.state.store, lake.state.clock.now());
    let found = row::Entity::find_by_id(id)
        .filter(row::Column::Scope.eq(scope_of(who)))
        .one(store.db())
        .await
        .doing("looking for an annotation")?;
    let absent = || Problem::not_found(format!("there is no annotation `{id}`"));
    let found = Annotation::try_from(found.ok_or_else(absent)?)?;
    if !found.may_remove(who) {
        let detail = "it is removed by who added it, or by an administrator";
        return Err(Problem::forbidden(Code::Forbidden, detail));
    }
    let write = store.write().await?;
    row::Entity::delete_by_id(id).exec(write.db()).await.doing("removing an annotation")?;
    let act = AuditAction {
        action: "annotation.removed",
        target: found.id,
        detail: json!({"at": found.at}),
    };
    audit::append(&write, origin, act, now).await?;
    Ok(write.commit().await?)
}

/// The annotations of a window; without one, of all times. At most 100, the oldest first.
#[utoipa::path(
    tag = "annotations",
    params(("from" = Option<String>, Query), ("to" = Option<String>, Query)),
    responses((status = 200, body = AnnotationList), Denied),
)]
#[get("/v1/annotations")]
async fn list_annotations(
    principal: Authorized<ViewDashboard>,
    asked: Result<web::Query<WindowParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let from = asked.from.unwrap_or(DateTime::UNIX_EPOCH);
    let to = asked.to.unwrap_or(DateTime::<Utc>::MAX_UTC);
    let found = of_window(&lake.state.store, &principal, from, to).await?;
    Ok(HttpResponse::Ok().json(AnnotationList { annotations: found }))
}

#[derive(Debug, Serialize, ToSchema)]
struct AnnotationList {
    annotations: Vec<Annotation>,
}

/// Adds an annotation. Everybody who sees the same organization, or all of staff, sees it.
#[utoipa::path(
    tag = "annotations",
    request_body = NewAnnotation,
    responses((status = 201, body = Annotation), (status = 400, body = Problem), Denied, (status = 409, description = "There are too many.", body = Problem)),
)]
#[post("/v1/annotations")]
async fn create_annotation(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let new: NewAnnotation = body.json(&principal).await?;
    let made = create(&lake, &principal, &principal.origin(&request), new).await?;
    let place = format!("/v1/annotations/{}", made.id);
    Ok(HttpResponse::Created().insert_header((header::LOCATION, place)).json(made))
}

/// Removes an annotation.
#[utoipa::path(tag = "annotations", params(("id" = String, Path)), responses((status = 204), Denied, (status = 404, body = Problem)))]
#[delete("/v1/annotations/{id}")]
async fn remove_annotation(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    remove(&lake, &principal, &principal.origin(&request), &id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The form of a dashboard: adds an annotation, or removes one, and leads back to the page.
async fn act(
    request: HttpRequest,
    gate: web::Data<Gate>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, fields) = match posted(&request, &gate, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let origin = principal.origin(&request);
    match value(&fields, "remove") {
        Some(id) => remove(&lake, &principal, &origin, id).await?,
        None => {
            let invalid = |name: &str| Problem::invalid_parameters(format!("`{name}` is missing"));
            let day = value(&fields, "day").ok_or_else(|| invalid("day"))?;
            let day = day
                .parse::<chrono::NaiveDate>()
                .ok()
                .filter(|day| YEARS.contains(&day.year()))
                .ok_or_else(|| Problem::invalid_parameters(format!("`day`: `{day}` is no date")))?;
            let zone = match value(&fields, "tz") {
                Some(name) => name
                    .parse::<query::Zone>()
                    .map_err(|error| Problem::invalid_parameters(error.to_string()))?,
                None => lake.metrics.zone,
            };
            let at = zone.instant(day.and_time(chrono::NaiveTime::MIN));
            let text = value(&fields, "text").ok_or_else(|| invalid("text"))?.to_owned();
            create(&lake, &principal, &origin, NewAnnotation { at, text, maintenance_until: None })
                .await?;
        }
    }
    // Only a dashboard is led back to.
    let place = value(&fields, "back").filter(|back| back.starts_with("/dashboards/"));
    Ok(match place {
        Some(place) => rest::page::see_other(place),
        None => on_to("/", &fields),
    })
}

impl TryFrom<row::Model> for Annotation {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        Ok(Self {
            at: time_of("annotations", row.at)?,
            id: row.annotation_id,
            text: row.sentence,
            maintenance_until: row
                .maintenance_until
                .map(|until| time_of("annotations", until))
                .transpose()?,
            created_by: row.created_by,
        })
    }
}
