//! Links in mails: they lead here, and those that act by themselves are signed.

use std::sync::{Arc, RwLock};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;

/// Makes and reads links. Clones share the address of the server.
#[derive(Clone)]
pub struct Links {
    base: Arc<RwLock<String>>,
    key: hmac::Key,
}

/// Of a signature.
const SIGNATURE_BYTES: usize = 32;

impl Links {
    /// `base` is the address under which people reach the server, such as `https://analytics.example.com`.
    pub fn new(base: &str, key: &[u8; 32]) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self { base: Arc::new(RwLock::new(base)), key }
    }

    /// The address that the server listens on, where no other is configured.
    pub fn listens_on(&self, url: &str) {
        if let Ok(mut base) = self.base.write()
            && base.is_empty()
        {
            url.clone_into(&mut base);
        }
    }

    /// The link to a path.
    pub fn to(&self, path: &str) -> String {
        let base = self.base.read().map(|base| base.clone()).unwrap_or_default();
        format!("{base}{path}")
    }

    /// A token that says something of a thing and an address, and that nobody else can make.
    pub fn token(&self, id: &str, address: &str) -> String {
        let text = format!("{id}\n{address}");
        let signature = hmac::sign(&self.key, text.as_bytes());
        let mut bytes = signature.as_ref().to_vec();
        bytes.extend(text.into_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The thing and the address of a token, if we made it.
    pub fn read(&self, token: &str) -> Option<(String, String)> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (signature, text) = bytes.split_at_checked(SIGNATURE_BYTES)?;
        hmac::verify(&self.key, text, signature).ok()?;
        let (id, address) = std::str::from_utf8(text).ok()?.split_once('\n')?;
        Some((id.to_owned(), address.to_owned()))
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Links").field(&self.base).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_no_other_is() {
        let links = Links::new("https://example.com/", &[7; 32]);
        assert_eq!(links.to("/reports"), "https://example.com/reports");
        links.listens_on("http://127.0.0.1:1");
        assert_eq!(links.to(""), "https://example.com");
        let token = links.token("report_1", "a@example.com");
        let read = Some(("report_1".to_owned(), "a@example.com".to_owned()));
        assert_eq!(links.read(&token), read);
        assert_eq!(Links::new("", &[8; 32]).read(&token), None);
        let other = URL_SAFE_NO_PAD.encode([&[0; 32][..], b"report_1\nb@example.com"].concat());
        for odd in ["", "x", other.as_str(), &token[1..]] {
            assert_eq!(links.read(odd), None, "{odd}");
        }
    }
}
