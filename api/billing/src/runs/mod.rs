//! Billing runs: every subscription is brought up to date, each in a transaction of its own. So a run that was broken off goes
//! on with the next one, and two runs at once bill nothing twice.

mod billed;
mod expected;
mod rated;
mod rated_row;
mod routes;
mod run_row;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use accounts::plans::Currency;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use rest::feature::Feature;
use rust_decimal::Decimal;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};
use serde::{Deserialize, Serialize};
use state::{
    jobs::{JobError, JobKind, Repeat},
    store::{StoreContext, StoreError, time_of},
};
use utoipa::ToSchema;

pub(crate) use billed::{so_far, total};

use crate::{
    Billing, DailyUsage,
    currency::digits,
    fault::Fault,
    invoices::{self, Document, Invoice, InvoiceKind},
    price_book,
    subscriptions::{self, StoredSubscription},
    usage::{UsageCut, UsageQuestion},
};
use billed::{Ground, bring_up_to_date, read_from};
use expected::with_remaining_days;
use run_row as row;

/// Runs.
pub(crate) const FEATURE: Feature<Billing> =
    Feature::new("billing_runs").with_routes(routes::routes).with_tasks(register);

const EVERY: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_secs(60);
/// What came of a run is kept for so long.
const KEPT: TimeDelta = TimeDelta::days(400);
/// Failures that are listed.
const LISTED: usize = 50;

/// What came of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunReport {
    /// Subscriptions that were looked at.
    pub subscriptions: u64,
    /// Invoices that are drafts.
    pub drafts: u64,
    /// Invoices that became final.
    pub invoices: u64,
    /// Credit notes that were issued.
    pub credit_notes: u64,
    /// Rows of `rated_usage_daily` that were added.
    pub rated_rows: u64,
    /// Reminders, suspensions and invoices that were given up.
    pub reminders: u64,
    /// Subscriptions that could not be billed, at most 50, with the reason.
    pub failures: Vec<RunFailure>,
}

/// A subscription that could not be billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunFailure {
    /// Whose it is.
    pub organization_id: String,
    /// Its id.
    pub subscription_id: String,
    /// Why.
    pub reason: String,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BillingRun {
    /// Its number.
    pub run_id: i64,
    /// Who began it.
    pub started_by: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: DateTime<Utc>,
    /// When it ended; nothing: it is at work, or was broken off.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<DateTime<Utc>>,
    /// The events that it read, as `as_of`.
    pub cut: Option<String>,
    /// What came of it.
    pub report: Option<RunReport>,
}

/// The next invoice of a subscription, as it stands.
#[derive(Debug, Clone)]
pub(crate) struct NextBill {
    /// The billing day.
    pub(crate) billed_on: NaiveDate,
    /// With the usage of up to now.
    pub(crate) document: Document,
    /// The total if the remaining days are like those before them.
    pub(crate) forecast: Decimal,
    /// Of all amounts.
    pub(crate) currency: Currency,
    /// The events that were read.
    pub(crate) as_of: String,
}

/// Which subscriptions are wanted, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunScope {
    /// Only this one.
    pub(crate) subscription_id: Option<String>,
    /// The draft of this day becomes final, though its grace is not over, or nobody approved it.
    pub(crate) finalizes: Option<NaiveDate>,
}

fn register(billing: &Billing) {
    let billing = billing.clone();
    let jobs = billing.state.jobs.clone();
    let kind = JobKind::new("billing_run");
    jobs.repeat(kind, Repeat::Every(EVERY), PAUSE, move |_| {
        let billing = billing.clone();
        async move {
            let done = Box::pin(billing.run("schedule", &RunScope::default())).await;
            let (_, report) = done.map_err(|fault| JobError::of(&fault))?;
            serde_json::to_value(report).map_err(|error| JobError::temporary(error.to_string()))
        }
    });
}

/// The usage of organizations by the zone of their days.
type UsageByZone = HashMap<Tz, HashMap<String, DailyUsage>>;

impl Billing {
    /// Brings all subscriptions up to date. Gives the number of the run, and what came of it.
    pub(crate) async fn run(&self, by: &str, scope: &RunScope) -> Result<(i64, RunReport), Fault> {
        let now = self.state.clock.now();
        let run_id = self.begin_run(by, now).await?;
        let store = &self.state.store;
        let cut = self.usage.cut().await?;
        let mut wanted = subscriptions::open(store.db()).await?;
        if let Some(id) = &scope.subscription_id {
            wanted.retain(|one| one.subscription.subscription_id == *id);
        }
        let usage = self.usage_of(&wanted, &cut, now).await?;
        let mut report = RunReport::default();
        let none = DailyUsage::new();
        for stored in wanted {
            report.subscriptions += 1;
            let of = stored.subscription.clone();
            let used = usage.get(&of.zone).and_then(|used| used.get(&of.organization_id));
            let used = used.unwrap_or(&none);
            let billed = Box::pin(self.bill_one(stored, used, &cut, scope.finalizes));
            match billed.await {
                Ok(outcome) => report.add(&outcome),
                // A row that is damaged is of this subscription; what else the database says is of all.
                Err(Fault::Store(error)) if !matches!(error, StoreError::Damaged { .. }) => {
                    return Err(error.into());
                }
                Err(fault) => {
                    let reason = fault.to_string();
                    tracing::error!(reason, of.subscription_id, "a subscription cannot be billed");
                    if report.failures.len() < LISTED {
                        report.failures.push(RunFailure {
                            organization_id: of.organization_id,
                            subscription_id: of.subscription_id,
                            reason,
                        });
                    }
                }
            }
        }
        report.reminders = Box::pin(invoices::dun(self, now)).await?;
        self.end_run(run_id, &cut, &report).await?;
        self.state.jobs.wake();
        Ok((run_id, report))
    }

    async fn bill_one(
        &self,
        stored: StoredSubscription,
        usage: &DailyUsage,
        cut: &UsageCut,
        finalizes: Option<NaiveDate>,
    ) -> Result<billed::Outcome, Fault> {
        let write = self.state.store.write().await?;
        // Somebody may have changed it since it was read, and the prices.
        let ids = [stored.subscription.subscription_id];
        let stored = subscriptions::of_ids(write.db(), &ids).await?.pop();
        let Some(stored) = stored else { return Ok(billed::Outcome::default()) };
        let book = price_book::book(write.db()).await?;
        let now = self.state.clock.now();
        let ground = Ground {
            book: &book,
            settings: &self.settings,
            cut,
            now,
            finalizes,
            kept_from: self.settings.kept_from(now),
        };
        let outcome = Box::pin(bring_up_to_date(&write, stored, usage, &ground)).await?;
        for invoice in &outcome.issued {
            self.charge_later(&write, invoice, 0, now).await?;
            self.mail_invoice(&write, invoice, "issued", now).await?;
        }
        write.commit().await?;
        Ok(outcome)
    }

    /// The usage that subscriptions may be billed for.
    pub(crate) async fn usage_of(
        &self,
        subscriptions: &[StoredSubscription],
        cut: &UsageCut,
        now: DateTime<Utc>,
    ) -> Result<UsageByZone, Fault> {
        let mut from: BTreeMap<String, (Tz, NaiveDate)> = BTreeMap::new();
        for stored in subscriptions {
            let (of, today) = (&stored.subscription, stored.today(now));
            let first = read_from(stored, today);
            let zone = from.entry(of.zone.name().to_owned()).or_insert((of.zone, first));
            zone.1 = zone.1.min(first);
        }
        let organization_id = match subscriptions {
            [one] => Some(one.subscription.organization_id.clone()),
            _ => None,
        };
        let mut usage = UsageByZone::new();
        for (zone, from) in from.into_values() {
            let today = now.with_timezone(&zone).date_naive();
            let question = UsageQuestion {
                organization_id: organization_id.clone(),
                zone,
                from,
                to: today.succ_opt().unwrap_or(today),
            };
            usage.insert(zone, self.usage.read(cut, &question).await?);
        }
        Ok(usage)
    }

    /// What the next invoice of an organization would be if its period ended now, and what it will be if the remaining days
    /// are like those before them.
    pub(crate) async fn next_bill(&self, organization_id: &str) -> Result<NextBill, Fault> {
        let (db, now) = (self.state.store.db(), self.state.clock.now());
        let stored = subscriptions::newest(db, organization_id).await?;
        let absent = || Fault::Unknown("subscription of this organization".to_owned());
        let stored = stored.ok_or_else(absent)?;
        let cut = self.usage.cut().await?;
        let usage = self.usage_of(std::slice::from_ref(&stored), &cut, now).await?;
        let used = usage.into_values().next().and_then(|mut of| of.remove(organization_id));
        let used = used.unwrap_or_default();
        let of = &stored.subscription;
        let known = invoices::of_subscription(db, &of.subscription_id).await?;
        let book = price_book::book(db).await?;
        let (billed_on, due) = so_far(&stored, &used, &known, &book, now)?;
        let ahead = with_remaining_days(&used, stored.today(now), billed_on);
        let (_, expected) = so_far(&stored, &ahead, &known, &book, now)?;
        let parties = invoices::parties(db, &self.settings, organization_id).await?;
        let document = Document::of(&due, parties.clone(), digits(of.currency)?)?;
        let forecast = Document::of(&expected, parties, digits(of.currency)?)?;
        let balance = invoices::balance(db, organization_id, of.currency).await?;
        Ok(NextBill {
            billed_on,
            document: document.paid_by(balance),
            forecast: forecast.total,
            currency: of.currency,
            as_of: cut.token,
        })
    }

    async fn begin_run(&self, by: &str, now: DateTime<Utc>) -> Result<i64, StoreError> {
        let row = row::ActiveModel {
            run_id: NotSet,
            started_by: Set(by.to_owned()),
            started_at: Set(now.timestamp_micros()),
            finished_at: Set(None),
            cut: Set(None),
            report: Set(None),
        };
        let write = self.state.store.write().await?;
        row::Entity::delete_many()
            .filter(row::Column::StartedAt.lt((now - KEPT).timestamp_micros()))
            .exec(write.db())
            .await
            .doing("forgetting runs")?;
        let added = row::Entity::insert(row).exec(write.db()).await.doing("beginning a run")?;
        write.commit().await?;
        Ok(added.last_insert_id)
    }

    async fn end_run(
        &self,
        run_id: i64,
        cut: &UsageCut,
        report: &RunReport,
    ) -> Result<(), StoreError> {
        let unwritable = |_| StoreError::Damaged { table: "billing_runs", what: "a report" };
        let report = serde_json::to_string(report).map_err(unwritable)?;
        let write = self.state.store.write().await?;
        row::Entity::update_many()
            .col_expr(
                row::Column::FinishedAt,
                Expr::value(self.state.clock.now().timestamp_micros()),
            )
            .col_expr(row::Column::Cut, Expr::value(cut.token.as_str()))
            .col_expr(row::Column::Report, Expr::value(report))
            .filter(row::Column::RunId.eq(run_id))
            .exec(write.db())
            .await
            .doing("ending a run")?;
        write.commit().await
    }

    /// The last runs, the newest first.
    pub(crate) async fn runs(&self, limit: u64) -> Result<Vec<BillingRun>, StoreError> {
        let rows = row::Entity::find()
            .order_by_desc(row::Column::RunId)
            .limit(limit)
            .all(self.state.store.db())
            .await
            .doing("listing runs")?;
        rows.into_iter().map(BillingRun::try_from).collect()
    }
}

impl RunReport {
    fn add(&mut self, outcome: &billed::Outcome) {
        let of_kind = |kind: InvoiceKind| {
            outcome.issued.iter().filter(|one: &&Invoice| one.kind == kind).count() as u64
        };
        self.drafts += outcome.drafts.len() as u64;
        self.invoices += of_kind(InvoiceKind::Invoice);
        self.credit_notes += of_kind(InvoiceKind::CreditNote);
        self.rated_rows += outcome.rated_rows;
    }
}

impl TryFrom<row::Model> for BillingRun {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let table = "billing_runs";
        let damaged = |_| StoreError::Damaged { table, what: "a report that is not readable" };
        let report = row.report.as_deref().map(serde_json::from_str).transpose();
        Ok(Self {
            run_id: row.run_id,
            started_by: row.started_by,
            started_at: time_of(table, row.started_at)?,
            finished_at: row.finished_at.map(|at| time_of(table, at)).transpose()?,
            cut: row.cut,
            report: report.map_err(damaged)?,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
