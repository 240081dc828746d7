//! Answers on their way to clients that read slowly, or not at all. Whatever the answer, it leaves in pieces; who
//! takes them too slowly is cut off, and nobody holds more large ones than their share.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Extensions, ServiceRequest, ServiceResponse},
    middleware::Next,
    web::{Bytes, Data},
};

use crate::{
    client_limiter::{ClientId, ClientLimiter, ClientPermit, LimitReached},
    holding::hold,
};

/// An answer leaves in pieces of at most so many bytes.
pub const PIECE_BYTES: usize = 256 * 1024;
/// A client that reads more slowly than so many bytes a second, over so long, is cut off.
const SLOW_BYTES_PER_SECOND: usize = 64 * 1024;
/// The longest time that a client may take to read a piece. On Linux a connection also ends when bytes that were sent
/// are not acknowledged for so long.
pub const SLOW_FOR: Duration = Duration::from_secs(10);

/// Answers of more than a piece that are read at the same time: those of one organization, and all.
const READ_EACH: usize = 16;
const READ_ALL: usize = 96;

/// An answer waits so long for a place before it is made.
const PATIENCE: Duration = Duration::from_secs(2);

/// Permits for answers that take memory: those of more than a piece, and those that are made of rows. Of the second, the
/// place is taken before the first row is read, and stands in the response's extensions. Clones share them.
#[derive(Debug, Clone)]
pub struct AnswerLimiter(ClientLimiter);

impl Default for AnswerLimiter {
    fn default() -> Self {
        Self(ClientLimiter::new(READ_EACH, READ_ALL))
    }
}

impl AnswerLimiter {
    /// A place for an answer that is to be made.
    pub async fn place(&self, client: &ClientId) -> Result<ClientPermit, LimitReached> {
        self.0.take_within(client, PATIENCE).await
    }
}

/// Counts the large answers that are read. For `App::wrap(middleware::from_fn(pace::share))`, innermost: what is
/// compressed has no size any more.
pub async fn share(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let readers = request.app_data::<Data<AnswerLimiter>>().cloned();
    let mut response = next.call(request).await?.map_into_boxed_body();
    let held = response.response_mut().extensions_mut().remove::<ClientPermit>();
    if let Some(place) = held {
        return Ok(hold(response, place));
    }
    let is_large = match response.response().body().size() {
        BodySize::None => false,
        BodySize::Sized(bytes) => bytes > PIECE_BYTES as u64,
        BodySize::Stream => true,
    };
    let Some(readers) = readers.filter(|_| is_large) else { return Ok(response) };
    let client = response.request().extensions().get::<ClientId>().cloned();
    let client = client.unwrap_or_else(|| ClientId::stranger(response.request()));
    match readers.0.take(client) {
        Ok(place) => Ok(hold(response, place)),
        Err(full) => {
            let problem = full.problem("answers are being read", 1);
            Ok(response.into_response(HttpResponse::from_error(problem)))
        }
    }
}

/// Lets every answer leave in pieces. For `App::wrap(middleware::from_fn(pace::pace))`, outermost.
pub async fn pace(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = next.call(request).await?.map_into_boxed_body();
    if response.response().body().size() == BodySize::None {
        return Ok(response);
    }
    Ok(response.map_body(|_, body| BoxBody::new(Paced { body, rest: Bytes::new(), given: None })))
}

/// For `HttpServer::on_connect`. What is written goes out at once: an answer in two segments would wait for the
/// client's delayed acknowledgement of the first, 40 ms. And what a client does not read for so long, the system gives
/// up, and ends the connection. The body cannot tell: nobody asks it for more meanwhile.
pub fn watch(connection: &dyn std::any::Any, _: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection waits for acknowledgements");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(SLOW_FOR)) {
        tracing::debug!(%error, "a connection has no limit of time");
    }
}

/// A body in pieces.
struct Paced {
    body: BoxBody,
    /// What is left of the last chunk.
    rest: Bytes,
    /// When the last piece went out, and how large it was.
    given: Option<(Instant, usize)>,
}

impl Paced {
    /// Whether the client took longer for the last piece than it may.
    fn is_slow(&mut self) -> bool {
        self.given.take().is_some_and(|(since, bytes)| {
            let patience = Duration::from_secs((bytes / SLOW_BYTES_PER_SECOND) as u64);
            since.elapsed() > SLOW_FOR.max(patience)
        })
    }
}

impl MessageBody for Paced {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.is_slow() {
            metrics::counter!("http_slow_clients_total").increment(1);
            return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())));
        }
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_next(context) {
                Poll::Ready(Some(Ok(chunk))) => self.rest = chunk,
                other => return other,
            }
        }
        let bytes = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(bytes);
        self.given = Some((Instant::now(), bytes));
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use std::future::poll_fn;

    use super::*;

    fn paced(bytes: usize) -> Paced {
        let body = BoxBody::new(Bytes::from(vec![7; bytes]));
        Paced { body, rest: Bytes::new(), given: None }
    }

    #[tokio::test]
    async fn a_body_leaves_in_pieces_and_who_is_slow_is_cut_off() {
        let whole = 3 * PIECE_BYTES + 1;
        assert_eq!(to_bytes(paced(whole)).await.unwrap().len(), whole);
        let mut body = paced(whole);
        assert_eq!(body.size(), BodySize::Sized(whole as u64));
        for (took, is_given) in [(Duration::ZERO, true), (SLOW_FOR / 2, true), (SLOW_FOR, false)] {
            body.given = body.given.map(|(since, bytes)| (since.checked_sub(took).unwrap(), bytes));
            let piece = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await.unwrap();
            assert_eq!(piece.map(|piece| piece.len()).ok(), is_given.then_some(PIECE_BYTES));
        }
    }
}
