//! `/billing`: the subscription of the own organization, what it costs so far, its invoices, and who pays.

use accounts::{Directory, Fields, filled_in, posted, value};
use actix_web::{HttpRequest, HttpResponse, web};
use pages::screen::{Act, Field, Form, Row, Screen, Section, Table};
use rest::{
    body::Body,
    principal::{Ability, Gate, ManageBilling, ReadMetrics},
    problem::Problem,
};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Desk, Parameters, opened, refusal};
use crate::{
    Billing, Document,
    customers::{self, Customer},
    fault::Fault,
    invoices::{self, Invoice, InvoiceFilter},
    own::own_organization,
    payments,
    subscriptions::SubscriptionView,
};

const SHOWN: u64 = 24;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route("/billing", web::get().to(show))
        .route("/billing/customer", web::post().to(store_customer));
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
    desk.own_page(None).await
}

async fn store_customer(
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
    let id = own_organization(&desk.visit.principal)?;
    let stated = stated(&fields);
    let origin = desk.visit.origin(&request);
    match customers::state_own(&billing, id, stated.clone(), &origin).await {
        Ok(_) => Ok(desk.visit.on_to("/billing", "saved")),
        Err(fault) => {
            let refused = refusal(&desk, fault)?;
            desk.own_page(Some((stated, refused))).await
        }
    }
}

/// Who pays, as a form states it.
pub(super) fn stated(fields: &Fields) -> Customer {
    Customer {
        name: value(fields, "name").to_owned(),
        address: value(fields, "address").replace("\r\n", "\n"),
        tax_id: value(fields, "tax_id").to_owned(),
        email: value(fields, "email").to_owned(),
        language: filled_in(fields, "language").unwrap_or_default(),
        ..Customer::default()
    }
}

type Refused = (Customer, (Option<&'static str>, String));

impl Desk<'_> {
    async fn own_page(&self, refused: Option<Refused>) -> Result<HttpResponse, Problem> {
        let id = own_organization(&self.visit.principal)?.to_owned();
        let may_change = self.visit.principal.may(Ability::ManageBilling);
        let db = self.billing.state.store.db();
        let subscription = self.billing.subscription(&id).await?;
        let is_live = subscription.as_ref().is_some_and(|one| one.recurring.is_some());
        let mut sections = vec![self.subscription_section(subscription.as_ref(), may_change)];
        if is_live {
            sections.push(self.cost_section(&id).await?);
        }
        let filter = InvoiceFilter {
            organization_id: Some(id.clone()),
            without_drafts: true,
            ..InvoiceFilter::default()
        };
        let (found, _) = invoices::list(db, &filter, (0, SHOWN)).await?;
        let mut section = self.invoice_table("invoices", &found, "/billing/invoices", false);
        section.empty = Some(self.word("no_invoices"));
        if let Some(last) = found.first().and_then(|one| one.issued_at) {
            let month = last.format("%Y-%m").to_string();
            let path = format!("/v1/billing/statements/{month}");
            section.links.push((self.to(&path), self.filled("statement", &[("month", &month)])));
        }
        sections.push(section);
        sections.push(self.payment_section(&id).await?);
        if may_change {
            let (customer, refused) = match refused {
                Some((customer, refused)) => (customer, Some(refused)),
                None => (customers::customer(db, &id).await?, None),
            };
            sections.push(self.customer_section(&customer, "/billing/customer", refused));
        }
        self.visit.shown(Screen {
            here: "billing",
            title: self.word("billing"),
            sections,
            ..Screen::default()
        })
    }

    /// A subscription, and what can be done to it at once.
    pub(super) fn subscription_section(
        &self,
        subscription: Option<&SubscriptionView>,
        may_change: bool,
    ) -> Section {
        let links = vec![(self.to("/billing/plans"), self.word("plans"))];
        let title = self.word("subscription");
        let Some(of) = subscription else {
            let note = Some(self.word("no_subscription"));
            return Section { title, note, links, ..Section::default() };
        };
        let acts = match (may_change, &of.recurring, of.ends_on) {
            (false, ..) | (_, None, _) => Vec::new(),
            (_, _, None) => vec![Act {
                path: "/billing/act".to_owned(),
                label: self.word("cancel_end"),
                values: vec![("act", "cancel".to_owned()), ("when", "period_end".to_owned())],
            }],
            (_, _, Some(_)) => vec![Act {
                path: "/billing/act".to_owned(),
                label: self.word("reactivate"),
                values: vec![("act", "reactivate".to_owned())],
            }],
        };
        Section { title, facts: self.subscription_facts(of), links, acts, ..Section::default() }
    }

    pub(super) fn subscription_facts(&self, of: &SubscriptionView) -> Vec<(String, String)> {
        let mut facts = vec![
            (self.word("plan"), of.plan.clone()),
            (self.word("status"), self.word(of.status.as_str())),
        ];
        let mut fact = |name: &str, value: Option<String>| {
            facts.extend(value.map(|value| (self.word(name), value)));
        };
        fact("seats", (of.seats > 1).then(|| of.seats.to_string()));
        let each = if of.interval == "year" { "per_year" } else { "per_month" };
        fact(
            "recurring",
            of.recurring.map(|amount| {
                let amount = format!("{amount} {}", of.currency);
                self.filled(each, &[("amount", &amount)])
            }),
        );
        let period = of
            .period_start
            .zip(of.period_end)
            .and_then(|(start, end)| Some(format!("{start} – {}", end.pred_opt()?)));
        fact("trial_ends", of.trial_ends_on.map(|day| day.to_string()));
        fact("period", period.filter(|_| of.trial_ends_on.is_none()));
        fact("ends", of.ends_on.map(|day| day.to_string()));
        fact(
            "next_plan",
            of.next.as_ref().map(|next| {
                let date = next.from.to_string();
                self.filled("next_plan_text", &[("plan", &next.plan), ("date", &date)])
            }),
        );
        facts
    }

    async fn cost_section(&self, id: &str) -> Result<Section, Problem> {
        let title = self.word("cost_so_far");
        let found = Box::pin(self.billing.next_bill(id)).await;
        let found = match found {
            Ok(found) => found,
            Err(Fault::Rules(error)) => {
                return Ok(Section { title, note: Some(error.to_string()), ..Section::default() });
            }
            Err(fault) => return Err(fault.into()),
        };
        let currency = found.currency.as_str();
        let date = found.billed_on.to_string();
        let forecast = format!("{} {currency}", found.forecast);
        let document: &Document = &found.document;
        let mut facts = vec![(self.word("subtotal"), format!("{} {currency}", document.subtotal))];
        if !document.tax.is_zero() {
            facts.push((self.word("tax"), format!("{} {currency}", document.tax)));
        }
        if !document.credit.is_zero() {
            facts.push((self.word("credit"), format!("−{} {currency}", document.credit)));
        }
        facts.push((self.word("due"), format!("{} {currency}", document.due)));
        facts.push((self.word("forecast"), forecast));
        let note = self.filled("cost_note", &[("date", &date)]);
        Ok(Section {
            title,
            note: Some(format!("{note} {}: {}", self.word("forecast"), self.word("forecast_note"))),
            facts,
            table: Some(self.line_table(&document.lines, currency, None)),
            ..Section::default()
        })
    }

    /// Invoices, each a link.
    pub(super) fn invoice_table(
        &self,
        title: &str,
        found: &[Invoice],
        path: &str,
        names_organization: bool,
    ) -> Section {
        let mut head = self.words(["number", "date", "amount", "outstanding"]);
        if names_organization {
            head.push(self.word("organization"));
        }
        let rows = found.iter().map(|one| {
            let number = one.number.clone().unwrap_or_else(|| self.word("draft"));
            let at = one.issued_at.unwrap_or(one.created_at).format("%Y-%m-%d").to_string();
            let mut cells = vec![
                number,
                at,
                Self::money(one, one.document.total),
                Self::money(one, one.outstanding),
            ];
            if names_organization {
                cells.push(one.organization_id.clone());
            }
            let link = Some(self.to(&format!("{path}/{}", one.invoice_id)));
            Row { cells, link, status: Some(self.status(one.status)), acts: Vec::new() }
        });
        let table = Some(Table { head, rows: rows.collect() });
        Section { title: self.word(title), table, ..Section::default() }
    }

    /// How to pay, and what credit there is.
    async fn payment_section(&self, id: &str) -> Result<Section, Problem> {
        let seller = self.billing.settings.seller();
        let balances = invoices::balances(self.billing.state.store.db(), id).await?;
        let mut facts: Vec<(String, String)> = Vec::new();
        for (currency, amount) in balances {
            facts.push((self.word("credit"), format!("{amount} {}", currency.as_str())));
        }
        if !seller.name.is_empty() {
            facts.push((self.word("seller"), seller.name));
        }
        let account: Vec<_> = seller.bank_account.lines().map(str::trim).collect();
        facts.push((
            self.word("bank"),
            match account.is_empty() {
                true => self.word("no_bank"),
                false => account.join(", "),
            },
        ));
        let kept = payments::method(self.billing.state.store.db(), id).await?;
        let note = match (self.billing.providers().is_empty(), &kept) {
            (true, _) => "pay_note",
            (false, None) => "pay_online_note",
            (false, Some(_)) => "charged_note",
        };
        let mut acts = Vec::new();
        let act = |name: &str, label: &str| Act {
            path: "/billing/payment-method".to_owned(),
            label: self.word(label),
            values: vec![("act", name.to_owned())],
        };
        let may_change = self.visit.principal.may(Ability::ManageBilling);
        if may_change && self.billing.stripe.is_some() {
            acts.push(act("set_up", if kept.is_some() { "other_method" } else { "keep_method" }));
        }
        if let Some(kept) = kept {
            facts.insert(0, (self.word("method"), kept.label));
            acts.extend(may_change.then(|| act("remove", "remove_method")));
        }
        let note = Some(self.word(note));
        Ok(Section { title: self.word("how_to_pay"), note, facts, acts, ..Section::default() })
    }

    /// Who pays, as a form.
    pub(super) fn customer_section(
        &self,
        customer: &Customer,
        path: &str,
        refused: Option<(Option<&'static str>, String)>,
    ) -> Section {
        let field = |name, kind, value: &str| {
            Field::new(name, &self.word(name), kind).with(value).optional()
        };
        let languages = vec![
            (String::new(), "English".to_owned()),
            ("en".to_owned(), "English".to_owned()),
            ("zh-CN".to_owned(), "简体中文".to_owned()),
        ];
        let languages = languages.into_iter().skip(1).collect();
        let language = if customer.language.is_empty() { "en" } else { &customer.language };
        let form = Form {
            path: path.to_owned(),
            fields: vec![
                field("name", "text", &customer.name).filled_by("organization"),
                field("tax_id", "text", &customer.tax_id),
                field("email", "email", &customer.email).filled_by("email"),
                field("language", "select", language).of(languages),
                field("address", "lines", &customer.address).filled_by("street-address"),
            ],
            button: self.word("save"),
            ..Form::default()
        };
        let form = match refused {
            Some((field, reason)) => form.refused(field, &reason),
            None => form,
        };
        let note = Some(self.word("customer_note"));
        Section { title: self.word("customer"), note, forms: vec![form], ..Section::default() }
    }
}
