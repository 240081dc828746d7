//! The secret of an API key: `aihub_`, 192 random bits in base 62, and a checksum.
//!
//! The checksum lets us refuse a mistyped or cut secret without asking the database, and lets scanners of
//! leaked secrets tell ours from noise.

use std::fmt;

use state::ids::{base62, digest, random_bytes};

use super::KeyError;

const PREFIX: &str = "aihub_";
/// 24 random bytes in base 62.
const BODY_LENGTH: usize = 33;
/// A CRC-32 in base 62.
const CHECKSUM_LENGTH: usize = 6;
/// What may be shown later, to tell keys apart.
const START_LENGTH: usize = PREFIX.len() + 4;

/// The whole secret of an API key, in the right form. `Debug` shows only its start.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySecret(String);

impl KeySecret {
    pub(super) fn generate() -> Result<Self, KeyError> {
        let body = base62(&random_bytes::<24>()?, BODY_LENGTH);
        let unchecked = format!("{PREFIX}{body}");
        let checksum = checksum(&unchecked);
        Ok(Self(unchecked + &checksum))
    }

    /// Refuses what cannot be a secret of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let length = PREFIX.len() + BODY_LENGTH + CHECKSUM_LENGTH;
        let shaped = text.len() == length && text.is_ascii() && text.starts_with(PREFIX);
        let (unchecked, given) = shaped.then(|| text.split_at(length - CHECKSUM_LENGTH))?;
        (checksum(unchecked) == given).then(|| Self(text.to_owned()))
    }

    /// The whole secret. Show it once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The first ten characters, `aihub_` and four more. They may be shown later, to tell keys apart.
    pub fn start(&self) -> &str {
        &self.0[..START_LENGTH]
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        digest(&self.0)
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySecret({}…)", self.start())
    }
}

fn checksum(unchecked: &str) -> String {
    base62(&crc32fast::hash(unchecked.as_bytes()).to_be_bytes(), CHECKSUM_LENGTH)
}
