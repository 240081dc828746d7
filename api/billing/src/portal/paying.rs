//! The way to the pages of payment providers, and back.

use accounts::{Directory, posted, value};
use actix_web::{HttpRequest, HttpResponse, web};
use pages::screen::{Screen, Section};
use rest::{
    body::Body,
    page::see_other,
    principal::{Gate, ManageBilling},
    problem::Problem,
};
use serde::Deserialize;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Desk, refusal};
use crate::{Billing, fault::Fault, own::own_organization, payments};

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route("/billing/invoices/{id}/pay", web::post().to(pay))
        .route("/billing/payment-method", web::post().to(method))
        .route("/billing/paypal", web::get().to(back));
}

async fn pay(
    request: HttpRequest,
    id: web::Path<String>,
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
    let organization = own_organization(&desk.visit.principal)?.to_owned();
    let by = value(&fields, "provider");
    desk.led_on(Box::pin(billing.pay_online(&organization, &id, by)).await)
}

async fn method(
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
    let organization = own_organization(&desk.visit.principal)?.to_owned();
    if value(&fields, "act") == "remove" {
        let write = billing.state.store.write().await?;
        let (origin, now) = (desk.visit.origin(&request), billing.state.clock.now());
        payments::forget_method(&write, &organization, (&origin, now)).await?;
        write.commit().await?;
        return Ok(desk.visit.on_to("/billing", "removed"));
    }
    desk.led_on(Box::pin(billing.set_up_method(&organization)).await)
}

/// What PayPal adds to our address.
#[derive(Debug, Deserialize)]
struct Back {
    #[serde(default)]
    token: String,
}

/// A customer comes back from PayPal: what was approved is taken. Who it is does not matter, since it was ordered here.
async fn back(
    asked: web::Query<Back>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    match Box::pin(billing.capture(&asked.token)).await {
        Ok(Some(invoice)) => Ok(see_other(&format!("/billing/invoices/{invoice}"))),
        // What was not approved is still open.
        Ok(None) | Err(Fault::InvoiceState(_)) => Ok(see_other("/billing")),
        Err(fault) => Err(fault.into()),
    }
}

impl Desk<'_> {
    /// A link to a page of a provider. A form may lead to our own pages only.
    fn led_on(&self, opened: Result<String, Fault>) -> Result<HttpResponse, Problem> {
        let (failure, links) = match opened {
            Ok(url) => (None, vec![(url, self.word("to_provider"))]),
            Err(fault) => (Some(refusal(self, fault)?.1), Vec::new()),
        };
        let section = Section {
            title: self.word("how_to_pay"),
            note: failure.is_none().then(|| self.word("provider_note")),
            links: links.into_iter().chain([(self.to("/billing"), self.word("back"))]).collect(),
            ..Section::default()
        };
        self.visit.shown(Screen {
            here: "billing",
            title: self.word("pay"),
            failure,
            sections: vec![section],
            ..Screen::default()
        })
    }
}
