//! Whose billing somebody asks about.

use rest::{
    principal::Principal,
    problem::{Code, Problem},
};

/// The organization of a customer's user or key. Staff has none.
pub(crate) fn own_organization(principal: &Principal) -> Result<&str, Problem> {
    let of_staff = || {
        let detail = "you belong to no organization: name one under /v1/admin/organizations";
        Problem::bad_request(Code::InvalidParameters, detail)
    };
    principal.reach.organization_id().ok_or_else(of_staff)
}
