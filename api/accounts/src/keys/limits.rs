//! What a key may be used for, and from where.

use std::net::IpAddr;

use glob::Pattern;
use ingest::control;
use ipnet::{IpNet, Ipv4Net};

use super::KeyError;
use crate::plans::Limits;

/// Entries of a list.
const ENTRIES_MAX: usize = 50;
const MODEL_BYTES_MAX: usize = 100;
const PROJECT_MAX: usize = 100;
const NOTES_MAX: usize = 1_000;

/// The models and networks of a key, and what it may use. Without entries there is no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyLimits {
    models: Vec<Pattern>,
    networks: Vec<IpNet>,
    budget: Limits,
}

/// What a key is for, in the words of whoever keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPurpose {
    project_id: Option<String>,
    notes: Option<String>,
}

impl KeyPurpose {
    /// A project, 1 to 100 characters, and notes, at most 1000.
    pub fn new(project_id: Option<String>, notes: Option<String>) -> Result<Self, KeyError> {
        let invalid = |field, reason| Err(KeyError::Invalid { field, reason });
        let is_name = |id: &String| {
            !id.trim().is_empty() && id.chars().count() <= PROJECT_MAX && !control::in_name(id)
        };
        if project_id.as_ref().is_some_and(|id| !is_name(id)) {
            return invalid("project_id", "must be 1 to 100 characters without control characters");
        }
        let is_prose = |text: &String| {
            text.chars().count() <= NOTES_MAX && text.lines().all(|line| !control::in_name(line))
        };
        if notes.as_ref().is_some_and(|notes| !is_prose(notes)) {
            return invalid("notes", "must be at most 1000 characters without control characters");
        }
        Ok(Self { project_id, notes: notes.filter(|notes| !notes.is_empty()) })
    }

    /// The project that its calls are of.
    pub fn project_id(&self) -> Option<&str> {
        self.project_id.as_deref()
    }

    /// The notes.
    pub fn notes(&self) -> Option<&str> {
        self.notes.as_deref()
    }
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
            budget: Limits::default(),
        })
    }

    /// The same, with what the key may use: calls in a minute and a day, and in a month requests, tokens and money.
    pub fn with_budget(self, budget: Limits) -> Result<Self, KeyError> {
        if budget.concurrent_requests.is_some() {
            let reason = "has no `concurrent_requests`: they are of organizations";
            return Err(KeyError::Invalid { field: "budget", reason });
        }
        Ok(Self { budget, ..self })
    }

    /// What the key may use.
    pub fn budget(&self) -> &Limits {
        &self.budget
    }

    pub(super) fn budget_text(&self) -> Option<String> {
        let text = || serde_json::to_string(&self.budget).unwrap_or_default();
        (!self.budget.is_unlimited()).then(text)
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
