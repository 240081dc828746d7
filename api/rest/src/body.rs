//! The body of a request, read in one way for all routes: after its sender is known, with a limit for its route, as
//! it comes and as it is unpacked, in a time that grows with what has come, and within a budget for all bodies that
//! are not complete.
//!
//! The budget is shared by one rule: a client may hold as much as is free. Who holds much is refused first, and
//! whoever holds nothing finds room.

use std::{
    cell::RefCell,
    collections::HashMap,
    future::{Ready, ready},
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix_web::{
    Error, FromRequest, HttpMessage, HttpRequest,
    body::{BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::{
        StatusCode,
        header::{
            ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
            HeaderValue, TRANSFER_ENCODING,
        },
    },
    middleware::Next,
    web::{self, Bytes, BytesMut},
};
use futures::{Stream, StreamExt, stream};
use ingest::decode::{Coding, Malformed};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::{
    client_limiter::ClientId,
    holding::hold,
    principal::Principal,
    problem::{Code, Problem},
};

type PayloadStream = Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

/// A body may take so long, and longer by what came at this rate.
const PATIENCE: Duration = Duration::from_secs(10);
const BYTES_PER_SECOND: f64 = 32.0 * 1024.0;
/// What all bodies may hold that are not complete.
const UNFINISHED_BYTES: usize = 192 << 20;
const UNFINISHED: usize = 4_096;
/// Of these, who is not signed in, by network; and all of them together, as a share.
const STRANGERS_UNFINISHED: usize = 64;
const STRANGERS_SHARE: usize = 4;

/// Ends a connection whose request was answered before its chunked body was complete. Left to itself, the framework
/// reads and forgets what still comes, for as long as it comes. For `App::wrap(middleware::from_fn(…))`.
pub async fn end_unread<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !request.headers().contains_key(TRANSFER_ENCODING) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    let payload = Rc::new(RefCell::new(request.take_payload()));
    let read = Rc::clone(&payload);
    let pieces =
        stream::poll_fn(move |context| Pin::new(&mut *read.borrow_mut()).poll_next(context));
    request.set_payload(Payload::from(Box::pin(pieces) as PayloadStream));
    let response = next.call(request).await?.map_into_boxed_body();
    // The framework reads on only where nobody holds what was not read.
    Ok(hold(response, payload))
}

/// The bodies that are under way. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct BodyBudget(Arc<Mutex<BudgetState>>);

#[derive(Debug, Default)]
struct BudgetState {
    all: BodyUsage,
    strangers: BodyUsage,
    clients: HashMap<ClientId, BodyUsage>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct BodyUsage {
    bodies: usize,
    bytes: usize,
}

/// The place of one body in the budget. Dropping it gives the place back.
#[derive(Debug)]
struct BodyPermit {
    bodies: BodyBudget,
    client: ClientId,
    is_stranger: bool,
    bytes: usize,
}

/// A body that nobody has read yet: as an argument of a handler it costs nothing. Unpacked, it may have so many bytes.
pub struct Body<const BYTES_MAX: usize = { 16 << 10 }> {
    request: HttpRequest,
    payload: web::Payload,
}

impl<const BYTES_MAX: usize> FromRequest for Body<BYTES_MAX> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let taken = web::Payload::from_request(request, payload).into_inner();
        let body = taken.map(|payload| Self { request: request.clone(), payload });
        ready(body.map_err(|_| Problem::internal()))
    }
}

impl<const BYTES_MAX: usize> Body<BYTES_MAX> {
    /// The JSON that a principal sent.
    pub async fn json<T: DeserializeOwned>(self, from: &Principal) -> Result<T, Problem> {
        self.json_of(from.into()).await
    }

    /// JSON of somebody who is not signed in.
    pub async fn json_of_stranger<T: DeserializeOwned>(self) -> Result<T, Problem> {
        let client = ClientId::stranger(&self.request);
        self.json_of(client).await
    }

    /// The fields of a form, of somebody who is not signed in.
    pub async fn form_of_stranger<T: DeserializeOwned>(self) -> Result<T, Problem> {
        let client = ClientId::stranger(&self.request);
        self.form_of(client).await
    }

    /// The fields of a form that a principal sent.
    pub async fn form<T: DeserializeOwned>(self, from: &Principal) -> Result<T, Problem> {
        self.form_of(from.into()).await
    }

    async fn form_of<T: DeserializeOwned>(self, client: ClientId) -> Result<T, Problem> {
        if self.media_type() != "application/x-www-form-urlencoded" {
            return Err(Problem::unsupported_media_type("the body must be a form"));
        }
        let text = self.unpacked(client).await?;
        let invalid = || Problem::bad_request(Code::InvalidForm, "the form is not usable");
        let text = str::from_utf8(&text).map_err(|_| invalid())?;
        web::Query::from_query(text).map(web::Query::into_inner).map_err(|_| invalid())
    }

    /// The body of somebody who is not signed in as it came: a signature is of these bytes.
    pub async fn raw_of_stranger(self, bytes_max: usize) -> Result<Bytes, Problem> {
        let client = ClientId::stranger(&self.request);
        self.read(client, bytes_max).await
    }

    /// The body as it came, still packed, of at most so many bytes.
    pub async fn packed(self, from: &Principal, bytes_max: usize) -> Result<Bytes, Problem> {
        self.read(from.into(), bytes_max).await
    }

    async fn json_of<T: DeserializeOwned>(self, client: ClientId) -> Result<T, Problem> {
        let media_type = self.media_type();
        if media_type != "application/json" && !media_type.ends_with("+json") {
            return Err(Problem::unsupported_media_type("the body must be application/json"));
        }
        let text = self.unpacked(client).await?;
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
        serde_json::from_slice(text).map_err(|fault| invalid_json(&fault))
    }

    fn media_type(&self) -> String {
        let value = self.request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let value = value.and_then(|value| value.split(';').next()).unwrap_or_default();
        value.trim().to_ascii_lowercase()
    }

    async fn unpacked(self, client: ClientId) -> Result<Vec<u8>, Problem> {
        let coding = self.request.headers().get(CONTENT_ENCODING);
        let coding = coding.map_or(Ok(""), HeaderValue::to_str).ok().and_then(Coding::parse);
        let coding = coding.ok_or_else(unsupported_coding)?;
        let packed = self.read(client, BYTES_MAX).await?;
        let unpacked = coding.unpack(&packed, BYTES_MAX).map_err(|malformed| match malformed {
            Malformed::TooLarge(_) => too_large(BYTES_MAX),
            _ => Problem::bad_request(Code::InvalidBody, malformed.to_string()),
        })?;
        Ok(unpacked.into_owned())
    }

    async fn read(mut self, client: ClientId, bytes_max: usize) -> Result<Bytes, Problem> {
        let length = self.request.headers().get(CONTENT_LENGTH);
        let length =
            length.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        if length.is_some_and(|length: usize| length > bytes_max) {
            return Err(too_large(bytes_max));
        }
        let bodies = self.request.app_data::<web::Data<BodyBudget>>().ok_or_else(|| {
            tracing::error!("no BodyBudget is registered with the application");
            Problem::internal()
        })?;
        let mut place = bodies.admit(client).ok_or_else(too_many)?;
        let (mut body, begun) = (BytesMut::new(), Instant::now());
        loop {
            let more = Duration::from_secs_f64(body.len() as f64 / BYTES_PER_SECOND);
            let chunk = match timeout_at(begun + PATIENCE + more, self.payload.next()).await {
                Ok(Some(chunk)) => chunk.map_err(|error| broken_off(&error))?,
                Ok(None) => return Ok(body.freeze()),
                Err(_) => return Err(too_slow()),
            };
            if body.len() + chunk.len() > bytes_max {
                return Err(too_large(bytes_max));
            }
            if !place.grow(chunk.len()) {
                return Err(too_many());
            }
            body.extend_from_slice(&chunk);
        }
    }
}

impl BodyBudget {
    /// A place for a body that begins; none when its client has as many as are free. Who is signed in and holds nothing
    /// always has one.
    fn admit(&self, client: ClientId) -> Option<BodyPermit> {
        let mut unfinished = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = unfinished.clients.get(&client).copied().unwrap_or_default();
        let free = UNFINISHED.saturating_sub(unfinished.all.bodies);
        let is_stranger = matches!(client, ClientId::Address(_));
        let most = if is_stranger {
            let left = (UNFINISHED / STRANGERS_SHARE).saturating_sub(unfinished.strangers.bodies);
            free.min(STRANGERS_UNFINISHED).min(own.bodies + left)
        } else {
            free.max(1)
        };
        if own.bodies >= most {
            return None;
        }
        let place = BodyPermit { bodies: self.clone(), client, is_stranger, bytes: 0 };
        unfinished.each(&place, |load| load.bodies += 1);
        Some(place)
    }
}

impl BudgetState {
    /// Changes each load that a place is part of.
    fn each(&mut self, place: &BodyPermit, change: impl Fn(&mut BodyUsage)) {
        change(&mut self.all);
        if place.is_stranger {
            change(&mut self.strangers);
        }
        let own = self.clients.entry(place.client.clone()).or_default();
        change(own);
        if *own == BodyUsage::default() {
            self.clients.remove(&place.client);
        }
    }
}

impl BodyPermit {
    /// Counts bytes that came; false when the client holds as many as are free.
    fn grow(&mut self, bytes: usize) -> bool {
        let bodies = self.bodies.clone();
        let mut unfinished = bodies.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = unfinished.clients.get(&self.client).map_or(0, |load| load.bytes);
        let strangers = UNFINISHED_BYTES / STRANGERS_SHARE;
        if own + bytes > UNFINISHED_BYTES.saturating_sub(unfinished.all.bytes)
            || self.is_stranger && unfinished.strangers.bytes + bytes > strangers
        {
            return false;
        }
        unfinished.each(self, |load| load.bytes += bytes);
        self.bytes += bytes;
        true
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        let bodies = self.bodies.clone();
        let mut unfinished = bodies.0.lock().unwrap_or_else(PoisonError::into_inner);
        unfinished.each(self, |load| {
            load.bodies -= 1;
            load.bytes -= self.bytes;
        });
    }
}

/// The problem of a body that has more than `bytes_max` bytes, packed or unpacked: status 413.
pub fn too_large(bytes_max: usize) -> Problem {
    Problem::payload_too_large(format!("a body has at most {bytes_max} bytes after decompression"))
}

/// The problem of a `Content-Encoding` that we do not read: status 415, with the codings that we read in
/// `Accept-Encoding`.
pub fn unsupported_coding() -> Problem {
    Problem::unsupported_media_type("Content-Encoding must be gzip, zstd or identity")
        .with_header(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd, identity"))
}

fn too_many() -> Problem {
    Problem::too_many_requests(2)
        .explained("too many of your requests are not complete; send fewer at once")
}

/// The rest would come to nobody: the connection ends.
fn too_slow() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, Code::RequestTimeout)
        .explained("the body did not come in time: at least 32 KiB a second after the first ten")
        .with_header(CONNECTION, HeaderValue::from_static("close"))
}

fn broken_off(error: &PayloadError) -> Problem {
    tracing::debug!(%error, "a body broke off");
    Problem::bad_request(Code::InvalidBody, "the body could not be read")
}

/// serde's message may quote the body, and the body may hold a password: only the place and the kind are told,
/// and the message only where it names a field.
fn invalid_json(fault: &serde_json::Error) -> Problem {
    let message = fault.to_string();
    let names_field = ["missing field", "unknown field", "duplicate field"]
        .iter()
        .any(|start| message.starts_with(start));
    // What follows are our own names.
    let possible = message.strip_prefix("unknown variant").and_then(|rest| {
        let (_, names) = rest.rsplit_once(", expected ")?;
        Some(names.split(" at line ").next().unwrap_or(names).to_owned())
    });
    let detail = match (names_field, fault.is_data()) {
        (true, _) => message,
        (false, true) => match possible {
            Some(names) => format!("a field has a value that it cannot have; expected {names}"),
            None => "a field has the wrong type or value".to_owned(),
        },
        (false, false) => "the body is not JSON".to_owned(),
    };
    Problem::bad_request(Code::InvalidJson, detail)
        .with("line", fault.line())
        .with("column", fault.column())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(name: &str) -> ClientId {
        ClientId::Organization(name.to_owned())
    }

    #[test]
    fn a_party_holds_as_much_as_is_free() {
        let bodies = BodyBudget::default();
        let held: Vec<_> = std::iter::from_fn(|| bodies.admit(client("a"))).collect();
        assert_eq!(held.len(), UNFINISHED / 2);
        // Whoever holds nothing finds room, one after the other.
        let others: Vec<_> = (0..10).map(|n| bodies.admit(client(&n.to_string()))).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(bodies.admit(client("a")).is_none());
        drop(held);
        assert!(bodies.admit(client("a")).is_some());
        drop(others);
        assert!(bodies.0.lock().unwrap().clients.is_empty());
        assert_eq!(bodies.0.lock().unwrap().all, BodyUsage::default());
    }

    #[test]
    fn bytes_are_charged_as_they_come() {
        let bodies = BodyBudget::default();
        let mut one = bodies.admit(client("a")).unwrap();
        let mut two = bodies.admit(client("a")).unwrap();
        assert!(one.grow(UNFINISHED_BYTES / 4) && two.grow(UNFINISHED_BYTES / 4));
        assert!(!one.grow(1), "two of one client hold half of all");
        let mut other = bodies.admit(client("b")).unwrap();
        assert!(other.grow(UNFINISHED_BYTES / 4));
        assert!(!other.grow(1), "no more than is free");
        drop(one);
        assert!(other.grow(1) && two.grow(1));
    }

    #[test]
    fn an_address_without_a_name_has_few() {
        let bodies = BodyBudget::default();
        let address = ClientId::Address(Some(IpAddr::from([192, 0, 2, 1])));
        let held: Vec<_> = std::iter::from_fn(|| bodies.admit(address.clone())).collect();
        assert_eq!(held.len(), STRANGERS_UNFINISHED);
        assert!(bodies.admit(ClientId::Address(None)).is_some());
        // All of them together leave most places to who is signed in.
        let addresses = (0..200).map(|n| ClientId::Address(Some(IpAddr::from([198, 51, 100, n]))));
        let strangers: Vec<_> = addresses
            .flat_map(|address| std::iter::from_fn(move || Some(address.clone())).take(64))
            .filter_map(|address| bodies.admit(address))
            .collect();
        assert_eq!(strangers.len() + held.len(), UNFINISHED / STRANGERS_SHARE);
        assert!(bodies.admit(client("a")).is_some());
    }
}
