//! What leaves the house: mail by SMTP, webhooks, Slack messages, files in the archive. Whoever has something to send adds
//! it to the outbox in the transaction that makes it necessary. A job sends it, and tries again for a day.
//!
//! Mail and webhooks arrive at least once, each time with the same `Message-ID` or `Idempotency-Key`. The intent is written
//! before the sending and the result after it, so a delivery that was cut between both is known, and marked `uncertain`. A
//! file is written exactly once, under its name.

#![warn(missing_docs)]

mod archive;
mod content;
mod error;
mod hook;
mod links;
mod m0007_deliveries;
mod mail;
mod outbox;
mod settings;
pub mod webhooks;
mod work;

use std::sync::Arc;

use object_store::ObjectStore;
use rest::feature::Feature;
use state::{State, migration::Migration, vault::Vault};

pub use content::{Content, Part, Personal};
pub use error::SendError;
pub use hook::HookAddress;
pub use lettre::Address as MailAddress;
pub use links::Links;
pub use outbox::{
    ACCOUNT_MAIL, Channel, Delivery, DeliveryState, NewDelivery, Notice, enqueue, failed_at, find,
    of_references, resend,
};
pub use settings::{Hooks, Smtp, Tls};

/// What sends. Clones share its connections.
#[derive(Clone)]
pub struct Courier {
    /// The database, the clock, and the jobs that send.
    pub state: State,
    /// How mail is sent, if it is.
    pub smtp: Smtp,
    /// How webhooks are called.
    pub hooks: Hooks,
    /// What leads from a mail to our pages.
    pub links: Links,
    mailer: Option<mail::Mailer>,
    /// Opens the secrets of webhooks.
    vault: Vault,
    webhooks_under_way: Arc<webhooks::UnderWay>,
    archive: Option<Archive>,
}

/// Where files go.
#[derive(Clone)]
pub struct Archive {
    /// The folder or the bucket.
    pub store: Arc<dyn ObjectStore>,
    /// The folder in it.
    pub prefix: object_store::path::Path,
}

impl Courier {
    /// Fails when the settings of SMTP cannot be used.
    pub fn new(
        state: State,
        smtp: Smtp,
        hooks: Hooks,
        archive: Option<Archive>,
        links: Links,
        vault: Vault,
    ) -> Result<Self, String> {
        let mailer = mail::Mailer::new(&smtp)?;
        Ok(Self {
            state,
            smtp,
            hooks,
            links,
            mailer,
            vault,
            webhooks_under_way: Arc::default(),
            archive,
        })
    }

    /// A secret of the data folder, for another purpose.
    pub fn derived(&self, purpose: &str) -> [u8; 32] {
        self.vault.derived(purpose)
    }

    /// Whether mail can be sent.
    pub fn sends_mail(&self) -> bool {
        self.mailer.is_some()
    }

    /// Whether there is a place for files.
    pub fn has_archive(&self) -> bool {
        self.archive.is_some()
    }
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").field("smtp", &self.smtp).finish_non_exhaustive()
    }
}

/// The outbox and what empties it.
const OUTBOX: Feature<Courier> = Feature::new("outbox")
    .with_migrations(&[Migration {
        name: "m0007_deliveries",
        up: |m| Box::pin(m0007_deliveries::up(m)),
    }])
    .with_tasks(work::register);

/// The features of this crate.
pub const FEATURES: &[Feature<Courier>] = &[OUTBOX, webhooks::FEATURE];
