//! How a quota stands, and whether it lets more use through: the rule.

use rest::schema::Quantity;
use serde::Serialize;
use serde_json::{Number, Value};
use utoipa::ToSchema;

use super::Usage;
use crate::plans::{Amount, Currency, LimitScope, Limits};

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuotaUnit {
    /// Requests, whatever their outcome.
    Requests,
    /// Tokens of input and output.
    Tokens,
    /// Money at list price.
    Spend,
}

impl QuotaUnit {
    /// The text in answers and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Spend => "spend",
        }
    }
}

/// A quota of a month, and how it stands. Numbers are whole ones; those of `spend` are decimals as text.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct QuotaStanding {
    /// `organization` or `api_key`.
    pub scope: LimitScope,
    /// `requests`, `tokens` or `spend`.
    pub unit: QuotaUnit,
    /// Of `spend`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub currency: Option<Currency>,
    /// What is allowed in the month.
    #[schema(value_type = Quantity)]
    pub limit: Measure,
    /// What the events of the month say.
    #[schema(value_type = Quantity)]
    pub used: Measure,
    /// What reservations hold beside it.
    #[schema(value_type = Quantity)]
    pub reserved: Measure,
    /// What is left; never negative.
    #[schema(value_type = Quantity)]
    pub remaining: Measure,
    /// Use beyond it is allowed.
    pub soft: bool,
}

/// A quantity: a number, or of money a decimal as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Requests or tokens.
    Count(i128),
    /// Units of 10⁻¹².
    Money(i128),
}

impl Measure {
    fn units(self) -> i128 {
        match self {
            Self::Count(units) | Self::Money(units) => units,
        }
    }
}

impl Serialize for Measure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = match self {
            Self::Count(units) => match i64::try_from(*units) {
                Ok(units) => Value::Number(Number::from(units)),
                Err(_) => Value::String(units.to_string()),
            },
            Self::Money(units) => Value::String(Amount(*units).to_string()),
        };
        value.serialize(serializer)
    }
}

impl QuotaStanding {
    /// Whether so much more is allowed. Of a quota that is used up nothing is, not even what has no estimate.
    pub(super) fn allows(&self, more: i128) -> bool {
        let taken = self.used.units() + self.reserved.units();
        self.soft || (taken < self.limit.units() && taken + more <= self.limit.units())
    }

    /// Hundredths of the limit that are used.
    pub(crate) fn percent(&self) -> i128 {
        match self.limit.units() {
            0 => 100,
            limit => self.used.units().saturating_mul(100) / limit,
        }
    }

    /// How much of an estimate it counts.
    pub(super) fn of(&self, usage: &Usage) -> i128 {
        match (self.unit, self.currency) {
            (QuotaUnit::Requests, _) => usage.requests.into(),
            (QuotaUnit::Tokens, _) => usage.tokens,
            (QuotaUnit::Spend, Some(currency)) => usage.spent(currency),
            (QuotaUnit::Spend, None) => 0,
        }
    }
}

/// The quotas of some limits.
pub(super) fn standings(
    scope: LimitScope,
    limits: &Limits,
    used: &Usage,
    reserved: &Usage,
) -> Vec<QuotaStanding> {
    let standing = |unit, currency, soft, make: fn(i128) -> Measure, limit: i128| {
        let zero = make(0);
        let mut standing = QuotaStanding {
            scope,
            unit,
            currency,
            limit: make(limit),
            used: zero,
            reserved: zero,
            remaining: zero,
            soft,
        };
        standing.used = make(standing.of(used));
        standing.reserved = make(standing.of(reserved));
        let left = limit - standing.used.units() - standing.reserved.units();
        standing.remaining = make(left.max(0));
        standing
    };
    let monthly = &limits.monthly;
    let counts = [(QuotaUnit::Requests, monthly.requests), (QuotaUnit::Tokens, monthly.tokens)];
    let counts = counts.into_iter().filter_map(|(unit, quota)| {
        let quota = quota?;
        Some(standing(unit, None, quota.soft, Measure::Count, quota.limit.into()))
    });
    let spend = monthly.spend.map(|quota| {
        let (currency, limit) = (Some(quota.currency), quota.limit.0);
        standing(QuotaUnit::Spend, currency, quota.soft, Measure::Money, limit)
    });
    counts.chain(spend).collect()
}
