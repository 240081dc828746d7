//! The job of an attempt: it calls the endpoint, and writes down what came of it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::Expr,
};
use serde_json::{Value, json};
use state::{
    jobs::{self, Job, JobError, JobKind, JobResult, Repeat},
    store::{StoreContext, StoreError, Write},
};

use super::{
    endpoint, log,
    publish::{JOB, job},
    row,
    schedule::{Answered, FAILING_MAX, Verdict, verdict},
};
use crate::{Courier, HookAddress, hook};

/// Attempts at once, of all and of one organization: some that stall hold up nobody else. One that waits costs a connection.
const PARALLEL: usize = 96;
const PARALLEL_OF_ONE: usize = 4;
/// What waits without anybody who would take it is looked for so often: after a restart.
const UNPARK_EVERY: Duration = Duration::from_secs(10);
const FORGET_EVERY: Duration = Duration::from_secs(6 * 3_600);

const ATTEMPTS: &str = "webhook_attempts_total";

/// The attempts that are under way, by organization.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<HashMap<String, HashSet<String>>>);

/// One of them; it ends when it is dropped.
struct Place<'a>(&'a UnderWay, String, String);

impl UnderWay {
    fn enter(&self, organization_id: &str, delivery_id: &str) -> Option<Place<'_>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.entry(organization_id.to_owned()).or_default();
        if own.len() >= PARALLEL_OF_ONE || !own.insert(delivery_id.to_owned()) {
            return None;
        }
        Some(Place(self, organization_id.to_owned(), delivery_id.to_owned()))
    }

    fn count(&self, organization_id: &str) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(organization_id).map_or(0, HashSet::len)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut all = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(&self.1) {
            own.remove(&self.2);
            if own.is_empty() {
                all.remove(&self.1);
            }
        }
    }
}

pub(super) fn register(courier: &Courier) {
    // After a failure of the database the attempt is made again; failures of the other side are no failures of the job.
    let kind = JobKind {
        parallel: PARALLEL,
        backoff: |_| Some(Duration::from_secs(5)),
        attempts_max: u32::MAX,
        ..JobKind::new(JOB)
    };
    let sending = courier.clone();
    courier.state.jobs.handle(kind, move |job| {
        let courier = sending.clone();
        async move { Box::pin(courier.attempt(&job)).await }
    });
    let unparking = courier.clone();
    let kind = JobKind::new("webhook_waiting");
    courier.state.jobs.repeat(kind, Repeat::Every(UNPARK_EVERY), UNPARK_EVERY, move |_| {
        let courier = unparking.clone();
        async move {
            courier.unpark_idle().await.map_err(|error| JobError::of(&error))?;
            Ok(Value::Null)
        }
    });
    let state = courier.state.clone();
    let tidy = JobKind::new("webhook_tidy");
    courier.state.jobs.repeat(tidy, Repeat::Every(FORGET_EVERY), FORGET_EVERY, move |_| {
        let state = state.clone();
        async move {
            log::forget(&state.store, state.clock.now()).await.map_err(|e| JobError::of(&e))?;
            Ok(Value::Null)
        }
    });
}

/// What is sent, and where to.
struct Call {
    delivery: row::delivery::Model,
    endpoint: row::endpoint::Model,
    body: String,
}

impl Courier {
    async fn attempt(&self, job: &Job) -> JobResult {
        let id = job.payload["delivery_id"].as_str().unwrap_or_default();
        let attempt = job.payload["attempt"].as_i64().unwrap_or_default();
        let failed = |error: StoreError| JobError::of(&error);
        let found = self.to_call(id).await.map_err(failed)?;
        // It was made by another process that did not come to note its job, or is not wanted any more.
        let Some(call) = found.filter(|call| i64::from(call.delivery.attempts) + 1 == attempt)
        else {
            return Ok(json!({"delivery_id": id, "sent": false}));
        };
        let organization_id = &call.endpoint.organization_id;
        let Some(place) = self.webhooks_under_way.enter(organization_id, id) else {
            // The end of another attempt of the organization takes it from there.
            let write = self.state.store.write().await.map_err(failed)?;
            park(&write, id, true).await.map_err(failed)?;
            // The last one may have ended before the lock was ours.
            if self.webhooks_under_way.count(organization_id) < PARALLEL_OF_ONE {
                let now = self.state.clock.now();
                unpark(&write, organization_id, 1, now).await.map_err(failed)?;
            }
            write.commit().await.map_err(failed)?;
            return Ok(Value::Null);
        };
        let (began_at, begun) = (self.state.clock.now(), Instant::now());
        let (answered, answer, error) =
            self.call_endpoint(&call, began_at).await.map_err(failed)?;
        let duration = i32::try_from(begun.elapsed().as_millis()).unwrap_or(i32::MAX);
        let attempt = row::attempt::ActiveModel {
            delivery_id: Set(id.to_owned()),
            attempt: Set(call.delivery.attempts + 1),
            began_at: Set(began_at.timestamp_micros()),
            duration_ms: Set(duration),
            // One that is off was not called.
            status: Set(answered.status.filter(|_| call.endpoint.enabled).map(i32::from)),
            answer: Set(answer),
            error: Set(error),
        };
        let round = (call.delivery.round + 1).unsigned_abs();
        let verdict = verdict(round, answered, rand::random());
        // Before what waits is taken up: it finds the place free.
        drop(place);
        self.note_attempt(&call, attempt, verdict).await.map_err(failed)?;
        self.state.jobs.wake();
        let label = match verdict {
            Verdict::Arrived => "sent",
            Verdict::Again(_) => "again",
            Verdict::Gone | Verdict::GivenUp => "failed",
        };
        metrics::counter!(ATTEMPTS, "result" => label).increment(1);
        Ok(json!({"delivery_id": id, "sent": verdict == Verdict::Arrived}))
    }

    async fn to_call(&self, delivery_id: &str) -> Result<Option<Call>, StoreError> {
        let db = self.state.store.db();
        let found = row::delivery::Entity::find_by_id(delivery_id).one(db).await;
        let found = found.doing("taking a delivery")?.filter(|row| row.state == "queued");
        let Some(delivery) = found else { return Ok(None) };
        let endpoint =
            row::endpoint::Entity::find_by_id(delivery.webhook_id.as_str()).one(db).await;
        let message = row::message::Entity::find_by_id(delivery.message_id.as_str()).one(db).await;
        let (endpoint, message) =
            (endpoint.doing("reading a webhook")?, message.doing("reading a message")?);
        Ok(endpoint.zip(message).map(|(endpoint, message)| Call {
            delivery,
            endpoint,
            body: message.body,
        }))
    }

    /// Calls the endpoint: the answer, its beginning, and what is wrong with it.
    async fn call_endpoint(
        &self,
        call: &Call,
        now: DateTime<Utc>,
    ) -> Result<(Answered, Option<String>, Option<String>), StoreError> {
        let none = Answered { status: None, retry_after: None };
        if !call.endpoint.enabled {
            return Ok((
                Answered { status: Some(410), ..none },
                None,
                Some("the webhook is off".into()),
            ));
        }
        let secrets = match endpoint::secrets(&self.vault, &call.endpoint, now) {
            // It is no fault of the database that passes: the attempt has failed.
            Err(error @ StoreError::Damaged { .. }) => {
                return Ok((none, None, Some(error.to_string())));
            }
            secrets => secrets?,
        };
        let (id, timestamp) = (call.delivery.message_id.as_str(), now.timestamp());
        let signatures: Vec<_> =
            secrets.iter().map(|secret| secret.sign(id, timestamp, &call.body)).collect();
        let address = match HookAddress::parse(&call.endpoint.url, &self.hooks) {
            Ok(address) => address,
            Err(reason) => return Ok((none, None, Some(reason))),
        };
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ];
        Ok(match hook::post(&address, &headers, call.body.clone(), &self.hooks).await {
            Ok(posted) => {
                let error = (!(200..300).contains(&posted.status))
                    .then(|| format!("the other side answered {}", posted.status));
                let answered =
                    Answered { status: Some(posted.status), retry_after: posted.retry_after };
                (answered, Some(posted.said), error)
            }
            Err(error) => (none, None, Some(error.reason)),
        })
    }

    /// Writes down an attempt and what follows from it, in one transaction.
    async fn note_attempt(
        &self,
        call: &Call,
        attempt: row::attempt::ActiveModel,
        verdict: Verdict,
    ) -> Result<(), StoreError> {
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        let next = match verdict {
            Verdict::Again(pause) => TimeDelta::from_std(pause).ok().map(|pause| now + pause),
            _ => None,
        };
        let state = match verdict {
            Verdict::Arrived => "sent",
            Verdict::Again(_) => "queued",
            Verdict::Gone | Verdict::GivenUp => "failed",
        };
        let attempts = call.delivery.attempts + 1;
        let updated = row::delivery::Entity::update_many()
            .col_expr(row::delivery::Column::State, Expr::value(state))
            .col_expr(row::delivery::Column::Attempts, Expr::value(attempts))
            .col_expr(row::delivery::Column::Round, Expr::value(call.delivery.round + 1))
            .col_expr(
                row::delivery::Column::NextAt,
                Expr::value(next.map(|at| at.timestamp_micros())),
            )
            .filter(row::delivery::Column::DeliveryId.eq(call.delivery.delivery_id.as_str()))
            .exec(write.db())
            .await
            .doing("writing down how a delivery went")?;
        let is_there = updated.rows_affected > 0;
        // Else the endpoint was removed meanwhile.
        if is_there {
            let added = row::attempt::Entity::insert(attempt);
            added.exec_without_returning(write.db()).await.doing("writing down an attempt")?;
            stand(&write, &call.endpoint, verdict, now).await?;
        }
        if let Some(at) = next.filter(|_| is_there) {
            jobs::enqueue(&write, &job(&call.delivery.delivery_id, attempts + 1, at), now).await?;
        }
        unpark(&write, &call.endpoint.organization_id, 1, now).await?;
        write.commit().await
    }
}

impl Courier {
    /// Takes up what waits for organizations that have nothing under way.
    async fn unpark_idle(&self) -> Result<(), StoreError> {
        let waiting = row::delivery::Entity::find()
            .select_only()
            .column(row::delivery::Column::WebhookId)
            .filter(row::delivery::Column::Parked.eq(true))
            .distinct()
            .into_query();
        let organizations: Vec<String> = row::endpoint::Entity::find()
            .select_only()
            .column(row::endpoint::Column::OrganizationId)
            .filter(row::endpoint::Column::WebhookId.in_subquery(waiting))
            .distinct()
            .into_tuple()
            .all(self.state.store.db())
            .await
            .doing("looking for deliveries that wait")?;
        for organization_id in organizations {
            if self.webhooks_under_way.count(&organization_id) == 0 {
                let now = self.state.clock.now();
                let write = self.state.store.write().await?;
                unpark(&write, &organization_id, PARALLEL_OF_ONE as u64, now).await?;
                write.commit().await?;
            }
        }
        self.state.jobs.wake();
        Ok(())
    }
}

async fn park(write: &Write, delivery_id: &str, parked: bool) -> Result<(), StoreError> {
    row::delivery::Entity::update_many()
        .col_expr(row::delivery::Column::Parked, Expr::value(parked))
        .filter(row::delivery::Column::DeliveryId.eq(delivery_id))
        .exec(write.db())
        .await
        .doing("letting a delivery wait")?;
    Ok(())
}

/// Takes up the oldest deliveries of an organization that wait for a place.
async fn unpark(
    write: &Write,
    organization_id: &str,
    count: u64,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let own = row::endpoint::Entity::find()
        .select_only()
        .column(row::endpoint::Column::WebhookId)
        .filter(row::endpoint::Column::OrganizationId.eq(organization_id))
        .into_query();
    let waiting = row::delivery::Entity::find()
        .filter(row::delivery::Column::Parked.eq(true))
        .filter(row::delivery::Column::WebhookId.in_subquery(own))
        .order_by_asc(row::delivery::Column::CreatedAt)
        .limit(count)
        .all(write.db())
        .await
        .doing("looking for deliveries that wait")?;
    for delivery in waiting {
        park(write, &delivery.delivery_id, false).await?;
        jobs::enqueue(write, &job(&delivery.delivery_id, delivery.attempts + 1, now), now).await?;
    }
    Ok(())
}

/// How the endpoint stands after an attempt.
async fn stand(
    write: &Write,
    of: &row::endpoint::Model,
    verdict: Verdict,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let found = row::endpoint::Entity::find_by_id(of.webhook_id.as_str()).one(write.db()).await;
    let found = found.doing("reading a webhook")?;
    // The answer of another address, or of one that is off, says nothing of what is there now.
    let Some(found) = found.filter(|found| found.enabled && found.url == of.url) else {
        return Ok(());
    };
    let since = match (verdict, found.failing_since) {
        (Verdict::Arrived, None) => return Ok(()),
        (Verdict::Arrived, Some(_)) => None,
        (_, since) => Some(since.unwrap_or(now.timestamp_micros())),
    };
    let is_failing = since.is_some_and(|since| {
        now.timestamp_micros() - since >= FAILING_MAX.num_microseconds().unwrap_or(i64::MAX)
    });
    let off = match verdict {
        Verdict::Gone => Some(endpoint::GONE),
        _ if is_failing => Some(endpoint::FAILING),
        _ => None,
    };
    let mut update = row::endpoint::Entity::update_many()
        .col_expr(row::endpoint::Column::FailingSince, Expr::value(since));
    if let Some(reason) = off {
        update = update
            .col_expr(row::endpoint::Column::Enabled, Expr::value(false))
            .col_expr(row::endpoint::Column::Told, Expr::value(false))
            .col_expr(row::endpoint::Column::DisabledReason, Expr::value(reason));
    }
    update
        .filter(row::endpoint::Column::WebhookId.eq(of.webhook_id.as_str()))
        .exec(write.db())
        .await
        .doing("writing down how a webhook stands")?;
    Ok(())
}
