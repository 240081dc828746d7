//! Secrets that the server must read back: the database holds them sealed, and the key is in the data folder.

use std::fmt;

use crate::{ids::random_bytes, store::StoreError};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Seals and opens with one key (AES-256-GCM with random nonces).
#[derive(Clone)]
pub struct Vault([u8; 32]);

impl Vault {
    /// With a secret key. What was sealed with another one does not open.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// A key for another purpose than sealing.
    pub fn derived(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(&format!("aihub vault, {purpose}, version 1"), &self.0)
    }

    fn key(&self) -> Result<LessSafeKey, StoreError> {
        let key = UnboundKey::new(&AES_256_GCM, &self.0).map_err(|_| StoreError::Random)?;
        Ok(LessSafeKey::new(key))
    }

    /// Seals a secret for a purpose, such as the id of a user: it opens for this purpose only.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Result<String, StoreError> {
        let nonce = random_bytes::<NONCE_LEN>()?;
        let mut sealed = secret.to_vec();
        let (aad, key) = (Aad::from(purpose.as_bytes()), self.key()?);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| StoreError::Random)?;
        Ok(STANDARD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens what was sealed for a purpose; nothing where it was not.
    pub fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let (aad, key) = (Aad::from(purpose.as_bytes()), self.key().ok()?);
        let nonce = Nonce::assume_unique_for_key(*nonce);
        key.open_in_place(nonce, aad, &mut sealed).ok().map(|open| open.to_vec())
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_purpose_only() {
        let (vault, other) = (Vault::new([1; 32]), Vault::new([2; 32]));
        let sealed = vault.seal("user_1", b"secret").unwrap();
        assert_ne!(sealed, vault.seal("user_1", b"secret").unwrap());
        assert_eq!(vault.open("user_1", &sealed).unwrap(), b"secret");
        assert_eq!(vault.open("user_2", &sealed), None);
        assert_eq!(other.open("user_1", &sealed), None);
        for wrong in ["", "x", &sealed[..20], &sealed.replacen(&sealed[..1], "_", 1)] {
            assert_eq!(vault.open("user_1", wrong), None, "{wrong}");
        }
    }
}
