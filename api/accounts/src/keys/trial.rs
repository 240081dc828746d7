//! Keys that are made for trying the API on its own page.

use chrono::TimeDelta;
use ingest::Grant;
use rest::{
    principal::{Principal, Scope, Scopes},
    problem::Problem,
};
use state::audit::AuditOrigin;

use super::{KeyError, KeyLimits, KeyPurpose, NewKey, create};
use crate::Directory;

impl Directory {
    /// Makes a key of the principal's own organization, for reading and writing, and gives its secret.
    pub async fn make_trial_key(
        &self,
        principal: &Principal,
        name: &str,
        lifetime: TimeDelta,
        origin: &AuditOrigin,
    ) -> Result<String, Problem> {
        let now = self.state.clock.now();
        let own = principal.reach.organization_id().map(str::to_owned);
        let organization_id = own.ok_or(KeyError::Invalid {
            field: "organization_id",
            reason: "is none: only users of an organization try the API here",
        })?;
        let new = NewKey {
            name: name.to_owned(),
            organization_id: Some(organization_id),
            scopes: Scopes::of([Scope::Read.as_str(), Scope::Write.as_str()])
                .map_err(KeyError::from)?,
            grant: Grant::ALL,
            limits: KeyLimits::default(),
            purpose: KeyPurpose::default(),
            expires_at: Some(now + lifetime),
        };
        let (_, secret) = create(&self.state.store, new, origin, now).await?;
        self.keys.forget();
        Ok(secret.reveal().to_owned())
    }
}
