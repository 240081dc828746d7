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

/// Why nobody can be erased by what was sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PersonsError {
    #[error("`organization` is no organization's id")]
    Organization,
    #[error("users need the `organization` whose users they are")]
    OrganizationMissing,
    #[error("a pseudonym is u_ or v_ and 20 hex digits")]
    Pseudonym,
    #[error("more than {PERSONS_MAX} persons")]
    TooMany,
}

impl From<PersonsError> for Problem {
    fn from(error: PersonsError) -> Self {
        Self::bad_request(Code::InvalidPersons, error.to_string())
    }
}

impl Persons {
    /// The persons as the tables name them, each once.
    pub(crate) fn resolve(&self, pseudonyms: &Pseudonyms) -> Result<Vec<Person>, PersonsError> {
        let organization = match &self.organization {
            Some(name) => Some(OrganizationId::parse(name).ok_or(PersonsError::Organization)?),
            None => None,
        };
        let mut persons = BTreeSet::new();
        let mut add = |organization, pseudonym| {
            persons.insert(Person { organization, pseudonym });
        };
        let owner = || organization.clone().ok_or(PersonsError::OrganizationMissing);
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
                _ => return Err(PersonsError::Pseudonym),
            }
        }
        if persons.len() > PERSONS_MAX {
            return Err(PersonsError::TooMany);
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

        let refused = |persons: Persons| persons.resolve(&names).unwrap_err();
        let nobodys = Persons { organization: None, ..by_id };
        let misnamed = Persons { organization: Some("no such".into()), ..Persons::default() };
        let short = Persons { pseudonyms: list(&["v_12"]), ..Persons::default() };
        let other = Persons { pseudonyms: list(&["ada"]), ..Persons::default() };
        assert_eq!(refused(nobodys), PersonsError::OrganizationMissing);
        assert_eq!(refused(misnamed), PersonsError::Organization);
        assert_eq!(refused(short), PersonsError::Pseudonym);
        assert_eq!(refused(other), PersonsError::Pseudonym);
    }
}
