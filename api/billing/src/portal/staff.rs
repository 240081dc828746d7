//! `/admin/billing`: what is unpaid, drafts, runs, and the organizations by revenue.

use std::collections::BTreeMap;

use accounts::{Directory, posted, staff_tabs};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::Months;
use pages::screen::{Act, Row, Screen, Section, Table};
use rest::{
    body::Body,
    principal::{Administer, Gate},
    problem::Problem,
};
use rust_decimal::Decimal;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Desk, Parameters, opened, refusal};
use crate::{
    Billing,
    invoices::{self, InvoiceFilter, InvoiceStatus},
    runs::RunScope,
};

const SHOWN: u64 = 100;
const RUNS: u64 = 10;
/// Documents that are summed by organization.
const SUMMED_MAX: u64 = 100_000;
const RANKED: usize = 50;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route("/admin/billing", web::get().to(show))
        .route("/admin/billing/run", web::post().to(run));
}

async fn show(
    request: HttpRequest,
    asked: Parameters,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let desk = match opened::<Administer>(&request, (&gate, &directory), &billing, asked).await? {
        Ok((desk, _)) => desk,
        Err(way_in) => return Ok(way_in),
    };
    desk.billing_page(None).await
}

async fn run(
    request: HttpRequest,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    billing: web::Data<Billing>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (visit, _) = match posted::<Administer>(&request, &gate, &directory, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let desk = Desk { billing: &billing, visit };
    let by = desk.visit.principal.id.clone();
    match Box::pin(billing.run(&by, &RunScope::default())).await {
        Ok(_) => Ok(desk.visit.on_to("/admin/billing", "done")),
        Err(fault) => {
            let (_, reason) = refusal(&desk, fault)?;
            desk.billing_page(Some(reason)).await
        }
    }
}

impl Desk<'_> {
    async fn billing_page(&self, failure: Option<String>) -> Result<HttpResponse, Problem> {
        let db = self.billing.state.store.db();
        let of = |status| InvoiceFilter { status: Some(status), ..InvoiceFilter::default() };
        let (drafts, _) = invoices::list(db, &of(InvoiceStatus::Draft), (0, SHOWN)).await?;
        let (open, _) = invoices::list(db, &of(InvoiceStatus::Open), (0, SHOWN)).await?;
        let mut unpaid = self.invoice_table("unpaid", &open, "/admin/invoices", true);
        unpaid.empty = Some(self.word("nothing_unpaid"));
        let mut waiting = self.invoice_table("drafts", &drafts, "/admin/invoices", true);
        waiting.empty = Some(self.word("no_drafts"));
        let prices = Section {
            title: self.word("prices"),
            links: vec![(self.to("/admin/billing/prices"), self.word("prices"))],
            ..Section::default()
        };
        let sections =
            vec![unpaid, waiting, self.run_section().await?, self.revenue_section().await?, prices];
        self.visit.shown(Screen {
            here: "organization",
            title: self.word("billing"),
            failure,
            tabs: staff_tabs(&self.visit, "billing"),
            sections,
            ..Screen::default()
        })
    }

    async fn run_section(&self) -> Result<Section, Problem> {
        let rows = self.billing.runs(RUNS).await?.into_iter().map(|run| {
            let report = run.report.unwrap_or_default();
            let count = |count: u64| count.to_string();
            let status = match run.finished_at {
                None => Some((self.word("running"), "")),
                Some(_) if !report.failures.is_empty() => Some((self.word("failures"), "failed")),
                Some(_) => None,
            };
            let cells = vec![
                self.visit.minute(run.started_at),
                run.started_by,
                count(report.subscriptions),
                count(report.invoices),
                count(report.credit_notes),
                count(report.drafts),
                report.failures.len().to_string(),
            ];
            Row { cells, status, ..Row::default() }
        });
        let head = self.words([
            "started",
            "by",
            "subscriptions",
            "invoices",
            "credit_note",
            "drafts",
            "failures",
        ]);
        Ok(Section {
            title: self.word("runs"),
            note: Some(self.word("runs_note")),
            table: Some(Table { head, rows: rows.collect() }),
            empty: Some(self.word("no_runs")),
            acts: vec![Act {
                path: "/admin/billing/run".to_owned(),
                label: self.word("run_now"),
                values: Vec::new(),
            }],
            ..Section::default()
        })
    }

    async fn revenue_section(&self) -> Result<Section, Problem> {
        let now = self.billing.state.clock.now();
        let since = now.checked_sub_months(Months::new(12)).unwrap_or(now);
        let filter = InvoiceFilter {
            issued: Some((since, now)),
            without_drafts: true,
            ..InvoiceFilter::default()
        };
        let db = self.billing.state.store.db();
        let (found, _) = invoices::list(db, &filter, (0, SUMMED_MAX)).await?;
        let mut sums: BTreeMap<(String, &str), Decimal> = BTreeMap::new();
        for one in found.iter().filter(|one| one.status != InvoiceStatus::Void) {
            let key = (one.organization_id.clone(), one.currency.as_str());
            *sums.entry(key).or_default() += one.document.subtotal;
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
        let rows = sums.into_iter().take(RANKED).map(|((organization, currency), sum)| Row {
            link: Some(self.to(&format!("/admin/billing/organizations/{organization}"))),
            cells: vec![organization, format!("{sum} {currency}")],
            ..Row::default()
        });
        Ok(Section {
            title: self.word("revenue"),
            note: Some(self.word("revenue_note")),
            table: Some(Table {
                head: self.words(["organization", "amount"]),
                rows: rows.collect(),
            }),
            empty: Some(self.word("none_found")),
            ..Section::default()
        })
    }
}
