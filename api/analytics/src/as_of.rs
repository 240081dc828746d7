//! `as_of`: a cut, as callers get it and give it back. Every route that tells or takes one goes through [`CutCipher`].
//!
//! A cut counts the events of everybody. Staff gets it plainly. An organization gets it sealed: it can neither read
//! a token nor compare two, nor make one, and another organization's is refused.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ingest::log::Lsn;
use pipeline::Cut;
use rest::{
    principal::{Principal, Tenancy},
    problem::{Code, Problem},
};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hmac,
};
use state::ids::random_bytes;

/// Turns cuts into tokens and back. Clones share the key.
#[derive(Debug, Clone)]
pub struct CutCipher(Arc<LessSafeKey>);

/// What a key is derived for. Another version of the sealed form needs another one.
const PURPOSE: &[u8] = b"aihub as_of 1";
/// The log and the LSN.
const CUT_LEN: usize = 16;
const SEALED_LEN: usize = NONCE_LEN + CUT_LEN + 16;

impl CutCipher {
    /// `secret` stays with the data folder, so that tokens outlive the process.
    pub fn new(secret: &[u8; 32]) -> Result<Self, Unspecified> {
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), PURPOSE);
        Ok(Self(Arc::new(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key.as_ref())?))))
    }

    /// A cut as `who` is told it.
    pub fn token(&self, cut: &Cut, who: &Principal) -> Result<String, Problem> {
        match &who.reach {
            Tenancy::All => Ok(Self::for_staff(cut)),
            Tenancy::Organization(id) => self.sealed(cut, id).map_err(|_| Problem::internal()),
        }
    }

    /// A cut as staff is told it, whoever of them.
    pub fn for_staff(cut: &Cut) -> String {
        cut.plain_token()
    }

    /// `newest` moved back to the cut of a token for staff.
    pub fn back_for_staff(token: &str, newest: Cut) -> Result<Cut, Problem> {
        let moved = newest.back_to_token(token);
        moved.map_err(|error| Problem::bad_request(Code::InvalidAsOf, error.to_string()))
    }

    /// `newest` moved back to the cut of a token that `who` was told.
    pub fn back_to(&self, token: &str, newest: Cut, who: &Principal) -> Result<Cut, Problem> {
        match &who.reach {
            Tenancy::All => Self::back_for_staff(token, newest),
            Tenancy::Organization(id) => {
                let moved =
                    self.opened(token, id).and_then(|(log, lsn)| newest.back_to(log, lsn).ok());
                moved.ok_or_else(|| {
                    let why = "the cut is not one that this organization was told";
                    Problem::bad_request(Code::InvalidAsOf, why)
                })
            }
        }
    }

    /// The nonce is random: two tokens of one cut say nothing of each other.
    fn sealed(&self, cut: &Cut, organization: &str) -> Result<String, Unspecified> {
        let nonce: [u8; NONCE_LEN] = random_bytes().map_err(|_| Unspecified)?;
        let mut text = [cut.log.to_be_bytes(), cut.lsn.to_be_bytes()].concat();
        let (at, bound) = (Nonce::assume_unique_for_key(nonce), Aad::from(organization.as_bytes()));
        self.0.seal_in_place_append_tag(at, bound, &mut text)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat()))
    }

    fn opened(&self, token: &str, organization: &str) -> Option<(i64, Lsn)> {
        let sealed = URL_SAFE_NO_PAD.decode(token).ok().filter(|b| b.len() == SEALED_LEN)?;
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let (at, bound) =
            (Nonce::assume_unique_for_key(*nonce), Aad::from(organization.as_bytes()));
        let mut text = text.to_vec();
        let cut = self.0.open_in_place(at, bound, &mut text).ok()?;
        let (log, lsn) = cut.split_first_chunk::<8>()?;
        Some((i64::from_be_bytes(*log), Lsn::from_be_bytes(lsn.try_into().ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use rest::principal::{PrincipalKind, Scopes};

    fn who(organization: Option<&str>) -> Principal {
        Principal {
            grant: ingest::Grant::ALL,
            id: "key_1".into(),
            name: "k".into(),
            kind: PrincipalKind::Key(Scopes::parse("read").unwrap()),
            reach: organization.map(str::to_owned).into(),
            session_id: None,
            restriction: None,
            needs_confirmation: false,
            language: None,
        }
    }

    #[test]
    fn a_token_is_its_organizations_and_says_nothing() {
        let cut_cipher = CutCipher::new(&[7; 32]).unwrap();
        let newest = Cut { log: 77, lsn: 1_000_000, ..Cut::default() };
        let (a, b, staff) = (who(Some("org_a")), who(Some("org_b")), who(None));
        let mut tokens = BTreeSet::new();
        for lsn in [0, 1, 999, 1_000_000] {
            let cut = Cut { lsn, ..newest.clone() };
            for _ in 0..3 {
                let token = cut_cipher.token(&cut, &a).unwrap();
                assert_eq!(cut_cipher.back_to(&token, newest.clone(), &a).unwrap(), cut);
                // Another process with the same secret reads it.
                let again = CutCipher::new(&[7; 32]).unwrap().back_to(&token, newest.clone(), &a);
                assert_eq!(again.unwrap(), cut);
                for (cut_cipher, who) in [
                    (&cut_cipher, &b),
                    (&cut_cipher, &staff),
                    (&CutCipher::new(&[8; 32]).unwrap(), &a),
                ] {
                    let refused = cut_cipher.back_to(&token, newest.clone(), who).unwrap_err();
                    assert_eq!(refused.code, Code::InvalidAsOf);
                }
                tokens.insert(token);
            }
            let plain = cut_cipher.token(&cut, &staff).unwrap();
            assert_eq!(cut_cipher.back_to(&plain, newest.clone(), &staff).unwrap(), cut);
            assert_eq!(
                cut_cipher.back_to(&plain, newest.clone(), &a).unwrap_err().code,
                Code::InvalidAsOf
            );
        }
        assert_eq!(tokens.len(), 12);
        assert_eq!(tokens.iter().map(String::len).collect::<BTreeSet<_>>(), [59].into());
        let mut broken = tokens.pop_first().unwrap().into_bytes();
        for place in 0..broken.len() {
            broken[place] ^= 1;
            let text = String::from_utf8(broken.clone()).unwrap();
            assert!(cut_cipher.back_to(&text, newest.clone(), &a).is_err(), "{text}");
            broken[place] ^= 1;
        }
        assert!(cut_cipher.back_to("", newest, &a).is_err());
    }
}
