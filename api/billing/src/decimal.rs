//! Decimals as people write them: a whole number, or text such as `"0.015"`. A fraction without quotes would be a binary
//! one, which is not what was written.

use std::fmt;

use rust_decimal::Decimal;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

use crate::BillingError;

/// Digits after the point that a price or a quantity may have.
const DIGITS_MAX: u32 = 12;
/// As of an event.
const VALUE_MAX: i64 = 10_000_000_000_000;

struct DecimalText;

impl Visitor<'_> for DecimalText {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, or a decimal in quotes such as \"0.015\"")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Decimal, E> {
        within(Decimal::from(value))
            .ok_or_else(|| E::invalid_value(Unexpected::Signed(value), &self))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Decimal, E> {
        within(Decimal::from(value))
            .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Decimal, E> {
        let value = Decimal::from_str_exact(text).ok().and_then(within);
        value.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

fn within(value: Decimal) -> Option<Decimal> {
    let value = value.normalize();
    let is_small = value.abs() <= Decimal::from(VALUE_MAX) && value.scale() <= DIGITS_MAX;
    is_small.then_some(value)
}

/// Reads a decimal.
pub(crate) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Decimal, D::Error> {
    from.deserialize_any(DecimalText)
}

/// Reads a decimal that may be left out.
pub(crate) fn read_optional<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Decimal>, D::Error> {
    #[derive(Deserialize)]
    struct Given(#[serde(deserialize_with = "read")] Decimal);
    Ok(Option::<Given>::deserialize(from)?.map(|given| given.0))
}

/// Sums, products and quotients that say when they do not fit.
pub(crate) trait Checked {
    fn plus(self, other: Decimal) -> Result<Decimal, BillingError>;
    fn times(self, other: Decimal) -> Result<Decimal, BillingError>;
    fn over(self, other: Decimal) -> Result<Decimal, BillingError>;
}

impl Checked for Decimal {
    fn plus(self, other: Decimal) -> Result<Decimal, BillingError> {
        self.checked_add(other).ok_or(BillingError::Overflow)
    }

    fn times(self, other: Decimal) -> Result<Decimal, BillingError> {
        self.checked_mul(other).ok_or(BillingError::Overflow)
    }

    fn over(self, other: Decimal) -> Result<Decimal, BillingError> {
        self.checked_div(other).ok_or(BillingError::Overflow)
    }
}
