//! `/v1/subscription`: the plan of the own organization; `/v1/admin/organizations/{id}/subscription`: of any.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::{DateTime, NaiveDate, Utc};
use rest::{
    body::Body,
    principal::{Administer, Authorized, ManageBilling, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use state::audit::AuditOrigin;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    acts::{Act, planned, take},
    stored::{StoredSubscription, newest},
};
use crate::{
    Billing, PriceBook, SubscriptionStatus, When, currency::digits, fault::Fault, invoices,
    own::own_organization, price_book, runs,
};

pub(super) fn routes(config: &mut ServiceConfig<'_>, _: &Billing) {
    config
        .service(get_own)
        .service(preview_own)
        .service(act_on_own)
        .service(get_of)
        .service(act_on);
}

/// A subscription as it stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SubscriptionView {
    /// `sub_…`
    pub(crate) subscription_id: String,
    /// Who pays.
    organization_id: String,
    /// `trialing`, `active` or `canceled`.
    #[schema(value_type = String)]
    pub(crate) status: SubscriptionStatus,
    /// The plan of today.
    pub(crate) plan: String,
    /// The seats of today.
    pub(crate) seats: u32,
    /// ISO 4217.
    pub(crate) currency: String,
    /// What recurs in each billing period: flat charges and seats, before tax. Nothing where it has ended.
    #[schema(value_type = Option<String>)]
    pub(crate) recurring: Option<Decimal>,
    /// `month` or `year`.
    pub(crate) interval: String,
    /// Its days begin at midnight there.
    zone: String,
    /// The first day of the present billing period.
    #[schema(value_type = Option<String>, format = Date)]
    pub(crate) period_start: Option<NaiveDate>,
    /// The first day after it.
    #[schema(value_type = Option<String>, format = Date)]
    pub(crate) period_end: Option<NaiveDate>,
    /// The first day after the trial.
    #[schema(value_type = Option<String>, format = Date)]
    pub(crate) trial_ends_on: Option<NaiveDate>,
    /// The first day after it.
    #[schema(value_type = Option<String>, format = Date)]
    pub(crate) ends_on: Option<NaiveDate>,
    /// The change that is to come.
    pub(crate) next: Option<NextPlan>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: DateTime<Utc>,
}

/// A change that is to come.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct NextPlan {
    /// The first day.
    #[schema(value_type = String, format = Date)]
    pub(crate) from: NaiveDate,
    /// The plan.
    pub(crate) plan: String,
    /// The seats.
    pub(crate) seats: u32,
}

impl SubscriptionView {
    pub(crate) fn of(
        stored: &StoredSubscription,
        book: &PriceBook,
        now: DateTime<Utc>,
    ) -> Result<Self, Fault> {
        let (of, today) = (&stored.subscription, stored.today(now));
        let is_over =
            stored.ended_at.is_some() || of.status_on(today) == SubscriptionStatus::Canceled;
        let status = if is_over { SubscriptionStatus::Canceled } else { of.status_on(today) };
        let phase = of.phase_on(today).ok_or(crate::SubscriptionFault::Day)?;
        let paid = of.phases.iter().find(|phase| !phase.is_trial && phase.from > today);
        let recurring = match is_over {
            true => None,
            false => {
                Some(book.recurring(of, phase, today.max(of.starts_on()), digits(of.currency)?)?)
            }
        };
        let period = of.period_on(today).filter(|_| !is_over);
        let next = of
            .next_phase(today)
            .filter(|next| (next.plan.as_str(), next.seats) != (phase.plan.as_str(), phase.seats));
        Ok(Self {
            subscription_id: of.subscription_id.clone(),
            organization_id: of.organization_id.clone(),
            status,
            plan: phase.plan.clone(),
            seats: phase.seats,
            currency: of.currency.as_str().to_owned(),
            recurring,
            interval: if phase.billing_day.months == 12 { "year" } else { "month" }.to_owned(),
            zone: of.zone.name().to_owned(),
            period_start: period.map(|(start, _)| start),
            period_end: period.map(|(_, end)| end),
            trial_ends_on: paid.filter(|_| phase.is_trial).map(|paid| paid.from),
            ends_on: of.ends_on,
            next: next.map(|next| NextPlan {
                from: next.from,
                plan: next.plan.clone(),
                seats: next.seats,
            }),
            created_at: stored.created_at,
        })
    }
}

/// What is to be done.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ActBody {
    /// It begins.
    Start {
        /// The plan.
        plan: String,
        /// How many seats.
        #[serde(default = "one")]
        seats: u32,
        /// With the trial of the plan, if the organization never had one.
        #[serde(default = "yes")]
        trial: bool,
        /// For staff: the first day, at most 24 months ago. What was used since then is billed. Left out: today.
        #[serde(default)]
        #[schema(value_type = Option<String>, format = Date)]
        starts_on: Option<NaiveDate>,
    },
    /// Another plan, or other seats.
    Change {
        /// The plan.
        plan: String,
        /// How many seats; left out: as many as now.
        #[serde(default)]
        seats: Option<u32>,
        /// `now` or `period_end`.
        when: When,
    },
    /// It ends.
    Cancel {
        /// `now` or `period_end`.
        when: When,
        /// Why: at most 500 characters.
        #[serde(default)]
        reason: String,
    },
    /// It goes on after all.
    Reactivate {},
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

impl From<ActBody> for Act {
    fn from(body: ActBody) -> Self {
        match body {
            ActBody::Start { plan, seats, trial, starts_on } => {
                Self::Start { plan, seats, trial, starts_on }
            }
            ActBody::Change { plan, seats, when } => Self::Change { plan, seats, when },
            ActBody::Cancel { when, reason } => Self::Cancel { when, reason },
            ActBody::Reactivate {} => Self::Reactivate,
        }
    }
}

/// What an act would come to.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ActPreview {
    /// The subscription after it.
    pub(crate) subscription: SubscriptionView,
    /// What recurs before it; nothing where there is no subscription.
    #[schema(value_type = Option<String>)]
    pub(crate) recurring_before: Option<Decimal>,
    /// The day of the next bill.
    #[schema(value_type = String, format = Date)]
    pub(crate) billed_on: NaiveDate,
    /// What the next bill would be without the act, before tax, with the usage of up to now.
    #[schema(value_type = Option<String>)]
    pub(crate) next_bill_before: Option<Decimal>,
    /// What it would be with the act.
    #[schema(value_type = String)]
    pub(crate) next_bill: Decimal,
}

impl Billing {
    /// The last subscription of an organization.
    pub(crate) async fn subscription(
        &self,
        organization_id: &str,
    ) -> Result<Option<SubscriptionView>, Fault> {
        let db = self.state.store.db();
        let Some(stored) = newest(db, organization_id).await? else { return Ok(None) };
        let book = price_book::book(db).await?;
        Ok(Some(SubscriptionView::of(&stored, &book, self.state.clock.now())?))
    }

    /// Does something to the subscription of an organization.
    pub(crate) async fn act(
        &self,
        organization_id: &str,
        act: &Act,
        origin: &AuditOrigin,
    ) -> Result<SubscriptionView, Fault> {
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let done = take(&write, &self.settings, organization_id, act, (origin, now)).await?;
        let book = price_book::book(write.db()).await?;
        write.commit().await?;
        SubscriptionView::of(&done, &book, now)
    }

    /// What it would come to.
    pub(crate) async fn preview_act(
        &self,
        organization_id: &str,
        act: &Act,
    ) -> Result<ActPreview, Fault> {
        let (now, db) = (self.state.clock.now(), self.state.store.db());
        let book = price_book::book(db).await?;
        let ground = (&book, &*self.settings);
        let after = planned(db, ground, organization_id, act, now).await?;
        let before = newest(db, organization_id).await?;
        let before = before.filter(|_| !matches!(act, Act::Start { .. }));
        let cut = self.usage.cut().await?;
        let known = match &before {
            Some(before) => {
                let id = &before.subscription.subscription_id;
                invoices::of_subscription(db, id).await?
            }
            None => Vec::new(),
        };
        let usage = self.usage_of(std::slice::from_ref(&after), &cut, now).await?;
        let used = usage.into_values().next().and_then(|mut of| of.remove(organization_id));
        let used = used.unwrap_or_default();
        let bill = |stored: &StoredSubscription| {
            let (day, due) = runs::so_far(stored, &used, &known, &book, now)?;
            Ok::<_, Fault>((day, runs::total(&due, stored.subscription.currency)?))
        };
        let (billed_on, next_bill) = bill(&after)?;
        let next_bill_before = before.as_ref().map(bill).transpose()?.map(|(_, total)| total);
        let recurring_before = match &before {
            Some(before) => SubscriptionView::of(before, &book, now)?.recurring,
            None => None,
        };
        let subscription = SubscriptionView::of(&after, &book, now)?;
        Ok(ActPreview { subscription, recurring_before, billed_on, next_bill_before, next_bill })
    }
}

/// The subscription of the own organization: the last one, also when it has ended.
#[utoipa::path(operation_id = "get_subscription", tag = "billing", responses((status = 200, body = SubscriptionView), Denied, (status = 404, body = Problem)))]
#[get("/v1/subscription")]
async fn get_own(
    principal: Authorized<ReadMetrics>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    shown(&billing, own_organization(&principal)?).await
}

async fn shown(billing: &Billing, organization_id: &str) -> Result<HttpResponse, Problem> {
    let found = billing.subscription(organization_id).await?;
    let absent = || Problem::not_found("the organization has no subscription");
    Ok(HttpResponse::Ok().json(found.ok_or_else(absent)?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PreviewParameters {
    act: String,
    plan: Option<String>,
    seats: Option<u32>,
    when: Option<When>,
    trial: Option<bool>,
}

impl PreviewParameters {
    fn act(self) -> Result<Act, Problem> {
        let missing = |name: &str| Problem::invalid_parameters(format!("`{name}` is missing"));
        Ok(match self.act.as_str() {
            "start" => {
                let plan = self.plan.ok_or_else(|| missing("plan"))?;
                let seats = self.seats.unwrap_or(1);
                Act::Start { plan, seats, trial: self.trial.unwrap_or(true), starts_on: None }
            }
            "change" => {
                let plan = self.plan.ok_or_else(|| missing("plan"))?;
                let when = self.when.ok_or_else(|| missing("when"))?;
                Act::Change { plan, seats: self.seats, when }
            }
            "cancel" => {
                let when = self.when.ok_or_else(|| missing("when"))?;
                Act::Cancel { when, reason: String::new() }
            }
            "reactivate" => Act::Reactivate,
            other => {
                let detail = format!("`act={other}` is not start, change, cancel or reactivate");
                return Err(Problem::invalid_parameters(detail));
            }
        })
    }
}

/// What an act on the own subscription would come to. It changes nothing.
#[utoipa::path(
    operation_id = "preview_subscription",
    tag = "billing",
    params(
        ("act" = String, Query, description = "`start`, `change`, `cancel` or `reactivate`."),
        ("plan" = Option<String>, Query),
        ("seats" = Option<u32>, Query, description = "1 by default; of a change, as many as now."),
        ("when" = Option<When>, Query, description = "`now` or `period_end`."),
        ("trial" = Option<bool>, Query, description = "Whether a start is wanted with the trial of the plan: true by default."),
    ),
    responses((status = 200, body = ActPreview), (status = 400, body = Problem), Denied, (status = 409, body = Problem))
)]
#[get("/v1/subscription/preview")]
async fn preview_own(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<PreviewParameters>, actix_web::Error>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let act = parameters(asked)?.act()?;
    let id = own_organization(&principal)?;
    Ok(HttpResponse::Ok().json(Box::pin(billing.preview_act(id, &act)).await?))
}

/// Does something to the subscription of the own organization.
#[utoipa::path(
    operation_id = "change_subscription",
    tag = "billing",
    request_body = ActBody,
    responses((status = 200, body = SubscriptionView), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, body = Problem))
)]
#[post("/v1/subscription")]
async fn act_on_own(
    principal: Authorized<ManageBilling>,
    request: HttpRequest,
    body: Body,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let id = own_organization(&principal)?.to_owned();
    let act: ActBody = body.json(&principal).await?;
    if matches!(act, ActBody::Start { starts_on: Some(_), .. }) {
        return Err(Fault::invalid("starts_on", "is for staff").into());
    }
    let done = billing.act(&id, &act.into(), &principal.origin(&request)).await?;
    Ok(HttpResponse::Ok().json(done))
}

/// The subscription of an organization: the last one, also when it has ended.
#[utoipa::path(
    operation_id = "get_organization_subscription",
    tag = "billing",
    params(("organization_id" = String, Path)),
    responses((status = 200, body = SubscriptionView), Denied, (status = 404, body = Problem))
)]
#[get("/v1/admin/organizations/{organization_id}/subscription")]
async fn get_of(
    _: Authorized<Administer>,
    organization_id: web::Path<String>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    shown(&billing, &organization_id).await
}

/// Does something to the subscription of an organization.
#[utoipa::path(
    operation_id = "change_organization_subscription",
    tag = "billing",
    params(("organization_id" = String, Path)),
    request_body = ActBody,
    responses((status = 200, body = SubscriptionView), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, body = Problem))
)]
#[post("/v1/admin/organizations/{organization_id}/subscription")]
async fn act_on(
    admin: Authorized<Administer>,
    organization_id: web::Path<String>,
    request: HttpRequest,
    body: Body,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let act: ActBody = body.json(&admin).await?;
    let done = billing.act(&organization_id, &act.into(), &admin.origin(&request)).await?;
    Ok(HttpResponse::Ok().json(done))
}
