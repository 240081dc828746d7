//! MRR movements: each subscription event changes the monthly recurring revenue of its organization.

use rust_decimal::Decimal;

use crate::lifecycle::Lifecycle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MovementKind {
    /// From nothing for the first time.
    New,
    Expansion,
    Contraction,
    /// To nothing.
    Churn,
    /// From nothing again.
    Reactivation,
}

/// A change of the monthly recurring revenue by a positive number of cents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Movement {
    pub(crate) organization: u32,
    /// Microseconds from the start of the period.
    pub(crate) at: u64,
    pub(crate) kind: MovementKind,
    pub(crate) cents: u64,
}

impl Movement {
    /// By how much the monthly recurring revenue rises, in dollars.
    pub(crate) fn change(&self) -> Decimal {
        let amount = Decimal::from_i128_with_scale(i128::from(self.cents), 2);
        match self.kind {
            MovementKind::New | MovementKind::Expansion | MovementKind::Reactivation => amount,
            MovementKind::Contraction | MovementKind::Churn => -amount,
        }
    }
}

/// The movements of one organization, in order of time.
pub(crate) fn movements(organization: u32, life: &Lifecycle) -> Vec<Movement> {
    let mut before = 0_u64;
    let mut known = false;
    let mut found = Vec::new();
    for event in &life.events {
        let Some(after) = event.monthly_cents() else { continue };
        let kind = match (before, after) {
            (0, 1..) if known => MovementKind::Reactivation,
            (0, 1..) => MovementKind::New,
            (1.., 0) => MovementKind::Churn,
            _ if after > before => MovementKind::Expansion,
            _ if after < before => MovementKind::Contraction,
            _ => continue,
        };
        known = true;
        found.push(Movement { organization, at: event.at, kind, cents: after.abs_diff(before) });
        before = after;
    }
    found
}
