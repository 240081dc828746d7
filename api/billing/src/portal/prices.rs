//! `/admin/billing/prices`: the price list as a form, with a preview of what the last bills would have been.

use accounts::{Directory, posted, staff_tabs, value};
use actix_web::{HttpRequest, HttpResponse, web};
use pages::screen::{Field, Form, Row, Screen, Section, Table};
use rest::{
    body::Body,
    principal::{Administer, Gate},
    problem::Problem,
};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Desk, Parameters, opened, refusal};
use crate::{Billing, PriceList, fault::Fault, price_book};

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route("/admin/billing/prices", web::get().to(show))
        .route("/admin/billing/prices", web::post().to(act));
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
    let stored = price_book::book(billing.state.store.db()).await?.list;
    let text = match stored.plans.is_empty() && stored.models.is_empty() {
        true => String::new(),
        false => serde_yaml_ng::to_string(&stored).map_err(|_| Problem::internal())?,
    };
    desk.price_page(&text, None, Vec::new())
}

async fn act(
    request: HttpRequest,
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
    let text = value(&fields, "list").replace("\r\n", "\n");
    let stores = value(&fields, "act") == "store";
    let list = match PriceList::parse(&text) {
        Ok(list) => list,
        Err(error) => {
            let (_, reason) = refusal(&desk, Fault::from(error))?;
            return desk.price_page(&text, Some(reason), Vec::new());
        }
    };
    let done = match stores {
        true => billing.store_prices(&list, &desk.visit.origin(&request)).await.map(|_| None),
        false => Box::pin(billing.preview_prices(&list)).await.map(Some),
    };
    match done {
        Ok(None) => Ok(desk.visit.on_to("/admin/billing/prices", "saved")),
        Ok(Some(preview)) => {
            let sections = desk.preview_sections(&preview, &text);
            desk.price_page(&text, None, sections)
        }
        Err(fault) => {
            let (_, reason) = refusal(&desk, fault)?;
            desk.price_page(&text, Some(reason), Vec::new())
        }
    }
}

impl Desk<'_> {
    fn price_page(
        &self,
        text: &str,
        failure: Option<String>,
        preview: Vec<Section>,
    ) -> Result<HttpResponse, Problem> {
        let form = Form {
            path: "/admin/billing/prices".to_owned(),
            values: vec![("act".to_owned(), "preview".to_owned())],
            fields: vec![Field::new("list", &self.word("price_list"), "lines").with(text)],
            button: self.word("preview_prices"),
            ..Form::default()
        };
        let list = Section {
            title: self.word("prices"),
            note: Some(self.word("prices_note")),
            forms: vec![form],
            ..Section::default()
        };
        let mut sections = preview;
        sections.push(list);
        self.visit.shown(Screen {
            here: "organization",
            title: self.word("prices"),
            failure,
            tabs: staff_tabs(&self.visit, "billing"),
            sections,
            ..Screen::default()
        })
    }

    fn preview_sections(&self, preview: &price_book::PricePreview, text: &str) -> Vec<Section> {
        let rows = preview.organizations.iter().map(|bill| {
            let currency = bill.currency.as_str();
            let last = bill.to.pred_opt().unwrap_or(bill.to);
            let cells = vec![
                bill.organization_id.clone(),
                format!("{} – {last}", bill.from),
                format!("{} {currency}", bill.now),
                format!("{} {currency}", bill.then),
            ];
            let link = format!("/admin/billing/organizations/{}", bill.organization_id);
            Row { cells, link: Some(self.to(&link)), ..Row::default() }
        });
        let head = self.words(["organization", "span", "before", "after"]);
        let total = |total: &price_book::PreviewedTotal| {
            let currency = total.currency.as_str();
            (self.word("totals"), format!("{} → {} {currency}", total.now, total.then))
        };
        let mut facts: Vec<_> = preview.totals.iter().map(total).collect();
        facts.extend(preview.problems.iter().map(|one| (self.word("not_rated"), one.clone())));
        let store = Form {
            path: "/admin/billing/prices".to_owned(),
            values: vec![
                ("act".to_owned(), "store".to_owned()),
                ("list".to_owned(), text.to_owned()),
            ],
            button: self.word("store_prices"),
            ..Form::default()
        };
        let same = preview.unchanged.to_string();
        vec![Section {
            title: self.word("bills"),
            note: Some(self.filled("same_bills", &[("count", &same)])),
            facts,
            table: Some(Table { head, rows: rows.collect() }),
            empty: Some(self.word("none_found")),
            forms: vec![store],
            ..Section::default()
        }]
    }
}
