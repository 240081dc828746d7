//! What a key may write: whose events, from which sources, of which types.
//!
//! A key of the platform writes everything but what organizations say of themselves, unless it was narrowed. An
//! organization's own key writes what it says of itself: usage and activity under its own source, and nothing of
//! money. So nobody takes an identity from somebody else, and what a customer says is never a fact of the platform.

use crate::{OrganizationId, Rejection, RejectionCode, event::route};

/// Sources of what organizations say of themselves: this, the organization's id, and `/`.
pub const SELF_REPORTED: &str = "/organizations/";

/// Narrows what a key may write. An empty list is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    sources: Vec<String>,
    types: Vec<String>,
}

const ENTRIES_MAX: usize = 32;
const ENTRY_BYTES_MAX: usize = 256;
/// What organizations may say of themselves.
const OWN_TYPES: [&str; 2] = ["usage.request", "activity.*"];

impl Grant {
    /// No limit beside what holds for everybody.
    pub const ALL: Self = Self { sources: Vec::new(), types: Vec::new() };

    /// `sources` are beginnings of sources; `types` are types, or beginnings that end with `.*`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn new(sources: Vec<String>, types: Vec<String>) -> Result<Self, &'static str> {
        if sources.len() > ENTRIES_MAX || types.len() > ENTRIES_MAX {
            return Err("has more than 32 entries");
        }
        let is_word = |text: &String| {
            (1..=ENTRY_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
        };
        if !sources.iter().chain(&types).all(is_word) {
            return Err("holds an entry that is empty, too long, or not plain text without commas");
        }
        if sources.iter().any(|source| source.starts_with(SELF_REPORTED)) {
            return Err("names a source of organizations: only their own keys write there");
        }
        let is_type = |name: &String| {
            OWN_TYPES.contains(&name.as_str()) || name == "billing.*" || route(name).is_some()
        };
        if !types.iter().all(is_type) {
            return Err("names a type that there is not, such as usage.request or billing.*");
        }
        Ok(Self { sources, types })
    }

    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    pub fn types(&self) -> &[String] {
        &self.types
    }

    /// Whether a source is among those that the key was narrowed to.
    pub fn reaches(&self, source: &str) -> bool {
        self.sources.is_empty()
            || self.sources.iter().any(|prefix| source.starts_with(prefix.as_str()))
    }

    /// Whether a key may write under a source and a type. `owner` is the organization of an organization's own key.
    ///
    /// # Errors
    /// [`RejectionCode::SourceNotAllowed`] or [`RejectionCode::TypeNotAllowed`].
    pub fn check(
        &self,
        owner: Option<&OrganizationId>,
        source: &str,
        event_type: &str,
    ) -> Result<(), Rejection> {
        let source_refused = |reason: String| {
            Err(Rejection::new(RejectionCode::SourceNotAllowed, "/source", reason))
        };
        // What is no type at all is refused as that.
        let is_type = route(event_type).is_some();
        match owner {
            Some(id) => {
                let own = source.strip_prefix(SELF_REPORTED);
                let own = own.and_then(|rest| rest.strip_prefix(id.as_str()));
                if !own.is_some_and(|rest| rest.starts_with('/')) {
                    return source_refused(format!(
                        "an organization's own key sends under `{SELF_REPORTED}{id}/`"
                    ));
                }
                if is_type && !fits(&OWN_TYPES, event_type) {
                    return type_refused("an organization's own key sends usage and activity");
                }
            }
            None if source.starts_with(SELF_REPORTED) => {
                return source_refused(format!(
                    "only an organization's own key sends under `{SELF_REPORTED}`"
                ));
            }
            None => {}
        }
        if !self.reaches(source) {
            return source_refused("the key may not send under this source".into());
        }
        if is_type && !self.types.is_empty() && !fits(&self.types, event_type) {
            return type_refused("the key may not send events of this type");
        }
        Ok(())
    }
}

/// The refusal of a column of money, which only the platform states.
pub fn money_refused(column: &str) -> Rejection {
    let reason = "an organization's own key states no cost, price or currency";
    Rejection::new(RejectionCode::MoneyNotAllowed, format!("/data/{column}"), reason)
}

fn type_refused(reason: &str) -> Result<(), Rejection> {
    Err(Rejection::new(RejectionCode::TypeNotAllowed, "/type", reason))
}

fn fits(types: &[impl AsRef<str>], event_type: &str) -> bool {
    types.iter().map(AsRef::as_ref).any(|name| match name.strip_suffix('*') {
        Some(beginning) => event_type.starts_with(beginning),
        None => event_type == name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(
        grant: &Grant,
        owner: Option<&str>,
        source: &str,
        event_type: &str,
    ) -> Option<&'static str> {
        let owner = owner.and_then(OrganizationId::parse);
        grant.check(owner.as_ref(), source, event_type).err().map(|why| why.code.as_str())
    }

    #[test]
    fn who_may_state_what() {
        let (source, kind) = (Some("source_not_allowed"), Some("type_not_allowed"));
        let narrow = Grant::new(
            vec!["/gateway/eu".into(), "/portal/".into()],
            vec!["usage.request".into(), "activity.*".into(), "billing.signed_up".into()],
        );
        let (all, narrow) = (Grant::ALL, narrow.unwrap());
        for (grant, owner, from, event_type, expected) in [
            (&all, None, "/gateway", "usage.request", None),
            (&all, None, "/gateway", "billing.payment_failed", None),
            (&all, None, "/organizations/org_a/x", "usage.request", source),
            (&all, None, "/organizations/", "usage.request", source),
            (&all, Some("org_a"), "/organizations/org_a/", "usage.request", None),
            (&all, Some("org_a"), "/organizations/org_a/app", "activity.login", None),
            (&all, Some("org_a"), "/organizations/org_a/app", "billing.signed_up", kind),
            (&all, Some("org_a"), "/organizations/org_a/app", "billing.gift", None),
            (&all, Some("org_a"), "/organizations/org_a", "usage.request", source),
            (&all, Some("org_a"), "/organizations/org_ab/", "usage.request", source),
            (&all, Some("org_a"), "/Organizations/org_a/", "usage.request", source),
            (&all, Some("org_a"), "/gateway", "usage.request", source),
            (&narrow, None, "/gateway/eu-1", "usage.request", None),
            (&narrow, None, "/gateway/us-1", "usage.request", source),
            (&narrow, None, "/portal/x", "activity.login", None),
            (&narrow, None, "/portal/x", "billing.signed_up", None),
            (&narrow, None, "/portal/x", "billing.payment_failed", kind),
            (&narrow, Some("org_a"), "/organizations/org_a/", "usage.request", source),
        ] {
            assert_eq!(
                code(grant, owner, from, event_type),
                expected,
                "{owner:?} {from} {event_type}"
            );
        }
    }

    #[test]
    fn a_grant_that_makes_no_sense_is_refused() {
        let source = |text: &str| Grant::new(vec![text.into()], Vec::new());
        let kind = |text: &str| Grant::new(Vec::new(), vec![text.into()]);
        for bad in ["", "/a b", "/a,b", "/organizations/org_a/", "/\n"] {
            assert!(source(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "usage", "*", "usage.*", "billing.gift", "activity.Log In"] {
            assert!(kind(bad).is_err(), "{bad:?}");
        }
        for good in
            ["usage.request", "billing.*", "billing.signed_up", "activity.*", "activity.login"]
        {
            assert!(kind(good).is_ok(), "{good}");
        }
    }
}
