use ring::hmac;
use state::scratch::noon;

use super::*;

async fn tokens() -> (state::scratch::Scratch, AccessTokens) {
    let scratch = crate::scratch().await;
    let vault = Vault::new([1; 32]);
    let tokens = AccessTokens::new(scratch.store.clone(), vault, "https://hub.example".to_owned());
    (scratch, tokens)
}

#[tokio::test]
async fn a_token_is_read_back_for_ten_minutes() {
    let (scratch, tokens) = tokens().await;
    let token = tokens.issue("user_1", "session_1", noon()).await.unwrap();
    let claims = tokens.read(&token, noon()).await.unwrap().unwrap();
    assert_eq!((claims.sub.as_str(), claims.sid.as_str()), ("user_1", "session_1"));
    let read_at = async |at| tokens.read(&token, at).await.unwrap().is_some();
    assert!(read_at(noon() + LIFETIME - TimeDelta::seconds(1)).await);
    assert!(!read_at(noon() + LIFETIME).await);
    assert!(read_at(noon() - LEEWAY).await && !read_at(noon() - TimeDelta::seconds(6)).await);
    // Another process with the same secret reads it; one with another secret does not.
    let other = |key, issuer: &str| {
        AccessTokens::new(scratch.store.clone(), Vault::new([key; 32]), issuer.to_owned())
    };
    assert!(other(1, "https://hub.example").read(&token, noon()).await.unwrap().is_some());
    assert!(other(2, "https://hub.example").read(&token, noon()).await.unwrap().is_none());
    assert!(other(1, "https://evil.example").read(&token, noon()).await.unwrap().is_none());
}

#[tokio::test]
async fn keys_are_rotated_and_known_a_day_longer() {
    let (_scratch, tokens) = tokens().await;
    let ids = async |now| -> Vec<String> {
        let keys = tokens.jwks(now).await.unwrap();
        let keys = keys["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let first = ids(noon()).await;
    assert_eq!(first.len(), 1);
    let late = noon() + KEY_SIGNS_FOR - TimeDelta::seconds(1);
    assert_eq!(ids(late).await, first);
    let token = tokens.issue("user_1", "session_1", late).await.unwrap();
    let after = noon() + KEY_SIGNS_FOR;
    let both = ids(after).await;
    assert!(both.len() == 2 && both[1] == first[0]);
    assert!(tokens.read(&token, after).await.unwrap().is_some());
    assert_eq!(ids(noon() + KEY_KNOWN_FOR).await, both[..1]);
}

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn with(base: &Value, name: &str, value: Value) -> Value {
    let mut changed = base.clone();
    changed[name] = value;
    changed
}

fn without(base: &Value, name: &str) -> Value {
    let mut changed = base.clone();
    changed.as_object_mut().unwrap().remove(name);
    changed
}

/// A good token taken apart, and the key that made it.
struct Forge {
    header: Value,
    claims: Value,
    signature: String,
    key: SigningKey,
}

type Forged = Vec<(&'static str, String)>;

impl Forge {
    fn new(good: &str, key: SigningKey) -> Self {
        let parts: Vec<&str> = good.split('.').collect();
        let json =
            |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
        let (header, claims) = (json(parts[0]), json(parts[1]));
        Self { header, claims, signature: parts[2].to_owned(), key }
    }

    /// With the signature of the good token.
    fn stolen(&self, header: &Value, claims: &Value) -> String {
        format!("{}.{}.{}", part(header), part(claims), self.signature)
    }

    fn hmac(&self, secret: &[u8]) -> String {
        let text =
            format!("{}.{}", part(&with(&self.header, "alg", json!("HS256"))), part(&self.claims));
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.as_ref()))
    }

    fn signed(&self, encoding: &EncodingKey, header: &Value, claims: &Value) -> String {
        let made: Header = serde_json::from_value(header.clone()).unwrap();
        encode(&made, claims, encoding).unwrap()
    }

    /// Algorithms that we do not use, and signatures of something else.
    fn of_algorithms(&self) -> Forged {
        let (header, claims) = (&self.header, &self.claims);
        let public = URL_SAFE_NO_PAD.decode(&self.key.public).unwrap();
        let unsigned = |header: &Value| format!("{}.{}.", part(header), part(claims));
        let alg = |name: &str| with(header, "alg", json!(name));
        vec![
            ("alg none", unsigned(&alg("none"))),
            ("alg None", unsigned(&alg("None"))),
            ("no signature", unsigned(header)),
            ("no alg", unsigned(&without(header, "alg"))),
            ("HS256 with the public key", self.hmac(&public)),
            ("HS256 with the text of the key", self.hmac(self.key.public.as_bytes())),
            ("HS256 with nothing", self.hmac(b"")),
            ("RS256", self.stolen(&alg("RS256"), claims)),
            ("ES256", self.stolen(&alg("ES256"), claims)),
            ("another user", self.stolen(header, &with(claims, "sub", json!("user_2")))),
            ("another session", self.stolen(header, &with(claims, "sid", json!("session_2")))),
            ("a longer life", self.stolen(header, &with(claims, "exp", json!(9_999_999_999_i64)))),
        ]
    }

    /// Keys that are not ours, however they are named.
    fn of_keys(&self) -> Forged {
        let (header, claims) = (&self.header, &self.claims);
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let theirs = EncodingKey::from_ed_der(pkcs8.as_ref());
        let by_them = |header: &Value| self.signed(&theirs, header, claims);
        let by_us = |header: &Value| self.signed(&self.key.encoding, header, claims);
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        vec![
            ("another key", by_them(header)),
            ("its own key", by_them(&with(header, "jwk", jwk))),
            ("a key elsewhere", by_them(&with(header, "jku", json!("https://evil.example/jwks")))),
            ("a certificate", by_them(&with(header, "x5u", json!("https://evil.example/x")))),
            ("a path as kid", by_us(&with(header, "kid", json!("../../etc/passwd")))),
            ("SQL as kid", by_us(&with(header, "kid", json!("' OR 1=1 --")))),
            ("an unknown kid", by_us(&with(header, "kid", json!("AAAAAAAAAAA")))),
            ("no kid", by_us(&without(header, "kid"))),
            ("typ JWT", by_us(&with(header, "typ", json!("JWT")))),
            ("no typ", by_us(&without(header, "typ"))),
        ]
    }

    /// Signed by us, and not what we issue.
    fn of_claims(&self) -> Forged {
        let claims = &self.claims;
        let now = noon().timestamp();
        let ours = |claims: &Value| self.signed(&self.key.encoding, &self.header, claims);
        vec![
            ("another audience", ours(&with(claims, "aud", json!("other")))),
            ("no audience", ours(&without(claims, "aud"))),
            ("another issuer", ours(&with(claims, "iss", json!("https://evil.example")))),
            ("no issuer", ours(&without(claims, "iss"))),
            ("over", ours(&with(claims, "exp", json!(now)))),
            ("no end", ours(&without(claims, "exp"))),
            ("not yet", ours(&with(claims, "nbf", json!(now + 60)))),
            ("a year", ours(&with(claims, "exp", json!(now + 31_536_000)))),
            ("an end that is a text", ours(&with(claims, "exp", json!("9999999999")))),
            ("no user", ours(&without(claims, "sub"))),
            ("no session", ours(&without(claims, "sid"))),
            ("long", ours(&with(claims, "x", json!("x".repeat(3_000))))),
        ]
    }
}

/// What RFC 8725 warns of, and more.
#[tokio::test]
async fn forgeries_are_refused() {
    let (_scratch, tokens) = tokens().await;
    let good = tokens.issue("user_1", "session_1", noon()).await.unwrap();
    let forge = Forge::new(&good, tokens.signing_key(noon()).await.unwrap());
    let cut: Forged = vec![
        ("two parts", good.rsplit_once('.').unwrap().0.to_owned()),
        ("four parts", format!("{good}.x")),
        ("padding", format!("{good}=")),
        ("a space", format!(" {good}")),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
    ];
    let all = [forge.of_algorithms(), forge.of_keys(), forge.of_claims(), cut].concat();
    assert!(all.len() >= 25);
    for (what, token) in all {
        assert_eq!(tokens.read(&token, noon()).await.unwrap(), None, "{what}");
    }
    // The same way of signing makes a good one.
    let again = forge.signed(&forge.key.encoding, &forge.header, &forge.claims);
    assert!(tokens.read(&again, noon()).await.unwrap().is_some());
}
