//! The plans that are sold, and what they cost.

/// A plan; `Free` has no subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    Free,
    Pro,
    Team,
    Enterprise,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interval {
    Month,
    Year,
}

/// What a subscription is for. Its price follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) plan: Plan,
    /// Seats of a team, units of committed capacity of an enterprise, 1 for pro.
    pub(crate) quantity: u32,
    pub(crate) interval: Interval,
}

/// A team with more seats than this would pay more than an enterprise.
pub(crate) const TEAM_SEATS_MAX: u32 = 15;

impl Plan {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Pro => "pro",
            Self::Team => "team",
            Self::Enterprise => "enterprise",
        }
    }

    /// Cents for one unit and one interval. Yearly prices divide by twelve to the cent.
    fn unit_cents(self, interval: Interval) -> u64 {
        match (self, interval) {
            (Self::Free, _) => 0,
            (Self::Pro, Interval::Month) => 20 * 100,
            (Self::Pro, Interval::Year) => 192 * 100,
            (Self::Team, Interval::Month) => 30 * 100,
            (Self::Team, Interval::Year) => 288 * 100,
            (Self::Enterprise, Interval::Month) => 600 * 100,
            (Self::Enterprise, Interval::Year) => 5_760 * 100,
        }
    }
}

impl Interval {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

impl Terms {
    /// The full recurring amount of one interval, in cents.
    pub(crate) fn cents(self) -> u64 {
        self.plan.unit_cents(self.interval) * u64::from(self.quantity)
    }

    /// The monthly recurring revenue, in cents.
    pub(crate) fn monthly_cents(self) -> u64 {
        match self.interval {
            Interval::Month => self.cents(),
            Interval::Year => self.cents() / 12,
        }
    }

    /// The next larger terms. Every step raises the monthly recurring revenue.
    pub(crate) fn larger(self, step: u32) -> Self {
        match self.plan {
            Plan::Free | Plan::Pro => self.with(Plan::Team, 2 + step),
            Plan::Team if self.quantity + step > TEAM_SEATS_MAX => self.with(Plan::Enterprise, 1),
            Plan::Team => self.with(Plan::Team, self.quantity + step),
            Plan::Enterprise => self.with(Plan::Enterprise, self.quantity + 1),
        }
    }

    /// The next smaller terms, which lower the monthly recurring revenue; none below pro.
    pub(crate) fn smaller(self, step: u32) -> Option<Self> {
        match self.plan {
            Plan::Free | Plan::Pro => None,
            Plan::Team if self.quantity <= step + 1 => Some(self.with(Plan::Pro, 1)),
            Plan::Team => Some(self.with(Plan::Team, self.quantity - step)),
            Plan::Enterprise if self.quantity == 1 => Some(self.with(Plan::Team, TEAM_SEATS_MAX)),
            Plan::Enterprise => Some(self.with(Plan::Enterprise, self.quantity - 1)),
        }
    }

    fn with(self, plan: Plan, quantity: u32) -> Self {
        Self { plan, quantity, interval: self.interval }
    }
}

#[cfg(test)]
mod tests {
    use super::{Interval, Plan, TEAM_SEATS_MAX, Terms};

    #[test]
    fn yearly_prices_divide_by_twelve_to_the_cent() {
        for plan in [Plan::Pro, Plan::Team, Plan::Enterprise] {
            assert_eq!(plan.unit_cents(Interval::Year) % 12, 0);
        }
    }

    #[test]
    fn larger_pays_more_and_smaller_pays_less() {
        for interval in [Interval::Month, Interval::Year] {
            for (plan, most) in
                [(Plan::Pro, 1), (Plan::Team, TEAM_SEATS_MAX), (Plan::Enterprise, 5)]
            {
                for quantity in 1..=most {
                    let terms = Terms { plan, quantity, interval };
                    for step in 1..=5 {
                        assert!(terms.larger(step).monthly_cents() > terms.monthly_cents());
                        if let Some(smaller) = terms.smaller(step) {
                            assert!(smaller.monthly_cents() < terms.monthly_cents(), "{terms:?}");
                        }
                    }
                }
            }
        }
    }
}
