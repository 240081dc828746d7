//! Links to a dashboard for people outside: with frozen filters, the rights of who made them, and an end.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use reports::{Address, Page};
use rest::{
    page::{html_page, language},
    principal::Principal,
    problem::{Code, Problem},
};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::Serialize;
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    store::{Store, StoreContext, StoreError, time_of},
};
use utoipa::ToSchema;

use super::row::link as row;
use crate::{
    Lake,
    dashboards::{self, DashboardParameters},
};

/// A link as its maker sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct LinkView {
    pub id: String,
    /// Whoever has it sees the dashboard until it expires.
    pub url: String,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
}

pub(super) const DAYS_MAX: u32 = 90;
const LINKS_MAX: usize = 20;

fn scope_of(who: &Principal) -> String {
    who.reach.organization_id().unwrap_or_default().to_owned()
}

impl LinkView {
    fn of(lake: &Lake, row: row::Model) -> Result<Self, StoreError> {
        // The second part tells the token from that of another purpose.
        let token = lake.reporting.links.token(&row.link_id, "dashboard");
        Ok(Self {
            url: lake.reporting.links.to(&format!("/shared/{token}")),
            expires_at: time_of("dashboard_links", row.expires_at)?,
            created_at: time_of("dashboard_links", row.created_at)?,
            id: row.link_id,
        })
    }
}

/// The links to a dashboard that somebody made, those that are over too.
pub(super) async fn list(
    lake: &Lake,
    who: &Principal,
    name: &str,
) -> Result<Vec<LinkView>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::Scope.eq(scope_of(who)))
        .filter(row::Column::DashboardName.eq(name))
        .filter(row::Column::OwnerId.eq(who.id.as_str()))
        .order_by_desc(row::Column::CreatedAt)
        .all(lake.state.store.db())
        .await
        .doing("listing links")?;
    rows.into_iter().map(|row| LinkView::of(lake, row)).collect()
}

/// Makes a link to a dashboard that somebody sees, with what the address says.
pub(super) async fn create(
    lake: &Lake,
    who: &Principal,
    origin: &AuditOrigin,
    name: &str,
    parameters: Vec<(String, String)>,
    days: u32,
) -> Result<LinkView, Problem> {
    let refuse = |detail: String| Err(Problem::bad_request(Code::InvalidField, detail));
    if !(1..=DAYS_MAX).contains(&days) {
        return refuse(format!("a link expires after 1 to {DAYS_MAX} days"));
    }
    // What could not be shown is refused now, not when somebody opens it.
    dashboards::definition(name, lake, who, who).await?;
    let now = lake.state.clock.now();
    DashboardParameters::read(parameters.clone())?.selection(now, lake, who)?;
    let valid = list(lake, who, name).await?.into_iter().filter(|link| link.expires_at > now);
    if valid.count() >= LINKS_MAX {
        let detail = format!("there are {LINKS_MAX} links; remove one first");
        return Err(Problem::conflict(Code::TooManyLinks, detail));
    }
    let id = format!("link_{}", base62(&random_bytes::<16>()?, 22));
    let expires_at = now + chrono::TimeDelta::days(i64::from(days));
    let row = row::ActiveModel {
        link_id: Set(id.clone()),
        dashboard_name: Set(name.to_owned()),
        scope: Set(scope_of(who)),
        owner_id: Set(who.id.clone()),
        parameters: Set(json!(parameters).to_string()),
        expires_at: Set(expires_at.timestamp_micros()),
        created_at: Set(now.timestamp_micros()),
    };
    let write = lake.state.store.write().await?;
    row::Entity::delete_many()
        .filter(row::Column::ExpiresAt.lt(now.timestamp_micros()))
        .exec(write.db())
        .await
        .doing("forgetting links that expired")?;
    row::Entity::insert(row).exec_without_returning(write.db()).await.doing("adding a link")?;
    let detail = json!({"dashboard": name, "expires_at": expires_at});
    let act = AuditAction { action: "dashboard_link.created", target: id.clone(), detail };
    audit::append(&write, origin, act, now).await?;
    write.commit().await?;
    let found = find(&lake.state.store, &id).await?.ok_or_else(Problem::internal)?;
    Ok(LinkView::of(lake, found)?)
}

async fn find(store: &Store, id: &str) -> Result<Option<row::Model>, StoreError> {
    row::Entity::find_by_id(id).one(store.db()).await.doing("looking for a link")
}

/// Ends a link that somebody made.
pub(super) async fn remove(
    lake: &Lake,
    who: &Principal,
    origin: &AuditOrigin,
    id: &str,
) -> Result<(), Problem> {
    let found = find(&lake.state.store, id).await?.filter(|row| row.owner_id == who.id);
    let absent = || Problem::not_found(format!("there is no link `{id}` of yours"));
    let found = found.ok_or_else(absent)?;
    let write = lake.state.store.write().await?;
    row::Entity::delete_by_id(id).exec(write.db()).await.doing("removing a link")?;
    let detail = json!({"dashboard": found.dashboard_name});
    let act = AuditAction { action: "dashboard_link.removed", target: id.to_owned(), detail };
    audit::append(&write, origin, act, lake.state.clock.now()).await?;
    Ok(write.commit().await?)
}

/// `/shared/{token}`: the dashboard, for whoever has the link. It has no drill, no SQL and no rows.
pub(super) async fn shared(
    request: HttpRequest,
    token: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let gone = || Problem::not_found("this link is not valid, or not any more");
    let (id, purpose) = lake.reporting.links.read(&token).ok_or_else(gone)?;
    if purpose != "dashboard" {
        return Err(gone());
    }
    let found = find(&lake.state.store, &id).await?.ok_or_else(gone)?;
    let now = lake.state.clock.now();
    // The rights are those of its maker at this moment.
    let owner = lake.authenticator.by_id(&found.owner_id).await?;
    let owner = owner.filter(|_| now.timestamp_micros() < found.expires_at).ok_or_else(gone)?;
    let parameters: Vec<(String, String)> =
        serde_json::from_str(&found.parameters).map_err(|_| Problem::internal())?;
    let asked = DashboardParameters::read(parameters)?;
    let definition = dashboards::definition(&found.dashboard_name, &lake, &owner, &owner).await?;
    let cut = lake.lakehouse.cut();
    let page = Page {
        language: language(&request, asked.lang.as_deref()),
        selection: asked.selection(now, &lake, &owner)?,
        generated_at: now,
        as_of: lake.cut_cipher.token(&cut, &owner)?,
        organization: owner.reach.organization_id().map(str::to_owned),
        user: None,
        asks_sql: false,
        definition: None,
        standalone: true,
        server: None,
        failures: Default::default(),
        annotations: Vec::new(),
        anomalies: Vec::new(),
        tabs: Vec::new(),
        may_change: false,
        address: Address::default(),
    };
    let html = dashboards::rendered(&lake, &owner, cut, definition, page).await?;
    Ok(html_page(html))
}
