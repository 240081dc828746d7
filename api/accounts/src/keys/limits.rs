//! What a key may be used for, and from where.

use std::net::IpAddr;

use glob::Pattern;
use ingest::control;
use ipnet::{IpNet, Ipv4Net};

use super::KeyError;

/// Entries of a list.
const ENTRIES_MAX: usize = 50;
const MODEL_BYTES_MAX: usize = 100;

/// The models and networks of a key. Without entries there is no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyLimits {
    models: Vec<Pattern>,
    networks: Vec<IpNet>,
}

impl KeyLimits {
    /// Reads globs of models such as `gpt-4*`, and networks such as `10.0.0.0/8` or single addresses.
    pub fn new(models: &[String], networks: &[String]) -> Result<Self, KeyError> {
        let invalid = |field, reason| KeyError::Invalid { field, reason };
        if models.len() > ENTRIES_MAX {
            return Err(invalid("models", "holds at most 50 entries"));
        }
        if networks.len() > ENTRIES_MAX {
            return Err(invalid("networks", "holds at most 50 entries"));
        }
        let model = |text: &String| {
            let text = text.trim();
            let is_text = (1..=MODEL_BYTES_MAX).contains(&text.len())
                && !text.contains(',')
                && !control::in_name(text);
            let pattern = Pattern::new(text).ok().filter(|_| is_text);
            pattern.ok_or_else(|| invalid("models", "must be names or globs such as gpt-4*"))
        };
        let network = |text: &String| {
            let one = || text.parse::<IpAddr>().map(IpNet::from);
            let network = text.parse::<IpNet>().or_else(|_| one()).ok();
            let reason = "must be addresses or networks such as 10.0.0.0/8";
            network.map(canonical).ok_or_else(|| invalid("networks", reason))
        };
        Ok(Self {
            models: models.iter().map(model).collect::<Result<_, _>>()?,
            networks: networks.iter().map(network).collect::<Result<_, _>>()?,
        })
    }

    /// The globs of models; empty where every model is allowed.
    pub fn models(&self) -> Vec<String> {
        self.models.iter().map(|model| model.as_str().to_owned()).collect()
    }

    /// The networks; empty where every address is allowed.
    pub fn networks(&self) -> Vec<String> {
        self.networks.iter().map(IpNet::to_string).collect()
    }

    /// Whether a model is allowed. One that is not named is only where every model is.
    pub fn allows_model(&self, model: Option<&str>) -> bool {
        let matches = |model| self.models.iter().any(|pattern| pattern.matches(model));
        self.models.is_empty() || model.is_some_and(matches)
    }

    /// Whether an address is allowed. One that is not known is only where every address is.
    pub fn allows_address(&self, from: Option<IpAddr>) -> bool {
        let is_in =
            |from: IpAddr| self.networks.iter().any(|net| net.contains(&from.to_canonical()));
        self.networks.is_empty() || from.is_some_and(is_in)
    }
}

/// Without the bits of hosts, and an address of IPv4 as such.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let mapped = match network {
        IpNet::V6(six) if six.prefix_len() >= MAPPED_BITS => six
            .addr()
            .to_ipv4_mapped()
            .and_then(|four| Ipv4Net::new(four, six.prefix_len() - MAPPED_BITS).ok()),
        _ => None,
    };
    mapped.map_or(network, IpNet::V4).trunc()
}

#[cfg(test)]
mod tests {
    use super::KeyLimits;

    fn limits(models: &[&str], networks: &[&str]) -> Option<KeyLimits> {
        let owned =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        KeyLimits::new(&owned(models), &owned(networks)).ok()
    }

    #[test]
    fn models_are_names_or_globs() {
        let some = limits(&["gpt-4*", "merlin-3", "team/?"], &[]).unwrap();
        for (model, allowed) in [
            ("gpt-4", true),
            ("gpt-4o/mini", true),
            ("gpt-3", false),
            ("merlin-3", true),
            ("merlin-30", false),
            ("team/a", true),
            ("", false),
        ] {
            assert_eq!(some.allows_model(Some(model)), allowed, "{model}");
        }
        assert!(KeyLimits::default().allows_model(Some("anything")));
        assert!(KeyLimits::default().allows_model(None) && !some.allows_model(None));
        assert_eq!(limits(&[" gpt-4 "], &[]).unwrap().models(), ["gpt-4"]);
        for wrong in ["", "a,b", "[", "a\nb", &"x".repeat(101)] {
            assert_eq!(limits(&[wrong], &[]), None, "{wrong}");
        }
    }

    #[test]
    fn networks_are_addresses_or_ranges() {
        let some = limits(&[], &["10.1.2.3/8", "192.0.2.7", "2001:db8::/32"]).unwrap();
        assert_eq!(some.networks(), ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
        for (address, allowed) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:1::1", true),
            // An address of IPv4 as one of IPv6.
            ("::ffff:10.0.0.1", true),
        ] {
            assert_eq!(some.allows_address(Some(address.parse().unwrap())), allowed, "{address}");
        }
        let mapped = limits(&[], &["::ffff:192.0.2.9", "::ffff:10.0.0.0/104"]).unwrap();
        assert_eq!(mapped.networks(), ["192.0.2.9/32", "10.0.0.0/8"]);
        assert!(!some.allows_address(None) && KeyLimits::default().allows_address(None));
        for wrong in ["", "10.0.0.0/33", "host", "10.0.0"] {
            assert_eq!(limits(&[], &[wrong]), None, "{wrong}");
        }
    }
}
