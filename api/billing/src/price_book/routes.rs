//! `/v1/prices`: what plans and models cost; `/v1/admin/prices`: how staff changes it.

use actix_web::{HttpRequest, HttpResponse, delete, get, post, put, web};
use chrono::NaiveDate;
use rest::{
    body::Body,
    principal::{Administer, Authorized, SignedIn},
    problem::{Code, Denied, Problem},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    Applied, NewOverride, PricePreview, StoredPrices, agree, apply, book, end_agreement,
    of_organization, preview, read,
};
use crate::{
    Billing, Charge, ModelVersion, PlanVersion, PriceList, PriceOverride, fault::Fault,
    subscriptions,
};

const LIST_BYTES_MAX: usize = 1 << 20;

pub(super) fn routes(config: &mut ServiceConfig<'_>, billing: &Billing) {
    config
        .app_data(web::Data::new(billing.clone()))
        .service(list_prices)
        .service(put_prices)
        .service(preview_prices)
        .service(list_agreements)
        .service(create_agreement)
        .service(delete_agreement);
}

/// The price list. Each version has `version`, its number, and `used`, besides what a file of prices has.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct PriceListView {
    plans: Vec<PlanPricesView>,
    models: Vec<ModelPricesView>,
}

#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct PlanPricesView {
    plan: String,
    versions: Vec<StoredVersion<PlanVersion>>,
}

#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct ModelPricesView {
    model: String,
    versions: Vec<StoredVersion<ModelVersion>>,
}

/// A version as it is stored.
#[derive(Debug, Serialize, ToSchema)]
struct StoredVersion<V> {
    #[serde(flatten)]
    price: V,
    version: u32,
    /// Something was billed by it: it cannot be changed any more.
    used: bool,
}

/// What plans and models cost. `used` versions stay as they are.
#[utoipa::path(
    tag = "billing",
    responses((status = 200, description = "`plans` and `models`, each with its `versions`: as in a file of prices, with `version` and `used`.", body = PriceListView), Denied)
)]
#[get("/v1/prices")]
async fn list_prices(
    _: Authorized<SignedIn>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let stored = read(billing.state.store.db()).await?;
    Ok(HttpResponse::Ok().json(view(&stored)?))
}

fn view(stored: &StoredPrices) -> Result<Value, Problem> {
    let mut list = serde_json::to_value(&stored.list).map_err(|_| Problem::internal())?;
    for (members, name, is_plan) in [("plans", "plan", true), ("models", "model", false)] {
        let all = list.get_mut(members).and_then(Value::as_array_mut);
        for prices in all.into_iter().flatten() {
            let of = prices[name].as_str().unwrap_or_default().to_owned();
            let versions = prices.get_mut("versions").and_then(Value::as_array_mut);
            for (number, version) in (1..).zip(versions.into_iter().flatten()) {
                version["version"] = json!(number);
                version["used"] = json!(stored.is_used(is_plan, &of, number));
            }
        }
    }
    Ok(list)
}

async fn list_of(body: Body, admin: &Authorized<Administer>) -> Result<PriceList, Problem> {
    let bytes = body.packed(admin, LIST_BYTES_MAX).await?;
    let text = std::str::from_utf8(&bytes);
    let text =
        text.map_err(|_| Problem::bad_request(Code::InvalidBody, "the list is not UTF-8"))?;
    Ok(PriceList::parse(text).map_err(Fault::from)?)
}

/// Stores the plans and models of a list in YAML, or in JSON. A version that was used stays as it is; what the list does not
/// name stays.
#[utoipa::path(
    operation_id = "update_prices",
    tag = "billing",
    request_body(content = String, content_type = "application/yaml"),
    responses((status = 200, body = Applied), (status = 400, body = Problem), Denied, (status = 409, body = Problem))
)]
#[put("/v1/admin/prices")]
async fn put_prices(
    admin: Authorized<Administer>,
    request: HttpRequest,
    body: Body,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let list = list_of(body, &admin).await?;
    Ok(HttpResponse::Ok().json(billing.store_prices(&list, &admin.origin(&request)).await?))
}

/// What the last billing period of each organization would have cost by a list. It changes nothing.
#[utoipa::path(
    tag = "billing",
    request_body(content = String, content_type = "application/yaml"),
    responses((status = 200, body = PricePreview), (status = 400, body = Problem), Denied)
)]
#[post("/v1/admin/prices/preview")]
async fn preview_prices(
    admin: Authorized<Administer>,
    body: Body,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let list = list_of(body, &admin).await?;
    Ok(HttpResponse::Ok().json(Box::pin(billing.preview_prices(&list)).await?))
}

impl Billing {
    /// Stores the plans and models of a list.
    pub async fn store_prices(
        &self,
        list: &PriceList,
        origin: &state::audit::AuditOrigin,
    ) -> Result<Applied, Fault> {
        let write = self.state.store.write().await?;
        let applied = apply(&write, list, origin, self.state.clock.now()).await?;
        write.commit().await?;
        Ok(applied)
    }

    /// What the last billing periods would have cost by a list.
    pub(crate) async fn preview_prices(&self, list: &PriceList) -> Result<PricePreview, Fault> {
        let (store, now) = (&self.state.store, self.state.clock.now());
        let cut = self.usage.cut().await?;
        let all = subscriptions::open(store.db()).await?;
        let usage = self.usage_of(&all, &cut, now).await?;
        let book = book(store.db()).await?;
        let none = crate::DailyUsage::new();
        let with_usage = all.iter().map(|stored| {
            let of = &stored.subscription;
            let used = usage.get(&of.zone).and_then(|used| used.get(&of.organization_id));
            (of, used.unwrap_or(&none))
        });
        let today = |of: &crate::Subscription| now.with_timezone(&of.zone).date_naive();
        Ok(preview(with_usage, &book, list, today))
    }
}

/// Prices that are agreed with an organization.
#[derive(Debug, Serialize, ToSchema)]
struct AgreementView {
    override_id: String,
    plan: String,
    /// As in a file of prices.
    #[schema(value_type = Vec<Charge>)]
    charges: Value,
    #[schema(value_type = String, format = Date)]
    starts_on: NaiveDate,
    /// The first day after it; nothing: for good.
    #[schema(value_type = Option<String>, format = Date)]
    ends_on: Option<NaiveDate>,
    note: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct AgreementList {
    agreements: Vec<AgreementView>,
}

/// Charges of a plan that count for one organization instead of those of the list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AgreementBody {
    plan: String,
    /// As in a file of prices; amounts are in the currency of the plan.
    #[schema(value_type = Vec<Charge>)]
    charges: Value,
    /// The first day: today or later.
    #[schema(value_type = String, format = Date)]
    starts_on: NaiveDate,
    /// The first day after it; left out: for good.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Date)]
    ends_on: Option<NaiveDate>,
    /// Why: at most 500 characters.
    #[serde(default)]
    note: String,
}

impl AgreementView {
    fn of(one: PriceOverride) -> Self {
        Self {
            charges: serde_json::to_value(&one.charges).unwrap_or_default(),
            override_id: one.override_id,
            plan: one.plan,
            starts_on: one.starts_on,
            ends_on: one.ends_on,
            note: one.note,
        }
    }
}

/// The prices that are agreed with an organization, the oldest first. Of several that hold on a day, the last counts.
#[utoipa::path(
    tag = "billing",
    params(("organization_id" = String, Path)),
    responses((status = 200, body = AgreementList), Denied)
)]
#[get("/v1/admin/organizations/{organization_id}/prices")]
async fn list_agreements(
    _: Authorized<Administer>,
    organization_id: web::Path<String>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let found = of_organization(&billing.state.store, &organization_id).await?;
    let agreements = found.into_iter().map(AgreementView::of).collect();
    Ok(HttpResponse::Ok().json(AgreementList { agreements }))
}

/// Agrees on prices with an organization.
#[utoipa::path(
    tag = "billing",
    params(("organization_id" = String, Path)),
    request_body = AgreementBody,
    responses((status = 201, body = AgreementView), (status = 400, body = Problem), Denied, (status = 404, body = Problem))
)]
#[post("/v1/admin/organizations/{organization_id}/prices")]
async fn create_agreement(
    admin: Authorized<Administer>,
    organization_id: web::Path<String>,
    request: HttpRequest,
    body: Body,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let body: AgreementBody = body.json(&admin).await?;
    let charges = serde_json::from_value(body.charges);
    let charges =
        charges.map_err(|error| Fault::invalid("charges", format!("is not readable: {error}")))?;
    let AgreementBody { plan, starts_on, ends_on, note, .. } = body;
    let new = NewOverride { plan, charges, starts_on, ends_on, note };
    let write = billing.state.store.write().await?;
    let now = billing.state.clock.now();
    let made = agree(&write, &organization_id, new, &admin.origin(&request), now).await?;
    write.commit().await?;
    Ok(HttpResponse::Created().json(AgreementView::of(made)))
}

/// Ends an agreement today. One that has ended stays.
#[utoipa::path(
    tag = "billing",
    params(("organization_id" = String, Path), ("override_id" = String, Path)),
    responses((status = 204), Denied, (status = 404, body = Problem))
)]
#[delete("/v1/admin/organizations/{organization_id}/prices/{override_id}")]
async fn delete_agreement(
    admin: Authorized<Administer>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let (organization_id, override_id) = path.into_inner();
    let write = billing.state.store.write().await?;
    let now = billing.state.clock.now();
    end_agreement(&write, &organization_id, &override_id, &admin.origin(&request), now).await?;
    write.commit().await?;
    Ok(HttpResponse::NoContent().finish())
}
