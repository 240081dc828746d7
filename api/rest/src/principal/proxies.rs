//! Where a request comes from, behind the proxies that the configuration trusts. Everybody else may write what he
//! likes into these headers.

use std::net::{IpAddr, Ipv6Addr};

use actix_web::{HttpRequest, http::header::HeaderMap, web};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Gate;

/// Addresses and networks of proxies: `127.0.0.1`, `10.0.0.0/8`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct TrustedProxies(Vec<IpNet>);

/// The network address of the client: for throttles, limits and the audit log.
pub fn client_ip(request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip().to_canonical();
    let gate = request.app_data::<web::Data<Gate>>();
    Some(gate.map_or(peer, |gate| gate.proxies().client(peer, request.headers())))
}

/// A household holds a whole IPv6 /64: counting its addresses one by one would bound nothing.
pub fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

/// Whether the client speaks TLS, to the proxy before us.
pub(super) fn is_https(request: &HttpRequest) -> bool {
    let Some(gate) = request.app_data::<web::Data<Gate>>() else { return false };
    let peer = request.peer_addr().map(|address| address.ip().to_canonical());
    let says_so = |peer| gate.proxies().says_https(peer, request.headers());
    gate.is_behind_tls() || peer.is_some_and(says_so)
}

impl TrustedProxies {
    fn trusts(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// Each proxy appends the address that it was asked from, so the list is read from its end: the first that is
    /// not a trusted proxy's is the client's. What stands before it, the client may have written.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lists: Vec<_> = headers.get_all("x-forwarded-for").collect();
        let texts = lists.iter().rev().flat_map(|list| {
            let list = list.to_str().unwrap_or("?");
            list.split(',').rev()
        });
        let mut client = peer;
        for text in texts {
            if !self.trusts(client) {
                break;
            }
            let Some(before) = address(text.trim()) else { break };
            client = before;
        }
        client
    }

    fn says_https(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let last = headers.get_all("x-forwarded-proto").last().and_then(|text| text.to_str().ok());
        let last = last.and_then(|list| list.rsplit(',').next());
        self.trusts(peer) && last.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
    }
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1` or `[2001:db8::1]:4711`
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.split_once(']')).map(|(ip, _)| ip);
    let bare = bare.or_else(|| match text.split_once(':') {
        Some((ip, port)) if !port.contains(':') => Some(ip),
        _ => None,
    });
    let ip: IpAddr = bare.unwrap_or(text).parse().ok()?;
    Some(ip.to_canonical())
}

impl TryFrom<Vec<String>> for TrustedProxies {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let network = |text: &String| {
            let one = text.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
            let network = one.or_else(|_| text.parse::<IpNet>().map(|network| network.trunc()));
            let network =
                network.map_err(|_| format!("`{text}` is neither an address nor a network"))?;
            // Addresses are compared in their plain form: nothing would ever be in it.
            match network.addr() {
                IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
                    Err(format!("`{text}` is a network of IPv4 addresses: write it as one"))
                }
                _ => Ok(network),
            }
        };
        texts.iter().map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl From<TrustedProxies> for Vec<String> {
    fn from(proxies: TrustedProxies) -> Self {
        proxies.0.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn proxies(texts: &[&str]) -> TrustedProxies {
        TrustedProxies::try_from(texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
            .unwrap()
    }

    #[test]
    fn the_last_address_that_no_trusted_proxy_has_is_the_clients() {
        let trusted = proxies(&["127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48"]);
        for (peer, headers, client) in [
            ("127.0.0.1", vec![], "127.0.0.1"),
            ("127.0.0.1", vec!["192.0.2.1"], "192.0.2.1"),
            // A stranger's word is not taken.
            ("192.0.2.9", vec!["192.0.2.1"], "192.0.2.9"),
            ("127.0.0.1", vec!["198.51.100.7, 192.0.2.1"], "192.0.2.1"),
            ("127.0.0.1", vec!["198.51.100.7", "192.0.2.1,10.1.2.3"], "192.0.2.1"),
            ("127.0.0.1", vec!["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
            ("127.0.0.1", vec!["192.0.2.1:4711"], "192.0.2.1"),
            ("127.0.0.1", vec!["[2001:db8::1]:4711"], "2001:db8::1"),
            ("2001:db8:1::5", vec!["2001:db8::1"], "2001:db8::1"),
            ("127.0.0.1", vec!["::ffff:192.0.2.1"], "192.0.2.1"),
            // What cannot be read ends the list.
            ("127.0.0.1", vec!["192.0.2.1, unknown"], "127.0.0.1"),
            ("127.0.0.1", vec!["192.0.2.1, unknown, 10.0.0.1"], "10.0.0.1"),
            ("127.0.0.1", vec![""], "127.0.0.1"),
        ] {
            let mut request = TestRequest::default();
            for header in &headers {
                request = request.append_header(("x-forwarded-for", *header));
            }
            let request = request.to_http_request();
            let found = trusted.client(peer.parse().unwrap(), request.headers());
            assert_eq!(found.to_string(), client, "{peer} {headers:?}");
        }
        for (peer, header, says_https) in [
            ("127.0.0.1", "https", true),
            ("127.0.0.1", "http, HTTPS", true),
            ("127.0.0.1", "https, http", false),
            ("192.0.2.9", "https", false),
        ] {
            let request = TestRequest::default().insert_header(("x-forwarded-proto", header));
            let request = request.to_http_request();
            let found = trusted.says_https(peer.parse().unwrap(), request.headers());
            assert_eq!(found, says_https, "{peer} {header}");
        }
    }

    #[test]
    fn a_setting_that_is_no_network_is_refused() {
        assert_eq!(Vec::from(proxies(&["10.1.2.3/8", "::1"])), ["10.0.0.0/8", "::1/128"]);
        assert_eq!(Vec::from(proxies(&["::ffff:10.1.2.3"])), ["10.1.2.3/32"]);
        for wrong in ["", "localhost", "10.0.0.0/33", "*", "::ffff:10.0.0.0/104", "::ffff:0:0/96"] {
            assert!(TrustedProxies::try_from(vec![wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
