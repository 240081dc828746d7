//! Learns once a day who is likely to leave.

use std::{collections::BTreeMap, time::Duration};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Date32Type, Float64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use forecast::churn::ChurnError;
use query::{QueryError, Request, RowAccess};
use reports::churn::{BillingFact, Facts, Used, assess};
use serde_json::{Value, json};
use state::{
    jobs::{JobError, JobKind, Repeat},
    store::StoreError,
};

use super::found::{self, Found};
use crate::{Lake, as_of::CutCipher};

const EVERY: Duration = Duration::from_secs(86_400);
/// The first time after a start waits for the anomalies, and for those who open pages.
const FIRST: TimeDelta = TimeDelta::seconds(45);
const AGAIN: Duration = Duration::from_secs(600);
/// Nobody waits for it.
const DEADLINE_MS: u64 = 600_000;
/// Days of usage that are read: twelve months, the quarter before them, and the month that they foretell.
const DAYS: i64 = 12 * 30 + 91 + 30;

pub(super) fn register(lake: &Lake) {
    let looking = lake.clone();
    let kind = JobKind { backoff: |_| Some(AGAIN), ..JobKind::new("churn") };
    let first = lake.state.clock.now() + FIRST;
    lake.state.jobs.repeat_from(kind, Repeat::Every(EVERY), AGAIN, first, move |_| {
        let lake = looking.clone();
        async move { Box::pin(look(&lake)).await.map_err(|error| JobError::of(&error)) }
    });
}

#[derive(Debug, thiserror::Error)]
enum ChurnJobError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Model(#[from] ChurnError),
    #[error("an answer has no column `{0}` of the expected type")]
    Column(&'static str),
    #[error("it was cut off")]
    Stopped,
}

async fn look(lake: &Lake) -> Result<Value, ChurnJobError> {
    let now = lake.state.clock.now();
    let today = now.date_naive();
    let cut = lake.lakehouse.cut();
    // Only staff see what is found.
    let as_of = CutCipher::for_staff(&cut);
    let ask = async |sql: String| -> Result<Vec<RecordBatch>, QueryError> {
        let (reach, now) = (RowAccess::Staff, now.timestamp_micros());
        let request = Request::of_ourselves(sql, reach, cut.clone(), now, DEADLINE_MS);
        Ok(lake.engine.run(request).await?.batches)
    };
    let since = today - TimeDelta::days(DAYS);
    let usage = ask(format!(
        "SELECT organization_id, event_date, currency, CAST(count(*) AS DOUBLE) AS requests, \
         CAST(count(*) FILTER (WHERE status_code >= 400) AS DOUBLE) AS errors, \
         CAST(coalesce(sum(list_price), 0) AS DOUBLE) AS spend \
         FROM usage_events WHERE event_date >= DATE '{since}' AND event_date < DATE '{today}' \
         GROUP BY organization_id, event_date, currency"
    ))
    .await?;
    let billing = ask(format!(
        "SELECT organization_id, occurred_at, kind, plan, CAST(quantity AS DOUBLE) AS quantity \
         FROM billing_events WHERE event_date < DATE '{today}'"
    ))
    .await?;
    let movements = ask(format!(
        "SELECT organization_id, occurred_at, currency, CAST(change AS DOUBLE) AS change \
         FROM mrr_movements WHERE occurred_at < TIMESTAMP '{today}T00:00:00Z'"
    ))
    .await?;
    let names = ask("SELECT organization_id, name FROM organizations".to_owned()).await?;
    let made = tokio::task::spawn_blocking(move || -> Result<Found, ChurnJobError> {
        let mut facts = Facts::default();
        usage.iter().try_for_each(|batch| add_usage(&mut facts, batch))?;
        billing.iter().try_for_each(|batch| add_billing(&mut facts, batch))?;
        movements.iter().try_for_each(|batch| add_movements(&mut facts, batch))?;
        facts.sort();
        let mut known = BTreeMap::new();
        names.iter().try_for_each(|batch| add_names(&mut known, batch))?;
        match assess(&facts, today) {
            Ok(assessment) => Ok(Found::of(assessment, |id| known.get(id).cloned())),
            Err(ChurnError::TooFew { what, kind, .. }) => Ok(Found::refused(kind, what)),
            Err(error) => Err(error.into()),
        }
    });
    let found = made.await.map_err(|_| ChurnJobError::Stopped)??;
    let write = lake.state.store.write().await?;
    found::keep(&write, &found, as_of, now).await?;
    write.commit().await?;
    Ok(json!({"customers": found.risks.len(), "learned": found.learned, "left": found.left}))
}

/// A column of texts.
fn texts(
    batch: &RecordBatch,
    name: &'static str,
) -> Result<impl Fn(usize) -> Option<String>, ChurnJobError> {
    let column = batch.column_by_name(name).ok_or(ChurnJobError::Column(name))?;
    let texts = cast(column, &DataType::Utf8).map_err(|_| ChurnJobError::Column(name))?;
    Ok(move |row: usize| {
        let texts = texts.as_string::<i32>();
        (!texts.is_null(row)).then(|| texts.value(row).to_owned())
    })
}

fn numbers<'a>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<impl Fn(usize) -> Option<f64> + 'a, ChurnJobError> {
    let column = batch.column_by_name(name);
    let numbers = column.and_then(|column| column.as_primitive_opt::<Float64Type>());
    let numbers = numbers.ok_or(ChurnJobError::Column(name))?;
    Ok(move |row: usize| (!numbers.is_null(row)).then(|| numbers.value(row)))
}

fn times<'a>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<impl Fn(usize) -> Option<DateTime<Utc>> + 'a, ChurnJobError> {
    let column = batch.column_by_name(name);
    let times = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.ok_or(ChurnJobError::Column(name))?;
    Ok(move |row: usize| DateTime::from_timestamp_micros(times.value(row)))
}

fn add_usage(facts: &mut Facts, batch: &RecordBatch) -> Result<(), ChurnJobError> {
    let (organization, currency) = (texts(batch, "organization_id")?, texts(batch, "currency")?);
    let days = batch.column_by_name("event_date");
    let days = days.and_then(|column| column.as_primitive_opt::<Date32Type>());
    let days = days.ok_or(ChurnJobError::Column("event_date"))?;
    let (requests, errors, spend) =
        (numbers(batch, "requests")?, numbers(batch, "errors")?, numbers(batch, "spend")?);
    let day_of = |row: usize| -> Option<NaiveDate> { NaiveDate::from_epoch_days(days.value(row)) };
    for row in 0..batch.num_rows() {
        let (Some(name), Some(day)) = (organization(row), day_of(row)) else { continue };
        let of = |number: Option<f64>| number.unwrap_or_default();
        let used =
            Used { requests: of(requests(row)), errors: of(errors(row)), spend: of(spend(row)) };
        facts.use_day(&name, day, used, currency(row).as_deref());
    }
    Ok(())
}

fn add_billing(facts: &mut Facts, batch: &RecordBatch) -> Result<(), ChurnJobError> {
    let (organization, kind, plan) =
        (texts(batch, "organization_id")?, texts(batch, "kind")?, texts(batch, "plan")?);
    let (at, quantity) = (times(batch, "occurred_at")?, numbers(batch, "quantity")?);
    for row in 0..batch.num_rows() {
        let (Some(name), Some(at), Some(kind)) = (organization(row), at(row), kind(row)) else {
            continue;
        };
        let fact = BillingFact { at, kind, plan: plan(row), quantity: quantity(row) };
        facts.bill(&name, fact);
    }
    Ok(())
}

fn add_movements(facts: &mut Facts, batch: &RecordBatch) -> Result<(), ChurnJobError> {
    let (organization, currency) = (texts(batch, "organization_id")?, texts(batch, "currency")?);
    let (at, change) = (times(batch, "occurred_at")?, numbers(batch, "change")?);
    for row in 0..batch.num_rows() {
        let (Some(name), Some(at), Some(change)) = (organization(row), at(row), change(row)) else {
            continue;
        };
        facts.pay(&name, at, change, currency(row).as_deref());
    }
    Ok(())
}

fn add_names(
    known: &mut BTreeMap<String, String>,
    batch: &RecordBatch,
) -> Result<(), ChurnJobError> {
    let (organization, name) = (texts(batch, "organization_id")?, texts(batch, "name")?);
    for row in 0..batch.num_rows() {
        if let (Some(id), Some(name)) = (organization(row), name(row)) {
            known.insert(id, name);
        }
    }
    Ok(())
}
