//! Something that lives as long as an answer is read.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    dev::ServiceResponse,
    web::Bytes,
};

struct Holding<T> {
    body: BoxBody,
    _held: T,
}

/// Drops `held` when the body of the response was read, or nobody reads it any more.
pub fn hold<T: Unpin + 'static>(
    response: ServiceResponse<BoxBody>,
    held: T,
) -> ServiceResponse<BoxBody> {
    response.map_body(|_, body| BoxBody::new(Holding { body, _held: held }))
}

impl<T: Unpin> MessageBody for Holding<T> {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
