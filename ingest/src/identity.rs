//! Who an event is, what it says, and who did it: the deduplication key, the content hash, and pseudonyms.

use std::{
    hash::Hasher,
    sync::{Arc, PoisonError, RwLock},
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType},
};

use crate::{Table, erasure::Erased, schema::Kind};

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

/// The canonical form, version 1, of an event's content: its type, its organization, its time, then each
/// column that has a value, by name. Two events with one identity and another content are a conflict.
///
/// The bytes are gathered first: hashing them in one go is twice as fast as piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Content(Vec<u8>);

impl Content {
    /// Begins the next event.
    pub(crate) fn begin(&mut self, event_type: &str, organization: &str, at: i64) {
        self.0.clear();
        self.0.push(1);
        write_part(&mut self.0, event_type.as_bytes());
        write_part(&mut self.0, organization.as_bytes());
        self.0.extend_from_slice(&at.to_le_bytes());
    }

    pub(crate) fn column(&mut self, name: &str, value: &[u8]) {
        write_part(&mut self.0, name.as_bytes());
        write_part(&mut self.0, value);
    }

    pub(crate) fn hash(&self) -> i64 {
        let mut hash = [0; 8];
        hash.copy_from_slice(&blake3::hash(&self.0).as_bytes()[..8]);
        i64::from_le_bytes(hash)
    }
}

/// The content hash of each row, computed anew from what is stored. `None` for rows that have none, and for
/// corrections, whose content is that of another row turned around.
pub fn content_hashes(table: Table, rows: &RecordBatch) -> Option<Vec<Option<i64>>> {
    let corrects = rows.column_by_name("corrects_id")?;
    let mut hashes = hashes_of_columns(table, rows)?;
    hashes
        .iter_mut()
        .enumerate()
        .filter(|(row, _)| corrects.is_valid(*row))
        .for_each(|(_, hash)| *hash = None);
    Some(hashes)
}

/// The hash of what each row holds, whether or not it corrects another one.
pub(crate) fn hashes_of_columns(table: Table, rows: &RecordBatch) -> Option<Vec<Option<i64>>> {
    let organizations = rows.column_by_name("organization_id")?.as_string_opt::<i32>()?;
    let times =
        rows.column_by_name(table.time_column())?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let attributes = rows.column_by_name("attributes")?.as_string_opt::<i32>()?;
    let hash = |row: usize| {
        let word = |name| text(rows, name, row).unwrap_or_default();
        let event_type = match table {
            Table::UsageLedger => "usage.request".into(),
            Table::BillingEvents => format!("billing.{}", word("kind")),
            Table::ActivityEvents => format!("activity.{}", word("action")),
            Table::Organizations | Table::ApiKeys => table.name().into(),
            Table::DeadLetter => return None,
        };
        let owner = if organizations.is_valid(row) { organizations.value(row) } else { "" };
        let mut content = Content::default();
        content.begin(&event_type, owner, times.value(row));
        for column in table.columns() {
            // A column that came later is absent from older files.
            if let Some(values) = rows.column_by_name(column.name)
                && values.is_valid(row)
            {
                hash_into(&mut content, column.name, column.kind, values, row)?;
            }
        }
        if attributes.is_valid(row) {
            content.column("attributes", attributes.value(row).as_bytes());
        }
        Some(content.hash())
    };
    Some((0..rows.num_rows()).map(hash).collect())
}

fn text<'a>(rows: &'a RecordBatch, name: &str, row: usize) -> Option<&'a str> {
    let column = rows.column_by_name(name)?.as_string_opt::<i32>()?;
    column.is_valid(row).then(|| column.value(row))
}

fn hash_into(
    content: &mut Content,
    name: &str,
    kind: Kind,
    values: &dyn Array,
    row: usize,
) -> Option<()> {
    match kind {
        Kind::Text => content.column(name, values.as_string_opt::<i32>()?.value(row).as_bytes()),
        Kind::Count => {
            let count = values.as_primitive_opt::<Int64Type>()?.value(row);
            content.column(name, &count.to_le_bytes());
        }
        Kind::Flag => content.column(name, &[u8::from(values.as_boolean_opt()?.value(row))]),
        Kind::Money => {
            let amount = values.as_primitive_opt::<Decimal128Type>()?.value(row);
            content.column(name, &amount.to_le_bytes());
        }
        Kind::Time => {
            let at = values.as_primitive_opt::<TimestampMicrosecondType>()?.value(row);
            content.column(name, &at.to_le_bytes());
        }
    }
    Some(())
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
    erased: Arc<RwLock<Arc<Erased>>>,
}

impl Pseudonyms {
    pub fn new(secret: [u8; 32]) -> Self {
        let erasure_key = blake3::derive_key("aihub erased persons, version 1", &secret);
        Self { secret, erasure_key, erased: Arc::default() }
    }

    /// The persons that are erased.
    pub fn erased(&self) -> Arc<Erased> {
        Arc::clone(&self.erased.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From here on these persons are erased, and no others.
    pub fn erase(&self, erased: Erased) {
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
    let digest = blake3::keyed_hash(salt, id.as_bytes()).to_hex();
    format!("{prefix}{}", &digest[..20])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_stay_what_they_are() {
        // Stored in tables and indexes: other values would count every event twice.
        let key = Key::of("org_a", "/source", "id");
        assert_eq!(u128::from_be_bytes(key.0), 311_369_356_657_703_089_058_858_762_726_749_932_971);
        let mut content = Content::default();
        content.begin("usage.request", "org_a", 7);
        content.column("model", b"m");
        assert_eq!(content.hash(), -1_707_008_106_408_854_565);
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
