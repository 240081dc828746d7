//! Whose requests somebody asks about.

use rest::{principal::Principal, problem::Problem};

/// The organization of a customer's user or key. Staff has none.
pub(crate) fn own_organization(principal: &Principal) -> Result<&str, Problem> {
    let of_staff = "you belong to no organization: ask in SQL instead";
    principal.reach.organization_id().ok_or_else(|| Problem::invalid_parameters(of_staff))
}
