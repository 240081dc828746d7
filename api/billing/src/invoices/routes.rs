//! `/v1/invoices`: what customers see of their invoices, and what staff does with them.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use rest::{
    body::Body,
    principal::{Administer, Authorized, Principal, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    credit::balances,
    document::InvoicePreview,
    issue::midnight,
    stored::{Invoice, InvoiceFilter, InvoiceStatus, get, list},
    view::{InvoiceList, InvoiceView},
};
use crate::{Billing, own::own_organization, payments, subscriptions, usage::EventsQuestion};

const PAGE: u64 = 50;
const EVENTS_PAGE: u64 = 500;
const PAGES_MAX: u64 = 1_000_000;

pub(super) fn routes(config: &mut ServiceConfig<'_>, _: &Billing) {
    // Before the route that takes an id.
    super::document_routes::routes(config);
    config
        .service(list_invoices)
        .service(preview_invoice)
        .service(get_credit)
        .service(get_invoice)
        .service(get_line_events)
        .service(finalize_invoice)
        .service(void_invoice)
        .service(create_credit_note)
        .service(record_payment);
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParameters {
    status: Option<InvoiceStatus>,
    organization: Option<String>,
    page: Option<u64>,
}

/// Invoices and credit notes, the newest first: of the own organization, for staff of all. Drafts are for staff.
#[utoipa::path(
    tag = "billing",
    params(
        ("status" = Option<InvoiceStatus>, Query),
        ("organization" = Option<String>, Query, description = "For staff: only of this one."),
        ("page" = Option<u64>, Query, description = "From 0, of 50 each."),
    ),
    responses((status = 200, body = InvoiceList), (status = 400, body = Problem), Denied)
)]
#[get("/v1/invoices")]
async fn list_invoices(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<ListParameters>, actix_web::Error>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let ListParameters { status, organization, page } = parameters(asked)?;
    let own = principal.reach.organization_id().map(str::to_owned);
    let filter = InvoiceFilter {
        without_drafts: own.is_some(),
        organization_id: own.or(organization),
        status,
        issued: None,
    };
    let page = checked_page(page)?;
    let span = (page.saturating_mul(PAGE), PAGE);
    let (found, count) = list(billing.state.store.db(), &filter, span).await?;
    let has_more = span.0 + (found.len() as u64) < count;
    Ok(HttpResponse::Ok().json(InvoiceList {
        invoices: found.iter().map(InvoiceView::row).collect(),
        count,
        next_page: has_more.then_some(page + 1),
    }))
}

/// What credit notes gave back and no invoice has used yet.
#[derive(Debug, Serialize, ToSchema)]
struct CreditList {
    credit: Vec<CreditBalance>,
}

/// Credit in one currency.
#[derive(Debug, Serialize, ToSchema)]
struct CreditBalance {
    /// ISO 4217.
    currency: String,
    #[schema(value_type = String)]
    amount: Decimal,
}

/// The credit of the own organization, by currency. Invoices use it when they are finalized.
#[utoipa::path(tag = "billing", responses((status = 200, body = CreditList), Denied))]
#[get("/v1/billing/credit")]
async fn get_credit(
    principal: Authorized<ReadMetrics>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let found = balances(billing.state.store.db(), own_organization(&principal)?).await?;
    let credit = found
        .into_iter()
        .map(|(currency, amount)| CreditBalance { currency: currency.as_str().to_owned(), amount });
    Ok(HttpResponse::Ok().json(CreditList { credit: credit.collect() }))
}

/// Far more than anybody turns.
fn checked_page(page: Option<u64>) -> Result<u64, Problem> {
    match page.unwrap_or(0) {
        page @ 0..=PAGES_MAX => Ok(page),
        page => Err(Problem::invalid_parameters(format!("`page={page}` is more than {PAGES_MAX}"))),
    }
}

/// An invoice that somebody may see.
pub(crate) async fn visible(
    billing: &Billing,
    principal: &Principal,
    invoice_id: &str,
) -> Result<Invoice, Problem> {
    let unknown = || Problem::not_found(format!("there is no invoice `{invoice_id}`"));
    let found = get(billing.state.store.db(), invoice_id).await?.ok_or_else(unknown)?;
    let is_own = |own: &str| own == found.organization_id && found.status != InvoiceStatus::Draft;
    match principal.reach.organization_id() {
        Some(own) if !is_own(own) => Err(unknown()),
        _ => Ok(found),
    }
}

async fn whole(billing: &Billing, invoice: Invoice) -> Result<HttpResponse, Problem> {
    let payments = payments::of_invoice(billing.state.store.db(), &invoice.invoice_id).await?;
    Ok(HttpResponse::Ok().json(InvoiceView::whole(invoice, payments)))
}

/// An invoice with its lines and payments.
#[utoipa::path(
    tag = "billing",
    params(("invoice_id" = String, Path)),
    responses((status = 200, body = InvoiceView), Denied, (status = 404, body = Problem))
)]
#[get("/v1/invoices/{invoice_id}")]
async fn get_invoice(
    principal: Authorized<ReadMetrics>,
    invoice_id: web::Path<String>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let invoice = visible(&billing, &principal, &invoice_id).await?;
    whole(&billing, invoice).await
}

/// What the next invoice of the own organization would be, if its period ended now.
#[utoipa::path(
    tag = "billing",
    params(("organization" = Option<String>, Query, description = "For staff: whose.")),
    responses((status = 200, body = InvoicePreview), Denied, (status = 404, body = Problem))
)]
#[get("/v1/invoices/preview")]
async fn preview_invoice(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<ListParameters>, actix_web::Error>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let ListParameters { organization, .. } = parameters(asked)?;
    let own = principal.reach.organization_id().map(str::to_owned).or(organization);
    let organization_id =
        own.ok_or_else(|| Problem::invalid_parameters("`organization` is missing"))?;
    let preview = billing.preview_invoice(&organization_id, &principal).await?;
    Ok(HttpResponse::Ok().json(preview))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsParameters {
    page: Option<u64>,
}

/// An event behind a line of an invoice.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct LineEvent {
    event_id: String,
    source: String,
    occurred_at: String,
    project_id: Option<String>,
    api_key_id: Option<String>,
    model: Option<String>,
    status_code: Option<i64>,
    input_tokens: Option<i64>,
    cached_input_tokens: Option<i64>,
    cache_write_input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    images: Option<i64>,
    /// A decimal.
    list_price: Option<String>,
    currency: Option<String>,
}

/// A page of the events behind a line.
#[derive(Debug, Default, Serialize, ToSchema)]
struct LineEvents {
    /// Rows of `usage_events`.
    #[schema(value_type = Vec<LineEvent>)]
    events: Vec<Value>,
    sql: Option<String>,
    as_of: Option<String>,
    next_page: Option<u64>,
}

/// The events behind a line of an invoice, the oldest first, at the cut of the invoice; `sql` and `as_of` ask the same by
/// `POST /v1/query`. Lines without a meter have none.
#[utoipa::path(
    operation_id = "list_invoice_line_events",
    tag = "billing",
    params(
        ("invoice_id" = String, Path), ("line" = u32, Path),
        ("page" = Option<u64>, Query, description = "From 0, of 500 events each."),
    ),
    responses((status = 200, body = LineEvents), Denied, (status = 404, body = Problem))
)]
#[get("/v1/invoices/{invoice_id}/lines/{line}/events")]
async fn get_line_events(
    principal: Authorized<ReadMetrics>,
    path: web::Path<(String, String)>,
    asked: Result<web::Query<EventsParameters>, actix_web::Error>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let (invoice_id, number) = path.into_inner();
    let page = checked_page(parameters(asked)?.page)?;
    let invoice = visible(&billing, &principal, &invoice_id).await?;
    let line = invoice.document.lines.iter().find(|line| line.line.to_string() == number);
    let unknown = || Problem::not_found(format!("the invoice has no line {number}"));
    let line = line.ok_or_else(unknown)?;
    if line.meter.as_deref().is_none_or(|meter| meter == "seats") {
        return Ok(HttpResponse::Ok().json(LineEvents::default()));
    }
    let db = billing.state.store.db();
    let subscription = subscriptions::of_ids(db, std::slice::from_ref(&invoice.subscription_id));
    let subscription = subscription.await?.pop().ok_or_else(Problem::internal)?.subscription;
    let question = EventsQuestion {
        organization_id: invoice.organization_id.clone(),
        from: midnight(line.from, subscription.zone),
        to: midnight(line.to, subscription.zone),
        models: line.models.clone(),
        page: (page.saturating_mul(EVENTS_PAGE), EVENTS_PAGE),
    };
    let events = billing.usage.events(&invoice.cut, &question).await?;
    let has_more = events.len() as u64 == EVENTS_PAGE;
    Ok(HttpResponse::Ok().json(LineEvents {
        sql: Some(billing.usage.events_sql(&question)),
        as_of: Some(billing.usage.token(&invoice.cut, &principal)?),
        next_page: has_more.then_some(page + 1),
        events,
    }))
}

/// Makes a draft final now, though its grace is not over. What is due is computed anew.
#[utoipa::path(
    tag = "billing",
    params(("invoice_id" = String, Path)),
    responses((status = 200, body = InvoiceView), Denied, (status = 404, body = Problem), (status = 409, body = Problem))
)]
#[post("/v1/admin/invoices/{invoice_id}/finalize")]
async fn finalize_invoice(
    admin: Authorized<Administer>,
    invoice_id: web::Path<String>,
    request: HttpRequest,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let invoice = visible(&billing, &admin, &invoice_id).await?;
    let invoice = billing.finalize_draft(invoice, &admin.origin(&request)).await?;
    whole(&billing, invoice).await
}

/// Cancels an invoice as a whole, if nothing of it was paid or credited. Its lines are owed again, and come with the next one.
#[utoipa::path(
    tag = "billing",
    params(("invoice_id" = String, Path)),
    responses((status = 200, body = InvoiceView), Denied, (status = 404, body = Problem), (status = 409, body = Problem))
)]
#[post("/v1/admin/invoices/{invoice_id}/void")]
async fn void_invoice(
    admin: Authorized<Administer>,
    invoice_id: web::Path<String>,
    request: HttpRequest,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let invoice = billing.void_invoice(&invoice_id, &admin.origin(&request)).await?;
    whole(&billing, invoice).await
}

/// What is given back of an invoice.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreditNoteBody {
    /// What of which lines; left out: all that is left of the invoice.
    #[serde(default)]
    lines: Vec<CreditedLine>,
    /// Why: 1 to 500 characters.
    reason: String,
}

/// A part of a line that is given back.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreditedLine {
    /// The number of the line.
    line: u32,
    /// Before tax, above zero.
    #[schema(value_type = String)]
    amount: Decimal,
}

/// Gives back a part of an invoice, or all of it. It is taken from what is outstanding; the rest is credit of the organization.
#[utoipa::path(
    tag = "billing",
    params(("invoice_id" = String, Path)),
    request_body = CreditNoteBody,
    responses((status = 201, body = InvoiceView), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, body = Problem))
)]
#[post("/v1/admin/invoices/{invoice_id}/credit-notes")]
async fn create_credit_note(
    admin: Authorized<Administer>,
    invoice_id: web::Path<String>,
    request: HttpRequest,
    body: Body,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let CreditNoteBody { lines, reason } = body.json(&admin).await?;
    let lines: Vec<_> = lines.into_iter().map(|line| (line.line, line.amount)).collect();
    let origin = admin.origin(&request);
    let note = billing.give_back(&invoice_id, &lines, &reason, &origin).await?;
    Ok(HttpResponse::Created().json(InvoiceView::whole(note, Vec::new())))
}

/// A payment that came by bank transfer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PaymentBody {
    /// What was paid; left out: all that is outstanding.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    amount: Option<Decimal>,
    /// As the bank names it. A payment is recorded once for each reference.
    reference: String,
}

/// Records a payment by bank transfer.
#[utoipa::path(
    tag = "billing",
    params(("invoice_id" = String, Path)),
    request_body = PaymentBody,
    responses((status = 200, body = InvoiceView), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, body = Problem))
)]
#[post("/v1/admin/invoices/{invoice_id}/payments")]
async fn record_payment(
    admin: Authorized<Administer>,
    invoice_id: web::Path<String>,
    request: HttpRequest,
    body: Body,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let PaymentBody { amount, reference } = body.json(&admin).await?;
    let origin = admin.origin(&request);
    let invoice = billing.paid_by_transfer(&invoice_id, amount, &reference, &origin).await?;
    whole(&billing, invoice).await
}
