//! Who an event is, what it says, and who did it: the deduplication key, the content hash, and pseudonyms.

mod content;

use std::{
    hash::Hasher,
    sync::{Arc, PoisonError, RwLock},
};

use crate::erasure::ErasedPersons;
pub use content::are_hashed;
pub(crate) use content::{Canonical, Content, FirstContent, earlier_hashes, hashes_of_columns};

/// 128 bits of BLAKE3 over the length-prefixed organization (empty for a visitor), source and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u8; 16]);

impl Key {
    pub fn of(organization: &str, source: &str, id: &str) -> Self {
        Self::of_parts(&[organization, source, id])
    }

    /// The key of a row that corrects the event `corrects`. No sender can claim it: a sender's has three parts.
    pub fn of_correction(organization: &str, source: &str, id: &str, corrects: &str) -> Self {
        Self::of_parts(&[organization, source, id, corrects])
    }

    fn of_parts(parts: &[&str]) -> Self {
        let mut text = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
        parts.iter().for_each(|part| write_part(&mut text, part.as_bytes()));
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(&text).as_bytes()[..16]);
        Self(key)
    }
}

/// A key is a digest already: hashing it again would only cost time.
impl std::hash::Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

fn write_part(text: &mut Vec<u8>, part: &[u8]) {
    text.extend_from_slice(&(part.len() as u64).to_le_bytes());
    text.extend_from_slice(part);
}

/// Replaces the id of a person by a keyed pseudonym, so that no table holds the id itself.
///
/// A user's pseudonym depends on the organization, so that one person in two organizations cannot be joined.
/// A visitor's does not: a sign-up must find the pages that were seen before there was an organization.
#[derive(Clone)]
pub struct Pseudonyms {
    secret: [u8; 32],
    erasure_key: [u8; 32],
    /// Whose pseudonyms are stored no more. Clones share it.
    erased: Arc<RwLock<Arc<ErasedPersons>>>,
}

impl Pseudonyms {
    pub fn new(secret: [u8; 32]) -> Self {
        let erasure_key = blake3::derive_key("aihub erased persons, version 1", &secret);
        Self { secret, erasure_key, erased: Arc::default() }
    }

    /// The persons that are erased.
    pub fn erased(&self) -> Arc<ErasedPersons> {
        Arc::clone(&self.erased.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From here on these persons are erased, and no others.
    pub fn erase(&self, erased: ErasedPersons) {
        *self.erased.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(erased);
    }

    /// The key of what is kept of erased persons: who has it can tell whether a person whom he knows is erased,
    /// and nobody can tell who is.
    pub(crate) fn erasure_key(&self) -> &[u8; 32] {
        &self.erasure_key
    }

    pub fn user(&self, organization: &str, user_id: &str) -> String {
        let salt = blake3::keyed_hash(&self.secret, organization.as_bytes());
        pseudonym("u_", salt.as_bytes(), user_id)
    }

    pub fn visitor(&self, anonymous_id: &str) -> String {
        pseudonym("v_", &self.secret, anonymous_id)
    }
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms(…)")
    }
}

/// 80 bits: two of a million persons collide once in 10¹² times.
fn pseudonym(prefix: &str, salt: &[u8; 32], id: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = blake3::keyed_hash(salt, id.as_bytes());
    let mut name = String::with_capacity(prefix.len() + 20);
    name.push_str(prefix);
    for byte in &digest.as_bytes()[..10] {
        name.push(char::from(DIGITS[usize::from(byte >> 4)]));
        name.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_stay_what_they_are() {
        // Stored in tables and indexes: other values would count every event twice.
        let key = Key::of("org_a", "/source", "id");
        assert_eq!(u128::from_be_bytes(key.0), 311_369_356_657_703_089_058_858_762_726_749_932_971);
        let names = Pseudonyms::new([7; 32]);
        assert_eq!(names.user("org_a", "ada"), "u_ceb66436b938eb46a7bf");
    }

    #[test]
    fn parts_of_a_key_do_not_run_together() {
        assert_ne!(Key::of("a", "bc", "d"), Key::of("ab", "c", "d"));
        assert_ne!(Key::of("", "a", "b"), Key::of("a", "", "b"));
        assert_eq!(Key::of("o", "s", "i"), Key::of("o", "s", "i"));
        assert_ne!(Key::of("o", "s", "i"), Key::of_correction("o", "s", "i", ""));
    }

    #[test]
    fn pseudonyms_are_stable_and_separate() {
        let names = Pseudonyms::new([7; 32]);
        assert_eq!(names.user("org_a", "ada"), names.user("org_a", "ada"));
        assert_ne!(names.user("org_a", "ada"), names.user("org_b", "ada"));
        assert_ne!(names.user("org_a", "ada"), Pseudonyms::new([8; 32]).user("org_a", "ada"));
        assert!(!names.visitor("ada").contains("ada"));
    }
}
