//! Text to columns: JSON, NDJSON and CloudEvents are decoded, checked, and gathered into one Arrow batch per
//! table. A bad event never spoils its neighbors: it is named with its place, a code and a reason.

mod body;
pub mod correction;
mod data;
mod envelope;
mod mapped;
mod rows;
mod rules;

use std::collections::BTreeMap;

use arrow::record_batch::RecordBatch;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde_json::value::RawValue;

use crate::{
    Error, Grant, OrganizationId, Rejection, RejectionCode, Table, Warning,
    erasure::Lookup,
    identity::{Key, Pseudonyms},
    names,
    time::{Micros, Window},
};
pub use body::{Coding, enclose};
pub(crate) use data::text;
use envelope::Envelope;
pub use mapped::{decode_file, file_event, file_key};
use rows::{DeadLetters, Rows};
pub use rows::{SENT_BY_NARROWED, SENT_BY_ORGANIZATION, SENT_BY_PLATFORM};

/// The form that events arrive in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFormat {
    /// One JSON object, or an array of them: plain or CloudEvents, single or batch.
    Json,
    /// One JSON object per line.
    Ndjson,
}

/// What is known about the sender, beside the bytes.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// The organization of an organization's own key; `None` for the platform, which names one per event.
    pub organization: Option<&'a OrganizationId>,
    pub grant: &'a Grant,
    pub pseudonyms: &'a Pseudonyms,
    /// The times that its events may name.
    pub window: Window,
    /// Whether a member of `data` that is no column rejects an event.
    pub is_strict: bool,
}

impl Sender<'_> {
    /// How dead letters name it: who replays them must not lend it more than it had.
    pub fn kind(&self) -> &'static str {
        match self.organization {
            Some(_) => SENT_BY_ORGANIZATION,
            None if *self.grant == Grant::ALL => SENT_BY_PLATFORM,
            None => SENT_BY_NARROWED,
        }
    }
}

/// The most events that one request may hold.
pub const EVENTS_MAX: usize = 10_000;

/// The text as a whole is not what it claims to be; no event of it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the body is not valid UTF-8 (at byte {0})")]
    Encoding(usize),
    #[error("the body is not JSON: {0}")]
    Json(String),
    #[error("the body holds more than {EVENTS_MAX} events")]
    TooMany,
    #[error("the body holds no event")]
    Empty,
    #[error("the body is larger than {0} bytes after decompression")]
    TooLarge(usize),
    #[error("the body cannot be decompressed: {0}")]
    Compressed(String),
}

/// Of a body whose first line is JSON alone the others are events as well.
fn not_json(text: &str, error: &serde_json::Error) -> Malformed {
    let first = text.lines().next().unwrap_or_default();
    let are_lines = text.trim_end().lines().count() > 1
        && serde_json::from_str::<serde::de::IgnoredAny>(first).is_ok();
    Malformed::Json(match are_lines {
        true => format!("{error}; of one event per line the Content-Type is application/x-ndjson"),
        false => error.to_string(),
    })
}

/// Good rows of one table, in the order they came in.
#[derive(Debug)]
pub struct Batch {
    pub table: Table,
    /// Shaped as [`Table::record_schema`].
    pub rows: RecordBatch,
    /// For each row its identity; empty for tables without one (dead letters).
    pub keys: Vec<Key>,
    /// For each row its place in the request.
    pub index: Vec<u32>,
    /// Rows that their sender may not write, in order. Where their identity is known they are duplicates, whatever
    /// they say: who may not write there learns nothing of what is stored.
    pub barred: Vec<(usize, Rejection)>,
}

/// A decoded request: every event is either in a batch or rejected.
#[derive(Debug, Default)]
pub struct Decoded {
    pub events: u32,
    pub batches: Vec<Batch>,
    pub rejected: Vec<(u32, Rejection)>,
    /// What is odd about events that are not rejected.
    pub warnings: Vec<(u32, Warning)>,
}

/// Decodes and checks a whole body.
///
/// # Errors
/// [`Malformed`] when the body as a whole cannot be read; a bad event among good ones is in
/// [`Decoded::rejected`] instead, and among the dead letters in [`Decoded::batches`].
pub fn decode(
    form: EventFormat,
    body: &[u8],
    sender: &Sender<'_>,
    received_at: Micros,
) -> Result<Result<Decoded, Malformed>, Error> {
    decode_on(1, form, body, sender, received_at)
}

/// The same on up to so many threads, if there are many events: called on a thread of a [`rayon`] pool, with its other
/// threads. Who waits for their parts takes the next work of the pool meanwhile, and is not back before that is done: so
/// it should be for as many threads as have nothing to do.
pub fn decode_on(
    threads: usize,
    form: EventFormat,
    body: &[u8],
    sender: &Sender<'_>,
    received_at: Micros,
) -> Result<Result<Decoded, Malformed>, Error> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => return Ok(Err(Malformed::Encoding(error.valid_up_to()))),
    };
    let events = match split(form, text) {
        Ok(events) => events,
        Err(malformed) => return Ok(Err(malformed)),
    };
    let total = u32::try_from(events.len()).unwrap_or(u32::MAX);
    let part = PART_MIN.max(events.len().div_ceil(threads.max(1)));
    let firsts = (0..total).step_by(part);
    let parts: Vec<_> = firsts.zip(events.chunks(part)).collect();
    let erased = Lookup::new(sender.pseudonyms);
    let decode = |(first, events)| decode_part(events, first, sender, &erased, received_at);
    let decoded: Vec<_> = match parts.len() {
        // Who has no pool would start one.
        1 => parts.into_iter().map(decode).collect(),
        _ => parts.into_par_iter().map(decode).collect(),
    };
    let mut whole = Decoded { events: total, ..Decoded::default() };
    for part in decoded {
        let part = part?;
        whole.batches.extend(part.batches);
        whole.rejected.extend(part.rejected);
        whole.warnings.extend(part.warnings);
    }
    // Rows of one table that follow each other become one record of the log.
    whole.batches.sort_by_key(|batch| batch.table);
    Ok(Ok(whole))
}

/// Events that are worth another thread: about a millisecond.
const PART_MIN: usize = 256;

/// Decodes some events of a body, of which `first` is the place of the first one.
fn decode_part(
    events: &[&str],
    first: u32,
    sender: &Sender<'_>,
    erased: &Lookup<'_>,
    received_at: Micros,
) -> Result<Decoded, Error> {
    let mut tables = BTreeMap::new();
    let mut rejected = Vec::new();
    let mut dead = DeadLetters::new(received_at, sender.kind(), erased);
    for (index, raw) in (first..).zip(events) {
        if let Err((organization, rejection)) =
            decode_event(raw, index, sender, erased, &mut tables)
        {
            // Whoever sent it is noted, even where it names somebody else or nobody.
            let owner = organization.as_deref().or(sender.organization.map(OrganizationId::as_str));
            dead.push(owner, &rejection, raw);
            rejected.push((index, rejection));
        }
    }
    let warnings = tables.values_mut().flat_map(Rows::take_warnings).collect();
    let mut batches = tables.into_values().map(Rows::finish).collect::<Result<Vec<_>, Error>>()?;
    batches.extend(dead.finish()?);
    let events = u32::try_from(events.len()).unwrap_or(u32::MAX);
    Ok(Decoded { events, batches, rejected, warnings })
}

/// Dead letters for events that turn out bad only after decoding: an identity with other content, or one that is new
/// and that `sender` may not write.
pub fn dead_letters<'a>(
    letters: impl IntoIterator<Item = (Option<&'a str>, &'a Rejection, &'a str)>,
    sender: &'static str,
    received_at: Micros,
    pseudonyms: &Pseudonyms,
) -> Result<Option<Batch>, Error> {
    let erased = Lookup::new(pseudonyms);
    let mut dead = DeadLetters::new(received_at, sender, &erased);
    for (organization, rejection, raw) in letters {
        dead.push(organization, rejection, raw);
    }
    dead.finish()
}

/// Decodes the events of dead letters again, each for the organization whose letter it is (`None`: the
/// platform's own). What is rejected again is no second letter.
pub fn again(
    letters: &[(Option<OrganizationId>, String)],
    pseudonyms: &Pseudonyms,
    window: Window,
) -> Result<Decoded, Error> {
    let mut tables = BTreeMap::new();
    let erased = Lookup::new(pseudonyms);
    let mut rejected = Vec::new();
    let total = u32::try_from(letters.len()).unwrap_or(u32::MAX);
    for (index, (organization, raw)) in (0..total).zip(letters) {
        let (organization, grant) = (organization.as_ref(), &Grant::ALL);
        let sender = Sender { organization, grant, pseudonyms, window, is_strict: false };
        if let Err((_, rejection)) = decode_event(raw, index, &sender, &erased, &mut tables) {
            rejected.push((index, rejection));
        }
    }
    let batches = tables.into_values().map(Rows::finish).collect::<Result<_, Error>>()?;
    Ok(Decoded { events: total, batches, rejected, warnings: Vec::new() })
}

/// Whether the end of a rejected event may be missing in its dead letter. What is left of a long one can be whole JSON,
/// which its sender did not send.
pub fn is_cut(raw: &str) -> bool {
    // The cut is at the limit, or up to three bytes before it where a character would be split.
    raw.len() + 3 >= rows::RAW_BYTES_MAX
}

/// The organization that an event names, if it names one.
pub fn subject(event: &str) -> Option<String> {
    let organization = Envelope::parse(event).ok()?.organization(None).ok()??;
    Some(organization.to_string())
}

/// A text without the mark that some programs begin UTF-8 with.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The text of each event of a body, as [`decode`] numbers them.
pub fn split(form: EventFormat, text: &str) -> Result<Vec<&str>, Malformed> {
    let text = without_mark(text);
    let events: Vec<&str> = match form {
        EventFormat::Ndjson => {
            text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect()
        }
        EventFormat::Json if text.trim_start().starts_with('[') => {
            let elements: Vec<&RawValue> =
                serde_json::from_str(text).map_err(|error| not_json(text, &error))?;
            elements.into_iter().map(RawValue::get).collect()
        }
        EventFormat::Json => {
            let whole: &RawValue =
                serde_json::from_str(text).map_err(|error| not_json(text, &error))?;
            vec![whole.get()]
        }
    };
    match events.len() {
        0 => Err(Malformed::Empty),
        n if n > EVENTS_MAX => Err(Malformed::TooMany),
        _ => Ok(events),
    }
}

/// A rejection, with the organization when it is known by then.
type Refusal = (Option<String>, Rejection);

fn decode_event(
    raw: &str,
    index: u32,
    sender: &Sender<'_>,
    erased: &Lookup<'_>,
    tables: &mut BTreeMap<Table, Rows>,
) -> Result<(), Refusal> {
    if body::is_too_deep(raw) {
        let reason = format!("nested deeper than {} levels", body::DEPTH_MAX);
        return Err((None, Rejection::new(RejectionCode::TooDeep, "", reason)));
    }
    let envelope = Envelope::parse(raw).map_err(|rejection| (None, rejection))?;
    admit(&envelope, index, sender, erased, tables, |table, word| {
        data::read(table, word, envelope.data.as_ref())
    })
}

/// Checks an event and adds it to the rows of its table. `read` gives its values, once the table is known.
fn admit<'a>(
    envelope: &'a Envelope<'a>,
    index: u32,
    sender: &Sender<'_>,
    erased: &Lookup<'_>,
    tables: &mut BTreeMap<Table, Rows>,
    read: impl FnOnce(Table, Option<&'a str>) -> Result<data::Values<'a>, Rejection>,
) -> Result<(), Refusal> {
    let organization = envelope.organization(sender.organization).map_err(|r| (None, r))?;
    let granted = sender.grant.check(sender.organization, &envelope.source, &envelope.event_type);
    let mut barred = granted.err();
    if let (Some(why), None) = (&barred, sender.organization) {
        // Only organizations have events from before there were grants. Others are not told what is stored.
        return Err((organization.as_ref().map(ToString::to_string), why.clone()));
    }
    // Who may not write that is told so, whatever else is wrong.
    let named = barred.clone();
    let refuse = |rejection| {
        let owner = organization.as_ref().map(ToString::to_string);
        (owner, named.clone().unwrap_or(rejection))
    };
    sender.window.check(envelope.occurred_at).map_err(refuse)?;
    let (table, word) = envelope.route().map_err(refuse)?;
    let mut values = read(table, word).map_err(refuse)?;
    if let Some(name) = values.others.first().filter(|_| sender.is_strict) {
        return Err(refuse(unknown_member(table, name)));
    }
    values.add_cached().map_err(refuse)?;
    rules::check(table, word, organization.is_some(), &values).map_err(refuse)?;
    if barred.is_none() && sender.organization.is_some() {
        barred = rules::check_no_money(table, &values).err();
    }
    values.pseudonymize(table, organization.as_ref(), sender.pseudonyms);
    values.forget_erased(envelope.occurred_at, erased);
    let rows = tables.entry(table).or_insert_with(|| Rows::new(table));
    rows.push(envelope, organization.as_ref(), &values, index);
    if let Some(why) = barred {
        rows.bar(why);
    }
    Ok(())
}

fn unknown_member(table: Table, name: &str) -> Rejection {
    let of = table.name();
    let reason = match names::meant(table, name) {
        Some(column) => format!("{of} has no such column; `{column}` may be meant"),
        None => format!("{of} has no such column; attributes are members of `attributes`"),
    };
    Rejection::new(RejectionCode::UnknownMember, pointer("/data", name), reason)
}

/// A JSON pointer to a member (RFC 6901).
fn pointer(parent: &str, name: &str) -> String {
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn missing(pointer: &str) -> Rejection {
    let name = pointer.rsplit('/').next().unwrap_or_default();
    Rejection::new(RejectionCode::MissingField, pointer, format!("`{name}` is required"))
}

/// A row of relational state: of a dimension, or of what billing made. `payload` is a JSON object of the table's columns and
/// `organization_id`; `id` names the row, so that it is stored once however often it is sent.
pub fn own_row(
    table: Table,
    id: &str,
    at: Micros,
    payload: &str,
) -> Result<Result<Batch, Rejection>, Error> {
    let mut data: serde_json::Map<String, serde_json::Value> = match serde_json::from_str(payload) {
        Ok(data) => data,
        Err(error) => {
            let reason = error.to_string();
            return Ok(Err(Rejection::new(RejectionCode::MalformedJson, "", reason)));
        }
    };
    let organization = data.remove("organization_id");
    let organization =
        organization.as_ref().and_then(serde_json::Value::as_str).and_then(OrganizationId::parse);
    let event = serde_json::json!({
        "id": id,
        "source": "/aihub/outbox",
        "type": table.name(),
        "time": crate::time::to_rfc3339(at),
        "data": data,
    })
    .to_string();
    let row = Envelope::parse(&event).and_then(|envelope| {
        let values = data::read(table, None, envelope.data.as_ref())?;
        let mut rows = Rows::new(table);
        rows.push(&envelope, organization.as_ref(), &values, 0);
        Ok(rows)
    });
    Ok(match row {
        Ok(rows) => Ok(rows.finish()?),
        Err(rejection) => Err(rejection),
    })
}

/// An event of our own, in the form of CloudEvents. Unlike those of senders, it may be of any time, and an activity may
/// name nobody.
pub fn own_event(event: &str, pseudonyms: &Pseudonyms) -> Result<Result<Batch, Rejection>, Error> {
    let rows = Envelope::parse(event).and_then(|envelope| {
        let organization = envelope.organization(None)?;
        let (table, word) = envelope.route()?;
        let mut values = data::read(table, word, envelope.data.as_ref())?;
        values.pseudonymize(table, organization.as_ref(), pseudonyms);
        let mut rows = Rows::new(table);
        rows.push(&envelope, organization.as_ref(), &values, 0);
        Ok(rows)
    });
    Ok(match rows {
        Ok(rows) => Ok(rows.finish()?),
        Err(rejection) => Err(rejection),
    })
}

#[cfg(test)]
mod tests;
