//! One request of events on its way: unpacked, decoded, logged, and answered.

use bytes::Bytes;
use ingest::{
    OrganizationId, Rejection, RejectionCode, Verdict,
    decode::{self, Batch, Coding, Form, Malformed, Sender},
    intake::{Refused, Settled, Submission},
    time::Window,
};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::{Admission, Lakehouse, count};
use crate::Error;

/// A request of events, as it came in.
#[derive(Debug)]
pub struct Delivery {
    pub form: Form,
    pub coding: Coding,
    /// The members of an event whose data is the body.
    pub members: Option<Map<String, Value>>,
    pub body: Bytes,
    /// The most bytes after decompression.
    pub bytes_max: usize,
    /// The organization of an organization's own key.
    pub organization: Option<OrganizationId>,
    /// Whether its events may be of any age.
    pub is_history: bool,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Each event has its verdict, in order.
    Settled(Vec<Verdict>),
    /// The body as a whole was not readable.
    Malformed(Malformed),
    /// Nothing was written; the sender may try again.
    Refused(Refused),
}

/// A request that was decoded, before it is in the log.
struct Decoded {
    text: Bytes,
    events: u32,
    rejected: Vec<(u32, Rejection)>,
    submission: Submission,
    admission: Admission,
}

impl Delivery {
    /// Bulk history of the platform's own: one event per line.
    pub fn of_history(body: Bytes) -> Self {
        Self {
            form: Form::Ndjson,
            coding: Coding::Identity,
            members: None,
            bytes_max: body.len(),
            body,
            organization: None,
            is_history: true,
        }
    }

    fn text(&self) -> Result<Bytes, Malformed> {
        let unpacked = match self.coding {
            Coding::Identity if self.body.len() <= self.bytes_max => self.body.clone(),
            coding => coding.unpack(&self.body, self.bytes_max)?.into_owned().into(),
        };
        match &self.members {
            Some(members) => decode::enclose(members, &unpacked).map(Bytes::from),
            None => Ok(unpacked),
        }
    }
}

impl Lakehouse {
    /// Decodes, checks and stores a request of events. Returns once every accepted one is on the disk.
    pub async fn take_in(
        &self,
        admission: Admission,
        delivery: Delivery,
    ) -> Result<Outcome, Error> {
        let (form, owner) = (delivery.form, delivery.organization.clone());
        let permit = self.decoding.acquire().await.map_err(|_| Error::Stopped)?;
        let lakehouse = self.clone();
        let decoding = move || lakehouse.decode(admission, &delivery);
        let decoded = tokio::task::spawn_blocking(decoding).await.map_err(|_| Error::Stopped)??;
        drop(permit);
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(outcome) => return Ok(outcome),
        };
        let settled = match self.settle(decoded.submission).await? {
            Ok(settled) => settled,
            Err(refused) => {
                count::refused(refused);
                return Ok(Outcome::Refused(refused));
            }
        };
        let mut verdicts = vec![Verdict::Accepted; decoded.events as usize];
        let rejected =
            decoded.rejected.into_iter().map(|(index, why)| (index, Verdict::Rejected(why)));
        let mut conflicts = Vec::new();
        for (index, verdict) in rejected.chain(settled) {
            if let Verdict::Rejected(why) = &verdict
                && why.code == RejectionCode::IdConflict
            {
                conflicts.push((index, why.clone()));
            }
            verdicts[index as usize] = verdict;
        }
        if !conflicts.is_empty() {
            self.keep_conflicts(form, &decoded.text, owner.as_ref(), &conflicts).await?;
        }
        drop(decoded.admission);
        count::verdicts(&verdicts);
        Ok(Outcome::Settled(verdicts))
    }

    /// Stores rows that are not events of a request: changes of dimensions. Known ones are left out.
    pub async fn store(&self, batches: Vec<Batch>) -> Result<Result<(), Refused>, Error> {
        let submission = self.intake.probe(batches, (self.settings.clock)())?;
        Ok(self.settle(submission).await?.map(drop))
    }

    /// Stores rows that are only true together: all of them, or none.
    pub(crate) async fn store_together(
        &self,
        batches: Vec<Batch>,
    ) -> Result<Result<Settled, Refused>, Error> {
        let submission = self.intake.probe(batches, (self.settings.clock)())?;
        self.settle(Submission { together: true, ..submission }).await
    }

    /// Work for a thread of its own: it takes as long as the body is large.
    fn decode(
        &self,
        mut admission: Admission,
        delivery: &Delivery,
    ) -> Result<Result<Decoded, Outcome>, Error> {
        let text = match delivery.text() {
            Ok(text) => text,
            Err(malformed) => return Ok(Err(Outcome::Malformed(malformed))),
        };
        if delivery.coding != Coding::Identity
            && let Err(refused) = admission.grow(text.len())
        {
            count::refused(refused);
            return Ok(Err(Outcome::Refused(refused)));
        }
        let received_at = (self.settings.clock)();
        let window = Window::at(received_at);
        let sender = Sender {
            organization: delivery.organization.as_ref(),
            pseudonyms: &self.settings.pseudonyms,
            window: if delivery.is_history { window.with_history() } else { window },
        };
        let decoded = match decode::decode(delivery.form, &text, &sender, received_at)? {
            Ok(decoded) => decoded,
            Err(malformed) => return Ok(Err(Outcome::Malformed(malformed))),
        };
        let submission = self.intake.probe(decoded.batches, received_at)?;
        let (events, rejected) = (decoded.events, decoded.rejected);
        Ok(Ok(Decoded { text, events, rejected, submission, admission }))
    }

    pub(super) async fn settle(
        &self,
        submission: Submission,
    ) -> Result<Result<Settled, Refused>, Error> {
        let (sender, receiver) = oneshot::channel();
        self.intake.submit(
            submission,
            Box::new(move |settled| {
                // A client that went away does not need its answer.
                let _ = sender.send(settled);
            }),
        );
        receiver.await.map_err(|_| Error::Stopped)
    }

    /// An identity with other content is only found at the log: its dead letter follows.
    async fn keep_conflicts(
        &self,
        form: Form,
        body: &Bytes,
        owner: Option<&OrganizationId>,
        conflicts: &[(u32, Rejection)],
    ) -> Result<(), Error> {
        let text = std::str::from_utf8(body).unwrap_or_default();
        let Ok(events) = decode::split(form, text) else { return Ok(()) };
        let conflicts: Vec<_> = conflicts
            .iter()
            .filter_map(|(index, why)| {
                let event = *events.get(*index as usize)?;
                let owner = owner.map(ToString::to_string).or_else(|| decode::subject(event));
                Some((owner, why, event))
            })
            .collect();
        let letters = conflicts.iter().map(|(owner, why, event)| (owner.as_deref(), *why, *event));
        let batch = decode::dead_letters(letters, (self.settings.clock)())?;
        if let Err(refused) = self.store(batch.into_iter().collect()).await? {
            tracing::warn!(%refused, "conflicting events were answered, but not kept as dead letters");
        }
        Ok(())
    }
}
