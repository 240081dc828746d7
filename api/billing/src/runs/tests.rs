//! Months of a customer, with the clock in the hands of the test.

use std::sync::{Arc, Mutex};

use accounts::organizations::{self, Organization, OrganizationKind, OrganizationStatus};
use delivery::{Courier, Hooks, Links, Smtp};
use rest::{principal::Principal, problem::Problem};
use rust_decimal::Decimal;
use serde_json::Value;
use state::{
    State,
    clock::Clock,
    migration::{MIGRATIONS, Migration},
    outbox::{self, MirroredTable},
    scratch::{Scratch, tester},
};

use super::*;
use crate::{
    EventsQuestion, ModelUsage, PriceList, Settings, UsageError, UsageSource, When,
    customers::{Customer, store_customer},
    invoices::{InvoiceStatus, of_subscription},
    subscriptions::Act,
};

const PRICES: &str = "
plans:
  - plan: pro
    versions:
      - from: 2026-01-01
        currency: USD
        trial_days: 14
        charges:
          - {name: Base, price: {flat: 31}, in_advance: true}
          - {name: Requests, meter: requests, included: 1000, price: {per_unit: {amount: '0.01'}}}
  - plan: team
    versions:
      - from: 2026-01-01
        currency: USD
        charges:
          - {name: Base, price: {flat: 93}, in_advance: true}
          - {name: Requests, meter: requests, included: 5000, price: {per_unit: {amount: '0.005'}}}
";

/// Usage that a test states.
#[derive(Debug, Default)]
struct StatedUsage(Mutex<(i64, HashMap<String, DailyUsage>)>);

impl StatedUsage {
    fn add(&self, organization: &str, day: &str, requests: u64) {
        let mut held = self.0.lock().unwrap();
        held.0 += 1;
        let used = ModelUsage { requests, ..ModelUsage::default() };
        let days = held.1.entry(organization.to_owned()).or_default();
        let models = days.entry(day.parse().unwrap()).or_default();
        models.entry("gpt-5".to_owned()).or_default().add(&used).unwrap();
    }
}

#[async_trait::async_trait]
impl UsageSource for StatedUsage {
    async fn cut(&self) -> Result<UsageCut, UsageError> {
        let lsn = self.0.lock().unwrap().0;
        Ok(UsageCut { token: lsn.to_string(), log: 1, lsn })
    }

    async fn read(
        &self,
        _: &UsageCut,
        question: &UsageQuestion,
    ) -> Result<HashMap<String, DailyUsage>, UsageError> {
        let mut usage = self.0.lock().unwrap().1.clone();
        for days in usage.values_mut() {
            days.retain(|day, _| (question.from..question.to).contains(day));
        }
        Ok(usage)
    }

    async fn events(&self, _: &str, _: &EventsQuestion) -> Result<Vec<Value>, UsageError> {
        Ok(Vec::new())
    }

    fn token(&self, cut: &str, _: &Principal) -> Result<String, Problem> {
        Ok(cut.to_owned())
    }

    fn events_sql(&self, _: &EventsQuestion) -> String {
        String::new()
    }
}

pub(crate) struct Desk {
    pub(crate) scratch: Scratch,
    pub(crate) billing: Billing,
    usage: Arc<StatedUsage>,
}

fn migrations() -> Vec<Migration> {
    let delivery = rest::feature::migrations(delivery::FEATURES);
    let accounts = rest::feature::migrations(accounts::FEATURES);
    let own = rest::feature::migrations(crate::FEATURES);
    MIGRATIONS.iter().copied().chain(delivery).chain(accounts).chain(own).collect()
}

impl Desk {
    /// With two organizations, `org_a` and `org_b`, and the prices of above.
    pub(crate) async fn new(at: &str, settings: Settings) -> Self {
        Box::pin(Self::opened(at, settings)).await
    }

    async fn opened(at: &str, settings: Settings) -> Self {
        let scratch = Scratch::new(&migrations()).await;
        let clock = Clock::fixed(at.parse().unwrap());
        let state = State::new(scratch.store.clone(), clock);
        let links = Links::new("https://hub.example", &[0; 32]);
        let courier = Courier::new(
            state.clone(),
            Smtp::default(),
            Hooks::default(),
            None,
            links,
            state::vault::Vault::new([0; 32]),
        )
        .unwrap();
        let usage = Arc::new(StatedUsage::default());
        let billing =
            Billing::new(state, Arc::<StatedUsage>::clone(&usage), courier, settings).unwrap();
        let organization = |id: &str| Organization {
            organization_id: id.to_owned(),
            name: format!("Customer {id}"),
            kind: OrganizationKind::Business,
            plan: "free".to_owned(),
            country: "DE".to_owned(),
            signed_up_at: at.parse().unwrap(),
        };
        let both = [organization("org_a"), organization("org_b")];
        organizations::upsert_many(&scratch.store, &both, at.parse().unwrap()).await.unwrap();
        billing.store_prices(&PriceList::parse(PRICES).unwrap(), &tester()).await.unwrap();
        let desk = Self { scratch, billing, usage };
        desk.told().await;
        desk
    }

    pub(crate) async fn taxed(self, organization: &str, tax_percent: i64) -> Self {
        let tax_percent = Decimal::from(tax_percent);
        let customer = Customer { tax_percent, ..Customer::default() };
        let write = self.scratch.store.write().await.unwrap();
        let now = self.billing.state.clock.now();
        store_customer(&write, organization, &customer, &tester(), now).await.unwrap();
        write.commit().await.unwrap();
        self.told().await;
        self
    }

    /// Moves the clock to a time, and runs.
    pub(crate) async fn run_at(&self, at: &str) -> RunReport {
        self.go_to(at);
        let report = self.run().await;
        assert_eq!(report.failures, []);
        report
    }

    pub(crate) async fn run(&self) -> RunReport {
        self.billing.run("test", &RunScope::default()).await.unwrap().1
    }

    pub(crate) fn go_to(&self, at: &str) {
        let at: DateTime<Utc> = at.parse().unwrap();
        let by = at - self.billing.state.clock.now();
        self.billing.state.clock.advance(by.to_std().unwrap());
    }

    pub(crate) async fn act(&self, act: Act) {
        self.billing.act("org_a", &act, &tester()).await.unwrap();
    }

    /// What the lake was told since: events of billing as `kind amount plan`.
    pub(crate) async fn told(&self) -> Vec<String> {
        let (events, _) = self.all_told().await;
        events
    }

    /// The same, and the sums of the rated days by charge.
    async fn all_told(&self) -> (Vec<String>, BTreeMap<String, Decimal>) {
        let store = &self.scratch.store;
        let batch = outbox::peek(store, 10_000).await.unwrap();
        assert!(batch.unreadable.is_empty());
        let (mut events, mut rated) = (Vec::new(), BTreeMap::<String, Decimal>::new());
        for row in &batch.rows {
            let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
            let kind = row.payload.get("type").and_then(text).unwrap_or_default();
            if let Some(kind) = kind.strip_prefix("billing.") {
                let data = &row.payload["data"];
                let said = [Some(kind.to_owned()), text(&data["amount"]), text(&data["plan"])];
                events.push(said.into_iter().flatten().collect::<Vec<_>>().join(" "));
            }
            if row.table == MirroredTable::RatedUsageDaily {
                let names = ["period_start", "plan", "charge"].map(|name| text(&row.payload[name]));
                let name = names.map(Option::unwrap_or_default).join(" ");
                let amount: Decimal = text(&row.payload["amount"]).unwrap().parse().unwrap();
                *rated.entry(name).or_default() += amount;
            }
        }
        if let Some(last) = batch.rows.last() {
            outbox::remove_through(store, last.id).await.unwrap();
        }
        (events, rated)
    }

    pub(crate) async fn invoices(&self) -> Vec<Invoice> {
        let db = self.scratch.store.db();
        let newest = subscriptions::newest(db, "org_a").await.unwrap().unwrap();
        let mut all = of_subscription(db, &newest.subscription.subscription_id).await.unwrap();
        all.sort_by_key(|one| (one.created_at, one.number.clone()));
        all
    }

    /// The last documents: `number total outstanding status`, and their lines.
    pub(crate) async fn last(&self, count: usize) -> Vec<String> {
        let mut all = self.invoices().await;
        all.sort_by_key(|one| (one.issued_at, one.number.clone()));
        let mut said = Vec::new();
        for one in all.iter().rev().take(count).rev() {
            let number = one.number.as_deref().unwrap_or("draft");
            let document = &one.document;
            let (total, status) = (document.total, one.status.as_str());
            said.push(format!("{number} {total} {} {status}", one.outstanding));
            for line in &document.lines {
                let late = if line.is_adjustment { " late" } else { "" };
                said.push(format!(
                    "  {} {} {} {}{late}",
                    line.from, line.plan, line.charge, line.amount
                ));
            }
        }
        said
    }

    async fn plan(&self) -> String {
        organizations::get(&self.scratch.store, "org_a").await.unwrap().unwrap().plan
    }

    pub(crate) async fn status(&self) -> OrganizationStatus {
        let found = organizations::search(&self.scratch.store, "org_a", 9).await.unwrap();
        found[0].status
    }
}

fn start(plan: &str) -> Act {
    Act::Start { plan: plan.to_owned(), seats: 1, trial: true, starts_on: None }
}

fn change(plan: &str, when: When) -> Act {
    Act::Change { plan: plan.to_owned(), seats: None, when }
}

mod customer_months;
mod repeated;
