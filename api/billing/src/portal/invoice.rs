//! `/billing/invoices/{id}` for customers, `/admin/invoices/{id}` for staff: an invoice with its lines, documents and payments.

use accounts::{Directory, Fields, posted, staff_tabs, value};
use actix_web::{HttpRequest, HttpResponse, web};
use pages::screen::{Act, Field, Form, Row, Screen, Section, Table};
use rest::{
    body::Body,
    principal::{Ability, Administer, Gate, ReadMetrics},
    problem::Problem,
};
use rust_decimal::Decimal;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Desk, Parameters, opened, refusal};
use crate::{
    Billing,
    fault::Fault,
    invoices::{Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, visible},
    payments::{self, BANK_TRANSFER, Payment},
};

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route("/billing/invoices/{id}", web::get().to(show))
        .route("/admin/invoices/{id}", web::get().to(show_staff))
        .route("/admin/invoices/{id}", web::post().to(act));
}

async fn show(
    request: HttpRequest,
    id: web::Path<String>,
    asked: Parameters,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let desk = match opened::<ReadMetrics>(&request, (&gate, &directory), &billing, asked).await? {
        Ok((desk, _)) => desk,
        Err(way_in) => return Ok(way_in),
    };
    let invoice = visible(&billing, &desk.visit.principal, &id).await?;
    let mut sections = desk.invoice_sections(&invoice, false).await?;
    if let Some(first) = sections.first_mut() {
        first.acts = desk.pay_acts(&invoice);
    }
    desk.visit.shown(Screen {
        here: "billing",
        title: desk.invoice_title(&invoice),
        sections,
        ..Screen::default()
    })
}

async fn show_staff(
    request: HttpRequest,
    id: web::Path<String>,
    asked: Parameters,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let desk = match opened::<Administer>(&request, (&gate, &directory), &billing, asked).await? {
        Ok((desk, _)) => desk,
        Err(way_in) => return Ok(way_in),
    };
    desk.staff_page(&id, None).await
}

async fn act(
    request: HttpRequest,
    id: web::Path<String>,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    billing: web::Data<Billing>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (visit, fields) = match posted::<Administer>(&request, &gate, &directory, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let desk = Desk { billing: &billing, visit };
    match Box::pin(done(&desk, &request, &id, &fields)).await {
        Ok(()) => Ok(desk.visit.on_to(&format!("/admin/invoices/{id}"), "done")),
        Err(fault) => {
            let (_, reason) = refusal(&desk, fault)?;
            desk.staff_page(&id, Some(reason)).await
        }
    }
}

/// Does what a form of staff asks for.
async fn done(
    desk: &Desk<'_>,
    request: &HttpRequest,
    id: &str,
    fields: &Fields,
) -> Result<(), Fault> {
    let origin = desk.visit.origin(request);
    let amount = |name: &'static str| match value(fields, name) {
        "" => Ok(None),
        text => text.parse::<Decimal>().map(Some).map_err(|_| Fault::invalid(name, "is a decimal")),
    };
    match value(fields, "act") {
        "finalize" => {
            let db = desk.billing.state.store.db();
            let unknown = || Fault::Unknown(format!("invoice `{id}`"));
            let draft = crate::invoices::get(db, id).await?.ok_or_else(unknown)?;
            desk.billing.finalize_draft(draft, &origin).await.map(drop)
        }
        "void" => desk.billing.void_invoice(id, &origin).await.map(drop),
        "pay" => {
            let (amount, reference) = (amount("amount")?, value(fields, "reference"));
            desk.billing.paid_by_transfer(id, amount, reference, &origin).await.map(drop)
        }
        "credit" => {
            let lines = match (value(fields, "line"), amount("amount")?) {
                ("" | "all", _) => Vec::new(),
                (line, Some(amount)) => {
                    let line = line.parse().map_err(|_| Fault::invalid("line", "is a number"))?;
                    vec![(line, amount)]
                }
                (_, None) => return Err(Fault::invalid("amount", "is needed for one line")),
            };
            let reason = value(fields, "reason");
            desk.billing.give_back(id, &lines, reason, &origin).await.map(drop)
        }
        "refund" => {
            let payment_id = value(fields, "payment_id");
            desk.billing.refund(payment_id, None, &origin).await.map(drop)
        }
        _ => Err(Fault::invalid("act", "is not known")),
    }
}

impl Desk<'_> {
    fn invoice_title(&self, of: &Invoice) -> String {
        let number = of.number.clone().unwrap_or_default();
        let kind = match (of.kind, of.status) {
            (_, InvoiceStatus::Draft) => "draft",
            (InvoiceKind::CreditNote, _) => "credit_note",
            (InvoiceKind::Invoice, _) => "invoice",
        };
        format!("{} {number}", self.word(kind)).trim().to_owned()
    }

    /// The lines of an invoice.
    pub(super) fn line_table(
        &self,
        lines: &[InvoiceLine],
        currency: &str,
        invoice_id: Option<&str>,
    ) -> Table {
        let rows = lines.iter().map(|line| {
            let charge = match line.is_adjustment {
                true => self.filled("adjustment", &[("charge", &line.charge)]),
                false => line.charge.clone(),
            };
            let last = line.to.pred_opt().unwrap_or(line.to).max(line.from);
            let counted = line.meter.as_deref().filter(|meter| *meter != "seats");
            let quantity = match &line.meter {
                Some(_) if !line.quantity.is_zero() => line.quantity.to_string(),
                _ => String::new(),
            };
            let link = invoice_id
                .zip(counted)
                .map(|(id, _)| format!("/v1/invoices/{id}/lines/{}/events", line.line));
            Row {
                cells: vec![
                    charge,
                    line.plan.clone(),
                    format!("{} – {last}", line.from),
                    quantity,
                    format!("{} {currency}", line.amount),
                ],
                link,
                ..Row::default()
            }
        });
        let head = self.words(["charge", "plan", "span", "quantity", "amount"]);
        Table { head, rows: rows.collect() }
    }

    async fn invoice_sections(
        &self,
        of: &Invoice,
        is_staff: bool,
    ) -> Result<Vec<Section>, Problem> {
        let document = &of.document;
        let money = |amount: Decimal| Self::money(of, amount);
        let (status, _) = self.status(of.status);
        let mut facts = vec![(self.word("status"), status)];
        let day = |at: Option<chrono::DateTime<chrono::Utc>>| {
            at.map(|at| at.format("%Y-%m-%d").to_string())
        };
        let mut fact = |name: &str, value: Option<String>| {
            facts.extend(value.map(|value| (self.word(name), value)));
        };
        fact("issued", day(of.issued_at));
        fact("due_at", day(of.due_at));
        fact("subtotal", Some(money(document.subtotal)));
        fact("tax", (!document.tax.is_zero()).then(|| money(document.tax)));
        fact("total", Some(money(document.total)));
        fact("credit", (!document.credit.is_zero()).then(|| money(-document.credit)));
        fact("outstanding", (of.kind == InvoiceKind::Invoice).then(|| money(of.outstanding)));
        fact("reason", document.reason.clone());
        let mut sections =
            vec![Section { title: document.buyer.name.clone(), facts, ..Section::default() }];
        if !document.problems.is_empty() {
            let rows = document
                .problems
                .iter()
                .map(|problem| Row { cells: vec![problem.clone()], ..Row::default() });
            let table = Some(Table { head: vec![String::new()], rows: rows.collect() });
            sections.push(Section { title: self.word("problems"), table, ..Section::default() });
        }
        let lines = self.line_table(&document.lines, of.currency.as_str(), Some(&of.invoice_id));
        sections.push(Section {
            title: self.word("lines"),
            table: Some(lines),
            ..Section::default()
        });
        let path = format!("/v1/invoices/{}/document", of.invoice_id);
        let link = |format: &str, text: String| (self.to(&format!("{path}?format={format}")), text);
        let links = vec![
            link("html", self.word("as_page")),
            link("pdf", "PDF".to_owned()),
            link("csv", "CSV".to_owned()),
            link("json", "JSON".to_owned()),
        ];
        sections.push(Section { title: self.word("documents"), links, ..Section::default() });
        if of.kind == InvoiceKind::Invoice && of.status != InvoiceStatus::Draft {
            let paid = payments::of_invoice(self.billing.state.store.db(), &of.invoice_id).await?;
            let rows = paid.iter().filter(|one| one.is_paid()).map(|one| Row {
                cells: vec![
                    one.created_at.format("%Y-%m-%d").to_string(),
                    self.word(&one.provider),
                    one.reference.clone(),
                    money(one.amount),
                    money(one.refunded),
                ],
                acts: self.refund_acts(of, one, is_staff),
                ..Row::default()
            });
            let head = self.words(["date", "provider", "reference", "amount", "refunded"]);
            sections.push(Section {
                title: self.word("payments"),
                table: Some(Table { head, rows: rows.collect() }),
                empty: Some(self.word("no_payments")),
                ..Section::default()
            });
        }
        Ok(sections)
    }

    async fn staff_page(&self, id: &str, failure: Option<String>) -> Result<HttpResponse, Problem> {
        let invoice = visible(self.billing, &self.visit.principal, id).await?;
        let mut sections = self.invoice_sections(&invoice, true).await?;
        if let Some(first) = sections.first_mut() {
            let organization = &invoice.organization_id;
            let path = format!("/admin/billing/organizations/{organization}");
            first.links.push((self.to(&path), organization.clone()));
            first.acts = self.invoice_acts(&invoice);
        }
        sections.extend(self.invoice_forms(&invoice));
        self.visit.shown(Screen {
            here: "organization",
            title: self.invoice_title(&invoice),
            failure,
            tabs: staff_tabs(&self.visit, "billing"),
            sections,
            ..Screen::default()
        })
    }

    /// Staff pays out what is left of the credit.
    fn refund_acts(&self, of: &Invoice, payment: &Payment, is_staff: bool) -> Vec<Act> {
        let by_provider = payment.provider != BANK_TRANSFER && payment.refunded < payment.amount;
        let act = || Act {
            path: format!("/admin/invoices/{}", of.invoice_id),
            label: self.word("refund"),
            values: vec![("act", "refund".to_owned()), ("payment_id", payment.payment_id.clone())],
        };
        (is_staff && by_provider).then(act).into_iter().collect()
    }

    /// The ways to pay an invoice.
    fn pay_acts(&self, of: &Invoice) -> Vec<Act> {
        let is_open = matches!(of.status, InvoiceStatus::Open | InvoiceStatus::Uncollectible);
        if !is_open || !self.visit.principal.may(Ability::ManageBilling) {
            return Vec::new();
        }
        let act = |by: &str| Act {
            path: format!("/billing/invoices/{}/pay", of.invoice_id),
            label: self.word(&format!("pay_{by}")),
            values: vec![("provider", by.to_owned())],
        };
        self.billing.providers().into_iter().map(act).collect()
    }

    fn invoice_acts(&self, of: &Invoice) -> Vec<Act> {
        let act = |name: &str, label: &str| Act {
            path: format!("/admin/invoices/{}", of.invoice_id),
            label: self.word(label),
            values: vec![("act", name.to_owned())],
        };
        match (of.kind, of.status) {
            (_, InvoiceStatus::Draft) => vec![act("finalize", "finalize")],
            (InvoiceKind::Invoice, InvoiceStatus::Open | InvoiceStatus::Uncollectible) => {
                vec![act("void", "cancel_invoice")]
            }
            _ => Vec::new(),
        }
    }

    fn invoice_forms(&self, of: &Invoice) -> Vec<Section> {
        let path = format!("/admin/invoices/{}", of.invoice_id);
        let of_act = |name: &str| vec![("act".to_owned(), name.to_owned())];
        let mut sections = Vec::new();
        let is_invoice = of.kind == InvoiceKind::Invoice;
        if is_invoice && matches!(of.status, InvoiceStatus::Open | InvoiceStatus::Uncollectible) {
            let form = Form {
                path: path.clone(),
                values: of_act("pay"),
                fields: vec![
                    Field::new("amount", &self.word("amount"), "text")
                        .with(&of.outstanding.to_string()),
                    Field::new("reference", &self.word("reference"), "text"),
                ],
                button: self.word("record_payment"),
                ..Form::default()
            };
            let title = self.word("record_payment");
            sections.push(Section { title, forms: vec![form], ..Section::default() });
        }
        if is_invoice && !matches!(of.status, InvoiceStatus::Draft | InvoiceStatus::Void) {
            let mut options = vec![("all".to_owned(), self.word("all_lines"))];
            options.extend(of.document.lines.iter().map(|line| {
                (line.line.to_string(), format!("{} {} {}", line.line, line.charge, line.amount))
            }));
            let form = Form {
                path,
                values: of_act("credit"),
                fields: vec![
                    Field::new("line", &self.word("line"), "select").of(options),
                    Field::new("amount", &self.word("amount"), "text").optional(),
                    Field::new("reason", &self.word("reason"), "text"),
                ],
                button: self.word("give_back"),
                ..Form::default()
            };
            let (title, note) = (self.word("give_back"), Some(self.word("give_back_note")));
            sections.push(Section { title, note, forms: vec![form], ..Section::default() });
        }
        sections
    }
}
