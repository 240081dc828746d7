//! Invoices and statements as HTML, PDF, CSV and JSON.

use accounts::plans::Currency;
use actix_web::{HttpResponse, get, http::header::ContentDisposition, web};
use chrono::NaiveDate;
use pages::Language;
use rest::{
    page::page_under,
    principal::{Authorized, Principal, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    credit::refunds,
    issue::{midnight, parties},
    letters::Letters,
    pdf::pdf,
    routes::visible,
    sheet::Sheet,
    statement::{month, statement},
    stored::{Invoice, InvoiceFilter, list},
    tabular,
    view::InvoiceView,
};
use crate::{Billing, fault::Fault, payments};

/// Invoices of an export.
const EXPORTED_MAX: u64 = 50_000;
const DOCUMENT_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(export_invoices).service(get_document).service(get_statement);
}

/// How a document is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DocumentFormat)]
pub(crate) enum Format {
    /// A page that is complete in itself.
    #[default]
    Html,
    /// A4.
    Pdf,
    /// A row for each line.
    Csv,
    /// With all that is known.
    Json,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentParameters {
    format: Option<Format>,
    lang: Option<String>,
    organization: Option<String>,
    currency: Option<String>,
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
}

impl DocumentParameters {
    fn language(&self) -> Result<Option<Language>, Problem> {
        let unknown =
            |tag: &str| Problem::invalid_parameters(format!("`lang={tag}` is not en or zh-CN"));
        let read = |tag: &str| Language::from_tag(tag).ok_or_else(|| unknown(tag));
        self.lang.as_deref().map(read).transpose()
    }
}

fn file(name: &str, kind: &'static str, bytes: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header(ContentDisposition::attachment(name))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .body(bytes)
}

async fn drawn(billing: &Billing, sheet: Sheet, name: &str) -> Result<HttpResponse, Problem> {
    let font = billing.settings.font.clone();
    let drawing = web::block(move || pdf(&sheet, &Letters::of(&font)?));
    let bytes = drawing.await.map_err(|_| Problem::internal())??;
    Ok(file(&format!("{name}.pdf"), "application/pdf", bytes))
}

fn shown(sheet: &Sheet) -> Result<HttpResponse, Problem> {
    let html = sheet.html().map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a document cannot be written");
        Problem::internal()
    })?;
    Ok(page_under(DOCUMENT_POLICY, html))
}

/// An invoice or a credit note as a document.
#[utoipa::path(
    operation_id = "get_invoice_document",
    tag = "billing",
    params(
        ("invoice_id" = String, Path),
        ("format" = inline(Option<Format>), Query, description = "`html` by default."),
        ("lang" = Option<String>, Query, description = "`en` or `zh-CN`; by default that of the customer."),
    ),
    responses((status = 200, description = "The document.", body = String, content_type = "text/html"), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, description = "`font_missing`.", body = Problem))
)]
#[get("/v1/invoices/{invoice_id}/document")]
async fn get_document(
    principal: Authorized<ReadMetrics>,
    invoice_id: web::Path<String>,
    asked: Result<web::Query<DocumentParameters>, actix_web::Error>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let language = asked.language()?;
    let invoice = visible(&billing, &principal, &invoice_id).await?;
    let payments = payments::of_invoice(billing.state.store.db(), &invoice.invoice_id).await?;
    let name = invoice.number.clone().unwrap_or_else(|| invoice.invoice_id.clone());
    let sheet = || Sheet::of_invoice(&invoice, &payments, language);
    match asked.format.unwrap_or_default() {
        Format::Html => shown(&sheet()),
        Format::Pdf => drawn(&billing, sheet(), &name).await,
        Format::Csv => {
            let bytes = tabular::lines(std::slice::from_ref(&invoice))?;
            Ok(file(&format!("{name}.csv"), "text/csv; charset=utf-8", bytes))
        }
        Format::Json => Ok(HttpResponse::Ok().json(InvoiceView::whole(invoice, payments))),
    }
}

/// Whose documents are asked for.
fn whose(principal: &Principal, named: Option<String>) -> Result<String, Problem> {
    let own = principal.reach.organization_id().map(str::to_owned);
    let missing = || Problem::invalid_parameters("`organization` is missing");
    own.or(named).ok_or_else(missing)
}

/// The statement of a month in UTC: what was owed at its beginning, what came, and what is owed at its end.
#[utoipa::path(
    tag = "billing",
    params(
        ("month" = String, Path, description = "Such as `2026-02`."),
        ("format" = inline(Option<Format>), Query, description = "`html` by default."),
        ("lang" = Option<String>, Query, description = "`en` or `zh-CN`; by default that of the customer."),
        ("currency" = Option<String>, Query, description = "By default that of the last invoice."),
        ("organization" = Option<String>, Query, description = "For staff: whose."),
    ),
    responses((status = 200, description = "The statement.", body = super::statement::Statement), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, description = "`font_missing`.", body = Problem))
)]
#[get("/v1/billing/statements/{month}")]
async fn get_statement(
    principal: Authorized<ReadMetrics>,
    name: web::Path<String>,
    asked: Result<web::Query<DocumentParameters>, actix_web::Error>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let language = asked.language()?;
    let wrong = || Problem::invalid_parameters("a month is written as 2026-02");
    let span = month(&name).ok_or_else(wrong)?;
    let id = whose(&principal, asked.organization)?;
    let db = billing.state.store.db();
    let filter = InvoiceFilter {
        organization_id: Some(id.clone()),
        without_drafts: true,
        ..InvoiceFilter::default()
    };
    let (invoices, _) = list(db, &filter, (0, EXPORTED_MAX)).await?;
    let none = || Problem::not_found("the organization has no invoices");
    let currency = match asked.currency {
        Some(code) => Currency::parse(&code).ok_or_else(none)?,
        None => invoices.first().ok_or_else(none)?.currency,
    };
    let payments = payments::of_organization(db, &id).await?;
    let refunds = refunds(db, &id, currency).await?;
    let statement = statement(span, currency, &invoices, &payments, &refunds);
    let parties = parties(db, &billing.settings, &id).await?;
    let own = Language::from_tag(&parties.customer.language).unwrap_or(Language::En);
    let sheet = statement.sheet((&parties.seller, &parties.buyer), language.unwrap_or(own));
    let file_name = format!("statement-{}-{id}", name.as_str());
    match asked.format.unwrap_or_default() {
        Format::Html => shown(&sheet),
        Format::Pdf => drawn(&billing, sheet, &file_name).await,
        Format::Csv => {
            let bytes = tabular::rows(&sheet)?;
            Ok(file(&format!("{file_name}.csv"), "text/csv; charset=utf-8", bytes))
        }
        Format::Json => Ok(HttpResponse::Ok().json(statement)),
    }
}

/// The lines of all invoices and credit notes that were finalized in a period: of the own organization, for staff of all or one.
#[utoipa::path(
    tag = "billing",
    params(
        ("from" = String, Query, description = "The first day, in UTC."),
        ("to" = String, Query, description = "The first day after the last."),
        ("format" = inline(Option<Format>), Query, description = "`csv` by default, or `json`."),
        ("organization" = Option<String>, Query, description = "For staff: only of this one."),
    ),
    responses((status = 200, description = "A row for each line.", body = String, content_type = "text/csv"), (status = 400, body = Problem), Denied)
)]
#[get("/v1/invoices/export")]
async fn export_invoices(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<DocumentParameters>, actix_web::Error>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let missing = || Problem::invalid_parameters("`from` and `to` are days, such as 2026-02-01");
    let (from, to) = asked.from.zip(asked.to).ok_or_else(missing)?;
    let at = |day: NaiveDate| midnight(day, chrono_tz::Tz::UTC);
    let own = principal.reach.organization_id().map(str::to_owned);
    let filter = InvoiceFilter {
        organization_id: own.or(asked.organization),
        without_drafts: true,
        issued: Some((at(from), at(to))),
        status: None,
    };
    let (found, count) = list(billing.state.store.db(), &filter, (0, EXPORTED_MAX)).await?;
    if count > EXPORTED_MAX {
        let detail =
            format!("the period has {count} documents, and an export at most {EXPORTED_MAX}");
        return Err(Problem::payload_too_large(detail));
    }
    exported(&found, asked.format.unwrap_or(Format::Csv), (from, to))
}

fn exported(
    found: &[Invoice],
    format: Format,
    (from, to): (NaiveDate, NaiveDate),
) -> Result<HttpResponse, Problem> {
    match format {
        Format::Csv => {
            let name = format!("invoices-{from}-{to}.csv");
            Ok(file(&name, "text/csv; charset=utf-8", tabular::lines(found)?))
        }
        Format::Json => {
            let whole = |one: &Invoice| InvoiceView::whole(one.clone(), Vec::new());
            let all: Vec<_> = found.iter().map(whole).collect();
            Ok(HttpResponse::Ok().json(serde_json::json!({"invoices": all})))
        }
        Format::Html | Format::Pdf => {
            Err(Fault::invalid("format", "of an export is csv or json").into())
        }
    }
}
