//! Accounts, the audit log, headers and the throttle of sign-in.
