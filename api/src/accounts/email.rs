//! An e-mail address, in the one form that is stored and compared.

use std::fmt;

use ingest::control;

use crate::store::StoreError;

/// Lowercase, `local@domain.tld`, at most 254 bytes (RFC 5321). Whether it exists, only a mail can tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let text = text.trim().to_lowercase();
        let plain =
            text.len() <= 254 && !text.contains(char::is_whitespace) && !control::in_name(&text);
        let parts = text.split_once('@').filter(|(local, domain)| {
            let labels = domain.split('.').collect::<Vec<_>>();
            (1..=64).contains(&local.len())
                && !domain.contains('@')
                && labels.len() >= 2
                && labels.iter().all(|label| !label.is_empty())
        });
        if plain && parts.is_some() {
            Ok(Self(text))
        } else {
            Err(StoreError::Invalid { field: "email", reason: "must be an e-mail address" })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`.
    pub fn local_part(&self) -> &str {
        self.0.split_once('@').map_or("", |(local, _)| local)
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
