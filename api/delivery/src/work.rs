//! The job that sends a delivery.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use state::jobs::{Job, JobError, JobKind, JobResult, Repeat};

use crate::{
    Channel, Content, Courier, HookAddress, NewDelivery, Notice, Personal, SendError, archive,
    hook,
    mail::Envelope,
    outbox::{self, Attempt, JOB, Outcome},
};

/// The pauses after the first, the second … failed attempt: 24 hours in all.
const PAUSES_MINUTES: [u64; 10] = [1, 4, 10, 15, 30, 60, 120, 240, 480, 480];

/// How often what ended long ago is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(6 * 3_600);

fn pause(attempts: u32) -> Option<Duration> {
    let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
    PAUSES_MINUTES.get(index).map(|minutes| Duration::from_secs(minutes * 60))
}

const SENT: &str = "deliveries_total";

pub(crate) fn register(courier: &Courier) {
    let kind = JobKind {
        parallel: 4,
        backoff: pause,
        // Whatever it is that a mail server does, it does not end this process.
        attempts_max: u32::MAX,
        ..JobKind::new(JOB)
    };
    let sending = courier.clone();
    courier.state.jobs.handle(kind, move |job| {
        let courier = sending.clone();
        async move { courier.deliver(&job).await }
    });
    let state = courier.state.clone();
    let tidy = JobKind::new("delivery_tidy");
    courier.state.jobs.repeat(tidy, Repeat::Every(FORGET_EVERY), FORGET_EVERY, move |_| {
        let state = state.clone();
        async move {
            outbox::forget(&state.store, state.clock.now()).await.map_err(|e| JobError::of(&e))?;
            Ok(Value::Null)
        }
    });
}

impl Courier {
    async fn deliver(&self, job: &Job) -> JobResult {
        let store = &self.state.store;
        let id = job.payload["delivery_id"].as_str().unwrap_or_default();
        let begun = outbox::begin(store, id, self.state.clock.now()).await;
        let Some(attempt) = begun.map_err(|error| JobError::of(&error))? else {
            return Ok(json!({"delivery_id": id, "sent": false}));
        };
        let channel: &'static str = attempt.delivery.channel.into();
        let sent = self.send(&attempt).await;
        let now = self.state.clock.now();
        let next = sent.as_ref().err().filter(|error| !error.is_final).and_then(|_| {
            let pause = TimeDelta::from_std(pause(job.attempts)?).ok()?;
            now.checked_add_signed(pause)
        });
        let outcome = match (&sent, next) {
            (Ok(()), _) => Outcome::Sent,
            (Err(error), Some(at)) => Outcome::Again(error, at),
            (Err(error), None) => Outcome::Failed(error),
        };
        self.note(&attempt, &outcome).await.map_err(|error| JobError::of(&error))?;
        let label = match outcome {
            Outcome::Sent => "sent",
            Outcome::Again(..) => "again",
            Outcome::Failed(_) => "failed",
        };
        metrics::counter!(SENT, "channel" => channel, "result" => label).increment(1);
        match (sent, next) {
            (Ok(()), _) => Ok(json!({"delivery_id": id, "sent": true})),
            (Err(error), Some(_)) => Err(JobError::temporary(error.reason)),
            (Err(error), None) => Err(JobError::permanent(error.reason)),
        }
    }

    /// Writes down how an attempt ended, and tells who wants to know of a failure.
    async fn note(
        &self,
        attempt: &Attempt,
        outcome: &Outcome<'_>,
    ) -> Result<(), state::store::StoreError> {
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        outbox::end(&write, &attempt.delivery, outcome).await?;
        if let (Outcome::Failed(error), Some(notice)) = (outcome, &attempt.notice) {
            let (new, content) = failure(attempt, notice, error);
            outbox::enqueue(&write, &new, &content, now).await?;
        }
        write.commit().await
    }

    async fn send(&self, attempt: &Attempt) -> Result<(), SendError> {
        let Attempt { delivery, content, personal, .. } = attempt;
        let id = delivery.delivery_id.as_str();
        match delivery.channel {
            Channel::Mail => {
                let missing = || SendError::temporary("no mail server is configured: see `smtp`");
                let mailer = self.mailer.as_ref().ok_or_else(missing)?;
                let envelope = Envelope { id, to: &delivery.address, personal };
                mailer.send(content.clone(), &envelope).await
            }
            Channel::Webhook => self.call(&delivery.address, id, &content.json).await,
            Channel::Slack => {
                let content = content.clone().filled(personal);
                let text = format!("*{}*\n{}", content.subject, content.text);
                self.call(&delivery.address, id, &json!({"text": text})).await
            }
            Channel::Folder => {
                let missing = || SendError::temporary("no archive is configured: see `archive`");
                let archive = self.archive.as_ref().ok_or_else(missing)?;
                archive::write(archive, &delivery.address, content.clone()).await
            }
        }
    }

    async fn call(&self, address: &str, id: &str, body: &Value) -> Result<(), SendError> {
        let address = HookAddress::parse(address, &self.hooks).map_err(SendError::permanent)?;
        hook::call(&address, id, body, &self.hooks).await
    }
}

/// The mail that tells of a failure. Nobody is told when it fails itself.
fn failure(attempt: &Attempt, notice: &Notice, error: &SendError) -> (NewDelivery, Content) {
    let address = match attempt.delivery.channel {
        // The address of a webhook is a secret.
        Channel::Webhook | Channel::Slack => <&str>::from(attempt.delivery.channel).to_owned(),
        Channel::Mail | Channel::Folder => attempt.delivery.address.clone(),
    };
    let subject = format!("Not delivered · 未送达: {}", notice.subject);
    let text = format!(
        "To: {address}\nReason: {}\nAttempts: {}\n\n{}\n",
        error.reason,
        attempt.delivery.attempts + 1,
        notice.link,
    );
    let reference = format!("failure:{}", attempt.delivery.delivery_id);
    let new = NewDelivery {
        content_id: reference.clone(),
        reference,
        channel: Channel::Mail,
        address: notice.to.clone(),
        personal: Personal::new(),
        notice: None,
    };
    (new, Content { subject, text, ..Content::default() })
}

#[cfg(test)]
mod tests;
