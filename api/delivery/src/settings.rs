//! How things are sent.

use serde::{Deserialize, Serialize};
use state::secret::Secret;

/// `[smtp]`: the server that takes our mail.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Smtp {
    /// Its name. Empty: no mail is sent.
    pub host: String,
    /// Its port; 0 is the usual one: 587 with STARTTLS, 465 with TLS, 25 without.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// The name to sign in with. Empty: nobody signs in.
    pub user: String,
    /// The password to sign in with.
    pub password: Secret,
    /// Whom mail comes from: `reports@example.com`, or `AI Hub <reports@example.com>`.
    pub from: String,
    /// A server that says nothing for so long is given up, and tried again later.
    pub timeout_seconds: u64,
}

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// It begins in the clear, and must change to TLS before anything is said.
    #[default]
    Starttls,
    /// It is TLS from its beginning.
    Tls,
    /// It is in the clear: for a server on the same machine.
    None,
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 0,
            tls: Tls::default(),
            user: String::new(),
            password: Secret::default(),
            from: String::new(),
            timeout_seconds: 30,
        }
    }
}

impl Smtp {
    /// The port that is connected to.
    pub fn port(&self) -> u16 {
        match (self.port, self.tls) {
            (0, Tls::Starttls) => 587,
            (0, Tls::Tls) => 465,
            (0, Tls::None) => 25,
            (port, _) => port,
        }
    }
}

/// `[hooks]`: calls of webhooks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// Whether an address may be one of this machine or of a private network.
    pub allow_private: bool,
    /// A server that does not answer for so long is given up, and tried again later.
    pub timeout_seconds: u64,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { allow_private: false, timeout_seconds: 20 }
    }
}
