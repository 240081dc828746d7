//! What takes abilities of a user away, and which requests are left.

use actix_web::HttpRequest;

use crate::problem::{Code, Problem};

/// Why a user may do less than the role says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// An administrator suspended the user, or the user's organization. The user only reads now.
    Suspended,
    /// An administrator looks at what the user sees.
    View,
    /// The role must have a second factor, and the user has none: nothing else is possible.
    SecondFactorMissing,
}

/// Questions that are too long for an address: they change nothing.
const QUESTIONS: [&str; 10] = [
    "/v1/metrics/query",
    "/v1/metrics/{name}/why",
    "/v1/analyses/funnel",
    "/v1/analyses/retention",
    "/v1/analyses/lifecycle",
    "/v1/analyses/sessions",
    "/v1/analyses/paths",
    "/v1/dashboards/check",
    "/v1/alerts/trial",
    "/v1/schedules/next",
];
/// How an invoice is paid.
const PAYING: [&str; 4] = [
    "/v1/invoices/{invoice_id}/pay",
    "/v1/billing/payment-method",
    "/billing/invoices/{id}/pay",
    "/billing/payment-method",
];
/// How a session ends.
const WAYS_OUT: [&str; 2] = ["/v1/auth/logout", "/sign-out"];
/// The own account: what these paths and those below them change is nobody else's.
const OWN_ACCOUNT: [&str; 4] = ["/v1/me", "/v1/auth", "/v1/sessions", "/account"];

impl Restriction {
    /// 403 for a request that would change something.
    pub(super) fn require(self, request: &HttpRequest) -> Result<(), Problem> {
        let pattern = request.match_pattern().unwrap_or_default();
        if request.method().is_safe() || self.leaves(&pattern) {
            return Ok(());
        }
        Err(Problem::forbidden(Code::Forbidden, self.reason()))
    }

    /// Whether an unsafe method on a route is left.
    fn leaves(self, pattern: &str) -> bool {
        let is_own = || {
            OWN_ACCOUNT.iter().any(|path| {
                pattern
                    .strip_prefix(path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let is_way_out = WAYS_OUT.contains(&pattern);
        match self {
            Self::Suspended => {
                is_way_out || QUESTIONS.contains(&pattern) || PAYING.contains(&pattern) || is_own()
            }
            Self::View => is_way_out || QUESTIONS.contains(&pattern),
            Self::SecondFactorMissing => is_way_out || is_own(),
        }
    }

    /// Why something is not possible, for people.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::SecondFactorMissing => {
                "your role needs a second factor: turn it on first, on the page /account"
            }
            Self::Suspended => {
                "your account or your organization is suspended: you can only read, and pay"
            }
            Self::View => "this is a view of somebody else: it only reads",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_restricted_changes_nothing_of_others() {
        for pattern in
            ["/v1/alerts", "/v1/reports/{id}/run", "/dashboards/{name}/edit", "/v1/menu", ""]
        {
            for restriction in
                [Restriction::Suspended, Restriction::View, Restriction::SecondFactorMissing]
            {
                assert!(!restriction.leaves(pattern), "{restriction:?} {pattern}");
            }
        }
        for restriction in [Restriction::Suspended, Restriction::View] {
            assert!(restriction.leaves("/v1/metrics/query"));
        }
        assert!(Restriction::SecondFactorMissing.leaves("/v1/me/second-factor/confirm"));
        assert!(Restriction::Suspended.leaves("/account/{act}"));
        assert!(!Restriction::View.leaves("/v1/me"));
        assert!(Restriction::Suspended.leaves("/v1/invoices/{invoice_id}/pay"));
        assert!(!Restriction::View.leaves("/v1/invoices/{invoice_id}/pay"));
        assert!(!Restriction::Suspended.leaves("/v1/subscription"));
        assert!(Restriction::View.leaves("/sign-out"));
    }
}
