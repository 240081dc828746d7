//! Webhooks and Slack-compatible webhooks: one POST of JSON.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use reqwest::{Client, redirect::Policy};
use serde_json::Value;
use tokio::net::lookup_host;
use url::Url;

use crate::{Hooks, SendError};

/// The address of a webhook: `https`, or `http` where private addresses are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookAddress(Url);

/// An address has at most so many bytes.
const ADDRESS_BYTES_MAX: usize = 2_000;
/// Of an answer that refuses, so much is told.
const ANSWER_BYTES_MAX: usize = 300;

impl HookAddress {
    /// Reads an address. Fails with the reason when nothing would ever be sent to it.
    pub fn parse(text: &str, settings: &Hooks) -> Result<Self, String> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(format!("the address is longer than {ADDRESS_BYTES_MAX} bytes"));
        }
        let url = Url::parse(text).map_err(|error| format!("`{text}` is no address: {error}"))?;
        match url.scheme() {
            "https" => {}
            "http" if settings.allow_private => {}
            _ => return Err("the address of a webhook begins with https://".into()),
        }
        if url.host().is_none() || !url.username().is_empty() || url.password().is_some() {
            return Err("the address needs a host, and holds no name and no password".into());
        }
        let literal = match url.host() {
            Some(url::Host::Ipv4(ip)) => Some(IpAddr::from(ip)),
            Some(url::Host::Ipv6(ip)) => Some(IpAddr::from(ip)),
            _ => None,
        };
        if literal.is_some_and(|ip| !settings.allow_private && !is_public(ip)) {
            return Err("the address is one of this machine or of a private network".into());
        }
        Ok(Self(url))
    }

    /// Where its host is now, by a resolver that is asked once. Only these addresses are connected to: a name that changes
    /// in between leads nowhere else.
    async fn resolve(
        &self,
        settings: &Hooks,
        lookup: impl AsyncFnOnce(&str, u16) -> io::Result<Vec<SocketAddr>>,
    ) -> Result<Vec<SocketAddr>, SendError> {
        let host = self.0.host_str().unwrap_or_default();
        let port = self.0.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = lookup(bare, port).await;
        let found = found
            .map_err(|error| SendError::temporary(format!("`{host}` is not found: {error}")))?;
        let (allowed, refused): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|address| settings.allow_private || is_public(address.ip()));
        match (allowed.is_empty(), refused.is_empty()) {
            (false, _) => Ok(allowed),
            (true, false) => Err(SendError::permanent(format!(
                "`{host}` is an address of this machine or of a private network"
            ))),
            (true, true) => Err(SendError::temporary(format!("`{host}` has no address"))),
        }
    }
}

/// Whether an address is one of the internet.
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_documentation()
                || ip.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(ip) => {
            // Global unicast, without what leads back to IPv4 or is for documents.
            let [first, second, ..] = ip.segments();
            (0x2000..0x4000).contains(&first)
                && first != 0x2002
                && !(first == 0x2001 && (second < 0x200 || second == 0xdb8))
        }
    }
}

/// An answer of the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) status: u16,
    /// What `Retry-After` says, in seconds.
    pub(crate) retry_after: Option<u64>,
    /// The beginning of the answer, without control characters.
    pub(crate) said: String,
}

/// Sends a body, and reads the beginning of the answer.
pub(crate) async fn post(
    address: &HookAddress,
    headers: &[(&'static str, String)],
    body: String,
    settings: &Hooks,
) -> Result<Posted, SendError> {
    let patience = Duration::from_secs(settings.timeout_seconds.max(1));
    let addresses = tokio::time::timeout(patience, address.resolve(settings, resolved)).await;
    let addresses = addresses
        .map_err(|_| SendError::temporary("the name of the host was not found in time"))??;
    send(address, &addresses, headers, body, settings).await
}

/// Asks the resolver of the system.
async fn resolved(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host((host, port)).await?.collect())
}

/// Sends to one of these addresses, and to no other.
async fn send(
    address: &HookAddress,
    addresses: &[SocketAddr],
    headers: &[(&'static str, String)],
    body: String,
    settings: &Hooks,
) -> Result<Posted, SendError> {
    let host = address.0.host_str().unwrap_or_default();
    let client = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(settings.timeout_seconds.max(1)))
        .resolve_to_addrs(host, addresses)
        .build()
        .map_err(|error| SendError::temporary(format!("no connection can be made: {error}")))?;
    let mut request =
        client.post(address.0.clone()).header("User-Agent", "AI-Hub-Analytics").body(body);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let mut answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() || error.is_builder() => {
            return Err(SendError::temporary(format!("no connection: {}", without_url(error))));
        }
        Err(error) => {
            return Err(SendError::unclear(format!("no answer: {}", without_url(error))));
        }
    };
    let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| text.trim().parse().ok());
    let mut read = Vec::new();
    // The rest is not read: an answer that never ends costs nothing.
    while read.len() < ANSWER_BYTES_MAX {
        match answer.chunk().await {
            Ok(Some(chunk)) => read.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    read.truncate(ANSWER_BYTES_MAX);
    let said = String::from_utf8_lossy(&read);
    let said = said.chars().filter(|letter| !letter.is_control()).collect();
    Ok(Posted { status: answer.status().as_u16(), retry_after, said })
}

/// Calls a webhook. Only an answer of 200 to 299 says that it arrived.
pub(crate) async fn call(
    address: &HookAddress,
    id: &str,
    body: &Value,
    settings: &Hooks,
) -> Result<(), SendError> {
    let headers =
        [("content-type", "application/json".to_owned()), ("idempotency-key", id.to_owned())];
    let posted = post(address, &headers, body.to_string(), settings).await?;
    let reason = format!("the other side answered {}: {}", posted.status, posted.said);
    match posted.status {
        200..=299 => Ok(()),
        410 => Err(SendError::permanent(reason)),
        _ => Err(SendError::temporary(reason)),
    }
}

/// The address of a webhook is a secret: no error holds it.
fn without_url(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses of this machine, of private networks and of nobody, in the spellings that readers of URLs take.
    const PRIVATE: [&str; 44] = [
        "https://127.0.0.1/x",
        "https://127.1/x",
        "https://127.255.255.254/",
        "https://2130706433/x",
        "https://017700000001/",
        "https://0x7f000001/",
        "https://0x7f.1/x",
        "https://0177.0.0.1/",
        "https://0/",
        "https://0.0.0.0/x",
        "https://0.1.2.3/",
        "https://10.0.0.1/",
        "https://10.255.255.255/",
        "https://172.16.0.1/",
        "https://172.31.255.255/",
        "https://192.168.0.1/",
        "https://192.168.255.255/",
        "https://169.254.169.254/latest/meta-data",
        "https://2852039166/",
        "https://100.64.0.1/x",
        "https://100.127.255.255/",
        "https://192.0.0.1/",
        "https://192.0.2.1/",
        "https://198.18.0.1/",
        "https://198.19.255.255/",
        "https://198.51.100.1/",
        "https://203.0.113.1/",
        "https://224.0.0.1/",
        "https://240.0.0.1/",
        "https://255.255.255.255/",
        "https://[::]/",
        "https://[::1]/x",
        "https://[0:0:0:0:0:0:0:1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:10.0.0.1]/x",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::a00:1]/x",
        "https://[2002:7f00:1::]/x",
        "https://[2001:db8::1]/",
        "https://[2001::1]/",
        "https://[fd00::1]/x",
        "https://[fe80::1]/",
        "https://[ff02::1]/",
    ];

    #[test]
    fn private_addresses_are_refused_in_every_spelling() {
        let strict = Hooks::default();
        for text in PRIVATE {
            assert!(HookAddress::parse(text, &strict).is_err(), "{text}");
        }
        for text in ["http://example.com/x", "https://user@example.com/x", "file:///etc/passwd"] {
            assert!(HookAddress::parse(text, &strict).is_err(), "{text}");
        }
        for text in [
            "https://hooks.example.com/services/T/B/x",
            "https://8.8.8.8/",
            "https://[2606:4700::1]/",
        ] {
            assert!(HookAddress::parse(text, &strict).is_ok(), "{text}");
        }
        let open = Hooks { allow_private: true, ..strict };
        assert!(HookAddress::parse("http://127.0.0.1:9000/x", &open).is_ok());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused_when_it_is_called() {
        let address = HookAddress::parse("https://localhost/x", &Hooks::default()).unwrap();
        let error = call(&address, "1", &Value::Null, &Hooks::default()).await.unwrap_err();
        assert!(error.is_final, "{error}");
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_and_leads_to_no_private_network() {
        let strict = Hooks { timeout_seconds: 1, ..Hooks::default() };
        let address = HookAddress::parse("https://rebinding.example/x", &strict).unwrap();
        // Each private address as the answer of a resolver: none is left to connect to.
        for text in PRIVATE {
            let ip = match Url::parse(text).unwrap().host().unwrap() {
                url::Host::Ipv4(ip) => IpAddr::from(ip),
                url::Host::Ipv6(ip) => IpAddr::from(ip),
                url::Host::Domain(_) => unreachable!("{text}"),
            };
            let lookup = async |_: &str, port| Ok(vec![SocketAddr::new(ip, port)]);
            let refused = address.resolve(&strict, lookup).await.unwrap_err();
            assert!(refused.is_final, "{text}: {refused}");
        }
        // Of several only the public ones; and the second look of a rebinding resolver never happens.
        let public: SocketAddr = "8.8.8.8:443".parse().unwrap();
        let lookup =
            async |_: &str, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port)), public]);
        assert_eq!(address.resolve(&strict, lookup).await.unwrap(), [public]);
        // A request goes to the address that was checked, whatever the name leads to.
        let checked = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = checked.local_addr().unwrap().port();
        let other = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let open = Hooks { allow_private: true, timeout_seconds: 1 };
        let address = HookAddress::parse(&format!("http://localhost:{port}/"), &open).unwrap();
        let addresses = [checked.local_addr().unwrap()];
        let sending = send(&address, &addresses, &[], String::new(), &open);
        let (_, came) = tokio::join!(sending, async {
            tokio::select! {
                _ = checked.accept() => "checked",
                _ = other.accept() => "other",
            }
        });
        assert_eq!(came, "checked");
    }
}
