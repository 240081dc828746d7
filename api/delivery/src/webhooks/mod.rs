//! Webhooks of customers, by Standard Webhooks 1.0: endpoints, what they are told, and how it went.
//!
//! What happened is told in the transaction in which it happened ([`publish`]): a message, and for each endpoint that wants
//! it a delivery with a job. Each attempt is a job of its own, which writes down the attempt and adds the job of the next
//! one together. So a process that is killed loses nothing, and all attempts have the id of the message.

mod endpoint;
mod event;
mod log;
mod m0029_webhooks;
mod publish;
mod row;
mod schedule;
mod send;
mod signature;

use rest::feature::Feature;
use state::migration::Migration;

pub use endpoint::{NewWebhook, WebhookEndpoint, WebhookError, mark_told, turned_off};
pub use event::EventType;
pub use log::{DeliveryCursor, WebhookAttempt, WebhookDelivery};
pub use publish::publish;
pub(crate) use send::UnderWay;
pub use signature::WebhookSecret;

use crate::Courier;

/// Endpoints, and the job that calls them.
pub(crate) const FEATURE: Feature<Courier> = Feature::new("webhooks")
    .with_migrations(&[Migration {
        name: "m0029_webhooks",
        up: |m| Box::pin(m0029_webhooks::up(m)),
    }])
    .with_tasks(send::register);

#[cfg(test)]
mod tests;
