//! Meters: what of the usage of a day a charge counts.

use std::collections::{BTreeMap, BTreeSet};

use accounts::plans::Currency;
use chrono::NaiveDate;
use glob::Pattern;
use rust_decimal::Decimal;
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::{BillingError, Charge, TokenCounts, decimal::Checked, prices::PriceList};

/// What a charge of a plan counts. In texts it is the name in lower case, such as `input_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, EnumString, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Meter {
    /// Requests, whatever their outcome.
    Requests,
    /// Tokens of input and output.
    Tokens,
    /// Tokens of input, with those that are cached.
    InputTokens,
    /// Tokens of input that were read from a cache.
    CachedInputTokens,
    /// Tokens of input that were written to a cache.
    CacheWriteInputTokens,
    /// Tokens of output, with reasoning.
    OutputTokens,
    /// Images.
    Images,
    /// Money: what the events state as their list price, in the currency of the plan.
    ListPrice,
    /// Money: tokens at the prices of their models at that day, in the currency of the plan.
    ModelPrice,
    /// The seats of the subscription: for the whole period, or the part of it that the charge is for.
    Seats,
}

/// What an organization used of one model on one day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelUsage {
    /// Requests, whatever their outcome.
    pub requests: u64,
    /// Their tokens.
    pub tokens: TokenCounts,
    /// Images.
    pub images: u64,
    /// What the events state as their list price.
    pub list_price: BTreeMap<Currency, Decimal>,
    /// Requests with tokens or images that state no list price.
    pub unpriced_requests: u64,
}

/// What an organization used, by local day and model.
pub type DailyUsage = BTreeMap<NaiveDate, BTreeMap<String, ModelUsage>>;

/// A quantity, and what could not be counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Metered {
    pub(crate) quantity: Decimal,
    /// In words, each once.
    pub(crate) problems: BTreeSet<String>,
}

impl Meter {
    /// Every meter.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name in texts.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Reads the name of a meter.
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

impl ModelUsage {
    /// Adds other usage of the model. Fails beyond 2⁶⁴.
    pub fn add(&mut self, other: &Self) -> Result<(), BillingError> {
        let sums = [
            (&mut self.requests, other.requests),
            (&mut self.tokens.input_tokens, other.tokens.input_tokens),
            (&mut self.tokens.cached_input_tokens, other.tokens.cached_input_tokens),
            (&mut self.tokens.cache_write_input_tokens, other.tokens.cache_write_input_tokens),
            (&mut self.tokens.output_tokens, other.tokens.output_tokens),
            (&mut self.images, other.images),
            (&mut self.unpriced_requests, other.unpriced_requests),
        ];
        for (sum, more) in sums {
            *sum = sum.checked_add(more).ok_or(BillingError::Overflow)?;
        }
        for (currency, more) in &other.list_price {
            let sum = self.list_price.entry(*currency).or_default();
            *sum = sum.plus(*more)?;
        }
        Ok(())
    }

    /// What a meter counts of it on a day, in a currency where it is money.
    fn quantity(
        &self,
        meter: Meter,
        model: &str,
        day: NaiveDate,
        (currency, list): (Currency, &PriceList),
    ) -> Result<Metered, BillingError> {
        let mut problems = BTreeSet::new();
        let tokens = &self.tokens;
        let quantity = match meter {
            Meter::Requests => self.requests.into(),
            Meter::Tokens => {
                Decimal::from(tokens.input_tokens).plus(tokens.output_tokens.into())?
            }
            Meter::InputTokens => tokens.input_tokens.into(),
            Meter::CachedInputTokens => tokens.cached_input_tokens.into(),
            Meter::CacheWriteInputTokens => tokens.cache_write_input_tokens.into(),
            Meter::OutputTokens => tokens.output_tokens.into(),
            Meter::Images => self.images.into(),
            Meter::Seats => Decimal::ZERO,
            Meter::ListPrice => {
                if self.unpriced_requests > 0 {
                    let count = self.unpriced_requests;
                    problems.insert(format!(
                        "{count} requests of `{model}` on {day} state no list price"
                    ));
                }
                for (other, _) in
                    self.list_price.iter().filter(|(one, sum)| **one != currency && !sum.is_zero())
                {
                    let (other, own) = (other.as_str(), currency.as_str());
                    problems.insert(format!(
                        "the list price of `{model}` on {day} is in {other}, and the plan in {own}"
                    ));
                }
                self.list_price.get(&currency).copied().unwrap_or_default()
            }
            Meter::ModelPrice => match list.model_on(model, day) {
                _ if *tokens == TokenCounts::default() => Decimal::ZERO,
                Some((_, version)) if version.currency == currency => {
                    version.tokens.cost(tokens)?
                }
                Some((_, version)) => {
                    let (other, own) = (version.currency.as_str(), currency.as_str());
                    problems.insert(format!(
                        "the price of `{model}` on {day} is in {other}, and the plan in {own}"
                    ));
                    Decimal::ZERO
                }
                None => {
                    problems.insert(format!("`{model}` has no price on {day}"));
                    Decimal::ZERO
                }
            },
        };
        Ok(Metered { quantity, problems })
    }
}

/// What a charge counts of one day.
pub(crate) fn counted(
    charge: &Charge,
    meter: Meter,
    (day, used): (NaiveDate, &BTreeMap<String, ModelUsage>),
    prices: (Currency, &PriceList),
) -> Result<Metered, BillingError> {
    let mut whole = Metered::default();
    for (model, usage) in used {
        let fits = |glob: &String| Pattern::new(glob).is_ok_and(|glob| glob.matches(model));
        if !charge.models.is_empty() && !charge.models.iter().any(fits) {
            continue;
        }
        let Metered { quantity, problems } = usage.quantity(meter, model, day, prices)?;
        whole.quantity = whole.quantity.plus(quantity)?;
        whole.problems.extend(problems);
    }
    Ok(whole)
}
