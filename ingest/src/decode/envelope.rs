//! The members that every event has, whatever its table.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{data::Data, missing};
use crate::{OrganizationId, Rejection, RejectionCode, Table, control, event, time};

/// A CloudEvent, borrowed from its text.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) source: Cow<'a, str>,
    pub(super) event_type: Cow<'a, str>,
    pub(super) occurred_at: time::Micros,
    pub(super) data: Option<Data<'a>>,
    pub(super) subject: Option<Cow<'a, str>>,
}

/// As it stands in the text; members are optional here, so that an absent one can be named.
#[derive(Deserialize)]
struct RawEnvelope<'a> {
    #[serde(borrow)]
    specversion: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    event_type: Option<&'a RawValue>,
    #[serde(borrow)]
    subject: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(borrow)]
    data_base64: Option<&'a RawValue>,
}

/// Bytes of an id, source or type.
const NAME_BYTES_MAX: usize = 256;

impl<'a> Envelope<'a> {
    pub(super) fn parse(raw: &'a str) -> Result<Self, Rejection> {
        let wire: RawEnvelope<'a> = serde_json::from_str(raw).map_err(|error| {
            Rejection::new(RejectionCode::MalformedJson, "", format!("not a JSON object: {error}"))
        })?;
        if let Some(version) = name(wire.specversion, "/specversion")?
            && version != "1.0"
        {
            return Err(Rejection::new(
                RejectionCode::InvalidValue,
                "/specversion",
                "only CloudEvents 1.0 is understood",
            ));
        }
        // It stands for `data`, and is not ignored like members that only describe.
        if wire.data_base64.is_some_and(|data| data.get() != "null") {
            let reason = "send the data as a JSON object in `data`";
            return Err(Rejection::new(RejectionCode::InvalidValue, "/data_base64", reason));
        }
        let time = name(wire.time, "/time")?.ok_or_else(|| missing("/time"))?;
        let occurred_at = time::parse_rfc3339(&time).ok_or_else(unreadable_time)?;
        Ok(Self {
            id: name(wire.id, "/id")?.ok_or_else(|| missing("/id"))?,
            source: name(wire.source, "/source")?.ok_or_else(|| missing("/source"))?,
            event_type: name(wire.event_type, "/type")?.ok_or_else(|| missing("/type"))?,
            occurred_at,
            subject: name(wire.subject, "/subject")?,
            data: wire.data,
        })
    }

    /// The envelope of a row that is entered again.
    pub(super) fn of_row(
        id: String,
        source: &'a str,
        event_type: &'a str,
        occurred_at: time::Micros,
    ) -> Self {
        Self {
            id: Cow::Owned(id),
            source: Cow::Borrowed(source),
            event_type: Cow::Borrowed(event_type),
            occurred_at,
            subject: None,
            data: None,
        }
    }

    /// The organization that the event belongs to: the key's own, or the one it names.
    pub(super) fn organization(
        &self,
        own: Option<&OrganizationId>,
    ) -> Result<Option<OrganizationId>, Rejection> {
        let named = match &self.subject {
            Some(subject) => Some(OrganizationId::parse(subject).ok_or_else(|| {
                let reason = "an organization id is 1 to 64 of A-Z a-z 0-9 _ -";
                Rejection::new(RejectionCode::InvalidValue, "/subject", reason)
            })?),
            None => None,
        };
        match (own, named) {
            (Some(own), Some(named)) if *own != named => Err(Rejection::new(
                RejectionCode::WrongOrganization,
                "/subject",
                "the key belongs to another organization",
            )),
            (Some(own), _) => Ok(Some(own.clone())),
            (None, named) => Ok(named),
        }
    }

    pub(super) fn route(&self) -> Result<(Table, Option<&str>), Rejection> {
        event::route(&self.event_type).ok_or_else(|| {
            let reason = "expected usage.request, billing.<kind> or activity.<action>";
            Rejection::new(RejectionCode::UnknownType, "/type", reason)
        })
    }
}

/// A short text member; `None` when it is absent or null, an error when it is empty, long or not text.
fn name<'a>(raw: Option<&'a RawValue>, pointer: &str) -> Result<Option<Cow<'a, str>>, Rejection> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Ok(None);
    };
    let text = super::data::text(raw.get())
        .ok_or_else(|| Rejection::new(RejectionCode::WrongType, pointer, "expected text"))?;
    short(text, pointer).map(Some)
}

pub(super) fn unreadable_time() -> Rejection {
    let reason = "not an RFC 3339 time with a zone, between 1970 and 2261";
    Rejection::new(RejectionCode::InvalidValue, "/time", reason)
}

/// The text itself, unless it is empty or long, or holds what no name holds.
pub(super) fn short<'a>(text: Cow<'a, str>, pointer: &str) -> Result<Cow<'a, str>, Rejection> {
    match text.len() {
        0 => Err(missing(pointer)),
        _ if control::in_name(&text) => {
            Err(Rejection::new(RejectionCode::InvalidValue, pointer, "holds a control character"))
        }
        1..=NAME_BYTES_MAX => Ok(text),
        _ => Err(Rejection::new(
            RejectionCode::InvalidValue,
            pointer,
            format!("longer than {NAME_BYTES_MAX} bytes"),
        )),
    }
}
