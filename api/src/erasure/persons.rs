//! Who is to be erased, as an operator says it.

use std::collections::BTreeSet;

use ingest::{OrganizationId, erasure::Person, identity::Pseudonyms};
use rest::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Persons of one erasure.
const PERSONS_MAX: usize = 10_000;

/// Persons who are to be erased. Without any, what an earlier erasure left undone is done.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Persons {
    /// Whose users they are.
    pub(crate) organization: Option<String>,
    /// What the sender calls them: `user_id` of its events.
    pub(crate) users: Vec<String>,
    /// Visitors: `anonymous_id` of activity events. They belong to no organization.
    pub(crate) anonymous_ids: Vec<String>,
    /// Users or visitors as queries show them.
    pub(crate) pseudonyms: Vec<String>,
    /// Counts the rows that would change.
    pub(crate) dry_run: bool,
}

impl Persons {
    /// The persons as the tables name them, each once.
    pub(crate) fn resolve(&self, pseudonyms: &Pseudonyms) -> Result<Vec<Person>, Problem> {
        let invalid = |detail: String| Problem::bad_request(Code::InvalidPersons, detail);
        let organization = match &self.organization {
            Some(name) => Some(
                OrganizationId::parse(name)
                    .ok_or_else(|| invalid("`organization` is no organization's id".into()))?,
            ),
            None => None,
        };
        let mut persons = BTreeSet::new();
        let mut add = |organization, pseudonym| {
            persons.insert(Person { organization, pseudonym });
        };
        let owner = || {
            let missing = || invalid("users need the `organization` whose users they are".into());
            organization.clone().ok_or_else(missing)
        };
        for user in &self.users {
            let organization = owner()?;
            let pseudonym = pseudonyms.user(organization.as_str(), user);
            add(Some(organization), pseudonym);
        }
        for visitor in &self.anonymous_ids {
            add(None, pseudonyms.visitor(visitor));
        }
        for pseudonym in &self.pseudonyms {
            match pseudonym.split_once('_') {
                Some(("u", digest)) if is_digest(digest) => add(Some(owner()?), pseudonym.clone()),
                Some(("v", digest)) if is_digest(digest) => add(None, pseudonym.clone()),
                _ => return Err(invalid("a pseudonym is u_ or v_ and 20 hex digits".into())),
            }
        }
        if persons.len() > PERSONS_MAX {
            return Err(invalid(format!("more than {PERSONS_MAX} persons")));
        }
        Ok(persons.into_iter().collect())
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 20 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_pseudonyms_name_the_same_persons() {
        let names = Pseudonyms::new([1; 32]);
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let (ada, cookie) = (names.user("org_a", "ada"), names.visitor("cookie"));
        let by_id = Persons {
            organization: Some("org_a".into()),
            users: list(&["ada", "ada"]),
            anonymous_ids: list(&["cookie"]),
            ..Persons::default()
        };
        let by_pseudonym = Persons {
            organization: Some("org_a".into()),
            pseudonyms: list(&[&ada, &cookie]),
            ..Persons::default()
        };
        let resolved = by_id.resolve(&names).unwrap();
        assert_eq!(resolved.len(), 2);
        assert_eq!(resolved, by_pseudonym.resolve(&names).unwrap());
        assert!(Persons::default().resolve(&names).unwrap().is_empty());

        let refused = |persons: Persons| persons.resolve(&names).unwrap_err().code;
        let nobodys = Persons { organization: None, ..by_id };
        let misnamed = Persons { organization: Some("no such".into()), ..Persons::default() };
        let short = Persons { pseudonyms: list(&["v_12"]), ..Persons::default() };
        let other = Persons { pseudonyms: list(&["ada"]), ..Persons::default() };
        for persons in [nobodys, misnamed, short, other] {
            assert_eq!(refused(persons), Code::InvalidPersons);
        }
    }
}
