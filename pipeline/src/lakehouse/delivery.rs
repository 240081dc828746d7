//! Events on their way, as a request or as rows of a file: unpacked, decoded, logged, and answered.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use ingest::{
    Grant, OrganizationId, Rejection, Verdict, Warning,
    decode::{
        self, Batch, Coding, Decoded, EventFormat, Malformed, SENT_BY_PLATFORM, Sender,
        correction::enter_again,
    },
    erasure::Lookup,
    identity::Key,
    intake::{FilteredSubmission, Refused, RowVerdicts, Submission},
    mapping::{FileRows, Mapping},
    names::Vocabulary,
    time::Window,
};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::{Admission, Lakehouse, count};
use crate::Error;

/// A request of events, as it came in.
#[derive(Debug)]
pub struct Delivery {
    pub form: EventFormat,
    pub coding: Coding,
    /// The members of an event whose data is the body.
    pub members: Option<Map<String, Value>>,
    pub body: Bytes,
    /// The most bytes after decompression.
    pub bytes_max: usize,
    /// The organization of an organization's own key.
    pub organization: Option<OrganizationId>,
    /// What else the key may write.
    pub grant: Grant,
    /// Whether its events may be of any age.
    pub is_history: bool,
    /// Which of them are entered again.
    pub replaced: Option<ReplacedImport>,
    /// Whose names they use, if not ours.
    pub names: Option<&'static Vocabulary>,
    /// Whether a member of their data that is no column rejects them.
    pub is_strict: bool,
}

/// An import that was undone. What comes in its place with the identity of one of its events is a re-entry of it.
#[derive(Debug, Clone)]
pub struct ReplacedImport {
    pub import: String,
    pub keys: Arc<HashSet<Key>>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Each event has its verdict, in order. What is odd about those that are not rejected, by their places.
    Settled(Vec<Verdict>, Vec<(u32, Warning)>),
    /// The body as a whole was not readable.
    Malformed(Malformed),
    /// Nothing was written; the sender may try again.
    Refused(Refused),
}

/// Rows of a file that become events by a mapping: history of the platform's own.
#[derive(Debug)]
pub struct FileDelivery {
    pub mapping: Arc<Mapping>,
    /// Names the file in the ids of rows that have none.
    pub file: Arc<str>,
    pub rows: FileRows,
    pub replaced: Option<ReplacedImport>,
}

/// Events that were decoded, before they are in the log.
struct DecodedDelivery {
    texts: EventTexts,
    decoded: Decoded,
    sifted: FilteredSubmission,
    admission: Admission,
}

/// Where the text of an event is found again.
enum EventTexts {
    Body { form: EventFormat, body: Bytes, owner: Option<OrganizationId>, sender: &'static str },
    File(FileDelivery),
}

impl Delivery {
    /// Bulk history of the platform's own: one event per line.
    pub fn of_history(body: Bytes) -> Self {
        Self {
            form: EventFormat::Ndjson,
            coding: Coding::Identity,
            members: None,
            bytes_max: body.len(),
            body,
            organization: None,
            grant: Grant::ALL,
            is_history: true,
            replaced: None,
            names: None,
            is_strict: false,
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

/// A body with our names.
fn named(names: &Vocabulary, form: EventFormat, body: &[u8]) -> Result<Bytes, Malformed> {
    let text = std::str::from_utf8(body);
    let text = text.map_err(|error| Malformed::Encoding(error.valid_up_to()))?;
    Ok(names.translate(&decode::split(form, text)?).into())
}

impl ReplacedImport {
    /// Makes re-entries of what was there before.
    fn enter_again(replaced: Option<&Self>, batches: Vec<Batch>) -> Result<Vec<Batch>, Error> {
        let Some(Self { import, keys }) = replaced else { return Ok(batches) };
        let again = batches.into_iter().map(|batch| enter_again(batch, keys, import));
        Ok(again.collect::<Result<_, _>>()?)
    }
}

impl EventTexts {
    /// Whose key sent them, as dead letters name it.
    fn sender(&self) -> &'static str {
        match self {
            Self::Body { sender, .. } => sender,
            Self::File(_) => SENT_BY_PLATFORM,
        }
    }

    /// The organizations and the texts of some events, by their places.
    fn pick(&self, places: &[u32]) -> Vec<(Option<String>, String)> {
        let text = |event: &str| (decode::subject(event), event.to_owned());
        match self {
            Self::Body { form, body, owner, .. } => {
                let body = std::str::from_utf8(body).unwrap_or_default();
                let events = decode::split(*form, body).unwrap_or_default();
                let event = |place: &u32| events.get(*place as usize).copied().unwrap_or_default();
                let owned =
                    |(named, text)| (owner.as_ref().map(ToString::to_string).or(named), text);
                places.iter().map(event).map(text).map(owned).collect()
            }
            Self::File(FileDelivery { mapping, file, rows, .. }) => {
                let event = |place: &u32| decode::file_event(mapping, rows, file, *place as usize);
                places.iter().map(event).map(|event| text(&event)).collect()
            }
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
        self.arrive(move |lakehouse| lakehouse.decode(admission, &delivery)).await
    }

    /// The same for rows of a file.
    pub async fn take_in_file(
        &self,
        admission: Admission,
        delivery: FileDelivery,
    ) -> Result<Outcome, Error> {
        self.arrive(move |lakehouse| {
            let received_at = (lakehouse.settings.clock)();
            let sender = Sender {
                organization: None,
                grant: &Grant::ALL,
                pseudonyms: &lakehouse.settings.pseudonyms,
                window: Window::at(received_at).with_history(),
                is_strict: false,
            };
            let FileDelivery { mapping, file, rows, replaced } = &delivery;
            let mut decoded = decode::decode_file(mapping, rows, file, &sender, received_at)?;
            let batches = std::mem::take(&mut decoded.batches);
            let batches = ReplacedImport::enter_again(replaced.as_ref(), batches)?;
            let sifted = lakehouse.intake.check_filter(batches);
            Ok(Ok(DecodedDelivery {
                texts: EventTexts::File(delivery),
                decoded,
                sifted,
                admission,
            }))
        })
        .await
    }

    async fn arrive(
        &self,
        decode: impl FnOnce(&Self) -> Result<Result<DecodedDelivery, Outcome>, Error> + Send + 'static,
    ) -> Result<Outcome, Error> {
        let _under_way = self.under_way.read().await;
        let lakehouse = self.clone();
        let arrived = self.decoders.run(move || decode(&lakehouse)).await??;
        let DecodedDelivery { texts, decoded, sifted, admission } = match arrived {
            Ok(arrived) => arrived,
            Err(outcome) => return Ok(outcome),
        };
        let probed = self.look_up(sifted).await?;
        let settled = match self.settle(probed).await? {
            Ok(settled) => settled,
            Err(refused) => {
                count::refused(refused);
                return Ok(Outcome::Refused(refused));
            }
        };
        let mut verdicts = vec![Verdict::Accepted; decoded.events as usize];
        let rejected =
            decoded.rejected.into_iter().map(|(index, why)| (index, Verdict::Rejected(why)));
        for (index, verdict) in rejected {
            verdicts[index as usize] = verdict;
        }
        let mut late = Vec::new();
        for (index, verdict) in settled {
            if let Verdict::Rejected(why) = &verdict {
                late.push((index, why.clone()));
            }
            verdicts[index as usize] = verdict;
        }
        if !late.is_empty() {
            self.keep_late(&texts, &late).await?;
        }
        drop(admission);
        self.shared.accepted.fetch_add(count::verdicts(&verdicts), Ordering::AcqRel);
        Ok(Outcome::Settled(verdicts, decoded.warnings))
    }

    /// Whoever waits for the index keeps nobody from decoding.
    async fn look_up(&self, sifted: FilteredSubmission) -> Result<Submission, Error> {
        let intake = self.intake.clone();
        if !sifted.is_doubtful() {
            return Ok(intake.look_up(sifted)?);
        }
        let looked_up = tokio::task::spawn_blocking(move || intake.look_up(sifted)).await;
        Ok(looked_up.map_err(|_| Error::Stopped)??)
    }

    /// Stores rows that are not events of a request: changes of dimensions, and events of our own. Known ones are left
    /// out.
    pub async fn store(&self, batches: Vec<Batch>) -> Result<Result<(), Refused>, Error> {
        Ok(self.store_changes(batches, false).await?.map(drop))
    }

    /// Stores rows that were made of stored ones. `together`: they are only true together, so all of them are stored,
    /// or none.
    pub(crate) async fn store_changes(
        &self,
        mut batches: Vec<Batch>,
        together: bool,
    ) -> Result<Result<RowVerdicts, Refused>, Error> {
        let _under_way = self.under_way.read().await;
        // The rows were made before: a person of theirs may be erased by now.
        let erased = Lookup::new(self.pseudonyms());
        for batch in &mut batches {
            let without = erased.erase(batch.table, &batch.rows);
            if let Some((rows, _)) = without.map_err(Error::arrow(batch.table))? {
                batch.rows = rows;
            }
        }
        let submission = self.intake.probe(batches)?;
        self.settle(Submission { together, ..submission }).await
    }

    /// Work for a thread of its own: it takes as long as the body is large.
    fn decode(
        &self,
        mut admission: Admission,
        delivery: &Delivery,
    ) -> Result<Result<DecodedDelivery, Outcome>, Error> {
        let body = match delivery.text() {
            Ok(text) => text,
            Err(malformed) => return Ok(Err(Outcome::Malformed(malformed))),
        };
        if delivery.coding != Coding::Identity
            && let Err(refused) = admission.grow(body.len())
        {
            count::refused(refused);
            return Ok(Err(Outcome::Refused(refused)));
        }
        let received_at = (self.settings.clock)();
        let window = Window::at(received_at);
        let sender = Sender {
            organization: delivery.organization.as_ref(),
            grant: &delivery.grant,
            pseudonyms: &self.settings.pseudonyms,
            window: if delivery.is_history { window.with_history() } else { window },
            is_strict: delivery.is_strict,
        };
        let (kind, threads) = (sender.kind(), 1 + self.decoders.idle());
        let (form, body) = match delivery.names {
            Some(names) => match named(names, delivery.form, &body) {
                Ok(body) => (Vocabulary::TRANSLATED, body),
                Err(malformed) => return Ok(Err(Outcome::Malformed(malformed))),
            },
            None => (delivery.form, body),
        };
        let decoded = decode::decode_on(threads, form, &body, &sender, received_at)?;
        let mut decoded = match decoded {
            Ok(decoded) => decoded,
            Err(malformed) => return Ok(Err(Outcome::Malformed(malformed))),
        };
        let batches = std::mem::take(&mut decoded.batches);
        let batches = ReplacedImport::enter_again(delivery.replaced.as_ref(), batches)?;
        let sifted = self.intake.check_filter(batches);
        let owner = delivery.organization.clone();
        Ok(Ok(DecodedDelivery {
            texts: EventTexts::Body { form, body, owner, sender: kind },
            decoded,
            sifted,
            admission,
        }))
    }

    pub(super) async fn settle(
        &self,
        submission: Submission,
    ) -> Result<Result<RowVerdicts, Refused>, Error> {
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

    /// What is only found at the log, such as an identity with other content: its dead letter follows.
    async fn keep_late(&self, texts: &EventTexts, late: &[(u32, Rejection)]) -> Result<(), Error> {
        let places: Vec<_> = late.iter().map(|(place, _)| *place).collect();
        let events = texts.pick(&places);
        let letters = events
            .iter()
            .zip(late)
            .map(|((owner, event), (_, why))| (owner.as_deref(), why, event.as_str()));
        let now = (self.settings.clock)();
        let batch = decode::dead_letters(letters, texts.sender(), now, &self.settings.pseudonyms)?;
        if let Err(refused) = self.store(batch.into_iter().collect()).await? {
            tracing::warn!(%refused, "rejected events were answered, but not kept as dead letters");
        }
        Ok(())
    }
}
