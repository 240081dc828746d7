//! `/billing/plans`: what plans cost, and how the own organization takes one; `/billing/change`: what that would come to.

use accounts::{Directory, posted, value};
use actix_web::{HttpRequest, HttpResponse, web};
use pages::screen::{Field, Form, Row, Screen, Section, Table};
use rest::{
    body::Body,
    principal::{Ability, Gate, ManageBilling, ReadMetrics},
    problem::{Code, Problem},
};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Asked, Desk, Parameters, opened, refusal};
use crate::{
    Billing, When, currency::digits, own::own_organization, price_book, subscriptions::Act,
    subscriptions::ActPreview, subscriptions::SubscriptionView,
};

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route("/billing/plans", web::get().to(show))
        .route("/billing/change", web::get().to(preview))
        .route("/billing/act", web::post().to(act));
}

async fn show(
    request: HttpRequest,
    asked: Parameters,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let desk = match opened::<ReadMetrics>(&request, (&gate, &directory), &billing, asked).await? {
        Ok((desk, _)) => desk,
        Err(way_in) => return Ok(way_in),
    };
    desk.plan_page(None).await
}

async fn preview(
    request: HttpRequest,
    asked: Parameters,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let context = (&**gate, &**directory);
    let (desk, asked) = match opened::<ManageBilling>(&request, context, &billing, asked).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    let id = own_organization(&desk.visit.principal)?.to_owned();
    let wanted = wanted(&asked)?;
    match Box::pin(billing.preview_act(&id, &wanted)).await {
        Ok(preview) => desk.preview_page(&asked, &preview),
        Err(fault) => {
            let (_, reason) = refusal(&desk, fault)?;
            desk.plan_page(Some(reason)).await
        }
    }
}

async fn act(
    request: HttpRequest,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    billing: web::Data<Billing>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (visit, fields) = match posted::<ManageBilling>(&request, &gate, &directory, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let desk = Desk { billing: &billing, visit };
    let id = own_organization(&desk.visit.principal)?.to_owned();
    let text = |name: &str| Some(value(&fields, name).to_owned()).filter(|text| !text.is_empty());
    let asked = Asked {
        act: text("act"),
        plan: text("plan"),
        seats: text("seats").and_then(|seats| seats.parse().ok()),
        when: text("when"),
        ..Asked::default()
    };
    match billing.act(&id, &wanted(&asked)?, &desk.visit.origin(&request)).await {
        Ok(_) => Ok(desk.visit.on_to("/billing", "done")),
        Err(fault) => {
            let (_, reason) = refusal(&desk, fault)?;
            desk.plan_page(Some(reason)).await
        }
    }
}

/// What a page or a form asks for.
pub(super) fn wanted(asked: &Asked) -> Result<Act, Problem> {
    let wrong = || Problem::bad_request(Code::InvalidForm, "the form cannot be read");
    let plan = asked.plan.clone().unwrap_or_default();
    let when = asked.when.as_deref().unwrap_or("period_end").parse::<When>();
    Ok(match asked.act.as_deref() {
        Some("start") => {
            let seats = asked.seats.unwrap_or(1);
            Act::Start { plan, seats, trial: true, starts_on: None }
        }
        Some("change") => {
            Act::Change { plan, seats: asked.seats, when: when.map_err(|_| wrong())? }
        }
        Some("cancel") => Act::Cancel { when: when.map_err(|_| wrong())?, reason: String::new() },
        Some("reactivate") => Act::Reactivate,
        _ => return Err(wrong()),
    })
}

impl Desk<'_> {
    async fn plan_page(&self, failure: Option<String>) -> Result<HttpResponse, Problem> {
        let id = own_organization(&self.visit.principal)?.to_owned();
        let db = self.billing.state.store.db();
        let book = price_book::book(db).await?;
        let subscription = self.billing.subscription(&id).await?;
        let live = subscription.filter(|one| one.recurring.is_some());
        let today = self.billing.state.clock.now().date_naive();
        let mut sections = Vec::new();
        for prices in &book.list.plans {
            let Some((_, version)) = book.list.plan_on(&prices.plan, today) else { continue };
            let charges = book.charges_on(&id, &prices.plan, today);
            let charges = charges.map_or(&version.charges[..], |(_, _, charges)| charges);
            let currency = version.currency.as_str();
            let fact =
                |charge: &crate::Charge| (charge.name.clone(), self.priced(charge, currency));
            let is_present = live.as_ref().is_some_and(|one| one.plan == prices.plan);
            let days = version.trial_days.to_string();
            let note = match (is_present, version.trial_days) {
                (true, _) => Some(self.word("present")),
                (false, 0) => None,
                (false, _) => Some(self.filled("trial_days", &[("days", &days)])),
            };
            let may = self.visit.principal.may(Ability::ManageBilling);
            let form = may.then(|| self.choice(&prices.plan, live.as_ref(), charges));
            sections.push(Section {
                title: prices.plan.clone(),
                note,
                facts: charges.iter().map(fact).collect(),
                forms: form.into_iter().filter(|_| digits(version.currency).is_ok()).collect(),
                ..Section::default()
            });
        }
        if sections.is_empty() {
            let note = Some(self.word("no_prices"));
            sections.push(Section { title: self.word("plans"), note, ..Section::default() });
        }
        sections.extend(self.model_prices(&book, today));
        self.visit.shown(Screen {
            here: "billing",
            title: self.word("plans"),
            failure,
            sections,
            is_grid: true,
            ..Screen::default()
        })
    }

    fn choice(
        &self,
        plan: &str,
        live: Option<&SubscriptionView>,
        charges: &[crate::Charge],
    ) -> Form {
        let has_seats = charges.iter().any(|charge| charge.meter.as_deref() == Some("seats"));
        let mut fields = Vec::new();
        if has_seats {
            let seats = live.map_or(1, |one| one.seats).to_string();
            fields.push(Field::new("seats", &self.word("seats"), "number").with(&seats));
        }
        if live.is_some() {
            let options = ["now", "period_end"].map(|name| (name.to_owned(), self.word(name)));
            let when = Field::new("when", &self.word("when"), "select").with("now");
            fields.push(when.of(options.to_vec()));
        }
        let act = if live.is_some() { "change" } else { "start" };
        Form {
            path: "/billing/change".to_owned(),
            fields,
            values: vec![("act".to_owned(), act.to_owned()), ("plan".to_owned(), plan.to_owned())],
            button: self.word("choose"),
            is_query: true,
            ..Form::default()
        }
    }

    fn model_prices(&self, book: &crate::PriceBook, today: chrono::NaiveDate) -> Option<Section> {
        let short = |amount: rust_decimal::Decimal| amount.normalize().to_string();
        let rows: Vec<Row> = book
            .list
            .models
            .iter()
            .filter_map(|prices| {
                let (_, version) = book.list.model_on(&prices.model, today)?;
                let tokens = &version.tokens;
                let currency = version.currency.as_str();
                let cells = vec![
                    prices.model.clone(),
                    format!("{} {currency}", short(tokens.input)),
                    format!("{} {currency}", short(tokens.cached_input.unwrap_or(tokens.input))),
                    format!("{} {currency}", short(tokens.output)),
                ];
                Some(Row { cells, ..Row::default() })
            })
            .collect();
        let head = self.words(["model", "input", "cached_input", "output"]);
        (!rows.is_empty()).then(|| Section {
            title: self.word("models"),
            note: Some(self.word("model_note")),
            table: Some(Table { head, rows }),
            ..Section::default()
        })
    }

    fn preview_page(&self, asked: &Asked, preview: &ActPreview) -> Result<HttpResponse, Problem> {
        let then = &preview.subscription;
        let money = |amount: rust_decimal::Decimal| format!("{amount} {}", then.currency);
        let date = preview.billed_on.to_string();
        let mut rows = Vec::new();
        let mut row = |label: String, before: Option<String>, after: String| {
            let cells = vec![label, before.unwrap_or_else(|| "–".to_owned()), after];
            rows.push(Row { cells, ..Row::default() });
        };
        if let Some(recurring) = then.recurring {
            let before = preview.recurring_before.map(money);
            row(self.word("recurring"), before, money(recurring));
        }
        let before = preview.next_bill_before.map(money);
        row(self.filled("next_bill", &[("date", &date)]), before, money(preview.next_bill));
        let mut values: Vec<(String, String)> = Vec::new();
        for (name, value) in [("act", &asked.act), ("plan", &asked.plan), ("when", &asked.when)] {
            values.extend(value.clone().map(|value| (name.to_owned(), value)));
        }
        values.extend(asked.seats.map(|seats| ("seats".to_owned(), seats.to_string())));
        let form = Form {
            path: "/billing/act".to_owned(),
            values,
            button: self.word("confirm"),
            ..Form::default()
        };
        let head = vec![String::new(), self.word("before"), self.word("after")];
        let section = Section {
            title: self.word("subscription"),
            facts: self.subscription_facts(then),
            table: Some(Table { head, rows }),
            forms: vec![form],
            links: vec![(self.to("/billing/plans"), self.word("back"))],
            ..Section::default()
        };
        self.visit.shown(Screen {
            here: "billing",
            title: self.word("preview"),
            lead: Some(self.word("preview_lead")),
            sections: vec![section],
            ..Screen::default()
        })
    }
}
