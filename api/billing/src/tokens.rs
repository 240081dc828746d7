//! What tokens cost. Cached tokens and those that are written to a cache are input tokens, and reasoning is output: none is
//! counted twice.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    BillingError,
    bill::invalid,
    decimal::{Checked, read, read_optional},
};

/// The prices of a model, each for a million tokens. A kind without a price costs what input or output costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenPrices {
    /// Input that is neither cached nor written to a cache.
    #[serde(deserialize_with = "read")]
    pub input: Decimal,
    /// Input that was read from a cache.
    #[serde(default, deserialize_with = "read_optional", skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<Decimal>,
    /// Input that was written to a cache.
    #[serde(default, deserialize_with = "read_optional", skip_serializing_if = "Option::is_none")]
    pub cache_write_input: Option<Decimal>,
    /// Output, with reasoning.
    #[serde(deserialize_with = "read")]
    pub output: Decimal,
}

/// Tokens of requests, as events count them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenCounts {
    /// All input.
    pub input_tokens: u64,
    /// The part of the input that was read from a cache.
    pub cached_input_tokens: u64,
    /// The part of the input that was written to a cache.
    pub cache_write_input_tokens: u64,
    /// All output, with reasoning.
    pub output_tokens: u64,
}

const PER: i64 = 1_000_000;

impl TokenPrices {
    /// Fails where a price is negative.
    pub(crate) fn check(&self, model: &str) -> Result<(), BillingError> {
        let prices =
            [Some(self.input), self.cached_input, self.cache_write_input, Some(self.output)];
        match prices.into_iter().flatten().any(|price| price < Decimal::ZERO) {
            true => Err(invalid(&format!("model `{model}`"), "has prices that are not negative")),
            false => Ok(()),
        }
    }

    /// What the tokens cost, exact. Fails where the parts of the input are more than the input.
    pub fn cost(&self, counts: &TokenCounts) -> Result<Decimal, BillingError> {
        let TokenCounts {
            input_tokens,
            cached_input_tokens: cached,
            cache_write_input_tokens: written,
            output_tokens,
        } = *counts;
        let plain = input_tokens.checked_sub(cached).and_then(|rest| rest.checked_sub(written));
        let plain = plain.ok_or_else(|| BillingError::Invalid {
            name: "input_tokens".to_owned(),
            reason: "holds the tokens that are cached or written to a cache".to_owned(),
        })?;
        let parts = [
            (plain, self.input),
            (cached, self.cached_input.unwrap_or(self.input)),
            (written, self.cache_write_input.unwrap_or(self.input)),
            (output_tokens, self.output),
        ];
        let mut sum = Decimal::ZERO;
        for (tokens, price) in parts {
            sum = sum.plus(Decimal::from(tokens).times(price)?)?;
        }
        sum.over(PER.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices() -> TokenPrices {
        TokenPrices {
            input: "1.00".parse().unwrap(),
            cached_input: Some("0.10".parse().unwrap()),
            cache_write_input: None,
            output: "0.40".parse().unwrap(),
        }
    }

    #[test]
    fn nothing_is_counted_twice() {
        let cached =
            TokenCounts { input_tokens: 1_000, cached_input_tokens: 800, ..TokenCounts::default() };
        assert_eq!(prices().cost(&cached).unwrap(), "0.00028".parse().unwrap());
        // 448 of them are reasoning.
        let output = TokenCounts { output_tokens: 482, ..TokenCounts::default() };
        assert_eq!(prices().cost(&output).unwrap(), "0.0001928".parse().unwrap());
        let written = TokenCounts {
            input_tokens: 10,
            cache_write_input_tokens: 10,
            ..TokenCounts::default()
        };
        assert_eq!(prices().cost(&written).unwrap(), "0.00001".parse().unwrap());
        let wrong =
            TokenCounts { input_tokens: 9, cached_input_tokens: 10, ..TokenCounts::default() };
        assert!(prices().cost(&wrong).is_err());
    }
}
