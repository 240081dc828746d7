//! `/v1/invoices`: what customers see of their invoices, and what staff does with them.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use rest::{
    body::Body,
    principal::{Administer, Authorized, Principal, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use state::audit::{self, AuditAction};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    credit::balances,
    credit_notes::{given_back, note},
    document::InvoiceLine,
    issue::{credit_note, midnight, void},
    settled::{PaidBy, pay},
    stored::{Invoice, InvoiceFilter, InvoiceKind, InvoiceStatus, get, list, of_subscription},
    view::{InvoiceList, InvoiceView},
};
use crate::{
    Billing, fault::Fault, own::own_organization, payments, reads_from, runs::RunScope,
    subscriptions, usage::EventsQuestion,
};

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
    responses((status = 200, description = "`billed_on`, `lines`, `subtotal`, `tax`, `total` and `as_of`.", body = Object), Denied, (status = 404, body = Problem))
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

/// The events behind a line of an invoice, the oldest first, at the cut of the invoice; `sql` and `as_of` ask the same by
/// `POST /v1/query`. Lines without a meter have none.
#[utoipa::path(
    tag = "billing",
    params(
        ("invoice_id" = String, Path), ("line" = u32, Path),
        ("page" = Option<u64>, Query, description = "From 0, of 500 events each."),
    ),
    responses((status = 200, description = "`events`, `sql`, `as_of` and `next_page`.", body = Object), Denied, (status = 404, body = Problem))
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
        return Ok(HttpResponse::Ok().json(json!({
            "events": [], "sql": null, "as_of": null, "next_page": null,
        })));
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
    Ok(HttpResponse::Ok().json(json!({
        "sql": billing.usage.events_sql(&question),
        "as_of": billing.usage.token(&invoice.cut, &principal)?,
        "next_page": has_more.then_some(page + 1),
        "events": events,
    })))
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

impl Billing {
    /// Makes a draft final now.
    pub(crate) async fn finalize_draft(
        &self,
        draft: Invoice,
        origin: &audit::AuditOrigin,
    ) -> Result<Invoice, Fault> {
        if draft.status != InvoiceStatus::Draft {
            let status = draft.status.as_str();
            return Err(Fault::InvoiceState(format!("the invoice is {status}, and no draft")));
        }
        let scope = RunScope {
            subscription_id: Some(draft.subscription_id),
            finalizes: Some(draft.billed_on),
        };
        let (_, report) = Box::pin(self.run(&origin.actor, &scope)).await?;
        if let Some(failure) = report.failures.into_iter().next() {
            return Err(Fault::InvoiceState(failure.reason));
        }
        let gone = || Fault::InvoiceState("nothing is due any more, and the draft is gone".into());
        let invoice = get(self.state.store.db(), &draft.invoice_id).await?.ok_or_else(gone)?;
        if invoice.status == InvoiceStatus::Draft {
            let why = "another run is at work: try again".to_owned();
            return Err(Fault::InvoiceState(why));
        }
        let write = self.state.store.write().await?;
        let detail = json!({"number": invoice.number});
        let target = invoice.invoice_id.clone();
        let act = AuditAction { action: "invoice.finalized", target, detail };
        audit::append(&write, origin, act, self.state.clock.now()).await?;
        write.commit().await?;
        Ok(invoice)
    }

    /// Cancels an invoice.
    pub(crate) async fn void_invoice(
        &self,
        invoice_id: &str,
        origin: &audit::AuditOrigin,
    ) -> Result<Invoice, Fault> {
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let invoice = existing(&write, invoice_id).await?;
        let others = of_subscription(write.db(), &invoice.subscription_id).await?;
        let refuse = |why: &str| Err(Fault::InvoiceState(why.to_owned()));
        if invoice.kind != InvoiceKind::Invoice {
            return refuse("a credit note cannot be canceled");
        }
        let is_payable =
            matches!(invoice.status, InvoiceStatus::Open | InvoiceStatus::Uncollectible);
        // What credit paid as a whole can be given back.
        let is_of_credit = invoice.status == InvoiceStatus::Paid && invoice.document.due.is_zero();
        if !is_payable && !is_of_credit {
            return refuse("only an invoice that is final and not paid can be canceled");
        }
        if others.iter().any(|one| one.corrects_id.as_deref() == Some(invoice_id)) {
            return refuse("a part of the invoice was credited: credit the rest");
        }
        let paid = payments::of_invoice(write.db(), invoice_id).await?;
        if paid.iter().any(|one| one.is_paid()) {
            return refuse("a part of the invoice was paid: issue a credit note");
        }
        let ids = std::slice::from_ref(&invoice.subscription_id);
        let stored = subscriptions::of_ids(write.db(), ids).await?.pop();
        let oldest = stored.filter(|one| !one.is_closed).map(|one| {
            let today = one.today(now);
            let next = one.subscription.period_on(today).map_or(today, |(_, end)| end);
            reads_from(&one.subscription, next)
        });
        let is_late = |line: &InvoiceLine| oldest.is_none_or(|oldest| line.period_end <= oldest);
        if invoice.document.lines.iter().any(is_late) {
            return refuse("it is too late to bill its periods again: issue a credit note");
        }
        let invoice = void(&write, invoice, now).await?;
        let target = invoice_id.to_owned();
        let detail = json!({"number": invoice.number});
        let act = AuditAction { action: "invoice.voided", target, detail };
        audit::append(&write, origin, act, now).await?;
        super::settled::lift(&write, &self.settings, &invoice.organization_id, now).await?;
        write.commit().await?;
        Ok(invoice)
    }

    /// Gives back a part of an invoice.
    pub(crate) async fn give_back(
        &self,
        invoice_id: &str,
        lines: &[(u32, Decimal)],
        reason: &str,
        origin: &audit::AuditOrigin,
    ) -> Result<Invoice, Fault> {
        if reason.trim().is_empty()
            || reason.chars().count() > 500
            || ingest::control::in_name(reason)
        {
            let expected = "is 1 to 500 characters without control characters";
            return Err(Fault::invalid("reason", expected));
        }
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let mut of = existing(&write, invoice_id).await?;
        if of.kind != InvoiceKind::Invoice
            || matches!(of.status, InvoiceStatus::Draft | InvoiceStatus::Void)
        {
            let why = "only an invoice that is final is credited".to_owned();
            return Err(Fault::InvoiceState(why));
        }
        let others = of_subscription(write.db(), &of.subscription_id).await?;
        let lines = given_back(&of, &others, lines)?;
        let mut made = note(&of, &others, lines, &of.cut.clone(), now)?;
        made.document.reason = Some(reason.to_owned());
        made.document.is_goodwill = true;
        let made = credit_note(&write, made, &mut of, now).await?;
        let detail = json!({"credit_note": made.invoice_id, "amount": made.document.total});
        let target = invoice_id.to_owned();
        let act = AuditAction { action: "invoice.credited", target, detail };
        audit::append(&write, origin, act, now).await?;
        if of.status == InvoiceStatus::Paid {
            super::settled::lift(&write, &self.settings, &of.organization_id, now).await?;
        }
        self.mail_invoice(&write, &made, "issued", now).await?;
        write.commit().await?;
        self.state.jobs.wake();
        Ok(made)
    }

    /// Records a payment by bank transfer.
    pub(crate) async fn paid_by_transfer(
        &self,
        invoice_id: &str,
        amount: Option<Decimal>,
        reference: &str,
        origin: &audit::AuditOrigin,
    ) -> Result<Invoice, Fault> {
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let paid = PaidBy { provider: payments::BANK_TRANSFER, reference, amount };
        let (invoice, _) = pay(&write, &self.settings, invoice_id, &paid, (origin, now)).await?;
        write.commit().await?;
        Ok(invoice)
    }

    /// What the next invoice of an organization would be, if its period ended now.
    pub(crate) async fn preview_invoice(
        &self,
        organization_id: &str,
        who: &Principal,
    ) -> Result<Value, Problem> {
        let next = Box::pin(self.next_bill(organization_id)).await?;
        let document = &next.document;
        let as_of = self.usage.token(&next.as_of, who)?;
        Ok(json!({
            "billed_on": next.billed_on, "currency": next.currency.as_str(), "as_of": as_of,
            "lines": document.lines, "subtotal": document.subtotal,
            "tax_percent": document.tax_percent, "tax": document.tax, "total": document.total,
            "credit": document.credit, "due": document.due, "problems": document.problems,
            "forecast_total": next.forecast,
        }))
    }
}

async fn existing(write: &state::store::Write, invoice_id: &str) -> Result<Invoice, Fault> {
    let unknown = || Fault::Unknown(format!("invoice `{invoice_id}`"));
    get(write.db(), invoice_id).await?.ok_or_else(unknown)
}
