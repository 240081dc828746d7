//! Who an event is, what it says, and who did it: the deduplication key, the content hash, and pseudonyms.

use std::hash::Hasher;

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
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            write_part(&mut hasher, part.as_bytes());
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
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

/// The canonical form, version 1, of an event's content: its type, its organization, its time, then each
/// column that has a value, by name. Two events with one identity and another content are a conflict.
#[derive(Debug)]
pub(crate) struct Content(blake3::Hasher);

impl Content {
    pub(crate) fn new(event_type: &str, organization: &str, at: i64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[1]);
        write_part(&mut hasher, event_type.as_bytes());
        write_part(&mut hasher, organization.as_bytes());
        hasher.update(&at.to_le_bytes());
        Self(hasher)
    }

    pub(crate) fn column(&mut self, name: &str, value: &[u8]) {
        write_part(&mut self.0, name.as_bytes());
        write_part(&mut self.0, value);
    }

    pub(crate) fn finish(&self) -> i64 {
        let mut hash = [0; 8];
        hash.copy_from_slice(&self.0.finalize().as_bytes()[..8]);
        i64::from_le_bytes(hash)
    }
}

fn write_part(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

/// Replaces the id of a person by a keyed pseudonym, so that no table holds the id itself.
///
/// A user's pseudonym depends on the organization, so that one person in two organizations cannot be joined.
/// A visitor's does not: a sign-up must find the pages that were seen before there was an organization.
#[derive(Clone)]
pub struct Pseudonyms {
    secret: [u8; 32],
}

impl Pseudonyms {
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret }
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
    let digest = blake3::keyed_hash(salt, id.as_bytes()).to_hex();
    format!("{prefix}{}", &digest[..20])
}

#[cfg(test)]
mod tests {
    use super::*;

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
