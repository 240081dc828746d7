//! `/admin/billing/organizations/{id}`: the subscription, the invoices, the taxes and the agreed prices of an organization.

use accounts::{Directory, Fields, organizations, posted, staff_tabs, value};
use actix_web::{HttpRequest, HttpResponse, web};
use pages::screen::{Act as Button, Field, Form, Row, Screen, Section, Table};
use rest::{
    body::Body,
    principal::{Administer, Gate},
    problem::Problem,
};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Desk, Parameters, opened, own::stated, refusal};
use crate::{
    Billing, When,
    customers::{self, Customer},
    fault::Fault,
    invoices::{self, InvoiceFilter},
    price_book,
    subscriptions::{Act, SubscriptionView},
};

const SHOWN: u64 = 50;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route("/admin/billing/organizations/{id}", web::get().to(show))
        .route("/admin/billing/organizations/{id}", web::post().to(act));
}

async fn show(
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
    desk.organization_page(&id, None).await
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
        Ok(()) => {
            let path = format!("/admin/billing/organizations/{id}");
            Ok(desk.visit.on_to(&path, "done"))
        }
        Err(fault) => {
            let (_, reason) = refusal(&desk, fault)?;
            desk.organization_page(&id, Some(reason)).await
        }
    }
}

async fn done(
    desk: &Desk<'_>,
    request: &HttpRequest,
    id: &str,
    fields: &Fields,
) -> Result<(), Fault> {
    let (billing, origin) = (desk.billing, desk.visit.origin(request));
    let day = |name: &'static str| match value(fields, name) {
        "" => Ok(None),
        text => {
            text.parse().map(Some).map_err(|_| Fault::invalid(name, "is a day, such as 2026-02-01"))
        }
    };
    let seats = match value(fields, "seats") {
        "" => 1,
        text => text.parse().map_err(|_| Fault::invalid("seats", "is a number"))?,
    };
    let when = || match value(fields, "when") {
        "now" => When::Now,
        _ => When::PeriodEnd,
    };
    let plan = value(fields, "plan").to_owned();
    let now = billing.state.clock.now();
    let act = match value(fields, "act") {
        "start" => {
            let trial = !value(fields, "trial").is_empty();
            Act::Start { plan, seats, trial, starts_on: day("starts_on")? }
        }
        "change" => Act::Change { plan, seats: Some(seats), when: when() },
        "cancel" => Act::Cancel { when: when(), reason: value(fields, "reason").to_owned() },
        "reactivate" => Act::Reactivate,
        "customer" => {
            let percent = value(fields, "tax_percent");
            let customer = Customer {
                tax_percent: percent
                    .parse()
                    .map_err(|_| Fault::invalid("tax_percent", "is a decimal"))?,
                reverse_charge: !value(fields, "reverse_charge").is_empty(),
                ..stated(fields)
            };
            let write = billing.state.store.write().await?;
            customers::store_customer(&write, id, &customer, &origin, now).await?;
            return Ok(write.commit().await?);
        }
        "agree" => {
            let charges = serde_yaml_ng::from_str(value(fields, "charges"));
            let unreadable = |error| Fault::invalid("charges", format!("is not readable: {error}"));
            let new = price_book::NewOverride {
                plan,
                charges: charges.map_err(unreadable)?,
                starts_on: day("starts_on")?.unwrap_or(now.date_naive()),
                ends_on: day("ends_on")?,
                note: value(fields, "note").to_owned(),
            };
            let write = billing.state.store.write().await?;
            price_book::agree(&write, id, new, &origin, now).await?;
            return Ok(write.commit().await?);
        }
        "end_agreement" => {
            let write = billing.state.store.write().await?;
            let named = value(fields, "override_id");
            price_book::end_agreement(&write, id, named, &origin, now).await?;
            return Ok(write.commit().await?);
        }
        _ => return Err(Fault::invalid("act", "is not known")),
    };
    billing.act(id, &act, &origin).await.map(drop)
}

impl Desk<'_> {
    async fn organization_page(
        &self,
        id: &str,
        failure: Option<String>,
    ) -> Result<HttpResponse, Problem> {
        let store = &self.billing.state.store;
        let unknown = || Problem::not_found(format!("there is no organization `{id}`"));
        let organization = organizations::get(store, id).await?.ok_or_else(unknown)?;
        let subscription = self.billing.subscription(id).await?;
        let mut first = self.subscription_section(subscription.as_ref(), false);
        first.links.clear();
        let live = subscription.as_ref().filter(|one| one.recurring.is_some());
        first.forms = self.subscription_forms(id, live).await?;
        let filter =
            InvoiceFilter { organization_id: Some(id.to_owned()), ..InvoiceFilter::default() };
        let (found, _) = invoices::list(store.db(), &filter, (0, SHOWN)).await?;
        let mut list = self.invoice_table("invoices", &found, "/admin/invoices", false);
        list.empty = Some(self.word("no_invoices"));
        let customer = customers::customer(store.db(), id).await?;
        let path = format!("/admin/billing/organizations/{id}");
        let mut of_customer = self.customer_section(&customer, &path, None);
        for form in &mut of_customer.forms {
            form.values = vec![("act".to_owned(), "customer".to_owned())];
            let percent = customer.tax_percent.normalize().to_string();
            let tax = Field::new("tax_percent", &self.word("tax_percent"), "text").with(&percent);
            form.fields.insert(2, tax);
            let is_reversed = if customer.reverse_charge { "yes" } else { "" };
            let reverse = Field::new("reverse_charge", &self.word("reverse_charge"), "check");
            form.fields.push(reverse.with(is_reversed).optional());
        }
        let sections = vec![first, list, of_customer, self.agreement_section(id).await?];
        self.visit.shown(Screen {
            here: "organization",
            title: organization.name,
            lead: Some(id.to_owned()),
            failure,
            tabs: staff_tabs(&self.visit, "billing"),
            sections,
            ..Screen::default()
        })
    }

    async fn subscription_forms(
        &self,
        id: &str,
        live: Option<&SubscriptionView>,
    ) -> Result<Vec<Form>, Problem> {
        let book = price_book::book(self.billing.state.store.db()).await?;
        let plans: Vec<_> =
            book.list.plans.iter().map(|one| (one.plan.clone(), one.plan.clone())).collect();
        let path = format!("/admin/billing/organizations/{id}");
        let values = |act: &str| vec![("act".to_owned(), act.to_owned())];
        let present = live.map(|one| one.plan.clone()).unwrap_or_default();
        let count = live.map_or(1, |one| one.seats).to_string();
        let plan =
            || Field::new("plan", &self.word("plan"), "select").with(&present).of(plans.clone());
        let seats = || Field::new("seats", &self.word("seats"), "number").with(&count);
        let when = || {
            let options = ["period_end", "now"].map(|name| (name.to_owned(), self.word(name)));
            Field::new("when", &self.word("when"), "select").of(options.to_vec())
        };
        let form = |act: &str, fields: Vec<Field>, button: &str| Form {
            path: path.clone(),
            values: values(act),
            fields,
            button: self.word(button),
            ..Form::default()
        };
        if plans.is_empty() {
            return Ok(Vec::new());
        }
        if live.is_none() {
            let first = Field::new("starts_on", &self.word("starts_on"), "text").optional();
            let trial = Field::new("trial", &self.word("trial"), "check").with("yes").optional();
            let first = first.hinted(&self.word("starts_on_hint"));
            return Ok(vec![form("start", vec![plan(), seats(), first, trial], "start")]);
        }
        let reason = Field::new("reason", &self.word("reason"), "text").optional();
        Ok(vec![
            form("change", vec![plan(), seats(), when()], "change"),
            form("cancel", vec![when(), reason], "cancel"),
            form("reactivate", Vec::new(), "reactivate"),
        ])
    }

    async fn agreement_section(&self, id: &str) -> Result<Section, Problem> {
        let store = &self.billing.state.store;
        let found = price_book::of_organization(store, id).await?;
        let path = format!("/admin/billing/organizations/{id}");
        let today = self.billing.state.clock.now().date_naive();
        let rows = found.into_iter().map(|one| {
            let priced: Vec<_> = one
                .charges
                .iter()
                .map(|charge| format!("{}: {}", charge.name, self.priced(charge, "")))
                .collect();
            let ends = one.ends_on.map(|day| day.to_string()).unwrap_or_default();
            let is_over = one.ends_on.is_some_and(|end| end <= today);
            let end = Button {
                path: path.clone(),
                label: self.word("end"),
                values: vec![
                    ("act", "end_agreement".to_owned()),
                    ("override_id", one.override_id.clone()),
                ],
            };
            Row {
                cells: vec![one.plan, priced.join("; "), one.starts_on.to_string(), ends, one.note],
                acts: if is_over { Vec::new() } else { vec![end] },
                ..Row::default()
            }
        });
        let head = self.words(["plan", "charge", "since", "until", "reason"]);
        let table = Some(Table { head, rows: rows.collect() });
        let field = |name, kind, label: &str| Field::new(name, &self.word(label), kind);
        let form = Form {
            path: path.clone(),
            values: vec![("act".to_owned(), "agree".to_owned())],
            fields: vec![
                field("plan", "text", "plan"),
                field("starts_on", "text", "starts_on")
                    .optional()
                    .hinted(&self.word("starts_on_hint")),
                field("ends_on", "text", "until").optional(),
                field("note", "text", "reason").optional(),
                field("charges", "lines", "charges_yaml")
                    .hinted("- {name: Base, price: {flat: 49}}"),
            ],
            button: self.word("agree"),
            ..Form::default()
        };
        Ok(Section {
            title: self.word("agreements"),
            table,
            empty: Some(self.word("no_agreements")),
            forms: vec![form],
            ..Section::default()
        })
    }
}
