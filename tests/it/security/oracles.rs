//! What an organization is told beside its rows.
