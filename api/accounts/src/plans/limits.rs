//! What a plan, an override or a key limits.

use std::{fmt, num::NonZeroU32};

use ingest::money;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Calls and use that are allowed. What is left out is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls in a minute, refilled evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub requests_per_minute: Option<NonZeroU32>,
    /// Calls in a day, refilled evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub requests_per_day: Option<NonZeroU32>,
    /// Reservations that are not settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub concurrent_requests: Option<NonZeroU32>,
    /// Use in a month of UTC.
    #[serde(skip_serializing_if = "Monthly::is_unlimited")]
    pub monthly: Monthly,
}

/// Quotas of a month of UTC. What is left out is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Monthly {
    /// Requests, whatever their outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<CountQuota>,
    /// Tokens of input and output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<CountQuota>,
    /// Money at list price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spend: Option<SpendQuota>,
}

/// A quota of requests or tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CountQuota {
    /// How many.
    pub limit: u64,
    /// Use beyond it is allowed, and told.
    #[serde(default)]
    pub soft: bool,
}

/// A quota of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SpendQuota {
    /// How much: a decimal as text, such as `"20.00"`.
    #[schema(value_type = String)]
    pub limit: Amount,
    /// ISO 4217, such as `USD`. Use in other currencies does not count.
    #[schema(value_type = String)]
    pub currency: Currency,
    /// Use beyond it is allowed, and told.
    #[serde(default)]
    pub soft: bool,
}

/// An amount of money, never negative: whole units of 10⁻¹².
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Amount(pub(crate) i128);

/// As of an event: 10¹³.
const AMOUNT_MAX: i128 = 10_000_000_000_000 * 1_000_000_000_000;

/// The code of a currency: three capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Monthly {
    /// Whether it limits nothing.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

impl Limits {
    /// These limits, but what another one names.
    pub fn overridden(self, by: &Self) -> Self {
        let by = by.clone();
        Self {
            requests_per_minute: by.requests_per_minute.or(self.requests_per_minute),
            requests_per_day: by.requests_per_day.or(self.requests_per_day),
            concurrent_requests: by.concurrent_requests.or(self.concurrent_requests),
            monthly: Monthly {
                requests: by.monthly.requests.or(self.monthly.requests),
                tokens: by.monthly.tokens.or(self.monthly.tokens),
                spend: by.monthly.spend.or(self.monthly.spend),
            },
        }
    }

    /// Whether it limits nothing.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

impl Amount {
    /// Reads a decimal such as `20.00`; `None` for what is none, or negative.
    pub fn parse(text: &str) -> Option<Self> {
        money::parse(text).filter(|units| (0..=AMOUNT_MAX).contains(units)).map(Self)
    }
}

impl TryFrom<String> for Amount {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
            .ok_or("an amount is a decimal as text, such as \"20.00\", from 0 to 10000000000000")
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = money::text(self.0, money::SCALE);
        f.write_str(match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.'),
            false => &text,
        })
    }
}

impl Currency {
    /// Reads a code such as `USD`.
    pub fn parse(text: &str) -> Option<Self> {
        let code: [u8; 3] = text.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Self(code))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl TryFrom<String> for Currency {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a currency is three capital letters, such as USD")
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(json: &str) -> Result<Limits, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn limits_read_back_and_what_makes_no_sense_is_refused() {
        let text = r#"{"requests_per_minute":20,"monthly":{"tokens":{"limit":5,"soft":true},"spend":{"limit":"20.5","currency":"USD","soft":false}}}"#;
        let read = limits(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert!(limits("{}").unwrap().is_unlimited());
        for wrong in [
            r#"{"requests_per_minute": 0}"#,
            r#"{"requests_per_hour": 5}"#,
            r#"{"monthly": {"tokens": {"limit": -1}}}"#,
            r#"{"monthly": {"tokens": 5}}"#,
            r#"{"monthly": {"spend": {"limit": "5"}}}"#,
            r#"{"monthly": {"spend": {"limit": 5, "currency": "USD"}}}"#,
            r#"{"monthly": {"spend": {"limit": "-5", "currency": "USD"}}}"#,
            r#"{"monthly": {"spend": {"limit": "5", "currency": "usd"}}}"#,
        ] {
            assert!(limits(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_override_changes_what_it_names() {
        let plan = limits(
            r#"{"requests_per_day": 9, "monthly": {"tokens": {"limit": 5}, "requests": {"limit": 7}}}"#,
        );
        let by = limits(
            r#"{"concurrent_requests": 2, "monthly": {"tokens": {"limit": 50, "soft": true}}}"#,
        );
        let expected = limits(
            r#"{"requests_per_day": 9, "concurrent_requests": 2,
                "monthly": {"tokens": {"limit": 50, "soft": true}, "requests": {"limit": 7}}}"#,
        );
        assert_eq!(plan.unwrap().overridden(&by.unwrap()), expected.unwrap());
    }

    #[test]
    fn amounts_are_written_without_idle_zeros() {
        for (text, written) in
            [("20.00", "20"), ("0.000000000001", "0.000000000001"), ("0", "0"), ("100", "100")]
        {
            assert_eq!(Amount::parse(text).unwrap().to_string(), written);
        }
        for wrong in
            ["-1", "10000000000000.000000000001", "99999999999999999999999999", "1e30", "NaN"]
        {
            assert_eq!(Amount::parse(wrong), None, "{wrong}");
        }
    }
}
